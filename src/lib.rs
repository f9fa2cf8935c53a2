//! Pierhead, a container-registry edge.
//!
//! A request becomes a `Route` (a value), a `Grant` (a proof), one registry operation and a `Reply`: down these
//! modules in the order in which they stand here, and back. `src/README.md` is the architecture page.

pub mod app;
pub mod cli;
pub mod config;

pub mod acme;
pub mod admission;
pub mod server;
pub mod tls;

pub mod upstream;

pub mod api;
pub mod auth;
pub mod registry;
pub mod store;

pub mod clock;
pub mod health;
pub mod import;
pub mod oci;
pub mod secret;
pub mod telemetry;
