//! `import gitlab.rb` on a file with every setting.

use super::*;

const FIXTURE: &str = include_str!("gitlab.rb");

/// Settings of the fixture that come into the result, in whole; all others must be named.
const TAKEN: &[&str] = &[
    "external_url",
    "registry_external_url",
    "registry['enable']",
    "registry['uid']",
    "registry['dir']",
    "registry['registry_http_addr']",
    "registry['debug_addr']",
    "registry['http_secret']",
    "registry['http_draintimeout']",
    "registry['log_level']",
    "registry['log_formatter']",
    "registry['token_realm']",
    "registry['autoredirect']",
    "registry['storage']",
    "registry['storage_delete_enabled']",
    "registry['middleware']",
    "registry['health_storagedriver_enabled']",
    "registry['validation_enabled']",
    "registry['database']",
    "registry['nginx']['enable']",
    "registry['nginx']['listen_addresses']",
    "registry['nginx']['listen_port']",
    "registry['nginx']['listen_https']",
    "registry['nginx']['redirect_http_to_https']",
    "registry['nginx']['redirect_http_to_https_port']",
    "registry['nginx']['ssl_certificate']",
    "registry['nginx']['ssl_certificate_key']",
    "registry['nginx']['ssl_client_certificate']",
    "registry['nginx']['ssl_verify_client']",
    "registry['nginx']['ssl_verify_depth']",
    "registry['nginx']['ssl_protocols']",
    "registry['nginx']['ssl_ecdh_curve']",
    "registry['nginx']['ssl_session_timeout']",
    "registry['nginx']['ssl_session_tickets']",
    "registry['nginx']['http2_enabled']",
    "registry['nginx']['hsts_max_age']",
    "registry['nginx']['hsts_include_subdomains']",
    "registry['nginx']['real_ip_header']",
    "registry['nginx']['real_ip_recursive']",
    "registry['nginx']['real_ip_trusted_addresses']",
    "registry['nginx']['proxy_protocol']",
    "gitlab_rails['registry_issuer']",
    "letsencrypt['enable']",
    "letsencrypt['auto_renew_minute']",
];

/// The settings that a file makes, and where.
fn settings(text: &str) -> Vec<(usize, String)> {
    let setting = regex::Regex::new(r"^((?:registry|registry_nginx|gitlab_rails|letsencrypt|nginx|postgresql)(?:\['\w+'\])+) = |^(\w*external_url) ").unwrap();
    let lines = text.lines().enumerate();
    lines
        .filter_map(|(at, line)| {
            let found = setting.captures(line)?;
            Some((at + 1, found.get(1).or_else(|| found.get(2)).unwrap().as_str().to_owned()))
        })
        .collect()
}

#[test]
fn every_setting_is_in_the_result_or_named_and_the_result_serves() {
    if !tools::present(&["curl"]) {
        return;
    }
    let bed = Bed::new();
    let addresses: Vec<_> = (0..5).map(|_| free_address()).collect();
    let port = |at: usize| addresses[at].port().to_string();
    let places = ["PUBLIC", "INTERNAL", "DEBUG", "REDIRECT", "GITLAB"];
    let places: Vec<_> = places.iter().enumerate().map(|(at, place)| (*place, port(at))).collect();
    let source = bed.fill("gitlab.rb", FIXTURE, &places);
    let result = bed.text("config.yml");

    let output = pierhead(&["import", "gitlab.rb", &source, "--output", &result]);
    let named = stderr(&output);
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(0), ""), "{named}");
    for (line, setting) in settings(FIXTURE) {
        // Of other parts of GitLab, the section is named.
        let other = setting.starts_with("postgresql") || setting.starts_with("gitlab_rails['smtp");
        let subject = if other { setting.split('[').next().unwrap() } else { setting.as_str() };
        let place = format!("{source}:{line}:1: {subject}");
        let told = named.lines().any(|told| told.strip_prefix(&place).is_some_and(|rest| rest.starts_with([' ', ':'])));
        assert!(told || TAKEN.contains(&setting.as_str()), "not named: {setting}\n{named}");
        assert!(!told || !TAKEN.contains(&setting.as_str()), "named, but taken: {setting}\n{named}");
    }
    assert!(named.contains("registry['nginx']['ssl_ciphers']: not offered: DHE-RSA-AES128-GCM-SHA256"), "{named}");
    assert!(named.contains("registry['database']['password'] has no effect"), "{named}");
    assert!(!named.contains("canary"), "{named}");
    assert_eq!(mode(&bed.path("config.yml")), 0o600);
    let text = fs::read_to_string(&result).unwrap();
    assert!(text.contains("# gitlab.rb:16 registry['http_secret']\n  secret: canary-http-secret\n"), "{text}");
    assert_eq!(text.matches("canary").count(), 1, "{text}");

    // What the package has written beside its configuration.
    fs::create_dir(bed.path("registry")).unwrap();
    run(Command::new(env!("CARGO_BIN_EXE_pierhead"))
        .args(["keys", "generate", "--bits", "2048"])
        .arg(bed.path("registry")));
    let _server = bed.serve(&result, addresses[0]);
    let public = bed.curl(&["--http1.1", &format!("https://localhost:{}/v2/", port(0))]);
    let challenge = r#"bearer realm="https://gitlab.example.com/jwt/auth",service="container_registry""#;
    let head = public.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 401") && head.contains(challenge), "{public}");
    assert!(head.contains("strict-transport-security: max-age=31536000; includesubdomains"), "{public}");
    assert!(head.contains("x-content-type-options: nosniff"), "{public}");
    let internal = bed.curl(&[&format!("http://127.0.0.1:{}/v2/", port(1))]);
    assert!(internal.starts_with("HTTP/1.1 401") && internal.contains("gitlab.example.com/jwt/auth"), "{internal}");
    let health = bed.curl(&[&format!("http://127.0.0.1:{}/debug/health", port(2))]);
    assert!(health.starts_with("HTTP/1.1 200"), "{health}");
    let redirect = bed.curl(&[&format!("http://127.0.0.1:{}/v2/x?y=1", port(3))]).to_ascii_lowercase();
    assert!(redirect.starts_with("http/1.1 301"), "{redirect}");
    assert!(redirect.contains(&format!("location: https://localhost:{}/v2/x?y=1", port(0))), "{redirect}");
}

#[test]
fn a_file_that_is_there_is_kept() {
    let bed = Bed::new();
    let source = bed.fill("gitlab.rb", "external_url 'https://a.test'\nregistry_external_url 'https://r.test'\n", &[]);
    let output = pierhead(&["import", "gitlab.rb", &source]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains("external_url: https://r.test"));
    fs::write(bed.path("config.yml"), "mine").unwrap();
    let output = pierhead(&["import", "gitlab.rb", &source, "-o", &bed.text("config.yml")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).starts_with("error: cannot write "), "{}", stderr(&output));
    assert_eq!(fs::read_to_string(bed.path("config.yml")).unwrap(), "mine");
}

/// What is not understood is left out, and the code says so; the rest is there.
#[test]
fn what_cannot_be_evaluated_is_a_code() {
    let bed = Bed::new();
    let text =
        "external_url 'https://a.test'\nregistry_external_url 'https://r.test'\nregistry['http_secret'] = ENV['X']\n";
    let source = bed.fill("gitlab.rb", text, &[]);
    let output = pierhead(&["import", "gitlab.rb", &source]);
    assert_eq!(output.status.code(), Some(1));
    let expected = format!(
        "{source}:3:1: registry['http_secret'] is left out: an expression with `ENV` cannot be evaluated here; write its \
         value into the result"
    );
    assert!(stderr(&output).lines().any(|line| line == expected), "{}", stderr(&output));
    assert!(stdout(&output).contains("external_url: https://r.test") && !stdout(&output).contains("secret:"));
}

/// A result that `serve` would refuse is told at once.
#[test]
fn a_result_that_cannot_start_is_a_code() {
    let bed = Bed::new();
    let urls = "external_url 'https://a.test'\nregistry_external_url 'https://r.test'\n";
    for (line, expected) in [
        ("registry['database'] = { 'enabled' => true }", "database.enabled asks for the metadata database"),
        ("registry['storage'] = { 'azure' => { 'accountname' => 'a' } }", "storage in azure is not in this version"),
        ("registry['registry_http_addr'] = '127.0.0.1:443'", "listens on"),
    ] {
        let source = bed.fill("gitlab.rb", &format!("{urls}{line}\n"), &[]);
        let output = pierhead(&["import", "gitlab.rb", &source]);
        assert_eq!(output.status.code(), Some(1), "{line}");
        let told = stderr(&output);
        assert!(told.contains(expected) && told.contains("it would not start: the result:"), "{line}: {told}");
    }
}
