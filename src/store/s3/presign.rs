//! Addresses under which clients fetch objects themselves.

use async_trait::async_trait;
use http::{Method, Uri};

use crate::store::{
    Result,
    error::Operation,
    key::Key,
    locate::{Locate, Visitor},
    s3::{S3, failure::Failure, settings::Presigning},
};

#[async_trait]
impl Locate for S3 {
    async fn locate(&self, key: &Key, _visitor: &Visitor) -> Result<Option<Uri>> {
        let Presigning { lifetime, window, .. } = self.settings.presigning;
        let address = self.bucket.public(key);
        let signed = self.transport.signer.presign(&address, lifetime, window).await;
        signed.map_err(|trouble| Failure { method: Method::GET, trouble }.into_error(Operation::Get, key))
    }
}
