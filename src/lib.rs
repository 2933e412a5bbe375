//! Viaduct forwards SIP between IP networks and always knows from which local socket a message leaves.
//!
//! The way of a message is the way down this ladder; dependencies point the same way and nowhere else
//! (`tests/architecture.rs` keeps the arrows):
//!
//! ```text
//!  NIC ── engine ──► shard ──► proxy ──► rules ──► egress ──► rewrite ──► engine ──► NIC
//!         one ring   one core  what      which     which      edit list   one send
//!         per core   its loop  to do     rule      listener   to bytes    per message
//!                                 ▲         ▲         ▲
//!                                 └─────────┼─────────┘
//!                      Snapshot: Plan (config) + Fib (kernel) + Keys + names + gateways,
//!                      immutable, published by the control thread, read per batch
//! ```
//!
//! | folder | what it does | pure |
//! |---|---|---|
//! | [`engine`] | completions in, sends out: `uring`, or `glommio` with the feature; `sim` for tests | |
//! | [`tls`] | between the bytes of a stream and the messages in it: TLS, driven without I/O | yes |
//! | [`websocket`] | likewise SIP over WebSocket, RFC 7118 | yes |
//! | [`shard`] | one core's loop, calling the stages in order | |
//! | [`stream`] | messages in the bytes of a connection, and which connections there are | yes |
//! | [`proxy`] | RFC 3261 §16: validate, preprocess, target, forward, respond | yes |
//! | [`transaction`] | state machines, timers and memory of stateful routes: RFC 3261 §17 | yes |
//! | [`group`] | `[[group]]`: which gateway a request goes to, and which of them live | yes |
//! | [`rules`] | `[[route]]`: conditions compiled, first match wins | yes |
//! | [`overload`] | limits, and what is refused where more comes than can be handled | yes |
//! | [`egress`] | pins, dialog side, override, automatic choice | yes |
//! | [`dns`] | RFC 3263: from a name to transports, addresses and ports | yes |
//! | [`findings`] | where configuration and routing do not fit, for `check` and `run` | yes |
//! | [`token`] | keys, Via branch, Record-Route token, To tag | yes |
//! | [`rewrite`] | edit list over the received bytes | yes |
//! | [`fib`] | rules → tables → longest prefix → route | yes |
//! | [`plan`] | the configuration, validated and compiled | yes |
//! | [`config`] | TOML → [`plan::Plan`]; every error has a span | |
//! | [`doctor`] | the host held against tuning.md, for `doctor` | |
//! | [`control`] | one thread beside the shards: netlink, reload, admin HTTP, names | |
//! | [`metrics`] | counters that one shard writes and the control thread reads | |
//! | [`cli`] | `run`, `check`, `doctor`, `explain`, `routes`, `demo` | |

pub mod cli;
pub mod config;
pub mod control;
pub mod dns;
pub mod doctor;
pub mod drop_reason;
pub mod egress;
pub mod engine;
pub mod fib;
pub mod findings;
pub mod group;
pub mod hardware;
pub mod limits;
pub mod metrics;
pub mod net;
pub mod overload;
#[cfg(test)]
#[path = "../tests/support/pki.rs"]
mod pki;
pub mod plan;
pub mod proxy;
pub mod random;
pub mod rewrite;
pub mod rules;
pub mod shard;
pub mod snapshot;
pub mod status;
pub mod stream;
mod swar;
pub mod tls;
pub mod token;
pub mod transaction;
pub mod websocket;
