//! Where a client can fetch an object by itself, past us.

use std::{fmt::Debug, net::IpAddr};

use async_trait::async_trait;
use http::Uri;

use crate::store::{Result, key::Key};

/// Knows addresses of objects: a backend that can sign them, or something that rewrites what another one says.
#[async_trait]
pub trait Locate: Debug + Send + Sync + 'static {
    /// An absolute address that answers GET of the object, whole or in ranges, for a while; whoever knows it needs no
    /// other credentials, so it must not reach a log. `None` when this visitor cannot be sent there.
    async fn locate(&self, key: &Key, visitor: &Visitor) -> Result<Option<Uri>>;
}

/// Who is to be sent to an object.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Visitor {
    /// `None` on a unix socket.
    pub address: Option<IpAddr>,
}
