//! Everything that is tested from outside: one binary, one file per subject.

mod architecture;
mod config;
mod dropin_layout;
mod gateway;
mod interleavings;
mod pull;
mod push;
mod registry_blobs;
mod registry_format;
mod registry_lists;
mod registry_manifests;
mod registry_referrers;
mod registry_tree;
mod routes;
mod store;
mod tokens;
mod wire;
