//! Where requests come in, and what is said of it.

use std::{path::PathBuf, sync::Arc};

use anyhow::{Context as _, Result};

use crate::{
    api::Scheme,
    app::edge::Edge,
    config::{
        Config,
        address::Address as HostPort,
        edge::{
            listen::{Encryption, Listener, Place, ProxyProtocol as Configured},
            proxies::Proxies as Named,
        },
    },
    server::{
        self, Bound, Endpoint, Server, Serves,
        address::Address,
        debug::Debug,
        inherited::Inherited,
        proxies::{Depth, Proxies, UnixPeers},
        proxy_protocol::ProxyProtocol,
        redirect::Redirect,
    },
};

/// Binds every address or none.
pub(super) fn bind(
    config: &Config,
    edge: &Edge,
    tls: Option<&Arc<rustls::ServerConfig>>,
    inherited: &mut Inherited,
) -> Result<Server> {
    let server = Server::bind_with(settings(config, edge, tls)?, inherited)?;
    for name in inherited.names() {
        tracing::warn!("the socket {name:?} that systemd passed is not listened on: no address is systemd:{name}");
    }
    Ok(server)
}

fn settings(config: &Config, edge: &Edge, tls: Option<&Arc<rustls::ServerConfig>>) -> Result<server::Settings> {
    let mut listeners =
        config.http.listeners.iter().map(|listener| endpoint(listener, tls)).collect::<Result<Vec<_>>>()?;
    if let Some(redirect) = &config.http.redirect {
        listeners.push(Endpoint {
            address: address(&redirect.place)?,
            tls: None,
            proxy_protocol: proxy_protocol(redirect.proxy_protocol),
            serves: Serves::Redirect(Redirect::new(&redirect.authority)),
        });
    }
    let drain = (!config.http.drain_timeout.is_zero()).then_some(config.http.drain_timeout);
    let proxies = proxies(&config.edge.proxies);
    let Edge { bounds, admission } = edge.clone();
    Ok(server::Settings { listeners, bounds, admission, proxies, drain, challenges: None })
}

fn endpoint(listener: &Listener, tls: Option<&Arc<rustls::ServerConfig>>) -> Result<Endpoint> {
    let tls = match listener.encryption {
        Encryption::Plain => None,
        Encryption::Tls => Some(Arc::clone(tls.context("TLS is configured without a certificate")?)),
    };
    let proxy_protocol = proxy_protocol(listener.proxy_protocol);
    Ok(Endpoint { address: address(&listener.place)?, tls, proxy_protocol, serves: Serves::Registry })
}

fn address(place: &Place) -> Result<Address> {
    Ok(match place {
        Place::Tcp(address) => Address::tcp(&address.to_string())?,
        Place::Unix { path, mode } => Address::Unix { path: path.clone(), mode: *mode },
        Place::Systemd { name } => Address::Inherited { name: name.clone() },
    })
}

const fn proxy_protocol(configured: Configured) -> ProxyProtocol {
    match configured {
        Configured::Off => ProxyProtocol::Off,
        Configured::Required => ProxyProtocol::Required,
    }
}

fn proxies(named: &Named) -> Proxies {
    Proxies {
        networks: named.networks.clone(),
        unix: if named.unix { UnixPeers::Trusted } else { UnixPeers::Unknown },
        header: named.header.clone(),
        depth: if named.recursive { Depth::Chain } else { Depth::Last },
    }
}

/// Every port that is bound, for whoever compares it with the firewall.
pub(super) fn report(server: &Server, debug: Option<&Debug>) {
    for bound in server.bound() {
        tracing::info!("listening on {}: {}", bound.address, description(&bound));
    }
    if let Some(address) = debug.and_then(|debug| debug.address().ok()) {
        tracing::info!("listening on {address}: http, for operators");
    }
}

fn description(bound: &Bound) -> String {
    let mut text = bound.scheme.name().to_owned();
    if bound.proxy_protocol == ProxyProtocol::Required {
        text.push_str(" behind the PROXY protocol");
    }
    if bound.serves != Serves::Registry {
        text.push_str(", redirected to https");
    }
    text
}

/// What an operator who started us by hand wants to know.
pub(super) fn banner(server: &Server, authority: Option<&PathBuf>) -> Vec<String> {
    let served: Vec<_> = server.bound().into_iter().filter(|bound| bound.serves == Serves::Registry).collect();
    let mut lines: Vec<String> = served
        .iter()
        .map(|Bound { address, scheme, .. }| match address {
            Address::Tcp(_) => format!("pierhead listens on {}://{address}", scheme.name()),
            Address::Unix { .. } | Address::Inherited { .. } => format!("pierhead listens on {address}"),
        })
        .collect();
    let secure = served.iter().find(|bound| bound.scheme == Scheme::Https).map(|bound| &bound.address);
    let (Some(authority), Some(address)) = (authority, secure) else {
        return lines;
    };
    let directory = authority.parent().unwrap_or(authority).display();
    lines.extend([
        format!("its development CA is {}", authority.display()),
        "try:".to_owned(),
        format!(
            "  skopeo copy --dest-cert-dir {directory} docker-archive:image.tar docker://{address}/library/image:1"
        ),
        format!(
            "  sudo install -D {} /etc/docker/certs.d/{address}/ca.crt && docker tag image {address}/library/image:1 \
             && docker push {address}/library/image:1",
            authority.display()
        ),
        format!("  curl --cacert {} https://{address}/v2/_catalog", authority.display()),
    ]);
    lines
}

/// Binds the listener for operators, if there is one.
pub(super) async fn bind_debug(config: &Config) -> Result<Option<Debug>> {
    let Some(debug) = &config.http.debug else { return Ok(None) };
    let host = if debug.address.host.is_empty() { "0.0.0.0" } else { &debug.address.host };
    let bound = Debug::bind(&HostPort { host: host.to_owned(), port: debug.address.port }.to_string())
        .await
        .with_context(|| format!("cannot listen on http.debug.addr {}", debug.address))?;
    if let Some(warning) = bound.warning() {
        tracing::warn!("{warning}");
    }
    Ok(Some(bound))
}
