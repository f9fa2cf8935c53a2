//! What NGINX's words for TLS come to here. Both a server block and GitLab's settings have them, with the same values.

use crate::import::document::Map;

/// What became of a directive.
#[derive(Debug, Eq, PartialEq)]
pub(in crate::import) enum Outcome {
    Taken,
    /// In part: what was not.
    Partly(String),
    Idle(String),
    /// It is needed and cannot be had.
    Refused(String),
    /// Nobody knows it.
    Unknown,
}

/// The directives that [`term`] knows.
pub(in crate::import) const TERMS: &[&str] = &[
    "ssl_protocols",
    "ssl_ciphers",
    "ssl_ecdh_curve",
    "ssl_session_tickets",
    "ssl_session_timeout",
    "ssl_password_file",
    "ssl_verify_depth",
];

/// What is missing where the PROXY protocol is spoken and nobody is named who may.
pub(in crate::import) const NOBODY_TRUSTED: &str =
    "whoever speaks the PROXY protocol must be named; write the balancer's network into edge.trusted_proxies";

/// Longest time that a session is kept, in seconds.
const SESSION_MAX: u64 = 24 * 60 * 60;

/// Puts what the directive says into the configuration.
pub(in crate::import) fn term(name: &str, value: &str, document: &mut Map, source: &str) -> Outcome {
    match name {
        "ssl_protocols" => protocols(value, document, source),
        "ssl_ciphers" => ciphers(value, document, source),
        "ssl_ecdh_curve" => curves(value, document, source),
        "ssl_session_tickets" => {
            document.set_from(&["edge", "tls", "session_tickets"], value == "on", source);
            Outcome::Taken
        }
        "ssl_session_timeout" => timeout(value, document, source),
        "ssl_password_file" => {
            document.set_from(&["edge", "tls", "password_file"], value, source);
            Outcome::Taken
        }
        "ssl_verify_depth" => match value.parse::<i64>() {
            Ok(depth) => {
                document.set_from(&["edge", "tls", "client", "verify_depth"], depth, source);
                Outcome::Taken
            }
            Err(_) => Outcome::Refused("it must be a number".to_owned()),
        },
        _ => Outcome::Refused("it is no term of TLS".to_owned()),
    }
}

fn protocols(value: &str, document: &mut Map, source: &str) -> Outcome {
    let Some(version) = version_min(value) else {
        return Outcome::Refused("it names no version that is offered, TLSv1.2 or TLSv1.3".to_owned());
    };
    document.set_from(&["http", "tls", "minimumtls"], version, source);
    let old = value.split_whitespace().any(|name| !matches!(name, "TLSv1.2" | "TLSv1.3"));
    match (old, value.contains("TLSv1.3")) {
        (true, _) => Outcome::Partly("versions before TLSv1.2 are not offered".to_owned()),
        (false, false) => Outcome::Partly("TLSv1.3 is always offered".to_owned()),
        (false, true) => Outcome::Taken,
    }
}

fn ciphers(value: &str, document: &mut Map, source: &str) -> Outcome {
    let suites = Suites::read(value);
    if suites.offered.is_empty() {
        return Outcome::Refused("it names no suite that is offered, so all that are stay offered".to_owned());
    }
    if !suites.are_all() {
        document.set_from(&["http", "tls", "ciphersuites"], suites.offered, source);
    }
    if suites.others.is_empty() {
        return Outcome::Taken;
    }
    Outcome::Partly(format!("not offered: {}", suites.others.join(", ")))
}

fn curves(value: &str, document: &mut Map, source: &str) -> Outcome {
    if value == "auto" {
        return Outcome::Taken;
    }
    let known = ["X25519MLKEM768", "X25519", "P-256", "prime256v1", "secp256r1", "P-384", "secp384r1"];
    let (offered, others): (Vec<_>, Vec<_>) =
        value.split(':').map(str::trim).filter(|name| !name.is_empty()).partition(|name| known.contains(name));
    if offered.is_empty() {
        return Outcome::Refused("it names no group that is offered, so all that are stay offered".to_owned());
    }
    document.set_from(&["edge", "tls", "curves"], offered, source);
    if others.is_empty() { Outcome::Taken } else { Outcome::Partly(format!("not offered: {}", others.join(", "))) }
}

fn timeout(value: &str, document: &mut Map, source: &str) -> Outcome {
    let Some(time) = seconds(value) else { return Outcome::Refused("it must be a time such as 10m or 1d".to_owned()) };
    document.set_from(&["edge", "tls", "session_timeout"], format!("{}s", time.min(SESSION_MAX)), source);
    if time > SESSION_MAX { Outcome::Partly("it is 24h at most".to_owned()) } else { Outcome::Taken }
}

/// A time of NGINX, as `90`, `1d` or `1h 30m`, in seconds.
pub(in crate::import) fn seconds(text: &str) -> Option<u64> {
    let mut total = Some(0_u64).filter(|_| text.starts_with(|letter: char| letter.is_ascii_digit()))?;
    let mut rest = text.trim();
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
        let number: u64 = rest[..digits].parse().ok()?;
        let unit = rest[digits..].chars().next();
        let factor = match unit {
            None | Some('s' | ' ') => 1,
            Some('m') if rest[digits..].starts_with("ms") => return None,
            Some('m') => 60,
            Some('h') => 60 * 60,
            Some('d') => 24 * 60 * 60,
            Some('w') => 7 * 24 * 60 * 60,
            Some('M') => 30 * 24 * 60 * 60,
            Some('y') => 365 * 24 * 60 * 60,
            Some(_) => return None,
        };
        total = total.checked_add(number.checked_mul(factor)?)?;
        rest = rest[digits + unit.map_or(0, char::len_utf8)..].trim_start();
    }
    Some(total)
}

/// Suites of TLS 1.2 that are offered: OpenSSL's name, and the one of IANA, which our configuration has.
const SUITES: [(&str, &str); 6] = [
    ("ECDHE-ECDSA-AES128-GCM-SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
    ("ECDHE-ECDSA-AES256-GCM-SHA384", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
    ("ECDHE-ECDSA-CHACHA20-POLY1305", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"),
    ("ECDHE-RSA-AES128-GCM-SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
    ("ECDHE-RSA-AES256-GCM-SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"),
    ("ECDHE-RSA-CHACHA20-POLY1305", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"),
];

/// A list of suites in OpenSSL's language.
#[derive(Debug, Eq, PartialEq)]
struct Suites {
    /// IANA names, in our order.
    offered: Vec<&'static str>,
    /// What names no suite that is offered.
    others: Vec<String>,
}

impl Suites {
    /// Reads names between colons, commas or spaces. Groups of suites and signs (`HIGH`, `!MD5`, `kEECDH+AES`) are
    /// among the others.
    fn read(list: &str) -> Self {
        let names: Vec<_> = list.split([':', ',', ' ']).filter(|name| !name.is_empty()).collect();
        let offered = SUITES.iter().filter(|(openssl, _)| names.contains(openssl)).map(|(_, iana)| *iana).collect();
        let others = names.into_iter().filter(|name| !SUITES.iter().any(|(openssl, _)| openssl == name));
        Self { offered, others: others.map(str::to_owned).collect() }
    }

    /// Whether it names all that are offered, so that it says nothing.
    fn are_all(&self) -> bool {
        self.offered.len() == SUITES.len()
    }
}

/// `http.tls.minimumtls` for versions as `ssl_protocols` lists them; `None` for a list without one that is offered.
fn version_min(protocols: &str) -> Option<&'static str> {
    let names: Vec<_> = protocols.split_whitespace().collect();
    if names.contains(&"TLSv1.2") {
        Some("tls1.2")
    } else if names.contains(&"TLSv1.3") {
        Some("tls1.3")
    } else {
        None
    }
}

/// Whether clients are asked for certificates.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::import) enum Clients {
    Unasked,
    /// With this word for `http.tls.clientauth`.
    Asked(&'static str),
}

/// What a value of `ssl_verify_client` means.
pub(in crate::import) fn clients(verify: &str) -> Option<Clients> {
    match verify {
        "off" => Some(Clients::Unasked),
        "on" => Some(Clients::Asked("require-and-verify-client-cert")),
        "optional" => Some(Clients::Asked("verify-client-cert-if-given")),
        "optional_no_ca" => Some(Clients::Asked("request-client-cert")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_have_two_names() {
        let suites =
            Suites::read("ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-GCM-SHA256:DHE-RSA-AES128-GCM-SHA256:!MD5");
        assert_eq!(suites.offered, [SUITES[0].1, SUITES[3].1]);
        assert_eq!(suites.others, ["DHE-RSA-AES128-GCM-SHA256", "!MD5"]);
        assert!(!suites.are_all());
        assert!(Suites::read(&SUITES.map(|(openssl, _)| openssl).join(":")).are_all());
        assert_eq!(Suites::read(" , :").offered, [""; 0]);
    }

    #[test]
    fn versions_are_the_lowest_that_is_offered() {
        for (protocols, expected) in [
            ("TLSv1.2 TLSv1.3", Some("tls1.2")),
            ("TLSv1 TLSv1.1 TLSv1.2", Some("tls1.2")),
            ("TLSv1.3", Some("tls1.3")),
            ("TLSv1.1", None),
            ("", None),
        ] {
            assert_eq!(version_min(protocols), expected, "{protocols}");
        }
    }

    #[test]
    fn times_have_units() {
        for (text, expected) in [
            ("0", Some(0)),
            ("90", Some(90)),
            ("1d", Some(86_400)),
            ("1h 30m", Some(5400)),
            ("1h30m10s", Some(5410)),
            ("1y", Some(31_536_000)),
            ("10ms", None),
            ("", None),
            ("d", None),
            ("1x", None),
            ("99999999999999999999", None),
            ("18446744073709551615y", None),
        ] {
            assert_eq!(seconds(text), expected, "{text}");
        }
    }

    #[test]
    fn each_term_has_its_key() {
        for (name, value, key, expected) in [
            ("ssl_protocols", "TLSv1.3", &["http", "tls", "minimumtls"][..], Outcome::Taken),
            ("ssl_ciphers", "ECDHE-RSA-AES128-GCM-SHA256", &["http", "tls", "ciphersuites"], Outcome::Taken),
            ("ssl_ecdh_curve", "X25519:secp384r1", &["edge", "tls", "curves"], Outcome::Taken),
            ("ssl_session_tickets", "off", &["edge", "tls", "session_tickets"], Outcome::Taken),
            (
                "ssl_session_timeout",
                "2d",
                &["edge", "tls", "session_timeout"],
                Outcome::Partly("it is 24h at most".into()),
            ),
            ("ssl_password_file", "/p", &["edge", "tls", "password_file"], Outcome::Taken),
            ("ssl_verify_depth", "2", &["edge", "tls", "client", "verify_depth"], Outcome::Taken),
        ] {
            assert!(TERMS.contains(&name));
            let mut document = Map::default();
            assert_eq!(term(name, value, &mut document, "here"), expected, "{name}");
            assert!(document.get(key).is_some(), "{name}");
        }
        let mut document = Map::default();
        for (name, value) in [("ssl_protocols", "SSLv3"), ("ssl_ciphers", "HIGH:!aNULL"), ("ssl_ecdh_curve", "X448")] {
            assert!(matches!(term(name, value, &mut document, "here"), Outcome::Refused(_)), "{name}");
        }
        assert!(document == Map::default());
    }
}
