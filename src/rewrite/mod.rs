//! Rewriting as a list of edits over the received bytes: what no edit touches goes out as it came in.
//!
//! Place in the flow: [`crate::proxy`] reads a message in place and notes what has to change
//! ([`Edits`]); at the end [`Edits::apply`] writes the message once into the send buffer. Headers that
//! nobody asked about, their order, case, folding and white space cannot change on the way, because no
//! code ever writes them.
//!
//! ```text
//!  received   INVITE sip:bob@… ↵ Via: … ↵ Max-Forwards: 70 ↵ …
//!  edits                       │        ;received=…   └ 70 → 69
//!                              └ Record-Route: … ↵ Via: … ↵
//! ```
#![forbid(unsafe_code)]

mod edits;
mod sink;

pub use edits::{Edits, Ink, TooLarge};
pub use sink::{Output, Sink};

#[cfg(test)]
mod tests;
