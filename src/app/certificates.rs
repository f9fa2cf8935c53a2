//! Certificates under a running server: files that change are read again, and what grows old is warned about.
//!
//! Files are looked at every few seconds, because that works wherever they lie and however they are replaced: in place,
//! by a rename, or by a symbolic link above them that turns to another directory, as Kubernetes and certbot do it.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    task::spawn_blocking,
    time::{Instant, MissedTickBehavior, interval},
};

use crate::{app::identity::Identity, telemetry::metrics::Metrics, tls::pem::Pair};

/// How often files are looked at. They are read when they have looked the same twice: a certificate is seldom written
/// in the same instant as its key.
const LOOK: Duration = Duration::from_secs(2);

/// How often an operator is told of a certificate that ends soon.
const REMIND: Duration = Duration::from_hours(24);

/// How each of some files looked: what changes with every way of replacing one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Stamps(Vec<(PathBuf, Option<Stamp>)>);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamps {
    pub(super) fn of<'a>(paths: impl Iterator<Item = &'a Path>) -> Self {
        Self(paths.map(|path| (path.to_owned(), Stamp::of(path))).collect())
    }
}

impl Stamp {
    /// `None` where there is no file, or none that can be looked at.
    fn of(path: &Path) -> Option<Self> {
        let found = fs::metadata(path).ok()?;
        Some(Self {
            device: found.dev(),
            inode: found.ino(),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }
}

/// Watches over what we show.
pub(super) struct Watch {
    pub(super) identity: Arc<Identity>,
    pub(super) metrics: Arc<Metrics>,
}

impl Watch {
    /// Never ends.
    pub(super) async fn run(&self) {
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut read = self.identity.stamps().clone();
        let mut seen = read.clone();
        let mut reminder = Instant::now();
        loop {
            ticks.tick().await;
            let Some(found) = self.look().await else { continue };
            if found != read && found == seen {
                read = found.clone();
                self.reload().await;
            }
            seen = found;
            self.measure();
            if Instant::now() >= reminder {
                reminder += REMIND;
                self.remind();
            }
        }
    }

    /// On a thread of its own: a network file system may keep it waiting.
    async fn look(&self) -> Option<Stamps> {
        let identity = Arc::clone(&self.identity);
        spawn_blocking(move || Stamps::of(identity.watched())).await.ok()
    }

    async fn reload(&self) {
        let identity = Arc::clone(&self.identity);
        match spawn_blocking(move || identity.reload()).await {
            Ok(Ok(said)) => said.iter().for_each(|line| tracing::info!("{line}")),
            Ok(Err(error)) => {
                self.metrics.certificate_refused();
                tracing::error!("http.tls: {error:#}");
            }
            Err(error) => tracing::error!("http.tls: reading certificates again: {error}"),
        }
    }

    fn measure(&self) {
        let now = self.identity.clock().now();
        let left = |pair: &Pair| {
            let name = pair.names().first().cloned().unwrap_or_default();
            (name, pair.key_type(), (pair.expires() - now).whole_seconds())
        };
        self.metrics.set_certificates(&self.identity.certificates().all().iter().map(left).collect::<Vec<_>>());
    }

    fn remind(&self) {
        let now = self.identity.clock().now();
        for pair in self.identity.pairs() {
            let (life, left) = (pair.expires() - pair.begins(), pair.expires() - now);
            let (names, end) = (pair.names().join(", "), pair.expires());
            if left.is_negative() {
                tracing::error!("http.tls: the certificate for {names} expired at {end}");
            } else if left < life / 3 {
                let days = left.whole_days();
                tracing::warn!("http.tls: the certificate for {names} expires in {days} days, at {end}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_way_to_replace_a_file_shows() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for (directory, text) in [("a", "one"), ("b", "two")] {
            fs::create_dir(at(directory)).unwrap();
            fs::write(at(directory).join("f"), text).unwrap();
        }
        symlink("a", at("live")).unwrap();
        let path = at("live/f");
        let mut last = Stamps::of([path.as_path()].into_iter());
        let mut check = |what: &str, differs: bool| {
            let found = Stamps::of([path.as_path()].into_iter());
            assert_eq!(found != last, differs, "{what}");
            last = found;
        };
        check("nothing", false);
        symlink("b", at("next")).unwrap();
        fs::rename(at("next"), at("live")).unwrap();
        check("the link above it turns", true);
        fs::write(at("new"), "two").unwrap();
        fs::rename(at("new"), at("b/f")).unwrap();
        check("another file of the same size takes its place", true);
        fs::write(at("b/f"), "longer").unwrap();
        check("it is written over", true);
        fs::remove_file(at("b/f")).unwrap();
        check("it is gone", true);
        check("it is still gone", false);
    }
}
