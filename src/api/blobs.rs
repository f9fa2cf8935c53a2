//! `/v2/<name>/blobs/<digest>`.

use std::{ops::Range, sync::Arc};

use futures_util::{StreamExt, TryStreamExt};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use uuid::Uuid;

use crate::{
    api::{
        Body, Log, Reply, StreamError, conditional,
        delivery::{self, Delivery},
        error::Error,
        gateway::Call,
        headers,
        multipart_ranges::{Multipart, content_range},
    },
    auth::grant::RepositoryGrant,
    oci::{byte_range::Wanted, digest::Digest},
    registry::blobs::Blob,
};

/// What a digest names never changes.
const FOR_EVER: HeaderValue = HeaderValue::from_static("max-age=31536000");
const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// The methods of this family.
pub(in crate::api) async fn answer(call: &Call<'_>, grant: &RepositoryGrant, digest: &Digest) -> Result<Reply, Error> {
    if *call.method == Method::DELETE {
        call.registry.blobs(grant.repository()).delete(digest).await?;
        return Ok(headers::empty(StatusCode::ACCEPTED, []));
    }
    let blob = call.registry.blobs(grant.repository()).stat(digest).await?;
    if let Delivery::Redirect(address) = delivery::choose(call, grant, &blob).await? {
        return Ok(delivery::redirect(&address, digest));
    }
    let mut reply = read(call, grant, &blob, digest).await?;
    let headers = &mut reply.headers;
    headers.insert(headers::CONTENT_DIGEST, headers::digest(digest));
    headers.insert(header::ETAG, conditional::etag(digest));
    headers.insert(header::CACHE_CONTROL, FOR_EVER);
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    Ok(reply)
}

async fn read(call: &Call<'_>, grant: &RepositoryGrant, blob: &Blob, digest: &Digest) -> Result<Reply, Error> {
    if conditional::is_known(call.headers, digest) {
        return Ok(headers::empty(StatusCode::NOT_MODIFIED, []));
    }
    if *call.method == Method::HEAD {
        let fields = [(header::CONTENT_TYPE, OCTETS), (header::CONTENT_LENGTH, HeaderValue::from(blob.size))];
        return Ok(headers::empty(StatusCode::OK, fields));
    }
    let wanted = conditional::range(call.headers, digest);
    match wanted.map_or(Wanted::Whole, |range| Wanted::parse(range, blob.size)) {
        Wanted::Whole => {
            let body = stream(call, grant, blob, None).await?;
            Ok(reply(StatusCode::OK, [(header::CONTENT_TYPE, OCTETS)].into_iter().collect(), body))
        }
        Wanted::One(range) => {
            let place = HeaderValue::try_from(content_range(&range, blob.size)).expect("digits are visible ASCII");
            let body = stream(call, grant, blob, Some(range)).await?;
            let fields = [(header::CONTENT_TYPE, OCTETS), (header::CONTENT_RANGE, place)];
            Ok(reply(StatusCode::PARTIAL_CONTENT, fields.into_iter().collect(), body))
        }
        Wanted::Many(ranges) => {
            let multipart = Multipart::new(ranges, blob.size, Uuid::new_v4());
            let fields = [(header::CONTENT_TYPE, multipart.content_type())].into_iter().collect();
            let body = multipart.into_body(Arc::clone(call.registry), grant.repository().clone(), blob.clone());
            Ok(reply(StatusCode::PARTIAL_CONTENT, fields, body))
        }
        Wanted::Unsatisfiable => {
            let size = HeaderValue::try_from(format!("bytes */{}", blob.size)).expect("digits are visible ASCII");
            Ok(headers::empty(StatusCode::RANGE_NOT_SATISFIABLE, [(header::CONTENT_RANGE, size)]))
        }
        Wanted::TooMany => Err(Error::TooManyRanges),
    }
}

/// The bytes, or some of them.
async fn stream(
    call: &Call<'_>,
    grant: &RepositoryGrant,
    blob: &Blob,
    range: Option<Range<u64>>,
) -> Result<Body, Error> {
    let length = range.as_ref().map_or(blob.size, |range| range.end - range.start);
    if length == 0 {
        return Ok(Body::Empty);
    }
    let object = call.registry.blobs(grant.repository()).open(blob, range).await?;
    let content = object.content.map_err(|error| StreamError(error.to_string())).boxed();
    Ok(Body::Stream { length, content })
}

fn reply(status: StatusCode, headers: HeaderMap, body: Body) -> Reply {
    Reply { status, headers, body, log: Log::default() }
}
