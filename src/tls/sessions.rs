//! Sessions that clients take up again: with tickets that we sealed, or by a number under which we remember them.
//!
//! Keys of tickets change every six hours and live in this process's memory only, so that no ticket opens for longer
//! than twelve hours, whatever the timeout says, nor at another replica. Early data (0-RTT) is never accepted.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    server::{NoServerSessionStorage, ProducesTickets, ServerSessionMemoryCache, StoresServerSessions},
};

/// What is remembered of sessions without tickets: so many, each of so many bytes at most. One with a long chain of
/// client certificates is not remembered.
const REMEMBERED_MAX: usize = 8192;
const SESSION_BYTES_MAX: usize = 4096;

/// Bytes of the time that stands before each session.
const TIME_BYTES: usize = 8;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Settings {
    pub tickets: Tickets,
    /// How long a session can be taken up again; zero is not at all.
    pub timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { tickets: Tickets::Offered, timeout: Duration::from_hours(6) }
    }
}

/// Whether clients are given their session to keep, sealed; otherwise it is remembered here. Both serve TLS 1.2 and 1.3.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tickets {
    Offered,
    Disabled,
}

pub(super) fn set_up(config: &mut ServerConfig, settings: Settings) -> Result<(), rustls::Error> {
    if settings.timeout.is_zero() {
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        return Ok(());
    }
    let age = Age { began: Instant::now(), max: settings.timeout };
    config.session_storage = Arc::new(Remembered { sessions: ServerSessionMemoryCache::new(REMEMBERED_MAX), age });
    if settings.tickets == Tickets::Offered {
        config.ticketer = Arc::new(Sealed { tickets: aws_lc_rs::Ticketer::new()?, age });
    }
    Ok(())
}

/// Writes the present moment before a session, and knows later whether that is too long ago.
#[derive(Clone, Copy, Debug)]
struct Age {
    began: Instant,
    max: Duration,
}

impl Age {
    fn mark(&self, session: &[u8]) -> Vec<u8> {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        [&now.to_be_bytes(), session].concat()
    }

    fn unmark(&self, marked: &[u8]) -> Option<Vec<u8>> {
        let (time, session) = marked.split_first_chunk::<TIME_BYTES>()?;
        let time = Duration::from_millis(u64::from_be_bytes(*time));
        (self.began.elapsed().saturating_sub(time) <= self.max).then(|| session.to_vec())
    }
}

#[derive(Debug)]
struct Sealed {
    tickets: Arc<dyn ProducesTickets>,
    age: Age,
}

impl ProducesTickets for Sealed {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(self.age.max.as_secs().max(1)).unwrap_or(u32::MAX).min(self.tickets.lifetime())
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.tickets.encrypt(&self.age.mark(plain))
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.age.unmark(&self.tickets.decrypt(cipher)?)
    }
}

#[derive(Debug)]
struct Remembered {
    sessions: Arc<ServerSessionMemoryCache>,
    age: Age,
}

impl StoresServerSessions for Remembered {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        value.len() <= SESSION_BYTES_MAX && self.sessions.put(key, self.age.mark(&value))
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.age.unmark(&self.sessions.get(key)?)
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.age.unmark(&self.sessions.take(key)?)
    }

    fn can_cache(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(max: Duration, ago: Duration) -> Sealed {
        let began = Instant::now().checked_sub(ago).unwrap();
        Sealed { tickets: aws_lc_rs::Ticketer::new().unwrap(), age: Age { began, max } }
    }

    #[test]
    fn a_ticket_opens_whole_and_in_time_only() {
        let tickets = sealed(Duration::from_mins(1), Duration::ZERO);
        let ticket = tickets.encrypt(b"session").unwrap();
        assert_eq!(tickets.decrypt(&ticket).unwrap(), b"session");
        for index in 0..ticket.len() {
            let mut forged = ticket.clone();
            forged[index] ^= 1;
            assert_eq!(tickets.decrypt(&forged), None, "byte {index}");
            assert_eq!(tickets.decrypt(&ticket[..index]), None, "{index} bytes");
        }
        // Sealed by another process, or before a restart.
        assert_eq!(sealed(Duration::from_mins(1), Duration::ZERO).decrypt(&ticket), None);
    }

    #[test]
    fn sessions_grow_old() {
        let check = |max: u64, expected: bool| {
            let age = Age {
                began: Instant::now().checked_sub(Duration::from_mins(10)).unwrap(),
                max: Duration::from_mins(max),
            };
            // Marked when the process began, ten minutes ago.
            let old = [&[0; TIME_BYTES][..], b"s"].concat();
            assert_eq!(age.unmark(&old).is_some(), expected, "{max}");
            assert_eq!(age.unmark(&age.mark(b"s")).unwrap(), b"s");
            assert_eq!(age.unmark(b"short"), None);
        };
        check(9, false);
        check(11, true);
    }

    #[test]
    fn large_sessions_are_not_remembered() {
        let age = Age { began: Instant::now(), max: Duration::from_mins(1) };
        let remembered = Remembered { sessions: ServerSessionMemoryCache::new(8), age };
        assert!(!remembered.put(vec![1], vec![0; SESSION_BYTES_MAX + 1]) && remembered.get(&[1]).is_none());
        assert!(remembered.put(vec![2], vec![7]));
        assert_eq!(
            (remembered.get(&[2]), remembered.take(&[2]), remembered.get(&[2])),
            (Some(vec![7]), Some(vec![7]), None)
        );
    }

    #[test]
    fn lifetimes_that_are_told() {
        assert_eq!(sealed(Duration::from_mins(1), Duration::ZERO).lifetime(), 60);
        assert_eq!(sealed(Duration::from_hours(24), Duration::ZERO).lifetime(), 12 * 60 * 60);
    }
}
