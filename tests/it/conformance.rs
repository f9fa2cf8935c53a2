//! The OCI conformance suite of the distribution specification, over TLS, with tokens or passwords, no part of it turned off.
//!
//! The suite asks for no token that would let it mount from another repository: mounts are shown where every user may
//! read everything.

use std::{collections::BTreeMap, fs, path::Path};

use regex::{Captures, Regex};

use crate::support::{
    command::command,
    registry::{Auth, Program, Registry, Storage, Transport},
    tokens::DEVELOPER,
    tools,
};

/// Fewer would mean that the suite skipped a part.
const TESTS_MIN: u32 = 840;

#[test]
fn conforms_to_version_1_1() {
    let data = tempfile::tempdir().unwrap();
    check("1.1", Auth::Token, &Storage::directory(data.path()));
}

#[test]
fn conforms_to_the_development_version() {
    let data = tempfile::tempdir().unwrap();
    check("dev", Auth::Htpasswd, &Storage::directory(data.path()));
}

pub(crate) fn check(version: &str, auth: Auth, storage: &Storage) {
    check_but_for(version, auth, storage, None);
}

/// Of the suite's sentences one may be said.
pub(crate) fn check_but_for(version: &str, auth: Auth, storage: &Storage, tolerated: Option<&str>) {
    if !tools::present(&["conformance", "htpasswd"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let registry = Registry::start_on(&Program::pierhead(), &here.join("server"), storage, Transport::Tls, auth);
    let report = report(&registry, version, here);
    let counts = Counts::read(&report);
    println!("conformance {version}: {counts:?}");
    for case in cases(&report, "skipped") {
        println!("conformance {version}: skipped {case}");
    }
    let mut failed = cases(&report, "failure");
    let all = failed.len();
    let is_tolerated = |case: &str| tolerated.is_some_and(|sentence| case.ends_with(&format!(": {sentence}")));
    failed.retain(|case| !is_tolerated(case));
    println!("conformance {version}: tolerated {}", all - failed.len());
    assert!(failed.is_empty() && counts.errors == 0, "conformance {version}: {counts:?}\n{}", failed.join("\n"));
    assert_eq!(all, counts.failures as usize, "conformance {version}: {counts:?}");
    assert!(counts.tests >= TESTS_MIN, "conformance {version}: only {counts:?}");
}

/// Runs the suite and gives its report; its files go to a directory.
pub(crate) fn report(registry: &Registry, version: &str, here: &Path) -> String {
    let results = here.join("results");
    let mut suite = command::<&str>("conformance", []);
    suite
        .current_dir(here)
        .env("OCI_REGISTRY", registry.host())
        .env("OCI_TLS", "enabled")
        .env("SSL_CERT_FILE", &registry.certificate.authority)
        .env("OCI_USERNAME", DEVELOPER.name)
        .env("OCI_PASSWORD", DEVELOPER.password)
        .env("OCI_REPO1", "conformance/one")
        .env("OCI_REPO2", "conformance/two")
        .env("OCI_VERSION", version)
        .env("OCI_RESULTS_DIR", &results);
    let output = suite.output().unwrap();
    fs::read_to_string(results.join("junit.xml"))
        .unwrap_or_else(|error| panic!("no report ({error}): {}", String::from_utf8_lossy(&output.stderr)))
}

/// How each case ended, by its name.
pub(crate) fn outcomes(report: &str) -> BTreeMap<String, String> {
    let case = Regex::new(r#"<testcase name="([^"]*)"[^>]*status="([^"]*)""#).unwrap();
    case.captures_iter(report).map(|found| (found[1].to_owned(), found[2].to_owned())).collect()
}

/// What the report says of itself.
#[derive(Debug, Eq, PartialEq)]
struct Counts {
    tests: u32,
    failures: u32,
    errors: u32,
    skipped: u32,
}

impl Counts {
    /// From the attributes of the root element.
    fn read(report: &str) -> Self {
        let root = Regex::new(r"<testsuites\b[^>]*>").unwrap();
        let root = root.find(report).unwrap_or_else(|| panic!("not a report: {report:.200}")).as_str();
        let attribute = |name: &str| {
            let attribute = Regex::new(&format!(r#"\b{name}="(\d+)""#)).unwrap();
            attribute.captures(root).map_or(0, |found| found[1].parse().unwrap())
        };
        Self {
            tests: attribute("tests"),
            failures: attribute("failures"),
            errors: attribute("errors"),
            skipped: attribute("skipped"),
        }
    }
}

/// The names of the cases that ended so, each with the reason that the suite gives.
fn cases(report: &str, status: &str) -> Vec<String> {
    let case =
        format!(r#"(?s)<testcase name="([^"]*)"[^>]*status="{status}"[^>]*>(?:\s*<system-out>(.*?)</system-out>)?"#);
    let reason = |found: &Captures| found.get(2).map_or("", |reason| reason.as_str()).replace("&#xA;", "; ");
    let case = Regex::new(&case).unwrap();
    case.captures_iter(report).map(|found| format!("{}: {}", &found[1], reason(&found))).collect()
}

#[test]
fn a_report_is_read_by_its_attributes() {
    let report = r#"<testsuites time="0.1" tests="3" failures="1" skipped="1" disabled="2">
        <testsuite name="s" tests="3"><testcase name="s/a" time="1" status="passed">
        </testcase><testcase name="s/b" time="1" status="failure">
        <system-out>unexpected status&#xA;code</system-out></testcase>
        <testcase name="s/c" status="skipped"><system-err>log</system-err></testcase></testsuite></testsuites>"#;
    assert_eq!(Counts::read(report), Counts { tests: 3, failures: 1, errors: 0, skipped: 1 });
    assert_eq!(cases(report, "failure"), ["s/b: unexpected status; code"]);
    assert_eq!(cases(report, "skipped"), ["s/c: "]);
    let ended = [("s/a", "passed"), ("s/b", "failure"), ("s/c", "skipped")];
    assert_eq!(outcomes(report), ended.map(|(name, status)| (name.to_owned(), status.to_owned())).into());
}
