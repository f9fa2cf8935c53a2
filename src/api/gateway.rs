//! From a request to its reply.

use std::{
    fmt,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use crate::{
    admission::Admission,
    api::{
        Body, Connection, Log, Reply, Request, RequestBody, Target, access, base, blobs, bounded, catalog,
        error::Error,
        headers,
        location::Base,
        manifests,
        metered::{self, Metered},
        query::Query,
        referrers,
        route::{Route, Unrouted},
        settings::{Mode, Settings},
        tags,
        uploads::{self, Source},
    },
    auth::{
        authority::{Authority, Credentials},
        grant::{Grant, RepositoryGrant},
        token::Grace,
    },
    registry::{
        Registry,
        uploads::{Error as UploadError, Hint},
    },
};

/// Answers requests.
pub struct Gateway {
    registry: Arc<Registry>,
    authority: Arc<Authority>,
    settings: Settings,
    unhealthy: Arc<AtomicBool>,
    demoted: Arc<AtomicBool>,
    admission: Arc<Admission>,
}

/// A request past its authorisation, without its body.
pub(in crate::api) struct Call<'a> {
    pub(in crate::api) registry: &'a Arc<Registry>,
    pub(in crate::api) settings: &'a Settings,
    /// The API's root as this client sees it.
    pub(in crate::api) base: &'a Base,
    pub(in crate::api) method: &'a Method,
    pub(in crate::api) headers: &'a HeaderMap,
    pub(in crate::api) query: &'a Query<'a>,
    /// The client's; `None` on a unix socket.
    pub(in crate::api) address: Option<IpAddr>,
}

impl Gateway {
    /// While `unhealthy` is set, every request is answered with 503; while `demoted` is, nothing is written.
    #[must_use]
    pub fn new(
        registry: Arc<Registry>,
        authority: Arc<Authority>,
        settings: Settings,
        unhealthy: Arc<AtomicBool>,
        demoted: Arc<AtomicBool>,
    ) -> Self {
        Self { registry, authority, settings, unhealthy, demoted, admission: Arc::default() }
    }

    /// The same, where logins may take no more than this says.
    #[must_use]
    pub fn limited_by(self, admission: Arc<Admission>) -> Self {
        Self { admission, ..self }
    }

    /// The answer to one request; what went wrong, too, is an answer.
    pub async fn handle(&self, mut request: Request) -> Reply {
        let mut log = Log::default();
        let path = request.uri.path().to_owned();
        let route = if self.unhealthy.load(Ordering::Relaxed) {
            Err(Error::Unhealthy)
        } else {
            Route::parse(&path, self.settings.base.prefix()).map_err(Error::from)
        };
        let outside = matches!(
            route,
            Ok(Route::Root) | Err(Error::Unhealthy | Error::Unrouted(Unrouted::Nothing | Unrouted::Version1))
        );
        let outcome = match route {
            Ok(route) => self.answer(route, &mut request, &mut log).await,
            Err(error) => Err(error),
        };
        let mut reply = outcome.unwrap_or_else(|error| {
            let (reply, failure) = error.into_reply();
            log.failure = Some(failure);
            reply
        });
        finish(&mut reply, &request.method);
        if !outside {
            self.mark(&mut reply.headers);
        }
        reply.log = log;
        reply
    }

    async fn answer(&self, route: Route, request: &mut Request, log: &mut Log) -> Result<Reply, Error> {
        log.route = Some(route.label());
        log.repository = route.repository().cloned();
        log.target = target(&route);
        let Request { method, uri, headers, connection, body, .. } = request;
        let query = Query::parse(uri.query());
        let hint = self.hint(&route, &query);
        let grant = match access::required(&route, method, &query) {
            None => None,
            Some(access) => {
                let grace = hint.as_ref().filter(|_| matches!(*method, Method::PATCH | Method::PUT));
                let asked = text(headers, &header::HOST).or_else(|| uri.authority().map(http::uri::Authority::as_str));
                let (scheme, host) = self.seen(connection, asked);
                let credentials = Credentials {
                    authorization: headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes),
                    host,
                    scheme,
                    grace: grace.and_then(|hint| self.grace(hint.as_ref().ok()?)),
                };
                Some(self.authority.authorise(&credentials, &access).await?)
            }
        };
        let client = metered::take(&self.admission, grant.as_ref());
        log.subject = grant.as_ref().and_then(|grant| grant.identity().subject()).map(bounded);
        let client = client?;
        let allowed = self.mode().restrict(route.methods());
        if *method == Method::OPTIONS {
            let allow = HeaderValue::try_from(allowed.allow()).expect("method names are visible ASCII");
            return Ok(headers::empty(StatusCode::OK, [(header::ALLOW, allow)]));
        }
        if !allowed.contains(method) {
            return Err(Error::MethodNotAllowed(allowed));
        }
        let (registry, settings) = (&self.registry, &self.settings);
        let address = connection.peer.map(|peer| peer.ip());
        let base = settings.base.seen(connection.origin.as_ref());
        let call = Call { registry, settings, base: &base, method, headers, query: &query, address };
        let mut body = Metered { body: body.as_mut(), client: client.clone() };
        let reply = dispatch(&call, route, grant, hint, &mut body).await?;
        Ok(match &client {
            Some(client) => Reply { body: metered::slowed(reply.body, client), ..reply },
            None => reply,
        })
    }

    /// Scheme and host under which this client reaches us; `asked` is what it sent itself.
    fn seen<'a>(&'a self, connection: &'a Connection, asked: Option<&'a str>) -> (&'a str, Option<&'a str>) {
        match (self.settings.base.named(), &connection.origin) {
            (Some((scheme, host)), _) => (scheme, Some(host)),
            (None, Some(origin)) => (origin.scheme.name(), Some(&origin.authority)),
            // A plain connection may come from a proxy that has ended TLS without a word. As with the registry that we
            // replace, nobody is then sent away in plain HTTP with a password.
            (None, None) => ("https", asked),
        }
    }

    /// What the `_state` of an upload says, if it has one: found without touching the storage.
    fn hint(&self, route: &Route, query: &Query<'_>) -> Option<Result<Hint, UploadError>> {
        let Route::Upload { repository, id } = route else { return None };
        Some(self.registry.uploads(repository).verify(id, query.first("_state")?))
    }

    fn mode(&self) -> Mode {
        if self.demoted.load(Ordering::Relaxed) { Mode::ReadOnly } else { self.settings.mode }
    }

    /// The token that the upload was last authorised with may finish it.
    fn grace(&self, hint: &Hint) -> Option<Grace> {
        let duration = self.settings.token_grace;
        hint.token.filter(|_| !duration.is_zero()).map(|token| Grace { token, duration })
    }

    /// What every answer of the API has.
    fn mark(&self, headers: &mut HeaderMap) {
        headers.insert(headers::API_VERSION, HeaderValue::from_static("registry/2.0"));
        for (name, value) in &self.settings.headers {
            // Configured twice, as GitLab's nosniff is, a header is still sent once.
            if !headers.get_all(name).iter().any(|own| own == value) {
                headers.append(name, value.clone());
            }
        }
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("settings", &self.settings).finish_non_exhaustive()
    }
}

async fn dispatch(
    call: &Call<'_>,
    route: Route,
    grant: Option<Grant>,
    hint: Option<Result<Hint, UploadError>>,
    body: &mut dyn RequestBody,
) -> Result<Reply, Error> {
    let repository = || grant.as_ref().and_then(repository).ok_or(Error::GrantMismatch);
    match route {
        Route::Root => Ok(base::root()),
        Route::Base => Ok(base::version(call.settings.mode)),
        Route::Catalog => match &grant {
            Some(Grant::Catalog(_)) => catalog::list(call).await,
            _ => Err(Error::GrantMismatch),
        },
        Route::Tags { .. } => tags::list(call, repository()?).await,
        Route::TagReference { tag, .. } => tags::delete(call, repository()?, &tag).await,
        Route::Manifest { reference, .. } => manifests::answer(call, repository()?, reference, body).await,
        Route::Blob { digest, .. } => blobs::answer(call, repository()?, &digest).await,
        Route::Uploads { .. } => uploads::start(call, repository()?, source(call, grant.as_ref()), body).await,
        Route::Upload { id, .. } => uploads::resume(call, repository()?, &id, hint, body).await,
        Route::Referrers { digest, .. } => referrers::list(call, repository()?, &digest).await,
    }
}

const fn repository(grant: &Grant) -> Option<&RepositoryGrant> {
    match grant {
        Grant::Repository(grant) | Grant::Mount { to: grant, .. } => Some(grant),
        Grant::Base(_) | Grant::Catalog(_) => None,
    }
}

fn source<'a>(call: &Call<'_>, grant: Option<&'a Grant>) -> Source<'a> {
    match grant {
        Some(Grant::Mount { from: Some(from), .. }) => Source::Granted(from.repository()),
        _ if call.query.first("from").is_some() => Source::Refused,
        _ => Source::Anywhere,
    }
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

/// Lengths, and no body for HEAD.
fn finish(reply: &mut Reply, method: &Method) {
    let headers = &mut reply.headers;
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if matches!(reply.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        return;
    }
    let length = match &reply.body {
        Body::Empty => 0,
        Body::Full(body) => body.len() as u64,
        Body::Stream { length, .. } => *length,
    };
    // HEAD of a blob has said its length already.
    headers.entry(header::CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
    if *method == Method::HEAD {
        reply.body = Body::Empty;
    }
}

impl Call<'_> {
    pub(in crate::api) fn text(&self, name: &HeaderName) -> Option<&str> {
        text(self.headers, name)
    }

    /// What `Content-Length` says; whether it is written correctly was decided where the request was read.
    pub(in crate::api) fn content_length(&self) -> Option<u64> {
        self.text(&header::CONTENT_LENGTH)?.parse().ok()
    }

    /// Content is addressed by its digest, so a body that was encoded for the way is not the content.
    pub(in crate::api) fn refuse_encoded(&self) -> Result<(), Error> {
        match self.headers.get(header::CONTENT_ENCODING) {
            Some(encoding) if !encoding.as_bytes().eq_ignore_ascii_case(b"identity") => {
                Err(Error::ContentEncoding(String::from_utf8_lossy(encoding.as_bytes()).into_owned()))
            }
            _ => Ok(()),
        }
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
