//! What the records hold.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::OffsetDateTime;

use crate::{
    acme::{schedule::Window, vault::Record},
    secret::Secret,
};

/// The version of each record's form; a record of another one is refused where it is read.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Version1;

impl Serialize for Version1 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(1)
    }
}

impl<'de> Deserialize<'de> for Version1 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u32::deserialize(deserializer)? {
            1 => Ok(Self),
            other => Err(serde::de::Error::custom(format_args!("version {other}"))),
        }
    }
}

/// A private key in PEM.
#[derive(Clone)]
pub(crate) struct KeyText(pub(crate) Secret<String>);

impl KeyText {
    pub(crate) fn new(pem: String) -> Self {
        Self(Secret::new(pem))
    }

    pub(crate) fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for KeyText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.expose())
    }
}

impl<'de> Deserialize<'de> for KeyText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// Who we are to an authority.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Account {
    pub(crate) version: Version1,
    /// The authority's directory.
    pub(crate) directory: String,
    /// PKCS#8 in base64.
    pub(crate) key: KeyText,
    /// Its URL; none while it is not known whether the authority has heard of the key.
    pub(crate) id: Option<String>,
    /// The key of the operator's account there that it was bound to.
    pub(crate) binding: Option<String>,
    pub(crate) contacts: Vec<String>,
}

/// What a certificate is asked for: another wish is another order.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wish {
    /// The authority's directory.
    pub(crate) directory: String,
    /// In order.
    pub(crate) names: Vec<String>,
    pub(crate) profile: Option<String>,
    /// As in `KeyType`'s text.
    pub(crate) key_type: String,
}

/// An order under way.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Order {
    pub(crate) version: Version1,
    pub(crate) wish: Wish,
    pub(crate) url: String,
    /// Of the certificate. It stands here before the authority hears of it, so that no certificate loses its key.
    pub(crate) key: KeyText,
}

impl Record for Order {
    const PLACE: &str = "orders";
}

/// What may be asked by the authority.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Answers {
    pub(crate) version: Version1,
    pub(crate) answers: Vec<Answer>,
}

impl Record for Answers {
    const PLACE: &str = "answers";
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Answer {
    pub(crate) proof: Proof,
    /// In lower case, without a wildcard.
    pub(crate) name: String,
    pub(crate) token: String,
    pub(crate) key_authorization: String,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Proof {
    Http,
    TlsAlpn,
    Dns,
}

/// A certificate that was issued, and its key.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Certificate {
    pub(crate) version: Version1,
    pub(crate) wish: Wish,
    /// PEM, the certificate itself first.
    pub(crate) chain: String,
    pub(crate) key: KeyText,
}

impl Record for Certificate {
    const PLACE: &str = "certificates";
}

/// How it went, and when it goes on.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    pub(crate) version: Version1,
    /// In a row, since the last success.
    pub(crate) failures: u32,
    /// Nobody tries before.
    #[serde(with = "time::serde::rfc3339::option")]
    pub(crate) not_before: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub(crate) attempted: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub(crate) succeeded: Option<OffsetDateTime>,
    pub(crate) error: Option<LastError>,
    /// What the failures are of: another wish begins anew.
    pub(crate) wish: Option<Wish>,
    pub(crate) suggestion: Option<Suggestion>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LastError {
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) at: OffsetDateTime,
    pub(crate) text: String,
}

/// What the authority said about when to renew a certificate (RFC 9773).
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Suggestion {
    /// The certificate's number.
    pub(crate) certificate: u64,
    /// None where the authority says nothing.
    pub(crate) window: Option<Window>,
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) ask_again: OffsetDateTime,
}
