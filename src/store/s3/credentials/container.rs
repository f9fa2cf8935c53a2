//! Keys from an agent beside us, as ECS tasks and EKS pods have one ("Container credential provider" in the AWS SDKs'
//! reference guide).

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, Request, header};
use object_store::{CredentialProvider, aws::AwsCredential, client::HttpRequestBody};
use serde::Deserialize;
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::sync::Mutex;

use crate::{
    clock::Clock,
    store::s3::{
        settings::{Authorization, Container},
        wire::{Wire, beginning},
    },
};

/// How long before their end keys are changed.
const AHEAD: Duration = Duration::minutes(5);

/// How long keys are used that do not say when they end.
const LIFETIME_DEFAULT: Duration = Duration::hours(1);

/// Largest answer, in bytes, and largest token.
const ANSWER_MAX: usize = 64 << 10;
const TOKEN_MAX: usize = 16 << 10;

/// Asks the agent when the keys at hand are about to end.
#[derive(Debug)]
pub(super) struct Agent {
    container: Container,
    wire: Wire,
    clock: Arc<dyn Clock>,
    held: Mutex<Option<Held>>,
}

#[derive(Clone, Debug)]
struct Held {
    credential: Arc<AwsCredential>,
    ends: OffsetDateTime,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    access_key_id: String,
    secret_access_key: String,
    token: Option<String>,
    expiration: Option<String>,
}

#[derive(Debug, thiserror::Error)]
enum AgentError {
    #[error("the token for the container's agent: {0}")]
    Token(std::io::Error),
    #[error("the container's agent: {0}")]
    Unusable(String),
}

impl Agent {
    pub(super) fn new(container: Container, wire: Wire, clock: Arc<dyn Clock>) -> Self {
        Self { container, wire, clock, held: Mutex::default() }
    }

    async fn ask(&self) -> Result<Held, AgentError> {
        let unusable = |what: String| AgentError::Unusable(what);
        let mut request = Request::get(&self.container.uri)
            .body(HttpRequestBody::from(Bytes::new()))
            .map_err(|error| unusable(error.to_string()))?;
        if let Some(token) = self.token().await? {
            request.headers_mut().insert(header::AUTHORIZATION, token);
        }
        let answer = self.wire.exchange(request).await.map_err(|trouble| unusable(trouble.to_string()))?;
        let status = answer.status();
        let body = beginning(answer.into_body(), ANSWER_MAX).await.map_err(|error| unusable(error.to_string()))?;
        if !status.is_success() {
            return Err(unusable(format!("it answers {status}")));
        }
        // The text itself is secret: of an answer that cannot be read only the place is told.
        let answer: Answer = serde_json::from_slice(&body).map_err(|error| {
            unusable(format!("its answer cannot be understood at line {} column {}", error.line(), error.column()))
        })?;
        Ok(self.held(answer))
    }

    fn held(&self, answer: Answer) -> Held {
        let ends = answer.expiration.and_then(|ends| OffsetDateTime::parse(&ends, &Rfc3339).ok());
        let credential =
            AwsCredential { key_id: answer.access_key_id, secret_key: answer.secret_access_key, token: answer.token };
        let ends = ends.unwrap_or_else(|| self.clock.now() + LIFETIME_DEFAULT);
        Held { credential: Arc::new(credential), ends }
    }

    async fn token(&self) -> Result<Option<HeaderValue>, AgentError> {
        let text = match &self.container.authorization {
            Authorization::Nothing => return Ok(None),
            Authorization::Text(text) => text.expose().clone(),
            Authorization::File(path) => tokio::fs::read_to_string(path).await.map_err(AgentError::Token)?,
        };
        let text = text.trim();
        let invalid = || AgentError::Token(std::io::Error::other("it is no value of a header"));
        if text.len() > TOKEN_MAX {
            return Err(invalid());
        }
        let mut value = HeaderValue::try_from(text).map_err(|_| invalid())?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

#[async_trait]
impl CredentialProvider for Agent {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let mut held = self.held.lock().await;
        if let Some(held) = &*held
            && self.clock.now() + AHEAD < held.ends
        {
            return Ok(Arc::clone(&held.credential));
        }
        match self.ask().await {
            Ok(fresh) => {
                let credential = Arc::clone(&fresh.credential);
                *held = Some(fresh);
                Ok(credential)
            }
            Err(error) => match &*held {
                // Good for some minutes yet; the agent is asked again by the next request.
                Some(held) if self.clock.now() < held.ends => Ok(Arc::clone(&held.credential)),
                _ => Err(object_store::Error::Generic { store: "S3", source: error.into() }),
            },
        }
    }
}
