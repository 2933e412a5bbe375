//! Viaduct as an operator runs it, between hosts made of network namespaces.
//!
//! ```text
//!  public   1.2.3.100, 2001:db8:1::100 ──┐        ┌── 10.0.0.100   private
//!                                        edge (Viaduct)
//!  spare    10.9.0.100                 ──┘        └── fd00:6::100  six
//! ```
//!
//! Every test has a world of its own, so tests run side by side. Needs the rights to make network
//! namespaces; `tests/run` sees to that.

mod advertised;
mod anchoring;
mod answers;
mod asked;
mod browser;
mod calls;
mod chain;
mod connections;
mod desk;
mod doctor;
mod endpoint;
mod failover;
mod findings;
mod floating;
mod following;
mod gateway;
mod groups;
mod kamailio;
mod large;
mod lifecycle;
mod limits;
mod line;
mod metrics;
#[path = "../support/mixed_rules.rs"]
#[allow(dead_code)] // Rules are wanted here, not requests.
mod mixed_rules;
mod names;
#[path = "../support/nameserver.rs"]
#[allow(dead_code)] // Answers that are cut short are tested where they are read.
mod nameserver;
mod pairs;
mod passing;
mod phone;
#[path = "../support/pki.rs"]
#[allow(dead_code)] // Authorities below others are tested where paths are.
mod pki;
mod ports;
#[path = "../support/program.rs"]
mod program;
mod recipes;
mod refusals;
mod routing;
mod siblings;
mod sip;
mod sipp;
mod tcp;
mod thoughts;
mod tls;
mod transactions;
mod trying;
mod viaduct;
mod watching;
mod websocket;
mod what_if;
mod world;
