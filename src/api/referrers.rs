//! `/v2/<name>/referrers/<digest>`: the manifests whose subject is this one (OCI distribution-spec 1.1, "Listing
//! Referrers").

use http::{HeaderValue, header};
use serde_json::value::RawValue;

use crate::{
    api::{Reply, error::Error, gateway::Call, headers},
    auth::grant::RepositoryGrant,
    oci::digest::Digest,
    registry::page::Window,
};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Most descriptors on a page.
const PAGE_MAX: usize = 1000;

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Index<'a> {
    schema_version: u32,
    media_type: &'static str,
    manifests: Vec<&'a RawValue>,
}

pub(in crate::api) async fn list(call: &Call<'_>, grant: &RepositoryGrant, subject: &Digest) -> Result<Reply, Error> {
    let repository = grant.repository();
    let artifact_type = call.query.first("artifactType").filter(|wanted| !wanted.is_empty());
    let window = Window { after: call.query.first("last").map(str::to_owned), limit: PAGE_MAX };
    let page = call.registry.referrers(repository).list(subject, artifact_type, &window).await?;
    let manifests = page.items.iter().map(|referrer| &*referrer.descriptor).collect();
    let mut reply = headers::json(INDEX, &Index { schema_version: 2, media_type: INDEX, manifests });
    if artifact_type.is_some() {
        reply.headers.insert(headers::FILTERS_APPLIED, HeaderValue::from_static("artifactType"));
    }
    if let Some(last) = page.items.last().filter(|_| page.more) {
        let last = last.digest.to_string();
        let filter = artifact_type.map(|wanted| ("artifactType", wanted));
        let parameters: Vec<_> = filter.into_iter().chain([("last", last.as_str())]).collect();
        let path = format!("{repository}/referrers/{subject}");
        reply.headers.insert(header::LINK, call.base.next(&path, &parameters));
    }
    Ok(reply)
}
