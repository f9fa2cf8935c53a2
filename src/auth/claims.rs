//! A token's claims set (RFC 7519 section 4, and distribution's `access`): parsed strictly, checked by value.

use std::time::Duration;

use serde::Deserialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::auth::{
    access::Want,
    challenge::{Reason, clip},
    rules::Meta,
};

/// How far the clocks of the token's issuer and ours may be apart.
pub(super) const LEEWAY: Duration = Duration::from_mins(1);

/// What a token says of itself.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Claims {
    #[serde(rename = "iss", default)]
    issuer: String,
    #[serde(rename = "aud", default)]
    audience: Audience,
    #[serde(rename = "sub")]
    pub(super) subject: Option<String>,
    #[serde(rename = "exp")]
    expires: u64,
    #[serde(rename = "nbf", default)]
    not_before: u64,
    /// Read only so that a token that lies about its shape is refused.
    #[serde(rename = "iat", default)]
    _issued: u64,
    access: Option<Vec<Entry>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Default for Audience {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

/// Actions granted on one resource. A `class` is ignored, as distribution does.
#[derive(Clone, Debug, Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    #[serde(default)]
    actions: Vec<String>,
    meta: Option<Meta>,
}

impl Claims {
    pub(super) fn parse(json: &[u8]) -> Result<Self, Reason> {
        serde_json::from_slice(json).map_err(|error| Reason::malformed(&format_args!("the claims set: {error}")))
    }

    /// Issuer and audience: equal to what is configured, to the byte.
    pub(super) fn check_parties(&self, issuer: &str, service: &str) -> Result<(), Reason> {
        if self.issuer != issuer {
            return Err(Reason::UntrustedIssuer { issuer: clip(&self.issuer) });
        }
        let audience = match &self.audience {
            Audience::One(audience) => std::slice::from_ref(audience),
            Audience::Many(audience) => audience,
        };
        if audience.iter().any(|audience| audience == service) {
            return Ok(());
        }
        Err(Reason::OtherAudience { audience: audience.iter().take(8).map(|audience| clip(audience)).collect() })
    }

    /// The token's time, give or take `LEEWAY`; `grace` is what is allowed past its end where that is more.
    pub(super) fn check_time(&self, now: OffsetDateTime, grace: Duration) -> Result<(), Reason> {
        let at = i128::from(now.unix_timestamp());
        let lateness = |by: Duration| i128::from(by.as_secs());
        if at > i128::from(self.expires) + lateness(LEEWAY.max(grace)) {
            return Err(Reason::Expired { at: rfc3339(self.expires), now: format_time(now) });
        }
        if at + lateness(LEEWAY) < i128::from(self.not_before) {
            return Err(Reason::NotYet { at: rfc3339(self.not_before), now: format_time(now) });
        }
        Ok(())
    }

    /// Seconds since the epoch at which the token ends.
    pub(super) const fn expires(&self) -> u64 {
        self.expires
    }

    /// Whether every wanted action is granted on exactly this resource; `*` grants all of them.
    pub(super) fn allow(&self, want: Want<'_>) -> bool {
        let granted = |action: &&str| {
            self.entries()
                .filter(|entry| entry.kind == want.kind && entry.name == want.name)
                .any(|entry| entry.actions.iter().any(|granted| granted == action || granted == "*"))
        };
        want.actions.iter().all(granted)
    }

    /// The names of all entries of one type.
    pub(super) fn named<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a str> {
        self.entries().filter(move |entry| entry.kind == kind).map(|entry| entry.name.as_str())
    }

    /// What the entries of one repository say of its tags.
    pub(super) fn rules<'a>(&'a self, repository: &'a str) -> impl Iterator<Item = &'a Meta> + Clone {
        self.entries()
            .filter(move |entry| entry.kind == "repository" && entry.name == repository)
            .filter_map(|entry| entry.meta.as_ref())
    }

    fn entries(&self) -> std::slice::Iter<'_, Entry> {
        self.access.as_deref().unwrap_or_default().iter()
    }
}

fn rfc3339(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    time.map_or_else(|| format!("second {seconds}"), format_time)
}

fn format_time(time: OffsetDateTime) -> String {
    time.format(&Rfc3339).unwrap_or_else(|_| format!("second {}", time.unix_timestamp()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000;

    fn check_time(offset_exp: i64, offset_nbf: i64, grace: u64, legal: bool) {
        let json = format!(r#"{{"exp":{},"nbf":{}}}"#, NOW + offset_exp, NOW + offset_nbf);
        let now = OffsetDateTime::from_unix_timestamp(NOW).unwrap();
        let checked = Claims::parse(json.as_bytes()).unwrap().check_time(now, Duration::from_secs(grace));
        assert_eq!(checked.is_ok(), legal, "{json} {checked:?}");
    }

    #[test]
    fn leeway() {
        check_time(300, -5, 0, true);
        check_time(-59, 0, 0, true);
        check_time(-61, 0, 0, false);
        check_time(300, 59, 0, true);
        check_time(300, 61, 0, false);
        check_time(-3599, -4000, 3600, true);
        check_time(-3601, -4000, 3600, false);
        check_time(300, 61, 3600, false);
        check_time(-59, 0, 1, true);
    }

    fn check_shape(json: &str, legal: bool) {
        let parsed = Claims::parse(json.as_bytes());
        assert_eq!(parsed.is_ok(), legal, "{json}: {parsed:?}");
    }

    #[test]
    fn shapes() {
        for legal in [
            r#"{"exp":1}"#,
            r#"{"exp":1,"sub":null}"#,
            r#"{"exp":1,"access":[]}"#,
            r#"{"exp":1,"access":null}"#,
            r#"{"exp":1,"aud":["a","b"],"jti":7,"user":{"a":1}}"#,
            r#"{"exp":1,"access":[{"type":"repository","class":"plugin","name":"a","actions":["pull"]}]}"#,
        ] {
            check_shape(legal, true);
        }
        for bad in ["\"1\"", "null", "1.5", "1.0", "-1", "18446744073709551616", "1e3", "[1]", "true"] {
            check_shape(&format!(r#"{{"exp":{bad}}}"#), false);
            check_shape(&format!(r#"{{"exp":1,"nbf":{bad}}}"#), false);
            check_shape(&format!(r#"{{"exp":1,"iat":{bad}}}"#), false);
        }
        for illegal in [
            "",
            "null",
            "[]",
            "{}",
            r#"{"exp":1}x"#,
            r#"{"exp":1,"exp":2}"#,
            r#"{"exp":1,"iss":1}"#,
            r#"{"exp":1,"aud":1}"#,
            r#"{"exp":1,"aud":[1]}"#,
            r#"{"exp":1,"sub":1}"#,
            r#"{"exp":1,"access":{}}"#,
            r#"{"exp":1,"access":[1]}"#,
            r#"{"exp":1,"access":[{"type":"repository","name":"a","actions":"pull"}]}"#,
            r#"{"exp":1,"access":[{"type":"repository","actions":["pull"]}]}"#,
            r#"{"exp":1,"access":[{"type":"repository","name":"a","meta":{"tag_immutable_patterns":"x"}}]}"#,
        ] {
            check_shape(illegal, false);
        }
    }

    #[test]
    fn parties_are_compared_to_the_byte() {
        let check = |aud: &str, iss: &str, legal: bool| {
            let json = format!(r#"{{"exp":1,"aud":{aud},"iss":{iss}}}"#);
            let checked = Claims::parse(json.as_bytes()).unwrap().check_parties("https://i", "svc");
            assert_eq!(checked.is_ok(), legal, "{json}");
        };
        check(r#""svc""#, r#""https://i""#, true);
        check(r#"["other","svc"]"#, r#""https://i""#, true);
        check(r#""svc""#, r#""https://i/""#, false);
        check(r#""svc""#, r#""HTTPS://i""#, false);
        check(r#""svc2""#, r#""https://i""#, false);
        check(r#""sv""#, r#""https://i""#, false);
        check("[]", r#""https://i""#, false);
    }
}
