//! Every setting that GitLab documents for the registry, the NGINX before it and its certificate, and what becomes of it.

/// What a known setting comes to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Known {
    /// It is read where the result is made.
    Read,
    /// It changes nothing here, because …
    Idle(&'static str),
}

use Known::{Idle, Read};

const GITLAB: &str = "GitLab itself reads it, and goes on doing so";
const PROCESS: &str = "the unit that starts Pierhead says as whom and where it runs";
const LATER: &str = "not in this version";
const DATABASE: &str = "there is no metadata database: tags lie in the storage";
const NOTIFY: &str = "notifications are not in this version";
const LOG: &str = "logs go to standard output and standard error; whoever collects those keeps and rotates them";
const PROXYING: &str = "no request is passed on by a proxy";
const TEMPLATE: &str = "GitLab's template for the registry did not use it either";
const DHE: &str = "cipher suites with DHE are not offered, only ECDHE";
const RENEWAL: &str = "certificates are renewed by themselves, when they need it";
const SITE: &str = "it is about GitLab's own site, or about NGINX as a process";
const FILES: &str = "certificates are kept in Pierhead's own directory";

/// `registry['…']`
pub(super) const REGISTRY: &[(&str, Known)] = &[
    ("enable", Read),
    ("username", Idle(PROCESS)),
    ("group", Idle(PROCESS)),
    ("uid", Idle(PROCESS)),
    ("gid", Idle(PROCESS)),
    ("shell", Idle(PROCESS)),
    ("dir", Read),
    ("registry_http_addr", Read),
    ("debug_addr", Read),
    ("http_secret", Read),
    ("http_draintimeout", Read),
    ("log_level", Read),
    ("log_formatter", Read),
    ("log_directory", Idle(LOG)),
    ("log_group", Idle(LOG)),
    ("svlogd_size", Idle(LOG)),
    ("svlogd_num", Idle(LOG)),
    ("svlogd_timeout", Idle(LOG)),
    ("svlogd_filter", Idle(LOG)),
    ("svlogd_udp", Idle(LOG)),
    ("svlogd_prefix", Idle(LOG)),
    ("env_directory", Idle(PROCESS)),
    ("env", Idle("give what is in it that begins with REGISTRY_, AWS_ or SSL_ to Pierhead's own environment")),
    ("token_realm", Read),
    ("rootcertbundle", Idle("GitLab overwrites it: tokens are checked with gitlab-registry.crt in registry['dir']")),
    ("internal_certificate", Idle("GitLab has written it to gitlab-registry.crt in registry['dir'], which is read")),
    ("internal_key", Idle("GitLab signs tokens with it; here only its certificate is needed")),
    ("autoredirect", Read),
    ("storage", Read),
    ("storage_delete_enabled", Read),
    ("middleware", Read),
    ("health_storagedriver_enabled", Read),
    ("validation_enabled", Read),
    ("compatibility_schema1_enabled", Idle("manifests of schema 1 are refused, as by every current registry")),
    ("notifications", Idle(NOTIFY)),
    ("default_notifications_timeout", Idle(NOTIFY)),
    ("default_notifications_threshold", Idle(NOTIFY)),
    ("default_notifications_maxretries", Idle(NOTIFY)),
    ("default_notifications_backoff", Idle(NOTIFY)),
    ("default_notifications_headers", Idle(NOTIFY)),
    ("database", Read),
    ("auto_migrate", Idle(DATABASE)),
    ("gc", Idle(DATABASE)),
    ("reporting", Idle(LATER)),
    ("redis", Idle("caches are in memory; replicas share their state through the storage")),
    ("consul_service_name", Idle(LATER)),
    ("consul_service_meta", Idle(LATER)),
    ("nginx", Read),
];

/// `registry['nginx']['…']`, and `registry_nginx['…']`, which is the older name.
pub(super) const NGINX: &[(&str, Known)] = &[
    ("enable", Read),
    ("listen_addresses", Read),
    ("listen_port", Read),
    ("listen_https", Read),
    ("redirect_http_to_https", Read),
    ("redirect_http_to_https_port", Read),
    ("ssl_certificate", Read),
    ("ssl_certificate_key", Read),
    ("ssl_password_file", Read),
    ("ssl_client_certificate", Read),
    ("ssl_verify_client", Read),
    ("ssl_verify_depth", Read),
    ("ssl_protocols", Read),
    ("ssl_ciphers", Read),
    ("ssl_prefer_server_ciphers", Idle("all suites that are offered are good, so the client's order counts")),
    ("ssl_ecdh_curve", Read),
    ("ssl_dhparam", Idle(DHE)),
    ("ssl_conf_command", Idle("there is no OpenSSL here to be given commands")),
    ("ssl_session_cache", Idle("sessions are kept in memory")),
    ("ssl_session_timeout", Read),
    ("ssl_session_tickets", Read),
    ("http2_enabled", Read),
    ("hsts_max_age", Read),
    ("hsts_include_subdomains", Read),
    ("real_ip_header", Read),
    ("real_ip_recursive", Read),
    ("real_ip_trusted_addresses", Read),
    ("proxy_protocol", Read),
    ("proxy_set_headers", Idle(PROXYING)),
    ("custom_gitlab_server_config", Read),
    ("error_log_level", Idle("registry['log_level'] is the level of all lines")),
    ("client_max_body_size", Idle(TEMPLATE)),
    ("proxy_read_timeout", Idle(TEMPLATE)),
    ("proxy_connect_timeout", Idle(TEMPLATE)),
    ("proxy_custom_buffer_size", Idle(TEMPLATE)),
    ("proxy_protocol_enabled", Idle(TEMPLATE)),
    ("referrer_policy", Idle(TEMPLATE)),
    ("request_buffering_off_path_regex", Idle(TEMPLATE)),
    ("custom_error_pages", Idle(TEMPLATE)),
    ("default_server_enabled", Idle(TEMPLATE)),
    ("gzip_enabled", Idle(TEMPLATE)),
    ("gzip_http_version", Idle(TEMPLATE)),
    ("gzip_comp_level", Idle(TEMPLATE)),
    ("gzip_proxied", Idle(TEMPLATE)),
    ("gzip_types", Idle(TEMPLATE)),
    ("keepalive_timeout", Idle(TEMPLATE)),
    ("keepalive_time", Idle(TEMPLATE)),
    ("log_directory", Idle(LOG)),
    ("dir", Idle(PROCESS)),
];

/// `letsencrypt['…']`
pub(super) const LETSENCRYPT: &[(&str, Known)] = &[
    ("enable", Read),
    ("contact_emails", Read),
    ("auto_enabled", Idle("GitLab writes it for itself")),
    ("auto_renew", Idle(RENEWAL)),
    ("auto_renew_hour", Idle(RENEWAL)),
    ("auto_renew_minute", Idle(RENEWAL)),
    ("auto_renew_day_of_month", Idle(RENEWAL)),
    ("auto_renew_log_directory", Idle(LOG)),
    ("key_type", Read),
    ("key_size", Read),
    ("ec_curve", Read),
    ("alt_names", Idle("a certificate for the registry's own name is enough here; edge.acme.names takes more")),
    ("owner", Idle(FILES)),
    ("group", Idle(FILES)),
    ("crt", Idle(FILES)),
    ("key", Idle(FILES)),
    ("chain", Idle(FILES)),
    ("wwwroot", Read),
    ("authorization_method", Idle("challenges of type HTTP-01 are answered, and others")),
    ("acme_staging_endpoint", Idle("certificates are asked for at once where they are needed, without a rehearsal")),
    ("acme_production_endpoint", Read),
];

/// `gitlab_rails['…']`; of the many others there only those that are about the registry.
pub(super) const RAILS: &[(&str, Known)] = &[
    ("registry_enabled", Idle(GITLAB)),
    ("registry_host", Idle("GitLab shows it; here registry_external_url is what clients see")),
    ("registry_port", Idle("GitLab shows it; here registry_external_url is what clients see")),
    ("registry_api_url", Idle("GitLab calls the registry there; it must lead to a listener of edge.listen")),
    ("registry_path", Read),
    ("registry_key_path", Idle("GitLab signs tokens with that key; here only its certificate is needed")),
    ("registry_issuer", Read),
    ("registry_notification_secret", Idle(NOTIFY)),
    ("internal_key", Idle("GitLab signs tokens with it; here only its certificate is needed")),
    ("gitlab_default_projects_features_container_registry", Idle(GITLAB)),
];

/// `nginx['…']`: never a default of the registry's.
pub(super) const SITE_NGINX: &[(&str, Known)] = &[("enable", Read), ("custom_nginx_config", Idle(SITE))];

/// Why everything else in `nginx` does nothing.
pub(super) const SITE_REASON: &str = SITE;

/// What a table says of a key.
pub(super) fn fate(table: &[(&str, Known)], key: &str) -> Option<Known> {
    table.iter().find(|(known, _)| *known == key).map(|(_, fate)| *fate)
}
