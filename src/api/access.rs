//! What each request needs: no route compiles without somebody having decided this.

use http::Method;

use crate::{
    api::{query::Query, route::Route},
    auth::access::{Access, Verb},
    oci::name::RepositoryName,
};

/// What a request must be granted; `None` where nobody is asked.
pub(in crate::api) fn required(route: &Route, method: &Method, query: &Query<'_>) -> Option<Access> {
    Some(match route {
        Route::Root => return None,
        Route::Base => Access::Base,
        Route::Catalog => Access::Catalog,
        Route::Uploads { repository } if method == Method::POST => upload(repository, query),
        Route::Tags { repository }
        | Route::TagReference { repository, .. }
        | Route::Manifest { repository, .. }
        | Route::Blob { repository, .. }
        | Route::Uploads { repository }
        | Route::Referrers { repository, .. } => Access::Repository { name: repository.clone(), verb: verb(method) },
        // Everything about an upload is part of pushing, asking for it and giving it up included.
        Route::Upload { repository, .. } => {
            let verb = if verb(method) == Verb::Any { Verb::Any } else { Verb::Push };
            Access::Repository { name: repository.clone(), verb }
        }
    })
}

/// Starting an upload, from another repository's blob if the client says so.
fn upload(to: &RepositoryName, query: &Query<'_>) -> Access {
    if query.first("mount").is_none() {
        return Access::Repository { name: to.clone(), verb: Verb::Push };
    }
    let from = query.first("from").and_then(|from| from.parse().ok());
    Access::Mount { to: to.clone(), from }
}

fn verb(method: &Method) -> Verb {
    match *method {
        Method::GET | Method::HEAD => Verb::Pull,
        Method::POST | Method::PUT | Method::PATCH => Verb::Push,
        Method::DELETE => Verb::Delete,
        // OPTIONS, and what will be refused as unknown to a client that has logged in.
        _ => Verb::Any,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &str, path: &str, query: &str, expected: Option<&str>) {
        let route = Route::parse(path, "/").unwrap();
        let access = required(&route, &method.parse().unwrap(), &Query::parse(Some(query)));
        let shown = access.map(|access| match access {
            Access::Base => "base".to_owned(),
            Access::Catalog => "catalog".to_owned(),
            Access::Repository { name, verb } => format!("{verb:?} {name}"),
            Access::Mount { to, from } => {
                format!("mount {to} {}", from.as_ref().map_or("-", RepositoryName::as_str))
            }
        });
        assert_eq!(shown.as_deref(), expected, "{method} {path}?{query}");
    }

    #[test]
    fn table() {
        let blob = format!("/v2/a/blobs/sha256:{}", "0".repeat(64));
        check("GET", "/", "", None);
        check("GET", "/v2/", "", Some("base"));
        check("PUT", "/v2/", "", Some("base"));
        check("GET", "/v2/_catalog", "", Some("catalog"));
        check("GET", "/v2/a/tags/list", "", Some("Pull a"));
        check("GET", "/v2/a/manifests/x", "", Some("Pull a"));
        check("HEAD", "/v2/a/manifests/x", "", Some("Pull a"));
        check("PUT", "/v2/a/manifests/x", "", Some("Push a"));
        check("DELETE", "/v2/a/manifests/x", "", Some("Delete a"));
        check("DELETE", "/v2/a/tags/reference/x", "", Some("Delete a"));
        check("OPTIONS", "/v2/a/manifests/x", "", Some("Any a"));
        check("TRACE", "/v2/a/manifests/x", "", Some("Any a"));
        check("GET", &blob, "", Some("Pull a"));
        check("DELETE", &blob, "", Some("Delete a"));
        check("GET", &blob.replace("blobs", "referrers"), "", Some("Pull a"));
        check("POST", "/v2/a/blobs/uploads/", "", Some("Push a"));
        check("POST", "/v2/a/blobs/uploads/", "digest=x&from=b", Some("Push a"));
        check("POST", "/v2/a/blobs/uploads/", "mount=x&from=b", Some("mount a b"));
        check("POST", "/v2/a/blobs/uploads/", "mount=x&from=B", Some("mount a -"));
        check("POST", "/v2/a/blobs/uploads/", "mount=x", Some("mount a -"));
        for method in ["GET", "HEAD", "PATCH", "PUT", "DELETE"] {
            check(method, "/v2/a/blobs/uploads/x", "", Some("Push a"));
        }
        check("OPTIONS", "/v2/a/blobs/uploads/x", "", Some("Any a"));
    }
}
