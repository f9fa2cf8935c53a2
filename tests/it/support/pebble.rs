//! Pebble, the certificate authority that its makers test clients with, and the name server that it asks.
//!
//! It knows its accounts and orders for as long as it runs. All names lead to 127.0.0.1, and it proves them at the ports
//! that the test tells it.

use std::{
    fs,
    net::{SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::json;

use crate::support::{
    certificate::{Certificate, write_private},
    command::{command, run},
    process::{Process, free_address},
    tools,
};

/// What a test that uses it asks [`tools::present`] for.
pub(crate) const PROGRAMS: &[&str] = &["pebble", "pebble-challtestsrv", "curl"];

/// The one that it offers.
pub(crate) const PROFILE: &str = "classic";

/// Of the account that it can be told to ask for.
pub(crate) const EAB_KID: &str = "kid-of-the-tests";
pub(crate) const EAB_KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";

/// What differs from test to test.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Where names are proven.
    pub http: SocketAddr,
    pub tls: SocketAddr,
    /// Of requests, in percent, that are refused for their nonce.
    pub nonces_refused: u32,
    /// Of certificates, in seconds.
    pub validity: u32,
    pub binding: bool,
}

impl Plan {
    pub(crate) fn new(http: SocketAddr, tls: SocketAddr) -> Self {
        Self { http, tls, nonces_refused: 0, validity: 90 * 86400, binding: false }
    }
}

/// A running authority.
#[derive(Debug)]
pub(crate) struct Pebble {
    /// Who its own certificate was signed by.
    pub certificate: Certificate,
    pub address: SocketAddr,
    /// Where the name server is told what to say.
    pub names: SocketAddr,
    management: SocketAddr,
    dns: SocketAddr,
    plan: Plan,
    directory: PathBuf,
    process: Option<Process>,
    _name_server: Process,
}

impl Pebble {
    /// `directory` is made; its files go there.
    pub(crate) fn start(directory: &Path, plan: Plan) -> Self {
        fs::create_dir_all(directory).unwrap();
        let certificate = Certificate::create(directory);
        let (names, dns) = (free_address(), free_datagram_address());
        let mut server = Command::new(tools::path("pebble-challtestsrv"));
        let ports = [("-dnsserver", dns), ("-management", names)].map(|(name, at)| [name.to_owned(), at.to_string()]);
        server.args(ports.concat()).args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""]);
        server.args(["-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", ""]);
        let mut name_server = Process::start(&mut server, &directory.join("names.log"));
        name_server.wait_for_port(names);
        let mut pebble = Self {
            certificate,
            address: free_address(),
            names,
            management: free_address(),
            dns,
            plan,
            directory: directory.to_path_buf(),
            process: None,
            _name_server: name_server,
        };
        let config = json!({"pebble": {
            "listenAddress": pebble.address.to_string(),
            "managementListenAddress": pebble.management.to_string(),
            "certificate": pebble.certificate.chain,
            "privateKey": pebble.certificate.key,
            "httpPort": pebble.plan.http.port(),
            "tlsPort": pebble.plan.tls.port(),
            "externalAccountBindingRequired": pebble.plan.binding,
            "externalAccountMACKeys": {EAB_KID: EAB_KEY},
            "keyAlgorithm": "ecdsa",
            "retryAfter": {"authz": 1, "order": 1},
            // Of several it takes any one for an order that names none.
            "profiles": {PROFILE: {"description": "of these tests", "validityPeriod": pebble.plan.validity}},
        }});
        write_private(&directory.join("pebble.json"), &config.to_string());
        pebble.resume();
        pebble
    }

    /// `https://localhost:PORT/dir`.
    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}/dir", self.address.port())
    }

    /// Starts it on the same port; it has forgotten everything.
    pub(crate) fn resume(&mut self) {
        let mut pebble = Command::new(tools::path("pebble"));
        pebble.arg("-config").arg(self.directory.join("pebble.json")).args(["-dnsserver", &self.dns.to_string()]);
        pebble.env("PEBBLE_VA_NOSLEEP", "1").env("PEBBLE_AUTHZREUSE", "0");
        pebble.env("PEBBLE_WFE_NONCEREJECT", self.plan.nonces_refused.to_string());
        let mut process = Process::start(&mut pebble, &self.directory.join("pebble.log"));
        process.wait_for_port(self.address);
        process.wait_for_port(self.management);
        self.process = Some(process);
    }

    /// Ends it.
    pub(crate) fn stop(&mut self) {
        self.process.take().unwrap().kill();
    }

    /// The root of what it issues, in PEM.
    pub(crate) fn root(&self) -> String {
        let mut curl = command("curl", ["--silent", "--fail", "--cacert"]);
        curl.arg(&self.certificate.authority).arg(format!("https://localhost:{}/roots/0", self.management.port()));
        run(&mut curl)
    }

    /// How many lines of its log contain this.
    pub(crate) fn logged(&self, text: &str) -> usize {
        let log = fs::read_to_string(self.directory.join("pebble.log")).unwrap_or_default();
        log.lines().filter(|line| line.contains(text)).count()
    }

    pub(crate) fn orders(&self) -> usize {
        self.logged("Added order")
    }

    pub(crate) fn issued(&self) -> usize {
        self.logged("Issued certificate serial")
    }

    pub(crate) fn accounts(&self) -> usize {
        self.logged("accounts in memory")
    }
}

/// The same for datagrams, which the name server takes beside connections.
fn free_datagram_address() -> SocketAddr {
    UdpSocket::bind(free_address()).unwrap().local_addr().unwrap()
}
