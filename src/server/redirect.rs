//! The plain listener that serves nothing but the way to https.

use async_trait::async_trait;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::{
    api::{Body, Log, Reply, Request},
    server::Handler,
};

/// Sends every request to the same path under one fixed authority, whatever `Host` says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Redirect {
    origin: String,
}

/// How such requests are counted.
const LABEL: &str = "redirect";

impl Redirect {
    /// `authority` is `host` or `host:port`.
    #[must_use]
    pub fn new(authority: &str) -> Self {
        Self { origin: format!("https://{authority}") }
    }

    fn location(&self, request: &Request) -> Option<HeaderValue> {
        let target = request.uri.path_and_query().map_or("/", |target| target.as_str());
        // `OPTIONS *` is about the server and has no path.
        let target = if target.starts_with('/') { target } else { "/" };
        HeaderValue::try_from(format!("{}{target}", self.origin)).ok()
    }
}

#[async_trait]
impl Handler for Redirect {
    /// 301 for every method, as administrators know it; who pushes in plain HTTP has to say https himself.
    async fn handle(&self, request: Request) -> Reply {
        let log = Log { route: Some(LABEL), ..Log::default() };
        let Some(location) = self.location(&request) else {
            return Reply { status: StatusCode::BAD_REQUEST, headers: HeaderMap::new(), body: Body::Empty, log };
        };
        let headers = HeaderMap::from_iter([(header::LOCATION, location)]);
        Reply { status: StatusCode::MOVED_PERMANENTLY, headers, body: Body::Empty, log }
    }
}
