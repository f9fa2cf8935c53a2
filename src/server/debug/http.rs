//! As much of HTTP/1.1 (RFC 9112) as one bodyless request on one connection needs.

use std::{io, time::Duration};

use http::StatusCode;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

const HEAD_BYTES_MAX: usize = 8 * 1024;
/// What an answered peer may still send, and for how long, before its connection is reset and the answer perhaps lost.
const LINGER_BYTES_MAX: usize = 64 * 1024;
const LINGER: Duration = Duration::from_secs(1);

/// A request line; the header fields mean nothing here.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    /// Without its question mark; empty where there is none.
    pub(super) query: String,
}

#[derive(Debug, Eq, PartialEq)]
pub(super) enum Head {
    Complete(Request),
    Refused(StatusCode),
    /// The peer closed the connection before the head's end.
    Gone,
}

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) content_type: &'static str,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn json(status: StatusCode, value: &serde_json::Value) -> Self {
        Self { status, content_type: "application/json", body: value.to_string().into_bytes() }
    }

    pub(super) fn text(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: text.into().into_bytes() }
    }

    /// A status and nothing else.
    pub(super) fn status(status: StatusCode) -> Self {
        Self::text(status, "")
    }
}

/// Reads one head. Bytes past it are left to be discarded.
pub(super) async fn read(stream: &mut TcpStream) -> io::Result<Head> {
    let mut head = Vec::with_capacity(1024);
    loop {
        if let Some(end) = head.windows(4).position(|end| end == b"\r\n\r\n") {
            return Ok(parse(&head[..end]));
        }
        if head.len() >= HEAD_BYTES_MAX {
            return Ok(Head::Refused(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
        }
        let mut chunk = [0; 1024];
        let count = stream.read(&mut chunk).await?;
        if count == 0 {
            return Ok(Head::Gone);
        }
        head.extend_from_slice(&chunk[..count]);
    }
}

fn parse(head: &[u8]) -> Head {
    let text = String::from_utf8_lossy(head);
    let words: Vec<&str> = text.lines().next().unwrap_or_default().split(' ').collect();
    let [method, target, "HTTP/1.1" | "HTTP/1.0"] = words[..] else {
        return Head::Refused(StatusCode::BAD_REQUEST);
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Head::Complete(Request { method: method.to_owned(), path: path.to_owned(), query: query.to_owned() })
}

/// Writes one answer, then waits for the peer to have seen it.
pub(super) async fn write(stream: &mut TcpStream, answer: &Answer) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 {}\r\ncontent-type: {}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        answer.status,
        answer.content_type,
        answer.body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&answer.body).await?;
    stream.shutdown().await?;
    // A socket that is closed with unread bytes resets the connection, and the peer may lose what it was told.
    let discard = async {
        let (mut chunk, mut discarded) = ([0; 1024], 0);
        while discarded < LINGER_BYTES_MAX {
            match stream.read(&mut chunk).await {
                Ok(count @ 1..) => discarded += count,
                Ok(0) | Err(_) => break,
            }
        }
    };
    // When it sends on and on, the reset is what it gets.
    let _ = timeout(LINGER, discard).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(head: &str, expected: Result<(&str, &str, &str), u16>) {
        let expected = match expected {
            Ok((method, path, query)) => {
                Head::Complete(Request { method: method.into(), path: path.into(), query: query.into() })
            }
            Err(status) => Head::Refused(StatusCode::from_u16(status).unwrap()),
        };
        assert_eq!(parse(head.as_bytes()), expected);
    }

    #[test]
    fn a_request_line_has_three_words() {
        check("GET /debug/vars HTTP/1.1\r\nhost: a", Ok(("GET", "/debug/vars", "")));
        check("GET /p?seconds=5&a=b HTTP/1.0", Ok(("GET", "/p", "seconds=5&a=b")));
        check("GET /p HTTP/2.0", Err(400));
        check("GET  /p HTTP/1.1", Err(400));
        check("GET /p", Err(400));
        check("", Err(400));
    }
}
