//! HTTP/1.1 as bytes: nothing here corrects what a row wants to say.

use std::{fmt::Write as _, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::client::TlsStream;

pub(crate) type Stream = TlsStream<TcpStream>;

/// Names and values.
pub(crate) type Headers<'a> = &'a [(&'a str, &'a str)];

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A head with `Host`, and `Content-Length` where there is a body.
pub(crate) fn request(method: &str, target: &str, headers: Headers<'_>, body: &[u8]) -> Vec<u8> {
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n");
    for (name, value) in headers {
        write!(head, "{name}: {value}\r\n").unwrap();
    }
    let given = |name: &str| headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name));
    if !(body.is_empty() && method == "GET" || given("content-length") || given("transfer-encoding")) {
        write!(head, "Content-Length: {}\r\n", body.len()).unwrap();
    }
    head.push_str("\r\n");
    [head.as_bytes(), body].concat()
}

/// What came back; a status of 0 where the connection was closed without an answer.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The value of a header, empty where it is missing.
    pub(crate) fn header(&self, name: &str) -> &str {
        let fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value).next().unwrap_or_default()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The code of the error, empty where there is none.
    pub(crate) fn code(&self) -> String {
        self.json()["errors"][0]["code"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn says_close(&self) -> bool {
        self.header("connection").eq_ignore_ascii_case("close")
    }
}

/// Writes `raw` and reads one answer, also when that comes before everything was written.
pub(crate) async fn exchange(stream: &mut Stream, raw: &[u8]) -> Answer {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let write = async {
        // Where the server has had enough, its answer says so.
        if writer.write_all(raw).await.is_ok() {
            let _ = writer.flush().await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        answer = answer(&mut reader) => answer,
        () = write => unreachable!("never ends"),
    }
}

/// Reads one answer and not a byte more.
pub(crate) async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> Answer {
    timeout(PATIENCE, read(stream)).await.expect("no answer in time").unwrap_or_default()
}

/// `None` where the connection ends before the answer does.
async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<Answer> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let status = head.get(9..12)?.parse().unwrap();
    let mut answer = Answer { status, head, body: Vec::new() };
    let length = answer.header("content-length").parse().unwrap_or(0);
    answer.body.resize(length, 0);
    stream.read_exact(&mut answer.body).await.ok()?;
    Some(answer)
}

/// Whether the server closes within a few seconds without a further answer.
pub(crate) async fn is_closed(stream: &mut Stream) -> bool {
    let mut rest = Vec::new();
    timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await.is_ok() && rest.is_empty()
}
