//! Proofs for a certificate authority that asks whether this server answers for a name (ACME, RFC 8555 and RFC 8737).
//!
//! A request for a token is answered before the handler, and so before anybody is asked who they are; a handshake that
//! offers `acme-tls/1` alone is completed with the certificate of the challenge and ends there. What is pending is known
//! to [`Challenges`]; whoever asks for anything else hears 404, or the alert that every unknown protocol gets.

use std::{fmt, io, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use rustls::{ServerConfig, server::ClientHello};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_rustls::StartHandshake;

use crate::{
    api::{Body, Log, Reply, Request},
    server::Handler,
};

/// Where the tokens of HTTP-01 are asked for (RFC 8555 section 8.3).
const PATH: &str = "/.well-known/acme-challenge/";

/// The protocol that TLS-ALPN-01 offers, and nothing beside it (RFC 8737 section 4).
const PROTOCOL: &[u8] = b"acme-tls/1";

/// What a metric and the access log call such a request.
const ROUTE: &str = "acme_challenge";

/// The answers that are pending. Both questions can be asked by anybody, at any rate, with any text.
#[async_trait]
pub trait Challenges: fmt::Debug + Send + Sync + 'static {
    /// The key authorization for the token of an HTTP-01 challenge.
    async fn key_authorization(&self, token: &str) -> Option<String>;

    /// The terms of the handshake that proves a name, in lower case, by TLS-ALPN-01.
    async fn proof(&self, name: &str) -> Option<Arc<ServerConfig>>;
}

/// The token that a request asks for.
pub(super) fn token(request: &Request) -> Option<String> {
    let token = request.uri.path().strip_prefix(PATH)?;
    (request.method == Method::GET || request.method == Method::HEAD).then(|| token.to_owned())
}

/// The answer to a request for a token.
pub(super) async fn answer(challenges: &dyn Challenges, token: &str) -> Reply {
    match challenges.key_authorization(token).await {
        Some(text) => reply(StatusCode::OK, text),
        None => reply(StatusCode::NOT_FOUND, String::new()),
    }
}

fn reply(status: StatusCode, text: String) -> Reply {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
    let log = Log { route: Some(ROUTE), ..Log::default() };
    Reply { status, headers, body: Body::Full(Bytes::from(text)), log }
}

/// The terms for a handshake that asks for a proof which is pending. Who offers `acme-tls/1` alone where nothing is pending
/// has no protocol in common with us, and is told so as anybody is.
pub(super) fn proof<'a>(
    challenges: Option<&'a dyn Challenges>,
    hello: &ClientHello<'_>,
) -> impl Future<Output = Option<Arc<ServerConfig>>> + Send + use<'a> {
    let asked = challenges.zip(name_to_prove(hello));
    async move {
        let (challenges, name) = asked?;
        challenges.proof(&name).await
    }
}

/// Completes such a handshake, and ends the connection with it.
pub(super) async fn prove<S>(begun: StartHandshake<S>, proof: Arc<ServerConfig>) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut proven = begun.into_stream(proof).await?;
    // Whoever asked has seen what it came for.
    let _ = proven.shutdown().await;
    Ok(())
}

/// The name in a hello that is one of TLS-ALPN-01.
fn name_to_prove(hello: &ClientHello<'_>) -> Option<String> {
    let mut protocols = hello.alpn()?;
    let asks = protocols.next() == Some(PROTOCOL) && protocols.next().is_none();
    asks.then(|| hello.server_name().map(str::to_ascii_lowercase))?
}

/// Knows no path: for listeners that only answer challenges.
pub(super) struct Nothing;

#[async_trait]
impl Handler for Nothing {
    async fn handle(&self, _request: Request) -> Reply {
        reply(StatusCode::NOT_FOUND, String::new())
    }
}
