//! How the API behaves.

use std::{net::IpAddr, time::Duration};

use http::{HeaderMap, HeaderValue};
use ipnet::IpNet;

use crate::api::{location::Base, method::Methods};

/// Everything that the configuration says about the API.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `http.prefix`, and where clients find us (`http.host`, `edge.external_url`).
    pub base: Base,
    /// `http.headers`: added to every answer of the API, not to those outside it.
    pub headers: HeaderMap,
    /// `Strict-Transport-Security`, of every answer over TLS.
    pub hsts: Option<HeaderValue>,
    pub mode: Mode,
    /// `catalog.maxentries`: most repositories on a page.
    pub catalog_max: usize,
    /// `tags.maxtags`: most tags on a page.
    pub tags_max: usize,
    /// Chunks below this many bytes cost the storage much; clients are asked for larger ones.
    pub chunk_size_min: Option<u64>,
    /// How long past its end the token that began an upload may finish it; zero turns that off.
    pub token_grace: Duration,
    pub downloads: Downloads,
}

/// Which downloads clients fetch from the storage by themselves, where the registry knows an address for them; all
/// others stream through here.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Downloads {
    /// Networks whose clients are never sent away, whatever [`Downloads::redirect`] says.
    pub forward: Vec<IpNet>,
    /// Networks whose clients are sent away; everybody's when there are none.
    pub redirect: Vec<IpNet>,
    /// Blobs of this many bytes or fewer are not worth a second request.
    pub inline_max: u64,
}

/// What may be changed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Mode {
    /// `storage.maintenance.readonly.enabled`
    ReadOnly,
    /// `storage.delete.enabled: false`, the default.
    #[default]
    WithoutDelete,
    Full,
}

/// Tags on a page where `tags.maxtags` is unset: as many as GitLab asks for at once.
pub const TAGS_MAX_DEFAULT: usize = 10_000;

/// Repositories on a page where `catalog.maxentries` is unset.
pub const CATALOG_MAX_DEFAULT: usize = 1000;

impl Mode {
    /// What is left of the methods of a route.
    #[must_use]
    pub const fn restrict(self, methods: Methods) -> Methods {
        match self {
            Self::ReadOnly => methods.within(Methods::READ),
            Self::WithoutDelete => methods.without(Methods::DELETE),
            Self::Full => methods,
        }
    }
}

impl Downloads {
    /// Whether a client may be sent away for a blob of `size` bytes. `address` is the other end of its connection, so
    /// behind a proxy the proxy's; a client on a unix socket has none and lies in no network.
    #[must_use]
    pub fn sends_away(&self, address: Option<IpAddr>, size: u64) -> bool {
        // Sockets that listen for both protocols show IPv4 addresses in the clothes of IPv6.
        let address = address.map(|address| address.to_canonical());
        let lies_in = |networks: &[IpNet]| {
            address.is_some_and(|address| networks.iter().any(|network| network.contains(&address)))
        };
        size > self.inline_max && !lies_in(&self.forward) && (self.redirect.is_empty() || lies_in(&self.redirect))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(list: &[&str]) -> Vec<IpNet> {
        list.iter().map(|network| network.parse().unwrap()).collect()
    }

    #[test]
    fn networks_decide() {
        let check = |forward: &[&str], redirect: &[&str], address: Option<&str>, expected| {
            let downloads = Downloads { forward: networks(forward), redirect: networks(redirect), inline_max: 0 };
            let address = address.map(|address| address.parse().unwrap());
            assert_eq!(downloads.sends_away(address, 1), expected, "{forward:?} {redirect:?} {address:?}");
        };
        check(&[], &[], Some("10.0.0.1"), true);
        check(&[], &[], None, true);
        check(&["10.0.0.0/8"], &[], Some("10.0.0.1"), false);
        check(&["10.0.0.0/8"], &[], Some("::ffff:10.0.0.1"), false);
        check(&["10.0.0.0/8"], &[], Some("11.0.0.1"), true);
        check(&["10.0.0.0/8"], &[], None, true);
        check(&[], &["10.0.0.0/8"], Some("::ffff:10.0.0.1"), true);
        check(&[], &["10.0.0.0/8"], Some("11.0.0.1"), false);
        check(&[], &["10.0.0.0/8"], None, false);
        check(&["10.1.0.0/16"], &["10.0.0.0/8"], Some("10.1.0.1"), false);
        check(&["10.1.0.0/16"], &["10.0.0.0/8"], Some("10.2.0.1"), true);
        check(&["10.0.0.0/8"], &["10.1.0.0/16"], Some("10.1.0.1"), false);
        check(&["2001:db8::/32"], &["::/0"], Some("2001:db8::1"), false);
        check(&["2001:db8::/32"], &["::/0"], Some("2001:db9::1"), true);
        check(&[], &["::/0"], Some("10.0.0.1"), false);
    }

    #[test]
    fn sizes_decide() {
        let downloads = Downloads { inline_max: 100, ..Downloads::default() };
        assert_eq!([0, 100, 101].map(|size| downloads.sends_away(None, size)), [false, false, true]);
        assert!(!Downloads::default().sends_away(None, 0));
    }
}
