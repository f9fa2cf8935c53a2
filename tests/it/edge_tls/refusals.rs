//! What `pierhead check` says about files that are wrong, and about files in every form that is right.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output},
};

use rcgen::KeyPair;

use crate::{
    edge_tls::rig::{Authority, Files, NAME, configuration, server},
    support::{
        command::{command, run},
        tools,
    },
};

/// `check` of a configuration with these keys of `edge`.
fn check(directory: &Path, files: &Files, edge: &str) -> (Option<i32>, String) {
    let config = directory.join("config.yml");
    fs::write(&config, configuration(&format!("  tls: {}\n", files.yaml()), edge)).unwrap();
    let Output { status, stderr, .. } =
        Command::new(env!("CARGO_BIN_EXE_pierhead")).arg("check").arg(&config).env_clear().output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

fn url(host: &str) -> String {
    format!("  external_url: https://{host}\n")
}

/// Warned about, and refused when strict, with this text.
#[track_caller]
fn doubtful(directory: &Path, files: &Files, edge: &str, expected: &str) {
    let (code, said) = check(directory, files, edge);
    assert_eq!(code, Some(0), "{expected}: {said}");
    assert!(said.starts_with("warning: http.tls: ") && said.contains(expected), "{said}");
    let (code, said) = check(directory, files, &format!("{edge}  strict: true\n"));
    assert_eq!(code, Some(1), "{expected}: {said}");
    assert!(said.starts_with("error: http.tls: ") && said.contains(expected), "{said}");
}

/// Refused in any case.
#[track_caller]
fn wrong(directory: &Path, files: &Files, expected: &str) {
    let (code, said) = check(directory, files, "  strict: false\n");
    assert_eq!(code, Some(1), "{expected}: {said}");
    assert!(said.starts_with("error: http.tls: certificate ") && said.contains(expected), "{said}");
    assert!(said.contains(&files.certificate.display().to_string()), "no file is named: {said}");
}

#[test]
fn doubtful_pairs() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let authority = Authority::new("root");
    let now = time::OffsetDateTime::now_utc();
    let day = time::Duration::days(1);
    let good = authority.serve(directory, "good", &[NAME, "*.a.test", "10.0.0.1"], 1);
    for host in [NAME, "x.a.test", "10.0.0.1", "Registry.Test:5050"] {
        assert_eq!(
            check(directory, &good, &format!("{}  strict: true\n", url(host))),
            (Some(0), String::new()),
            "{host}"
        );
    }
    for host in ["a.test", "y.x.a.test", "10.0.0.2", "'https://[::1]'"] {
        let edge = if host.starts_with('\'') { format!("  external_url: {host}\n") } else { url(host) };
        doubtful(directory, &good, &edge, "no certificate is for ");
    }
    let made = |stem: &str, change: &dyn Fn(&mut rcgen::CertificateParams)| {
        let mut params = server(&[NAME], 1);
        change(&mut params);
        authority.serve_with(directory, stem, &params, &KeyPair::generate().unwrap())
    };
    let edge = url(NAME);
    doubtful(directory, &made("old", &|params| params.not_after = now - day), &edge, "the certificate expired at ");
    doubtful(directory, &made("new", &|params| params.not_before = now + day), &edge, "is not valid before ");
    let clients = made("clients", &|params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    });
    doubtful(directory, &clients, &edge, "without serverAuth");
    let nameless = made("nameless", &|params| params.subject_alt_names.clear());
    doubtful(directory, &nameless, "  uploads: {}\n", "no subject alternative name");

    let key = KeyPair::generate().unwrap();
    let inner = authority.below("inner");
    let leaf = inner.sign(&server(&[NAME], 1), &key).pem();
    let chain = |stem, parts: &[&str]| Files::write(directory, stem, &parts.concat(), &key.serialize_pem());
    let (inner, root) = (inner.certificate.pem(), authority.certificate.pem());
    let whole = chain("whole", &[&leaf, &inner, &root]);
    assert_eq!(check(directory, &whole, "  strict: true\n"), (Some(0), String::new()));
    doubtful(
        directory,
        &chain("disordered", &[&leaf, &root, &inner]),
        &edge,
        "the chain is out of order: certificate 2",
    );
    wrong(directory, &chain("reversed", &[&root, &inner, &leaf]), "the key belongs to certificate 3 of the file");

    for mode in [0o640, 0o604, 0o660] {
        fs::set_permissions(&good.key, fs::Permissions::from_mode(mode)).unwrap();
        doubtful(directory, &good, &edge, &format!("good.key can be read by others than its owner (mode {mode:04o})"));
    }
}

#[test]
fn wrong_pairs() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let authority = Authority::new("root");
    let good = authority.serve(directory, "good", &[NAME], 1);
    let other = authority.serve(directory, "other", &[NAME], 2);
    let file = |name: &str, content: &[u8]| {
        fs::write(directory.join(name), content).unwrap();
        directory.join(name)
    };
    let pair = |certificate: &Path, key: &Path| Files { certificate: certificate.to_owned(), key: key.to_owned() };
    wrong(directory, &pair(&good.certificate, &other.key), "the key does not belong to the certificate");
    wrong(directory, &pair(&good.key, &good.certificate), "the two are swapped");
    let empty = file("empty", b"");
    wrong(directory, &pair(&empty, &good.key), "the certificate file holds no certificate: it is empty");
    wrong(directory, &pair(&good.certificate, &empty), "it is empty");
    let text = fs::read_to_string(&good.certificate).unwrap();
    let der = x509_parser::pem::Pem::iter_from_buffer(text.as_bytes()).next().unwrap().unwrap().contents;
    wrong(directory, &pair(&file("der", &der), &good.key), "it is binary (DER or PKCS#12), and PEM is wanted");
    wrong(directory, &pair(&good.certificate, &file("der.key", &der)), "it is binary (DER or PKCS#12)");
    wrong(directory, &pair(&file("half", &text.as_bytes()[..200]), &good.key), "is not readable PEM");
    for (name, expected) in [
        ("rsa1024", "an RSA key of 1024 bits is too weak"),
        ("p224", "a key on the curve P-224"),
        ("sha1", "is signed with SHA-1"),
    ] {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/tls/testdata/{name}.pem"));
        wrong(directory, &pair(&fixture, &good.key), expected);
    }
    let gone = pair(&directory.join("gone"), &good.key);
    wrong(directory, &gone, "No such file");
}

#[test]
fn keys_in_every_form() {
    if !tools::present(&["openssl"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let authority = Authority::new("root");
    let rsa = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let rsa = authority.serve_with(directory, "rsa", &server(&[NAME], 1), &rsa);
    let curve = authority.serve(directory, "curve", &[NAME], 2);
    let passwords = directory.join("passwords");
    fs::write(&passwords, "wrong\nopen sesame\n").unwrap();
    fs::set_permissions(&passwords, fs::Permissions::from_mode(0o600)).unwrap();
    let strict = "  strict: true\n";
    let with_passwords = format!("{strict}  tls: {{password_file: {}}}\n", passwords.display());
    let convert = |files: &Files, arguments: &[&str]| {
        let key = directory.join("converted.key");
        let mut convert = command("openssl", &arguments[..1]);
        run(convert.arg("-in").arg(&files.key).arg("-out").arg(&key).args(&arguments[1..]));
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        let text = fs::read_to_string(&key).unwrap();
        (Files { certificate: files.certificate.clone(), key }, text)
    };
    let encrypt = ["pkcs8", "-topk8", "-v2", "aes-256-cbc", "-passout", "pass:open sesame"];
    for (files, arguments, label) in [
        (&rsa, &["rsa", "-traditional"][..], "BEGIN RSA PRIVATE KEY"),
        (&curve, &["ec"], "BEGIN EC PRIVATE KEY"),
        (&rsa, &["pkcs8", "-topk8", "-nocrypt"], "BEGIN PRIVATE KEY"),
        (&rsa, &encrypt, "BEGIN ENCRYPTED PRIVATE KEY"),
        (&curve, &encrypt, "BEGIN ENCRYPTED PRIVATE KEY"),
        (&curve, &["pkcs8", "-topk8", "-scrypt", "-passout", "pass:open sesame"], "BEGIN ENCRYPTED PRIVATE KEY"),
    ] {
        let (converted, text) = convert(files, arguments);
        assert!(text.contains(label), "{text}");
        let edge = if label.contains("ENCRYPTED") { &with_passwords } else { strict };
        assert_eq!(check(directory, &converted, edge), (Some(0), String::new()), "{arguments:?}");
    }
    let (sealed, _) = convert(&curve, &encrypt);
    wrong(directory, &sealed, "there is no edge.tls.password_file");
    fs::write(&passwords, "wrong\n").unwrap();
    let (code, said) = check(directory, &sealed, &with_passwords);
    assert!(code == Some(1) && said.contains("none of the passwords") && !said.contains("wrong\n"), "{said}");
    let (old, text) = convert(&rsa, &["rsa", "-traditional", "-aes128", "-passout", "pass:open sesame"]);
    assert!(text.contains("Proc-Type: 4,ENCRYPTED"), "{text}");
    wrong(directory, &old, "openssl pkcs8 -topk8");
}
