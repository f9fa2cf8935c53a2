//! The service manager's ear (`sd_notify(3)`): when we serve, read our configuration again, stop, or are replaced.
//!
//! Each message is one datagram to a socket that the environment names. Nothing waits for it, and where nobody listens
//! nothing is said.

use std::{
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram},
    },
    time::Duration,
};

use tokio::time::interval;

use crate::{clock, config::environment};

/// Beyond what a stop may take, for what nobody counted.
const SLACK: Duration = Duration::from_secs(10);

/// Whom to tell.
#[derive(Debug)]
pub(super) struct Manager {
    place: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Manager {
    /// A socket that cannot be used is warned about: the service is worth more than its manager's knowledge.
    pub(super) fn new(configured: &environment::Manager) -> Self {
        let place = configured.socket.as_deref().and_then(|socket| match open(socket) {
            Ok(place) => Some(place),
            Err(error) => {
                tracing::warn!("the service manager cannot be told anything: {socket:?}: {error}");
                None
            }
        });
        Self { place, watchdog: configured.watchdog }
    }

    /// We serve.
    pub(super) fn ready(&self) {
        self.tell("READY=1\nSTATUS=serving");
    }

    /// The configuration is being read again; [`Manager::reloaded`] must follow.
    pub(super) fn reloading(&self) {
        self.tell(&format!(
            "RELOADING=1\nMONOTONIC_USEC={}\nSTATUS=reading the configuration",
            clock::monotonic().as_micros()
        ));
    }

    pub(super) fn reloaded(&self, outcome: Result<(), &str>) {
        // What a file says must not begin a line of its own.
        let line = |text: &str| text.replace(['\n', '\r'], " ");
        self.tell(&outcome.map_or_else(
            |why| format!("READY=1\nSTATUS=serving with the configuration of before: {}", line(why)),
            |()| "READY=1\nSTATUS=serving".to_owned(),
        ));
    }

    /// We stop, which may take so long.
    pub(super) fn stopping(&self, patience: Duration) {
        let micros = (patience + SLACK).as_micros();
        self.tell(&format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={micros}\nSTATUS=letting running requests finish"));
    }

    /// Another process is the service now. The manager believes this only of us.
    pub(super) fn replaced_by(&self, id: u32) {
        self.tell(&format!("MAINPID={id}\nSTATUS=serving"));
    }

    /// Says again and again that we live, if somebody wants to hear it. Never ends.
    pub(super) async fn live(&self) {
        let Some(watchdog) = self.watchdog else { return std::future::pending().await };
        // Twice as often as it must be.
        let mut ticks = interval((watchdog / 2).max(Duration::from_millis(1)));
        loop {
            ticks.tick().await;
            self.tell("WATCHDOG=1");
        }
    }

    fn tell(&self, message: &str) {
        let Some((socket, address)) = &self.place else { return };
        if let Err(error) = socket.send_to_addr(message.as_bytes(), address) {
            tracing::debug!("the service manager did not hear us: {error}");
        }
    }
}

fn open(socket: &str) -> std::io::Result<(UnixDatagram, SocketAddr)> {
    let address = match socket.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    let datagram = UnixDatagram::unbound()?;
    datagram.set_nonblocking(true)?;
    Ok((datagram, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_hears_one_datagram_for_each_turn() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let ear = UnixDatagram::bind(&path).unwrap();
        let manager =
            |socket: &str| Manager::new(&environment::Manager { socket: Some(socket.to_owned()), watchdog: None });
        let told = manager(path.to_str().unwrap());
        let hear = || {
            let mut buffer = [0; 1024];
            let length = ear.recv(&mut buffer).unwrap();
            String::from_utf8(buffer[..length].to_vec()).unwrap()
        };
        told.ready();
        assert_eq!(hear(), "READY=1\nSTATUS=serving");
        told.reloading();
        let text = hear();
        let micros = text.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).unwrap();
        assert!(text.starts_with("RELOADING=1\n") && micros.parse::<u64>().unwrap() > 0, "{text}");
        told.reloaded(Err("f.yml:3: wrong\nMAINPID=1"));
        assert_eq!(hear(), "READY=1\nSTATUS=serving with the configuration of before: f.yml:3: wrong MAINPID=1");
        told.stopping(Duration::from_secs(5));
        assert!(hear().starts_with("STOPPING=1\nEXTEND_TIMEOUT_USEC=15000000\n"));
        told.replaced_by(7);
        assert_eq!(hear(), "MAINPID=7\nSTATUS=serving");

        let name = format!("pierhead-test-{}", std::process::id());
        let abstract_ear = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        manager(&format!("@{name}")).ready();
        let mut buffer = [0; 64];
        assert!(abstract_ear.recv(&mut buffer).unwrap() > 0);
        // Nobody there, and no such place: nothing happens.
        drop(ear);
        told.ready();
        manager("/nowhere/at/all").ready();
        Manager::new(&environment::Manager::default()).ready();
    }
}
