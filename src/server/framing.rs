//! Refuses requests whose framing two readers could understand differently, or that are beyond bounds.
//!
//! pingora's parser follows RFC 9112 in being lenient; in front of an upload that other proxies may have seen before,
//! lenience is how requests are smuggled. The head of an HTTP/1.1 request is therefore judged on its raw bytes, before
//! the parser's corrections.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header, uri::Authority};
use memchr::memchr_iter;
use pingora::protocols::http::ServerSession;

use crate::{
    admission::TooMany,
    api::{Body, Log, Reply},
    server::bounds::Limits,
};

/// What a metric and the access log call a request that was not let in.
const TURNED_AWAY: &str = "turned_away";

/// An answer that is given without asking the handler.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) message: &'static str,
}

impl Refusal {
    pub(super) const MALFORMED: Self = Self::bad_request("the request's head is malformed");
    pub(super) const HEAD_TOO_LARGE: Self =
        Self::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "UNSUPPORTED", "the request's head is too large");
    pub(super) const HEAD_TIMEOUT: Self =
        Self::new(StatusCode::REQUEST_TIMEOUT, "UNSUPPORTED", "the request's head took too long");
    pub(super) const PANICKED: Self =
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", "the request could not be handled");

    pub(super) const DENIED: Self =
        Self::new(StatusCode::FORBIDDEN, "DENIED", "requested access to the resource is denied");
    pub(super) const TOO_MANY: Self = Self::new(StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", "too many requests");

    pub(super) const BODY_TIMEOUT: Self =
        Self::new(StatusCode::REQUEST_TIMEOUT, "UNSUPPORTED", "the request's body took too long");
    pub(super) const MISDIRECTED: Self =
        Self::new(StatusCode::MISDIRECTED_REQUEST, "UNSUPPORTED", "the host is served elsewhere");
    pub(super) const BAD_GATEWAY: Self =
        Self::new(StatusCode::BAD_GATEWAY, "UNAVAILABLE", "the server of this host gives no answer");
    pub(super) const GATEWAY_TIMEOUT: Self =
        Self::new(StatusCode::GATEWAY_TIMEOUT, "UNAVAILABLE", "the server of this host took too long");

    const fn new(status: StatusCode, code: &'static str, message: &'static str) -> Self {
        Self { status, code, message }
    }

    const fn bad_request(message: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "UNSUPPORTED", message)
    }

    /// The registry's error document (OCI distribution-spec, "Error codes").
    pub(super) fn reply(self) -> Reply {
        let body = serde_json::json!({ "errors": [{ "code": self.code, "message": self.message }] }).to_string();
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
        }
        Reply { status: self.status, headers, body: Body::Full(Bytes::from(body)), log: Log::default() }
    }

    /// The same for a request that nothing is wrong with but its sender, who is told when to come again.
    pub(super) fn turned_away(self, early: Option<TooMany>) -> Reply {
        let mut reply = self.reply();
        if let Some(early) = early {
            reply.headers.insert(header::RETRY_AFTER, HeaderValue::from(early.retry_after_secs()));
        }
        reply.log.route = Some(TURNED_AWAY);
        reply
    }
}

/// Judges the head that `session` has read.
pub(super) fn judge(session: &ServerSession, limits: &Limits) -> Result<(), Refusal> {
    let head = session.req_header();
    if let Some(http1) = session.as_http1() {
        judge_raw(&http1.get_headers_raw_bytes(), limits)?;
    }
    judge_target(head.raw_path(), limits)?;
    if head.method == Method::CONNECT || head.method == Method::TRACE {
        return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", "the method is not allowed"));
    }
    judge_expectation(&head.headers)
}

fn judge_target(target: &[u8], limits: &Limits) -> Result<(), Refusal> {
    if target.len() > limits.target_bytes {
        return Err(Refusal::new(StatusCode::URI_TOO_LONG, "UNSUPPORTED", "the request's target is too long"));
    }
    if !target.iter().all(u8::is_ascii_graphic) {
        return Err(Refusal::bad_request("the request's target is malformed"));
    }
    Ok(())
}

fn judge_expectation(headers: &HeaderMap) -> Result<(), Refusal> {
    let known = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if headers.get_all(header::EXPECT).iter().all(known) {
        return Ok(());
    }
    Err(Refusal::new(StatusCode::EXPECTATION_FAILED, "UNSUPPORTED", "the expectation cannot be met"))
}

/// The bytes of an HTTP/1 head, up to and including its empty line.
fn judge_raw(raw: &[u8], limits: &Limits) -> Result<(), Refusal> {
    if raw.len() > limits.head_bytes {
        return Err(Refusal::HEAD_TOO_LARGE);
    }
    if memchr_iter(b'\n', raw).any(|at| at == 0 || raw[at - 1] != b'\r') {
        return Err(Refusal::bad_request("a line of the head ends without a carriage return"));
    }
    let mut start = 0;
    let lines = memchr_iter(b'\n', raw).chain([raw.len()]).map(|end| {
        let line = raw[start..end].trim_ascii_end();
        start = (end + 1).min(raw.len());
        line
    });
    let mut lines = lines.filter(|line| !line.is_empty());
    let version_11 = lines.next().is_some_and(|line| line.ends_with(b"HTTP/1.1"));
    let fields = Fields::collect(lines)?;
    fields.judge(version_11)
}

/// The fields that decide where a request ends and whom it is for.
#[derive(Debug, Default)]
struct Fields<'a> {
    lengths: Vec<&'a [u8]>,
    codings: Vec<&'a [u8]>,
    hosts: Vec<&'a [u8]>,
}

impl<'a> Fields<'a> {
    fn collect(lines: impl Iterator<Item = &'a [u8]>) -> Result<Self, Refusal> {
        let mut fields = Self::default();
        for line in lines {
            if line.starts_with(b" ") || line.starts_with(b"\t") {
                return Err(Refusal::bad_request("a header is folded"));
            }
            let colon = line.iter().position(|&byte| byte == b':').ok_or(Refusal::MALFORMED)?;
            let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
            if name.is_empty() || name.iter().any(u8::is_ascii_whitespace) {
                return Err(Refusal::MALFORMED);
            }
            if name.eq_ignore_ascii_case(b"content-length") {
                fields.lengths.push(value);
            } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
                fields.codings.push(value);
            } else if name.eq_ignore_ascii_case(b"host") {
                fields.hosts.push(value);
            }
        }
        Ok(fields)
    }

    fn judge(&self, version_11: bool) -> Result<(), Refusal> {
        match (self.lengths.as_slice(), self.codings.as_slice()) {
            ([], []) => {}
            ([length], []) => judge_length(length)?,
            ([], [coding]) => judge_coding(coding, version_11)?,
            ([_, ..], [_, ..]) => {
                return Err(Refusal::bad_request("Content-Length and Transfer-Encoding exclude each other"));
            }
            (_, []) => return Err(Refusal::bad_request("Content-Length is given twice")),
            ([], _) => return Err(Refusal::bad_request("Transfer-Encoding is given twice")),
        }
        match self.hosts.as_slice() {
            [] if version_11 => Err(Refusal::bad_request("the Host header is missing")),
            [] => Ok(()),
            [host] => judge_host(host),
            _ => Err(Refusal::bad_request("the Host header is given twice")),
        }
    }
}

fn judge_length(length: &[u8]) -> Result<(), Refusal> {
    let digits = !length.is_empty() && length.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(length).ok().filter(|_| digits).and_then(|text| text.parse::<u64>().ok());
    // Lengths are signed somewhere behind almost every client.
    match number {
        Some(number) if i64::try_from(number).is_ok() => Ok(()),
        _ => Err(Refusal::bad_request("Content-Length is not a number")),
    }
}

fn judge_coding(coding: &[u8], version_11: bool) -> Result<(), Refusal> {
    if !version_11 {
        return Err(Refusal::bad_request("Transfer-Encoding needs HTTP/1.1"));
    }
    if coding.eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, "UNSUPPORTED", "only the chunked transfer coding is known"))
}

fn judge_host(host: &[u8]) -> Result<(), Refusal> {
    // A client may leave it empty when its target has no authority (RFC 9112 section 3.2).
    if host.is_empty() || Authority::try_from(host).is_ok_and(|authority| !authority.as_str().contains('@')) {
        return Ok(());
    }
    Err(Refusal::bad_request("the Host header is malformed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_judged_on_their_bytes() {
        let check = |raw: &str, expected: u16| {
            let status =
                judge_raw(raw.as_bytes(), &Limits::default()).map_or_else(|refusal| refusal.status.as_u16(), |()| 200);
            assert_eq!(status, expected, "{raw:?}");
        };
        let with = |lines: &str| format!("PUT /v2/ HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        check(&with(""), 200);
        check("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 200);
        check("GET / HTTP/1.1\nHost: a\n\n", 400);
        check("GET / HTTP/1.1\r\nHost: a\n\r\n", 400);
        check("GET / HTTP/1.1\r\n\r\n", 400);
        check("GET / HTTP/1.0\r\n\r\n", 200);
        check("GET / HTTP/1.1\r\nHost:\r\n\r\n", 200);
        check("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400);
        check("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400);
        check(&with("Host: a\r\n"), 400);
        check(&with("X: 1\r\n folded\r\n"), 400);
        check(&with("X : 1\r\n"), 400);
        check(&with("no colon\r\n"), 400);
        check(&with("Content-Length: 5\r\n"), 200);
        for length in ["+5", "-5", "0x5", "5,5", "5 5", "", "18446744073709551616", "9223372036854775808"] {
            check(&with(&format!("Content-Length: {length}\r\n")), 400);
        }
        check(&with("Content-Length: 5\r\nContent-Length: 5\r\n"), 400);
        check(&with("Content-Length: 5\r\nContent-Length: 6\r\n"), 400);
        check(&with("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), 400);
        check(&with("transfer-encoding: Chunked\r\n"), 200);
        check(&with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), 400);
        check(&with("Transfer-Encoding: gzip, chunked\r\n"), 501);
        check(&with("Transfer-Encoding: xchunked\r\n"), 501);
        check("PUT / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400);
        check(&with(&format!("X: {}\r\n", "x".repeat(70 << 10))), 431);
    }

    #[test]
    fn targets_are_bounded_and_printable() {
        let check = |target: &[u8], expected: u16| {
            let status =
                judge_target(target, &Limits::default()).map_or_else(|refusal| refusal.status.as_u16(), |()| 200);
            assert_eq!(status, expected);
        };
        check(b"/v2/", 200);
        check(&[b'a'; 8 << 10], 200);
        check(&[b'a'; (8 << 10) + 1], 414);
        check(b"/v2/\xc3\xa4", 400);
        check(b"/v2/ x", 400);
    }
}
