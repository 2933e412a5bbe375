//! How much of everything an engine has.

use crate::limits::{COMPLETIONS, MESSAGE_BYTES, RECEIVE_BUFFERS, SEND_BUFFERS, STREAM_BUFFERS};

/// How much of everything an engine has.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// A power of two.
    pub receive_buffers: u16,
    /// The longest datagram that is received whole.
    pub message_bytes: usize,
    pub send_buffers: u16,
    /// Receive buffers for streams, a power of two.
    pub stream_buffers: u16,
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
        stream_buffers: STREAM_BUFFERS,
        submissions: SEND_BUFFERS as u32,
        completions: COMPLETIONS,
        accept_below: None,
    };
}

const _: () = assert!(RECEIVE_BUFFERS.is_power_of_two() && STREAM_BUFFERS.is_power_of_two());
