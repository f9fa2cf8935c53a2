//! What health means here.

use std::{sync::Arc, time::Duration};

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

pub(super) fn all(health: &Health, storage: &Storage, store: &Arc<dyn Store>) -> Result<Vec<Check>> {
    let check = |name: String, probe, schedule: Schedule| Check {
        name,
        probe,
        interval: schedule.interval,
        threshold: u32::try_from(schedule.threshold).unwrap_or(u32::MAX),
    };
    let mut checks = Vec::new();
    if let Some(schedule) = health.storage {
        checks.push(check(format!("storagedriver_{}", name(storage)), storage_probe(store), schedule));
    }
    for file in &health.files {
        checks.push(check(file.path.display().to_string(), Probe::File(file.path.clone()), file.schedule));
    }
    for http in &health.http {
        let probe = Probe::Http(http_probe(health, http)?);
        checks.push(check(http.uri.to_string(), probe, http.schedule));
    }
    for tcp in &health.tcp {
        let probe = Probe::Tcp { addr: tcp.address.to_string(), timeout: tcp.timeout };
        checks.push(check(tcp.address.to_string(), probe, tcp.schedule));
    }
    Ok(checks)
}

/// Reads the authorities that checks over TLS go by, if there are any such checks.
pub(super) fn verify(health: &Health) -> Result<()> {
    health.http.iter().try_for_each(|check| http_probe(health, check).map(drop))
}

fn http_probe(health: &Health, check: &HttpCheck) -> Result<HttpProbe> {
    let transport = match check.uri.scheme_str() {
        Some("http") => Transport::Plain,
        Some("https") => Transport::Tls(trust::authorities(&health.authorities).context("health.http")?),
        _ => bail!("health.http: {}: neither http nor https", check.uri),
    };
    Ok(HttpProbe {
        uri: check.uri.clone(),
        transport,
        headers: check.headers.clone(),
        status: check.status,
        timeout: check.timeout,
    })
}

/// One name of what lies at the top: an empty store is a healthy one.
fn storage_probe(store: &Arc<dyn Store>) -> Probe {
    let store = Arc::clone(store);
    Probe::storage(move || {
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
