//! Who may know whom. A new arrow is one line in these tables, seen in review.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use regex::Regex;

/// What everybody may use; they themselves use nothing of ours but what stands below.
const FOUNDATION: [&str; 4] = ["oci", "secret", "telemetry", "clock"];

/// A module (or one file of it, named before it), and the modules besides the foundation that it may use.
const MAY_USE: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    ("cli", &["app", "config"]),
    (
        "app",
        &[
            "acme",
            "config",
            "server",
            "tls",
            "api",
            "auth",
            "registry",
            "store",
            "health",
            "import",
            "upstream",
            "admission",
        ],
    ),
    ("import", &[]),
    ("config", &[]),
    ("server", &["api", "health", "admission"]),
    // The one table from inner errors to answers; the registry hands on why the store failed.
    ("api/error.rs", &["registry", "auth", "store", "admission"]),
    ("api", &["registry", "auth", "admission"]),
    // It answers as `api` does, and a shadow asks our own gateway; it is watched as everything is.
    ("upstream", &["api", "health"]),
    ("health", &[]),
    ("registry", &["store"]),
    ("auth", &[]),
    ("admission", &[]),
    ("acme", &["store", "tls"]),
    ("tls", &[]),
    ("store", &[]),
    ("oci", &[]),
    ("secret", &[]),
    ("telemetry", &["clock"]),
    ("clock", &[]),
];

/// What a line of code may say (a regular expression) only in these places (beginnings of paths below `src/`).
const ONLY_IN: &[(&str, &[&str])] = &[
    // The engine can be exchanged.
    (r"\bpingora\w*::", &["server/"]),
    (r"\bclap\b", &["cli/"]),
    (r"\bpprof::", &["server/debug/"]),
    // Descriptors that came with the process.
    (r"\blistenfd::", &["server/inherited.rs"]),
    (r"\bppp::", &["server/proxy_protocol.rs", "server/passthrough/target.rs"]),
    // Descriptors that go with another.
    (r"\bcommand_fds::", &["app/upgrade.rs"]),
    (r"\b(aws_sig\w*|object_store|reqwest)::", &["store/"]),
    (r"\binstant_acme\b", &["acme/order/"]),
    // Below, errors are values that callers branch on.
    (r"\banyhow\b", &["main.rs", "cli/", "app.rs", "app/", "config/"]),
    // An answer is made in one place.
    (
        r"\bStatusCode\b|\bhttp::(Response|response)\b",
        // What a bucket answers is read where it is asked.
        &["api/", "server/", "upstream/", "health/", "telemetry/", "oci/error_code.rs", "store/s3/"],
    ),
    // Time and environment come in as arguments.
    (r"\b(SystemTime|OffsetDateTime|Utc)::now|::now_(utc|local)\b", &["clock.rs"]),
    (r"\benv::(var|vars|var_os|vars_os|set_var)\b", &["config/"]),
    // Keys are spelled in one place.
    (r#""[^"]*(docker/registry/v2|_manifests|_layers|_uploads)\b"#, &["registry/layout.rs"]),
    // A name has one home.
    (r"\bpub use\b|\bsuper::super\b", &[]),
    (r"^\s*(pub )?use [\w:]+::\*;", &[]),
];

/// Pure code: no waiting, no input or output, no runtime.
const PURE: &[&str] = &["oci/", "api/route.rs", "registry/session.rs", "registry/session/", "acme/schedule.rs"];
const IMPURE: &str = r"\basync\b|\.await\b|\btokio::|\bstd::(fs|net|io|process)\b|\bfs::\w|\bIoSlice\b";

#[test]
fn modules_know_only_what_lies_below() {
    let mut broken = Vec::new();
    for source in sources() {
        let module = source.module();
        let Some((_, below)) = MAY_USE.iter().find(|(name, _)| *name == module || source.path == Path::new(name))
        else {
            broken.push(format!("{}: no line for module {module} in MAY_USE", source.path.display()));
            continue;
        };
        for used in used_modules(&source.code) {
            let foundation = !FOUNDATION.contains(&module) && FOUNDATION.contains(&used.as_str());
            if used != module && !foundation && !below.contains(&used.as_str()) {
                broken.push(format!("{}: {module} must not use {used}", source.path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn every_arrow_is_used() {
    let sources = sources();
    let mut unused = Vec::new();
    for (from, below) in MAY_USE {
        let owned = |source: &&Source| {
            let own_line = MAY_USE.iter().any(|(name, _)| source.path == Path::new(name));
            if own_line { source.path == Path::new(from) } else { source.module() == *from }
        };
        let used: BTreeSet<String> =
            sources.iter().filter(owned).flat_map(|source| used_modules(&source.code)).collect();
        unused.extend(below.iter().filter(|to| !used.contains(**to)).map(|to| format!("{from} does not use {to}")));
    }
    assert!(unused.is_empty(), "\n{}", unused.join("\n"));
}

#[test]
fn some_words_have_one_home() {
    let mut broken = Vec::new();
    for (word, homes) in ONLY_IN {
        broken.extend(said(word, |source| !homes.iter().any(|home| source.lies_in(home))));
    }
    broken.extend(said(IMPURE, |source| PURE.iter().any(|home| source.lies_in(home))));
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

/// Each place that matches, in the sources that are not its home.
fn said(word: &str, away: impl Fn(&Source) -> bool) -> Vec<String> {
    let word = Regex::new(word).unwrap();
    let mut places = Vec::new();
    for source in sources().iter().filter(|source| away(source)) {
        for line in source.code.lines().filter(|line| word.is_match(line)) {
            places.push(format!("{}: not here: {}", source.path.display(), line.trim()));
        }
    }
    places
}

/// A file below `src/`.
struct Source {
    /// Relative to `src/`.
    path: PathBuf,
    /// Without whole-line comments and without the test module at its end.
    code: String,
}

impl Source {
    /// The top-level module that it belongs to.
    fn module(&self) -> &str {
        self.path.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs")
    }

    fn lies_in(&self, place: &str) -> bool {
        self.path.to_str().unwrap().starts_with(place)
    }
}

fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    let mut pending = vec![PathBuf::from("src")];
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") && !is_test(&path) {
            let text = fs::read_to_string(&path).unwrap();
            let text = text.split("#[cfg(test)]\nmod ").next().unwrap();
            let lines = text.split_inclusive('\n').filter(|line| !line.trim_start().starts_with("//"));
            let code = lines.collect();
            found.push(Source { path: path.strip_prefix("src").unwrap().to_path_buf(), code });
        }
    }
    // `lib.rs` is the map of modules: it names all and uses none.
    found.retain(|source| source.path != Path::new("lib.rs"));
    found
}

/// A test module in a file of its own.
fn is_test(path: &Path) -> bool {
    path.file_stem().is_some_and(|stem| stem == "tests") || path.iter().any(|part| part == "tests")
}

/// The top-level modules that paths name: `crate::a::B`, `pierhead::a`, and each `a` of `crate::{a::B, a2}`.
fn used_modules(code: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    let ours = Regex::new(r"\b(?:crate|pierhead)::").unwrap();
    for found in ours.find_iter(code) {
        let rest = &code[found.end()..];
        match rest.strip_prefix('{') {
            Some(group) => used.extend(heads(group)),
            None => used.extend(heads(rest).into_iter().next()),
        }
    }
    used
}

/// The first word of each item of a `use` group, up to the group's end.
fn heads(group: &str) -> Vec<String> {
    let mut heads = vec![String::new()];
    let (mut depth, mut reading) = (0, true);
    for letter in group.chars() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                heads.push(String::new());
                reading = true;
            }
            letter if letter.is_whitespace() => {}
            letter if reading && (letter.is_alphanumeric() || letter == '_') => {
                heads.last_mut().unwrap().push(letter);
            }
            _ => reading = false,
        }
    }
    heads.retain(|head| !head.is_empty());
    heads
}

#[test]
fn a_use_is_read_in_all_its_forms() {
    let check = |code: &str, expected: &[&str]| {
        assert_eq!(used_modules(code), expected.iter().map(ToString::to_string).collect(), "{code}");
    };
    check("use crate::store::Store;", &["store"]);
    check(
        "use crate::{oci::{digest::Digest, tag}, store::{Store, key},\n};\nuse crate::clock;",
        &["clock", "oci", "store"],
    );
    check("let answer = crate::api::answer(x, crate::auth::y);", &["api", "auth"]);
    check("use pierhead::cli;", &["cli"]);
    check("use self::store::Store;", &[]);
}
