//! Stores: the contract of every backend, and what is particular to one.

mod contract;
mod decorators;
mod filesystem;
