//! Certificates and the terms of TLS, as clients on the wire meet them, before the real binary.

mod clients;
mod files;
mod hostile;
mod names;
mod refusals;
mod rig;
mod sessions;
mod terms;
