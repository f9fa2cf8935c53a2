//! One finished exchange: the source of the access line, the structured line and the metrics.

use std::{net::SocketAddr, time::Duration};

use time::OffsetDateTime;
use uuid::Uuid;

/// What the rim knows when an exchange has ended. Text is as the client sent it: raw, to be escaped where written.
#[derive(Clone, Debug)]
pub struct Exchange {
    pub id: Uuid,
    /// When the request's head was read.
    pub time: OffsetDateTime,
    /// The client, after PROXY protocol and trusted headers; none on a unix socket. Port 0 stands for one that is not
    /// known.
    pub peer: Option<SocketAddr>,
    pub host: String,
    /// Who the token or the password named.
    pub user: Option<String>,
    pub method: http::Method,
    /// Path and query.
    pub uri: String,
    pub version: http::Version,
    pub status: http::StatusCode,
    /// Bytes of the response's body.
    pub bytes_sent: u64,
    /// Bytes of the request's body.
    pub bytes_received: u64,
    pub duration: Duration,
    pub referer: Option<String>,
    pub user_agent: Option<String>,
    /// Of the response.
    pub content_type: Option<String>,
    /// The route's label, e.g. `blob_upload_chunk`; one of a fixed set.
    pub route: &'static str,
    pub repository: Option<String>,
    /// Tag or digest as it stood in the path of a manifest.
    pub reference: Option<String>,
    pub digest: Option<String>,
    /// The OCI error code and its public message, when the answer was an error.
    pub error: Option<(&'static str, String)>,
}

impl Exchange {
    /// The structured line at the exchange's end, in distribution's field names.
    pub fn log(&self) {
        let error = self.error.as_ref();
        tracing::info!(
            http.request.id = %self.id,
            http.request.method = %self.method,
            http.request.host = self.host,
            http.request.uri = crate::telemetry::access::redact(&self.uri),
            http.request.remoteaddr = self.peer.map(remote),
            http.request.useragent = self.user_agent,
            http.request.contentlength = self.bytes_received,
            http.response.status = self.status.as_u16(),
            http.response.written = self.bytes_sent,
            http.response.duration = ?self.duration,
            http.response.contenttype = self.content_type,
            vars.name = self.repository,
            vars.reference = self.reference,
            vars.digest = self.digest,
            auth.user.name = self.user,
            err.code = error.map(|(code, _)| *code),
            err.message = error.map(|(_, message)| message.as_str()),
            "response completed"
        );
    }
}

/// As Distribution writes it: without a port where a proxy named the client.
fn remote(peer: SocketAddr) -> String {
    if peer.port() == 0 { peer.ip().to_string() } else { peer.to_string() }
}
