//! The OCI conformance suite of the distribution specification, over TLS, with tokens, no part of it turned off.

use std::fs;

use regex::Regex;

use crate::support::{
    command::command,
    registry::{Auth, Program, Registry, Transport},
    tokens::DEVELOPER,
    tools,
};

/// Fewer would mean that the suite skipped a part.
const TESTS_MIN: u32 = 840;

#[test]
fn conforms_to_version_1_1() {
    check("1.1");
}

#[test]
fn conforms_to_the_development_version() {
    check("dev");
}

fn check(version: &str) {
    if !tools::present(&["conformance"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let program = Program::pierhead();
    let registry = Registry::start(&program, &here.join("server"), &here.join("data"), Transport::Tls, Auth::Token);
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
    let report = fs::read_to_string(results.join("junit.xml"))
        .unwrap_or_else(|error| panic!("no report ({error}): {}", String::from_utf8_lossy(&output.stderr)));
    let counts = Counts::read(&report);
    println!("conformance {version}: {counts:?}");
    assert!(counts.failures == 0 && counts.errors == 0, "{counts:?}\n{}", failing(&report).join("\n"));
    assert!(counts.tests - counts.skipped >= TESTS_MIN, "only {counts:?}");
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

/// The names of the cases that failed, each with the beginning of why.
fn failing(report: &str) -> Vec<String> {
    let case = Regex::new(r#"(?s)<testcase name="([^"]*)"[^>]*[^/]>(.*?)</testcase>"#).unwrap();
    let failure = Regex::new(r"(?s)<(?:failure|error)\b(.{0,300})").unwrap();
    case.captures_iter(report)
        .filter_map(|case| Some(format!("{}: {}", &case[1], failure.captures(&case[2])?[1].replace('\n', " "))))
        .collect()
}

#[test]
fn a_report_is_read_by_its_attributes() {
    let report = r#"<testsuites tests="3" failures="1" errors="0" skipped="1"><testsuite name="s" tests="3">
        <testcase name="a" time="1"></testcase><testcase name="b" time="1"><failure message="f">why</failure></testcase>
        <testcase name="c"><skipped/></testcase></testsuite></testsuites>"#;
    assert_eq!(Counts::read(report), Counts { tests: 3, failures: 1, errors: 0, skipped: 1 });
    let names = failing(report);
    assert_eq!(names.len(), 1, "{names:?}");
    assert!(names[0].starts_with("b: "), "{names:?}");
}
