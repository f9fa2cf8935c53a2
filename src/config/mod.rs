//! The configuration file and the environment over it, read once into plain data.
//!
//! The way of a file: text, within bounds → a document of nodes that know their lines → `REGISTRY_*`
//! variables laid over it → a look for keys that are unknown or do nothing → defaults filled in → one typed struct for
//! each section. The file is what CNCF Distribution 2.8 and 3 and GitLab read, unchanged; what is ours alone stands in
//! `edge`.
//!
//! Nothing here opens another file, logs, or acts on what it read. Only this module reads environment variables.

use std::{fmt, fs::File, io::Read, path::Path};

use anyhow::{Context, Result, bail};

pub mod address;
pub mod auth;
pub mod catalog;
mod changes;
pub mod edge;
mod effective;
pub mod environment;
mod headers;
pub mod health;
pub mod http;
mod inert;
pub mod log;
pub mod middleware;
mod node;
mod redact;
mod scalar;
mod schema;
mod section;
pub mod storage;
mod suites;
#[cfg(test)]
mod tests;
pub mod tls;
pub mod validation;
mod yaml;

use crate::config::{
    auth::Auth,
    catalog::{Catalog, Tags},
    edge::Edge,
    environment::{Environment, Manager, Passed},
    health::Health,
    http::Http,
    log::Log,
    middleware::Middleware,
    node::{Node, Origin},
    section::{Field, Section},
    storage::Storage,
    validation::Validation,
};

/// Largest configuration file, in bytes.
const FILE_SIZE_MAX: u64 = 1 << 20;

/// The one version of the format.
const VERSION: &str = "0.1";

/// Everything that an operator can set.
#[derive(Clone, Debug)]
pub struct Config {
    pub log: Log,
    pub storage: Storage,
    /// Of the storage, the innermost first: each changes where the ones before it send a client.
    pub middlewares: Vec<Middleware>,
    pub auth: Auth,
    pub http: Http,
    pub health: Health,
    pub catalog: Catalog,
    pub tags: Tags,
    pub validation: Validation,
    pub edge: Edge,
    /// Sockets that came with this process.
    pub passed: Passed,
    /// Who wants to hear how this process fares.
    pub manager: Manager,
}

/// A configuration, what its operator should hear about it, and how it reads.
pub struct Loaded {
    pub config: Config,
    pub warnings: Vec<Warning>,
    effective: String,
    document: Node,
}

/// Something that works, but perhaps not as it was meant.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Warning {
    /// The dotted path of a key, or the name of a variable.
    pub key: String,
    /// The rest of the sentence that begins with the key.
    pub text: String,
}

impl Config {
    /// Reads a file and the environment.
    ///
    /// # Errors
    /// The operator's sentence: file and line or variable, key, and what is wrong. No value of a secret is in it.
    pub fn load(path: &Path, environment: &Environment) -> Result<Loaded> {
        let mut text = Vec::new();
        File::open(path)
            .and_then(|file| file.take(FILE_SIZE_MAX + 1).read_to_end(&mut text))
            .with_context(|| format!("cannot read the configuration {}", path.display()))?;
        if text.len() as u64 > FILE_SIZE_MAX {
            bail!("{}: larger than {FILE_SIZE_MAX} bytes", path.display());
        }
        let Ok(text) = String::from_utf8(text) else { bail!("{}: not UTF-8", path.display()) };
        Self::parse(&text, &path.display().to_string(), environment)
    }

    /// Reads text as if it stood in the file `name`.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(text: &str, name: &str, environment: &Environment) -> Result<Loaded> {
        let mut warnings = Vec::new();
        let mut document = yaml::parse(text, &Origin::File { name: name.into(), line: 1 })?;
        environment.overlay(&mut document, &mut warnings)?;
        schema::inspect(&document, &schema::DOCUMENT, "", &mut warnings)?;
        schema::fill(&mut document, &schema::DOCUMENT);
        let config = Self::read(&Section::document(&document)?, environment, &mut warnings)?;
        Ok(Loaded { config, warnings, effective: effective::yaml(&document, &schema::DOCUMENT), document })
    }

    fn read(document: &Section<'_>, environment: &Environment, warnings: &mut Vec<Warning>) -> Result<Self> {
        let version = document.need("version")?;
        if version.text()? != VERSION {
            return Err(version.fail(format_args!("unsupported version: {:?}; it must be {VERSION}", version.text()?)));
        }
        refuse_metadata_database(document)?;
        refuse_proxy(document)?;
        let edge = document.need_section("edge")?;
        let storage = Storage::read(&document.need_section("storage")?, edge::demand(&edge), environment, warnings)?;
        let own = Edge::read(&edge, &storage, warnings)?;
        let config = Self {
            log: Log::read(document)?,
            middlewares: middleware::read(document.section("middleware")?.as_ref(), &storage, warnings)?,
            storage,
            auth: Auth::read(document.section("auth")?.as_ref(), warnings)?,
            http: Http::read(&document.need_section("http")?, &edge, &own.proxies, warnings)?,
            passed: environment.passed_sockets(std::process::id())?,
            manager: environment.manager(std::process::id())?,
            edge: own,
            health: Health::read(&document.need_section("health")?, environment.authorities())?,
            catalog: Catalog::read(&document.need_section("catalog")?)?,
            tags: Tags::read(&document.need_section("tags")?)?,
            validation: Validation::read(&document.need_section("validation")?, warnings)?,
        };
        if let Some(acme) = &config.http.acme
            && acme.needs_visitors(config.http.redirect.as_ref())
            && let Some(allow) =
                edge.need_section("access")?.find("allow").filter(|_| !config.edge.access.allow.is_empty())
        {
            warnings.push(Warning::of(
                &allow,
                "shuts out the authority of edge.acme, which comes from anywhere and is closed off before it can ask: prove \
                 names by dns-01, in a webroot, or with http-01 on edge.acme.http_address or edge.redirect_http_to_https, \
                 which answer everybody and serve nothing else",
            ));
        }
        if let Some(upstream) = &config.edge.upstream {
            upstream.judge(document, config.edge.shadow.as_ref(), warnings)?;
        }
        Ok(config)
    }
}

/// With GitLab's metadata database the tags are not in the storage: it would look empty from here, and what is pushed
/// would be invisible from there.
fn refuse_metadata_database(document: &Section<'_>) -> Result<()> {
    let database = document.section("database")?;
    match database.and_then(|database| database.find("enabled")) {
        Some(enabled) if !enabled.node().is_idle() => Err(enabled.fail(
            "asks for the metadata database, which keeps tags outside the storage: this registry would look empty. \
             Write false if the storage is not managed by that database",
        )),
        _ => Ok(()),
    }
}

/// Whoever mirrors another registry did not mean a writable one: clients would find nothing of the other's content here,
/// and what they push would stand in a cache that its owner may wipe at any time.
fn refuse_proxy(document: &Section<'_>) -> Result<()> {
    let proxy = document.section("proxy")?;
    match proxy.and_then(|proxy| proxy.find("remoteurl")) {
        Some(remote) if !remote.node().is_idle() => Err(remote.fail(
            "asks for a mirror of another registry, which is not in this version: a registry that takes pushes would \
             start in its place",
        )),
        _ => Ok(()),
    }
}

impl Loaded {
    /// The configuration in force as YAML: the file, the environment and the defaults, each secret redacted.
    #[must_use]
    pub fn redacted(&self) -> &str {
        &self.effective
    }

    /// The keys whose values are others in `next`, and that this version cannot change while it runs; each as a warning.
    #[must_use]
    pub fn needs_restart(&self, next: &Self) -> Vec<Warning> {
        changes::that_need_a_restart(&self.document, &next.document)
    }

    /// Whether every value that somebody wrote, or left out, is the same.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.document.is_same(&other.document)
    }
}

impl Warning {
    fn of(field: &Field<'_>, text: impl fmt::Display) -> Self {
        Self::at(field.node(), field.key(), text)
    }

    fn at(node: &Node, key: &str, text: impl fmt::Display) -> Self {
        Self { key: key.to_owned(), text: format!("{text} ({})", node.origin) }
    }
}

impl fmt::Debug for Loaded {
    /// Without the document, which holds secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loaded")
            .field("effective", &self.effective)
            .field("warnings", &self.warnings)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.text)
    }
}
