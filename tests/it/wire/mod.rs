//! The rim on loopback: real sockets, a small handler, clients that behave and clients that do not.

mod bodies;
mod framing;
mod lifecycle;
mod rig;
mod secure;
