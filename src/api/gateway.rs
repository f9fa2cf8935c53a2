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
        Body, Log, Reply, Request, RequestBody, Scheme, access, base, blobs, bounded, catalog,
        error::Error,
        gate, headers,
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
        authority::Authority,
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
            mark(&mut reply.headers, &self.settings);
        }
        secure(&mut reply.headers, &self.settings, request.connection.scheme);
        reply.log = log;
        reply
    }

    async fn answer(&self, route: Route, request: &mut Request, log: &mut Log) -> Result<Reply, Error> {
        *log = gate::log(&route);
        let Request { method, uri, headers, connection, body, .. } = request;
        let query = Query::parse(uri.query());
        let hint = self.hint(&route, &query);
        let grant = match access::required(&route, method, &query) {
            None => None,
            Some(access) => {
                let grace = hint.as_ref().filter(|_| matches!(*method, Method::PATCH | Method::PUT));
                let grace = grace.and_then(|hint| self.grace(hint.as_ref().ok()?));
                let credentials = gate::credentials(headers, uri, connection, &self.settings.base, grace);
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

/// What every answer of the API has.
pub(in crate::api) fn mark(headers: &mut HeaderMap, settings: &Settings) {
    headers.insert(headers::API_VERSION, HeaderValue::from_static("registry/2.0"));
    add(headers, settings);
}

/// What is configured for every answer, put on one that another registry gave.
pub fn dress(headers: &mut HeaderMap, settings: &Settings, scheme: Scheme) {
    add(headers, settings);
    secure(headers, settings, scheme);
}

/// In plain HTTP it would mean nothing, and must not be sent (RFC 6797 section 7.2).
fn secure(headers: &mut HeaderMap, settings: &Settings, scheme: Scheme) {
    if let (Some(hsts), Scheme::Https) = (&settings.hsts, scheme) {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, hsts.clone());
    }
}

fn add(headers: &mut HeaderMap, settings: &Settings) {
    for (name, value) in &settings.headers {
        // Configured twice, as GitLab's nosniff is, a header is still sent once.
        if !headers.get_all(name).iter().any(|own| own == value) {
            headers.append(name, value.clone());
        }
    }
}

/// Lengths, and no body for HEAD.
pub(in crate::api) fn finish(reply: &mut Reply, method: &Method) {
    let headers = &mut reply.headers;
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if matches!(reply.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        return;
    }
    let length = match &reply.body {
        Body::Empty => 0,
        Body::Full(body) => body.len() as u64,
        Body::Stream { length, .. } => *length,
        Body::Open(_) => return,
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

pub(in crate::api) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
