//! Whose requests these are: keys that are written, or where this machine finds some.
//!
//! The first of these that is there is taken, in the order of Amazon's SDK for Go, which the registries that we replace
//! use:
//!
//! 1. `accesskey` and `secretkey` of the configuration, perhaps with `sessiontoken`;
//! 2. `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, perhaps with `AWS_SESSION_TOKEN`;
//! 3. `AWS_WEB_IDENTITY_TOKEN_FILE` and `AWS_ROLE_ARN`: the role of a Kubernetes service account;
//! 4. the profile `AWS_PROFILE`, or `default`, of the shared files;
//! 5. `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI` or `_FULL_URI`: the role of an ECS task or an EKS pod;
//! 6. the role of the machine, from its metadata service.
//!
//! Which of the first three it is, and whether the last are to be asked, is known here; whether a profile exists only
//! whoever opens the files can say.

use std::{net::IpAddr, path::PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use http::Uri;

use crate::{
    config::{Warning, environment::Environment, section::Section, storage::s3::endpoint::domain},
    secret::Secret,
};

const ROLE_SESSION_DEFAULT: &str = "pierhead";
const PROFILE_DEFAULT: &str = "default";

/// The agent of an ECS container, which relative addresses are relative to.
const CONTAINER_AGENT: &str = "http://169.254.170.2";

/// Agents besides the loopback that credentials may come from without encryption: those of ECS and of EKS.
const CONTAINER_AGENTS: &[&str] = &["169.254.170.2", "169.254.170.23", "fd00:ec2::23"];

const METADATA_IPV4: &str = "http://169.254.169.254";
const METADATA_IPV6: &str = "http://[fd00:ec2::254]";

#[derive(Clone, Debug)]
pub enum Credentials {
    Keys(Keys),
    WebIdentity(WebIdentity),
    /// What the profile says; where there is none, what the surroundings give.
    Found {
        profile: Option<Profile>,
        surroundings: Surroundings,
    },
}

/// Keys as they are. With a session token they end, and nobody here can renew them.
#[derive(Clone, Debug)]
pub struct Keys {
    pub access_key: String,
    pub secret_key: Secret<String>,
    pub session_token: Option<Secret<String>>,
}

/// A token that somebody renews in a file, to be exchanged for a role's keys.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WebIdentity {
    pub token_file: PathBuf,
    pub role: String,
    pub session: String,
    /// The service that exchanges it.
    pub sts: Uri,
}

/// A section of Amazon's shared files; either file may be missing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Profile {
    pub name: String,
    pub choice: Choice,
    /// `AWS_SHARED_CREDENTIALS_FILE`, else `~/.aws/credentials`: sections are called by the name.
    pub credentials: Option<PathBuf>,
    /// `AWS_CONFIG_FILE`, else `~/.aws/config`: sections are called `profile` and the name, but `default` alone.
    pub config: Option<PathBuf>,
    /// The service that a profile's role is asked from.
    pub sts: Uri,
}

/// Who chose a profile.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Choice {
    /// The operator: a missing one is an error.
    Named,
    /// Nobody: a missing one is nothing.
    Default,
}

/// What gives keys to whatever runs here.
#[derive(Clone, Debug)]
pub enum Surroundings {
    Container(Container),
    /// The metadata service of a machine, version 2.
    Instance {
        metadata: Uri,
    },
    /// Nothing: `AWS_EC2_METADATA_DISABLED` is true. Then there is a profile.
    Nothing,
}

#[derive(Clone, Debug)]
pub struct Container {
    /// Encrypted, or on this machine.
    pub uri: Uri,
    pub authorization: Authorization,
}

/// The `Authorization` header for a container's agent.
#[derive(Clone, Debug)]
pub enum Authorization {
    Nothing,
    Text(Secret<String>),
    /// Read before each request: its content is renewed.
    File(PathBuf),
}

impl Credentials {
    pub(in crate::config) fn read(
        parameters: &Section<'_>,
        region: &str,
        environment: &Environment,
        warnings: &mut Vec<Warning>,
    ) -> Result<Self> {
        if let Some(keys) = Keys::written(parameters)? {
            return Ok(Self::Keys(keys));
        }
        if let Some(keys) = Keys::of_environment(environment, warnings) {
            return Ok(Self::Keys(keys));
        }
        if let Some(file) = environment.variable("AWS_WEB_IDENTITY_TOKEN_FILE") {
            return WebIdentity::read(file, region, environment).map(Self::WebIdentity);
        }
        let found = (Profile::read(region, environment)?, Surroundings::read(environment)?);
        match found {
            (None, Surroundings::Nothing) => Err(parameters.fail(
                "has no credentials: accesskey and secretkey are not set, nor is anything of AWS_* that leads to some, \
                 and AWS_EC2_METADATA_DISABLED is true",
            )),
            (profile, surroundings) => Ok(Self::Found { profile, surroundings }),
        }
    }
}

impl Keys {
    fn written(parameters: &Section<'_>) -> Result<Option<Self>> {
        let (access_key, secret_key) = (parameters.text("accesskey")?, parameters.secret("secretkey")?);
        let session_token = parameters.secret("sessiontoken")?;
        let lonely = |present: &str, missing: &str| -> Result<Option<Self>> {
            Err(parameters.need(present)?.fail(format_args!(
                "is set without {missing}; both must be, or none of accesskey, secretkey and sessiontoken to use what \
                 the environment and the machine offer"
            )))
        };
        match (access_key, secret_key, session_token) {
            (Some(access_key), Some(secret_key), session_token) => {
                Ok(Some(Self { access_key: access_key.to_owned(), secret_key, session_token }))
            }
            (None, None, None) => Ok(None),
            (Some(_), None, _) => lonely("accesskey", "secretkey"),
            (None, Some(_), _) => lonely("secretkey", "accesskey"),
            (None, None, Some(_)) => lonely("sessiontoken", "accesskey and secretkey"),
        }
    }

    /// Amazon's SDK goes on where half a pair is set, and so do we, but not silently.
    fn of_environment(environment: &Environment, warnings: &mut Vec<Warning>) -> Option<Self> {
        let either = |names: [&'static str; 2]| {
            names.into_iter().find_map(|name| environment.variable(name).map(|value| (name, value)))
        };
        let access = either(["AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY"]);
        let secret = either(["AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY"]);
        match (access, secret) {
            (Some((_, access_key)), Some((_, secret_key))) => Some(Self {
                access_key: access_key.to_owned(),
                secret_key: Secret::new(secret_key.to_owned()),
                session_token: environment.variable("AWS_SESSION_TOKEN").map(|token| Secret::new(token.to_owned())),
            }),
            (None, None) => None,
            (Some((name, _)), None) | (None, Some((name, _))) => {
                let text = "is set without the other half of its pair, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; it \
                            is not used";
                warnings.push(Warning { key: name.to_owned(), text: text.to_owned() });
                None
            }
        }
    }
}

impl WebIdentity {
    fn read(token_file: &str, region: &str, environment: &Environment) -> Result<Self> {
        let Some(role) = environment.variable("AWS_ROLE_ARN") else {
            bail!("AWS_WEB_IDENTITY_TOKEN_FILE is set without AWS_ROLE_ARN, the role that it is exchanged for");
        };
        Ok(Self {
            token_file: token_file.into(),
            role: role.to_owned(),
            session: environment.variable("AWS_ROLE_SESSION_NAME").unwrap_or(ROLE_SESSION_DEFAULT).to_owned(),
            sts: sts(region, environment)?,
        })
    }
}

impl Profile {
    fn read(region: &str, environment: &Environment) -> Result<Option<Self>> {
        let home = environment.variable("HOME").map(|home| PathBuf::from(home).join(".aws"));
        let file = |variable, name| {
            let written = environment.variable(variable).map(PathBuf::from);
            written.or_else(|| home.as_ref().map(|home| home.join(name)))
        };
        let credentials = file("AWS_SHARED_CREDENTIALS_FILE", "credentials");
        let config = file("AWS_CONFIG_FILE", "config");
        let named = environment.variable("AWS_PROFILE");
        match (&credentials, &config, named) {
            (None, None, Some(_)) => {
                bail!("AWS_PROFILE is set, but neither HOME nor AWS_CONFIG_FILE says where to look")
            }
            (None, None, None) => Ok(None),
            _ => Ok(Some(Self {
                name: named.unwrap_or(PROFILE_DEFAULT).to_owned(),
                choice: if named.is_some() { Choice::Named } else { Choice::Default },
                credentials,
                config,
                sts: sts(region, environment)?,
            })),
        }
    }
}

impl Surroundings {
    fn read(environment: &Environment) -> Result<Self> {
        if let Some(container) = Container::read(environment)? {
            return Ok(Self::Container(container));
        }
        let disabled = environment.variable("AWS_EC2_METADATA_DISABLED");
        if disabled.is_some_and(|disabled| disabled.eq_ignore_ascii_case("true")) {
            return Ok(Self::Nothing);
        }
        let ipv6 = environment
            .variable("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE")
            .is_some_and(|mode| mode.eq_ignore_ascii_case("ipv6"));
        let default = if ipv6 { METADATA_IPV6 } else { METADATA_IPV4 };
        Ok(Self::Instance { metadata: uri("AWS_EC2_METADATA_SERVICE_ENDPOINT", environment, default)? })
    }
}

impl Container {
    fn read(environment: &Environment) -> Result<Option<Self>> {
        const RELATIVE: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
        const FULL: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
        let uri = match (environment.variable(RELATIVE), environment.variable(FULL)) {
            (Some(path), _) if path.starts_with('/') => absolute(RELATIVE, &format!("{CONTAINER_AGENT}{path}"))?,
            (Some(_), _) => bail!("{RELATIVE} must begin with a slash"),
            (None, Some(text)) => absolute(FULL, text)?,
            (None, None) => return Ok(None),
        };
        if uri.scheme_str() == Some("http") && !is_agent(&uri) {
            bail!("{FULL} must be https, or lead to this machine: keys would travel unencrypted");
        }
        let file = environment.variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE").map(PathBuf::from);
        let text = environment.variable("AWS_CONTAINER_AUTHORIZATION_TOKEN");
        let authorization = match (file, text) {
            (Some(file), _) => Authorization::File(file),
            (None, Some(text)) => Authorization::Text(Secret::new(text.to_owned())),
            (None, None) => Authorization::Nothing,
        };
        Ok(Some(Self { uri, authorization }))
    }
}

fn is_agent(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || CONTAINER_AGENTS.contains(&host) || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The token service of the region that we run in, which the bucket's is taken for unless a variable says another.
fn sts(region: &str, environment: &Environment) -> Result<Uri> {
    let region =
        ["AWS_REGION", "AWS_DEFAULT_REGION"].into_iter().find_map(|name| environment.variable(name)).unwrap_or(region);
    uri("AWS_ENDPOINT_URL_STS", environment, &format!("https://sts.{region}.{}", domain(region)))
}

/// The address in a variable, or another.
fn uri(name: &str, environment: &Environment, default: &str) -> Result<Uri> {
    match environment.variable(name) {
        Some(text) => absolute(name, text),
        None => default.parse().with_context(|| format!("{name} is not set, and {default} is no address")),
    }
}

fn absolute(name: &str, text: &str) -> Result<Uri> {
    let uri = text.parse::<Uri>().ok();
    uri.filter(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
    })
    .ok_or_else(|| anyhow!("{name} must be a whole URL"))
}
