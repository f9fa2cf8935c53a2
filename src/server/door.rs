//! Whom a listener lets in, and what that client may still take.
//!
//! A connection is judged as soon as it is known whose it is: whoever may not come in, or has too many open, is closed
//! without a word, before a handshake is worth anything to them. Behind a proxy that is believed each request is judged by
//! the client that it names. The proxy's own connections and requests (its health checks) are bound by nothing but the
//! list of those who must not come in: all its clients would pay for it together. Those whom a balancer cannot name are one
//! client, at the balancer's address: who hides behind it gets no more than one who does not.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use tracing::debug;

use crate::{
    admission::{Admission, Client, TooMany, tally::Kind},
    api,
    server::{
        bounds::Limits,
        framing::Refusal,
        proxies::{End, Proxies},
        seats::Seat,
    },
};

/// Whether the access lists hold on a listener.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Door {
    /// They do.
    Guarded,
    /// There is nothing behind it but a redirect, and answers to a certificate authority that comes from anywhere.
    Open,
}

impl Door {
    /// Whether a connection may be served. One counts as a request, because a handshake costs as much.
    pub(super) fn admits(self, visit: &Visit, seat: &Seat, limits: &Limits) -> bool {
        let why = if !self.lets_in(visit) {
            "edge.access does not let it in"
        } else if !visit.sits(seat, limits.connections_per_address) {
            "its address has too many"
        } else if visit.take().is_err() {
            "its address asks too often"
        } else {
            return true;
        };
        debug!(peer = ?visit.address, "a connection was closed: {why}");
        false
    }

    /// Takes a request of this client; the answer to one that comes too soon, or from where nobody may come.
    pub(super) fn turns_away(self, visit: &Visit) -> Option<api::Reply> {
        if !self.lets_in(visit) {
            return Some(Refusal::DENIED.turned_away(None));
        }
        visit.take().err().map(|early| Refusal::TOO_MANY.turned_away(Some(early)))
    }

    fn lets_in(self, visit: &Visit) -> bool {
        let admission = &visit.admission;
        let lets_in = match (self, visit.standing) {
            (Self::Open, _) => true,
            (Self::Guarded, Standing::Proxy) => !admission.bars(visit.address),
            (Self::Guarded, Standing::Client) => admission.admits(visit.address),
        };
        if !lets_in {
            admission.tally().add(Kind::Access);
        }
        lets_in
    }
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Standing {
    Client,
    /// Whoever speaks for others.
    Proxy,
}

/// The name of all whom a balancer on a socket of the file system cannot name: an address that nobody comes from (RFC 6666).
const NOBODY: IpAddr = IpAddr::V6(Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0));

/// Whose connection or request it is.
#[derive(Clone, Debug)]
pub(super) struct Visit {
    address: Option<IpAddr>,
    standing: Standing,
    admission: Arc<Admission>,
    /// The address whose limits hold.
    bound: Option<IpAddr>,
    /// Whoever is bound by the rates of that address.
    client: Option<Client>,
}

impl Visit {
    /// Of the client that a request, or else a connection, with this end comes from.
    pub(super) fn new(end: End, client: &api::Connection, proxies: &Proxies, admission: &Arc<Admission>) -> Self {
        let address = client.peer.map(|peer| peer.ip());
        let standing = if end != End::Unknown && proxies.trusts(address) { Standing::Proxy } else { Standing::Client };
        let nobody = (end == End::Unknown).then_some(NOBODY);
        let bound = address.or(nobody).filter(|_| standing == Standing::Client);
        let client = bound.map(|address| admission.address(address));
        Self { address, standing, admission: Arc::clone(admission), bound, client }
    }

    fn take(&self) -> Result<(), TooMany> {
        self.client.as_ref().map_or(Ok(()), Client::request)
    }

    fn sits(&self, seat: &Seat, most: usize) -> bool {
        match self.bound {
            Some(address) if seat.assign(address) > most => {
                self.admission.tally().add(Kind::ConnectionsPerAddress);
                false
            }
            _ => true,
        }
    }

    /// Waits as long as these bytes of a request's body took too little time to come.
    pub(super) async fn received(&self, bytes: usize) {
        pause(self.client.as_ref().map(|client| client.received(bytes))).await;
    }

    /// Waits until these bytes of an answer may go.
    pub(super) async fn sends(&self, bytes: usize) {
        pause(self.client.as_ref().map(|client| client.sent(bytes))).await;
    }
}

async fn pause(time: Option<Duration>) {
    if let Some(time) = time.filter(|time| !time.is_zero()) {
        tokio::time::sleep(time).await;
    }
}
