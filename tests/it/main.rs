//! Everything that is tested from outside: one binary, one file per subject.

mod architecture;
mod boundaries;
mod chunked;
mod config;
mod delete;
mod dropin_layout;
mod gateway;
mod hostile;
mod interleavings;
mod manifests;
mod mount;
mod pull;
mod push;
mod referrers;
mod registry_blobs;
mod registry_format;
mod registry_lists;
mod registry_manifests;
mod registry_referrers;
mod registry_tree;
mod routes;
mod store;
mod tags;
mod tokens;
mod wire;
