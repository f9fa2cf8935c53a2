//! `REGISTRY_*` variables, laid over the file by the rules of CNCF Distribution.
//!
//! Variables apply in the order of their names, so `REGISTRY_STORAGE` comes before `REGISTRY_STORAGE_CACHE`. A name is
//! a path: its elements, split at `_`, are fields in a section (in capitals; a few have another name than their key),
//! keys in a map (whatever their case), and indices in a list (one past the end appends). The value is YAML and takes
//! the place of all that stood there. Below `EDGE` the underscores of keys are not told from those of the path.
//!
//! Other variables are read by their names where a section says so: certificate authorities, what leads to credentials of
//! the storage, and the sockets that a service manager passes.

use std::{collections::BTreeMap, fmt, iter, path::PathBuf, time::Duration};

use anyhow::{Context, Result, anyhow, bail};

use crate::config::{
    Warning,
    node::{Node, Origin, Value},
    schema::{self, Key, Shape},
    yaml,
};

const PREFIX: &str = "REGISTRY_";
/// Of the storage's credentials, which are looked for as Amazon's SDKs do.
const AMAZON: &str = "AWS_";
const HOME: &str = "HOME";
/// Of a service manager that passes sockets, as `sd_listen_fds(3)` describes them.
const PASSED_TO: &str = "LISTEN_PID";
const PASSED_COUNT: &str = "LISTEN_FDS";
const PASSED_NAMES: &str = "LISTEN_FDNAMES";
/// The name of the first socket that a process passes to its successor, by which the successor answers.
pub const HANDOVER: &str = "pierhead-handover";
/// Of a service manager that wants to hear from us, as `sd_notify(3)` and `sd_watchdog_enabled(3)` describe them.
const NOTIFY: &str = "NOTIFY_SOCKET";
const WATCHDOG_OF: &str = "WATCHDOG_PID";
const WATCHDOG: &str = "WATCHDOG_USEC";
/// Most sockets that are taken; a process has few descriptors more.
const PASSED_MAX: usize = 256;
const CONFIGURATION_PATH: &str = "REGISTRY_CONFIGURATION_PATH";
/// As OpenSSL and Go name it.
const AUTHORITIES: &str = "SSL_CERT_FILE";
/// Where Debian and what descends from it keeps them, and where our image does.
const AUTHORITIES_DEFAULT: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Environment variables, by name. `Debug` shows no values.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

/// Sockets that came with a process, in the order of their descriptors.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Passed {
    pub by: PassedBy,
    pub names: Vec<String>,
}

/// Who passes sockets.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum PassedBy {
    #[default]
    Manager,
    /// The process that this one replaces. The first socket is the one to answer by ([`HANDOVER`]), the names of the
    /// others are addresses.
    Predecessor,
}

/// A service manager.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Manager {
    /// Where it listens: a path, or `@` and a name.
    pub socket: Option<String>,
    /// How often it must hear from us at least.
    pub watchdog: Option<Duration>,
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        Self(variables.into_iter().filter(|(name, _)| is_ours(name)).collect())
    }
}

impl Environment {
    /// This process's variables.
    ///
    /// # Errors
    /// A variable that is meant for us is not UTF-8.
    pub fn of_process() -> Result<Self> {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .filter(|(name, _)| is_ours(name))
            .filter_map(|(name, value)| match value.into_string() {
                Ok(value) => Some(Ok((name, value))),
                // Nobody set it for us.
                Err(_) if name == HOME => None,
                Err(_) => Some(Err(anyhow!("{name}: the value is not UTF-8"))),
            })
            .collect()
    }

    /// Where the configuration file is, if a variable says so.
    #[must_use]
    pub fn configuration_path(&self) -> Option<&str> {
        self.variable(CONFIGURATION_PATH)
    }

    /// A variable's text; an empty one counts as not set.
    pub(in crate::config) fn variable(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|text| !text.is_empty())
    }

    /// The PEM file with the certificate authorities that this machine trusts.
    #[must_use]
    pub fn authorities(&self) -> PathBuf {
        self.variable(AUTHORITIES).unwrap_or(AUTHORITIES_DEFAULT).into()
    }

    /// The sockets that came with the process `id`.
    ///
    /// # Errors
    /// The variables contradict each other.
    pub fn passed_sockets(&self, id: u32) -> Result<Passed> {
        let Some(text) = self.variable(PASSED_COUNT) else { return Ok(Passed::default()) };
        let names = self.variable(PASSED_NAMES);
        let by = match (self.variable(PASSED_TO), names) {
            (Some(to), _) if to.parse() == Ok(id) => PassedBy::Manager,
            // Who starts a process does not know its id before.
            (None, Some(names)) if names.split(':').next() == Some(HANDOVER) => PassedBy::Predecessor,
            // What was meant for another process, a parent say, is not ours.
            _ => return Ok(Passed::default()),
        };
        let count: usize = match text.parse() {
            Ok(count) if count <= PASSED_MAX => count,
            _ => bail!("{PASSED_COUNT}: is {text:?}; it must be a number of sockets, {PASSED_MAX} at most"),
        };
        // The manager's own word for a socket without a name.
        let Some(names) = names else { return Ok(Passed { by, names: vec!["unknown".to_owned(); count] }) };
        let decoded = |name: &str| percent_encoding::percent_decode_str(name).decode_utf8_lossy().into_owned();
        let names: Vec<String> = match by {
            PassedBy::Manager => names.split(':').map(str::to_owned).collect(),
            PassedBy::Predecessor => names.split(':').map(decoded).collect(),
        };
        if names.len() != count {
            bail!("{PASSED_NAMES}: names {} sockets, but {PASSED_COUNT} says {count}", names.len());
        }
        Ok(Passed { by, names })
    }

    /// Who wants to hear from the process `id`.
    ///
    /// # Errors
    /// The period of the watchdog is no number.
    pub fn manager(&self, id: u32) -> Result<Manager> {
        let succeeds = self.passed_sockets(id)?.by == PassedBy::Predecessor;
        let watches = match self.variable(WATCHDOG_OF) {
            None => true,
            // A successor is watched in its predecessor's place.
            Some(watched) => succeeds || watched.parse() == Ok(id),
        };
        let watchdog = match self.variable(WATCHDOG).filter(|_| watches) {
            None => None,
            Some(text) => match text.parse() {
                Ok(micros) if micros > 0 => Some(Duration::from_micros(micros)),
                _ => bail!("{WATCHDOG}: is {text:?}; it must be a number of microseconds"),
            },
        };
        Ok(Manager { socket: self.variable(NOTIFY).map(str::to_owned), watchdog })
    }

    /// Lays every variable over a document.
    ///
    /// # Errors
    /// A value that is not YAML, a list index past the end, a path through something that has no parts. A name that
    /// means nothing is a warning.
    pub(in crate::config) fn overlay(&self, document: &mut Node, warnings: &mut Vec<Warning>) -> Result<()> {
        for (name, text) in self.0.iter().filter(|(name, _)| name.starts_with(PREFIX) && *name != CONFIGURATION_PATH) {
            let origin = Origin::Environment(name.as_str().into());
            let value = yaml::parse(text, &origin)?;
            let elements: Vec<&str> = name[PREFIX.len()..].split('_').collect();
            match assign(document, &schema::DOCUMENT, &elements, Spelling::Exact, value).context(name.clone())? {
                Outcome::Assigned => {}
                Outcome::Unrecognized => warnings.push(Warning {
                    key: name.clone(),
                    text: format!("Ignoring unrecognized environment variable {name}"),
                }),
            }
        }
        Ok(())
    }
}

fn is_ours(name: &str) -> bool {
    name.starts_with(PREFIX)
        || name.starts_with(AMAZON)
        || [AUTHORITIES, HOME, PASSED_TO, PASSED_COUNT, PASSED_NAMES, NOTIFY, WATCHDOG, WATCHDOG_OF].contains(&name)
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Outcome {
    Assigned,
    Unrecognized,
}

/// How elements of a name make up a key.
#[derive(Clone, Copy)]
enum Spelling {
    /// One element is one key.
    Exact,
    /// Several elements may be one key: its underscores are left out.
    Joined,
}

fn assign(node: &mut Node, shape: &Shape, elements: &[&str], spelling: Spelling, value: Node) -> Result<Outcome> {
    let Some((first, rest)) = elements.split_first() else {
        *node = value;
        return Ok(Outcome::Assigned);
    };
    match shape {
        Shape::Section(keys) | Shape::Gathered(keys) => {
            if matches!(shape, Shape::Gathered(_)) {
                node.gather(keys[0].name);
            }
            let Some((key, rest)) = field(keys, elements, spelling) else { return Ok(Outcome::Unrecognized) };
            let spelling = if key.name == schema::OWN { Spelling::Joined } else { spelling };
            assign(entry(node, key.name, &value.origin)?, &key.shape, rest, spelling, value)
        }
        Shape::Parameters(keys) | Shape::Choice(keys) => {
            if matches!(shape, Shape::Choice(_)) {
                node.spread();
            }
            let Some((key, rest)) = parameter(keys, elements) else {
                let name = existing(node, first);
                return assign(entry(node, &name, &value.origin)?, &Shape::Open, rest, spelling, value);
            };
            assign(entry(node, key.name, &value.origin)?, &key.shape, rest, spelling, value)
        }
        Shape::Named(shape) => {
            let name = existing(node, first);
            assign(entry(node, &name, &value.origin)?, shape, rest, spelling, value)
        }
        Shape::List(shape) => assign(item(node, first, &value.origin)?, shape, rest, spelling, value),
        Shape::Value => Ok(Outcome::Unrecognized),
        Shape::Open if matches!(node.value, Value::List(_)) => {
            assign(item(node, first, &value.origin)?, shape, rest, spelling, value)
        }
        Shape::Open => {
            let name = existing(node, first);
            assign(entry(node, &name, &value.origin)?, &Shape::Open, rest, spelling, value)
        }
    }
}

/// The key that a name's first elements mean, and the elements behind it.
fn field<'e>(
    keys: &'static [Key],
    elements: &'e [&'e str],
    spelling: Spelling,
) -> Option<(&'static Key, &'e [&'e str])> {
    let longest = match spelling {
        Spelling::Exact => 1,
        Spelling::Joined => elements.len(),
    };
    (1..=longest).rev().find_map(|length| {
        let (name, rest) = elements.split_at(length);
        let name = name.concat();
        let means = |key: &&Key| match spelling {
            Spelling::Exact => key.is_called(&name),
            Spelling::Joined => key.name.replace('_', "").to_ascii_uppercase() == name,
        };
        keys.iter().find(means).map(|key| (key, rest))
    })
}

/// The known key of a map that a name's first elements mean, and the elements behind it. Distribution cannot be told of
/// keys with an underscore; `S3_V2_BUCKET` and `S3_CHECKSUM_DISABLED` mean what they say here.
fn parameter<'e>(keys: &'static [Key], elements: &'e [&'e str]) -> Option<(&'static Key, &'e [&'e str])> {
    (1..=elements.len()).rev().find_map(|length| {
        let (name, rest) = elements.split_at(length);
        let name = name.join("_");
        keys.iter().find(|key| key.name.eq_ignore_ascii_case(&name)).map(|key| (key, rest))
    })
}

/// The name of an existing key that differs in case only, else a new name in small letters.
fn existing(node: &Node, element: &str) -> String {
    let Value::Map(entries) = &node.value else { return element.to_lowercase() };
    entries
        .iter()
        .map(|(name, _)| name)
        .find(|name| name.to_lowercase() == element.to_lowercase())
        .map_or_else(|| element.to_lowercase(), Clone::clone)
}

/// The value at a key of a map, made if it is missing.
fn entry<'n>(node: &'n mut Node, name: &str, origin: &Origin) -> Result<&'n mut Node> {
    if node.is_null() {
        *node = Node::empty_map(origin.clone());
    }
    let Value::Map(entries) = &mut node.value else {
        return Err(anyhow!("what stands at {} has no keys of its own", node.origin));
    };
    let position = entries.iter().position(|(key, _)| key == name).unwrap_or_else(|| {
        entries.push((name.to_owned(), Node::null(origin.clone())));
        entries.len() - 1
    });
    Ok(&mut entries[position].1)
}

/// The value at an index of a list; the index behind the last one appends.
fn item<'n>(node: &'n mut Node, element: &str, origin: &Origin) -> Result<&'n mut Node> {
    if node.is_null() {
        *node = Node { origin: origin.clone(), value: Value::List(Vec::new()) };
    }
    let Value::List(items) = &mut node.value else {
        return Err(anyhow!("what stands at {} is not a list", node.origin));
    };
    let index: usize = element.parse().map_err(|_| anyhow!("{element:?} is not an index of a list"))?;
    if index > items.len() {
        return Err(anyhow!("undefined index: {index}, the list has {} entries", items.len()));
    }
    items.extend(iter::repeat_with(|| Node::null(origin.clone())).take(usize::from(index == items.len())));
    Ok(&mut items[index])
}

#[cfg(test)]
mod tests {
    use proptest::{collection, prop_oneof, proptest, sample, strategy::Strategy};

    use super::*;
    use crate::config::{Config, section::Section};

    const BASE: &str = "version: 0.1\nstorage: {inmemory: {}}\nauth: none\n";

    #[test]
    fn the_platform_has_authorities() {
        let check = |variables: &[(&str, &str)], expected: &str| {
            assert_eq!(environment(variables).authorities(), PathBuf::from(expected));
        };
        check(&[], AUTHORITIES_DEFAULT);
        check(&[("SSL_CERT_FILE", "")], AUTHORITIES_DEFAULT);
        check(&[("SSL_CERT_FILE", "/a.pem"), ("REGISTRY_LOG_LEVEL", "debug")], "/a.pem");
    }

    fn environment(variables: &[(&str, &str)]) -> Environment {
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// The document after the overlay as JSON, and the names that were warned about.
    fn overlaid(file: &str, variables: &[(&str, &str)]) -> Result<(serde_json::Value, Vec<String>)> {
        let file = if file.is_empty() { "{}" } else { file };
        let mut document = yaml::parse(file, &Origin::File { name: "f.yml".into(), line: 1 })?;
        let mut warnings = Vec::new();
        environment(variables).overlay(&mut document, &mut warnings)?;
        let fields =
            Section::document(&document)?.fields().map(|(name, field)| (name.to_owned(), field.untyped())).collect();
        Ok((serde_json::Value::Object(fields), warnings.into_iter().map(|warning| warning.key).collect()))
    }

    /// `pointer` is a JSON pointer (RFC 6901) into the document.
    #[track_caller]
    fn check(file: &str, variables: &[(&str, &str)], pointer: &str, expected: impl Into<serde_json::Value>) {
        let expected = expected.into();
        let (document, warnings) = overlaid(file, variables).unwrap();
        assert_eq!(document.pointer(pointer), Some(&expected), "{variables:?} over {file}: {document}");
        assert!(warnings.is_empty(), "{warnings:?}");
    }

    #[test]
    fn values_are_yaml_at_the_place_that_a_name_says() {
        check("", &[("REGISTRY_LOG_LEVEL", "debug")], "/log/level", "debug");
        check("log: {level: info}", &[("REGISTRY_LOG_LEVEL", "debug")], "/log/level", "debug");
        check("", &[("REGISTRY_HTTP_RELATIVEURLS", "yes")], "/http/relativeurls", true);
        check("", &[("REGISTRY_HTTP_ADDR", ":5000")], "/http/addr", ":5000");
        check("", &[("REGISTRY_HTTP", "{addr: a, host: b}")], "/http/host", "b");
        check("http: {host: h}", &[("REGISTRY_HTTP", "{addr: a}")], "/http", serde_json::json!({"addr": "a"}));
        check("log: {level: info}", &[("REGISTRY_LOG_LEVEL", "")], "/log/level", serde_json::Value::Null);
    }

    #[test]
    fn fields_with_a_name_of_their_own() {
        check(
            "",
            &[("REGISTRY_NOTIFICATIONS_EVENTCONFIG_INCLUDEREFERENCES", "true")],
            "/notifications/events/includereferences",
            true,
        );
        check("", &[("REGISTRY_HEALTH_FILECHECKERS_0_FILE", "/f")], "/health/file/0/file", "/f");
        check("", &[("REGISTRY_HEALTH_HTTPCHECKERS_0_URI", "http://a")], "/health/http/0/uri", "http://a");
        check("", &[("REGISTRY_HEALTH_TCPCHECKERS_0_ADDR", "a:1")], "/health/tcp/0/addr", "a:1");
        check(
            "log: {hooks: [{type: mail}]}",
            &[("REGISTRY_LOG_HOOKS_0_MAILOPTIONS_FROM", "a@b")],
            "/log/hooks/0/options/from",
            "a@b",
        );
        check("", &[("REGISTRY_COMPATIBILITY_SCHEMA1_TRUSTKEY", "/k")], "/compatibility/schema1/signingkeyfile", "/k");
    }

    #[test]
    fn names_that_mean_nothing_are_warned_about() {
        for name in [
            "REGISTRY_NOSUCH",
            "REGISTRY_",
            "REGISTRY_HTTP_NOSUCH",
            "REGISTRY_http_addr",
            "REGISTRY_HEALTH_FILE_0_FILE",
            "REGISTRY_NOTIFICATIONS_EVENTS_INCLUDEREFERENCES",
            "REGISTRY_LOG_LEVEL_MORE",
            "REGISTRY_EDGE_NOSUCH",
        ] {
            let (_, warnings) = overlaid("", &[(name, "x")]).unwrap();
            assert_eq!(warnings, [name]);
        }
        let (_, warnings) = overlaid("", &[("REGISTRY_CONFIGURATION_PATH", "x"), ("PATH", "x")]).unwrap();
        assert!(warnings.is_empty(), "{warnings:?}");
    }

    #[test]
    fn maps_match_in_any_case_and_grow_in_small_letters() {
        check("storage: {OSS: {Bucket: a}}", &[("REGISTRY_STORAGE_OSS_BUCKET", "b")], "/storage/OSS/Bucket", "b");
        check("storage: {s3: {}}", &[("REGISTRY_STORAGE_S3_REGION", "r")], "/storage/s3/region", "r");
        check("storage: {s3_v2: {}}", &[("REGISTRY_STORAGE_S3_V2_REGION", "r")], "/storage/s3_v2/region", "r");
        check("", &[("REGISTRY_STORAGE_S3_CHECKSUM_DISABLED", "y")], "/storage/s3/checksum_disabled", true);
        check("", &[("REGISTRY_MIDDLEWARE_STORAGE_0_NAME", "redirect")], "/middleware/storage/0/name", "redirect");
        check(
            "middleware: {storage: [{name: redirect}]}",
            &[("REGISTRY_MIDDLEWARE_STORAGE_0_OPTIONS_BASEURL", "https://h")],
            "/middleware/storage/0/options/baseurl",
            "https://h",
        );
        check("", &[("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", "/r")], "/storage/filesystem/rootdirectory", "/r");
        check("log: {fields: {Service: a}}", &[("REGISTRY_LOG_FIELDS_SERVICE", "b")], "/log/fields/Service", "b");
        check("", &[("REGISTRY_AUTH_TOKEN_REALM", "https://r")], "/auth/token/realm", "https://r");
        check("", &[("REGISTRY_AUTH", "none")], "/auth", "none");
    }

    #[test]
    fn storage_is_replaced_whole_before_its_parameters() {
        let file = "storage: {filesystem: {rootdirectory: /a}, delete: {enabled: true}}";
        let variables = [("REGISTRY_STORAGE_S3_BUCKET", "b"), ("REGISTRY_STORAGE", "s3")];
        check(file, &variables, "/storage", serde_json::json!({"s3": {"bucket": "b"}}));
        check(
            "storage: inmemory",
            &[("REGISTRY_STORAGE_DELETE_ENABLED", "on")],
            "/storage",
            serde_json::json!({"inmemory": {}, "delete": {"enabled": true}}),
        );
    }

    #[test]
    fn lists_are_indexed_and_grow_by_one() {
        let file = "http: {tls: {clientcas: [a, b]}}";
        check(file, &[("REGISTRY_HTTP_TLS_CLIENTCAS_1", "c")], "/http/tls/clientcas", serde_json::json!(["a", "c"]));
        check(
            file,
            &[("REGISTRY_HTTP_TLS_CLIENTCAS_2", "c")],
            "/http/tls/clientcas",
            serde_json::json!(["a", "b", "c"]),
        );
        check(file, &[("REGISTRY_HTTP_TLS_CLIENTCAS", "[x]")], "/http/tls/clientcas", serde_json::json!(["x"]));
        check("", &[("REGISTRY_REDIS_ADDRS", "[h:6379]")], "/redis/addrs", serde_json::json!(["h:6379"]));
        check(
            "",
            &[("REGISTRY_AUTH_TOKEN_SIGNINGALGORITHMS_0", "RS256")],
            "/auth/token/signingalgorithms",
            serde_json::json!(["RS256"]),
        );
        let error = overlaid(file, &[("REGISTRY_HTTP_TLS_CLIENTCAS_3", "c")]).unwrap_err();
        assert_eq!(format!("{error:#}"), "REGISTRY_HTTP_TLS_CLIENTCAS_3: undefined index: 3, the list has 2 entries");
        assert!(overlaid(file, &[("REGISTRY_HTTP_TLS_CLIENTCAS_X", "c")]).is_err());
    }

    #[test]
    fn every_form_of_maintenance_works() {
        for variables in [
            &[("REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED", "true")][..],
            &[("REGISTRY_STORAGE_MAINTENANCE_READONLY", r#"{"enabled":true}"#)],
            &[("REGISTRY_STORAGE_MAINTENANCE", "{readonly: {enabled: true}}")],
        ] {
            for file in
                [BASE, "version: 0.1\nauth: none\nstorage: {inmemory: {}, maintenance: {readonly: {enabled: false}}}"]
            {
                let loaded = Config::parse(file, "f.yml", &environment(variables)).unwrap();
                assert!(loaded.config.storage.read_only, "{variables:?}");
            }
        }
        let age = environment(&[("REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING_AGE", "48h")]);
        let purging = Config::parse(BASE, "f.yml", &age).unwrap().config.storage.purging.unwrap();
        assert_eq!(purging.age.as_secs(), 48 * 3600);
        let off = environment(&[("REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING_ENABLED", "false")]);
        assert!(Config::parse(BASE, "f.yml", &off).unwrap().config.storage.purging.is_none());
    }

    #[test]
    fn our_own_section_ignores_underscores() {
        for name in ["REGISTRY_EDGE_UPLOADS_TOKEN_GRACE", "REGISTRY_EDGE_UPLOADS_TOKENGRACE"] {
            check("", &[(name, "2h")], "/edge/uploads/token_grace", "2h");
        }
        check("", &[("REGISTRY_EDGE_EXTERNAL_URL", "https://a")], "/edge/external_url", "https://a");
        check("", &[("REGISTRY_EDGE_STRICT", "true")], "/edge/strict", true);
        check("", &[("REGISTRY_EDGE_DOWNLOADS_INLINE_MAX", "0")], "/edge/downloads/inline_max", 0);
        for name in ["REGISTRY_EDGE_DOWNLOADS_FORWARD_NETWORKS_0", "REGISTRY_EDGE_DOWNLOADS_FORWARDNETWORKS_0"] {
            check("", &[(name, "10.0.0.0/8")], "/edge/downloads/forward_networks/0", "10.0.0.0/8");
        }
        let error = Config::parse(BASE, "f.yml", &environment(&[("REGISTRY_EDGE_UPLOADS", "{x: 1}")])).unwrap_err();
        assert!(
            error.to_string().starts_with("REGISTRY_EDGE_UPLOADS: edge.uploads.x: there is no such key"),
            "{error}"
        );
    }

    #[test]
    fn a_value_that_is_not_yaml_is_refused_without_being_quoted() {
        let error = overlaid("", &[("REGISTRY_HTTP_SECRET", "canary: [")]).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.starts_with("REGISTRY_HTTP_SECRET: ") && !text.contains("canary"), "{text}");
        assert!(!format!("{:?}", environment(&[("REGISTRY_HTTP_SECRET", "canary")])).contains("canary"));
    }

    fn element() -> impl Strategy<Value = String> {
        prop_oneof![
            sample::select(vec![
                "STORAGE",
                "HTTP",
                "TLS",
                "LOG",
                "HOOKS",
                "EDGE",
                "UPLOADS",
                "AUTH",
                "TOKEN",
                "HEALTH",
                "FILECHECKERS",
                "HEADERS",
                "CLIENTCAS",
                "MIDDLEWARE",
                "0",
                "1",
                "FILESYSTEM",
                "CACHE",
                "DATABASE",
                "REDIS",
                "S3",
                "V2",
                "BUCKET",
                "REGION",
                "REGIONENDPOINT",
                "CHUNKSIZE",
                "DOWNLOADS",
                "FORWARD",
                "NETWORKS",
                "OPTIONS",
                "NAME",
                "",
            ])
            .prop_map(str::to_owned),
            "[A-Za-z0-9.-]{0,6}",
        ]
    }

    proptest! {
        #[test]
        fn no_environment_and_no_text_panics(
            variables in collection::vec((collection::vec(element(), 1..6), "[ -~\\n]{0,24}"), 0..6),
            text in "[ -~\\n]{0,80}",
        ) {
            let environment: Environment =
                variables.into_iter().map(|(name, value)| (format!("REGISTRY_{}", name.join("_")), value)).collect();
            let _ = Config::parse(BASE, "f.yml", &environment);
            let _ = Config::parse(&text, "f.yml", &environment);
        }

        #[test]
        fn no_structured_text_panics(
            lines in collection::vec(("[ ]{0,4}", "[a-z<*&?-]{1,3}", "(: |:|\n- | )", "[]a-z0-9{}\\[,:*&'\"|>! ]{0,8}"), 0..12),
        ) {
            let text: String = lines.into_iter().map(|(indent, key, colon, value)| [&indent[..], &key, &colon, &value, "\n"].concat()).collect();
            let _ = Config::parse(&text, "f.yml", &Environment::default());
            let _ = Config::parse(&format!("{BASE}http:\n{text}"), "f.yml", &Environment::default());
        }
    }
}
