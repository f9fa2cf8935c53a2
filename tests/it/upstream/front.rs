//! Our binary before another registry.

use std::{net::SocketAddr, path::Path, time::Duration};

use tempfile::TempDir;

use crate::{
    clients::Play,
    stage::Stage,
    support::{
        certificate::Certificate,
        http::{empty, send},
        image,
        process::free_address,
        registry::{Auth, Plan, Program, Registry, Storage, Transport, auth_section},
        tools,
    },
    upstream::scripted::{PATIENCE, Upstream},
};

/// A front, and where its operator looks.
pub(super) struct Front {
    pub(super) registry: Registry,
    debug: SocketAddr,
    _directory: Option<TempDir>,
}

/// What differs from one front to another.
pub(super) struct Setting<'a> {
    pub(super) transport: Transport,
    /// Below `edge`.
    pub(super) edge: &'a str,
    /// Sections more.
    pub(super) sections: &'a str,
    pub(super) storage: Option<&'a Storage>,
}

impl Front {
    /// In plain HTTP before a scripted upstream, which is not asked whether it is well.
    pub(super) fn before(upstream: &Upstream) -> Self {
        Self::with(&format!("  upstream:\n    servers: http://{}\n    health: {{interval: 0s}}\n", upstream.address))
    }

    /// In plain HTTP, with this below `edge`.
    pub(super) fn with(edge: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let certificate = Certificate::create(directory.path());
        let setting = Setting { transport: Transport::Plain, edge, sections: "auth: none\n", storage: None };
        let front = Self::start(&directory.path().join("front"), &certificate, &setting);
        Self { _directory: Some(directory), ..front }
    }

    pub(super) fn start(directory: &Path, certificate: &Certificate, setting: &Setting<'_>) -> Self {
        let debug = free_address();
        let http = format!("  debug:\n    addr: {debug}\n    prometheus:\n      enabled: true\n");
        let sections = format!("{}edge:\n{}", setting.sections, setting.edge);
        let plan = Plan {
            storage: setting.storage,
            transport: setting.transport,
            certificate,
            http: &http,
            sections: &sections,
        };
        let program = Program::pierhead();
        Self { registry: Registry::start_as(&program, directory, &plan), debug, _directory: None }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.registry.address
    }

    /// A page of the debug listener: status and text.
    pub(super) async fn page(&self, path: &str) -> (u16, String) {
        let answer = send(self.debug, empty(http::Method::GET, path)).await.unwrap();
        (answer.status().as_u16(), String::from_utf8_lossy(answer.body()).into_owned())
    }

    /// The sum of the lines of a metric whose labels hold all of these texts.
    pub(super) async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let (_, text) = self.page("/metrics").await;
        let is_meant = |line: &&str| {
            line.starts_with(name)
                && line[name.len()..].starts_with(['{', ' '])
                && labels.iter().all(|label| line.contains(label))
        };
        text.lines().filter(is_meant).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Waits until the metric is that.
    pub(super) async fn await_metric(&self, name: &str, labels: &[&str], expected: impl Fn(f64) -> bool) {
        let wait = async {
            while !expected(self.metric(name, labels).await) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let came = tokio::time::timeout(PATIENCE, wait).await.is_ok();
        assert!(came, "{name} {labels:?} never came to that:\n{}", self.page("/metrics").await.1);
    }
}

/// docker-registry, and ours over TLS before it, as clients see it.
pub(super) struct Pair {
    pub(super) stage: Stage,
    pub(super) front: Extra,
    pub(super) _back: Registry,
}

/// What of the front is not the stage's.
pub(super) struct Extra {
    debug: SocketAddr,
}

impl Extra {
    pub(super) fn debug(&self) -> SocketAddr {
        self.debug
    }
}

impl Pair {
    /// `None`, with one line about it, when a program is missing. `edge` comes behind `upstream`, and `storage` says what
    /// of the upstream's directory the front is told.
    pub(super) fn set(
        programs: &[&str],
        auth: Auth,
        edge: &str,
        sections: impl Fn(&str) -> String,
        storage: impl Fn(&Path) -> Option<Storage>,
    ) -> Option<Self> {
        if !tools::present(&[image::PROGRAMS, &["skopeo", "docker-registry"], programs].concat()) {
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let here = directory.path();
        let certificate = Certificate::create(here);
        let auth = auth_section(auth, here, &certificate);
        let data = here.join("data");
        // The upstream makes it with its first push, and who only reads makes none.
        std::fs::create_dir(&data).unwrap();
        let stored = Storage::directory(&data);
        let plan = Plan {
            storage: Some(&stored),
            transport: Transport::Plain,
            certificate: &certificate,
            http: "",
            sections: &auth,
        };
        let back = Registry::start_as(&Program::distribution(), &here.join("back"), &plan);
        let edge = format!("  upstream:\n    servers: http://{}\n{edge}", back.address);
        let (sections, storage) = (sections(&auth), storage(&data));
        let setting =
            Setting { transport: Transport::Tls, edge: &edge, sections: &sections, storage: storage.as_ref() };
        let Front { registry, debug, .. } = Front::start(&here.join("front"), &certificate, &setting);
        let stage = Stage::around(registry, directory);
        Some(Self { stage, front: Extra { debug }, _back: back })
    }

    /// Clients through the front, which asks nobody for anything itself.
    pub(super) fn play(play: &Play) {
        let none = |_: &Path| None;
        if let Some(pair) = Self::set(play.programs(), Auth::Token, "", |_| "auth: none\n".to_owned(), none) {
            play.run_on(&pair.stage);
        }
    }
}
