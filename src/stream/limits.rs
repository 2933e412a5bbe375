//! How much connections may take: `[tcp]`.

use crate::limits::{
    STREAM_BODY_NS, STREAM_CONNECT_NS, STREAM_HEADER_NS, STREAM_IDLE_NS, STREAM_QUEUE_BYTES, STREAMS,
    STREAMS_PER_PEER, STREAMS_RESERVED,
};

/// How many connections a shard has, how long they may take, and what waits on them. Times are in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamLimits {
    /// Connections of a shard; at most [`STREAMS`].
    pub connections: usize,
    /// Of them, those that one peer may have opened.
    pub per_peer: usize,
    /// How long nothing may come or go.
    pub idle_ns: u64,
    /// How long a connection may take to be opened.
    pub connect_ns: u64,
    /// How long the headers of a message may take from their first byte on.
    pub header_ns: u64,
    /// How much longer its body may take.
    pub body_ns: u64,
    /// Bytes that may wait on one connection to be sent.
    pub queue_bytes: usize,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self {
            connections: STREAMS,
            per_peer: STREAMS_PER_PEER,
            idle_ns: STREAM_IDLE_NS,
            connect_ns: STREAM_CONNECT_NS,
            header_ns: STREAM_HEADER_NS,
            body_ns: STREAM_BODY_NS,
            queue_bytes: STREAM_QUEUE_BYTES,
        }
    }
}

impl StreamLimits {
    /// Places that only connections which the shard opens itself may have: of few connections a part.
    pub const fn reserved(&self) -> usize {
        let part = self.connections * STREAMS_RESERVED / STREAMS;
        if part == 0 { 1 } else { part }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_strangers_cannot_take_is_a_part_of_what_there_is() {
        assert_eq!(StreamLimits::default().reserved(), STREAMS_RESERVED);
        let reserved = |connections| StreamLimits { connections, ..StreamLimits::default() }.reserved();
        assert_eq!([reserved(16), reserved(600)], [1, 40]);
    }
}
