//! `keys`: the pair is what GitLab makes and OpenSSL understands, and a server with its bundle takes tokens of its key.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;
use time::OffsetDateTime;

use super::*;

fn generate(bed: &Bed, name: &str, more: &[&str]) -> Output {
    let directory = bed.text(name);
    let arguments = ["keys", "generate", &directory];
    pierhead(&[&arguments, more].concat())
}

fn verify(certificate: &str, key: &str) -> (Option<i32>, String) {
    let output = pierhead(&["keys", "verify", certificate, key]);
    (output.status.code(), stdout(&output) + &stderr(&output))
}

#[test]
fn a_pair_is_made_once_and_as_gitlab_makes_it() {
    if !tools::present(&["openssl"]) {
        return;
    }
    let bed = Bed::new();
    let output = generate(&bed, "pair", &[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let (certificate, key) = (bed.text("pair/gitlab-registry.crt"), bed.text("pair/gitlab-registry.key"));
    assert_eq!((mode(Path::new(&key)), mode(Path::new(&certificate))), (0o600, 0o644));
    let told = stdout(&output);
    assert!(told.contains("RSA of 4096 bits, kid ") && told.contains("rootcertbundle"), "{told}");

    // The recipe of administrators: the same modulus in both.
    let modulus = |kind: &str, path: &str| run(&mut command("openssl", [kind, "-noout", "-modulus", "-in", path]));
    assert_eq!(modulus("x509", &certificate), modulus("rsa", &key));
    let text = run(&mut command("openssl", ["x509", "-noout", "-text", "-subject", "-in", &certificate]));
    assert!(
        text.contains("Public-Key: (4096 bit)") && text.contains("CN = Registry") | text.contains("CN=Registry"),
        "{text}"
    );
    let in_nine_years = (9 * 365 * 86_400).to_string();
    run(&mut command("openssl", ["x509", "-noout", "-checkend", &in_nine_years, "-in", &certificate]));
    run(&mut command("openssl", ["verify", "-CAfile", &certificate, &certificate]));
    // The id of the key, by OpenSSL and the shell.
    let kid = "openssl x509 -in \"$0\" -pubkey -noout | openssl pkey -pubin -outform DER | openssl dgst -sha256 -binary \
               | head -c30 | base32 -w0 | fold -w4 | paste -sd:";
    let kid = run(Command::new("sh").args(["-c", kid, &certificate]));
    assert!(told.contains(&kid), "{kid}\n{told}");

    let before = fs::read(&key).unwrap();
    let again = generate(&bed, "pair", &["--bits", "2048"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(stderr(&again).contains("is there already; --force"), "{}", stderr(&again));
    assert_eq!(fs::read(&key).unwrap(), before);
    let forced = generate(&bed, "pair", &["--bits", "2048", "--force", "--days", "1", "--name", "Other"]);
    assert_eq!(forced.status.code(), Some(0), "{}", stderr(&forced));
    assert_ne!(fs::read(&key).unwrap(), before);
    assert_eq!((mode(Path::new(&key)), fs::read_dir(bed.path("pair")).unwrap().count()), (0o600, 2));
    let subject = run(&mut command("openssl", ["x509", "-noout", "-subject", "-in", &certificate]));
    assert!(subject.contains("Other"), "{subject}");
    for wrong in [&["--bits", "1024"][..], &["--days", "4294967295"]] {
        let refused = generate(&bed, "none", wrong);
        assert_eq!(refused.status.code(), Some(1), "{wrong:?}");
        assert!(!bed.path("none").exists() && stderr(&refused).starts_with("error: "), "{}", stderr(&refused));
    }
}

#[test]
fn a_key_matches_its_certificate_and_no_other() {
    if !tools::present(&["openssl"]) {
        return;
    }
    let bed = Bed::new();
    for name in ["one", "two"] {
        assert_eq!(generate(&bed, name, &["--bits", "2048"]).status.code(), Some(0));
    }
    let certificate = |name: &str| bed.text(&format!("{name}/gitlab-registry.crt"));
    let key = |name: &str| bed.text(&format!("{name}/gitlab-registry.key"));
    let (code, told) = verify(&certificate("one"), &key("one"));
    assert_eq!(code, Some(0), "{told}");
    assert!(told.ends_with("they match (1)\n") && told.contains("certificate \"CN=Registry\" until "), "{told}");
    let fingerprint =
        run(&mut command("openssl", ["x509", "-noout", "-fingerprint", "-sha256", "-in", &certificate("one")]));
    let fingerprint = fingerprint.rsplit('=').next().unwrap().replace(':', "").to_lowercase();
    assert!(told.contains(&fingerprint), "{fingerprint}\n{told}");
    let (code, told) = verify(&certificate("one"), &key("two"));
    assert_eq!(code, Some(1));
    assert!(told.ends_with("they do not match\n"), "{told}");
    let both = [certificate("one"), certificate("two")].map(|path| fs::read_to_string(path).unwrap()).concat();
    fs::write(bed.path("bundle"), both).unwrap();
    assert!(verify(&bed.text("bundle"), &key("two")).1.ends_with("they match (2)\n"));

    // As OpenSSL writes it of old, and as gitlab.rb holds it: in one line.
    run(&mut command("openssl", ["rsa", "-traditional", "-in", &key("one"), "-out", &bed.text("pkcs1")]));
    assert!(fs::read_to_string(bed.path("pkcs1")).unwrap().contains("BEGIN RSA PRIVATE KEY"));
    let line = fs::read_to_string(bed.path("pkcs1")).unwrap().replace('\n', "\\n");
    fs::write(bed.path("line"), format!("\"{line}\"\n")).unwrap();
    for path in ["pkcs1", "line"] {
        assert_eq!(verify(&certificate("one"), &bed.text(path)).0, Some(0), "{path}");
    }
    run(&mut command(
        "openssl",
        ["rsa", "-aes128", "-passout", "pass:x", "-in", &key("one"), "-out", &bed.text("locked")],
    ));
    let (code, told) = verify(&certificate("one"), &bed.text("locked"));
    assert_eq!(code, Some(1));
    assert!(told.starts_with("error: ") && told.contains("one with a password cannot"), "{told}");
    let (code, told) = verify(&key("one"), &key("one"));
    assert!(code == Some(1) && told.contains("neither a certificate nor a public key"), "{told}");
    assert!(verify("/nonexistent", &key("one")).1.starts_with("error: cannot read /nonexistent: "));
}

/// The whole way: the key signs, and the server that has the certificate believes it.
#[test]
fn a_server_with_the_bundle_takes_tokens_of_the_key() {
    if !tools::present(&["curl"]) {
        return;
    }
    let bed = Bed::new();
    for name in ["pair", "other"] {
        assert_eq!(generate(&bed, name, &["--bits", "2048"]).status.code(), Some(0));
    }
    let address = free_address();
    let config = format!(
        "version: 0.1\nstorage: inmemory\nhttp: {{addr: '{address}'}}\nauth:\n  token:\n    realm: https://a.test/token\n    \
         service: registry\n    issuer: issuer\n    rootcertbundle: {}\n",
        bed.text("pair/gitlab-registry.crt")
    );
    let config = bed.fill("config.yml", &config, &[]);
    let _server = bed.serve(&config, address);
    let status = |key: &str, kid: Option<String>| {
        let key = EncodingKey::from_rsa_pem(&fs::read(bed.path(key)).unwrap()).unwrap();
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let claims = json!({
            "iss": "issuer", "aud": "registry", "sub": "somebody", "jti": "1", "nbf": now - 5, "iat": now, "exp": now + 300,
            "access": [],
        });
        let token = jsonwebtoken::encode(&Header { kid, ..Header::new(Algorithm::RS256) }, &claims, &key).unwrap();
        let answer =
            bed.curl(&["--header", &format!("Authorization: Bearer {token}"), &format!("http://{address}/v2/")]);
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    let told = verify(&bed.text("pair/gitlab-registry.crt"), &bed.text("pair/gitlab-registry.key")).1;
    let ids = told.lines().next().unwrap().split_once("kid ").unwrap().1.to_owned();
    for kid in ids.split(" or ") {
        assert_eq!(status("pair/gitlab-registry.key", Some(kid.to_owned())), "200", "{kid}");
        assert_eq!(status("other/gitlab-registry.key", Some(kid.to_owned())), "401", "{kid}");
    }
}
