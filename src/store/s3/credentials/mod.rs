//! Who we are to the store, kept fresh.
//!
//! `object_store` knows the metadata service of machines and how a web identity is changed for keys; `profile` reads the
//! files that AWS's tools share, `container` asks the agents of ECS and EKS. Keys that end are changed minutes ahead.

use std::{path::Path, sync::Arc};

use object_store::{
    RetryConfig, StaticCredentialProvider,
    aws::{AmazonS3Builder, AmazonS3ConfigKey, AwsCredential, AwsCredentialProvider},
};

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

/// Gives credentials that are good now.
#[derive(Debug)]
pub(super) struct Provider(Option<AwsCredentialProvider>);

impl Provider {
    /// `wire` reaches the services that hand credentials out.
    pub(super) fn new(
        credentials: &Credentials,
        region: &str,
        wire: &Wire,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, object_store::Error> {
        Ok(Self(provider(credentials, region, wire, clock)?))
    }

    /// `None` where requests are not signed.
    ///
    /// # Errors
    /// Why there are none, without any of their text.
    pub(super) async fn get(&self) -> Result<Option<Arc<AwsCredential>>, String> {
        match &self.0 {
            None => Ok(None),
            Some(provider) => provider.get_credential().await.map(Some).map_err(|error| error.to_string()),
        }
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
        builder.with_retry(RetryConfig::default()).with_http_connector(wire.clone())
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
