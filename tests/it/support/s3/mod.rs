//! An object store for tests, and what stands around it.
//!
//! [`seaweed`] is the real one: it checks signatures, preconditions and sizes. [`client`] looks into it past the server
//! under test. [`proxy`] stands in front of any endpoint, counts what passes and breaks what it is told to break.
//! [`sink`] takes more bytes than a disk wants to: it checks them and forgets them. [`agent`] hands out keys. Everything listens on loopback.

pub(crate) mod agent;
pub(crate) mod client;
pub(crate) mod operation;
pub(crate) mod proxy;
pub(crate) mod seaweed;
mod serve;
pub(crate) mod sink;

/// Who the servers under test are to every store here.
pub(crate) const ACCESS_KEY: &str = "AKTESTPIERHEAD";
pub(crate) const SECRET_KEY: &str = "a-secret-of-these-tests-alone";
pub(crate) const REGION: &str = "us-east-1";
