//! The test purposes for proxies of ETSI TS 102 027-2, each a test of its name. `table.rs` says of those that have
//! none why they do not apply here.
//!
//! The implementation under test (IUT) stands between UA1, which calls, and UA2, which is called; where it forks, UA3 is
//! called, too. There is no network, and time passes when a test says so.

mod client;
#[path = "../support/conformance.rs"]
mod conformance;
mod forking;
mod general;
mod requests;
mod responses;
mod server;
mod table;

#[allow(dead_code)] // Some of it is for scenarios.
#[path = "../support/iut.rs"]
mod iut;

#[allow(dead_code)] // One shard's decisions are all that is needed of it.
#[path = "../support/mod.rs"]
mod support;
