//! How a blob reaches a client: from here, or by a redirect to where it lies.
//!
//! Sent away is only who will be served there as from here. The address knows nothing of our entity tags and takes one
//! range at most, so conditions and several ranges are answered from here; HEAD is, too, because what a registry says
//! about a blob is not what a storage says about an object. A single range needs nothing: the client repeats it there.

use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};

use crate::{
    api::{Reply, bounded, conditional, error::Error, gateway::Call, headers},
    auth::grant::RepositoryGrant,
    oci::{byte_range::Wanted, digest::Digest},
    registry::{self, blobs::Blob},
};

/// Not `Debug`: the address may be signed.
pub(in crate::api) enum Delivery {
    Redirect(Uri),
    Stream,
}

/// Decides for one request.
///
/// An address that cannot be had, because credentials are not there yet, say, is no reason to refuse what can be
/// streamed: that is said in the log, and the client is served from here.
pub(in crate::api) async fn choose(call: &Call<'_>, grant: &RepositoryGrant, blob: &Blob) -> Result<Delivery, Error> {
    let may = *call.method == Method::GET
        && call.settings.downloads.sends_away(call.address, blob.size)
        && is_answered_alike(call.headers, blob);
    if !may {
        return Ok(Delivery::Stream);
    }
    match call.registry.blobs(grant.repository()).locate(blob, call.address).await {
        Ok(address) => Ok(address.map_or(Delivery::Stream, Delivery::Redirect)),
        Err(error @ registry::error::Error::BlobUnknown(_)) => Err(error.into()),
        Err(error) => {
            let reason = Error::from(error).reason();
            tracing::warn!(vars.digest = %blob.digest, "streamed instead of redirected: {}", bounded(&reason));
            Ok(Delivery::Stream)
        }
    }
}

/// Whether a storage that sees these headers again answers as we would.
fn is_answered_alike(headers: &HeaderMap, blob: &Blob) -> bool {
    let by_tag = [header::IF_RANGE, header::IF_MATCH].iter().any(|name| headers.contains_key(name));
    if by_tag || conditional::is_known(headers, &blob.digest) {
        return false;
    }
    let Some(range) = headers.get(header::RANGE) else { return true };
    let Ok(range) = range.to_str() else { return false };
    // Several that come to one here are still several there.
    !range.contains(',') && matches!(Wanted::parse(range, blob.size), Wanted::Whole | Wanted::One(_))
}

/// 307, so that the client asks there in the same way.
///
/// Nobody may keep it: it ends with the signature, and with the right of the one who asked.
pub(in crate::api) fn redirect(address: &Uri, digest: &Digest) -> Reply {
    let mut location = HeaderValue::try_from(address.to_string()).expect("an address is visible ASCII");
    // Kept out of `Debug`, and out of the tables of HTTP/2's compression.
    location.set_sensitive(true);
    let fields = [
        (header::LOCATION, location),
        (headers::CONTENT_DIGEST, headers::digest(digest)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    headers::empty(StatusCode::TEMPORARY_REDIRECT, fields)
}
