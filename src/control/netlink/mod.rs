//! The kernel's routing policy, dumped and followed over rtnetlink.
//!
//! - [`dump`]: one snapshot now (`check`, `explain`, `routes get`); [`read`]: what it is built from.
//! - [`Follower`]: a snapshot now and a new one after any change (`run`).
//! - [`ask`]: the kernel's own answer to one question (`routes get --compare`, [`Answer::AskKernel`]);
//!   [`compare`] holds the two against each other.
//!
//! Everything here speaks of the network namespace of the calling thread.
//!
//! [`Answer::AskKernel`]: crate::fib::Answer::AskKernel

mod ask;
mod compare;
mod decode;
#[cfg(test)]
mod decode_tests;
mod dump;
mod error;
mod event;
mod follow;
mod socket;
mod wire;

pub use ask::ask;
pub use compare::{Comparison, Difference, compare};
pub use dump::{dump, read};
pub use error::{Error, Object};
pub use follow::{FollowOptions, Follower};
