//! Networks that may come in, and those that may not.

use std::net::IpAddr;

use ipnet::IpNet;

/// Two lists; who is on both may not.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Access {
    /// Empty: everybody.
    pub allow: Places,
    pub deny: Places,
}

/// Where connections come from.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Places {
    /// In order, none within another.
    networks: Vec<IpNet>,
    unix: bool,
}

impl Places {
    #[must_use]
    pub fn new(networks: &[IpNet]) -> Self {
        // Thousands of networks are looked through for each request.
        let mut networks = IpNet::aggregate(&networks.to_vec());
        networks.sort_unstable();
        Self { networks, unix: false }
    }

    /// With the sockets of the file system.
    #[must_use]
    pub fn with_unix(self) -> Self {
        Self { unix: true, ..self }
    }

    const fn is_empty(&self) -> bool {
        self.networks.is_empty() && !self.unix
    }

    fn hold(&self, address: Option<IpAddr>) -> bool {
        let Some(address) = address.map(|address| address.to_canonical()) else { return self.unix };
        let behind = self.networks.partition_point(|network| network.network() <= address);
        behind > 0 && self.networks[behind - 1].contains(&address)
    }
}

impl Access {
    /// `None` is the other end of a unix socket.
    pub(super) fn admits(&self, address: Option<IpAddr>) -> bool {
        !self.bars(address) && (self.allow.is_empty() || self.allow.hold(address))
    }

    pub(super) fn bars(&self, address: Option<IpAddr>) -> bool {
        self.deny.hold(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(texts: &[&str]) -> Places {
        let networks: Vec<IpNet> = texts.iter().filter_map(|text| text.parse().ok()).collect();
        let places = Places::new(&networks);
        if texts.contains(&"unix") { places.with_unix() } else { places }
    }

    #[test]
    fn deny_wins_and_an_empty_allow_is_everybody() {
        let check = |allow: &[&str], deny: &[&str], address: &str, expected: bool| {
            let access = Access { allow: places(allow), deny: places(deny) };
            let found = access.admits(address.parse().ok());
            assert_eq!(found, expected, "allow {allow:?}, deny {deny:?}: {address}");
        };
        check(&[], &[], "192.0.2.1", true);
        check(&[], &[], "unix", true);
        check(&["10.0.0.0/8"], &[], "10.1.2.3", true);
        check(&["10.0.0.0/8"], &[], "::ffff:10.1.2.3", true);
        check(&["10.0.0.0/8"], &[], "11.0.0.0", false);
        check(&["10.0.0.0/8"], &[], "9.255.255.255", false);
        check(&["10.0.0.0/8"], &[], "fd00::1", false);
        check(&["10.0.0.0/8"], &[], "unix", false);
        check(&["unix"], &[], "unix", true);
        check(&["unix"], &[], "10.0.0.1", false);
        check(&["10.0.0.0/8", "fd00::/8"], &["10.1.0.0/16"], "10.1.0.1", false);
        check(&["10.0.0.0/8", "fd00::/8"], &["10.1.0.0/16"], "10.2.0.1", true);
        check(&["10.0.0.0/8", "fd00::/8"], &["10.1.0.0/16"], "fd12::1", true);
        check(&["unix"], &["unix"], "unix", false);
        // One within the other, and neighbours.
        check(&["10.1.0.0/16", "10.0.0.0/8", "192.0.2.4/31", "192.0.2.6/32"], &[], "10.200.0.1", true);
        check(&["10.1.0.0/16", "10.0.0.0/8", "192.0.2.4/31", "192.0.2.6/32"], &[], "192.0.2.6", true);
        check(&["10.1.0.0/16", "10.0.0.0/8", "192.0.2.4/31", "192.0.2.6/32"], &[], "192.0.2.7", false);
        check(&["0.0.0.0/0"], &[], "255.255.255.255", true);
        check(&["0.0.0.0/0"], &[], "::1", false);
    }
}
