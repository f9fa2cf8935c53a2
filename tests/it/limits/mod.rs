//! Who may come in, and how much they may take, at a real process over real connections.
//!
//! Clients are told apart by the addresses of 127.0.0.0/8 that they connect from ([`site`]).

mod access;
mod connections;
mod rates;
mod site;
