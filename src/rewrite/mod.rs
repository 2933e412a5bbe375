//! Rewriting as a list of edits over the received bytes: what no edit touches goes out as it came in.
//!
//! Place in the flow: [`crate::proxy`] reads a message in place and notes what has to change
//! ([`Edits`]); at the end [`Edits::apply`] writes the message once, from its beginning to its end, into the
//! send buffer ([`Output`]). Headers that
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
mod output;

pub use edits::{Edits, TooLarge};
pub use output::{Output, PutShort, SHORT_BYTES, Short, copy_few, put_port_and_v4, two_digits};

#[cfg(test)]
mod tests;
