//! What DNS is asked, and what it says.

use std::fmt;
use std::net::IpAddr;

/// A type of record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// RFC 3403
    Naptr,
    /// RFC 2782
    Srv,
    /// RFC 1035
    A,
    /// RFC 3596
    Aaaa,
}

impl Kind {
    /// All of them; `ALL[i] as usize == i`.
    pub const ALL: [Self; 4] = [Self::Naptr, Self::Srv, Self::A, Self::Aaaa];

    /// As in a zone file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Naptr => "NAPTR",
            Self::Srv => "SRV",
            Self::A => "A",
            Self::Aaaa => "AAAA",
        }
    }
}

/// One question to DNS.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Query {
    /// Lower case, without the dot at its end.
    pub name: Box<str>,
    /// Records of this type.
    pub kind: Kind,
}

/// `_sip._udp.example.com SRV`
impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.kind.as_str())
    }
}

/// A record of one of the [`Kind`]s; names are lower case and without the dot at their end, the root is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// RFC 3403 §4.1
    Naptr {
        /// Lower ones go first.
        order: u16,
        /// Of the same order, lower ones go first.
        preference: u16,
        /// `s`: an SRV record comes next.
        flags: Box<str>,
        /// `SIP+D2U`
        service: Box<str>,
        /// There is a regular expression, which RFC 3263 does not use.
        has_regexp: bool,
        /// The name of the SRV records.
        replacement: Box<str>,
    },
    /// RFC 2782
    Srv {
        /// Lower ones go first.
        priority: u16,
        /// The share among those of the same priority.
        weight: u16,
        /// Of the service.
        port: u16,
        /// The host that has it.
        target: Box<str>,
    },
    /// A or AAAA.
    Address(IpAddr),
}

/// As in a zone file, without name, TTL and type.
impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Naptr { order, preference, flags, service, replacement, .. } => {
                write!(f, "{order} {preference} \"{flags}\" \"{service}\" {replacement}.")
            }
            Self::Srv { priority, weight, port, target } => {
                write!(f, "{priority} {weight} {port} {target}.")
            }
            Self::Address(ip) => write!(f, "{ip}"),
        }
    }
}

/// What DNS said to a [`Query`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// There are records, in the order of the answer.
    Records {
        /// At least one.
        records: Vec<Record>,
        /// How long they hold, in seconds: the least of all.
        ttl_s: u32,
    },
    /// There are none.
    Nothing {
        /// The name has records of other types.
        exists: bool,
        /// How long that holds, in seconds (RFC 2308 §5); `None`: the answer does not say.
        ttl_s: Option<u32>,
    },
    /// Nobody knows: no answer in time, or a server that cannot answer.
    Failed(Box<str>),
}
