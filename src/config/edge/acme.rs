//! `edge.acme`: certificates from an authority, and Distribution's `http.tls.letsencrypt`, which means the same.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use anyhow::Result;

use crate::{
    config::{
        Warning,
        address::{Address, Url},
        edge::redirect::Redirect,
        schema::{Key, section, value, values},
        section::{Field, Section},
    },
    secret::Secret,
};

pub(in crate::config) const KEYS: &[Key] = &[
    value("enabled").or("false"),
    values("names"),
    values("emails"),
    value("directory").or("letsencrypt"),
    value("ca"),
    section("eab", &[value("kid"), value("key").secret()]),
    value("key_type").or("ecdsa"),
    value("key_size"),
    value("ec_curve"),
    value("profile"),
    value("challenge").or("tls-alpn-01"),
    values("dns_hook").secret(),
    value("dns_hook_timeout").or("3m"),
    value("webroot"),
    value("http_address"),
    value("state"),
    value("secret").secret(),
    value("renew_before"),
    value("poll_interval").or("30s"),
];

/// Of Distribution; on as soon as there is a `cachefile`.
pub(in crate::config) const LETSENCRYPT: &[Key] =
    &[value("cachefile"), value("email"), values("hosts"), value("directoryurl")];

const LETSENCRYPT_URL: &str = "https://acme-v02.api.letsencrypt.org/directory";
const STAGING_URL: &str = "https://acme-staging-v02.api.letsencrypt.org/directory";

/// Most names in one certificate of the largest authority.
const NAMES_MAX: usize = 100;

/// Least length of the secret, in characters: it keeps private keys from whoever reads the bucket.
const SECRET_LEN_MIN: usize = 32;

/// Certificates that an authority issues.
#[derive(Clone, Debug)]
pub struct Acme {
    /// DNS names in lower case, with wildcards, and addresses; never empty.
    pub names: Vec<String>,
    pub emails: Vec<String>,
    /// Of the authority; https.
    pub directory: String,
    /// PEM file with whom we believe to be the authority; `None`: whom the machine believes.
    pub authorities: Option<PathBuf>,
    pub binding: Option<Binding>,
    pub key_type: KeyType,
    pub profile: Option<String>,
    pub challenge: Challenge,
    /// A listener in plain HTTP that answers challenges and nothing else.
    pub http_address: Option<Address>,
    pub state: State,
    pub renew_before: Option<Duration>,
    pub poll_interval: Duration,
}

/// An account with the authority that the operator has already.
#[derive(Clone, Debug)]
pub struct Binding {
    pub kid: String,
    /// In base64url, as authorities give it.
    pub key: Secret<String>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyType {
    EcdsaP256,
    EcdsaP384,
    Rsa2048,
    Rsa3072,
    Rsa4096,
}

#[derive(Clone, Debug)]
pub enum Challenge {
    Http { webroot: Option<PathBuf> },
    TlsAlpn,
    Dns { hook: Secret<Vec<String>>, timeout: Duration },
}

/// Where accounts, keys and certificates are kept.
#[derive(Clone, Debug)]
pub enum State {
    Directory(PathBuf),
    /// In the registry's own storage, encrypted.
    Storage {
        secret: Secret<String>,
    },
}

#[derive(Clone, Copy)]
enum Word {
    Http,
    TlsAlpn,
    Dns,
}

impl Acme {
    /// `tls` is Distribution's section; `external_url` names the host where nothing else is said.
    pub(in crate::config) fn read(
        edge: &Section<'_>,
        tls: Option<&Section<'_>>,
        external_url: Option<&Url>,
        warnings: &mut Vec<Warning>,
    ) -> Result<Option<Self>> {
        let acme = edge.need_section("acme")?;
        let enabled = acme.need("enabled")?;
        let letsencrypt = letsencrypt(tls, warnings)?;
        match (enabled.boolean()?, letsencrypt) {
            (true, Some(_)) => {
                Err(enabled.fail("contradicts http.tls.letsencrypt, which means the same; write one of them"))
            }
            (true, None) => Self::own(edge, &acme, external_url, warnings).map(Some),
            (false, Some(section)) => Self::of_distribution(&section, external_url).map(Some),
            (false, None) => {
                // What is there only because somebody meant it.
                let meant = ["names", "state", "secret", "emails"].iter().find_map(|name| acme.find(name));
                if let Some(field) = meant.filter(|field| !field.node().is_idle()) {
                    warnings.push(Warning::of(&field, "has no effect while edge.acme.enabled is false"));
                }
                Ok(None)
            }
        }
    }

    /// Whether the authority must come in where the registry is.
    pub(in crate::config) const fn needs_visitors(&self, redirect: Option<&Redirect>) -> bool {
        match &self.challenge {
            Challenge::TlsAlpn => true,
            Challenge::Http { webroot } => webroot.is_none() && self.http_address.is_none() && redirect.is_none(),
            Challenge::Dns { .. } => false,
        }
    }

    fn own(
        edge: &Section<'_>,
        acme: &Section<'_>,
        external_url: Option<&Url>,
        warnings: &mut Vec<Warning>,
    ) -> Result<Self> {
        let names = names(&acme.list("names")?, external_url, || acme.fail("needs names, or an edge.external_url"))?;
        let challenge = challenge(acme, &names, warnings)?;
        let http_address = acme.find("http_address").map(|field| Address::read(&field)).transpose()?;
        let redirects = edge.find("redirect_http_to_https").is_some_and(|field| !field.node().is_idle());
        if matches!(challenge, Challenge::Http { webroot: None }) && http_address.is_none() && !redirects {
            let field = acme.need("challenge")?;
            warnings.push(Warning::of(
                &field,
                "is http-01: the authority comes in plain HTTP, to port 80; set http_address, webroot or \
                 edge.redirect_http_to_https unless a listener of this registry is reached that way",
            ));
        }
        Ok(Self {
            challenge,
            http_address,
            emails: acme.list("emails")?.iter().map(email).collect::<Result<_>>()?,
            directory: directory(&acme.need("directory")?)?,
            authorities: acme.path("ca")?,
            binding: binding(acme)?,
            key_type: key_type(acme)?,
            profile: acme.text("profile")?.map(str::to_owned),
            state: state(acme, warnings)?,
            renew_before: acme.find("renew_before").map(|field| field.at_least_a_second()).transpose()?,
            poll_interval: poll_interval(&acme.need("poll_interval")?)?,
            names,
        })
    }

    /// As Distribution proves it: in handshakes.
    fn of_distribution(section: &Section<'_>, external_url: Option<&Url>) -> Result<Self> {
        let names = names(&section.list("hosts")?, external_url, || section.fail("needs hosts"))?;
        if let Some(wildcard) = names.iter().find(|name| name.starts_with("*.")) {
            return Err(section.fail(format_args!("names {wildcard}, which needs edge.acme with challenge: dns-01")));
        }
        let emails = section.find("email").filter(|field| field.text().is_ok_and(|text| !text.is_empty()));
        let url = section.find("directoryurl").filter(|field| field.text().is_ok_and(|text| !text.is_empty()));
        Ok(Self {
            names,
            emails: emails.iter().map(email).collect::<Result<_>>()?,
            directory: url.map_or_else(|| Ok(LETSENCRYPT_URL.to_owned()), |field| directory(&field))?,
            authorities: None,
            binding: None,
            key_type: KeyType::EcdsaP256,
            profile: None,
            challenge: Challenge::TlsAlpn,
            http_address: None,
            state: State::Directory(section.need_text("cachefile")?.into()),
            renew_before: None,
            poll_interval: Duration::from_secs(30),
        })
    }
}

/// Distribution's section where it acts.
fn letsencrypt<'a>(tls: Option<&Section<'a>>, warnings: &mut Vec<Warning>) -> Result<Option<Section<'a>>> {
    let Some(tls) = tls else { return Ok(None) };
    let Some(field) = tls.find("letsencrypt").filter(|field| !field.node().is_idle()) else { return Ok(None) };
    let section = field.section()?;
    let files = tls.text("certificate")?.is_some();
    match (section.text("cachefile")?, files) {
        (Some(_), true) => Err(field.fail("contradicts http.tls.certificate: there is one certificate already")),
        (Some(_), false) => Ok(Some(section)),
        (None, true) => {
            warnings.push(Warning::of(&field, "has no effect without a cachefile"));
            Ok(None)
        }
        (None, false) => Err(field.fail(
            "has no effect without a cachefile, and without http.tls.certificate everything would be unencrypted",
        )),
    }
}

fn names(
    listed: &[Field<'_>],
    external_url: Option<&Url>,
    missing: impl FnOnce() -> anyhow::Error,
) -> Result<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    for field in listed {
        let name = name(field)?;
        if names.contains(&name) {
            return Err(field.fail(format_args!("is {name}, which is there already")));
        }
        names.push(name);
    }
    if let Some(last) = listed.get(NAMES_MAX) {
        return Err(last.fail(format_args!("is one too many: at most {NAMES_MAX} names fit into a certificate")));
    }
    if names.is_empty() {
        let host = external_url.and_then(|url| url.uri().host()).ok_or_else(missing)?;
        names.push(host.trim_matches(['[', ']']).to_ascii_lowercase());
    }
    Ok(names)
}

fn name(field: &Field<'_>) -> Result<String> {
    let text = field.text()?.to_ascii_lowercase();
    if text.parse::<IpAddr>().is_ok() {
        return Ok(text);
    }
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let base = text.strip_prefix("*.").unwrap_or(&text);
    if text.len() <= 253 && base.split('.').all(is_label) {
        return Ok(text);
    }
    Err(field.fail(format_args!(
        "is {text:?}; it must be a host name such as registry.example.com, *.example.com, or an address (other letters in \
         the form xn--)"
    )))
}

fn email(field: &Field<'_>) -> Result<String> {
    let text = field.text()?;
    let (user, host) = text.split_once('@').unwrap_or_default();
    let plain = !text.contains(|letter: char| letter.is_whitespace() || letter.is_control() || "?,<>".contains(letter));
    if user.is_empty() || host.is_empty() || !plain || text.starts_with("mailto:") {
        return Err(field.fail("must be an address such as admin@example.com"));
    }
    Ok(text.to_owned())
}

fn directory(field: &Field<'_>) -> Result<String> {
    match field.text()? {
        "letsencrypt" => Ok(LETSENCRYPT_URL.to_owned()),
        "letsencrypt-staging" => Ok(STAGING_URL.to_owned()),
        text => {
            let url = Url::parse(field, text)?;
            if url.uri().scheme_str() != Some("https") {
                return Err(field.fail("must be letsencrypt, letsencrypt-staging or a URL that begins with https://"));
            }
            Ok(url.into_uri().to_string())
        }
    }
}

fn binding(acme: &Section<'_>) -> Result<Option<Binding>> {
    let Some(eab) = acme.section("eab")? else { return Ok(None) };
    match (eab.text("kid")?, eab.secret("key")?) {
        (None, None) => Ok(None),
        (Some(kid), Some(key)) => Ok(Some(Binding { kid: kid.to_owned(), key })),
        _ => Err(eab.fail("needs both kid and key")),
    }
}

/// In the words of GitLab's settings (`key_type`, `key_size`, `ec_curve`).
fn key_type(acme: &Section<'_>) -> Result<KeyType> {
    #[derive(Clone, Copy)]
    enum Kind {
        Ecdsa,
        Rsa,
    }
    let words = [("ecdsa", Kind::Ecdsa), ("ec", Kind::Ecdsa), ("rsa", Kind::Rsa)];
    let kind = acme.need("key_type")?.word(&words)?;
    let (size, curve) = (acme.find("key_size"), acme.find("ec_curve"));
    match (kind, size, curve) {
        (Kind::Ecdsa, Some(size), _) => Err(size.fail("is for keys of key_type rsa")),
        (Kind::Rsa, _, Some(curve)) => Err(curve.fail("is for keys of key_type ecdsa")),
        (Kind::Ecdsa, None, None) => Ok(KeyType::EcdsaP256),
        (Kind::Ecdsa, None, Some(curve)) => curve.word(&[
            ("prime256v1", KeyType::EcdsaP256),
            ("p256", KeyType::EcdsaP256),
            ("secp384r1", KeyType::EcdsaP384),
            ("p384", KeyType::EcdsaP384),
        ]),
        (Kind::Rsa, None, None) => Ok(KeyType::Rsa2048),
        (Kind::Rsa, Some(size), None) => match size.integer()? {
            2048 => Ok(KeyType::Rsa2048),
            3072 => Ok(KeyType::Rsa3072),
            4096 => Ok(KeyType::Rsa4096),
            other => Err(size.fail(format_args!("is {other}; it must be 2048, 3072 or 4096"))),
        },
    }
}

fn challenge(acme: &Section<'_>, names: &[String], warnings: &mut Vec<Warning>) -> Result<Challenge> {
    let field = acme.need("challenge")?;
    let word = field.word(&[
        ("http-01", Word::Http),
        ("http", Word::Http),
        ("tls-alpn-01", Word::TlsAlpn),
        ("dns-01", Word::Dns),
    ])?;
    if let Some(name) = names.iter().find(|name| name.starts_with("*."))
        && !matches!(word, Word::Dns)
    {
        return Err(field.fail(format_args!("must be dns-01, because {name} is a wildcard")));
    }
    let hook = acme.list("dns_hook")?;
    let webroot = acme.find("webroot").filter(|field| field.text().is_ok_and(|text| !text.is_empty()));
    for (unused, needs) in [
        (hook.first().filter(|_| !matches!(word, Word::Dns)), "dns-01"),
        (webroot.as_ref().filter(|_| !matches!(word, Word::Http)), "http-01"),
    ] {
        if let Some(unused) = unused {
            warnings.push(Warning::of(unused, format_args!("has no effect unless edge.acme.challenge is {needs}")));
        }
    }
    Ok(match word {
        Word::Http => Challenge::Http { webroot: acme.path("webroot")? },
        Word::TlsAlpn => Challenge::TlsAlpn,
        Word::Dns => {
            if let Some(address) = names.iter().find(|name| name.parse::<IpAddr>().is_ok()) {
                return Err(field.fail(format_args!("cannot be dns-01, because {address} is an address")));
            }
            let words: Vec<String> = hook.iter().map(|field| Ok(field.text()?.to_owned())).collect::<Result<_>>()?;
            if words.first().is_none_or(String::is_empty) {
                return Err(field.fail("is dns-01, which needs edge.acme.dns_hook: [command, arguments...]"));
            }
            Challenge::Dns { hook: Secret::new(words), timeout: acme.need("dns_hook_timeout")?.at_least_a_second()? }
        }
    })
}

fn state(acme: &Section<'_>, warnings: &mut Vec<Warning>) -> Result<State> {
    let field =
        acme.find("state").filter(|field| field.text().is_ok_and(|text| !text.is_empty())).ok_or_else(|| {
            acme.fail("needs state: a directory for accounts, keys and certificates, or the word storage")
        })?;
    let secret = acme.secret("secret")?;
    match (field.text()?, secret) {
        ("storage", None) => {
            Err(field.fail("is storage, which needs edge.acme.secret: private keys are encrypted there"))
        }
        ("storage", Some(secret)) => {
            if secret.expose().chars().count() < SECRET_LEN_MIN {
                let field = acme.need("secret")?;
                return Err(field.fail(format_args!("must have at least {SECRET_LEN_MIN} characters")));
            }
            Ok(State::Storage { secret })
        }
        (path, None) => Ok(State::Directory(path.into())),
        (path, Some(_)) => {
            let secret = acme.need("secret")?;
            warnings.push(Warning::of(&secret, "has no effect: in a directory, permissions keep others out"));
            Ok(State::Directory(path.into()))
        }
    }
}

fn poll_interval(field: &Field<'_>) -> Result<Duration> {
    let interval = field.timeout()?;
    if interval < Duration::from_millis(100) || interval > Duration::from_hours(24) {
        return Err(field.fail("must be from 100ms to 24h"));
    }
    Ok(interval)
}
