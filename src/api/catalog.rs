//! `/v2/_catalog`: the repositories.

use http::header;

use crate::{
    api::{Reply, error::Error, gateway::Call, headers, paging},
    oci::name::RepositoryName,
};

/// Repositories on a page when the client does not say.
const USUAL: usize = 100;

#[derive(serde::Serialize)]
struct Document<'a> {
    repositories: Vec<&'a str>,
}

pub(in crate::api) async fn list(call: &Call<'_>) -> Result<Reply, Error> {
    let window = paging::bounded(call.query, USUAL, call.settings.catalog_max)?;
    if window.limit == 0 {
        return Ok(headers::json("application/json", &Document { repositories: Vec::new() }));
    }
    let page = call.registry.catalog().list(&window).await?;
    let repositories = page.items.iter().map(RepositoryName::as_str).collect();
    let mut reply = headers::json("application/json", &Document { repositories });
    if let Some(last) = page.items.last().filter(|_| page.more) {
        let parameters = [("last", last.as_str()), ("n", &window.limit.to_string())];
        reply.headers.insert(header::LINK, call.base.next("_catalog", &parameters));
    }
    Ok(reply)
}
