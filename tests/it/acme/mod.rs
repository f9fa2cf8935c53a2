//! Certificates from Pebble, which speaks the protocol of Let's Encrypt: issued, renewed, shared and survived.

mod faults;
mod hostile;
mod issued;
mod readonly;
mod replicas;
mod rig;
