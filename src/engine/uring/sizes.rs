//! How much of everything an engine has, and how many files.

use nix::sys::resource::{Resource, getrlimit};

use crate::limits::{
    COMPLETIONS, ENGINE_SOCKETS, FILES_RESERVED_PART, MESSAGE_BYTES, RECEIVE_BUFFERS, SEND_BUFFERS,
};

/// How much of everything an engine has.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// A power of two.
    pub receive_buffers: u16,
    /// The longest datagram that is received whole.
    pub message_bytes: usize,
    pub send_buffers: u16,
    pub submissions: u32,
    /// At least `submissions`.
    pub completions: u32,
    /// Accepted connections have descriptors below; `None`: as the process's limit says.
    pub accept_below: Option<i32>,
}

impl Sizes {
    pub const DEFAULT: Self = Self {
        receive_buffers: RECEIVE_BUFFERS,
        message_bytes: MESSAGE_BYTES,
        send_buffers: SEND_BUFFERS,
        submissions: SEND_BUFFERS as u32,
        completions: COMPLETIONS,
        accept_below: None,
    };
}

const _: () = assert!(RECEIVE_BUFFERS.is_power_of_two());

/// Places for sockets: the kernel refuses a table of more files than the process may have open, and a
/// process cannot have more sockets than that either. Numbers are given from the lowest on.
pub fn places() -> u16 {
    let may_open = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft);
    ENGINE_SOCKETS.min(u16::try_from(may_open).unwrap_or(u16::MAX))
}

/// Accepted connections have descriptors below this one, which is counted for the whole process: the kernel gives the
/// lowest that is free.
pub fn accept_below() -> i32 {
    let may_open = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft);
    i32::try_from(may_open - may_open / FILES_RESERVED_PART).unwrap_or(i32::MAX)
}
