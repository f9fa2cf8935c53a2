//! Names of other servers on the ports of the registry: a real nginx behind the real binary, and servers of the test that
//! say exactly what it needs them to say.

mod broken;
mod hellos;
mod nginx;
mod rates;
mod requests;
mod rig;
mod splices;
mod upgrades;
