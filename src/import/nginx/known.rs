//! Directives that do nothing here, those whose effect would be missed, and why.

const PROCESS: &str = "it is about NGINX as a process";
const STREAMING: &str = "requests and answers always stream, without being put aside";
const CACHE: &str = "no answer is cached on the way";
const UPSTREAM: &str = "how requests are passed on is not for the proxy's configuration to say here";
const COMPRESSION: &str = "layers are compressed already, and manifests must keep their bytes";
const OPENSSL: &str = "there is no OpenSSL here to be given commands";
const OCSP: &str = "answers of OCSP are not stapled; authorities no longer give any";
const STATIC: &str = "no files are served";
const ERRORS: &str = "errors have the form that registries' clients expect";
const TCP: &str = "connections are set up as streams of large bodies need it";
const LOG: &str = "lines go to standard output and standard error, in Apache's combined format";

/// Directives, and why they do nothing wherever they stand.
const IDLE: &[(&[&str], &str)] = &[
    (
        &[
            "user",
            "pid",
            "events",
            "worker_processes",
            "worker_connections",
            "worker_rlimit_nofile",
            "daemon",
            "load_module",
            "thread_pool",
            "lock_file",
            "env",
            "types_hash_max_size",
            "types_hash_bucket_size",
            "server_names_hash_bucket_size",
            "server_names_hash_max_size",
            "variables_hash_max_size",
            "map_hash_bucket_size",
            "use",
            "multi_accept",
        ],
        PROCESS,
    ),
    (
        &[
            "sendfile",
            "tcp_nopush",
            "tcp_nodelay",
            "aio",
            "directio",
            "output_buffers",
            "reset_timedout_connection",
            "lingering_close",
            "postpone_output",
        ],
        TCP,
    ),
    (
        &[
            "proxy_buffering",
            "proxy_request_buffering",
            "proxy_buffers",
            "proxy_buffer_size",
            "proxy_busy_buffers_size",
            "proxy_max_temp_file_size",
            "proxy_temp_path",
            "proxy_temp_file_write_size",
            "client_body_buffer_size",
            "client_body_temp_path",
            "client_body_in_file_only",
            "client_body_in_single_buffer",
            "chunked_transfer_encoding",
        ],
        STREAMING,
    ),
    (&["client_header_buffer_size", "large_client_header_buffers"], "heads of requests have a limit of their own"),
    (
        &[
            "proxy_cache",
            "proxy_cache_valid",
            "proxy_cache_path",
            "proxy_cache_key",
            "proxy_no_cache",
            "proxy_cache_bypass",
            "proxy_cache_use_stale",
            "proxy_cache_lock",
            "proxy_cache_revalidate",
            "expires",
            "etag",
            "if_modified_since",
        ],
        CACHE,
    ),
    (
        &[
            "proxy_http_version",
            "proxy_redirect",
            "proxy_pass_header",
            "proxy_hide_header",
            "proxy_ignore_headers",
            "proxy_set_body",
            "proxy_next_upstream",
            "proxy_next_upstream_tries",
            "proxy_next_upstream_timeout",
            "proxy_socket_keepalive",
            "proxy_intercept_errors",
            "proxy_ignore_client_abort",
            "proxy_bind",
            "proxy_ssl_server_name",
            "proxy_ssl_name",
            "proxy_ssl_protocols",
            "proxy_ssl_ciphers",
            "proxy_ssl_session_reuse",
            "proxy_pass_request_headers",
            "proxy_pass_request_body",
            "keepalive",
            "keepalive_requests",
            "keepalive_time",
            "least_conn",
            "ip_hash",
            "zone",
            "hash",
            "random",
        ],
        UPSTREAM,
    ),
    (
        &[
            "gzip",
            "gzip_types",
            "gzip_vary",
            "gzip_proxied",
            "gzip_comp_level",
            "gzip_min_length",
            "gzip_buffers",
            "gzip_http_version",
            "gzip_disable",
            "gzip_static",
            "gunzip",
            "brotli",
            "brotli_types",
        ],
        COMPRESSION,
    ),
    (&["ssl_conf_command", "ssl_engine"], OPENSSL),
    (&["ssl_dhparam"], "cipher suites with DHE are not offered, only ECDHE"),
    (&["ssl_prefer_server_ciphers"], "all suites that are offered are good, so the client's order counts"),
    (&["ssl_session_cache", "ssl_session_ticket_key"], "sessions are kept in memory"),
    (&["ssl_buffer_size", "ssl_early_data", "ssl_reject_handshake"], "TLS has no such setting here"),
    (
        &[
            "ssl_stapling",
            "ssl_stapling_verify",
            "ssl_stapling_file",
            "ssl_trusted_certificate",
            "resolver",
            "resolver_timeout",
        ],
        OCSP,
    ),
    (
        &[
            "root",
            "index",
            "autoindex",
            "try_files",
            "alias",
            "charset",
            "default_type",
            "types",
            "log_not_found",
            "open_file_cache",
            "merge_slashes",
            "absolute_redirect",
            "port_in_redirect",
            "server_name_in_redirect",
        ],
        STATIC,
    ),
    (&["error_page", "recursive_error_pages"], ERRORS),
    (&["log_format", "error_log", "open_log_file_cache"], LOG),
    (&["server_tokens"], "no answer names the program or its version"),
    (
        &["ignore_invalid_headers", "underscores_in_headers"],
        "heads that two readers could understand differently are refused",
    ),
    (&["http3", "quic_retry", "quic_gso", "ssl_quic"], "HTTP/3 is not in this version"),
    (&["status_zone", "stub_status", "vhost_traffic_status_zone"], "http.debug has figures"),
];

/// Why a directive has no effect; `None` for one that is not known.
pub(super) fn idle(name: &str) -> Option<&'static str> {
    IDLE.iter().find(|(names, _)| names.contains(&name)).map(|(_, reason)| *reason)
}

/// What a variable comes to.
pub(super) const VARIABLE: &str = "variables have no value here";

const REWRITING: &str = "requests are not rewritten, and nobody else is asked about them";
const LIMITS: &str = "limits are set in edge.limits, in other terms";
const ACCESS: &str = "who may connect is not in NGINX's words here; say it in edge, or to the machine's firewall";

/// Directives that do something which the result does not.
const REFUSED: &[(&[&str], &str)] = &[
    (&["allow", "deny"], ACCESS),
    (&["limit_req", "limit_req_zone", "limit_conn", "limit_conn_zone", "limit_rate", "limit_rate_after"], LIMITS),
    (&["include"], "files that are included are not read; import what is in it together"),
    (&["return", "rewrite", "set", "auth_request", "auth_jwt", "satisfy", "internal"], REWRITING),
];

/// Why a directive is missed; `None` for one that is not known.
pub(super) fn refused(name: &str) -> Option<&'static str> {
    REFUSED.iter().find(|(names, _)| names.contains(&name)).map(|(_, reason)| *reason)
}
