use crate::import::{Error, Fate, Imported, nginx_conf};

/// As GitLab's package writes it for its registry.
const GITLAB: &str = r#"
server {
  listen *:80;
  server_name registry.example.com;
  server_tokens off;
  location / {
    return 301 https://registry.example.com$request_uri;
  }
  location ^~ /.well-known/acme-challenge/ { root /var/opt/gitlab/nginx/www/; }
}
server {
  listen *:443 ssl;
  server_name registry.example.com;
  server_tokens off;
  client_max_body_size 0;
  chunked_transfer_encoding on;
  ssl_certificate /etc/gitlab/ssl/registry.example.com.crt;
  ssl_certificate_key /etc/gitlab/ssl/registry.example.com.key;
  ssl_ciphers 'ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES128-GCM-SHA256';
  ssl_protocols TLSv1.2 TLSv1.3;
  ssl_prefer_server_ciphers off;
  ssl_session_cache shared:SSL:10m;
  ssl_session_tickets off;
  ssl_session_timeout 1d;
  add_header Strict-Transport-Security "max-age=63072000; includeSubDomains";
  access_log /var/log/gitlab/nginx/gitlab_registry_access.log gitlab_access;
  error_log /var/log/gitlab/nginx/gitlab_registry_error.log error;
  location / {
    proxy_set_header Host $http_host;
    proxy_set_header X-Real-IP $remote_addr;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto https;
    proxy_set_header X-Forwarded-Ssl on;
    proxy_read_timeout 900;
    proxy_cache off;
    proxy_buffering off;
    proxy_request_buffering off;
    proxy_http_version 1.1;
    proxy_pass http://localhost:5000;
  }
  location ^~ /.well-known/acme-challenge/ { root /var/opt/gitlab/nginx/www/; }
}
"#;

/// As Distribution's documentation has it.
const DISTRIBUTION: &str = r#"
events { worker_connections 1024; }
http {
  upstream docker-registry { server registry:5000; }
  map $upstream_http_docker_distribution_api_version $docker_distribution_api_version { '' 'registry/2.0'; }
  server {
    listen 443 ssl;
    server_name registry.example.com;
    ssl_certificate /etc/nginx/conf.d/domain.crt;
    ssl_certificate_key /etc/nginx/conf.d/domain.key;
    ssl_protocols TLSv1.1 TLSv1.2;
    client_max_body_size 0;
    location /v2/ {
      if ($http_user_agent ~ "^(docker\/1\.(3|4|5(?!\.[0-9]-dev))|Go ).*$" ) { return 404; }
      auth_basic "Registry realm";
      auth_basic_user_file /etc/nginx/conf.d/nginx.htpasswd;
      add_header 'Docker-Distribution-Api-Version' $docker_distribution_api_version always;
      proxy_pass http://docker-registry;
      proxy_set_header Host $http_host;
      proxy_set_header X-Real-IP $remote_addr;
      proxy_read_timeout 900;
    }
  }
}
"#;

fn imported(text: &str) -> Imported {
    nginx_conf(text, "nginx.conf", None).unwrap()
}

fn value(imported: &Imported) -> serde_yaml::Value {
    serde_yaml::from_str(imported.yaml.expose()).unwrap_or_else(|error| panic!("{error}\n{}", imported.yaml.expose()))
}

/// The settings that have this fate, and where they stand.
fn named(imported: &Imported, fate: Fate) -> Vec<String> {
    imported.notes.iter().filter(|note| note.fate == fate).map(|note| note.setting.clone()).collect()
}

#[test]
fn gitlabs_template_is_read_wholly() {
    let imported = imported(GITLAB);
    let expected = serde_yaml::from_str::<serde_yaml::Value>(
        "version: 0.1\n\
         edge:\n  \
           upstream: {servers: ['http://localhost:5000'], read_timeout: 900s}\n  \
           listen: [{address: '0.0.0.0:443', tls: true}]\n  \
           external_url: https://registry.example.com\n  \
           redirect_http_to_https: {address: '0.0.0.0:80'}\n  \
           tls: {session_tickets: false, session_timeout: 86400s}\n  \
           hsts: {max_age: 63072000, include_subdomains: true}\n\
         http:\n  \
           tls:\n    \
             certificate: /etc/gitlab/ssl/registry.example.com.crt\n    \
             key: /etc/gitlab/ssl/registry.example.com.key\n    \
             ciphersuites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]\n    \
             minimumtls: tls1.2\n",
    );
    assert_eq!(value(&imported), expected.unwrap(), "{}", imported.yaml.expose());
    let idle = [
        "server_tokens",
        "chunked_transfer_encoding",
        "ssl_prefer_server_ciphers",
        "ssl_session_cache",
        "access_log",
        "error_log",
        "proxy_cache",
        "proxy_buffering",
        "proxy_request_buffering",
        "proxy_http_version",
        "location ^~ /.well-known/acme-challenge/",
    ];
    assert_eq!(named(&imported, Fate::NoEffect), idle);
    assert_eq!(named(&imported, Fate::Remark), ["ssl_ciphers"]);
    assert!(imported.is_whole());
    let places: Vec<_> = imported.notes.iter().filter_map(|note| note.place).map(|place| place.line).collect();
    assert!(places.is_sorted() && places[0] == 14, "{places:?}");
}

#[test]
fn distributions_recipe_is_read_wholly() {
    let imported = imported(DISTRIBUTION);
    let value = value(&imported);
    assert_eq!(value["edge"]["upstream"]["servers"][0], "http://registry:5000");
    assert_eq!(value["edge"]["upstream"]["verify_tokens"], true);
    assert_eq!(value["auth"]["htpasswd"]["realm"], "Registry realm");
    assert_eq!(value["auth"]["htpasswd"]["path"], "/etc/nginx/conf.d/nginx.htpasswd");
    assert_eq!(value["http"]["tls"]["minimumtls"], "tls1.2");
    let idle = named(&imported, Fate::NoEffect);
    assert!(idle.iter().any(|name| name.starts_with("if ($http_user_agent")), "{idle:?}");
    assert!(idle.contains(&"add_header".to_owned()) && idle.iter().any(|name| name.starts_with("map ")), "{idle:?}");
    assert_eq!(named(&imported, Fate::Remark), ["ssl_protocols", "auth_basic_user_file"]);
    assert!(imported.is_whole());
}

#[test]
fn all_that_a_server_can_say() {
    let imported = imported(
        "keepalive_timeout 30;\n\
         set_real_ip_from 10.0.0.0/8; set_real_ip_from 192.0.2.1; real_ip_header X-Forwarded-For; real_ip_recursive on;\n\
         upstream r { least_conn; server a:1; server b:2; server c:3 backup; keepalive 8; }\n\
         server { listen 127.0.0.1:8443 ssl proxy_protocol reuseport; listen [::]:8443 ssl; listen unix:/run/r.sock;\n\
         server_name ~^r _ r.test *.r.test; http2 off; access_log off; keepalive_timeout 60 50;\n\
         ssl_certificate a.crt; ssl_certificate_key a.key; ssl_certificate b.crt; ssl_certificate_key b.key;\n\
         ssl_client_certificate ca.crt; ssl_verify_client optional; ssl_verify_depth 2; ssl_ecdh_curve X25519:secp384r1;\n\
         ssl_dhparam dh.pem; add_header X-Frame-Options DENY always; add_header X-Id $request_id;\n\
         allow 10.0.0.0/8; deny all; include snippets/x.conf; frobnicate on; client_max_body_size 10g;\n\
         location / { proxy_pass http://r; proxy_connect_timeout 5; proxy_set_header X-Secret canary; }\n\
         location /metrics { deny all; } }\n",
    );
    let value = value(&imported);
    let edge = &value["edge"];
    let yaml = |text: &str| serde_yaml::from_str::<serde_yaml::Value>(text).unwrap();
    assert_eq!(
        edge["upstream"],
        yaml("{servers: ['http://a:1', 'http://b:2'], balance: least_connections, connect_timeout: 5s}")
    );
    let listeners = "[{address: '127.0.0.1:8443', tls: true, proxy_protocol: required}, \
                      {address: '[::]:8443', tls: true}, {address: 'unix:/run/r.sock', tls: false}]";
    assert_eq!(edge["listen"], yaml(listeners));
    assert_eq!(edge["external_url"], "https://r.test:8443");
    assert_eq!(edge["trusted_proxies"], yaml("[10.0.0.0/8, 192.0.2.1]"));
    assert_eq!(edge["real_ip"], yaml("{header: X-Forwarded-For, recursive: true}"));
    assert_eq!(edge["limits"]["idle_timeout"], "60s");
    assert_eq!(
        edge["tls"],
        yaml(
            "{certificates: [{certificate: b.crt, key: b.key}], client: {verify_depth: 2}, \
                                  curves: [X25519, secp384r1]}"
        )
    );
    assert_eq!(value["http"]["tls"]["clientauth"], "verify-client-cert-if-given");
    assert_eq!(value["http"]["headers"], yaml("{X-Frame-Options: [DENY]}"));
    assert_eq!(value["http"]["http2"]["disabled"], true);
    assert_eq!(value["log"]["accesslog"]["disabled"], true);
    assert_eq!(named(&imported, Fate::NotRead), ["add_header", "allow", "deny", "include"]);
    assert_eq!(named(&imported, Fate::Unknown), ["frobnicate"]);
    let idle = named(&imported, Fate::NoEffect);
    for name in ["ssl_dhparam", "client_max_body_size", "proxy_set_header", "location /metrics", "keepalive"] {
        assert!(idle.contains(&name.to_owned()), "{name}: {idle:?}");
    }
    assert!(!imported.is_whole());
    assert!(imported.notes.iter().all(|note| !note.to_string().contains("canary")));
}

#[test]
fn the_right_server_is_chosen() {
    let server = |name: &str| {
        format!("server {{ listen 80; server_name {name}; location / {{ proxy_pass http://{name}-up; }} }}\n")
    };
    let two = format!("{}{}server {{ server_name c; return 404; }}", server("a"), server("b"));
    let error = nginx_conf(&two, "x", None).unwrap_err();
    assert_eq!(error, Error::SeveralServers(vec!["a".to_owned(), "b".to_owned()]));
    let chosen = nginx_conf(&two, "x", Some("b")).unwrap();
    assert_eq!(value(&chosen)["edge"]["upstream"]["servers"][0], "http://b-up");
    assert_eq!(named(&chosen, Fate::NoEffect), ["server a", "server c"]);
    let error = nginx_conf(&two, "x", Some("z")).unwrap_err();
    assert_eq!(error.to_string(), "there is no server \"z\" in this file, only a, b");
    for none in ["", "server { server_name a; return 404; }", "events { }"] {
        assert_eq!(nginx_conf(none, "x", Some("a")).unwrap_err(), Error::NoServer, "{none}");
    }
    assert!(matches!(nginx_conf("server {", "x", None), Err(Error::Syntax(_))));
}
