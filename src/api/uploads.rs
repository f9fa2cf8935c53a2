//! `/v2/<name>/blobs/uploads/` and what lies below: blobs on their way in (OCI distribution-spec, "Pushing blobs").

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use crate::{
    api::{BodyError, Reply, RequestBody, error::Error, gateway::Call, headers},
    auth::grant::{Readable, RepositoryGrant},
    oci::{
        byte_range::parse_chunk_range,
        digest::{Algorithm, Digest},
        name::RepositoryName,
    },
    registry::{
        self,
        blobs::Blob,
        uploads::{self, Extent, Hint, Incoming, Interrupted, Progress, TokenHash, Upload},
    },
};

/// Where a mounted blob may come from.
pub(in crate::api) enum Source<'a> {
    /// The repository that the client named and may pull from.
    Granted(&'a RepositoryName),
    /// It named one that it may not read, or none that can be: as good as a repository without the blob.
    Refused,
    /// It named none: any repository that it may read.
    Anywhere,
}

/// POST: mounts a blob, takes a whole one, or starts an upload.
pub(in crate::api) async fn start(
    call: &Call<'_>,
    grant: &RepositoryGrant,
    source: Source<'_>,
    body: &mut dyn RequestBody,
) -> Result<Reply, Error> {
    let wanted: Option<Digest> = call.query.first("mount").and_then(|mount| mount.parse().ok());
    if let Some(digest) = &wanted
        && mount(call, grant, source, digest).await?
    {
        return Ok(created(call, grant, digest));
    }
    if let Some(text) = call.query.first("digest") {
        let digest: Digest = text.parse()?;
        call.refuse_encoded()?;
        let uploads = call.registry.uploads(grant.repository());
        uploads.store(&digest, extent(call)?, &mut Inbound(body)).await?;
        return Ok(created(call, grant, &digest));
    }
    let announced = call.query.first("digest-algorithm").map(str::parse::<Algorithm>).transpose()?;
    let algorithm = announced.or_else(|| wanted.as_ref().map(Digest::algorithm));
    let progress = call.registry.uploads(grant.repository()).start(algorithm, token(grant));
    let mut reply = accepted(call, grant, &progress, StatusCode::ACCEPTED);
    if let Some(least) = call.settings.chunk_size_min {
        reply.headers.insert(headers::CHUNK_MIN_LENGTH, HeaderValue::from(least));
    }
    Ok(reply)
}

/// Whether the blob belongs to the repository now. That another repository lacks it is no error: the client uploads.
async fn mount(call: &Call<'_>, grant: &RepositoryGrant, source: Source<'_>, digest: &Digest) -> Result<bool, Error> {
    let blobs = call.registry.blobs(grant.repository());
    match source {
        Source::Granted(from) => found(blobs.mount(digest, from).await),
        Source::Refused => Ok(false),
        Source::Anywhere => {
            if found(blobs.stat(digest).await)? {
                return Ok(true);
            }
            match grant.identity().readable() {
                Readable::Everything => found(blobs.adopt(digest).await),
                Readable::Only(names) => {
                    for from in names.iter().filter(|name| *name != grant.repository()) {
                        if found(blobs.mount(digest, from).await)? {
                            return Ok(true);
                        }
                    }
                    Ok(false)
                }
            }
        }
    }
}

fn found(outcome: Result<Blob, registry::error::Error>) -> Result<bool, Error> {
    match outcome {
        Ok(_) => Ok(true),
        Err(registry::error::Error::BlobUnknown(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The methods of an upload that was started; `hint` is what its `_state` says, if it had one.
pub(in crate::api) async fn resume(
    call: &Call<'_>,
    grant: &RepositoryGrant,
    id: &str,
    hint: Option<Result<Hint, uploads::Error>>,
    body: &mut dyn RequestBody,
) -> Result<Reply, Error> {
    let uploads = call.registry.uploads(grant.repository());
    let upload = match hint {
        Some(hint) => uploads.resume(hint?),
        None if matches!(*call.method, Method::GET | Method::HEAD) => {
            let progress = uploads.status(id, token(grant)).await?;
            return Ok(accepted(call, grant, &progress, StatusCode::NO_CONTENT));
        }
        None => return Err(uploads::Error::StateInvalid.into()),
    };
    match *call.method {
        Method::PATCH => append(call, grant, upload, body).await,
        Method::PUT => complete(call, grant, upload, body).await,
        Method::DELETE => {
            upload.abort().await?;
            let id = HeaderValue::from_str(id).unwrap_or_else(|_| HeaderValue::from_static(""));
            Ok(headers::empty(StatusCode::NO_CONTENT, [(headers::UPLOAD_UUID, id)]))
        }
        _ => {
            let progress = upload.status(token(grant)).await?;
            Ok(accepted(call, grant, &progress, StatusCode::NO_CONTENT))
        }
    }
}

async fn append(
    call: &Call<'_>,
    grant: &RepositoryGrant,
    upload: Upload<'_>,
    body: &mut dyn RequestBody,
) -> Result<Reply, Error> {
    call.refuse_encoded()?;
    let media_type = call.text(&header::CONTENT_TYPE).unwrap_or("application/octet-stream");
    if !media_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/octet-stream") {
        return Err(Error::ContentType(media_type.to_owned()));
    }
    match upload.append(extent(call)?, token(grant), &mut Inbound(body)).await {
        Ok(progress) => Ok(accepted(call, grant, &progress, StatusCode::ACCEPTED)),
        Err(error) => Err(explained(call, grant, error)),
    }
}

async fn complete(
    call: &Call<'_>,
    grant: &RepositoryGrant,
    upload: Upload<'_>,
    body: &mut dyn RequestBody,
) -> Result<Reply, Error> {
    call.refuse_encoded()?;
    let digest: Digest = call.query.first("digest").ok_or(Error::DigestMissing)?.parse()?;
    match upload.complete(&digest, extent(call)?, &mut Inbound(body)).await {
        Ok(_) => Ok(created(call, grant, &digest)),
        Err(error) => Err(explained(call, grant, error)),
    }
}

/// A client whose bytes do not fit is told how far the upload has come, so that it can go on from there.
fn explained(call: &Call<'_>, grant: &RepositoryGrant, error: uploads::Error) -> Error {
    match error {
        uploads::Error::OutOfOrder { committed } => Error::OutOfOrder { resume: position(call, grant, &committed) },
        other => other.into(),
    }
}

/// 201 for the digest that the client named.
fn created(call: &Call<'_>, grant: &RepositoryGrant, digest: &Digest) -> Reply {
    let location = call.base.blob(grant.repository(), digest);
    let fields = [(header::LOCATION, location), (headers::CONTENT_DIGEST, headers::digest(digest))];
    headers::empty(StatusCode::CREATED, fields)
}

fn accepted(call: &Call<'_>, grant: &RepositoryGrant, progress: &Progress, status: StatusCode) -> Reply {
    let mut reply = headers::empty(status, []);
    reply.headers = position(call, grant, progress);
    reply
}

/// Where an upload goes on. An empty one has the range `0-0`, too: there is no way to write none.
fn position(call: &Call<'_>, grant: &RepositoryGrant, progress: &Progress) -> HeaderMap {
    let location = call.base.upload(grant.repository(), progress.id, &progress.state);
    let range = format!("0-{}", progress.offset.saturating_sub(1));
    let visible = |text: String| HeaderValue::try_from(text).expect("digits and dashes are visible ASCII");
    HeaderMap::from_iter([
        (header::LOCATION, location),
        (header::RANGE, visible(range)),
        (headers::UPLOAD_UUID, visible(progress.id.to_string())),
    ])
}

/// Where the body's bytes belong, as the head says.
fn extent(call: &Call<'_>) -> Result<Extent, Error> {
    let range = match call.headers.get(header::CONTENT_RANGE) {
        Some(range) => Some(parse_chunk_range(range.to_str().unwrap_or_default())?),
        None => None,
    };
    Ok(Extent { range, length: call.content_length() })
}

fn token(grant: &RepositoryGrant) -> Option<TokenHash> {
    grant.identity().token_hash().copied()
}

/// A request's body, as the registry takes it.
struct Inbound<'a>(&'a mut dyn RequestBody);

#[async_trait]
impl Incoming for Inbound<'_> {
    async fn chunk(&mut self) -> Result<Option<Bytes>, Interrupted> {
        self.0.chunk().await.map_err(|error| match error {
            BodyError::Disconnected => Interrupted::Disconnected,
            BodyError::TimedOut => Interrupted::TimedOut,
            BodyError::Malformed => Interrupted::Malformed,
        })
    }
}
