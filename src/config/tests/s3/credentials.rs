//! Where credentials are found, and in which order.

use std::path::PathBuf;

use super::{ALL, bucket, fails, load};
use crate::config::storage::s3::credentials::{
    Authorization, Choice, Credentials, Keys, Profile, Surroundings, WebIdentity,
};

/// Credentials in one line, secrets in the open.
pub(super) fn told(credentials: &Credentials) -> String {
    match credentials {
        Credentials::Keys(Keys { access_key, secret_key, session_token }) => {
            let token = session_token.as_ref().map_or("-", |token| token.expose());
            format!("keys {access_key} {} {token}", secret_key.expose())
        }
        Credentials::WebIdentity(WebIdentity { token_file, role, session, sts }) => {
            format!("web {} {role} {session} {sts}", token_file.display())
        }
        Credentials::Found { profile, surroundings } => {
            let profile = profile.as_ref().map_or_else(
                || "-".to_owned(),
                |profile| {
                    let Profile { name, choice, credentials, config, sts } = profile;
                    let path = |path: &Option<PathBuf>| {
                        path.as_ref().map_or_else(|| "-".to_owned(), |path| path.display().to_string())
                    };
                    let named = if *choice == Choice::Named { "!" } else { "" };
                    format!("{name}{named} {} {} {sts}", path(credentials), path(config))
                },
            );
            let surroundings = match surroundings {
                Surroundings::Container(container) => {
                    let authorization = match &container.authorization {
                        Authorization::Nothing => "-".to_owned(),
                        Authorization::Text(text) => text.expose().clone(),
                        Authorization::File(path) => path.display().to_string(),
                    };
                    format!("container {} {authorization}", container.uri)
                }
                Surroundings::Instance { metadata } => format!("instance {metadata}"),
                Surroundings::Nothing => "nothing".to_owned(),
            };
            format!("profile {profile}, {surroundings}")
        }
    }
}

#[track_caller]
fn finds(parameters: &str, variables: &[(&str, &str)], expected: &str) {
    let loaded =
        load(&format!("{ALL}{parameters}"), variables).unwrap_or_else(|error| panic!("{variables:?}: {error:#}"));
    assert_eq!(told(&bucket(&loaded).credentials), expected, "{variables:?}");
    assert_eq!(loaded.warnings, [], "{variables:?}");
}

const AWS_KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "EA"), ("AWS_SECRET_ACCESS_KEY", "ES")];
const WEB: [(&str, &str); 2] = [("AWS_WEB_IDENTITY_TOKEN_FILE", "/t"), ("AWS_ROLE_ARN", "arn:r")];
const INSTANCE: &str = "instance http://169.254.169.254/";

#[test]
fn credentials_are_found_in_order() {
    let both = [AWS_KEYS, WEB].concat();
    finds(", accesskey: A, secretkey: S", &both, "keys A S -");
    finds(", accesskey: 0123, secretkey: yes, sessiontoken: T", &both, "keys 0123 yes T");
    finds(", accesskey: '', secretkey: ''", &both, "keys EA ES -");
    finds("", &[&AWS_KEYS[..], &[("AWS_SESSION_TOKEN", "ET")]].concat(), "keys EA ES ET");
    finds("", &[("AWS_ACCESS_KEY", "EA"), ("AWS_SECRET_KEY", "ES")], "keys EA ES -");
    finds("", &WEB, "web /t arn:r pierhead https://sts.eu-west-1.amazonaws.com/");
    finds(
        "",
        &[&WEB[..], &[("AWS_ROLE_SESSION_NAME", "n"), ("AWS_REGION", "cn-north-1"), ("HOME", "/h")]].concat(),
        "web /t arn:r n https://sts.cn-north-1.amazonaws.com.cn/",
    );
    finds(
        "",
        &[&WEB[..], &[("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1/x")]].concat(),
        "web /t arn:r pierhead http://127.0.0.1:1/x",
    );
    finds("", &[], &format!("profile -, {INSTANCE}"));
}

#[test]
fn profiles_and_surroundings() {
    let sts = "https://sts.eu-west-1.amazonaws.com/";
    let home = format!("profile default /h/.aws/credentials /h/.aws/config {sts}");
    finds("", &[("HOME", "/h")], &format!("{home}, {INSTANCE}"));
    finds(
        "",
        &[("HOME", "/h"), ("AWS_PROFILE", "p"), ("AWS_CONFIG_FILE", "/c"), ("AWS_SHARED_CREDENTIALS_FILE", "/s")],
        &format!("profile p! /s /c {sts}, {INSTANCE}"),
    );
    finds("", &[("AWS_CONFIG_FILE", "/c")], &format!("profile default - /c {sts}, {INSTANCE}"));
    finds("", &[("HOME", "/h"), ("AWS_EC2_METADATA_DISABLED", "TRUE")], &format!("{home}, nothing"));
    finds("", &[("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "IPv6")], "profile -, instance http://[fd00:ec2::254]/");
    finds(
        "",
        &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:2")],
        "profile -, instance http://127.0.0.1:2/",
    );
    let relative = ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/c?x=1");
    let full = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/v1/c");
    finds("", &[relative, full], "profile -, container http://169.254.170.2/v2/c?x=1 -");
    let token = ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "T");
    finds("", &[full, token], "profile -, container http://169.254.170.23/v1/c T");
    finds(
        "",
        &[full, token, ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/f")],
        "profile -, container http://169.254.170.23/v1/c /f",
    );
    for agent in
        ["https://h/c", "http://localhost:1/c", "http://[::1]/c", "http://[fd00:ec2::23]/c", "http://127.1.1.1/c"]
    {
        let full = [("AWS_CONTAINER_CREDENTIALS_FULL_URI", agent)];
        finds("", &full, &format!("profile -, container {agent} -"));
    }
}

#[test]
fn credentials_that_contradict_themselves() {
    let both = "both must be, or none of accesskey, secretkey and sessiontoken to use what the environment and the \
                machine offer";
    fails(&format!("{ALL}, accesskey: A"), &format!(".accesskey is set without secretkey; {both}"));
    fails(&format!("{ALL}, secretkey: canary"), &format!(".secretkey is set without accesskey; {both}"));
    fails(
        &format!("{ALL}, sessiontoken: canary"),
        &format!(".sessiontoken is set without accesskey and secretkey; {both}"),
    );
    let fails = |variables: &[(&str, &str)], expected: &str| {
        let error = load(ALL, variables).map(|loaded| bucket(&loaded)).unwrap_err();
        assert_eq!(format!("{error:#}"), expected, "{variables:?}");
    };
    fails(&WEB[..1], "AWS_WEB_IDENTITY_TOKEN_FILE is set without AWS_ROLE_ARN, the role that it is exchanged for");
    fails(&[("AWS_PROFILE", "p")], "AWS_PROFILE is set, but neither HOME nor AWS_CONFIG_FILE says where to look");
    fails(
        &[("AWS_EC2_METADATA_DISABLED", "true")],
        "f.yml:4: storage.s3 has no credentials: accesskey and secretkey are not set, nor is anything of AWS_* that \
         leads to some, and AWS_EC2_METADATA_DISABLED is true",
    );
    fails(
        &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://h/c")],
        "AWS_CONTAINER_CREDENTIALS_FULL_URI must be https, or lead to this machine: keys would travel unencrypted",
    );
    fails(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", "/c")], "AWS_CONTAINER_CREDENTIALS_FULL_URI must be a whole URL");
    fails(
        &[("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "c")],
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI must begin with a slash",
    );
    fails(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", "h")], "AWS_EC2_METADATA_SERVICE_ENDPOINT must be a whole URL");
    for half in AWS_KEYS {
        let loaded = load(ALL, &[half]).unwrap();
        assert_eq!(told(&bucket(&loaded).credentials), format!("profile -, {INSTANCE}"));
        assert_eq!(loaded.warnings.len(), 1);
        assert_eq!(
            loaded.warnings[0].to_string(),
            format!(
                "{}: is set without the other half of its pair, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; it is not \
                 used",
                half.0
            )
        );
    }
}
