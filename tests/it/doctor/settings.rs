//! Settings that do not fit the store, or the way to it.

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::Command,
    sync::Arc,
    thread,
    time::Duration,
};

use pierhead::{
    clock::{Clock, ManualClock},
    secret::Secret,
    store::{
        doctor::{Finding, Verdict},
        s3::{doctor, settings},
    },
};
use time::OffsetDateTime;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    doctor::{Configuration, assert_clean, stored},
    support::{
        certificate::{Certificate, trusting},
        command::command,
        process::free_address,
        s3::{
            ACCESS_KEY, REGION, SECRET_KEY,
            client::Client,
            operation::Operation,
            proxy::{Fault, Proxy, Rule, Turn},
        },
        tools,
    },
};

#[test]
fn the_secret_is_another_one() {
    let Some((bucket, port)) = stored() else { return };
    let examined = Configuration::of(port, &bucket.name).with("secretkey", "canary-of-a-wrong-secret").examine();
    examined.says("FAIL", "bucket", "secretkey").says("-", "the rest", "in order").fails();
    assert!(!examined.text.contains("canary"), "{}", examined.text);
}

#[test]
fn the_access_key_is_unknown() {
    let Some((bucket, port)) = stored() else { return };
    let examined = Configuration::of(port, &bucket.name).with("accesskey", "AKNOBODY").examine();
    examined.says("FAIL", "bucket", "accesskey").fails();
}

#[test]
fn there_is_no_such_bucket() {
    let Some((_bucket, port)) = stored() else { return };
    Configuration::of(port, "no-such-bucket").examine().says("FAIL", "bucket", "correct bucket").fails();
}

#[test]
fn nothing_listens() {
    let port = free_address().port();
    let examined = Configuration::of(port, "images").examine();
    examined.says("FAIL", "connection", "is the port in regionendpoint right").fails();
}

#[test]
fn the_name_has_no_address() {
    let examined = Configuration::of(1, "images").with("regionendpoint", "http://nowhere.invalid").examine();
    examined.says("FAIL", "name", "correct regionendpoint").fails();
}

#[test]
fn there_are_no_credentials() {
    let keyless = || {
        let mut configuration = Configuration::of(1, "images").variable("HOME", "/nowhere");
        configuration.parameters.retain(|(name, _)| !name.ends_with("key"));
        configuration
    };
    let examined = keyless().variable("AWS_PROFILE", "missing").examine();
    examined.says("FAIL", "credentials", "the profile missing").says("FAIL", "credentials", "AWS_PROFILE").fails();

    let role = keyless().variable("AWS_WEB_IDENTITY_TOKEN_FILE", "/nowhere/token").variable("AWS_ROLE_ARN", "role");
    let examined = role.examine();
    examined.says("FAIL", "credentials", "/nowhere/token").says("FAIL", "credentials", "sts:AssumeRoleWithWebIdentity");

    // A machine without a role: its service says 404 to whoever asks for keys.
    let metadata = Proxy::start(free_address());
    metadata.inject(Rule::new(&[], Turn::Each, Fault::Said(404, "")));
    let address = format!("http://{}", metadata.address);
    let examined = keyless().variable("AWS_EC2_METADATA_SERVICE_ENDPOINT", address).examine();
    examined.says("FAIL", "credentials", "give the machine a role").fails();
}

#[test]
fn tls_is_asked_of_a_store_without() {
    let Some((bucket, port)) = stored() else { return };
    let https = format!("https://127.0.0.1:{port}");
    let examined =
        Configuration::of(port, &bucket.name).with("regionendpoint", https).with("skipverify", "true").examine();
    examined.says("FAIL", "tls", "write http:// in regionendpoint").fails();
}

#[test]
fn a_store_with_tls_is_asked_without() {
    let Some((bucket, port)) = stored() else { return };
    let directory = tempfile::tempdir().unwrap();
    let secure = tls_before(port, &Certificate::create(directory.path()));
    let examined = Configuration::of(secure, &bucket.name).examine();
    examined.says("FAIL", "answer", "write https:// in regionendpoint").fails();
}

#[test]
fn nobody_who_is_trusted_vouches_for_the_store() {
    let Some((bucket, port)) = stored() else { return };
    let directory = tempfile::tempdir().unwrap();
    let certificate = Certificate::create(directory.path());
    let secure = tls_before(port, &certificate);
    let at =
        |host: &str| Configuration::of(secure, &bucket.name).with("regionendpoint", format!("https://{host}:{secure}"));
    let authority = certificate.authority.display().to_string();
    let other = Certificate::create(&directory.path().join("other"));

    let examined = at("127.0.0.1").variable("SSL_CERT_FILE", other.authority.display().to_string()).examine();
    examined.says("FAIL", "tls", "AWS_CA_BUNDLE").says("FAIL", "tls", "skipverify: true").fails();
    let examined = at("localhost").variable("AWS_CA_BUNDLE", &authority).examine();
    examined.passes().says("ok", "tls", "TLSv1_3");
    let examined = at("127.0.0.1").with("skipverify", "true").variable("SSL_CERT_FILE", "/nowhere").examine();
    examined.passes().says("ok", "tls", "127.0.0.1");
    let examined = at("127.0.0.2").variable("SSL_CERT_FILE", authority).examine();
    examined.says("FAIL", "tls", "not for 127.0.0.2").fails();
    assert_clean(&bucket);
}

/// Ends TLS before a port of this machine, for as long as the test binary runs.
fn tls_before(port: u16, certificate: &Certificate) -> u16 {
    let acceptor = TlsAcceptor::from(Arc::new(certificate.server_config()));
    let listener = std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let secure = listener.local_addr().unwrap().port();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    thread::spawn(move || {
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let mut inner = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
                    copy_bidirectional(&mut acceptor.accept(stream).await?, &mut inner).await
                });
            }
        });
    });
    secure
}

/// The store that the tests start knows buckets by their host names below `s3.test`, too.
#[test]
fn the_bucket_stands_in_the_wrong_place() {
    let Some((bucket, port)) = stored() else { return };
    let host = format!("{}.localhost", bucket.name);
    let examined = Configuration::of(port, &bucket.name)
        .with("regionendpoint", format!("http://localhost:{port}"))
        .with("forcepathstyle", "false")
        .examine();
    let step = if examined.text.contains(&format!("{host} has no address")) { "name" } else { "bucket" };
    examined.says("FAIL", step, "write forcepathstyle: true").fails();

    if !tools::root() || !tools::present(&["unshare"]) {
        return;
    }
    let proxy = Proxy::start(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let named = |style: &str| {
        let endpoint = format!("http://s3.test:{}", proxy.address.port());
        Configuration::of(port, &bucket.name).with("regionendpoint", endpoint).with("forcepathstyle", style)
    };
    let in_host = named("false").examine_by(knowing_hosts(&bucket.name));
    in_host.passes().says("ok", "name", &format!("{}.s3.test is 127.0.0.1", bucket.name));
    // As of a store that looks for buckets in host names only.
    let elsewhere = Fault::Said(404, "<Error><Code>NoSuchBucket</Code></Error>");
    proxy.inject(Rule::new(&[Operation::ListObjectsV2], Turn::First(1), elsewhere));
    let in_path = named("true").examine_by(knowing_hosts(&bucket.name));
    in_path.says("FAIL", "bucket", "write forcepathstyle: false").fails();
    assert_clean(&bucket);
}

/// The binary, on a machine where `s3.test` and the bucket below it are this one.
fn knowing_hosts(bucket: &str) -> Command {
    let script = "hosts=$(mktemp) && echo \"127.0.0.1 localhost s3.test $0.s3.test\" >$hosts && \
                  mount --bind $hosts /etc/hosts && rm $hosts && exec \"$@\"";
    let mut command = command("unshare", ["--mount", "sh", "-c", script]);
    command.arg(bucket).arg(env!("CARGO_BIN_EXE_pierhead"));
    command
}

#[test]
fn the_encryption_cannot_be_had() {
    let Some((bucket, port)) = stored() else { return };
    let encrypting = || Configuration::of(port, &bucket.name).with("encrypt", "true");
    encrypting().examine().passes().says("ok", "encryption", "AES256, as asked for");
    let examined = encrypting().with("keyid", "no-such-key").examine();
    examined.says("FAIL", "put", "keyid: no-such-key").says("ok", "complete parts", "").fails();
    assert_clean(&bucket);
}

#[test]
fn the_bucket_keeps_old_versions() {
    let Some((bucket, port)) = stored() else { return };
    let client = Client::to(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let enabled = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    let put = client.send("PUT", &format!("/{}", bucket.name), &[("versioning", "")], enabled);
    assert_eq!(put.status, 200, "{}", String::from_utf8_lossy(&put.body));
    let examined = Configuration::of(port, &bucket.name).examine();
    examined.passes().says("warn", "versioning", "NoncurrentVersionExpiration");
}

#[test]
fn uploads_in_parts_were_abandoned() {
    let Some((bucket, port)) = stored() else { return };
    let client = Client::to(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let key = format!("/{}/images/docker/registry/v2/blobs/x", bucket.name);
    assert_eq!(client.send("POST", &key, &[("uploads", "")], b"").status, 200);
    let purging = |age: &str| {
        let section = format!("  maintenance:\n    uploadpurging: {{age: {age}}}\n");
        Configuration::of(port, &bucket.name).section(&section).examine()
    };
    thread::sleep(Duration::from_millis(1100));
    purging("1s").passes().says("warn", "abandoned parts", "1 upload");
    purging("24h").passes().says("ok", "abandoned parts", "no upload in parts is older than 1 d");
    assert_eq!(bucket.unfinished().len(), 1, "it is not ours to remove");
}

#[test]
fn whoever_only_reads_writes_nothing() {
    let Some((bucket, port)) = stored() else { return };
    let proxy = Proxy::start(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let read_only = "  maintenance:\n    readonly: {enabled: true}\n";
    let examined = Configuration::of(proxy.address.port(), &bucket.name).section(read_only).examine();
    examined.passes().says("ok", "head, missing", "404");
    assert!(examined.text.contains("nothing was written"), "{}", examined.text);
    assert!(proxy.calls().iter().all(|call| !call.operation.writes()), "{:?}", proxy.calls());
}

/// The clock of the machine cannot be turned for a test, but the one that an examination is given can.
#[tokio::test]
async fn the_clock_is_wrong() {
    let Some((bucket, port)) = tokio::task::spawn_blocking(stored).await.unwrap() else { return };
    for (by, mark, words) in [
        (time::Duration::seconds(-120), Verdict::Warning, "behind the store's: set the clock"),
        (time::Duration::hours(-1), Verdict::Warning, "more than S3 accepts"),
        (time::Duration::hours(1), Verdict::Warning, "ahead of the store's, more than S3 accepts"),
    ] {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(OffsetDateTime::now_utc() + by));
        let plan = doctor::Plan {
            scratch: "scratch".parse().unwrap(),
            root: "scratch".parse().unwrap(),
            writing: true,
            redirecting: true,
            purge_age: Duration::from_hours(24 * 7),
        };
        let mut lines = Vec::new();
        let mut listener = |finding: &Finding| lines.push(finding.to_string());
        let report = doctor::examine(&settings(port, &bucket.name), &clock, &plan, &mut listener).await.unwrap();
        let found = report.findings.iter().find(|finding| finding.step == "clock").unwrap();
        assert!(found.verdict == mark && found.sentence.contains(words), "{found}");
        assert!(report.is_sound(), "{}", lines.join("\n"));
    }
    tokio::task::spawn_blocking(move || assert_clean(&bucket)).await.unwrap();
}

fn settings(port: u16, bucket: &str) -> settings::Settings {
    let tls = Arc::new(trusting(&[]));
    settings::Settings {
        endpoint: format!("http://127.0.0.1:{port}").parse().unwrap(),
        region: REGION.to_owned(),
        bucket: bucket.to_owned(),
        addressing: settings::Addressing::Path,
        root: String::new(),
        credentials: settings::Credentials::Static {
            key_id: ACCESS_KEY.to_owned(),
            secret: Secret::new(SECRET_KEY.to_owned()),
            session_token: None,
        },
        writing: settings::Writing::default(),
        transfer: settings::Transfer { part_size: 5 << 20 },
        copying: settings::Copying { threshold: 32 << 20, part_size: 32 << 20, concurrency: 4 },
        presigning: settings::Presigning {
            lifetime: Duration::from_mins(10),
            window: Duration::from_mins(5),
            endpoint: None,
        },
        tls: Arc::clone(&tls),
        credentials_tls: tls,
        user_agent: "pierhead-test".to_owned(),
        patience: settings::Patience::default(),
    }
}
