//! Scenarios that open-source proxies are tested with, each a test of its name. `table.rs` says of the others why they
//! do not apply here. The names are all that is taken from elsewhere: what has to come of each is by the RFCs.

mod ack;
mod cancel;
#[path = "../support/conformance.rs"]
mod conformance;
mod fork;
mod invite;
#[allow(dead_code)] // Some of it is for ETSI's purposes.
#[path = "../support/iut.rs"]
mod iut;
mod odd;
mod other;
mod serial;
mod table;

#[allow(dead_code)] // One shard's decisions are all that is needed of it.
#[path = "../support/mod.rs"]
mod support;
