//! What a refused client is told: a challenge (RFC 6750 section 3, RFC 7617), the actions it lacks, and, for the log
//! only, the reason in the words that administrators of distribution search for.

use std::fmt;

use crate::auth::access::{Access, RequiredAction};

/// Access was not granted.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{reason}")]
pub struct Refusal {
    challenge: String,
    detail: Option<Vec<RequiredAction>>,
    reason: Reason,
}

impl Refusal {
    /// The value of `WWW-Authenticate`: printable ASCII.
    pub fn challenge(&self) -> &str {
        &self.challenge
    }

    /// The `detail` of the error body; `None` is written as `null`.
    pub fn detail(&self) -> Option<&[RequiredAction]> {
        self.detail.as_deref()
    }

    /// Why, for the log. It can hold text that a client chose: log it as a field, never as a line.
    pub const fn reason(&self) -> &Reason {
        &self.reason
    }

    /// `Bearer realm="R",service="S"[,scope="…"][,error="…"]`: no space after the commas, as distribution writes it.
    pub(super) fn bearer(realm: &str, service: &str, access: &Access, reason: Reason) -> Self {
        let mut challenge = format!("Bearer realm={},service={}", quoted(realm), quoted(service));
        if let Some(scope) = access.scope() {
            challenge += ",scope=";
            challenge += &quoted(&scope);
        }
        if let Some(error) = reason.error() {
            challenge += ",error=";
            challenge += &quoted(error);
        }
        Self { challenge, detail: access.detail(), reason }
    }

    pub(super) fn basic(realm: &str, access: &Access, reason: Reason) -> Self {
        Self { challenge: format!("Basic realm={}", quoted(realm)), detail: access.detail(), reason }
    }
}

/// Why access was not granted.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Reason {
    #[error("authorization token required")]
    TokenRequired,
    #[error("insufficient scope")]
    InsufficientScope,
    #[error("malformed token: {0}")]
    Malformed(String),
    #[error("token from untrusted issuer: {issuer:?}")]
    UntrustedIssuer { issuer: String },
    #[error("token intended for another audience: {audience:?}")]
    OtherAudience { audience: Vec<String> },
    #[error("token not to be used after {at} - currently {now}")]
    Expired { at: String, now: String },
    #[error("token not to be used before {at} - currently {now}")]
    NotYet { at: String, now: String },
    #[error("token signed by untrusted key with ID: {id:?}")]
    UntrustedKey { id: String },
    #[error("token signed by an untrusted certificate chain: {0}")]
    UntrustedChain(String),
    #[error("unable to verify token signature: {0}")]
    Signature(String),
    #[error("authentication required: no user name and password were sent")]
    PasswordRequired,
    #[error("authentication failed for user {user:?}")]
    WrongPassword { user: String },
    /// Nobody looked at it: the client may try again.
    #[error("too many passwords are being checked")]
    Busy,
    /// Nobody can be let in: the fault is ours.
    #[error("the password file cannot be used: {0}")]
    PasswordFile(String),
}

/// Longest piece of a client's text in a reason, in characters.
const QUOTE_LEN_MAX: usize = 256;

impl Reason {
    pub(super) fn malformed(what: &(impl fmt::Display + ?Sized)) -> Self {
        Self::Malformed(clip(&what.to_string()))
    }

    /// The `error` parameter (RFC 6750 section 3.1); none where no token was sent.
    const fn error(&self) -> Option<&'static str> {
        match self {
            Self::TokenRequired
            | Self::PasswordRequired
            | Self::WrongPassword { .. }
            | Self::Busy
            | Self::PasswordFile(_) => None,
            Self::InsufficientScope => Some("insufficient_scope"),
            Self::Malformed(_)
            | Self::UntrustedIssuer { .. }
            | Self::OtherAudience { .. }
            | Self::Expired { .. }
            | Self::NotYet { .. }
            | Self::UntrustedKey { .. }
            | Self::UntrustedChain(_)
            | Self::Signature(_) => Some("invalid_token"),
        }
    }
}

/// As much of a client's text as a log needs.
pub(super) fn clip(text: &str) -> String {
    text.chars().take(QUOTE_LEN_MAX).collect()
}

/// A quoted-string (RFC 9110 section 5.6.4) of printable ASCII; what is not is left out or shown as `?`.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars().filter(|character| !character.is_control()) {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            ' '..='~' => quoted.push(character),
            _ => quoted.push('?'),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::access::Verb;

    #[test]
    fn bearer_challenges() {
        let check = |access: &Access, reason, expected: &str| {
            assert_eq!(Refusal::bearer("https://r/t", "s", access, reason).challenge(), expected);
        };
        let push = Access::Repository { name: "foo/bar".parse().unwrap(), verb: Verb::Push };
        check(&Access::Base, Reason::TokenRequired, r#"Bearer realm="https://r/t",service="s""#);
        check(
            &push,
            Reason::TokenRequired,
            r#"Bearer realm="https://r/t",service="s",scope="repository:foo/bar:pull,push""#,
        );
        check(
            &push,
            Reason::InsufficientScope,
            r#"Bearer realm="https://r/t",service="s",scope="repository:foo/bar:pull,push",error="insufficient_scope""#,
        );
        check(
            &Access::Base,
            Reason::Malformed(String::new()),
            r#"Bearer realm="https://r/t",service="s",error="invalid_token""#,
        );
    }

    #[test]
    fn nothing_leaves_its_quotes() {
        let check = |realm: &str, expected: &str| {
            assert_eq!(Refusal::basic(realm, &Access::Base, Reason::PasswordRequired).challenge(), expected);
        };
        check("R", r#"Basic realm="R""#);
        check(r#"a"b\c"#, r#"Basic realm="a\"b\\c""#);
        check("a\r\nX-Evil: 1\0\u{85}", r#"Basic realm="aX-Evil: 1""#);
        check("Zoë", r#"Basic realm="Zo?""#);
    }

    #[test]
    fn log_phrases() {
        let check = |reason: &Reason, expected: &str| assert_eq!(reason.to_string(), expected);
        check(&Reason::UntrustedKey { id: "x".into() }, r#"token signed by untrusted key with ID: "x""#);
        check(&Reason::UntrustedIssuer { issuer: "x\n".into() }, r#"token from untrusted issuer: "x\n""#);
        let (at, now) = ("T".to_owned(), "U".to_owned());
        check(&Reason::Expired { at, now }, "token not to be used after T - currently U");
    }
}
