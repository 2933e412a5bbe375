//! Every way for a message to go no further, once: the metric's label and a row in the manual.

macro_rules! drop_reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident => $label:literal,)+) => {
        /// Why a message went no further and got no answer.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum DropReason { $($(#[doc = $doc])+ $variant,)+ }

        impl DropReason {
            /// All reasons, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The metric's label.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)+ }
            }

            /// One sentence for the manual.
            pub const fn describe(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+),)+ }
            }
        }
    };
}

drop_reasons! {
    /// Not SIP: no start line, no Via to answer by, or headers that cannot be delimited.
    NotSip => "not_sip",
    /// A keep-alive or an empty datagram (RFC 5626 §3.5.1, RFC 6223).
    KeepAlive => "keep_alive",
    /// The datagram was larger than the receive buffer.
    Truncated => "truncated",
    /// A malformed response: responses are never answered.
    MalformedResponse => "malformed_response",
    /// A malformed ACK: an ACK is never answered.
    MalformedAck => "malformed_ack",
    /// An ACK that no rule or dialog lets through; an ACK is never answered.
    AckRefused => "ack_refused",
    /// The ACK to an answer of our own (its To tag proves it).
    AckAbsorbed => "ack_absorbed",
    /// Taken in by its transaction: a request or an answer that came again, an ACK, a 100, the answer to a CANCEL.
    Absorbed => "absorbed",
    /// A response to a transaction that is over or unknown (RFC 6026 §8.2).
    StrayResponse => "stray_response",
    /// The shard that owns the transaction does not keep up: its queue was full.
    NotHandedOver => "not_handed_over",
    /// A rule with `drop = true` matched.
    Rule => "rule",
    /// A response whose top Via is not ours (RFC 3261 §16.7 step 3, §18.1.2).
    ForeignResponse => "foreign_response",
    /// A response whose top Via names us but whose token does not verify.
    BadBranch => "bad_branch",
    /// A response without a second Via: it was meant for us.
    ResponseForUs => "response_for_us",
    /// The answer to an OPTIONS that asked whether a gateway lives.
    PingAnswer => "ping_answer",
    /// A response that could not be sent to where its Via points (multicast, broadcast, unspecified, ourselves).
    ForbiddenResponseTarget => "forbidden_response_target",
    /// The listener that the response must leave from no longer exists or is not up.
    ListenerGone => "listener_gone",
    /// An ACK whose next hop cannot be reached.
    AckUnroutable => "ack_unroutable",
    /// An ACK that came back to us unchanged (loop).
    AckLoop => "ack_loop",
    /// More came than could be handled, and more of it had to go than could be answered 503 (RFC 3261 §21.5.4).
    Overload => "overload",
    /// No send buffer was free.
    NoSendBuffer => "no_send_buffer",
    /// The rewritten message does not fit into a datagram.
    TooLarge => "too_large",
    /// The socket's send buffer was full, or a request would have stood behind answers that its connection's peer does not take.
    SendQueueFull => "send_queue_full",
    /// The kernel refused the send (unreachable, no route, permission).
    SendFailed => "send_failed",
    /// The connection that it was to leave by could not be opened, broke, or takes nothing.
    ConnectionFailed => "connection_failed",
    /// Handling the message panicked; the message is lost, the shard goes on.
    Panic => "panic",
    /// The process is stopping.
    Stopping => "stopping",
}
