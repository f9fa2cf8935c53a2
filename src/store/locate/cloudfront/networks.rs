//! Which networks are Amazon's.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;

/// Networks in which an address is found fast: there are thousands.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Networks {
    /// Disjoint, in order.
    sorted: Vec<IpNet>,
}

/// A text that is not a list of Amazon's networks.
#[derive(Debug, thiserror::Error)]
pub enum InvalidNetworks {
    #[error("not the JSON of ip-ranges.json: {0}")]
    Json(#[from] serde_json::Error),
    #[error("no networks in it")]
    Empty,
}

/// `ip-ranges.json`, as far as it is used.
#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    prefixes: Vec<Entry>,
    #[serde(default)]
    ipv6_prefixes: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(alias = "ip_prefix", alias = "ipv6_prefix")]
    network: String,
    #[serde(default)]
    region: String,
}

impl Networks {
    /// Reads `ip-ranges.json`: all regions, or those named, whose spelling does not depend on case. An entry whose
    /// network cannot be read is passed over.
    ///
    /// # Errors
    /// When the text holds no network at all. That none is in the regions named is no error.
    pub fn of_aws(json: &[u8], regions: Option<&[String]>) -> Result<Self, InvalidNetworks> {
        let document: Document = serde_json::from_slice(json)?;
        let mut read = 0_usize;
        let mut networks = Vec::new();
        for entry in document.prefixes.iter().chain(&document.ipv6_prefixes) {
            let Ok(network) = entry.network.parse() else { continue };
            read += 1;
            let wanted = |regions: &[String]| regions.iter().any(|region| region.eq_ignore_ascii_case(&entry.region));
            if regions.is_none_or(wanted) {
                networks.push(network);
            }
        }
        if read == 0 { Err(InvalidNetworks::Empty) } else { Ok(networks.into_iter().collect()) }
    }

    /// Whether an address lies in one of them. An IPv4 address in the clothes of IPv6 is an IPv4 address.
    #[must_use]
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let after = self.sorted.partition_point(|network| network.network() <= address);
        after.checked_sub(1).is_some_and(|at| self.sorted[at].contains(&address))
    }

    /// How many there are, joined where they touch.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.sorted.len()
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }
}

impl FromIterator<IpNet> for Networks {
    fn from_iter<I: IntoIterator<Item = IpNet>>(networks: I) -> Self {
        let mut sorted = IpNet::aggregate(&networks.into_iter().collect());
        sorted.sort_unstable();
        Self { sorted }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGES: &str = r#"{
        "syncToken": "1", "createDate": "2026-01-01-00-00-00",
        "prefixes": [
            { "ip_prefix": "3.4.12.4/32", "region": "eu-west-1", "service": "AMAZON", "network_border_group": "x" },
            { "ip_prefix": "10.1.0.0/16", "region": "eu-west-1", "service": "EC2" },
            { "ip_prefix": "10.1.2.0/24", "region": "us-east-1", "service": "S3" },
            { "ip_prefix": "nonsense", "region": "us-east-1" }
        ],
        "ipv6_prefixes": [
            { "ipv6_prefix": "2a05:d07a:a000::/40", "region": "eu-south-1", "service": "AMAZON" }
        ]
    }"#;

    fn check(regions: Option<&[&str]>, inside: &[&str], outside: &[&str]) {
        let regions: Option<Vec<String>> = regions.map(|list| list.iter().map(|&region| region.to_owned()).collect());
        let networks = Networks::of_aws(RANGES.as_bytes(), regions.as_deref()).unwrap();
        for (address, expected) in
            inside.iter().map(|address| (address, true)).chain(outside.iter().map(|address| (address, false)))
        {
            assert_eq!(networks.contain(address.parse().unwrap()), expected, "{regions:?} {address}");
        }
    }

    #[test]
    fn addresses_are_found() {
        let everywhere = ["3.4.12.4", "::ffff:3.4.12.4", "10.1.0.0", "10.1.2.3", "10.1.255.255", "2a05:d07a:a0ff::1"];
        check(None, &everywhere, &["3.4.12.3", "3.4.12.5", "10.0.255.255", "10.2.0.0", "0.0.0.0", "::1", "ffff::"]);
        check(Some(&["US-east-1"]), &["10.1.2.0", "10.1.2.255"], &["10.1.3.0", "10.1.1.255", "3.4.12.4"]);
        check(Some(&["nowhere"]), &[], &everywhere);
    }

    #[test]
    fn what_is_no_list_is_told() {
        for text in ["", "<html>", r#"{"prefixes": [{"region": "x"}]}"#] {
            assert!(matches!(Networks::of_aws(text.as_bytes(), None), Err(InvalidNetworks::Json(_))), "{text}");
        }
        for text in ["{}", "[]", r#"{"prefixes": [{"ip_prefix": "x"}]}"#] {
            assert!(matches!(Networks::of_aws(text.as_bytes(), None), Err(InvalidNetworks::Empty)), "{text}");
        }
    }
}
