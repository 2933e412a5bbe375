//! What Viaduct answers by itself, and why: status, reason phrase, extra headers.

use crate::dns::Unresolved;
use crate::egress::NoEgress;
use crate::net::NextHop;
use crate::overload::Refused;

use super::forbidden::Forbidden;
use super::validate::Flaw;

/// An answer of our own to a message that came in: finals only (RFC 3261 §16.11: "an element MUST NOT generate its
/// own 100 (Trying) or any other provisional response"). What it answers needs no transaction: the retransmission
/// is answered the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// 200: OPTIONS to ourselves (RFC 3261 §11.2).
    Options,
    /// 200: a CANCEL for a transaction that is kept here (RFC 3261 §16.10).
    Cancels,
    /// 400 and its kin: the request breaks a rule of syntax.
    Malformed(Flaw),
    /// A rule with `reject = STATUS`.
    Rejected(u16),
    /// 403: no rule matches.
    NoRule,
    /// 403: the next hop that the request asks for is not one to send to.
    Forbidden(Forbidden),
    /// 403: the listener's `dialog_to` does not hold the next hop of this in-dialog request.
    OutsideDialogTo,
    /// 404: the Request-URI names ourselves, and there is no location service.
    NotFound,
    /// 416: the Request-URI's scheme cannot be routed.
    Scheme,
    /// 416: the Request-URI is that of an emergency service, and no rule matches.
    NoService,
    /// 420: Proxy-Require asks for something we do not know.
    ProxyRequire,
    /// 430: the connection that leads to the client is gone (RFC 5626 §5.3.1).
    FlowFailed,
    /// 403: no key of ours made the value that names the client's connection (RFC 5626 §5.3.1).
    FlowForged,
    /// 440: Max-Breadth is 0, and the request would be forked (RFC 5393 §5.3.3).
    Breadth,
    /// 481: a Route of ours in a dialog that we know nothing of, and no rule matches.
    NoDialog,
    /// 482: the request has been here before, in the same form (RFC 5393 §4.2.2).
    Loop,
    /// 483: Max-Forwards is 0.
    TooManyHops,
    /// 484: a rule's `set` leaves nothing of the Request-URI's user.
    NoUser,
    /// The name of the next hop leads nowhere. 478 where the request names it, 500 where a rule does; 503 where nobody
    /// could tell in time.
    Unresolved {
        /// Why.
        why: Unresolved,
        /// A rule names it, not the request.
        by_rule: bool,
    },
    /// 500: no listener can send it.
    NoEgress(NextHop, NoEgress),
    /// 480: a SIPS URI says where the request goes, and this next hop is not over TLS (RFC 5630 §5.3).
    NotSecure(NextHop),
    /// 503: the gateways that could be tried have all asked to be left alone (RFC 3261 §21.5.4).
    NoGateway,
    /// A `limit`: 503, or what it says, and when there will be room.
    Limited(Refused),
    /// 503: more comes than can be handled (RFC 7339 §5.10.2).
    Overloaded,
    /// 503: the next hop has asked to be sent less, and there is no other one (RFC 7339 §5.10).
    Spared,
    /// 503: there is no room for another transaction.
    Full,
    /// 513: what would go out does not fit into a datagram.
    TooLarge,
}

impl Reply {
    /// 200 to 699.
    ///
    /// What cannot be sent is 500, not 503: RFC 3261 §16.7 step 6 says of 503 that "forwarding a 503
    /// means that the proxy knows it cannot service any requests, not just the one for the Request-URI in
    /// the request which generated the 503", and clients take us out of service for it (RFC 3263 §4.3): what
    /// they should where there is no room.
    pub const fn status(self) -> u16 {
        match self {
            Self::Options | Self::Cancels => 200,
            Self::Malformed(flaw) => flaw.status(),
            Self::Rejected(status) => status,
            Self::NoRule | Self::Forbidden(_) | Self::OutsideDialogTo | Self::FlowForged => 403,
            Self::NotFound => 404,
            Self::Scheme | Self::NoService => 416,
            Self::ProxyRequire => 420,
            Self::FlowFailed => 430,
            Self::Breadth => 440,
            // RFC 5630 §5.3: "If the proxy needs to reject the request for that reason, the proxy MUST reject it with a 480
            // (Temporarily Unavailable) response."
            Self::NotSecure(_) => 480,
            Self::NoDialog => 481,
            Self::Loop => 482,
            Self::TooManyHops => 483,
            Self::NoUser => 484,
            // 478 is not registered; proxies answer so where a request names a host that does not exist, and clients
            // take it for 400 (RFC 3261 §8.1.3.2). What may be there a second later is 503, without Retry-After:
            // "the client MUST act as if it had received a 500 (Server Internal Error) response" (§21.5.4).
            Self::Unresolved { why: Unresolved::Pending | Unresolved::Failed, .. } => 503,
            Self::Unresolved { by_rule: false, .. } => 478,
            Self::Unresolved { by_rule: true, .. } | Self::NoEgress(..) => 500,
            Self::Limited(refused) => refused.status,
            Self::NoGateway | Self::Full | Self::Overloaded | Self::Spared => 503,
            Self::TooLarge => 513,
        }
    }

    /// The reason phrase: says what is wrong with this request, where the status alone does not.
    pub const fn phrase(self) -> &'static str {
        match self {
            Self::Options | Self::Cancels => "OK",
            Self::Malformed(flaw) => flaw.in_words(),
            Self::Rejected(status) => phrase_of(status),
            Self::NoRule => "Forbidden: No Rule Matches",
            Self::Forbidden(why) => why.in_words(),
            Self::OutsideDialogTo => "Forbidden: Next Hop Outside dialog_to",
            Self::NotFound => "Not Found",
            Self::Scheme | Self::NoService => "Unsupported URI Scheme",
            Self::ProxyRequire => "Bad Extension",
            Self::FlowFailed => "Flow Failed",
            Self::FlowForged => "Forbidden: Not The Path That Was Given",
            Self::Breadth => "Max-Breadth Exceeded",
            Self::NotSecure(_) => "Temporarily Unavailable: Next Hop Without TLS",
            Self::NoDialog => "Call/Transaction Does Not Exist",
            Self::Loop => "Loop Detected",
            Self::TooManyHops => "Too Many Hops",
            Self::NoUser => "Address Incomplete: Nothing Left Of The User",
            Self::Unresolved { why: Unresolved::Pending | Unresolved::Failed, .. } => {
                "Next Hop Not Resolved In Time"
            }
            Self::Unresolved { by_rule: false, .. } => "Unresolvable Destination",
            Self::Unresolved { by_rule: true, .. } => "Next Hop Unresolved",
            Self::NoEgress(..) => "No Way To Next Hop",
            Self::NoGateway => "All Gateways Overloaded",
            Self::Limited(_) => "Too Many Requests",
            Self::Overloaded => "Overloaded",
            Self::Spared => "Next Hop Overloaded",
            Self::Full => "No Room For Another Transaction",
            Self::TooLarge => "Message Too Large",
        }
    }
}

/// The phrase that RFC 3261 §21 gives a status; a general one by its class for others.
const fn phrase_of(status: u16) -> &'static str {
    match status {
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Moved Temporarily",
        305 => "Use Proxy",
        380 => "Alternative Service",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        410 => "Gone",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        420 => "Bad Extension",
        421 => "Extension Required",
        423 => "Interval Too Brief",
        430 => "Flow Failed",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        484 => "Address Incomplete",
        485 => "Ambiguous",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        491 => "Request Pending",
        493 => "Undecipherable",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        505 => "Version Not Supported",
        513 => "Message Too Large",
        600 => "Busy Everywhere",
        603 => "Decline",
        604 => "Does Not Exist Anywhere",
        606 => "Not Acceptable",
        _ => match status / 100 {
            3 => "Redirected",
            4 => "Request Failed",
            5 => "Server Failed",
            _ => "Refused",
        },
    }
}
