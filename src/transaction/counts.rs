//! What transactions are counted by.

use super::timers::Timer;

/// A kind of transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// An INVITE that came in.
    ServerInvite,
    /// Another request that came in.
    ServerOther,
    /// An INVITE that was sent on.
    ClientInvite,
    /// Another request that was sent, CANCELs of our own included.
    ClientOther,
}

impl Kind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::ServerInvite, Self::ServerOther, Self::ClientInvite, Self::ClientOther];

    /// `side` and `method` of the metric.
    pub const fn labels(self) -> (&'static str, &'static str) {
        match self {
            Self::ServerInvite => ("server", "invite"),
            Self::ServerOther => ("server", "other"),
            Self::ClientInvite => ("client", "invite"),
            Self::ClientOther => ("client", "other"),
        }
    }
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Cause {
    /// It was answered.
    Answered,
    /// It was answered, and the ACK did not come (Timer H).
    NoAck,
    /// It was not answered in time (Timers B, C, F).
    TimedOut,
    /// Its request could not be sent.
    Failed,
}

impl Cause {
    /// All causes, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Answered, Self::NoAck, Self::TimedOut, Self::Failed];

    /// The metric's label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::NoAck => "no_ack",
            Self::TimedOut => "timed_out",
            Self::Failed => "failed",
        }
    }
}

/// A message that a transaction sends by itself, besides what is forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum What {
    /// A 100.
    Trying,
    /// A request once more.
    RequestAgain,
    /// An answer once more.
    ResponseAgain,
    /// An ACK.
    Ack,
    /// A CANCEL.
    Cancel,
    /// A final answer in place of one that did not come.
    Final,
    /// The best of several final answers.
    Best,
    /// A request to another of its next hops.
    Branch,
}

impl What {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Trying,
        Self::RequestAgain,
        Self::ResponseAgain,
        Self::Ack,
        Self::Cancel,
        Self::Final,
        Self::Best,
        Self::Branch,
    ];

    /// It goes on, and not back.
    pub const fn is_request(self) -> bool {
        matches!(self, Self::RequestAgain | Self::Ack | Self::Cancel | Self::Branch)
    }

    /// The metric's label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Trying => "trying",
            Self::RequestAgain => "request_again",
            Self::ResponseAgain => "response_again",
            Self::Ack => "ack",
            Self::Cancel => "cancel",
            Self::Final => "final",
            Self::Best => "best",
            Self::Branch => "branch",
        }
    }
}

/// What there was no room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[repr(u8)]
pub enum Full {
    /// Another transaction.
    #[error("no room for another transaction")]
    Transactions,
    /// A message to be sent again.
    #[error("no room for another message")]
    Messages,
}

impl Full {
    /// Both, in the order of their numbers.
    pub const ALL: [Self; 2] = [Self::Transactions, Self::Messages];

    /// The metric's label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Transactions => "transactions",
            Self::Messages => "messages",
        }
    }
}

/// What one shard's transactions have counted since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Transactions open now, by [`Kind`].
    pub open: [u64; Kind::ALL.len()],
    /// Blocks of kept messages in use now.
    pub blocks: u64,
    /// Transactions that ended, by [`Cause`].
    pub ended: [u64; Cause::ALL.len()],
    /// Requests that came again and went no further.
    pub absorbed: u64,
    /// Branches that were given up because ICMP said that they did not arrive.
    pub unreached: u64,
    /// Messages sent by transactions, by [`What`].
    pub sent: [u64; What::ALL.len()],
    /// Timers that fired, by [`Timer`].
    pub timers: [u64; Timer::ALL.len()],
    /// Requests and CANCELs of our own that there was no room for, by [`Full`].
    pub refused: [u64; Full::ALL.len()],
}
