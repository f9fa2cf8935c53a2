//! The storage middleware `cloudfront`: signed addresses of Amazon CloudFront in front of a bucket.
//!
//! A canned policy says until when one address is good. It is signed over SHA-256, which CloudFront takes since April
//! 2026 where the query says so; Distribution signs over SHA-1. Clients within AWS can be told apart by their network
//! and sent to the bucket itself, which costs them nothing there.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use http::Uri;

use crate::{
    clock::Clock,
    store::{
        Result,
        key::Key,
        locate::{
            Locate, Visitor, address,
            base::Base,
            cloudfront::{networks::Networks, signing::Signing},
            encode, failure,
        },
    },
};

pub mod networks;
pub mod signing;

/// Signs addresses of one distribution of CloudFront, whose origin is the bucket that `inner` signs for.
pub struct Cloudfront {
    settings: Settings,
    near: Arc<Near>,
    inner: Arc<dyn Locate>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug)]
pub struct Settings {
    pub base: Base,
    /// What stands in front of keys in the bucket, `rootdirectory`; empty for nothing.
    pub root: String,
    /// What CloudFront calls the public key.
    pub key_pair: String,
    pub signing: Signing,
    /// How long an address is good.
    pub duration: Duration,
}

/// Networks whose clients are sent to the bucket; none until [`Near::replace`] has been called, so that everybody
/// goes to CloudFront, as in Distribution.
#[derive(Debug, Default)]
pub struct Near(ArcSwap<Networks>);

impl Near {
    pub fn replace(&self, networks: Networks) {
        self.0.store(Arc::new(networks));
    }

    /// Whether a visitor with this address is sent to the bucket.
    pub fn holds(&self, address: IpAddr) -> bool {
        self.0.load().contain(address)
    }
}

impl Cloudfront {
    /// Visitors in `near` are sent where `inner` says.
    #[must_use]
    pub fn new(settings: Settings, near: Arc<Near>, inner: Arc<dyn Locate>, clock: Arc<dyn Clock>) -> Self {
        Self { settings, near, inner, clock }
    }

    fn sign(&self, resource: &str) -> Result<String, signing::Failure> {
        let seconds = i64::try_from(self.settings.duration.as_secs()).unwrap_or(i64::MAX);
        let expires = self.clock.now().unix_timestamp().saturating_add(seconds);
        let policy = format!(
            r#"{{"Statement":[{{"Resource":"{resource}","Condition":{{"DateLessThan":{{"AWS:EpochTime":{expires}}}}}}}]}}"#
        );
        let signature = self.settings.signing.sign(policy.as_bytes())?;
        let key_pair = encode(&self.settings.key_pair);
        Ok(format!("{resource}?Expires={expires}&Signature={signature}&Key-Pair-Id={key_pair}&Hash-Algorithm=SHA256"))
    }
}

#[async_trait]
impl Locate for Cloudfront {
    async fn locate(&self, key: &Key, visitor: &Visitor) -> Result<Option<Uri>> {
        if visitor.address.is_some_and(|address| self.near.holds(address)) {
            return self.inner.locate(key, visitor).await;
        }
        let root = self.settings.root.trim_matches('/');
        let slash = if root.is_empty() { "" } else { "/" };
        let resource = self.settings.base.join(&encode(&format!("{root}{slash}{key}")));
        let signed = self.sign(&resource).map_err(|why| failure(key, why))?;
        address(&signed, key).map(Some)
    }
}

impl fmt::Debug for Cloudfront {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cloudfront")
            .field("settings", &self.settings)
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
