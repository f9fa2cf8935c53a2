# Every setting of GitLab's package that is about its registry, the NGINX before it and its certificate. Paths below
# @HERE@, ports such as @PUBLIC@ and the bucket's keys are put in by the test.

external_url 'https://localhost:@GITLAB@'
registry_external_url "https://localhost:@PUBLIC@"

registry['enable'] = true
registry['username'] = "registry"
registry['group'] = "registry"
registry['uid'] = nil
registry['gid'] = 998
registry['shell'] = '/usr/sbin/nologin'
registry['dir'] = "@HERE@/registry"
registry['registry_http_addr'] = "127.0.0.1:@INTERNAL@"
registry['debug_addr'] = "127.0.0.1:@DEBUG@"
registry['http_secret'] = "canary-http-secret"
registry['http_draintimeout'] = '1s'
registry['log_level'] = "debug"
registry['log_formatter'] = :json
registry['log_directory'] = "/var/log/gitlab/registry"
registry['env_directory'] = "/opt/gitlab/etc/registry/env"
registry['env'] = {
  'SSL_CERT_DIR' => "/opt/gitlab/embedded/ssl/certs/",
  'GODEBUG' => 'x509ignoreCN=0',
}
registry['token_realm'] = "https://gitlab.example.com/"
registry['rootcertbundle'] = "/var/opt/gitlab/registry/gitlab-registry.crt"
registry['internal_certificate'] = "-----BEGIN CERTIFICATE-----\ncanary-certificate\n-----END CERTIFICATE-----\n"
registry['internal_key'] = <<~KEY
  -----BEGIN RSA PRIVATE KEY-----
  canary-internal-key
  -----END RSA PRIVATE KEY-----
KEY
registry['autoredirect'] = false
registry['storage'] = {
  'filesystem' => { 'rootdirectory' => '@HERE@/data', 'maxthreads' => 100 },
  'cache' => { 'blobdescriptor' => 'redis' },
  redirect: { disable: true },
  'maintenance' => {
    'uploadpurging' => { 'enabled' => true, 'age' => '168h' }
  },
}
registry['storage_delete_enabled'] = true
registry['middleware'] = {
  'storage' => [
    { 'name' => 'redirect', 'options' => { 'baseurl' => 'https://mirror.example.com/' } }
  ]
}
registry['health_storagedriver_enabled'] = true
registry['validation_enabled'] = true
registry['compatibility_schema1_enabled'] = true
registry['notifications'] = [
  {
    'name' => 'events',
    'url' => 'https://gitlab.example.com/api/v4/container_registry_event/events',
    'timeout' => '500ms',
    'threshold' => 5,
    'backoff' => '1s',
    'headers' => { "Authorization" => ["canary-header"] }
  }
]
registry['default_notifications_timeout'] = "500ms"
registry['default_notifications_threshold'] = 5
registry['default_notifications_maxretries'] = 5
registry['default_notifications_backoff'] = "1s"
registry['default_notifications_headers'] = { 'X-Token' => 'canary-default-header' }
registry['database'] = { 'enabled' => false, 'host' => 'localhost', 'password' => 'canary-database' }
registry['auto_migrate'] = true
registry['gc'] = { 'disabled' => false }
registry['reporting'] = { 'sentry' => { 'enabled' => true, 'dsn' => 'https://canary-dsn@sentry.example.com/1' } }
registry['redis'] = { 'cache' => { 'enabled' => true, 'password' => 'canary-redis' }, 'loadbalancing' => { 'enabled' => false } }

registry['nginx']['enable'] = true
registry['nginx']['listen_addresses'] = ["127.0.0.1"]
registry['nginx']['listen_port'] = @PUBLIC@
registry['nginx']['listen_https'] = true
registry['nginx']['redirect_http_to_https'] = true
registry['nginx']['redirect_http_to_https_port'] = @REDIRECT@
registry['nginx']['ssl_certificate'] = '@HERE@/server.crt'
registry['nginx']['ssl_certificate_key'] = '@HERE@/server.key'
registry['nginx']['ssl_client_certificate'] = '@HERE@/trusted/ca.crt'
registry['nginx']['ssl_verify_client'] = 'optional'
registry['nginx']['ssl_verify_depth'] = "1"
registry['nginx']['ssl_protocols'] = "TLSv1.2 TLSv1.3"
registry['nginx']['ssl_ciphers'] = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES128-GCM-SHA256"
registry['nginx']['ssl_prefer_server_ciphers'] = "off"
registry['nginx']['ssl_ecdh_curve'] = 'X25519:secp384r1'
registry['nginx']['ssl_dhparam'] = '/etc/gitlab/ssl/dhparam.pem'
registry['nginx']['ssl_conf_command'] = %w(Options PrioritizeChaCha)
registry['nginx']['ssl_session_cache'] = "shared:SSL:10m"
registry['nginx']['ssl_session_timeout'] = "1d"
registry['nginx']['ssl_session_tickets'] = "off"
registry['nginx']['http2_enabled'] = false
registry['nginx']['hsts_max_age'] = 31_536_000
registry['nginx']['hsts_include_subdomains'] = true
registry['nginx']['real_ip_header'] = 'X-Forwarded-For'
registry['nginx']['real_ip_recursive'] = 'on'
registry['nginx']['real_ip_trusted_addresses'] = ['192.0.2.0/24', '198.51.100.7']
registry['nginx']['proxy_protocol'] = false
registry['nginx']['error_log_level'] = "error"

registry_nginx['listen_port'] = 5050
registry_nginx['proxy_set_headers'] = {
  "Host" => "$http_host",
  "X-Forwarded-Proto" => "https",
  "X-Secret" => "canary-proxy-header"
}
registry_nginx['client_max_body_size'] = '250m'
registry_nginx['proxy_read_timeout'] = 3600
registry_nginx['proxy_connect_timeout'] = 300
registry_nginx['proxy_custom_buffer_size'] = '4k'
registry_nginx['referrer_policy'] = 'strict-origin-when-cross-origin'
registry_nginx['request_buffering_off_path_regex'] = "/api"
registry_nginx['custom_error_pages'] = { '404' => { 'title' => 'x' } }
registry_nginx['gzip_enabled'] = true
registry_nginx['default_server_enabled'] = false

gitlab_rails['registry_enabled'] = true
gitlab_rails['registry_host'] = "registry.gitlab.example.com"
gitlab_rails['registry_port'] = "5050"
gitlab_rails['registry_api_url'] = "http://127.0.0.1:@INTERNAL@"
gitlab_rails['registry_path'] = "/var/opt/gitlab/gitlab-rails/shared/registry"
gitlab_rails['registry_key_path'] = "/var/opt/gitlab/gitlab-rails/etc/gitlab-registry.key"
gitlab_rails['registry_issuer'] = "gitlab-" "issuer"
gitlab_rails['registry_notification_secret'] = 'canary-notification'
gitlab_rails['gitlab_default_projects_features_container_registry'] = true
gitlab_rails['internal_key'] = 'canary-rails-key'

letsencrypt['enable'] = false
letsencrypt['contact_emails'] = ['admin@example.com']
letsencrypt['auto_renew'] = true
letsencrypt['auto_renew_hour'] = 0
letsencrypt['auto_renew_minute'] = nil
letsencrypt['auto_renew_day_of_month'] = "*/4"
letsencrypt['auto_renew_log_directory'] = '/var/log/gitlab/lets-encrypt'
letsencrypt['key_type'] = 'ecdsa'
letsencrypt['key_size'] = 4096
letsencrypt['ec_curve'] = 'secp384r1'
letsencrypt['alt_names'] = ['other.example.com']
letsencrypt['owner'] = 'root'
letsencrypt['group'] = 'root'
letsencrypt['crt'] = "/etc/gitlab/ssl/localhost.crt"
letsencrypt['chain'] = "/etc/gitlab/ssl/chain.crt"
letsencrypt['wwwroot'] = '/var/opt/gitlab/nginx/www'
letsencrypt['authorization_method'] = 'http'
letsencrypt['acme_staging_endpoint'] = 'https://acme-staging-v02.api.letsencrypt.org/directory'
letsencrypt['acme_production_endpoint'] = 'https://acme-v02.api.letsencrypt.org/directory'

nginx['worker_processes'] = 4
nginx['custom_nginx_config'] = "include /etc/nginx/conf.d/example.conf;"
nginx['status'] = { 'enable' => true }
gitlab_rails['smtp_password'] = 'canary-smtp'
postgresql['shared_buffers'] = "256MB"
