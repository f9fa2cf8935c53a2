//! Hostile clients against the real binary, over TLS, with tokens.
//!
//! Each group starts a process of its own ([`target`]), sends its rows of hostile bytes through [`client`] (HTTP/1.1
//! as bytes) or [`frames`] (HTTP/2 frame by frame) and says what status and code each must get. After every row a
//! canary image is pushed and pulled and the process's memory is looked at; at the end of a group its log and its
//! storage are. [`gateway`] asks the same of the gateway alone, without a socket.

mod boundaries;
pub(crate) mod client;
mod fairness;
mod floods;
mod frames;
mod framing;
mod gateway;
mod idle;
mod manifests;
mod names;
mod pagination;
mod slow;
mod target;
mod tokens;
mod updates;
mod uploads;
