//! Where requests come in, and what is said of it.

use std::{path::PathBuf, sync::Arc};

use anyhow::{Context as _, Result};

use crate::{
    admission::Admission,
    api::Scheme,
    app::{edge, identity::Identity, presented::Presented},
    config::{
        self, Config,
        address::Address as HostPort,
        edge::{
            listen::{Encryption, Listener, Place, ProxyProtocol as Configured},
            proxies::Proxies as Named,
        },
        environment::{Passed, PassedBy},
    },
    server::{
        self, Bound, Endpoint, Handshakes, Server, Serves,
        address::Address,
        debug::Debug,
        inherited::Inherited,
        passthrough::Passthrough,
        proxies::{Depth, Proxies, UnixPeers},
        proxy_protocol::ProxyProtocol,
        redirect::Redirect,
    },
};

/// Binds every address or none.
pub(super) fn bind(
    config: &Config,
    presented: &Presented,
    admission: Arc<Admission>,
    inherited: &mut Inherited,
) -> Result<Server> {
    Server::bind_with(settings(config, presented, admission)?, inherited).map_err(Into::into)
}

/// Sockets that came with this process. To be called before anything else opens descriptors.
pub(super) fn inherited(passed: &Passed) -> Result<Inherited> {
    Ok(match (passed.by, passed.names.as_slice()) {
        (PassedBy::Manager, names) => Inherited::of_process(names)?,
        // The first is the one to answer by.
        (PassedBy::Predecessor, names) => Inherited::of_predecessor(names.get(1..).unwrap_or_default())?,
    })
}

/// Closes what came with this process and is not listened on.
pub(super) fn close_unused(by: PassedBy, inherited: &mut Inherited) {
    for name in inherited.close() {
        match by {
            PassedBy::Manager => tracing::warn!(
                "the socket {name:?} that systemd passed is not listened on: no address is systemd:{name}"
            ),
            PassedBy::Predecessor => tracing::info!("{name} is not listened on any more"),
        }
    }
}

fn settings(config: &Config, presented: &Presented, admission: Arc<Admission>) -> Result<server::Settings> {
    let Presented { identity, challenges, passing, .. } = presented;
    let (challenges, passthrough) = (challenges.clone(), passing.as_ref().map(|passing| &passing.rim));
    let endpoint = |listener| endpoint(listener, identity.as_ref(), passthrough);
    let mut listeners = config.http.listeners.iter().map(endpoint).collect::<Result<Vec<_>>>()?;
    if let Some(redirect) = &config.http.redirect {
        listeners.push(Endpoint {
            address: address(&redirect.place)?,
            tls: None,
            proxy_protocol: proxy_protocol(redirect.proxy_protocol),
            serves: Serves::Redirect(Redirect::new(&redirect.authority)),
            passthrough: passthrough.cloned(),
        });
    }
    if let Some(place) = config.http.acme.as_ref().and_then(|acme| acme.http_address.as_ref()) {
        listeners
            .push(Endpoint { serves: Serves::Challenges, ..Endpoint::new(Address::tcp(&place.to_string())?, None) });
    }
    let (limits, deadlines) = edge::bounds(&config.edge.limits, edge::share(config));
    // Said anew when it is told to stop.
    let drain = None;
    let proxies = proxies(&config.edge.proxies);
    Ok(server::Settings { listeners, limits, deadlines, admission, proxies, drain, challenges })
}

fn endpoint(
    listener: &Listener,
    identity: Option<&Arc<Identity>>,
    passthrough: Option<&Arc<Passthrough>>,
) -> Result<Endpoint> {
    let tls = match listener.encryption {
        Encryption::Plain => None,
        Encryption::Tls => {
            Some(Arc::clone(identity.context("TLS is configured without a certificate")?) as Arc<dyn Handshakes>)
        }
    };
    let proxy_protocol = proxy_protocol(listener.proxy_protocol);
    let passthrough = passthrough.filter(|_| listener.passthrough).cloned();
    Ok(Endpoint { address: address(&listener.place)?, tls, proxy_protocol, serves: Serves::Registry, passthrough })
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

pub(super) fn proxies(named: &Named) -> Proxies {
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
    match bound.serves {
        Serves::Registry => {}
        Serves::Redirect(_) => text.push_str(", redirected to https"),
        Serves::Challenges => text.push_str(", challenges alone"),
    }
    text
}

/// What an operator who started us by hand wants to know.
pub(super) fn banner(server: &Server, authority: Option<&PathBuf>) -> Vec<String> {
    let registry: Vec<_> = server.bound().into_iter().filter(|bound| bound.serves == Serves::Registry).collect();
    let mut lines: Vec<String> = registry
        .iter()
        .map(|Bound { address, scheme, .. }| match address {
            Address::Tcp(_) => format!("pierhead listens on {}://{address}", scheme.name()),
            Address::Unix { .. } | Address::Inherited { .. } => format!("pierhead listens on {address}"),
        })
        .collect();
    let secure = registry.iter().find(|bound| bound.scheme == Scheme::Https).map(|bound| &bound.address);
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

/// The name under which the socket for operators is handed on.
pub(super) fn operators(debug: &config::http::Debug) -> String {
    format!("http.debug.addr {}", debug.address)
}

/// Binds the listener for operators, if there is one.
pub(super) async fn bind_debug(config: &Config, inherited: &mut Inherited) -> Result<Option<Debug>> {
    let Some(debug) = &config.http.debug else { return Ok(None) };
    let handed = inherited.take_tcp(&operators(debug));
    let host = if debug.address.host.is_empty() { "0.0.0.0" } else { &debug.address.host };
    let address = HostPort { host: host.to_owned(), port: debug.address.port }.to_string();
    let bound = match handed {
        Some(listener) => Debug::on(listener),
        None => Debug::bind(&address).await,
    };
    let bound = bound.with_context(|| format!("cannot listen on http.debug.addr {}", debug.address))?;
    if let Some(warning) = bound.warning() {
        tracing::warn!("{warning}");
    }
    Ok(Some(bound))
}
