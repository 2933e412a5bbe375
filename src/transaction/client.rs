//! Client transactions: RFC 3261 §17.1 with RFC 6026's Accepted, and a proxy's Timer C (§16.8). Drawn for UDP; over
//! reliable transports nothing is sent again, and D and K are over at once.
//!
//! ```text
//!  INVITE   Calling ─ 1xx ─► Proceeding ─ 2xx ─► Accepted ─ M ─► gone
//!             │ A: again        │ └─ 300-699: ACK ─► Completed ─ D ─► gone
//!             │ B: 408          └ C: CANCEL, then 64·T1: 408
//!             └ patience is over: abandoned, which is Calling until B; who rings late is cancelled
//!  others   Trying ─ 1xx ─► Proceeding ─ 200-699 ─► Completed ─ K ─► gone
//!             └ E: again, F: no answer ┘
//! ```

use super::timers::{Again, SIXTY_FOUR_T1_NS, T2_NS, T4_NS, TIMER_C_NS, Timer};
use crate::net::Now;

/// Where a client transaction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientState {
    /// Nothing has come back. For other requests than INVITE the RFC calls it Trying.
    Calling,
    /// Provisionally answered.
    Proceeding,
    /// Finally answered, by a non-2xx where it is an INVITE.
    Completed,
    /// An INVITE that was answered by 2xx (RFC 6026 §7.2).
    Accepted,
}

/// A CANCEL's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cancel {
    No,
    /// "If no provisional response has been received, the CANCEL request MUST NOT be sent; rather, the client
    /// MUST wait for the arrival of a provisional response before sending the request." (§9.1)
    Wanted,
    Sent,
}

/// A client transaction's state machine: messages and instants in, what is to be done out.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    state: ClientState,
    is_invite: bool,
    is_reliable: bool,
    cancel: Cancel,
    /// [`Client::on_cancel`] was called before its final answer.
    is_unwanted: bool,
    is_abandoned: bool,
    /// [`Client::tells_silence`] has said so.
    is_silent: bool,
    again: Again,
    ends_ns: u64,
    timer_c_ns: u64,
}

/// What a response leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OnResponse {
    /// It goes on to the server transaction.
    pub passes: bool,
    /// An ACK is sent: one made of this response, or the same as before.
    pub ack: Option<Ack>,
    /// A CANCEL is sent.
    pub cancel: bool,
}

/// Which ACK is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// One to this response.
    New,
    /// The same as before.
    Again,
}

/// What a timer leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientDue {
    /// None is due yet.
    Nothing,
    /// The request is sent again, by this timer.
    SendAgain(Timer),
    /// Timer C: a CANCEL is sent.
    Cancel,
    /// There was no answer in the time that it was given: it is no longer waited for.
    Abandoned,
    /// There was no answer in time: the transaction is over, by this timer.
    TimedOut(Timer),
    /// The transaction is over; this timer ended it.
    End(Timer),
}

impl Client {
    /// A request is sent, which is no ACK; its first answer is waited for so long, at most 64·T1.
    pub const fn new(is_invite: bool, patience_ns: u64, now: Now) -> Self {
        let patience_ns = if patience_ns < SIXTY_FOUR_T1_NS { patience_ns } else { SIXTY_FOUR_T1_NS };
        Self {
            state: ClientState::Calling,
            is_invite,
            is_reliable: false,
            cancel: Cancel::No,
            is_unwanted: false,
            is_abandoned: false,
            is_silent: false,
            again: Again::after_t1(now.0),
            ends_ns: now.0.saturating_add(patience_ns),
            timer_c_ns: now.0.saturating_add(TIMER_C_NS),
        }
    }

    /// The same over a reliable transport: "the client transaction SHOULD NOT start timer A" (§17.1.1.2), nor E, and
    /// Timers D and K are "zero seconds for reliable transports".
    #[must_use]
    pub const fn over(mut self, reliable: bool) -> Self {
        self.is_reliable = reliable;
        self
    }

    /// Timers B and F, as long as Timer C was not reset.
    const fn timer_b_or_f_ns(&self) -> u64 {
        self.timer_c_ns.saturating_sub(TIMER_C_NS - SIXTY_FOUR_T1_NS)
    }

    /// Where it stands.
    pub const fn state(&self) -> ClientState {
        self.state
    }

    /// It was created by an INVITE.
    pub const fn is_invite(&self) -> bool {
        self.is_invite
    }

    /// It is an INVITE that its caller has cancelled.
    pub const fn is_unwanted(&self) -> bool {
        self.is_unwanted
    }

    /// Its answer is no longer waited for.
    pub const fn is_abandoned(&self) -> bool {
        self.is_abandoned
    }

    /// Whether a next hop from which nothing is waited for any more counts as one that does not answer; said once.
    ///
    /// RFC 4320 §4.1: "An SIP element MUST NOT respond to a non-INVITE request with a Status-Code of 100 over any
    /// unreliable transport, such as UDP, before the amount of time it takes a client transaction's Timer E to be reset
    /// to T2." Who says nothing until then may be at work: it counts when T2 are over, by when that 100 would be here,
    /// else at Timer F.
    pub const fn tells_silence(&mut self, now: Now) -> bool {
        let begun_ns = self.timer_c_ns.saturating_sub(TIMER_C_NS);
        let had_to_answer = self.is_invite || now.0.saturating_sub(begun_ns) >= T2_NS;
        let tells = matches!(self.state, ClientState::Calling) && had_to_answer && !self.is_silent;
        self.is_silent |= tells;
        tells
    }

    /// When [`Client::on_timer`] is due.
    pub fn deadline(&self) -> Now {
        Now(if self.sends_again() { self.ends_ns.min(self.again.at_ns()) } else { self.ends_ns })
    }

    /// "These retransmissions SHOULD only be done while the client transaction is in the "calling" state";
    /// those of other requests go on in Proceeding.
    const fn sends_again(&self) -> bool {
        match self.state {
            _ if self.is_reliable => false,
            ClientState::Calling | ClientState::Proceeding if self.is_abandoned => false,
            ClientState::Calling => true,
            ClientState::Proceeding => !self.is_invite,
            ClientState::Completed | ClientState::Accepted => false,
        }
    }

    /// A response has come.
    pub const fn on_response(&mut self, status: u16, now: Now) -> OnResponse {
        match self.state {
            ClientState::Calling | ClientState::Proceeding if status < 200 => {
                self.on_provisional(status, now)
            }
            ClientState::Calling | ClientState::Proceeding => self.on_final(status, now),
            // RFC 6026 §8.4: "Any 2xx responses that match this client transaction and that are received
            // while in the "Accepted" state MUST be passed up to the TU." In Completed such a 2xx is of
            // another branch behind a proxy that forked; §16.7 step 5 has it forwarded, too.
            ClientState::Accepted | ClientState::Completed
                if self.is_invite && status >= 200 && status < 300 =>
            {
                OnResponse { passes: true, ..NOTHING }
            }
            // "Any retransmissions of the final response that are received while in the "Completed" state
            // MUST cause the ACK to be re-passed to the transport layer for retransmission, but the newly
            // received response MUST NOT be passed up to the TU."
            ClientState::Completed if self.is_invite && status >= 300 => {
                OnResponse { ack: Some(Ack::Again), ..NOTHING }
            }
            ClientState::Completed | ClientState::Accepted => NOTHING,
        }
    }

    /// "For an INVITE transaction, if the response is a provisional response with status codes 101 to 199
    /// inclusive (i.e., anything but 100), the proxy MUST reset timer C for that client transaction." (§16.7
    /// step 2) "a stateful proxy MUST NOT forward any 100 (Trying) response" (step 5). RFC 4320 §4.1: "An SIP
    /// element MUST NOT send any provisional response with a Status-Code other than 100 to a non-INVITE
    /// request."
    const fn on_provisional(&mut self, status: u16, now: Now) -> OnResponse {
        self.state = ClientState::Proceeding;
        if !self.is_invite {
            self.ends_ns = self.timer_b_or_f_ns();
            return NOTHING;
        }
        if status > 100 {
            self.timer_c_ns = now.0.saturating_add(TIMER_C_NS);
        }
        let cancel = matches!(self.cancel, Cancel::Wanted);
        match self.cancel {
            Cancel::No => self.ends_ns = self.timer_c_ns,
            Cancel::Wanted => self.cancelled(now),
            Cancel::Sent => {}
        }
        OnResponse { passes: status > 100 && !self.is_abandoned, cancel, ..NOTHING }
    }

    const fn on_final(&mut self, status: u16, now: Now) -> OnResponse {
        let is_2xx = status < 300;
        let (state, after_ns) = match (self.is_invite, is_2xx) {
            (true, true) => (ClientState::Accepted, SIXTY_FOUR_T1_NS),
            (_, _) if self.is_reliable => (ClientState::Completed, 0),
            (true, false) => (ClientState::Completed, SIXTY_FOUR_T1_NS),
            (false, _) => (ClientState::Completed, T4_NS),
        };
        self.state = state;
        self.ends_ns = now.0.saturating_add(after_ns);
        let ack = if self.is_invite && !is_2xx { Some(Ack::New) } else { None };
        // What comes late is an answer all the same, but not what has come of our CANCEL: that would be a 487 that the caller has
        // not asked for. A 6xx has crossed it: it says that the "server has definitive information about a particular user" (§21.6).
        let is_own_doing = self.is_abandoned && matches!(self.cancel, Cancel::Sent) && status < 600;
        OnResponse { passes: is_2xx || !is_own_doing, ack, cancel: false }
    }

    /// The request is no longer wanted; `true`: a CANCEL is sent now.
    ///
    /// "A CANCEL request SHOULD NOT be sent to cancel a request other than INVITE." (§9.1)
    pub const fn on_cancel(&mut self, now: Now) -> bool {
        let is_answered = matches!(self.state, ClientState::Completed | ClientState::Accepted);
        self.is_unwanted |= self.is_invite && !is_answered;
        match (self.state, self.cancel) {
            _ if !self.is_invite => false,
            (ClientState::Calling, Cancel::No) => {
                self.cancel = Cancel::Wanted;
                false
            }
            (ClientState::Proceeding, Cancel::No) => {
                self.cancelled(now);
                true
            }
            _ => false,
        }
    }

    /// "If there is no final response for the original request in 64*T1 seconds […], the client SHOULD then
    /// consider the original transaction cancelled and SHOULD destroy the client transaction handling the
    /// original request." (§9.1)
    const fn cancelled(&mut self, now: Now) {
        self.cancel = Cancel::Sent;
        self.ends_ns = now.0.saturating_add(SIXTY_FOUR_T1_NS);
    }

    /// It stays until Timer B or F: who answers late is told by a CANCEL, which "MUST NOT be sent" before (§9.1), and a
    /// refusal is acknowledged.
    const fn abandon(&mut self) {
        self.is_abandoned = true;
        self.ends_ns = self.timer_b_or_f_ns();
        if self.is_invite {
            self.cancel = Cancel::Wanted;
        }
    }

    /// The request could not be sent; `true`: the transaction is over. "If the transport layer notifies a
    /// proxy of an error when it tries to forward a request (see Section 18.4), the proxy MUST behave as if
    /// the forwarded request received a 503" (§16.9). Where it was answered provisionally and is not sent again, it has arrived,
    /// whatever becomes of the connection that it left by. Once there is a final answer, only an ACK can fail, and the answer
    /// that is sent again for want of it is still to be absorbed.
    pub const fn on_transport_error(&self) -> bool {
        match self.state {
            ClientState::Calling => !self.is_abandoned,
            _ => self.sends_again(),
        }
    }

    /// The request has left, and the connection that alone its answer can come by has ended; `true`: the transaction is over.
    ///
    /// RFC 7118 §5.3: "SIP responses can only be sent over the existing WebSocket connection".
    pub const fn on_end_of_connection(&self) -> bool {
        matches!(self.state, ClientState::Calling | ClientState::Proceeding)
    }

    /// The request has left, and its connection has broken; `true`: it is to be given up, unless an answer has come by then.
    ///
    /// RFC 3261 §18.4: "If the transport user asks for a request to be sent over a reliable transport, and the result is a
    /// connection failure, the transport layer SHOULD inform the transport user of a failure in sending." It may have arrived all
    /// the same, and be answered: "If that connection is no longer open, the server SHOULD open a connection" (§18.2.2). So it is
    /// given up as one whose time is over; and not where it has been answered provisionally.
    pub const fn on_broken_connection(&self) -> bool {
        matches!(self.state, ClientState::Calling) && !self.is_abandoned
    }

    /// Its answer is no longer waited for, because its connection has broken.
    pub const fn give_up(&mut self) {
        self.abandon();
        // Counted as a failure now, and not as silence once more at the end.
        self.is_silent = true;
    }

    /// The deadline has come.
    pub fn on_timer(&mut self, now: Now) -> ClientDue {
        if now.0 >= self.ends_ns {
            return self.on_end(now);
        }
        if !self.sends_again() || now.0 < self.again.at_ns() {
            return ClientDue::Nothing;
        }
        // "When timer A fires, the client transaction MUST retransmit the request by passing it to the
        // transport layer, and MUST reset the timer with a value of 2*T1." Timer E: "with a value of MIN(2*T1,
        // T2)"; "If Timer E fires while in the "Proceeding" state, […] Timer E MUST be reset with a value of
        // T2 seconds."
        match (self.is_invite, self.state) {
            (true, _) => self.again.next(now.0, u64::MAX),
            (false, ClientState::Proceeding) => self.again.wait(now.0, T2_NS),
            (false, _) => self.again.next(now.0, T2_NS),
        }
        ClientDue::SendAgain(if self.is_invite { Timer::A } else { Timer::E })
    }

    fn on_end(&mut self, now: Now) -> ClientDue {
        match (self.state, self.is_invite) {
            (ClientState::Calling, _) if now.0 < self.timer_b_or_f_ns() => {
                self.abandon();
                ClientDue::Abandoned
            }
            (ClientState::Calling, true) => ClientDue::TimedOut(Timer::B),
            (ClientState::Proceeding, true) if self.cancel == Cancel::Sent => ClientDue::TimedOut(Timer::C),
            (ClientState::Proceeding, true) => {
                self.cancelled(now);
                ClientDue::Cancel
            }
            (ClientState::Calling | ClientState::Proceeding, false) => ClientDue::TimedOut(Timer::F),
            (ClientState::Completed, true) => ClientDue::End(Timer::D),
            (ClientState::Completed, false) => ClientDue::End(Timer::K),
            (ClientState::Accepted, _) => ClientDue::End(Timer::M),
        }
    }
}

const NOTHING: OnResponse = OnResponse { passes: false, ack: None, cancel: false };
