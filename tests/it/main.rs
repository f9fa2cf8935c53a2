//! Everything that is tested from outside: one binary, one file per subject.

#![expect(clippy::unwrap_used, reason = "a test ends where it meets what it did not expect")]

mod architecture;
mod boundaries;
mod chunked;
mod clients;
mod cloudfront;
mod config;
mod conformance;
mod debug;
mod delete;
mod doctor;
mod downloads;
mod dropin;
mod dropin_layout;
mod faults;
mod gateway;
mod grace;
mod hostile;
mod interleavings;
mod limits;
mod manifests;
mod meddling;
mod mount;
mod peers;
mod pull;
mod push;
mod readonly;
mod referrers;
mod registry_blobs;
mod registry_format;
mod registry_lists;
mod registry_manifests;
mod registry_referrers;
mod registry_tree;
mod replicas;
mod routes;
mod s3;
mod stage;
mod store;
mod support;
mod tags;
mod tokens;
mod upload_bed;
mod uploads;
mod wire;
