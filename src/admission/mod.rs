//! Who may come in, and how much they may take.
//!
//! [`access`] holds the networks that may, and those that may not; [`rate`] is the arithmetic of a limit in requests or in
//! bytes; `table` remembers how much each client has taken, in memory that clients cannot make grow; [`tally`] counts who
//! was turned away or slowed down. What is asked for too often is refused; bytes that come or go too fast are slowed down,
//! because a transfer that is cut begins anew and costs more.
//!
//! Clients are told apart by their address, of IPv6 by its /64, which is what one customer has; and, once they have
//! logged in, by the subject of their login. Whoever asks knows which address is a client's and which a proxy's.
//!
//! All of it can be exchanged while clients are served.

pub mod access;
pub mod rate;
mod table;
pub mod tally;

use std::{
    fmt,
    hash::{BuildHasher as _, RandomState},
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;

use crate::admission::{
    access::Access,
    rate::Rate,
    table::{Table, Taken},
    tally::{Kind, Tally},
};

/// What is allowed; by default everything.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Settings {
    pub access: Access,
    pub requests: Rates,
    /// Bytes of the bodies of requests.
    pub received: Rates,
    /// Bytes of the bodies of answers.
    pub sent: Rates,
}

/// The same for one client's address and for one login; `None` is as much as they like.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Rates {
    pub per_address: Option<Rate>,
    pub per_subject: Option<Rate>,
}

/// The settings in force, and what clients have taken.
pub struct Admission {
    settings: ArcSwap<Settings>,
    table: Table,
    tally: Tally,
    /// Nobody outside can choose clients that share an entry.
    hasher: RandomState,
    started: Instant,
}

/// A request that came too soon.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("too many requests")]
pub struct TooMany {
    /// When the next is let in.
    pub wait: Duration,
}

impl TooMany {
    /// `Retry-After` (RFC 9110 section 10.2.3): whole seconds, at least one.
    #[must_use]
    pub fn retry_after_secs(self) -> u64 {
        self.wait.as_nanos().div_ceil(1_000_000_000).try_into().unwrap_or(u64::MAX).max(1)
    }
}

/// One client, by one of its two names.
#[derive(Clone, Debug)]
pub struct Client {
    admission: Arc<Admission>,
    name: Name,
    key: u64,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Name {
    Address,
    Subject,
}

/// The part of an address that names a client.
#[must_use]
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        address @ IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
    }
}

impl Admission {
    /// Remembers about this many clients; of more, those that were not seen for the longest time are forgotten.
    #[must_use]
    pub fn new(settings: Settings, clients_max: usize) -> Self {
        Self {
            settings: ArcSwap::from_pointee(settings),
            table: Table::new(clients_max),
            tally: Tally::default(),
            hasher: RandomState::new(),
            started: Instant::now(),
        }
    }

    /// What clients have taken stays taken.
    pub fn replace(&self, settings: Settings) {
        self.settings.store(Arc::new(settings));
    }

    /// Whether the access lists let this client in; `None` is the other end of a unix socket.
    pub fn admits(&self, address: Option<IpAddr>) -> bool {
        self.settings.load().access.admits(address)
    }

    /// Whether the lists name this client as one that must not come in.
    pub fn bars(&self, address: Option<IpAddr>) -> bool {
        self.settings.load().access.bars(address)
    }

    pub const fn tally(&self) -> &Tally {
        &self.tally
    }

    #[must_use]
    pub fn address(self: &Arc<Self>, address: IpAddr) -> Client {
        self.client(Name::Address, network(address))
    }

    #[must_use]
    pub fn subject(self: &Arc<Self>, subject: &str) -> Client {
        self.client(Name::Subject, subject)
    }

    fn client(self: &Arc<Self>, name: Name, text: impl std::hash::Hash) -> Client {
        Client { admission: Arc::clone(self), name, key: self.hasher.hash_one((name, text)) }
    }

    /// Nanoseconds since the start: five centuries' worth.
    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Default for Admission {
    /// Everybody may take everything.
    fn default() -> Self {
        Self::new(Settings::default(), 0)
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission").field("settings", &self.settings.load()).finish_non_exhaustive()
    }
}

impl Client {
    /// Takes one request, or says when there will be one.
    ///
    /// # Errors
    /// The client has used up what it may.
    pub fn request(&self) -> Result<(), TooMany> {
        let Some(rate) = self.rate(|settings| settings.requests) else { return Ok(()) };
        let taken = self.update(|taken, now| rate.take(&mut taken.requests, now));
        taken.map_err(|wait| {
            self.count(Kind::RequestsPerAddress, Kind::RequestsPerSubject);
            TooMany { wait }
        })
    }

    /// Takes bytes that came; how long to wait before more are read.
    #[must_use]
    pub fn received(&self, bytes: usize) -> Duration {
        let Some(rate) = self.rate(|settings| settings.received) else { return Duration::ZERO };
        self.paused(self.update(|taken, now| rate.charge(&mut taken.received, now, bytes as u64)))
    }

    /// Takes bytes that are to go; how long to wait before they do.
    #[must_use]
    pub fn sent(&self, bytes: usize) -> Duration {
        let Some(rate) = self.rate(|settings| settings.sent) else { return Duration::ZERO };
        self.paused(self.update(|taken, now| rate.charge(&mut taken.sent, now, bytes as u64)))
    }

    fn rate(&self, of: impl Fn(&Settings) -> Rates) -> Option<Rate> {
        let rates = of(&self.admission.settings.load());
        match self.name {
            Name::Address => rates.per_address,
            Name::Subject => rates.per_subject,
        }
    }

    fn update<T>(&self, change: impl FnOnce(&mut Taken, u64) -> T) -> T {
        let now = self.admission.now();
        self.admission.table.update(self.key, |taken| change(taken, now))
    }

    fn paused(&self, pause: Duration) -> Duration {
        if !pause.is_zero() {
            self.count(Kind::BytesPerAddress, Kind::BytesPerSubject);
        }
        pause
    }

    fn count(&self, address: Kind, subject: Kind) {
        self.admission.tally.add(match self.name {
            Name::Address => address,
            Name::Subject => subject,
        });
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;

    fn few(burst: u64) -> Rates {
        let number = |number| NonZeroU64::new(number).unwrap();
        let rate = Rate::new(number(1), Duration::from_hours(1), number(burst));
        Rates { per_address: Some(rate), per_subject: Some(rate) }
    }

    fn refusals(admission: &Arc<Admission>, addresses: &[&str]) -> usize {
        let refused = |text: &&&str| admission.address(text.parse().unwrap()).request().is_err();
        addresses.iter().filter(refused).count()
    }

    #[test]
    fn a_client_is_an_address_or_a_customers_network() {
        let check = |addresses: &[&str], expected: usize| {
            let settings = Settings { requests: few(1), ..Settings::default() };
            let admission = Arc::new(Admission::new(settings, 1000));
            assert_eq!(refusals(&admission, addresses), expected, "{addresses:?}");
        };
        check(&["192.0.2.1", "192.0.2.2"], 0);
        check(&["192.0.2.1", "192.0.2.1", "::ffff:192.0.2.1"], 2);
        check(&["2001:db8:0:1::1", "2001:db8:0:1:ffff::2"], 1);
        check(&["2001:db8:0:1::1", "2001:db8:0:2::1"], 0);
    }

    #[test]
    fn names_of_different_kinds_do_not_meet() {
        let admission = Arc::new(Admission::new(Settings { requests: few(1), ..Settings::default() }, 1000));
        assert_eq!(admission.address("192.0.2.1".parse().unwrap()).request(), Ok(()));
        let wait = |client: Client| client.request().unwrap_err().wait;
        assert_eq!(admission.subject("192.0.2.1").request(), Ok(()));
        assert!(wait(admission.subject("192.0.2.1")) > Duration::from_mins(59));
        assert_eq!(admission.tally().total(Kind::RequestsPerSubject), 1);
        assert_eq!(admission.tally().total(Kind::RequestsPerAddress), 0);
    }

    #[test]
    fn bytes_are_slowed_down_and_settings_can_change() {
        let admission = Arc::new(Admission::new(Settings { sent: few(1000), ..Settings::default() }, 1000));
        let client = admission.subject("a");
        assert_eq!((client.sent(1000), client.received(1 << 30)), (Duration::ZERO, Duration::ZERO));
        assert!(client.sent(1) > Duration::from_mins(59));
        admission.replace(Settings::default());
        assert_eq!(client.sent(1 << 30), Duration::ZERO);
        admission.replace(Settings { sent: few(1000), ..Settings::default() });
        assert!(client.sent(1) > Duration::from_mins(59), "what was taken stays taken");
    }

    #[test]
    fn waits_are_said_in_whole_seconds() {
        let check = |nanos, expected| {
            assert_eq!(TooMany { wait: Duration::from_nanos(nanos) }.retry_after_secs(), expected);
        };
        check(1, 1);
        check(1_000_000_000, 1);
        check(1_000_000_001, 2);
    }
}
