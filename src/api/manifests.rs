//! `/v2/<name>/manifests/<reference>`.
//!
//! A manifest is served as it was pushed, whatever `Accept` says: converting would break its digest, and refusing
//! would hide an image that is there. `Content-Type` tells the client what it got.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use crate::{
    api::{Body, Log, Reply, RequestBody, conditional, error::Error, gateway::Call, headers, tags},
    auth::{
        grant::RepositoryGrant,
        rules::{TagRules, Verdict},
    },
    oci::{digest::Digest, manifest, reference::Reference, tag::Tag},
    registry::{
        self,
        manifests::{Accepted, Incoming},
    },
};

/// Most `?tag=` parameters of one request: the specification wants ten at least.
const TAGS_MAX: usize = 100;

pub(in crate::api) async fn read(
    call: &Call<'_>,
    grant: &RepositoryGrant,
    reference: &Reference,
) -> Result<Reply, Error> {
    let stored = call.registry.manifests(grant.repository()).get(reference).await?;
    let digest = headers::digest(&stored.digest);
    let fields = [(headers::CONTENT_DIGEST, digest), (header::ETAG, conditional::etag(&stored.digest))];
    if conditional::is_known(call.headers, &stored.digest) {
        return Ok(headers::empty(StatusCode::NOT_MODIFIED, fields));
    }
    let mut headers = HeaderMap::from_iter(fields);
    let media_type = HeaderValue::try_from(stored.media_type)
        .unwrap_or_else(|_| HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_TYPE, media_type);
    Ok(Reply { status: StatusCode::OK, headers, body: Body::Full(stored.raw), log: Log::default() })
}

pub(in crate::api) async fn write(
    call: &Call<'_>,
    grant: &RepositoryGrant,
    reference: Reference,
    body: &mut dyn RequestBody,
) -> Result<Reply, Error> {
    call.refuse_encoded()?;
    let tags = wanted_tags(call)?;
    let rules = grant.tag_rules()?;
    let named = match &reference {
        Reference::Tag(tag) => Some(tag),
        Reference::Digest(_) => None,
    };
    let mut immutable = Vec::new();
    for tag in named.into_iter().chain(&tags) {
        if check_tag(call, grant, &rules, tag).await? == Verdict::Immutable {
            immutable.push(tag.clone());
        }
    }
    let raw = read_bounded(call, body).await?;
    let content_type = call.text(&header::CONTENT_TYPE).map(str::to_owned);
    let tagged = !tags.is_empty();
    let incoming = Incoming { reference, tags, immutable, content_type, raw };
    let accepted = call.registry.manifests(grant.repository()).put(incoming).await?;
    Ok(created(call, grant, &accepted, tagged))
}

pub(in crate::api) async fn delete(
    call: &Call<'_>,
    grant: &RepositoryGrant,
    reference: &Reference,
) -> Result<Reply, Error> {
    match reference {
        Reference::Tag(tag) => tags::delete(call, grant, tag).await,
        Reference::Digest(digest) => delete_by_digest(call, grant, digest).await,
    }
}

async fn delete_by_digest(call: &Call<'_>, grant: &RepositoryGrant, digest: &Digest) -> Result<Reply, Error> {
    if grant.tag_rules()?.delete_by_digest() != Verdict::Allowed {
        return Err(Error::ManifestProtected(digest.clone()));
    }
    call.registry.manifests(grant.repository()).delete(digest).await?;
    Ok(headers::empty(StatusCode::ACCEPTED, []))
}

/// The tags to set besides the reference, each once.
fn wanted_tags(call: &Call<'_>) -> Result<Vec<Tag>, Error> {
    let mut tags = Vec::new();
    for text in call.query.all("tag") {
        let tag: Tag = text.parse()?;
        if !tags.contains(&tag) {
            tags.push(tag);
        }
        if tags.len() > TAGS_MAX {
            return Err(Error::TooManyTags { most: TAGS_MAX });
        }
    }
    Ok(tags)
}

/// Every tag that is written is asked about, or a digest with `?tag=` would be a way around the rules. An immutable one
/// that does not exist may be made, by one push: which of several that is, is decided where it is written.
async fn check_tag(call: &Call<'_>, grant: &RepositoryGrant, rules: &TagRules, tag: &Tag) -> Result<Verdict, Error> {
    match rules.push(tag) {
        Verdict::Allowed => return Ok(Verdict::Allowed),
        Verdict::Protected => return Err(Error::TagProtected(tag.clone())),
        Verdict::Immutable => {}
    }
    match call.registry.tags(grant.repository()).resolve(tag).await {
        Ok(_) => Err(Error::TagImmutable(tag.clone())),
        Err(registry::error::Error::ManifestUnknown(_)) => Ok(Verdict::Immutable),
        Err(error) => Err(error.into()),
    }
}

/// The body, if it is no larger than manifests may be; of a larger one at most a chunk more is read.
async fn read_bounded(call: &Call<'_>, body: &mut dyn RequestBody) -> Result<Bytes, Error> {
    if call.content_length().is_some_and(|length| length > manifest::SIZE_MAX as u64) {
        return Err(Error::ManifestTooLarge);
    }
    let mut raw = BytesMut::new();
    while let Some(chunk) = body.chunk().await? {
        if raw.len() + chunk.len() > manifest::SIZE_MAX {
            return Err(Error::ManifestTooLarge);
        }
        raw.extend_from_slice(&chunk);
    }
    Ok(raw.freeze())
}

fn created(call: &Call<'_>, grant: &RepositoryGrant, accepted: &Accepted, tagged: bool) -> Reply {
    let location = call.base.manifest(grant.repository(), &accepted.digest);
    let fields = [(header::LOCATION, location), (headers::CONTENT_DIGEST, headers::digest(&accepted.digest))];
    let mut reply = headers::empty(StatusCode::CREATED, fields);
    for tag in accepted.tags.iter().filter(|_| tagged) {
        let tag = HeaderValue::from_str(tag.as_str()).expect("a tag is visible ASCII");
        reply.headers.append(headers::TAG, tag);
    }
    if let Some(subject) = &accepted.subject {
        reply.headers.insert(headers::SUBJECT, headers::digest(subject));
    }
    reply
}

/// The methods of this family.
pub(in crate::api) async fn answer(
    call: &Call<'_>,
    grant: &RepositoryGrant,
    reference: Reference,
    body: &mut dyn RequestBody,
) -> Result<Reply, Error> {
    match *call.method {
        Method::PUT => write(call, grant, reference, body).await,
        Method::DELETE => delete(call, grant, &reference).await,
        _ => read(call, grant, &reference).await,
    }
}
