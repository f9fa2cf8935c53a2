//! Where a client can fetch an object by itself, past us.
//!
//! A backend that can sign addresses is a [`Locate`]. The storage middlewares of CNCF Distribution wrap one: [`redirect`]
//! and [`cloudfront`] name a delivery network in front of the bucket, [`rewrite`] edits what another one says. Whatever
//! stands last in the configuration is asked first.

use std::{fmt::Debug, net::IpAddr};

use async_trait::async_trait;
use http::Uri;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::store::{
    Result,
    error::{Error, Kind, Operation},
    key::Key,
};

pub mod base;
pub mod cloudfront;
pub mod redirect;
pub mod rewrite;

/// Knows addresses of objects: a backend that can sign them, or something that rewrites what another one says.
#[async_trait]
pub trait Locate: Debug + Send + Sync + 'static {
    /// An absolute address, in visible ASCII, that answers GET of the object, whole or in ranges, for a while; whoever
    /// knows it needs no other credentials, so it must not reach a log. `None` when this visitor cannot be sent there.
    async fn locate(&self, key: &Key, visitor: &Visitor) -> Result<Option<Uri>>;
}

/// Who is to be sent to an object.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Visitor {
    /// `None` on a unix socket.
    pub address: Option<IpAddr>,
}

/// What stands for itself in a path: the unreserved characters of RFC 3986, and the slash.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

fn encode(path: &str) -> String {
    utf8_percent_encode(path, PATH).to_string()
}

/// The cause says what is wrong, and nothing of the text: it may be signed.
fn address(text: &str, key: &Key) -> Result<Uri> {
    text.parse().map_err(|why: http::uri::InvalidUri| failure(key, why))
}

fn failure(key: &Key, why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(Operation::Locate, key, Kind::Unavailable).with_source(why)
}
