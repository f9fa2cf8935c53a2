//! Challenges and the tokens that answer them (RFC 6750; distribution's "Token Authentication Specification").

use std::{
    collections::HashMap,
    fmt,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use crate::client::Error;

/// How long a token is used that does not say when it ends (the specification's default).
const LIFETIME_DEFAULT: Duration = Duration::from_mins(1);

/// How long before its end a token is not used any more.
const AHEAD: Duration = Duration::from_secs(1);

/// Who we are.
pub(crate) enum Credentials {
    Anonymous,
    Password {
        user: String,
        password: String,
    },
    /// Tokens that somebody made before, one after the other for each request.
    Tokens {
        tokens: Vec<HeaderValue>,
        next: AtomicUsize,
    },
}

/// What an answer with 401 asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

/// The tokens at hand, by scope.
#[derive(Default)]
pub(crate) struct Tokens {
    held: HashMap<Option<String>, (HeaderValue, Instant)>,
    last: Option<HeaderValue>,
    basic: bool,
    /// Whether the last token is used whatever comes.
    kept: bool,
}

#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

impl Credentials {
    pub(crate) fn tokens(tokens: impl Iterator<Item = String>) -> Result<Self, String> {
        let value = |token: String| {
            HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| "a token is no value of a header".to_owned())
        };
        let tokens = tokens.map(value).collect::<Result<Vec<_>, _>>()?;
        if tokens.is_empty() {
            return Err("there is no token".to_owned());
        }
        Ok(Self::Tokens { tokens, next: AtomicUsize::new(0) })
    }

    pub(crate) fn basic(&self) -> Option<HeaderValue> {
        let Self::Password { user, password } = self else { return None };
        let mut value =
            HeaderValue::try_from(format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "Anonymous",
            Self::Password { .. } => "Password",
            Self::Tokens { .. } => "Tokens",
        })
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("held", &self.held.len()).finish_non_exhaustive()
    }
}

impl Tokens {
    /// What to send without having been asked.
    pub(crate) fn authorization(&mut self, credentials: &Credentials, scope: Option<&str>) -> Option<HeaderValue> {
        if let Credentials::Tokens { tokens, next } = credentials {
            return tokens.get(next.fetch_add(1, Ordering::Relaxed) % tokens.len()).cloned();
        }
        if self.kept && self.last.is_some() {
            return self.last.clone();
        }
        if self.basic {
            return credentials.basic();
        }
        let scope = scope.map(str::to_owned);
        let (token, ends) = self.held.get(&scope)?;
        if *ends > Instant::now() {
            return Some(token.clone());
        }
        self.held.remove(&scope);
        None
    }

    /// From now on the last token is used for everything, and nobody is asked for another.
    pub(crate) const fn keep_last(&mut self) {
        self.kept = true;
    }

    /// Whether a refusal is final.
    pub(crate) const fn is_last_word(&self) -> bool {
        self.kept && self.last.is_some()
    }

    /// From now on the password is sent at once.
    pub(crate) const fn prefer_basic(&mut self) {
        self.basic = true;
    }

    /// Reads what the token service answered, and keeps it until it ends.
    pub(crate) fn keep(&mut self, scope: Option<&str>, body: &[u8]) -> Result<HeaderValue, Error> {
        // The text is secret: of an answer that cannot be read only the place is told.
        let answer: Answer = serde_json::from_slice(body)
            .map_err(|error| Error::Token(format!("its answer cannot be read in column {}", error.column())))?;
        let token = answer.token.or(answer.access_token).ok_or_else(|| Error::Token("it gives no token".to_owned()))?;
        let mut value = HeaderValue::try_from(format!("Bearer {token}"))
            .map_err(|_| Error::Token("its token is no value of a header".to_owned()))?;
        value.set_sensitive(true);
        let lifetime = answer.expires_in.map_or(LIFETIME_DEFAULT, Duration::from_secs);
        let ends = Instant::now() + lifetime.saturating_sub(AHEAD);
        self.last = Some(value.clone());
        self.held.insert(scope.map(str::to_owned), (value.clone(), ends));
        Ok(value)
    }
}

impl Challenge {
    /// The first challenge that is understood.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        headers.get_all(header::WWW_AUTHENTICATE).iter().find_map(|value| Self::read(value.to_str().ok()?))
    }

    fn read(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let mut parameters = parameters(rest);
        Some(Self::Bearer {
            realm: parameters.remove("realm")?,
            service: parameters.remove("service"),
            scope: parameters.remove("scope"),
        })
    }
}

/// `name="value"` pairs, in which commas may stand within quotes.
fn parameters(text: &str) -> HashMap<String, String> {
    let (mut found, mut rest) = (HashMap::new(), text);
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim_matches([' ', ',']).to_ascii_lowercase();
        let (value, remaining) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(',').unwrap_or((after, "")),
        };
        found.insert(name, value.to_owned());
        rest = remaining;
    }
    found
}

/// The address to ask for a token.
pub(crate) fn question(realm: &str, service: Option<&str>, scope: Option<&str>) -> String {
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let service = service.map(|service| format!("service={}", encode(service)));
    let scopes = scope.into_iter().flat_map(|scope| scope.split(' ')).map(|scope| format!("scope={}", encode(scope)));
    let query: Vec<String> = service.into_iter().chain(scopes).collect();
    let joint = if realm.contains('?') { '&' } else { '?' };
    if query.is_empty() { realm.to_owned() } else { format!("{realm}{joint}{}", query.join("&")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        let read = Challenge::read("Bearer realm=\"https://a/token\",service=\"r\",scope=\"repository:a:pull,push\"");
        let bearer = |realm: &str, service: Option<&str>, scope: Option<&str>| {
            Some(Challenge::Bearer {
                realm: realm.to_owned(),
                service: service.map(str::to_owned),
                scope: scope.map(str::to_owned),
            })
        };
        assert_eq!(read, bearer("https://a/token", Some("r"), Some("repository:a:pull,push")));
        assert_eq!(Challenge::read("bearer realm=x, error=\"e\""), bearer("x", None, None));
        assert_eq!(Challenge::read("Basic realm=\"x\""), Some(Challenge::Basic));
        for wrong in ["", "Bearer", "Bearer service=\"r\"", "Digest realm=\"x\""] {
            assert_eq!(Challenge::read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn questions_are_addresses() {
        let asked = question("https://a/token", Some("a b"), Some("repository:a/b:pull registry:catalog:*"));
        assert_eq!(
            asked,
            "https://a/token?service=a%20b&scope=repository%3Aa%2Fb%3Apull&scope=registry%3Acatalog%3A%2A"
        );
        assert_eq!(question("https://a/t?x=1", None, Some("s")), "https://a/t?x=1&scope=s");
        assert_eq!(question("https://a/t", None, None), "https://a/t");
    }

    #[test]
    fn tokens_are_kept_until_they_end() {
        let mut tokens = Tokens::default();
        tokens.keep(Some("s"), b"{\"access_token\":\"abc\",\"expires_in\":300}").unwrap();
        assert_eq!(tokens.authorization(&Credentials::Anonymous, Some("s")).unwrap(), "Bearer abc");
        assert_eq!(tokens.authorization(&Credentials::Anonymous, Some("other")), None);
        tokens.keep(Some("s"), b"{\"token\":\"short\",\"expires_in\":1}").unwrap();
        assert_eq!(tokens.authorization(&Credentials::Anonymous, Some("s")), None);
        for wrong in [&b"{}"[..], b"", b"{\"token\":\"a\\nb\"}"] {
            assert!(tokens.keep(None, wrong).is_err());
        }
    }
}
