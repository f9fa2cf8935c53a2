//! Uploads that nobody finishes, on a store that lists its unfinished ones by whole keys only.

use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};

use crate::{
    replicas::runtime,
    s3::purge,
    support::{
        http::{empty, location, send},
        registry::{Auth, Delivery, Program, Registry, Storage, Transport},
        s3::sink::{Sink, UploadListing},
    },
};

/// More than a part.
const LENGTH: usize = 20 << 20;

/// An upload of which a part and a tail stand in the store. Gives its address.
fn begin(registry: &Registry) -> String {
    runtime().block_on(async {
        let begun = send(registry.address, empty(Method::POST, "/v2/team/app/blobs/uploads/")).await.unwrap();
        let patch = Request::patch(location(begun.headers()).unwrap());
        let patch = patch.body(Full::from(vec![7; LENGTH]).boxed()).unwrap();
        let taken = send(registry.address, patch).await.unwrap();
        assert_eq!(taken.status(), StatusCode::ACCEPTED);
        location(taken.headers()).unwrap()
    })
}

#[test]
fn its_journal_names_what_a_listing_does_not() {
    let sink = Sink::start_listing(UploadListing::WholeKey);
    let storage = Storage::s3(sink.address.port(), "sink", Delivery::Redirect);
    let directory = tempfile::tempdir().unwrap();
    let registry = Registry::start_on(&Program::pierhead(), directory.path(), &storage, Transport::Plain, Auth::None);

    let cancelled = begin(&registry);
    assert_eq!(sink.unfinished().len(), 1);
    let answer = runtime().block_on(send(registry.address, empty(Method::DELETE, &cancelled))).unwrap();
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    assert_eq!(sink.unfinished(), [""; 0]);

    begin(&registry);
    assert_eq!(sink.unfinished().len(), 1);
    drop(registry);
    purge(&storage);
    assert_eq!(sink.unfinished(), [""; 0]);
    let left: Vec<String> =
        sink.objects().into_keys().filter(|key| key.contains("/segments/") || key.contains("/tail/")).collect();
    assert_eq!(left, [""; 0]);
    assert_eq!(sink.complaints(), [""; 0]);
}
