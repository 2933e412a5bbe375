//! A request's method, as far as forwarding tells one from another: read once.

use crate::swar::is_same;

/// What kind of method it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Invite,
    Ack,
    Cancel,
    Bye,
    Prack,
    Options,
    Notify,
    /// One that never begins a dialog, and is told from others by nothing else.
    Alone,
    /// Any other, known or not.
    Other,
}

impl Method {
    /// By its name, which has no other case.
    #[inline(always)]
    pub fn of(name: &[u8]) -> Self {
        // Which is told by one comparison of its bytes, the others byte by byte.
        if is_same(name, b"INVITE") { Self::Invite } else { Self::of_others(name) }
    }

    fn of_others(name: &[u8]) -> Self {
        match name {
            b"ACK" => Self::Ack,
            b"CANCEL" => Self::Cancel,
            b"BYE" => Self::Bye,
            b"PRACK" => Self::Prack,
            b"OPTIONS" => Self::Options,
            b"NOTIFY" => Self::Notify,
            b"INFO" | b"MESSAGE" | b"PUBLISH" | b"REGISTER" | b"UPDATE" => Self::Alone,
            _ => Self::Other,
        }
    }

    /// It goes the way of its INVITE: an ACK or a CANCEL.
    #[inline(always)]
    pub const fn follows_invite(self) -> bool {
        matches!(self, Self::Ack | Self::Cancel)
    }

    /// Whether a request can form a dialog, or refresh one; `is_within`: it has a To tag.
    ///
    /// RFC 3261 §16.6 step 4: "If a proxy needs to be in the path of any type of dialog (such as one
    /// straddling a firewall), it SHOULD add a Record-Route header field value to every request with a method
    /// it does not understand since that method may have dialog semantics."
    #[inline(always)]
    pub const fn forms_dialog(self, is_within: bool) -> bool {
        match self {
            Self::Invite | Self::Other => true,
            Self::Notify => !is_within,
            _ => false,
        }
    }
}
