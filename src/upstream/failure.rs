//! What goes wrong between a client and a server behind us, and what the client is told.

use std::io;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use rustix::io::Errno;
use tracing::Level;

use crate::{
    api::{Body, BodyError, Failure as Logged, Log, Reply},
    oci::error_code::ErrorCode,
};

/// Seconds after which a client may try again where no server can be reached.
const RETRY_AFTER_SECS: HeaderValue = HeaderValue::from_static("5");

/// nginx's status for a client that went away: nobody reads it, the access log has it.
const CLIENT_CLOSED_REQUEST: u16 = 499;

#[derive(Debug, thiserror::Error)]
pub(in crate::upstream) enum Failure {
    #[error("a health check failed")]
    Unhealthy,
    #[error("every upstream fails its check")]
    Down,
    #[error("no upstream can be reached: {0}")]
    Unreachable(String),
    #[error(
        "as many connections to upstreams are open as edge.upstream.connections_max, or the limit of descriptors, allows"
    )]
    Crowded,
    /// For want of descriptors or ports of our own.
    #[error("this process can make no connection to an upstream: {0}")]
    Exhausted(String),
    #[error("{server} broke off: {why}")]
    Broken { server: String, why: String },
    #[error("{server} did not move for too long")]
    Stalled { server: String },
    #[error(transparent)]
    Client(BodyError),
    #[error("the client went away")]
    Gone,
}

impl Failure {
    /// The reply, with the line for the log in it.
    pub(in crate::upstream) fn into_reply(self) -> Reply {
        let closed = || StatusCode::from_u16(CLIENT_CLOSED_REQUEST).unwrap_or(StatusCode::BAD_REQUEST);
        let (status, code, message) = match &self {
            Self::Unhealthy => (StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable, "a health check failed"),
            Self::Down | Self::Unreachable(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable, "the upstream cannot be reached")
            }
            Self::Crowded | Self::Exhausted(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable, "too many requests are on their way")
            }
            Self::Broken { .. } => (StatusCode::BAD_GATEWAY, ErrorCode::Unavailable, "the upstream broke off"),
            Self::Stalled { .. } => (StatusCode::GATEWAY_TIMEOUT, ErrorCode::Unavailable, "the upstream is too slow"),
            Self::Client(BodyError::TimedOut) => {
                (StatusCode::REQUEST_TIMEOUT, ErrorCode::Unknown, "the client sent too slowly")
            }
            Self::Client(BodyError::Malformed) => {
                (StatusCode::BAD_REQUEST, ErrorCode::Unknown, "the request is malformed")
            }
            Self::Client(BodyError::Disconnected) | Self::Gone => {
                (closed(), ErrorCode::Unknown, "the client went away")
            }
        };
        let level = if status.is_server_error() { Level::ERROR } else { Level::INFO };
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER_SECS);
        }
        let body = serde_json::json!({ "errors": [{ "code": code.as_str(), "message": message }] });
        let failure = Logged::new(code.as_str(), level, &self.to_string());
        Reply {
            status,
            headers,
            body: Body::Full(Bytes::from(format!("{body}\n"))),
            log: Log { failure: Some(failure), ..Log::default() },
        }
    }
}

/// Whether a connection failed for want of something here, which says nothing of the server: descriptors, ports, memory.
/// That there is no address of a family here is not among them (see `endpoint`).
pub(in crate::upstream) fn is_ours(error: &io::Error) -> bool {
    let ours = [Errno::MFILE, Errno::NFILE, Errno::ADDRNOTAVAIL, Errno::NOBUFS, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|errno| ours.contains(&errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_here_is_not_the_servers_fault() {
        let check = |errno: Errno, expected| assert_eq!(is_ours(&io::Error::from(errno)), expected, "{errno}");
        check(Errno::MFILE, true);
        check(Errno::NFILE, true);
        check(Errno::ADDRNOTAVAIL, true);
        check(Errno::CONNREFUSED, false);
        check(Errno::NETUNREACH, false);
        assert!(!is_ours(&io::Error::other("a certificate")));
    }

    #[test]
    fn a_client_is_told_what_to_do_and_the_log_why() {
        let server = || "http://10.0.0.1:5000".to_owned();
        for (failure, status) in [
            (Failure::Down, 503),
            (Failure::Unreachable("http://10.0.0.1:5000: refused".to_owned()), 503),
            (Failure::Crowded, 503),
            (Failure::Exhausted("too many open files".to_owned()), 503),
            (Failure::Broken { server: server(), why: "reset".to_owned() }, 502),
            (Failure::Stalled { server: server() }, 504),
            (Failure::Client(BodyError::TimedOut), 408),
            (Failure::Client(BodyError::Malformed), 400),
            (Failure::Client(BodyError::Disconnected), 499),
            (Failure::Gone, 499),
        ] {
            let reason = failure.to_string();
            let reply = failure.into_reply();
            let Body::Full(body) = &reply.body else { panic!("an error has a body") };
            let body: serde_json::Value = serde_json::from_slice(body).unwrap();
            assert_eq!(reply.status.as_u16(), status, "{reason}");
            assert_eq!(reply.headers.contains_key(header::RETRY_AFTER), status == 503, "{reason}");
            // Where the servers are is nobody's business.
            assert!(!body.to_string().contains("10.0.0.1") && body["errors"][0]["code"].is_string(), "{body}");
            assert_eq!(reply.log.failure.unwrap().reason, reason);
        }
    }
}
