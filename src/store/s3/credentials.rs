//! Who we are to the store, kept fresh.

use std::{
    io,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use object_store::{
    CredentialProvider, RetryConfig, StaticCredentialProvider,
    aws::{AmazonS3Builder, AmazonS3ConfigKey, AwsCredential, AwsCredentialProvider},
    client::HttpConnector,
};
use tokio::sync::Mutex;

use crate::store::s3::settings::Credentials;

/// How long what a profile's files said is believed.
const PROFILE_LIFETIME: Duration = Duration::from_mins(5);

/// Largest file of profiles, in bytes.
const PROFILES_SIZE_MAX: u64 = 1 << 20;

/// Gives credentials that are good now; those that end are changed minutes ahead.
#[derive(Debug)]
pub(super) struct Provider(Option<AwsCredentialProvider>);

impl Provider {
    /// `connector` reaches the services that hand credentials out.
    pub(super) fn new(
        credentials: &Credentials,
        region: &str,
        connector: impl HttpConnector,
    ) -> Result<Self, object_store::Error> {
        let builder = || {
            AmazonS3Builder::new().with_bucket_name("unused").with_region(region).with_retry(RetryConfig::default())
        };
        let path = |path: &PathBuf| path.to_string_lossy().into_owned();
        let builder = match credentials {
            Credentials::Anonymous => return Ok(Self(None)),
            Credentials::Static { key_id, secret, session_token } => {
                let credential = AwsCredential {
                    key_id: key_id.clone(),
                    secret_key: secret.expose().clone(),
                    token: session_token.as_ref().map(|token| token.expose().clone()),
                };
                return Ok(Self(Some(Arc::new(StaticCredentialProvider::new(credential)))));
            }
            Credentials::Profile { name, files } => return Ok(Self(Some(Arc::new(Profile::new(name, files))))),
            Credentials::WebIdentity { token_file, role, session_name, endpoint } => {
                let builder = builder()
                    .with_config(AmazonS3ConfigKey::WebIdentityTokenFile, path(token_file))
                    .with_config(AmazonS3ConfigKey::RoleArn, role)
                    .with_config(AmazonS3ConfigKey::RoleSessionName, session_name);
                match endpoint {
                    Some(endpoint) => builder.with_config(AmazonS3ConfigKey::StsEndpoint, endpoint),
                    None => builder,
                }
            }
            Credentials::Container { relative_uri } => {
                builder().with_config(AmazonS3ConfigKey::ContainerCredentialsRelativeUri, relative_uri)
            }
            Credentials::Pod { full_uri, token_file } => builder()
                .with_config(AmazonS3ConfigKey::ContainerCredentialsFullUri, full_uri)
                .with_config(AmazonS3ConfigKey::ContainerAuthorizationTokenFile, path(token_file)),
            Credentials::Instance { endpoint: Some(endpoint) } => builder().with_metadata_endpoint(endpoint),
            Credentials::Instance { endpoint: None } => builder(),
        };
        Ok(Self(Some(Arc::clone(builder.with_http_connector(connector).build()?.credentials()))))
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

/// A profile in the files that AWS's tools share.
#[derive(Debug)]
struct Profile {
    name: String,
    files: Vec<PathBuf>,
    read: Mutex<Option<(Instant, Arc<AwsCredential>)>>,
}

impl Profile {
    fn new(name: &str, files: &[PathBuf]) -> Self {
        Self { name: name.to_owned(), files: files.to_vec(), read: Mutex::default() }
    }

    async fn load(&self) -> Result<AwsCredential, ProfileError> {
        let mut sections = Vec::new();
        for file in &self.files {
            let unreadable = |source| ProfileError::Unreadable { path: file.clone(), source };
            match tokio::fs::metadata(file).await {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(unreadable(error)),
                Ok(meta) if meta.len() > PROFILES_SIZE_MAX => {
                    return Err(unreadable(io::Error::other("more than 1 MiB")));
                }
                Ok(_) => sections.push(tokio::fs::read_to_string(file).await.map_err(unreadable)?),
            }
        }
        credential(&self.name, &sections)
    }
}

#[async_trait]
impl CredentialProvider for Profile {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let mut read = self.read.lock().await;
        if let Some((when, credential)) = &*read
            && when.elapsed() < PROFILE_LIFETIME
        {
            return Ok(Arc::clone(credential));
        }
        let loaded = self.load().await;
        let loaded = loaded.map_err(|error| object_store::Error::Generic { store: "S3", source: error.into() })?;
        let credential = Arc::new(loaded);
        *read = Some((Instant::now(), Arc::clone(&credential)));
        Ok(credential)
    }
}

#[derive(Debug, thiserror::Error)]
enum ProfileError {
    #[error("{path}: {source}", path = path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("the profile {0} is in none of the files")]
    Missing(String),
    #[error("the profile {name} has {key}, which is not supported here: give keys, a web identity or a role of the machine")]
    Unsupported { name: String, key: String },
    #[error("the profile {name} has no {key}")]
    Incomplete { name: String, key: &'static str },
}

/// Reads a profile; what an earlier file says wins over a later one.
fn credential(name: &str, files: &[String]) -> Result<AwsCredential, ProfileError> {
    let mut entries: Vec<(&str, &str)> = Vec::new();
    let mut found = false;
    for file in files {
        let mut inside = false;
        for line in file.lines().map(str::trim) {
            if let Some(section) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                let section = section.trim();
                inside = section.strip_prefix("profile ").map_or(section, str::trim) == name;
                found |= inside;
            } else if let Some((key, value)) = line.split_once('=').filter(|_| inside && !line.starts_with(['#', ';'])) {
                entries.push((key.trim(), value.trim()));
            }
        }
    }
    if !found {
        return Err(ProfileError::Missing(name.to_owned()));
    }
    let find = |key| entries.iter().find(|(name, _)| *name == key).map(|(_, value)| (*value).to_owned());
    let unsupported = ["role_arn", "credential_process", "sso_session", "sso_start_url"];
    let key_id = find("aws_access_key_id");
    if key_id.is_none()
        && let Some(key) = unsupported.iter().find(|key| find(key).is_some())
    {
        return Err(ProfileError::Unsupported { name: name.to_owned(), key: (*key).to_owned() });
    }
    let need = |key, value: Option<String>| {
        value.filter(|value| !value.is_empty()).ok_or_else(|| ProfileError::Incomplete { name: name.to_owned(), key })
    };
    Ok(AwsCredential {
        key_id: need("aws_access_key_id", key_id)?,
        secret_key: need("aws_secret_access_key", find("aws_secret_access_key"))?,
        token: find("aws_session_token"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, files: &[&str], expected: Result<(&str, &str, Option<&str>), &str>) {
        let files: Vec<String> = files.iter().map(ToString::to_string).collect();
        let found = credential(name, &files);
        let found = found.map(|found| (found.key_id, found.secret_key, found.token)).map_err(|error| error.to_string());
        let expected = expected.map(|(id, secret, token)| (id.to_owned(), secret.to_owned(), token.map(str::to_owned)));
        assert_eq!(found, expected.map_err(str::to_owned), "{name}");
    }

    #[test]
    fn profiles() {
        let credentials = "[default]\naws_access_key_id = A\naws_secret_access_key=S=1\n# [x]\n[ci]\n\
                           aws_access_key_id=B\naws_secret_access_key=T\naws_session_token = U\n[half]\naws_access_key_id=C\n";
        let config = "[profile ci]\nregion=eu-west-1\naws_access_key_id=other\n[profile role]\nrole_arn=arn:x\n";
        let files = [credentials, config];
        check("default", &files, Ok(("A", "S=1", None)));
        check("ci", &files, Ok(("B", "T", Some("U"))));
        check("none", &files, Err("the profile none is in none of the files"));
        check("half", &files, Err("the profile half has no aws_secret_access_key"));
        check(
            "role",
            &files,
            Err("the profile role has role_arn, which is not supported here: \
                 give keys, a web identity or a role of the machine"),
        );
    }
}
