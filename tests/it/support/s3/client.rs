//! A look into a store past the server under test: a few operations, each on a connection of its own, signed here.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use hmac::{Hmac, KeyInit as _, Mac as _};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};
use time::{OffsetDateTime, macros::format_description};

use crate::support::{
    digest::hexadecimal,
    s3::{ACCESS_KEY, REGION, SECRET_KEY},
};

/// What `SigV4` leaves as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
pub(super) const PLAIN_PATH: &AsciiSet = &PLAIN.remove(b'/');

/// Names and values, in the order of their names.
type Query<'a> = &'a [(&'a str, &'a str)];

/// Talks to one endpoint.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    endpoint: SocketAddr,
}

/// A status and a body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Client {
    pub(crate) fn to(endpoint: SocketAddr) -> Self {
        Self { endpoint }
    }

    /// Sends one signed request; `path` as it is before it is encoded.
    pub(crate) fn send(&self, method: &str, path: &str, query: Query<'_>, body: &[u8]) -> Answer {
        let answer = self.exchange(&self.request(method, path, query, body));
        answer.unwrap_or_else(|error| panic!("{method} {path} at {}: {error}", self.endpoint))
    }

    fn request(&self, method: &str, path: &str, query: Query<'_>, body: &[u8]) -> Vec<u8> {
        let path = utf8_percent_encode(path, PLAIN_PATH).to_string();
        let encoded = |text| utf8_percent_encode(text, PLAIN).to_string();
        let pairs = query.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value)));
        let query = pairs.collect::<Vec<_>>().join("&");
        let now = OffsetDateTime::now_utc();
        let date = now.format(format_description!("[year][month][day]T[hour][minute][second]Z")).unwrap();
        let hash = hexadecimal(&Sha256::digest(body));
        let host = self.endpoint;
        let signed = format!("host:{host}\nx-amz-content-sha256:{hash}\nx-amz-date:{date}\n");
        let names = "host;x-amz-content-sha256;x-amz-date";
        let canonical = format!("{method}\n{path}\n{query}\n{signed}\n{names}\n{hash}");
        let scope = format!("{}/{REGION}/s3/aws4_request", &date[..8]);
        let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hexadecimal(&Sha256::digest(canonical)));
        let key = [&date[..8], REGION, "s3", "aws4_request"]
            .into_iter()
            .fold(format!("AWS4{SECRET_KEY}").into_bytes(), |key, word| mac(&key, word));
        let signature = hexadecimal(&mac(&key, &text));
        // HTTP/1.0: the answer comes as it is and ends with the connection.
        let head = format!(
            "{method} {path}?{query} HTTP/1.0\r\nHost: {host}\r\nX-Amz-Date: {date}\r\nX-Amz-Content-Sha256: {hash}\r\n\
             Content-Length: {}\r\nAuthorization: AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/{scope}, \
             SignedHeaders={names}, Signature={signature}\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), body].concat()
    }

    fn exchange(&self, request: &[u8]) -> io::Result<Answer> {
        let mut stream = TcpStream::connect(self.endpoint)?;
        stream.write_all(request)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
        let body = answer.split_off(end + 4);
        let head = String::from_utf8_lossy(&answer);
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Ok(Answer { status: status.ok_or(io::ErrorKind::InvalidData)?, body })
    }
}

/// A bucket of a test; dropping it removes it with all that it holds.
#[derive(Debug)]
pub(crate) struct Bucket {
    client: Client,
    pub name: String,
}

/// An unfinished upload in parts.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Unfinished {
    pub key: String,
    pub upload_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Objects {
    #[serde(default)]
    contents: Vec<Object>,
    is_truncated: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Object {
    key: String,
    size: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Uploads {
    #[serde(default)]
    upload: Vec<Unfinished>,
    #[serde(default)]
    is_truncated: bool,
}

impl Bucket {
    pub(crate) fn create(client: Client, name: &str) -> Self {
        let made = client.send("PUT", &format!("/{name}"), &[], b"");
        assert_eq!(made.status, 200, "{}", String::from_utf8_lossy(&made.body));
        Self { client, name: name.to_owned() }
    }

    /// Keys and sizes of all objects below a prefix, in the order of their keys.
    pub(crate) fn objects(&self, prefix: &str) -> Vec<(String, u64)> {
        let mut found = Vec::<(String, u64)>::new();
        loop {
            let after = found.last().map(|(key, _)| key.clone()).unwrap_or_default();
            let query = [("list-type", "2"), ("prefix", prefix), ("start-after", &after)];
            let page: Objects = self.read("", &query);
            found.extend(page.contents.into_iter().map(|object| (object.key, object.size)));
            if !page.is_truncated {
                return found;
            }
        }
    }

    /// All uploads in parts that nobody has completed or aborted.
    pub(crate) fn unfinished(&self) -> Vec<Unfinished> {
        let page: Uploads = self.read("", &[("max-uploads", "1000"), ("uploads", "")]);
        assert!(!page.is_truncated, "more than one page of unfinished uploads");
        page.upload
    }

    pub(crate) fn put(&self, key: &str, content: &[u8]) {
        let answer = self.client.send("PUT", &self.path(key), &[], content);
        assert_eq!(answer.status, 200, "{key}: {}", String::from_utf8_lossy(&answer.body));
    }

    /// An object's bytes, where there is one.
    pub(crate) fn get(&self, key: &str) -> Option<Vec<u8>> {
        let answer = self.client.send("GET", &self.path(key), &[], b"");
        match answer.status {
            200 => Some(answer.body),
            404 => None,
            status => panic!("{key}: {status}: {}", String::from_utf8_lossy(&answer.body)),
        }
    }

    fn path(&self, key: &str) -> String {
        format!("/{}/{key}", self.name)
    }

    fn read<T: DeserializeOwned>(&self, key: &str, query: Query<'_>) -> T {
        let path = if key.is_empty() { format!("/{}", self.name) } else { self.path(key) };
        let answer = self.client.send("GET", &path, query, b"");
        let text = String::from_utf8_lossy(&answer.body);
        assert_eq!(answer.status, 200, "{path} {query:?}: {text}");
        quick_xml::de::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }
}

/// A test that failed leaves no gigabytes behind either.
impl Drop for Bucket {
    fn drop(&mut self) {
        let request = self.client.request("DELETE", &format!("/{}", self.name), &[], b"");
        let _ = self.client.exchange(&request);
    }
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}
