//! Keys in the files that AWS's tools share ("Shared config and credentials files" in the AWS SDKs' reference guide).

use std::{
    io,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use object_store::{
    CredentialProvider,
    aws::{AwsCredential, AwsCredentialProvider},
};
use tokio::sync::Mutex;

use crate::store::s3::settings;

/// How long what a profile's files said is believed.
const LIFETIME: Duration = Duration::from_mins(5);

const KEY_ID: &str = "aws_access_key_id";

/// Largest file of profiles, in bytes.
const SIZE_MAX: u64 = 1 << 20;

/// A profile in the files that AWS's tools share.
#[derive(Debug)]
pub(super) struct Profile {
    name: String,
    files: Vec<PathBuf>,
    /// Asked where there is no such profile.
    otherwise: Option<AwsCredentialProvider>,
    /// What was found, and when; `None` for no such profile.
    read: Mutex<Option<(Instant, Option<Arc<AwsCredential>>)>>,
}

impl Profile {
    pub(super) fn new(settings: &settings::Profile, otherwise: Option<AwsCredentialProvider>) -> Self {
        let settings::Profile { name, files, .. } = settings;
        Self { name: name.clone(), files: files.clone(), otherwise, read: Mutex::default() }
    }

    async fn load(&self) -> Result<AwsCredential, ProfileError> {
        let mut sections = Vec::new();
        for file in &self.files {
            let unreadable = |source| ProfileError::Unreadable { path: file.clone(), source };
            match tokio::fs::metadata(file).await {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(unreadable(error)),
                Ok(meta) if meta.len() > SIZE_MAX => {
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
        let known = read.as_ref().filter(|(when, _)| when.elapsed() < LIFETIME).map(|(_, found)| found.clone());
        match (known, &self.otherwise) {
            (Some(Some(credential)), _) => return Ok(credential),
            (Some(None), Some(otherwise)) => {
                drop(read);
                return otherwise.get_credential().await;
            }
            _ => {}
        }
        let credential = match (self.load().await, &self.otherwise) {
            (Ok(credential), _) => Arc::new(credential),
            (Err(error), Some(otherwise)) if error.is_nobodys_choice() => {
                if !matches!(error, ProfileError::Missing(_)) {
                    tracing::warn!("storage.s3: {error}; credentials are asked from the surroundings");
                }
                *read = Some((Instant::now(), None));
                drop(read);
                return otherwise.get_credential().await;
            }
            (Err(error), _) => return Err(object_store::Error::Generic { store: "S3", source: error.into() }),
        };
        *read = Some((Instant::now(), Some(Arc::clone(&credential))));
        Ok(credential)
    }
}

#[derive(Debug, thiserror::Error)]
enum ProfileError {
    #[error("{path}: {source}", path = path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("the profile {0} is in none of the files")]
    Missing(String),
    #[error(
        "the profile {name} has {key}, which is not supported here: give keys, a web identity or a role of the machine"
    )]
    Unsupported { name: String, key: String },
    #[error("the profile {name} has no {key}")]
    Incomplete { name: String, key: &'static str },
}

impl ProfileError {
    /// Whether it is nothing to somebody who never chose the profile: Amazon's SDKs go on to what comes next, too.
    fn is_nobodys_choice(&self) -> bool {
        match self {
            Self::Missing(_) => true,
            Self::Incomplete { key, .. } => *key == KEY_ID,
            Self::Unreadable { source, .. } => {
                matches!(source.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::NotADirectory)
            }
            Self::Unsupported { .. } => false,
        }
    }
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
            } else if let Some((key, value)) = line.split_once('=').filter(|_| inside && !line.starts_with(['#', ';']))
            {
                entries.push((key.trim(), value.trim()));
            }
        }
    }
    if !found {
        return Err(ProfileError::Missing(name.to_owned()));
    }
    let find = |key| entries.iter().find(|(name, _)| *name == key).map(|(_, value)| (*value).to_owned());
    let unsupported = ["role_arn", "credential_process", "sso_session", "sso_start_url"];
    let key_id = find(KEY_ID);
    if key_id.is_none()
        && let Some(key) = unsupported.iter().find(|key| find(key).is_some())
    {
        return Err(ProfileError::Unsupported { name: name.to_owned(), key: (*key).to_owned() });
    }
    let need = |key, value: Option<String>| {
        value.filter(|value| !value.is_empty()).ok_or_else(|| ProfileError::Incomplete { name: name.to_owned(), key })
    };
    Ok(AwsCredential {
        key_id: need(KEY_ID, key_id)?,
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
