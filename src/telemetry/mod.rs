//! What the process tells its operators: log lines, access lines and metrics.
//!
//! The rim fills one [`exchange::Exchange`] when an exchange ends; the access line, the structured line and the
//! metrics are all made from it. Lines go through [`writer::Writer`], which never makes a request wait: when the
//! pipe behind it is blocked, lines are dropped and counted.
//!
//! Never: a raw control character in a line, a secret of a query, a label whose values a client can choose.

pub mod access;
pub mod acme;
pub mod exchange;
pub mod log;
pub mod metrics;
pub mod passthrough;
pub mod process;
pub mod reloads;
pub mod text;
pub mod upstream;
pub mod writer;
