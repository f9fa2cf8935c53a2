//! The storage middleware `redirect`: a delivery network that knows the store by its own means.

use async_trait::async_trait;
use http::Uri;

use crate::store::{
    Result,
    key::Key,
    locate::{Locate, Visitor, address, base::Base, encode},
};

/// Names every object below one base: its key as it is, without `rootdirectory`, and without a signature.
///
/// A path of the base is kept, as in Distribution 3; Distribution 2 dropped it. Who may fetch there is the delivery
/// network's business, and it serves a store of any kind.
#[derive(Clone, Debug)]
pub struct Redirect {
    base: Base,
}

impl Redirect {
    #[must_use]
    pub const fn new(base: Base) -> Self {
        Self { base }
    }
}

#[async_trait]
impl Locate for Redirect {
    async fn locate(&self, key: &Key, _: &Visitor) -> Result<Option<Uri>> {
        address(&self.base.join(&encode(key.as_str())), key).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_path_of_the_base_stays() {
        let redirect = Redirect::new(Base::new("https://cdn.example.com/registry/").unwrap());
        let check = async |key: &str, expected: &str| {
            let located = redirect.locate(&key.parse().unwrap(), &Visitor::default()).await.unwrap();
            assert_eq!(located.map(|uri| uri.to_string()).as_deref(), Some(expected));
        };
        check("docker/a/data", "https://cdn.example.com/registry/docker/a/data").await;
        check("a b/ä?#%/c", "https://cdn.example.com/registry/a%20b/%C3%A4%3F%23%25/c").await;
    }
}
