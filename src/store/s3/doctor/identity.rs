//! Who we are to the store, said without a word of what proves it.

use crate::store::s3::settings::Credentials;

/// Where keys come from.
pub(super) fn kind(credentials: &Credentials) -> String {
    match credentials {
        Credentials::Static { session_token: None, .. } => {
            "keys as they are written (accesskey and secretkey, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)"
                .to_owned()
        }
        Credentials::Static { .. } => "keys with a session token, which ends and is not renewed by anybody".to_owned(),
        Credentials::WebIdentity { token_file, role, endpoint, .. } => {
            format!("the role {role}, for the token in {} at {endpoint}", token_file.display())
        }
        Credentials::Profile(profile) => {
            let files: Vec<_> = profile.files.iter().map(|file| file.display().to_string()).collect();
            let named = format!("the profile {} of {}", profile.name, files.join(" and "));
            match &profile.otherwise {
                Some(otherwise) => format!("{named}, or where there is none {}", kind(otherwise)),
                None => named,
            }
        }
        Credentials::Container(container) => {
            let host = container.uri.host().unwrap_or_default();
            format!("the role that the container's agent at {host} gives")
        }
        Credentials::Instance { endpoint } => {
            format!("the role that this machine's metadata service at {endpoint} gives")
        }
        Credentials::Anonymous => "none: requests are not signed".to_owned(),
    }
}

/// What to do where they do not come.
pub(super) fn remedy(credentials: &Credentials) -> &'static str {
    match credentials {
        Credentials::WebIdentity { .. } => {
            "the file must hold a token that has not ended, and the role's trust policy must allow its issuer and subject \
             sts:AssumeRoleWithWebIdentity"
        }
        Credentials::Profile(profile) => match &profile.otherwise {
            Some(otherwise) => remedy(otherwise),
            None => "write the profile there, or another name in AWS_PROFILE",
        },
        Credentials::Container(_) => "give the task a role (ECS), or the service account an association with one (EKS)",
        Credentials::Instance { .. } => {
            "write accesskey and secretkey, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine a \
             role; from a container the metadata service is one hop further away (hop limit 2)"
        }
        Credentials::Static { .. } | Credentials::Anonymous => {
            "write accesskey and secretkey, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        secret::Secret,
        store::s3::settings::{Authorization, Container, Profile},
    };

    #[test]
    fn each_kind_is_told_apart_and_none_is_told() {
        let canary = || Secret::new("canary".to_owned());
        let keys = |session_token| Credentials::Static { key_id: "canary".to_owned(), secret: canary(), session_token };
        let machine = Credentials::Instance { endpoint: "http://169.254.169.254".parse().unwrap() };
        let profile = |otherwise: Option<Credentials>| {
            Credentials::Profile(Profile {
                name: "p".to_owned(),
                files: vec!["/f".into()],
                otherwise: otherwise.map(Box::new),
            })
        };
        let container = Credentials::Container(Container {
            uri: "http://127.0.0.1/canary".parse().unwrap(),
            authorization: Authorization::Text(canary()),
        });
        let role = Credentials::WebIdentity {
            token_file: "/t".into(),
            role: "arn:aws:iam::1:role/r".to_owned(),
            session_name: "s".to_owned(),
            endpoint: "https://sts".parse().unwrap(),
        };
        for (credentials, expected, remedied) in [
            (keys(None), "accesskey", "accesskey"),
            (keys(Some(canary())), "session token", "accesskey"),
            (profile(None), "the profile p of /f", "AWS_PROFILE"),
            (profile(Some(machine)), "or where there is none the role", "hop limit"),
            (container, "agent at 127.0.0.1", "EKS"),
            (role, "arn:aws:iam::1:role/r", "sts:AssumeRoleWithWebIdentity"),
            (Credentials::Anonymous, "not signed", "accesskey"),
        ] {
            let told = (kind(&credentials), remedy(&credentials));
            assert!(told.0.contains(expected) && told.1.contains(remedied), "{told:?}");
            assert!(!told.0.contains("canary"), "{told:?}");
        }
    }
}
