//! `[[group]]`: which gateway a request goes to, and which of them live.
//!
//! Place in the flow: [`crate::proxy`] asks [`order`] for the gateways of a request, best first; what the shards hear of
//! a gateway goes into [`Health`] at once, where all shards read it. Who sends OPTIONS ([`crate::control`]) drives the
//! [`Watch`]: it takes what shards and answers reported, and says when a gateway is down, put aside, back, and how much
//! of its share it gets meanwhile.
//!
//! ```text
//!  request ── key ──► order ──► candidates         503 + Retry-After, timeouts, answers
//!                       ▲                                    │ shards report
//!                       │ share                              ▼
//!                       └───────────────── Health ── one cache line a gateway
//!                                            ▲ │
//!                           OPTIONS ──► Watch┘ └─► log, metrics, explain
//! ```
//!
//! Pure: no socket and no clock. Nothing here is locked: a report is one compare-and-exchange, a choice some loads.
#![forbid(unsafe_code)]

mod alive;
mod fault;
mod health;
mod ping;
mod roster;
mod select;
mod watch;

pub use alive::Alive;
pub use fault::{Fault, Heard, Ping};
pub use health::{Health, Report, Standing, Way};
pub use ping::{Due, Options, Over, Pinging, ROUND, Schedule, Send, write_options};
pub use roster::Roster;
pub use select::{Member, Order, Select, number_key, order, text_key};
pub use watch::{Change, Life, Settings, Watch, WatchCounts};
