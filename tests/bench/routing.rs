//! From a path to a route.

use divan::black_box;
use pierhead::api::route::Route;

const PATHS: &[&str] = &[
    "/v2/",
    "/v2/team/app/manifests/latest",
    "/v2/team/group/subgroup/app/blobs/sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "/v2/team/app/blobs/uploads/01a20df8-ebe0-7258-b811-96ff4a934702",
    "/v2/team/app/referrers/sha256%3Ae3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "/v2/team/App/tags/list",
    "/favicon.ico",
];

/// The one with a capital letter and the last lead nowhere.
#[divan::bench(args = PATHS)]
fn parse(path: &str) -> bool {
    Route::parse(black_box(path), "/").is_ok()
}
