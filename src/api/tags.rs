//! `/v2/<name>/tags/list`, and the way in which older GitLab deletes a tag.

use http::{StatusCode, header};

use crate::{
    api::{Reply, error::Error, gateway::Call, headers, paging},
    auth::{grant::RepositoryGrant, rules::Verdict},
    oci::tag::Tag,
    registry::page::Window,
};

#[derive(serde::Serialize)]
struct Document<'a> {
    name: &'a str,
    tags: Vec<&'a str>,
}

/// One page; without `n` it is as large as pages get, so that clients which know no pages see all tags of all but
/// enormous repositories.
pub(in crate::api) async fn list(call: &Call<'_>, grant: &RepositoryGrant) -> Result<Reply, Error> {
    let repository = grant.repository();
    let window = paging::clamped(call.query, call.settings.tags_max)?;
    // An empty page still tells whether the repository exists.
    let looked_at = Window { limit: window.limit.max(1), ..window.clone() };
    let page = call.registry.tags(repository).list(&looked_at).await?;
    let shown = &page.items[..page.items.len().min(window.limit)];
    let document = Document { name: repository.as_str(), tags: shown.iter().map(Tag::as_str).collect() };
    let mut reply = headers::json("application/json", &document);
    if let Some(last) = shown.last().filter(|_| page.more) {
        let parameters = [("last", last.as_str()), ("n", &window.limit.to_string())];
        reply.headers.insert(header::LINK, call.base.next(&format!("{repository}/tags/list"), &parameters));
    }
    Ok(reply)
}

/// Removes a tag; its manifest stays.
pub(in crate::api) async fn delete(call: &Call<'_>, grant: &RepositoryGrant, tag: &Tag) -> Result<Reply, Error> {
    match grant.tag_rules()?.delete(tag) {
        Verdict::Allowed => {}
        Verdict::Protected => return Err(Error::TagProtected(tag.clone())),
        Verdict::Immutable => return Err(Error::TagImmutable(tag.clone())),
    }
    call.registry.tags(grant.repository()).delete(tag).await?;
    Ok(headers::empty(StatusCode::ACCEPTED, []))
}
