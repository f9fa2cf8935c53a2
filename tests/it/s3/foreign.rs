//! What others leave in a bucket: markers of empty directories, as AWS `DataSync` makes them, and stray objects.

use http::Method;
use serde_json::{Value, json};

use crate::{
    replicas::runtime,
    s3::stored,
    support::{
        http::{empty, send},
        push::{Family, Flow, Pace, Pusher},
        registry::{Auth, Delivery, Program, Registry, Transport},
    },
};

const ROOT: &str = "docker/registry/v2/repositories";

/// Below [`ROOT`].
const FOREIGN: [&str; 10] = [
    "",
    "team/",
    "team/app/",
    "team/app/_manifests/",
    "team/app/_manifests/tags/",
    "team/app/_manifests/tags/v1/",
    "team/app/_manifests/tags/v1/current/",
    "team/app/_manifests/tags/.DS_Store",
    "team/empty/_manifests/tags/",
    "README.txt",
];

#[test]
fn what_others_leave_is_no_tag_and_no_repository() {
    let Some((bucket, storage)) = stored(Delivery::Forward) else { return };
    for foreign in FOREIGN {
        bucket.put(&format!("{ROOT}/{foreign}"), b"");
    }
    let directory = tempfile::tempdir().unwrap();
    let registry = Registry::start_on(&Program::pierhead(), directory.path(), &storage, Transport::Plain, Auth::None);
    let runtime = runtime();
    let config = Family::new(64).member(1);
    runtime.block_on(Pusher::new(registry.address, "team/app").push(&config, Flow::Put, &Pace::Full)).unwrap();
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let descriptor =
        json!({"mediaType": "application/vnd.oci.image.config.v1+json", "size": 64, "digest": config.digest});
    let manifest = json!({"schemaVersion": 2, "mediaType": media_type, "config": descriptor, "layers": []});
    for tag in ["v1", "v2"] {
        let put = http::Request::put(format!("/v2/team/app/manifests/{tag}")).header("content-type", media_type);
        let body = http_body_util::BodyExt::boxed(http_body_util::Full::from(manifest.to_string()));
        let answer = runtime.block_on(send(registry.address, put.body(body).unwrap())).unwrap();
        assert_eq!(answer.status(), 201, "{answer:?}");
    }

    let ask = |path: &str| {
        let answer = runtime.block_on(send(registry.address, empty(Method::GET, path))).unwrap();
        (answer.status().as_u16(), serde_json::from_slice::<Value>(answer.body()).unwrap())
    };
    assert_eq!(ask("/v2/_catalog"), (200, json!({"repositories": ["team/app"]})));
    assert_eq!(ask("/v2/team/app/tags/list"), (200, json!({"name": "team/app", "tags": ["v1", "v2"]})));
    assert_eq!(ask("/v2/team/app/tags/list?n=1").1["tags"], json!(["v1"]));
    assert_eq!(ask("/v2/team/empty/tags/list").0, 404);
}
