//! `check --storage`: storages that are broken in one way each, and what the command says about it.
//!
//! `policies` and `settings` break a real store; `answers` puts the words of Amazon's S3 into a proxy's mouth where that
//! store has none for it; `directories` takes permissions away from files.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use serde_json::Value;

use crate::support::s3::{ACCESS_KEY, REGION, SECRET_KEY, client::Bucket, seaweed};

mod answers;
mod directories;
mod policies;
mod settings;

/// What the command said.
pub(crate) struct Examined {
    code: Option<i32>,
    text: String,
}

/// A configuration with parameters of the S3 driver and sections beside it.
pub(crate) struct Configuration {
    parameters: Vec<(&'static str, String)>,
    sections: String,
    environment: Vec<(&'static str, String)>,
}

impl Configuration {
    /// A bucket at a port of this machine.
    pub(crate) fn of(port: u16, bucket: &str) -> Self {
        let parameters = [
            ("accesskey", ACCESS_KEY.to_owned()),
            ("secretkey", SECRET_KEY.to_owned()),
            ("region", REGION.to_owned()),
            ("regionendpoint", format!("http://127.0.0.1:{port}")),
            ("bucket", bucket.to_owned()),
            ("rootdirectory", "images".to_owned()),
        ];
        Self { parameters: parameters.into(), sections: String::new(), environment: Vec::new() }
    }

    /// Another value of a parameter, or one that was not there.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.parameters.retain(|(known, _)| *known != name);
        self.parameters.push((name, value.into()));
        self
    }

    pub(crate) fn section(mut self, section: &str) -> Self {
        self.sections.push_str(section);
        self
    }

    pub(crate) fn variable(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    pub(crate) fn examine(&self) -> Examined {
        self.examine_by(Command::new(env!("CARGO_BIN_EXE_pierhead")))
    }

    /// `program` begins the command line, and ends with ours.
    pub(crate) fn examine_by(&self, program: Command) -> Examined {
        let lines: Vec<_> = self.parameters.iter().map(|(name, value)| format!("    {name}: {value}\n")).collect();
        let storage = format!("  s3:\n{}{}", lines.concat(), self.sections);
        let examined = examine(program, &storage, &self.environment);
        assert!(!examined.text.contains(SECRET_KEY), "{}", examined.text);
        examined
    }
}

pub(crate) fn examine(mut program: Command, storage: &str, environment: &[(&str, String)]) -> Examined {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.yml");
    fs::write(&path, format!("version: 0.1\nauth: none\nstorage:\n{storage}")).unwrap();
    readable(directory.path());
    readable(&path);
    program.args(["check", "--storage"]).arg(&path).env_clear();
    program.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").envs(environment.iter().map(|(name, value)| (name, value)));
    let output = program.output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    Examined { code: output.status.code(), text }
}

/// For whoever the command runs as.
pub(crate) fn readable(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

impl Examined {
    /// The one line of a step has this mark and these words.
    #[track_caller]
    pub(crate) fn says(&self, mark: &str, step: &str, words: &str) -> &Self {
        let beginning = format!("{mark:<4}  {step:<16}  ");
        let line = self.text.lines().find(|line| line.starts_with(&beginning));
        assert!(line.is_some_and(|line| line.contains(words)), "{beginning}…{words} is not in\n{}", self.text);
        self
    }

    /// Nothing failed.
    #[track_caller]
    pub(crate) fn passes(&self) -> &Self {
        assert_eq!(self.code, Some(0), "{}", self.text);
        assert!(!self.text.contains("FAIL"), "{}", self.text);
        self
    }

    /// Something failed, and a policy with exactly these actions, as they are sorted, would help; none where there are none.
    #[track_caller]
    pub(crate) fn fails_for_want_of(&self, actions: &[(&str, &str)]) -> &Self {
        assert_eq!(self.code, Some(1), "{}", self.text);
        let policy = self.text.split_once("\n{\n").map(|(_, rest)| rest.split_once("\n}\n").unwrap().0);
        let policy: Option<Value> = policy.map(|policy| serde_json::from_str(&format!("{{{policy}}}")).unwrap());
        let mut found = BTreeSet::new();
        for statement in policy.iter().flat_map(|policy| policy["Statement"].as_array().unwrap()) {
            for action in statement["Action"].as_array().unwrap() {
                found.insert((action.as_str().unwrap(), statement["Resource"].as_str().unwrap()));
            }
        }
        assert_eq!(found, actions.iter().copied().collect(), "{}", self.text);
        self
    }

    /// What is to be changed is no permission.
    #[track_caller]
    pub(crate) fn fails(&self) -> &Self {
        self.fails_for_want_of(&[])
    }
}

/// A bucket of a store that runs, and the port to find it at.
pub(crate) fn stored() -> Option<(Bucket, u16)> {
    let seaweed = seaweed::shared()?;
    Some((seaweed.bucket(), seaweed.address.port()))
}

/// Nothing of an examination is left.
#[track_caller]
pub(crate) fn assert_clean(bucket: &Bucket) {
    assert_eq!(bucket.objects(""), []);
    assert_eq!(bucket.unfinished(), []);
}
