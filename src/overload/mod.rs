//! How much is let in: limits that operators set, and what is refused first where more comes than can be handled.
//!
//! Place in the flow: [`crate::proxy`] asks before it decides about a request that begins something new. Pure: what
//! has waited, who asks and `now` go in, whether it may pass comes out.
//!
//! ```text
//!  how long it waited ── wait ──────► 503, new ones first, in-dialog ones last, emergency calls never
//!                          └─ shares ─► and before they come in: a part of them, by a filter at the socket
//!  where it came from ── limiter ──► 503 with Retry-After: of the listener, of the peer, then of the route
//!  where it goes ────── throttle ──► another next hop, else 503: what a next hop asks to be spared (RFC 7339)
//! ```
#![forbid(unsafe_code)]

mod answers;
mod bucket;
mod feedback;
mod filter;
mod limit;
mod limiter;
mod policy;
mod reasons;
mod shares;
#[cfg(test)]
mod simulation_tests;
mod throttle;
#[cfg(test)]
mod throttle_tests;
mod wait;

pub use answers::Answers;
pub use bucket::{Bucket, Pace};
pub use feedback::{Feedback, Load};
pub use filter::{Filter, Program};
pub use limit::{Limit, LimitId, Limits, Owner, Peer, Peers, Per, SourcePrefix};
pub use limiter::{Limiter, Refused};
pub use policy::Policy;
pub use reasons::{Excess, Excesses};
pub use shares::{Kept, Shares};
pub use throttle::{Measure, Plea, Sparing, Throttles};
pub use wait::{Standing, Wait, Waits};
