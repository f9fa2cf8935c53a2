//! What the tests around the real binary stand on: processes on free ports, credentials, images, clients.
//!
//! A test asks [`tools`] whether the programs it needs are here, makes a [`registry::Registry`] out of a
//! [`registry::Program`] (ours or Debian's docker-registry: the server under test is a value) and drives it with
//! programs that others wrote, or pushes by [`push`]. What is stored lies in a directory or in the store of [`s3`].
//! Everything lies in temporary directories and listens on loopback; a process is ended by its own id when its value is
//! dropped.

pub(crate) mod balancer;
pub(crate) mod certificate;
pub(crate) mod command;
pub(crate) mod daemons;
pub(crate) mod digest;
pub(crate) mod http;
pub(crate) mod image;
pub(crate) mod pebble;
pub(crate) mod process;
pub(crate) mod push;
pub(crate) mod random;
pub(crate) mod registry;
pub(crate) mod s3;
pub(crate) mod tokens;
pub(crate) mod tools;
