//! Who is let in, where another registry answers: the same routes, needs and challenges, without a registry of ours.

use std::{fmt, sync::Arc};

use http::{HeaderMap, HeaderValue, Uri, header};

use crate::{
    api::{
        Connection, Head, Log, Reply, Target, access, bounded,
        error::Error,
        gateway::{finish, mark, text},
        location::Base,
        query::Query,
        route::{Route, Unrouted},
        settings::Settings,
    },
    auth::{
        authority::{Authority, Credentials},
        token::Grace,
    },
};

/// Types of bodies that servers in Go read parameters from, before those of the query: what was let in by the query
/// would be done by the body.
const FORMS: &[&str] = &["application/x-www-form-urlencoded", "multipart/form-data"];

/// Lets requests pass, or answers them.
pub struct Gate {
    authority: Arc<Authority>,
    settings: Settings,
}

impl Gate {
    #[must_use]
    pub const fn new(authority: Arc<Authority>, settings: Settings) -> Self {
        Self { authority, settings }
    }

    /// What the log says of a request that may go on, or the answer to one that may not. What is no route of ours goes
    /// nowhere: nobody could say what it needs.
    ///
    /// # Errors
    /// The answer.
    pub async fn admit(&self, request: Head<'_>) -> Result<Log, Reply> {
        let mut log = Log::default();
        let error = match Route::parse(request.uri.path(), self.settings.base.prefix()) {
            Ok(route) => match self.authorise(route, request, &mut log).await {
                Ok(()) => return Ok(log),
                Err(error) => error,
            },
            Err(unrouted) => unrouted.into(),
        };
        let outside = matches!(error, Error::Unrouted(Unrouted::Nothing | Unrouted::Version1));
        let (mut reply, failure) = error.into_reply();
        finish(&mut reply, request.method);
        if !outside {
            mark(&mut reply.headers, &self.settings);
        }
        reply.log = Log { failure: Some(failure), ..log };
        Err(reply)
    }

    async fn authorise(&self, route: Route, request: Head<'_>, log: &mut Log) -> Result<(), Error> {
        let Head { method, uri, headers, connection, .. } = request;
        *log = self::log(&route);
        if let Some(media_type) = form(headers) {
            return Err(Error::ContentType(media_type));
        }
        let Some(access) = access::required(&route, method, &Query::parse(uri.query())) else { return Ok(()) };
        let credentials = credentials(headers, uri, connection, &self.settings.base, None);
        let grant = self.authority.authorise(&credentials, &access).await?;
        log.subject = grant.identity().subject().map(bounded);
        Ok(())
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("authority", &self.authority).finish_non_exhaustive()
    }
}

/// What the log says of a request that nobody here looks at; `prefix` is that of all paths.
#[must_use]
pub fn describe(path: &str, prefix: &str) -> Log {
    Route::parse(path, prefix).map_or_else(|_| Log::default(), |route| log(&route))
}

/// What a route says to the log.
pub(in crate::api) fn log(route: &Route) -> Log {
    Log { route: Some(route.label()), repository: route.repository().cloned(), target: target(route), ..Log::default() }
}

/// What of a request decides who sent it.
pub(in crate::api) fn credentials<'a>(
    headers: &'a HeaderMap,
    uri: &'a Uri,
    connection: &'a Connection,
    base: &'a Base,
    grace: Option<Grace>,
) -> Credentials<'a> {
    let asked = text(headers, &header::HOST).or_else(|| uri.authority().map(http::uri::Authority::as_str));
    let (scheme, host) = seen(base, connection, asked);
    Credentials { authorization: headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes), host, scheme, grace }
}

/// Scheme and host under which this client reaches us; `asked` is what it sent itself.
fn seen<'a>(base: &'a Base, connection: &'a Connection, asked: Option<&'a str>) -> (&'a str, Option<&'a str>) {
    match (base.named(), &connection.origin) {
        (Some((scheme, host)), _) => (scheme, Some(host)),
        (None, Some(origin)) => (origin.scheme.name(), Some(&origin.authority)),
        // A plain connection may come from a proxy that has ended TLS without a word. As with the registry that we
        // replace, nobody is then sent away in plain HTTP with a password.
        (None, None) => ("https", asked),
    }
}

fn form(headers: &HeaderMap) -> Option<String> {
    let is_form = |value: &HeaderValue| {
        let media_type = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        FORMS.iter().any(|form| media_type.eq_ignore_ascii_case(form.as_bytes()))
    };
    let form = headers.get_all(header::CONTENT_TYPE).iter().find(|value| is_form(value))?;
    Some(String::from_utf8_lossy(form.as_bytes()).into_owned())
}

fn target(route: &Route) -> Option<Target> {
    match route {
        Route::Root | Route::Base | Route::Catalog | Route::Tags { .. } | Route::Uploads { .. } => None,
        Route::TagReference { tag, .. } => Some(Target::Reference(tag.to_string())),
        Route::Manifest { reference, .. } => Some(Target::Reference(reference.to_string())),
        Route::Blob { digest, .. } | Route::Referrers { digest, .. } => Some(Target::Digest(digest.to_string())),
        Route::Upload { id, .. } => Some(Target::Upload(bounded(id))),
    }
}
