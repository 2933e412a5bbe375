//! Why a request is not let in.

/// Why a request is not let in, though it could be sent on; a label of the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Excess {
    /// More comes than can be handled, and it would begin something new.
    New,
    /// So much more that a request within a dialog has to go, too.
    InDialog,
    /// The listener's `limit`.
    Listener,
    /// The peer's `limit`.
    Peer,
    /// The route's `limit`.
    Route,
    /// The next hop has asked to be sent less, and there is no other one.
    NextHop,
}

impl Excess {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 6] =
        [Self::New, Self::InDialog, Self::Listener, Self::Peer, Self::Route, Self::NextHop];

    /// The metric's label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::New => "overload",
            Self::InDialog => "overload_in_dialog",
            Self::Listener => "listener_limit",
            Self::Peer => "peer_limit",
            Self::Route => "route_limit",
            Self::NextHop => "next_hop",
        }
    }
}

/// How often each was so.
pub type Excesses = [u64; Excess::ALL.len()];
