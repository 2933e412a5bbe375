//! What is heard of an OPTIONS, and why a gateway does not count as alive.

use std::fmt;

use crate::net::GatewayId;
use crate::tls::Cause;

/// Why OPTIONS say that a gateway does not live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No answer came in time.
    Silent,
    /// An answer came whose status does not count as alive.
    Status(u16),
    /// No connection was made, or it broke before the answer.
    Connection,
    /// TLS failed.
    Tls(Cause),
}

/// What is heard of an OPTIONS to one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A final answer with this status.
    Answer(u16),
    /// It did not reach the gateway.
    Failed(Fault),
    /// It did not leave, for a reason that lies here: that says nothing of the gateway.
    Unsent,
}

/// An OPTIONS that leaves by a connection, for whoever is to say that it could not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ping {
    /// The gateway that is asked.
    pub gateway: GatewayId,
    /// The place of the way that it leaves by among those of the gateway ([`super::Health::place`]).
    pub way: u8,
    /// Its number.
    pub number: u32,
}

const SILENT: u16 = 1;
const CONNECTION: u16 = 2;
const TLS: u16 = 3;
/// The first final status: codes below it are not statuses.
const STATUS: u16 = 200;
const FAILED: u16 = 1 << 14;
const UNSENT: u16 = 1 << 15;

impl Fault {
    /// The metric's labels.
    pub const CAUSES: [&str; 4] = ["no_answer", "status", "connection", "tls"];

    /// Its place among [`Fault::CAUSES`].
    pub const fn index(self) -> usize {
        match self {
            Self::Silent => 0,
            Self::Status(_) => 1,
            Self::Connection => 2,
            Self::Tls(_) => 3,
        }
    }

    /// As one word: `no_answer`, `503`, `no_connection`, `wrong_name`.
    pub fn word(self) -> String {
        match self {
            Self::Silent => "no_answer".to_owned(),
            Self::Status(status) => status.to_string(),
            Self::Connection => "no_connection".to_owned(),
            Self::Tls(cause) => cause.label().to_owned(),
        }
    }

    /// [`Fault::word`] undone; `None`: nothing that it gives.
    pub fn read(word: &str) -> Option<Self> {
        match word {
            "no_answer" => Some(Self::Silent),
            "no_connection" => Some(Self::Connection),
            word => match word.parse() {
                Ok(status) => Some(Self::Status(status)),
                Err(_) => Cause::of_label(word).map(Self::Tls),
            },
        }
    }

    /// As a number that is not 0.
    pub(super) fn pack(self) -> u16 {
        match self {
            Self::Silent => SILENT,
            Self::Connection => CONNECTION,
            Self::Tls(cause) => TLS + u16::from(cause.index()),
            Self::Status(status) => status.clamp(STATUS, FAILED - 1),
        }
    }

    /// [`Fault::pack`] undone; `None`: nothing that it gives.
    pub(super) fn unpack(code: u16) -> Option<Self> {
        match code {
            SILENT => Some(Self::Silent),
            CONNECTION => Some(Self::Connection),
            STATUS..FAILED => Some(Self::Status(code)),
            _ => Cause::at(u8::try_from(code.checked_sub(TLS)?).ok()?).map(Self::Tls),
        }
    }
}

impl Heard {
    /// As a number that is not 0.
    pub(super) fn pack(self) -> u16 {
        match self {
            Self::Answer(status) => status.clamp(STATUS, FAILED - 1),
            Self::Failed(fault) => FAILED | fault.pack(),
            Self::Unsent => UNSENT,
        }
    }

    /// [`Heard::pack`] undone; `None`: nothing that it gives.
    pub(super) fn unpack(code: u16) -> Option<Self> {
        match code {
            UNSENT => Some(Self::Unsent),
            STATUS..FAILED => Some(Self::Answer(code)),
            FAILED..UNSENT => Fault::unpack(code - FAILED).map(Self::Failed),
            _ => None,
        }
    }
}

impl fmt::Display for Fault {
    /// Of the gateway: `does not answer`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent => f.write_str("does not answer"),
            Self::Status(status) => write!(f, "answers {status}"),
            Self::Connection => f.write_str("cannot be connected to, or breaks the connection"),
            Self::Tls(cause) => write!(f, "fails in TLS: {} ({})", cause.in_words(), cause.label()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::Failure;

    fn faults() -> impl Iterator<Item = Fault> {
        let causes = Failure::LABELS.iter().filter_map(|label| Cause::of_label(label)).map(Fault::Tls);
        [Fault::Silent, Fault::Connection, Fault::Status(200), Fault::Status(699)].into_iter().chain(causes)
    }

    #[test]
    fn what_is_packed_is_unpacked_and_words_are_read() {
        assert_eq!(faults().count(), 4 + Failure::LABELS.len());
        for fault in faults() {
            assert_eq!(Fault::unpack(fault.pack()), Some(fault));
            assert_eq!(Heard::unpack(Heard::Failed(fault).pack()), Some(Heard::Failed(fault)));
            assert_eq!(Fault::read(&fault.word()), Some(fault));
        }
        for heard in [Heard::Answer(200), Heard::Answer(699), Heard::Unsent] {
            assert_eq!(Heard::unpack(heard.pack()), Some(heard));
        }
        assert_eq!([0, 100, 199].map(Heard::unpack), [None; 3]);
        assert_eq!((Fault::unpack(0), Fault::unpack(100), Fault::read("up")), (None, None, None));
    }
}
