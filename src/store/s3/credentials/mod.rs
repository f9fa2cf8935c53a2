//! Who we are to the store, kept fresh.
//!
//! `object_store` knows the metadata service of machines and how a web identity is changed for keys; `profile` reads the
//! files that AWS's tools share, `container` asks the agents of ECS and EKS. Keys that end are changed minutes ahead.

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use object_store::{
    RetryConfig, StaticCredentialProvider,
    aws::{AmazonS3Builder, AmazonS3ConfigKey, AwsCredential, AwsCredentialProvider},
};

use tokio::time::timeout;

use crate::{
    clock::Clock,
    store::s3::{
        credentials::{container::Agent, profile::Profile},
        settings::Credentials,
        wire::Wire,
    },
};

mod container;
mod profile;

/// How long whoever gives credentials may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the credentials at hand are good after a first attempt to change them, which comes five minutes before their
/// end, and how long nobody is asked after a failure.
const GOOD_FOR: Duration = Duration::from_mins(4);
const PAUSE: Duration = Duration::from_secs(10);

/// Least time between two renewals: of many requests that are refused at once, one asks for other keys.
const RENEWAL: Duration = Duration::from_secs(10);

/// Gives credentials that are good now.
#[derive(Debug)]
pub(super) struct Provider {
    source: Source,
    /// `None` where requests are not signed.
    inner: Mutex<Option<AwsCredentialProvider>>,
    held: Mutex<Held>,
    renewed: Mutex<Option<Instant>>,
}

/// What providers are made of.
#[derive(Debug)]
struct Source {
    credentials: Credentials,
    region: String,
    wire: Wire,
    clock: Arc<dyn Clock>,
}

/// What was given last, for as long as those who give do not answer.
#[derive(Debug, Default)]
struct Held {
    credential: Option<Arc<AwsCredential>>,
    /// Since when nothing new was given, and when that was tried last.
    failing: Option<(Instant, Instant)>,
}

impl Provider {
    /// `wire` reaches the services that hand credentials out.
    pub(super) fn new(
        credentials: &Credentials,
        region: &str,
        wire: &Wire,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, object_store::Error> {
        let source = Source {
            credentials: credentials.clone(),
            region: region.to_owned(),
            wire: wire.clone(),
            clock: Arc::clone(clock),
        };
        let inner = Mutex::new(source.provider()?);
        Ok(Self { source, inner, held: Mutex::default(), renewed: Mutex::default() })
    }

    /// `None` where requests are not signed.
    ///
    /// # Errors
    /// Why there are none, without any of their text.
    pub(super) async fn get(&self) -> Result<Option<Arc<AwsCredential>>, String> {
        let Some(inner) = unpoisoned(&self.inner).clone() else { return Ok(None) };
        if let Some(held) = self.held().while_paused() {
            return Ok(Some(held));
        }
        let given = match timeout(PATIENCE, inner.get_credential()).await {
            Ok(given) => given.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no answer within {PATIENCE:?}")),
        };
        let mut held = self.held();
        match given {
            Ok(credential) => {
                *held = Held { credential: Some(Arc::clone(&credential)), failing: None };
                Ok(Some(credential))
            }
            Err(error) => held.after_failure().map(Some).ok_or(error),
        }
    }

    /// Forgets the keys at hand, which the store does not take any more although they should be good still. Whether
    /// others may be had: keys that are written down never change.
    pub(super) fn renew(&self) -> bool {
        if matches!(self.source.credentials, Credentials::Anonymous | Credentials::Static { .. }) {
            return false;
        }
        let mut renewed = unpoisoned(&self.renewed);
        if renewed.is_some_and(|last| last.elapsed() < RENEWAL) {
            return true;
        }
        let Ok(fresh) = self.source.provider() else { return false };
        *renewed = Some(Instant::now());
        *unpoisoned(&self.inner) = fresh;
        *self.held() = Held::default();
        true
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        unpoisoned(&self.held)
    }
}

impl Source {
    fn provider(&self) -> Result<Option<AwsCredentialProvider>, object_store::Error> {
        provider(&self.credentials, &self.region, &self.wire, &self.clock)
    }
}

fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Held {
    /// The credentials at hand, shortly after nobody would give others.
    fn while_paused(&self) -> Option<Arc<AwsCredential>> {
        let (since, last) = self.failing?;
        (last.elapsed() < PAUSE && since.elapsed() < GOOD_FOR).then(|| self.credential.clone()).flatten()
    }

    /// The credentials at hand, if they are good still.
    fn after_failure(&mut self) -> Option<Arc<AwsCredential>> {
        let since = self.failing.map_or_else(Instant::now, |(since, _)| since);
        self.failing = Some((since, Instant::now()));
        self.credential.clone().filter(|_| since.elapsed() < GOOD_FOR)
    }
}

fn provider(
    credentials: &Credentials,
    region: &str,
    wire: &Wire,
    clock: &Arc<dyn Clock>,
) -> Result<Option<AwsCredentialProvider>, object_store::Error> {
    // The bucket is not used: what is built is a provider of credentials.
    let builder = || {
        let builder = AmazonS3Builder::new().with_bucket_name("unused").with_region(region);
        builder
            .with_retry(RetryConfig { max_retries: 3, retry_timeout: PATIENCE, ..RetryConfig::default() })
            .with_http_connector(wire.clone())
    };
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let builder = match credentials {
        Credentials::Anonymous => return Ok(None),
        Credentials::Static { key_id, secret, session_token } => {
            return Ok(Some(Arc::new(StaticCredentialProvider::new(AwsCredential {
                key_id: key_id.clone(),
                secret_key: secret.expose().clone(),
                token: session_token.as_ref().map(|token| token.expose().clone()),
            }))));
        }
        Credentials::Profile(settings) => {
            let otherwise = match &settings.otherwise {
                Some(otherwise) => provider(otherwise, region, wire, clock)?,
                None => None,
            };
            return Ok(Some(Arc::new(Profile::new(settings, otherwise))));
        }
        Credentials::Container(container) => {
            return Ok(Some(Arc::new(Agent::new(container.clone(), wire.clone(), Arc::clone(clock)))));
        }
        Credentials::WebIdentity { token_file, role, session_name, endpoint } => builder()
            .with_config(AmazonS3ConfigKey::WebIdentityTokenFile, text(token_file))
            .with_config(AmazonS3ConfigKey::RoleArn, role)
            .with_config(AmazonS3ConfigKey::RoleSessionName, session_name)
            .with_config(AmazonS3ConfigKey::StsEndpoint, bare(endpoint)),
        Credentials::Instance { endpoint } => builder().with_metadata_endpoint(bare(endpoint)),
    };
    Ok(Some(Arc::clone(builder.build()?.credentials())))
}

/// `object_store` puts paths behind it.
fn bare(endpoint: &http::Uri) -> String {
    endpoint.to_string().trim_end_matches('/').to_owned()
}
