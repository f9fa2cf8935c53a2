//! `import` and `keys` as an administrator runs them: what stood here before becomes a configuration that serves, every
//! setting that is lost is named, and a pair of keys is what OpenSSL says it is.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use crate::support::{
    certificate::Certificate,
    command::{command, run},
    process::{Process, free_address},
    tools,
};

mod gitlab;
mod hostile;
mod keys;
mod nginx;

/// A directory for one test, and the ports that its server takes.
struct Bed {
    directory: tempfile::TempDir,
    certificate: Certificate,
}

impl Bed {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let certificate = Certificate::create(directory.path());
        Self { directory, certificate }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Writes a file after putting words into its `@PLACES@`; the directory is `@HERE@`.
    fn fill(&self, name: &str, text: &str, places: &[(&str, String)]) -> String {
        let here = self.directory.path().display().to_string();
        let text = text.replace("@HERE@", &here);
        let text = places.iter().fold(text, |text, (place, word)| text.replace(&format!("@{place}@"), word));
        assert!(!text.contains("@HERE") && !text.contains("PORT@"), "{text}");
        fs::write(self.path(name), text).unwrap();
        self.text(name)
    }

    /// Serves a configuration until the test ends; it answers at this address.
    fn serve(&self, configuration: &str, address: SocketAddr) -> Process {
        let mut serve = Command::new(env!("CARGO_BIN_EXE_pierhead"));
        let mut process = Process::start(serve.args(["serve", configuration]).env_clear(), &self.path("log"));
        process.wait_for_port(address);
        process
    }

    /// The head of an answer, and its body, over TLS or not.
    fn curl(&self, arguments: &[&str]) -> String {
        let mut curl = command("curl", ["--silent", "--show-error", "--include", "--max-time", "30", "--cacert"]);
        run(curl.arg(&self.certificate.authority).args(arguments))
    }
}

/// The command with nothing in its environment.
fn pierhead(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pierhead")).args(arguments).env_clear().output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}
