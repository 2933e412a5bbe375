//! RFC 3261 §17, table 4 (Annex A), with RFC 6026's L and M and RFC 4320's late 100; over reliable transports A, E and G are
//! none, and D, I, J and K zero.

/// "T1 is an estimate of the round-trip time (RTT), and it defaults to 500 ms."
pub const T1_NS: u64 = 500_000_000;

/// "The default value of T2 is 4s, and it represents the amount of time a non-INVITE server transaction
/// will take to respond to a request, if it does not respond immediately."
pub const T2_NS: u64 = 4_000_000_000;

/// "T4 represents the amount of time the network will take to clear messages between client and server
/// transactions. The default value of T4 is 5s."
pub const T4_NS: u64 = 5_000_000_000;

/// Timers B, F, H, J, L and M: 64·T1. Timer D, too: "at least 32 seconds for unreliable transports".
pub const SIXTY_FOUR_T1_NS: u64 = 64 * T1_NS;

/// Timer C, "larger than 3 minutes" (§16.6 step 11).
pub const TIMER_C_NS: u64 = 181_000_000_000;

/// RFC 4320 §4.1: "an SIP element MUST respond to a non-INVITE request with a Status-Code of 100 if it has
/// not otherwise responded after the amount of time it takes a client transaction's Timer E to be reset to
/// T2": after T1, 2·T1 and 4·T1.
pub const LATE_TRYING_NS: u64 = 7 * T1_NS;

/// So long an INVITE may stay unanswered before it gets a 100; most get something better by then. RFC 3261 §17.2.1 gives it
/// 200 ms; a step of the wheel, the wait in a socket and that in another shard's box are in the rest.
pub const TRYING_NS: u64 = 150_000_000;

/// The longest that a transaction can stay without a message that comes in: Timer C, then the 64·T1 that a
/// cancelled request is given, then those of the answer.
pub const LONGEST_NS: u64 = TIMER_C_NS + 2 * SIXTY_FOUR_T1_NS;

/// A timer by the letter that the RFCs give it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Timer {
    /// INVITE request retransmission.
    A,
    /// INVITE timeout.
    B,
    /// Proxy's INVITE timeout, and the wait for the answer to an INVITE that was cancelled.
    C,
    /// Wait for retransmissions of an INVITE's answer.
    D,
    /// Other requests' retransmission.
    E,
    /// Other requests' timeout.
    F,
    /// Retransmission of an INVITE's answer.
    G,
    /// Wait for the ACK.
    H,
    /// Wait for retransmissions of the ACK.
    I,
    /// Wait for retransmissions of another request.
    J,
    /// Wait for retransmissions of another request's answer.
    K,
    /// Wait for retransmissions of an accepted INVITE.
    L,
    /// Wait for retransmissions of the 2xx.
    M,
    /// RFC 4320's 100 to another request than INVITE, which has no letter.
    Late,
    /// The 100 to an INVITE, which has none either.
    Trying,
    /// A rule's `timeout`: a branch without any answer is no longer waited for.
    Patience,
}

impl Timer {
    /// All timers, in the order of their numbers.
    pub const ALL: [Self; 16] = [
        Self::A,
        Self::B,
        Self::C,
        Self::D,
        Self::E,
        Self::F,
        Self::G,
        Self::H,
        Self::I,
        Self::J,
        Self::K,
        Self::L,
        Self::M,
        Self::Late,
        Self::Trying,
        Self::Patience,
    ];

    /// The metric's label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::B => "B",
            Self::C => "C",
            Self::D => "D",
            Self::E => "E",
            Self::F => "F",
            Self::G => "G",
            Self::H => "H",
            Self::I => "I",
            Self::J => "J",
            Self::K => "K",
            Self::L => "L",
            Self::M => "M",
            Self::Late => "late_100",
            Self::Trying => "100",
            Self::Patience => "timeout",
        }
    }
}

/// When a message is sent again, and after how long the next time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Again {
    at_ns: u64,
    interval_ns: u64,
}

impl Again {
    /// First after T1.
    pub const fn after_t1(now_ns: u64) -> Self {
        Self { at_ns: now_ns.saturating_add(T1_NS), interval_ns: T1_NS }
    }

    pub const fn at_ns(&self) -> u64 {
        self.at_ns
    }

    /// It was sent again; the next interval is twice as long, at most `longest_ns`.
    pub fn next(&mut self, now_ns: u64, longest_ns: u64) {
        self.wait(now_ns, self.interval_ns.saturating_mul(2).min(longest_ns));
    }

    /// It was sent again; the next interval is this one.
    pub const fn wait(&mut self, now_ns: u64, interval_ns: u64) {
        self.interval_ns = interval_ns;
        self.at_ns = now_ns.saturating_add(interval_ns);
    }
}
