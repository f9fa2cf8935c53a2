//! A real process from its start to its end, or to the one that takes its place: what signals and files do to it, and that
//! clients do not notice.

mod client;
mod drain;
mod load;
mod logs;
mod reload;
mod server;
mod units;
mod upgrade;
