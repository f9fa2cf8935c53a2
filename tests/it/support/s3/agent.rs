//! An agent that hands out keys, as the one beside a container does.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use http::Response;

use crate::support::s3::serve::{full, serve};

/// Gives one pair of keys after the other, and the last again and again. Each says that it is good for years.
#[derive(Debug)]
pub(crate) struct Agent {
    pub address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Agent {
    /// Of key ids and their secrets.
    pub(crate) fn start(keys: &[(&'static str, &'static str)]) -> Self {
        let (keys, asked) = (Arc::<[_]>::from(keys), Arc::new(AtomicUsize::new(0)));
        let counter = Arc::clone(&asked);
        let address = serve(move |_, _| {
            let turn = counter.fetch_add(1, Ordering::Relaxed);
            let (id, secret) = keys[turn.min(keys.len() - 1)];
            let answer = format!(
                "{{\"AccessKeyId\":\"{id}\",\"SecretAccessKey\":\"{secret}\",\"Expiration\":\"2099-01-01T00:00:00Z\"}}"
            );
            async move { Ok(Response::new(full(answer))) }
        });
        Self { address, asked }
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}
