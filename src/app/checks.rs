//! What health means here.

use std::{collections::HashMap, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use tokio::time::timeout;

use crate::{
    app::storage::name,
    config::{
        health::{Health, HttpCheck, Schedule},
        storage::Storage,
    },
    health::{
        Check,
        probe::{
            Probe,
            http::{HttpProbe, Transport},
        },
    },
    registry::layout::Layout,
    store::{Depth, Listing, Store},
    tls::trust,
};

/// A storage that does not answer is as bad as one that fails: a dead network file system answers nothing.
const STORAGE_PATIENCE: Duration = Duration::from_secs(10);

/// `store` is there where requests are answered from it.
pub(super) fn all(health: &Health, storage: &Storage, store: Option<&Arc<dyn Store>>) -> Result<Vec<Check>> {
    let check = |name: String, probe, schedule: Schedule| Check {
        name,
        probe,
        interval: schedule.interval,
        threshold: u32::try_from(schedule.threshold).unwrap_or(u32::MAX),
    };
    let mut checks = Vec::new();
    if let (Some(schedule), Some(store)) = (health.storage, store) {
        checks.push(check(storage_name(storage), storage_probe(store), schedule));
    }
    for file in &health.files {
        checks.push(check(file.path.display().to_string(), Probe::File(file.path.clone()), file.schedule));
    }
    for http in &health.http {
        let probe = Probe::Http(http_probe(health, http)?);
        // Shown without the values of its query, so that no secret is on the page of health.
        checks.push(check(http.uri.to_string(), probe, http.schedule));
    }
    for tcp in &health.tcp {
        let probe = Probe::Tcp { addr: tcp.address.to_string(), timeout: tcp.timeout };
        checks.push(check(tcp.address.to_string(), probe, tcp.schedule));
    }
    number(&mut checks);
    Ok(checks)
}

/// What a storage that fails is called.
pub(super) fn storage_name(storage: &Storage) -> String {
    format!("storagedriver_{}", name(storage))
}

/// A check that succeeds must not clear another of the same name: of those that read alike the later ones are numbered.
fn number(checks: &mut [Check]) {
    let mut seen: HashMap<String, u32> = HashMap::new();
    for check in checks {
        let count = seen.entry(check.name.clone()).or_default();
        *count += 1;
        if *count > 1 {
            check.name = format!("{} ({count})", check.name);
        }
    }
}

/// Reads the authorities that checks over TLS go by, if there are any such checks.
pub(super) fn verify(health: &Health) -> Result<()> {
    health.http.iter().try_for_each(|check| http_probe(health, check).map(drop))
}

fn http_probe(health: &Health, check: &HttpCheck) -> Result<HttpProbe> {
    let uri = check.uri.uri();
    let transport = match uri.scheme_str() {
        Some("http") => Transport::Plain,
        Some("https") => Transport::Tls(trust::authorities(&health.authorities).context("health.http")?),
        _ => bail!("health.http: {}: neither http nor https", check.uri),
    };
    Ok(HttpProbe {
        uri: uri.clone(),
        transport,
        headers: check.headers.clone(),
        status: check.status,
        timeout: check.timeout,
    })
}

/// One name of what lies at the top: an empty store is a healthy one.
pub(super) fn storage_probe(store: &Arc<dyn Store>) -> Probe {
    let store = Arc::clone(store);
    Probe::call(move || {
        let store = Arc::clone(&store);
        async move {
            let listing = Listing { prefix: Layout.root(), depth: Depth::Children, after: None, limit: 1 };
            match timeout(STORAGE_PATIENCE, store.list(&listing)).await {
                Ok(listed) => listed.map(drop).map_err(|error| error.to_string()),
                Err(_) => Err(format!("no answer within {STORAGE_PATIENCE:?}")),
            }
        }
    })
}
