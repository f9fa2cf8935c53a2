//! What we show to those who connect over TLS, and what we ask of them: read at start, and again when told to.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context, Result, anyhow, bail};
use rustls::{ServerConfig, pki_types::CertificateDer, server::ClientHello};

use crate::{
    app::certificates::Stamps,
    clock::Clock,
    config::{
        Config,
        edge::tls::{Curve, UnknownNames},
        tls::{Clients, Demand, Identity as Configured, Tls, Version},
    },
    server,
    tls::{
        self, Terms,
        certificates::{Certificates, Origin, Unknown, covers},
        client, development,
        groups::Group,
        pem::{Files, Pair, Strictness},
        sessions,
    },
};

/// The certificates and the terms of every handshake. Both are exchanged under a running server; what has begun keeps
/// what it has.
#[derive(Debug)]
pub(super) struct Identity {
    sources: Sources,
    settings: tls::Settings,
    clock: Arc<dyn Clock>,
    certificates: Arc<Certificates>,
    terms: Terms,
    held: Mutex<Held>,
    /// How the files looked just before they were read first.
    stamps: Stamps,
    /// What clients must trust where we made the certificate ourselves.
    authority: Option<PathBuf>,
}

/// Where certificates come from, and what is asked of them.
#[derive(Debug)]
struct Sources {
    files: Vec<Files>,
    strictness: Strictness,
    /// What clients call us, which one of the certificates should be for.
    host: Option<String>,
}

/// What was last read without a fault.
#[derive(Debug)]
struct Held {
    /// One for each of the files.
    pairs: Vec<Pair>,
    /// Of clients, by file.
    authorities: Vec<Vec<CertificateDer<'static>>>,
}

/// Files that were read and found good, and are not in force yet.
pub(super) struct Prepared {
    /// One for each of the files.
    pairs: Vec<Pair>,
    /// What is to be said where none of them is for our host.
    uncovered: Option<String>,
    /// `None` leaves those that are in force.
    clients: Option<Believed>,
}

/// Whose certificates are believed of clients.
struct Believed {
    authorities: Vec<Vec<CertificateDer<'static>>>,
    terms: tls::Prepared,
}

impl server::Handshakes for Identity {
    fn answer(&self, hello: &ClientHello<'_>) -> Option<Arc<ServerConfig>> {
        self.terms.for_name(hello.server_name())
    }
}

/// `None` where no TLS is spoken. Warnings go to the log.
pub(super) fn load(config: &Config, clock: &Arc<dyn Clock>) -> Result<Option<Arc<Identity>>> {
    let Some(tls) = &config.http.tls else { return Ok(None) };
    let mut sources = Sources::new(config, tls);
    let mut authority = None;
    if let Configured::Development { directory } = &tls.identity {
        let names: Vec<_> = sources.host.iter().cloned().collect();
        let paths = development::ensure(directory, &names, clock.as_ref())?;
        sources.files = vec![Files { certificate: paths.certificate, key: paths.key, passwords: None }];
        authority = Some(paths.authority);
    }
    let settings = settings(tls, config.http.http2);
    let stamps = Stamps::of(watched(&sources, &settings));
    let (pairs, uncovered) = sources.read(clock.as_ref())?;
    for warning in sources.warnings(&pairs, uncovered) {
        tracing::warn!("{warning}");
    }
    let certificates = Arc::new(Certificates::with(pairs.clone(), unknown(tls)));
    let authorities = authorities(&settings).context("http.tls.clientcas")?;
    let terms = Terms::new(&settings, &authorities, Arc::clone(&certificates)).context("http.tls")?;
    let held = Mutex::new(Held { pairs, authorities });
    let clock = Arc::clone(clock);
    Ok(Some(Arc::new(Identity { sources, settings, clock, certificates, terms, held, stamps, authority })))
}

/// Reads what [`load`] would read and makes nothing; returns its warnings.
pub(super) fn check(config: &Config, clock: &dyn Clock) -> Result<Vec<String>> {
    let Some(tls) = &config.http.tls else { return Ok(Vec::new()) };
    let sources = Sources::new(config, tls);
    let (pairs, uncovered) = sources.read(clock)?;
    let warnings = sources.warnings(&pairs, uncovered);
    let certificates = Arc::new(Certificates::with(pairs, unknown(tls)));
    let settings = settings(tls, config.http.http2);
    let authorities = authorities(&settings).context("http.tls.clientcas")?;
    Terms::new(&settings, &authorities, certificates).context("http.tls")?;
    Ok(warnings)
}

impl Identity {
    pub(super) fn authority(&self) -> Option<&PathBuf> {
        self.authority.as_ref()
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        self.clock.as_ref()
    }

    /// Whoever is issued newer ones puts them there.
    pub(super) const fn certificates(&self) -> &Arc<Certificates> {
        &self.certificates
    }

    /// Those of files that are in force.
    pub(super) fn pairs(&self) -> Vec<Pair> {
        self.held().pairs.clone()
    }

    pub(super) const fn stamps(&self) -> &Stamps {
        &self.stamps
    }

    /// Every file whose change means that there is something to read again.
    pub(super) fn watched(&self) -> impl Iterator<Item = &Path> {
        watched(&self.sources, &self.settings)
    }

    /// Reads all files, once, and puts nothing in force: that is [`Identity::take`]'s.
    ///
    /// # Errors
    /// What is wrong with one of them.
    pub(super) fn prepare(&self) -> Result<Prepared> {
        let (pairs, uncovered) = self.sources.read(self.clock())?;
        let clients = self.clients().context("http.tls.clientcas")?;
        Ok(Prepared { pairs, uncovered, clients })
    }

    /// Puts in force what was prepared; says what has changed, and what is remarkable about it.
    pub(super) fn take(&self, prepared: Prepared) -> Vec<String> {
        let Prepared { pairs, uncovered, clients } = prepared;
        let mut held = self.held();
        let compared = self.sources.files.iter().zip(&pairs).zip(&held.pairs);
        let mut said: Vec<_> = compared.flat_map(|((files, read), before)| news(files, read, before)).collect();
        if !said.is_empty() {
            said.extend(uncovered);
        }
        self.certificates.replace(Origin::Files, pairs.clone());
        held.pairs = pairs;
        if let Some(Believed { authorities, terms }) = clients {
            self.terms.take(terms);
            held.authorities = authorities;
            said.push("the authorities of clients have changed: no earlier session is taken up again".to_owned());
        }
        said
    }

    /// Reads all files again and puts in force what is good; says what has changed, and what is remarkable about it.
    ///
    /// # Errors
    /// What is wrong with which files. In the place of each, what was read before stays in force; good files that stand
    /// beside it are taken.
    pub(super) fn reload(&self) -> Result<Vec<String>> {
        let (before, mut faults) = (self.pairs(), Vec::new());
        let mut pairs = before.clone();
        for (files, pair) in self.sources.files.iter().zip(&mut pairs) {
            match files.load(self.sources.strictness, self.clock.now()) {
                Ok(read) => *pair = read,
                Err(error) => faults.push(error.to_string()),
            }
        }
        let mut uncovered = self.sources.uncovered(&pairs);
        if self.sources.strictness == Strictness::Strict
            && let Some(warning) = uncovered.take()
        {
            faults.push(warning);
            pairs = before;
        }
        let clients = self.clients().unwrap_or_else(|error| {
            faults.push(error.to_string());
            None
        });
        let said = self.take(Prepared { pairs, uncovered, clients });
        if faults.is_empty() {
            return Ok(said);
        }
        for line in said {
            tracing::info!("{line}");
        }
        Err(anyhow!("{}; in its place what was read before is served", faults.join("; ")))
    }

    /// The authorities of clients as their files have them now; `None` where nothing has changed.
    fn clients(&self) -> Result<Option<Believed>, tls::Error> {
        let authorities = authorities(&self.settings)?;
        if authorities == self.held().authorities {
            return Ok(None);
        }
        let terms = self.terms.prepare(&self.settings, &authorities)?;
        Ok(Some(Believed { authorities, terms }))
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a file brings that was not there before.
fn news(files: &Files, read: &Pair, before: &Pair) -> Vec<String> {
    let is_another = !read.shows_what(before);
    if !is_another && read.warnings() == before.warnings() {
        return Vec::new();
    }
    let described = is_another.then(|| described(files, read));
    described.into_iter().chain(read.warnings().iter().map(|warning| about(files, warning))).collect()
}

impl Sources {
    fn new(config: &Config, tls: &Tls) -> Self {
        let pairs = match &tls.identity {
            Configured::Files(pairs) => pairs.as_slice(),
            Configured::Development { .. } | Configured::Issued => &[],
        };
        let files = |pair: &crate::config::edge::tls::Pair| Files {
            certificate: pair.certificate.clone(),
            key: pair.key.clone(),
            passwords: tls.passwords.clone(),
        };
        let host = config.http.external_url.as_ref().and_then(|url| url.uri().host());
        Self {
            files: pairs.iter().map(files).collect(),
            strictness: if config.edge.strict { Strictness::Strict } else { Strictness::Lenient },
            host: host.map(|host| host.trim_matches(['[', ']']).to_owned()),
        }
    }

    /// All of them, and what is to be said where none is for our host.
    fn read(&self, clock: &dyn Clock) -> Result<(Vec<Pair>, Option<String>)> {
        let load = |files: &Files| files.load(self.strictness, clock.now());
        let pairs = self.files.iter().map(load).collect::<Result<Vec<_>, _>>().context("http.tls")?;
        match self.uncovered(&pairs) {
            Some(warning) if self.strictness == Strictness::Strict => bail!("{warning}"),
            uncovered => Ok((pairs, uncovered)),
        }
    }

    /// What is remarkable about what was read.
    fn warnings(&self, pairs: &[Pair], uncovered: Option<String>) -> Vec<String> {
        let read = self.files.iter().zip(pairs);
        let of_files = read.flat_map(|(files, pair)| pair.warnings().iter().map(move |warning| about(files, warning)));
        of_files.chain(uncovered).collect()
    }

    /// What is to be said where no certificate is for the host that clients call us.
    fn uncovered(&self, pairs: &[Pair]) -> Option<String> {
        let host = self.host.as_ref()?;
        let [files, ..] = self.files.as_slice() else { return None };
        if pairs.iter().any(|pair| covers(pair.names(), host)) {
            return None;
        }
        let names: Vec<_> = pairs.iter().flat_map(Pair::names).map(String::as_str).collect();
        let names = if names.is_empty() { "no name at all".to_owned() } else { names.join(", ") };
        let file = files.certificate.display();
        Some(format!("http.tls: no certificate is for {host}, the host of the external URL: {file} is for {names}"))
    }
}

fn watched<'a>(sources: &'a Sources, settings: &'a tls::Settings) -> impl Iterator<Item = &'a Path> {
    let authorities = settings.client.iter().flat_map(|client| client.authorities.iter().map(PathBuf::as_path));
    sources.files.iter().flat_map(Files::paths).chain(authorities)
}

fn authorities(settings: &tls::Settings) -> Result<Vec<Vec<CertificateDer<'static>>>, client::Error> {
    settings.client.as_ref().map_or_else(|| Ok(Vec::new()), |client| client::authorities(&client.authorities))
}

fn about(files: &Files, warning: &impl std::fmt::Display) -> String {
    format!("http.tls: {}: {warning}", files.certificate.display())
}

fn described(files: &Files, pair: &Pair) -> String {
    format!(
        "{}: the certificate for {} with serial number {} is in force, until {}",
        files.certificate.display(),
        pair.names().join(", "),
        pair.serial(),
        pair.expires()
    )
}

const fn unknown(tls: &Tls) -> Unknown {
    match tls.unknown_names {
        UnknownNames::Default => Unknown::Default,
        UnknownNames::Refuse => Unknown::Refuse,
    }
}

fn settings(tls: &Tls, http2: bool) -> tls::Settings {
    let group = |curve: &Curve| match curve {
        Curve::X25519MlKem768 => Group::X25519MlKem768,
        Curve::X25519 => Group::X25519,
        Curve::P256 => Group::P256,
        Curve::P384 => Group::P384,
    };
    tls::Settings {
        minimum: match tls.version_min {
            Version::Tls12 => tls::Version::Tls12,
            Version::Tls13 => tls::Version::Tls13,
        },
        cipher_suites: tls.cipher_suites.iter().map(ToString::to_string).collect(),
        groups: tls.curves.iter().map(group).collect(),
        client: tls.clients.as_ref().map(client_settings),
        http2: if http2 { tls::Http2::Offered } else { tls::Http2::Disabled },
        sessions: sessions::Settings {
            tickets: if tls.sessions.tickets { sessions::Tickets::Offered } else { sessions::Tickets::Disabled },
            timeout: tls.sessions.timeout,
        },
    }
}

fn client_settings(clients: &Clients) -> client::Settings {
    let mode = match clients.demand {
        Demand::Request => client::Mode::Request,
        Demand::RequireAny => client::Mode::RequireAny,
        Demand::VerifyIfGiven => client::Mode::VerifyIfGiven,
        Demand::RequireAndVerify => client::Mode::RequireAndVerify,
    };
    client::Settings { mode, authorities: clients.roots.clone(), depth_max: clients.depth_max }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::SystemClock, config::environment::Environment};

    #[test]
    fn what_was_read_is_what_is_taken() {
        tls::install_provider();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let directory = tempfile::tempdir().unwrap();
        let made = |name: &str| {
            development::ensure(&directory.path().join(name), &["a.test".to_owned()], clock.as_ref()).unwrap()
        };
        let (shown, next) = (made("one"), made("two"));
        let text = format!(
            "version: 0.1\nauth: none\nstorage: inmemory\nhttp: {{tls: {{certificate: {0}, key: {1}, clientcas: [{2}]}}}}\n",
            shown.certificate.display(),
            shown.key.display(),
            shown.authority.display()
        );
        let config = Config::parse(&text, "f.yml", &Environment::default()).unwrap().config;
        let identity = load(&config, &clock).unwrap().unwrap();
        let serial = || identity.pairs()[0].serial().to_string();
        let first = serial();

        let files = [&shown.certificate, &shown.key, &shown.authority];
        for (file, with) in files.into_iter().zip([&next.certificate, &next.key, &next.authority]) {
            std::fs::copy(with, file).unwrap();
        }
        let prepared = identity.prepare().unwrap();
        assert_eq!(serial(), first, "nothing is in force yet");
        for file in files {
            std::fs::write(file, "this is nothing").unwrap();
        }
        let said = identity.take(prepared);
        assert!(said.len() == 2 && said[1].contains("authorities of clients have changed"), "{said:?}");
        let second = serial();
        assert_ne!(second, first);
        assert!(identity.prepare().is_err() && identity.reload().is_err());
        assert_eq!(serial(), second);
    }
}
