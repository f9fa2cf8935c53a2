//! The rim on loopback: real sockets, a small handler, clients that behave and clients that do not.

#![expect(clippy::unwrap_used, reason = "what a test's own steps cannot do fails the test")]

mod bodies;
mod challenges;
mod downloads;
mod framing;
mod lifecycle;
mod rig;
mod secure;
