//! What Viaduct writes into its own Via branch, Record-Route and To tag, authenticated.
//!
//! Place in the flow: [`crate::proxy`] names the transaction of a request ([`Transaction`] →
//! [`TransactionKey`]), writes a [`Branch`] into its Via and, where a dialog can form, a
//! [`RecordRoute`] token into Record-Route; a response comes home by its branch, a later request of
//! the dialog by its Route. A client that cannot be connected to is named by its connection, a [`Flow`], in
//! Record-Route and in the [`Path`] of its REGISTER. Nothing is remembered: what comes back carries its own proof.
//!
//! All tokens are lower-case base32 (RFC 4648 §6 without padding), because header values may be
//! compared, and are sometimes rewritten, without regard to case. Each carries a MAC of
//! [`MAC_BYTES`] bytes, PMAC over AES-128 cut to 80 bits: guessing happens on line only, one message
//! a guess, and 2^80 messages do not arrive in the lifetime of a key. What a MAC covers begins, in its
//! last block, with what the MAC is for, so that no token can stand in for another.
//!
//! Pure, except for [`Keys::load`] and its kin, which read and create the key file.
#![forbid(unsafe_code)]

mod asked;
mod base32;
mod branch;
mod file;
mod flow;
mod inputs;
mod keys;
mod onward;
mod ping;
mod prf;
mod record_route;
mod timestamp;
mod to_tag;
mod transaction;

pub use asked::{ASKED_LEN, Asked};
pub use base32::{PART_LEN, Part, encode as base32_texts};
pub use branch::{BRANCH_LEN, Branch, COOKIE, Claim};
pub use file::{KeyFileError, Loaded};
pub use flow::{FLOW_TOKEN_LEN, Flow, Path};
pub use inputs::{Input, Inputs, LOOP_MARK_LEN, LoopMark, Parties};
pub use keys::{KeyId, KeyLineError, Keys, MAC_BYTES, RETIRED_VERIFIES};
pub use onward::parts_onward;
pub use ping::{PING_BRANCH_LEN, PingBranch};
pub use record_route::{Covered, Dialog, RECORD_ROUTE_LEN, RecordRoute, Sender, Side, Verified, Verifier};
pub use to_tag::{TO_TAG_LEN, ToTag};
pub use transaction::{Transaction, TransactionKey, TransactionSecret, owner_of_call};

#[cfg(test)]
mod tests;
