use crate::import::{Fate, Imported, gitlab_rb};

use super::known::{self, Known};

fn imported(text: &str) -> Imported {
    gitlab_rb(text, "gitlab.rb").unwrap()
}

fn value(imported: &Imported) -> serde_yaml::Value {
    serde_yaml::from_str(imported.yaml.expose()).unwrap_or_else(|error| panic!("{error}\n{}", imported.yaml.expose()))
}

fn yaml(text: &str) -> serde_yaml::Value {
    serde_yaml::from_str(text).unwrap()
}

fn named(imported: &Imported, fate: Fate) -> Vec<String> {
    imported.notes.iter().filter(|note| note.fate == fate).map(|note| note.setting.clone()).collect()
}

/// What GitLab's package generates from nothing but two names, and what its NGINX adds.
#[test]
fn two_names_are_a_whole_configuration() {
    let imported =
        imported("external_url 'https://gitlab.example.com'\nregistry_external_url 'https://registry.example.com'\n");
    let expected = "
        version: 0.1
        log: {level: info, formatter: text, fields: {service: registry, environment: production}}
        storage:
          filesystem: {rootdirectory: /var/opt/gitlab/gitlab-rails/shared/registry}
          cache: {blobdescriptor: inmemory}
          delete: {enabled: true}
        auth:
          token:
            realm: https://gitlab.example.com/jwt/auth
            service: container_registry
            issuer: omnibus-gitlab-issuer
            rootcertbundle: /var/opt/gitlab/registry/gitlab-registry.crt
        http:
          headers: {X-Content-Type-Options: [nosniff]}
        health: {storagedriver: {enabled: true, interval: 10s, threshold: 3}}
        validation: {disabled: true}
        edge:
          external_url: https://registry.example.com
          listen:
            - {address: '0.0.0.0:443', tls: true}
            - {address: '127.0.0.1:5000', tls: false}
          tls: {certificate_directory: /etc/gitlab/ssl}
          hsts: {max_age: 63072000}";
    assert_eq!(value(&imported), yaml(expected), "{}", imported.yaml.expose());
    assert!(imported.is_whole());
    assert_eq!(named(&imported, Fate::Remark), ["letsencrypt['enable']"]);
}

#[test]
fn the_same_name_with_another_port() {
    let imported = imported("external_url 'https://gitlab.example.com'\nletsencrypt['enable'] = true\n");
    let edge = &value(&imported)["edge"];
    assert_eq!(edge["external_url"], "https://gitlab.example.com:5050");
    assert_eq!(edge["listen"][0], yaml("{address: '0.0.0.0:5050', tls: true}"));
    assert_eq!(
        edge["acme"],
        yaml(
            "{enabled: true, names: [gitlab.example.com], state: /var/lib/pierhead/acme, challenge: http-01, \
                                  webroot: /var/opt/gitlab/nginx/www}"
        )
    );
    assert!(edge["tls"].is_null());
    assert!(imported.is_whole());
}

#[test]
fn behind_a_balancer() {
    let imported = imported(
        "external_url 'https://gitlab.example.com'\nregistry_external_url 'https://registry-gitlab.example.com'\n\
         registry_nginx['listen_port'] = 5678\nregistry_nginx['listen_https'] = false\n\
         registry_nginx['redirect_http_to_https'] = true\nregistry_nginx['proxy_protocol'] = true\n\
         registry_nginx['listen_addresses'] = ['*', '[::]', '::1']\n\
         registry_nginx['real_ip_trusted_addresses'] = ['10.0.0.0/8']\nregistry_nginx['real_ip_recursive'] = 'on'\n",
    );
    let edge = &value(&imported)["edge"];
    assert_eq!(edge["external_url"], "https://registry-gitlab.example.com");
    let listener = |address| format!("{{address: '{address}', tls: false, proxy_protocol: required}}");
    let addresses = ["0.0.0.0:5678", "[::]:5678", "[::1]:5678"].map(listener).join(", ");
    assert_eq!(edge["listen"], yaml(&format!("[{addresses}, {{address: '127.0.0.1:5000', tls: false}}]")));
    assert_eq!(edge["trusted_proxies"], yaml("[10.0.0.0/8]"));
    assert_eq!(edge["real_ip"], yaml("{header: X-Real-IP, recursive: true}"));
    assert!(edge["redirect_http_to_https"].is_null() && edge["hsts"].is_null());
    assert_eq!(named(&imported, Fate::NoEffect), ["registry_nginx['redirect_http_to_https']"]);
}

/// The newer of two names of a setting counts, and the other is named.
#[test]
fn newer_names_go_first() {
    let imported = imported(
        "external_url 'https://a.test'\nregistry_external_url 'https://r.test'\nregistry_nginx['listen_port'] = 1\n\
         registry['nginx']['listen_port'] = 2\nregistry_nginx['ssl_verify_depth'] = 3\nregistry['nginx']['ssl_ciphers'] = nil\n",
    );
    let value = value(&imported);
    assert_eq!(value["edge"]["listen"][0]["address"], "0.0.0.0:2");
    assert_eq!(value["edge"]["tls"]["client"]["verify_depth"], 3);
    assert_eq!(named(&imported, Fate::NoEffect), ["registry_nginx['listen_port']"]);
}

#[test]
fn without_nginx_only_gitlab_is_listened_for() {
    for line in ["nginx['enable'] = false", "registry_nginx['enable'] = false", "registry['nginx'] = { enable: false }"]
    {
        let imported = imported(&format!(
            "external_url 'https://a.test'\nregistry_external_url 'https://r.test'\n{line}\n\
             registry['registry_http_addr'] = '0.0.0.0:5010'\n"
        ));
        let value = value(&imported);
        assert_eq!(value["http"]["addr"], "0.0.0.0:5010");
        assert_eq!(value["edge"], yaml("{external_url: 'https://r.test'}"));
        assert!(imported.is_whole());
    }
}

#[test]
fn what_cannot_be_evaluated_is_left_out_and_named() {
    let imported = imported(
        "external_url \"https://#{host}\"\nregistry_external_url 'https://r.test/path'\n\
         registry['http_secret'] = 'canary'\nregistry['http_secret'] = ENV['SECRET']\n\
         registry['storage'] = { 's3' => { 'bucket' => 'b', 'secretkey' => File.read('/x'), 'list' => [1, x] } }\n\
         registry['log_level'] = 5 if debug\nregistry['debug_addr'] = { 'a' => 1 }\nregistry_nginx['listen_port'] = 'x'\n\
         registry['frobnicate'] = 'canary'\nrequire 'canary'\nregistry['database'] = { 'enabled' => maybe, 'host' => 'canary' }\n",
    );
    let left_out = [
        "external_url",
        "registry_external_url",
        "registry['http_secret']",
        "registry['storage']['s3']['secretkey']",
        "registry['storage']['s3']['list']['1']",
        "registry['log_level']",
        "registry['debug_addr']",
        "the Ruby code that begins with `require`",
        "registry['database']['enabled']",
        "auth.token.realm",
    ];
    let mut named_out = named(&imported, Fate::NotRead);
    for name in left_out {
        let at = named_out.iter().position(|named| named == name);
        named_out.remove(at.unwrap_or_else(|| panic!("{name}: {named_out:?}")));
    }
    assert_eq!(named_out, [""; 0]);
    assert_eq!(named(&imported, Fate::Unknown), ["registry['frobnicate']"]);
    let text = imported.yaml.expose();
    assert!(!text.contains("canary") && text.contains("bucket: b"), "{text}");
    assert_eq!(value(&imported)["storage"]["s3"], yaml("{bucket: b, list: [1]}"));
    assert!(imported.notes.iter().all(|note| !note.to_string().contains("canary")));
    assert!(!imported.is_whole());
}

/// The default storage is another one than that which cannot be read.
#[test]
fn unknown_storage_has_no_default() {
    let imported = imported("registry['storage'] = load_storage\n");
    assert!(value(&imported)["storage"]["filesystem"].is_null());
    assert!(named(&imported, Fate::NotRead).contains(&"registry['storage']".to_owned()));
}

#[test]
fn a_metadata_database_keeps_the_result_from_starting() {
    let database = |line: &str| value(&imported(line))["database"].clone();
    assert!(database("registry['enable'] = true").is_null());
    assert_eq!(database("registry['database'] = { 'enabled' => false }"), yaml("{enabled: false}"));
    assert_eq!(database("registry['database'] = { 'enabled' => true, 'host' => 'x' }"), yaml("{enabled: true}"));
    assert_eq!(database("registry['database'] = { 'enabled' => 'prefer' }"), yaml("{enabled: prefer}"));
}

#[test]
fn other_parts_of_gitlab_are_named_once() {
    let imported = imported(
        "postgresql['a'] = 1\npostgresql['b'] = 2\n\nsidekiq['c'] = 3\ngitlab_rails['smtp'] = 1\nnginx['d'] = 1\n",
    );
    let idle: Vec<_> =
        imported.notes.iter().filter(|note| note.fate == Fate::NoEffect).map(ToString::to_string).collect();
    assert_eq!(idle.len(), 4, "{idle:?}");
    assert_eq!(idle[0], "1:1: postgresql has no effect: it is not the registry's (lines 1, 2)");
    assert!(idle[1].starts_with("4:1: sidekiq ") && idle[2].starts_with("5:1: gitlab_rails "), "{idle:?}");
    assert!(idle[3].starts_with("6:1: nginx['d'] "), "{idle:?}");
}

/// What a table calls idle is named wherever it is set, and nothing of it comes into the result.
#[test]
fn every_idle_setting_is_named() {
    let base = "external_url 'https://a.test'\nregistry_external_url 'https://r.test'\n";
    let plain = imported(base).yaml;
    for (section, table) in [
        ("registry", known::REGISTRY),
        ("registry['nginx']", known::NGINX),
        ("registry_nginx", known::NGINX),
        ("letsencrypt", known::LETSENCRYPT),
        ("gitlab_rails", known::RAILS),
        ("nginx", known::SITE_NGINX),
    ] {
        for (key, _) in table.iter().filter(|(_, fate)| matches!(fate, Known::Idle(_))) {
            let imported = imported(&format!("{base}{section}['{key}'] = 'canary'\n"));
            assert!(named(&imported, Fate::NoEffect).contains(&format!("{section}['{key}']")), "{section} {key}");
            assert_eq!(imported.yaml.expose(), plain.expose(), "{section} {key}");
        }
    }
}
