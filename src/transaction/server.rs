//! Server transactions: RFC 3261 §17.2 with RFC 6026's Accepted and RFC 4320's rules. Drawn for UDP; over reliable
//! transports no answer is sent again, and I and J are over at once.
//!
//! ```text
//!  INVITE   Trying ─ 150 ms: 100 ─► Proceeding ─ 2xx ─► Accepted ───────────── L ─► gone
//!                                       └─ 300-699 ─► Completed ─ ACK ─► Confirmed ─ I ─► gone
//!                                                         └─ G: again      └ H: no ACK ─► gone
//!  others   Trying ─ 3.5 s: 100 ─► Proceeding ─ 200-699 ─► Completed ─ J ─► gone
//! ```
//!
//! The RFC has an INVITE begin in Proceeding, because "the server transaction MUST generate a 100 (Trying) response unless it
//! knows that the TU will generate a provisional or final response within 200 ms" (§17.2.1). Nobody knows that before; so the
//! 100 waits for as long as it may, and most answers come before it.

use super::timers::{Again, LATE_TRYING_NS, SIXTY_FOUR_T1_NS, T2_NS, T4_NS, TRYING_NS, Timer};
use crate::net::Now;

/// Where a server transaction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerState {
    /// Nothing was answered yet.
    Trying,
    /// At most provisionally answered.
    Proceeding,
    /// Finally answered, by a non-2xx where it is an INVITE.
    Completed,
    /// The ACK has come.
    Confirmed,
    /// An INVITE that was answered by 2xx (RFC 6026 §7.1).
    Accepted,
}

/// A server transaction's state machine: messages and instants in, what is to be done out.
#[derive(Clone, Copy, Debug)]
pub struct Server {
    state: ServerState,
    is_invite: bool,
    is_reliable: bool,
    again: Again,
    ends_ns: u64,
}

/// What a retransmitted request leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnRequest {
    /// A 100 is sent: there was no answer yet.
    Trying,
    /// What was sent last is sent again.
    SendAgain,
    /// Nothing.
    Absorb,
}

/// What an ACK leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnAck {
    /// It ends here.
    Absorb,
    /// It goes on: it is the ACK to a 2xx.
    PassOn,
}

/// What a timer leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerDue {
    /// None is due yet.
    Nothing,
    /// A 100 is due, by this timer.
    Trying(Timer),
    /// The answer is sent again.
    SendAgain,
    /// The transaction is over; this timer ended it.
    End(Timer),
}

impl Server {
    /// An INVITE has come.
    pub const fn invite(now: Now) -> Self {
        Self::new(true, TRYING_NS, now)
    }

    /// Another request has come, which is no ACK.
    pub const fn other(now: Now) -> Self {
        Self::new(false, LATE_TRYING_NS, now)
    }

    const fn new(is_invite: bool, trying_ns: u64, now: Now) -> Self {
        let ends_ns = now.0.saturating_add(trying_ns);
        let again = Again::after_t1(now.0);
        Self { state: ServerState::Trying, is_invite, is_reliable: false, again, ends_ns }
    }

    /// The same over a reliable transport: Timer G is none, and "for reliable transports" Timers I and J "fire in zero
    /// seconds" (§17.2.1, §17.2.2).
    #[must_use]
    pub const fn over(mut self, reliable: bool) -> Self {
        self.is_reliable = reliable;
        self
    }

    /// Where it stands.
    pub const fn state(&self) -> ServerState {
        self.state
    }

    /// It was created by an INVITE.
    pub const fn is_invite(&self) -> bool {
        self.is_invite
    }

    /// It was finally answered.
    pub const fn is_answered(&self) -> bool {
        !matches!(self.state, ServerState::Trying | ServerState::Proceeding)
    }

    /// When [`Server::on_timer`] is due; `None`: it waits for the client transaction.
    pub fn deadline(&self) -> Option<Now> {
        match self.state {
            ServerState::Proceeding => None,
            ServerState::Completed if self.is_invite && !self.is_reliable => {
                Some(Now(self.ends_ns.min(self.again.at_ns())))
            }
            _ => Some(Now(self.ends_ns)),
        }
    }

    /// The request has come again.
    ///
    /// "If a request retransmission is received while in the "Proceeding" state, the most recent provisional
    /// response that was received from the TU MUST be passed to the transport layer for retransmission."
    /// "Furthermore, while in the "Completed" state, if a request retransmission is received, the server
    /// SHOULD pass the response to the transport for retransmission." RFC 6026 §8.7: in Accepted they "are absorbed entirely
    /// within the server transaction". §17.2.2: "Once in the "Trying" state, any further request
    /// retransmissions are discarded." The 100 to an INVITE "is needed to quench request retransmissions rapidly": it does
    /// not wait any longer.
    pub const fn on_request(&mut self) -> OnRequest {
        match self.state {
            ServerState::Trying if self.is_invite => {
                self.state = ServerState::Proceeding;
                OnRequest::Trying
            }
            ServerState::Proceeding | ServerState::Completed => OnRequest::SendAgain,
            ServerState::Trying | ServerState::Confirmed | ServerState::Accepted => OnRequest::Absorb,
        }
    }

    /// Its ACK has come.
    ///
    /// "If an ACK is received while the server transaction is in the "Completed" state, the server
    /// transaction MUST transition to the "Confirmed" state." RFC 6026 §7.1: "Any ACKs received from the
    /// network while in the "Accepted" state MUST be passed directly to the TU and not absorbed."
    pub const fn on_ack(&mut self, now: Now) -> OnAck {
        match self.state {
            ServerState::Completed => {
                self.state = ServerState::Confirmed;
                self.ends_ns = now.0.saturating_add(if self.is_reliable { 0 } else { T4_NS });
                OnAck::Absorb
            }
            ServerState::Accepted => OnAck::PassOn,
            ServerState::Trying | ServerState::Proceeding | ServerState::Confirmed => OnAck::Absorb,
        }
    }

    /// The proxy wants to answer; `false`: the answer is not sent.
    ///
    /// "Any other final responses passed by the TU to the server transaction MUST be discarded while in the
    /// "Completed" state." A 2xx to an INVITE goes out in any state: "After a final response has been sent
    /// on the server transaction, the following responses MUST be forwarded immediately: Any 2xx response to
    /// an INVITE request" (§16.7 step 5).
    pub const fn on_response(&mut self, status: u16, now: Now) -> bool {
        let is_2xx = status >= 200 && status < 300;
        if self.is_answered() {
            return self.is_invite && is_2xx;
        }
        if status < 200 {
            self.state = ServerState::Proceeding;
        } else {
            self.state =
                if self.is_invite && is_2xx { ServerState::Accepted } else { ServerState::Completed };
            // Timer H, J or L; and G: "For unreliable transports, timer G is set to fire in T1 seconds".
            let at_once = self.is_reliable && !self.is_invite;
            self.ends_ns = now.0.saturating_add(if at_once { 0 } else { SIXTY_FOUR_T1_NS });
            self.again = Again::after_t1(now.0);
        }
        true
    }

    /// The deadline has come.
    pub fn on_timer(&mut self, now: Now) -> ServerDue {
        let over = now.0 >= self.ends_ns;
        match self.state {
            ServerState::Trying if over => {
                self.state = ServerState::Proceeding;
                ServerDue::Trying(if self.is_invite { Timer::Trying } else { Timer::Late })
            }
            ServerState::Completed if over => {
                ServerDue::End(if self.is_invite { Timer::H } else { Timer::J })
            }
            ServerState::Confirmed if over => ServerDue::End(Timer::I),
            ServerState::Accepted if over => ServerDue::End(Timer::L),
            // "If timer G fires, the response is passed to the transport layer once more for retransmission,
            // and timer G is set to fire in MIN(2*T1, T2) seconds. From then on, when timer G fires, the
            // response is passed to the transport again for transmission, and timer G is reset with a value
            // that doubles, unless that value exceeds T2, in which case it is reset with the value of T2."
            ServerState::Completed if self.is_invite && !self.is_reliable && now.0 >= self.again.at_ns() => {
                self.again.next(now.0, T2_NS);
                ServerDue::SendAgain
            }
            _ => ServerDue::Nothing,
        }
    }
}
