//! `auth`: who may do what. Without it everybody may do everything.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::config::{
    Warning,
    schema::{Key, parameters, value, values},
    section::Section,
};

pub(in crate::config) const KEYS: &[Key] = &[
    parameters(
        "token",
        &[
            value("realm"),
            value("service"),
            value("issuer"),
            value("rootcertbundle"),
            value("jwks"),
            value("autoredirect").or("false"),
            value("autoredirectpath").or("/auth/token"),
            values("signingalgorithms"),
        ],
    ),
    parameters("htpasswd", &[value("realm"), value("path")]),
    parameters("silly", &[value("realm"), value("service")]),
    parameters("none", &[]),
];

/// Signatures that a token may carry.
const ALGORITHMS: &[&str] = &["EdDSA", "ES256", "ES384", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"];

/// Signatures that Distribution lists and that are refused here: symmetric ones have no safe key, and ES512 is not
/// offered by the cryptography in use.
const ALGORITHMS_REFUSED: &[&str] = &["ES512", "HS256", "HS384", "HS512"];

#[derive(Clone, Debug)]
pub enum Auth {
    /// No check at all.
    Open,
    Token(Token),
    Htpasswd {
        realm: String,
        path: PathBuf,
    },
}

/// Tokens that somebody else issues. At least one of `root_cert_bundle` and `jwks` is there.
#[derive(Clone, Debug)]
pub struct Token {
    /// Where clients get a token.
    pub realm: String,
    /// The audience of tokens for us.
    pub service: String,
    pub issuer: String,
    /// PEM certificates whose keys, or whose issued certificates' keys, sign tokens.
    pub root_cert_bundle: Option<PathBuf>,
    /// A file with a JSON Web Key Set.
    pub jwks: Option<PathBuf>,
    /// A path on the host that the client addressed, which replaces `realm`.
    pub auto_redirect: Option<String>,
    /// JOSE names, never empty.
    pub algorithms: Vec<&'static str>,
}

impl Auth {
    /// Reads `auth`, which may be missing.
    pub(in crate::config) fn read(auth: Option<&Section<'_>>, warnings: &mut Vec<Warning>) -> Result<Self> {
        let kinds: Vec<_> = auth.iter().flat_map(|auth| auth.fields()).collect();
        let [(kind, field)] = kinds.as_slice() else {
            if let [_, _, ..] = kinds.as_slice() {
                let names: Vec<_> = kinds.iter().map(|(name, _)| *name).collect();
                bail!("auth takes one method, not several: {}", names.join(", "));
            }
            let text = "is not set: everybody who reaches this registry may read and write; write none to mean it";
            warnings.push(Warning { key: "auth".to_owned(), text: text.to_owned() });
            return Ok(Self::Open);
        };
        match *kind {
            "none" => Ok(Self::Open),
            "token" => Token::read(&field.section()?, warnings).map(Self::Token),
            "htpasswd" => {
                let section = field.section()?;
                Ok(Self::Htpasswd { realm: section.need_text("realm")?, path: section.need_text("path")?.into() })
            }
            "silly" => {
                Err(field.fail("lets any Authorization header pass and is not offered; write none to mean that"))
            }
            _ => Err(field.fail("is not a method; write token, htpasswd or none")),
        }
    }
}

impl Token {
    fn read(section: &Section<'_>, warnings: &mut Vec<Warning>) -> Result<Self> {
        let (root_cert_bundle, jwks) = (section.path("rootcertbundle")?, section.path("jwks")?);
        if root_cert_bundle.is_none() && jwks.is_none() {
            bail!("{}: auth.token needs a key to check tokens with: write rootcertbundle or jwks", section.origin());
        }
        let redirect = section.need("autoredirectpath")?;
        let path = redirect.text()?;
        if !path.starts_with('/') {
            return Err(redirect.fail("must begin with a slash"));
        }
        Ok(Self {
            realm: section.need_text("realm")?,
            service: section.need_text("service")?,
            issuer: section.need_text("issuer")?,
            root_cert_bundle,
            jwks,
            auto_redirect: section.boolean("autoredirect")?.then(|| path.to_owned()),
            algorithms: algorithms(section, warnings)?,
        })
    }
}

fn algorithms(section: &Section<'_>, warnings: &mut Vec<Warning>) -> Result<Vec<&'static str>> {
    let listed = section.list("signingalgorithms")?;
    if listed.is_empty() {
        return Ok(ALGORITHMS.to_vec());
    }
    let mut algorithms = Vec::new();
    for field in &listed {
        let name = field.text()?;
        if let Some(known) = ALGORITHMS.iter().find(|known| **known == name) {
            algorithms.push(*known);
        } else if ALGORITHMS_REFUSED.contains(&name) {
            warnings.push(Warning::of(field, format!("{name} is not offered; tokens signed with it are refused")));
        } else {
            let problem = format!("is {name:?}; it must be one of {}", ALGORITHMS.join(", "));
            return Err(field.fail(problem));
        }
    }
    if algorithms.is_empty() {
        bail!("{}: auth.token.signingalgorithms leaves no algorithm that is offered", section.origin());
    }
    Ok(algorithms)
}
