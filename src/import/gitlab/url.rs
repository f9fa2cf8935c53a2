//! `external_url` and `registry_external_url`: scheme, host and port.

use http::{Uri, uri::Scheme};

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct ExternalUrl {
    pub(super) secure: Security,
    pub(super) host: String,
    /// As written, or the scheme's.
    pub(super) port: u16,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Security {
    Plain,
    Tls,
}

impl ExternalUrl {
    /// `http(s)://host[:port]` with no path but `/`.
    pub(super) fn read(text: &str) -> Option<Self> {
        let uri: Uri = text.trim().parse().ok()?;
        let secure = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => Security::Plain,
            Some(scheme) if *scheme == Scheme::HTTPS => Security::Tls,
            _ => return None,
        };
        let host = uri.host().filter(|host| !host.is_empty())?.to_ascii_lowercase();
        let named = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
        let bare = matches!(uri.path(), "" | "/") && uri.query().is_none();
        let port = uri.port_u16().unwrap_or_else(|| secure.port());
        (named && bare).then_some(Self { secure, host, port })
    }

    /// Without a path, and without a port that the scheme means anyway: clients of old break on it.
    pub(super) fn text(&self) -> String {
        let scheme = if self.secure == Security::Tls { "https" } else { "http" };
        let Self { host, port, .. } = self;
        if *port == self.secure.port() { format!("{scheme}://{host}") } else { format!("{scheme}://{host}:{port}") }
    }
}

impl Security {
    const fn port(self) -> u16 {
        match self {
            Self::Plain => 80,
            Self::Tls => 443,
        }
    }
}
