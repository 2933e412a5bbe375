//! What one shard counts of its connections.

use super::{Counter, ShardMetrics};
use crate::stream::LayerFailure;
use crate::{tls, websocket};

/// How a connection came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum StreamEnd {
    /// In good order: by the peer, or by us.
    Closed,
    /// The kernel told of a failure of an open connection: a reset, as a rule.
    Broken,
    /// Nobody takes connections there: a reset, or ICMP.
    ConnectRefused,
    /// There is no way there.
    ConnectUnreachable,
    /// It could not be opened for another reason.
    ConnectFailed,
    /// It was not open in time.
    ConnectTimeout,
    /// What came in cannot be told apart as messages.
    NotFramed,
    /// A message did not come whole in time.
    TooSlow,
    /// The peer took nothing of what was sent, for too long or too much of it.
    Stalled,
    /// Nothing came and nothing went.
    Idle,
    /// There are too many in all; it was not taken in.
    TooMany,
    /// There are too many of this peer; it was not taken in.
    TooManyOfPeer,
    /// All connections together keep too much of messages that are not whole.
    NoMemory,
    /// TLS or WebSocket failed.
    LayerFailed,
}

impl StreamEnd {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 14] = [
        Self::Closed,
        Self::Broken,
        Self::ConnectRefused,
        Self::ConnectUnreachable,
        Self::ConnectFailed,
        Self::ConnectTimeout,
        Self::NotFramed,
        Self::TooSlow,
        Self::Stalled,
        Self::Idle,
        Self::TooMany,
        Self::TooManyOfPeer,
        Self::NoMemory,
        Self::LayerFailed,
    ];

    /// The connection had been open, and counts as accepted or opened.
    pub const fn was_open(self) -> bool {
        !matches!(
            self,
            Self::ConnectRefused
                | Self::ConnectUnreachable
                | Self::ConnectFailed
                | Self::ConnectTimeout
                | Self::TooMany
                | Self::TooManyOfPeer
        )
    }

    /// The metric's label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Broken => "broken",
            Self::ConnectRefused => "connect_refused",
            Self::ConnectUnreachable => "connect_unreachable",
            Self::ConnectFailed => "connect_failed",
            Self::ConnectTimeout => "connect_timeout",
            Self::NotFramed => "not_framed",
            Self::TooSlow => "too_slow",
            Self::Stalled => "stalled",
            Self::Idle => "idle",
            Self::TooMany => "too_many",
            Self::TooManyOfPeer => "too_many_of_peer",
            Self::NoMemory => "no_memory",
            Self::LayerFailed => "layer_failed",
        }
    }
}

/// The counters of one shard's connections.
#[derive(Debug, Default)]
pub struct StreamMetrics {
    /// Open now, or being opened.
    pub open: Counter,
    /// Accepted since the start.
    pub accepted: Counter,
    /// Opened since the start.
    pub connected: Counter,
    /// Bytes kept now of messages that are not whole or wait for room, and of requests without an answer.
    pub kept_bytes: Counter,
    /// Bytes that wait now to be sent.
    pub unsent_bytes: Counter,
    /// Keep-alives that were answered.
    pub pings: Counter,
    /// So often connections were not read for want of room.
    pub paused: Counter,
    /// By [`StreamEnd`].
    pub ended: [Counter; StreamEnd::ALL.len()],
    /// Handshakes of TLS that came to an end, by who has opened the connection (us: 1), and whether they took up an earlier
    /// one (1).
    pub handshakes: [[Counter; 2]; 2],
    /// By [`tls::Failure::index`].
    pub tls_failed: [Counter; tls::Failure::LABELS.len()],
    /// By [`websocket::Failure::index`].
    pub websocket_failed: [Counter; websocket::Failure::LABELS.len()],
}

/// What is told of a counter: whether it counts, its name, what it is, and where it stands.
type Row = (bool, &'static str, &'static str, fn(&ShardMetrics) -> &Counter);

impl StreamMetrics {
    /// As they are told, but for [`StreamMetrics::ended`].
    pub(super) const ROWS: [Row; 7] = [
        (false, "connections", "Connections that are open or being opened", |s| &s.streams.open),
        (true, "connections_accepted", "Connections that peers have opened", |s| &s.streams.accepted),
        (true, "connections_opened", "Connections that were opened to peers", |s| &s.streams.connected),
        (
            false,
            "connections_kept_bytes",
            "Bytes kept of messages that are not whole or wait for room, and of requests without an answer",
            |s| &s.streams.kept_bytes,
        ),
        (false, "connections_unsent_bytes", "Bytes that wait on connections to be sent", |s| {
            &s.streams.unsent_bytes
        }),
        (
            true,
            "connections_paused",
            "Times that a connection was not read for a while because there was no room for its messages",
            |s| &s.streams.paused,
        ),
        (true, "connections_pings", "Keep-alives on connections that were answered", |s| &s.streams.pings),
    ];

    /// Counts the end of a connection.
    pub fn ended(&self, how: StreamEnd) {
        self.ended[how as usize].count();
    }

    /// Counts a handshake of TLS that came to an end.
    pub fn handshaken(&self, is_ours: bool, is_resumed: bool) {
        self.handshakes[usize::from(is_ours)][usize::from(is_resumed)].count();
    }

    /// Counts why TLS or WebSocket failed.
    pub fn layer_failed(&self, failure: &LayerFailure) {
        match failure {
            LayerFailure::Tls(failure) => self.tls_failed[failure.index()].count(),
            LayerFailure::WebSocket(failure) => self.websocket_failed[failure.index()].count(),
        }
    }
}
