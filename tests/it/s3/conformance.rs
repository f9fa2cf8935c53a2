//! The conformance suite, with the content in a bucket: the suite follows redirects like any client.

use crate::{
    conformance::check,
    s3::stored,
    support::registry::{Auth, Delivery},
};

#[test]
fn conforms_to_version_1_1_by_redirects() {
    let Some((_bucket, storage)) = stored(Delivery::Redirect) else { return };
    check("1.1", Auth::Token, &storage);
}

#[test]
fn conforms_to_the_development_version_by_redirects() {
    let Some((_bucket, storage)) = stored(Delivery::Redirect) else { return };
    check("dev", Auth::Htpasswd, &storage);
}

#[test]
fn conforms_to_version_1_1_without_redirects() {
    let Some((_bucket, storage)) = stored(Delivery::Forward) else { return };
    check("1.1", Auth::Token, &storage);
}

#[test]
fn conforms_to_the_development_version_without_redirects() {
    let Some((_bucket, storage)) = stored(Delivery::Forward) else { return };
    check("dev", Auth::Htpasswd, &storage);
}
