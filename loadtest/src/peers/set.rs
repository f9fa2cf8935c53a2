//! The standard set: what is run, and the physical limit that is beside each figure.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::{
    cli,
    compare::Contestant,
    content::Mould,
    peers::{
        keys::{Authority, USER},
        servers::Peers,
    },
};

/// Makes the blob that all pull, and where it is.
const SEED: u64 = 1;
const REPOSITORY: &str = "loadtest";

pub(super) struct Case {
    pub(super) name: &'static str,
    /// What no server can be better than.
    pub(super) limit: &'static str,
    pub(super) scenario: Vec<String>,
    /// Instead of the usual number of pairs.
    pub(super) rounds: Option<u32>,
    credentials: As,
    /// A blob of so many bytes that is there before, and that nginx alone serves beside them as a file.
    pub(super) blob: Option<u64>,
    /// Whether our server runs once more, with uploads kept in the page cache whole.
    pub(super) keeps: bool,
}

/// Who the clients are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum As {
    /// A thousand tokens in turn.
    Tokens,
    /// Somebody who asks the token service.
    User,
    /// Nobody: only connections are made.
    Nobody,
}

/// All of them; a quick run is a tenth.
pub(super) fn cases(quick: bool) -> Vec<Case> {
    let size = if quick { Size::Quick } else { Size::Whole };
    [reading(size), writing(size), connecting(size), crowds(size), patience(size)].into_iter().flatten().collect()
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Size {
    Whole,
    Quick,
}

impl Size {
    const fn pick(self, whole: &'static str, quick: &'static str) -> &'static str {
        match self {
            Self::Whole => whole,
            Self::Quick => quick,
        }
    }

    const fn gib(self) -> &'static str {
        self.pick("1GiB", "64MiB")
    }
}

/// A name, the limit, and the arguments.
fn case(name: &'static str, limit: &'static str, scenario: &[&str]) -> Case {
    Case {
        name,
        limit,
        scenario: scenario.iter().map(|&word| word.to_owned()).collect(),
        rounds: None,
        credentials: As::Tokens,
        blob: None,
        keeps: false,
    }
}

/// One client pushes one blob.
const fn push_of_one<'a>(flow: &'a str, size: &'a str) -> [&'a str; 12] {
    ["push", "--blobs-only", "--flow", flow, "--layer-size", size, "-c", "1", "-n", "1", "-d", "10m"]
}

fn reading(size: Size) -> Vec<Case> {
    vec![
        case(
            "manifest GET by tag, 32 connections",
            "Limit: nginx answering a constant over TLS took 18 us of CPU per request on such a machine.",
            &["manifest", "-c", "32", "-d", size.pick("10s", "2s")],
        ),
        case(
            "manifest GET by tag, at a rate",
            "As above; at 400 a second, which the peer can do, times say more than a race does.",
            &["manifest", "-c", "32", "--rate", "400", "-d", size.pick("10s", "2s")],
        ),
        Case {
            blob: Some(match size {
                Size::Whole => 1 << 30,
                Size::Quick => 64 << 20,
            }),
            ..case(
                "pull of a blob of 1 GiB",
                "Limit: nginx serving the same file over TLS, measured beside them.",
                &["pull", "-c", "1", "-n", "1", "-d", "10m"],
            )
        },
    ]
}

fn writing(size: Size) -> Vec<Case> {
    vec![
        Case {
            keeps: true,
            ..case(
                "push of a blob of 1 GiB, PUT with digest",
                "Limit: the socket, TLS, SHA-256 and a write, each once; above.",
                &push_of_one("put", size.gib()),
            )
        },
        Case {
            keeps: true,
            ..case("push of a blob of 1 GiB, PATCH", "Limit: as for PUT.", &push_of_one("patch", size.gib()))
        },
        case(
            "10,000 layers of 4 KiB by 64 clients",
            "Limit: two requests each, and a flush to the disk which the peer leaves out.",
            &["push", "--blobs-only", "--layer-size", "4KiB", "-c", "64", "-n", size.pick("10000", "500"), "-d", "10m"],
        ),
    ]
}

fn connecting(size: Size) -> Vec<Case> {
    vec![
        Case {
            credentials: As::Nobody,
            ..case(
                "connections with full handshakes",
                "Limit: one signature of P-256 and one key exchange.",
                &["connect", "-c", "8", "-n", size.pick("3000", "200"), "-d", "5m"],
            )
        },
        Case {
            credentials: As::Nobody,
            ..case(
                "connections with resumed handshakes",
                "Limit: one key exchange.",
                &["connect", "--resume", "-c", "8", "-n", size.pick("3000", "200"), "-d", "5m"],
            )
        },
    ]
}

fn crowds(size: Size) -> Vec<Case> {
    vec![
        Case {
            rounds: Some(1),
            ..case(
                "64 clients pull 1 GiB each at once",
                "Memory: what clients that pull at once may cost.",
                &["herd", "--layers", "1", "--layer-size", size.gib(), "-c", size.pick("64", "8")],
            )
        },
        Case {
            rounds: Some(1),
            ..case(
                "64 clients push 256 MiB each at once",
                "Memory: what clients that push at once may cost.",
                &[
                    "push",
                    "--blobs-only",
                    "--layer-size",
                    size.pick("256MiB", "64MiB"),
                    "-c",
                    size.pick("64", "8"),
                    "-n",
                    size.pick("64", "8"),
                    "-d",
                    "30m",
                ],
            )
        },
    ]
}

fn patience(size: Size) -> Vec<Case> {
    vec![
        Case {
            rounds: Some(2),
            ..case(
                "herd: 100 clients pull one new image",
                "Limit: 64 MiB for each of them over TLS.",
                &["herd", "--layers", "4", "--layer-size", "16MiB", "-c", size.pick("100", "10")],
            )
        },
        Case {
            rounds: Some(2),
            ..case(
                "tags: 10,000 in one repository, page by page",
                "Limit: one directory of as many names.",
                &[
                    "tags",
                    "--tags",
                    size.pick("10000", "300"),
                    "--page",
                    "100",
                    "-c",
                    "4",
                    "-d",
                    size.pick("15s", "2s"),
                ],
            )
        },
        Case {
            rounds: Some(1),
            credentials: As::User,
            ..case(
                "expiry: pushes of 80 s with tokens of 5 s, never renewed",
                "A token may be used for a minute after its end; then it is refused, unless the server lets pushes finish.",
                &[
                    "expiry",
                    "--push-time",
                    size.pick("80s", "8s"),
                    "--layer-size",
                    "32MiB",
                    "--keep-token",
                    "-c",
                    "4",
                    "-n",
                    "4",
                    "-d",
                    "5m",
                ],
            )
        },
    ]
}

pub(super) fn names() -> String {
    cases(false).iter().map(|case| case.name).collect::<Vec<_>>().join("; ")
}

impl Case {
    pub(super) fn contestants(&self, peers: &Peers, authority: &Authority, tokens: &Path) -> Vec<Contestant> {
        let mut arguments = vec!["--ca".to_owned(), authority.certificate.display().to_string()];
        match self.credentials {
            As::Tokens => arguments.extend(["--tokens".to_owned(), tokens.display().to_string()]),
            As::User => arguments.extend(["--user".to_owned(), USER.to_owned()]),
            As::Nobody => {}
        }
        arguments.extend(self.scenario_of_blob());
        let mut contestants = vec![peers.theirs(&arguments), peers.ours(&arguments)];
        if self.keeps {
            contestants.push(peers.keeping(&arguments));
        }
        if self.blob.is_some() {
            contestants.push(peers.files(&arguments));
        }
        contestants
    }

    /// Puts the blob there that is pulled, to be found by all.
    pub(super) async fn prepare(&self, peers: &Peers, contestants: &[Contestant]) -> Result<()> {
        let Some(size) = self.blob else { return Ok(()) };
        for contestant in contestants.iter().take(2) {
            let (size, seed) = (size.to_string(), SEED.to_string());
            let push = push_of_one("put", &size).into_iter().chain(["--seed", &seed, "-q"]);
            let mut words: Vec<String> = push.map(str::to_owned).collect();
            words.extend(["--url".to_owned(), contestant.url.clone()]);
            words.extend(contestant.arguments.iter().take_while(|word| *word != "--blob").cloned());
            let report = cli::measure_words(&words).await.context("the blob cannot be pushed")?;
            ensure!(report.errors() == 0, "the blob cannot be pushed: {:?}", report.operations);
        }
        peers.publish(REPOSITORY, &Mould::new(size, SEED).blob(0).digest)
    }

    fn scenario_of_blob(&self) -> Vec<String> {
        let Some(size) = self.blob else { return Vec::new() };
        let digest = Mould::new(size, SEED).blob(0).digest;
        ["--blob", &digest, "--repository-of-blob", REPOSITORY].map(str::to_owned).to_vec()
    }

    /// For the name of a file.
    pub(super) fn slug(&self) -> String {
        let letter = |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' };
        let slug: String = self.name.chars().map(letter).collect();
        slug.split('-').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_make_different_files() {
        let mut slugs: Vec<String> = cases(false).iter().map(Case::slug).collect();
        let count = slugs.len();
        slugs.sort();
        slugs.dedup();
        assert_eq!(slugs.len(), count);
        assert!(slugs.iter().all(|slug| slug.len() < 80), "{slugs:?}");
    }
}
