//! What is to be found: the part of a URI that RFC 3263 begins with.

use std::fmt;
use std::hash::{Hash, Hasher};

use crate::net::Transport;

/// Longest host name as text, without the dot at its end: 255 octets in a message (RFC 1035 §2.3.4) are 253 here.
const NAME_BYTES: usize = 253;

/// Longest label (RFC 1035 §2.3.4).
const LABEL_BYTES: usize = 63;

/// A host name: lower case, without the dot at its end. Kept in place, so that a shard makes one without memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HostName {
    len: u8,
    bytes: [u8; NAME_BYTES],
}

impl HostName {
    /// Reads a name as it stands in a URI; `None`: DNS can hold no such name of a host.
    pub fn new(text: &[u8]) -> Option<Self> {
        let text = text.strip_suffix(b".").unwrap_or(text);
        let legal = |label: &[u8]| {
            let known = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_');
            (1..=LABEL_BYTES).contains(&label.len()) && label.iter().all(known)
        };
        if !text.split(|c| *c == b'.').all(legal) {
            return None;
        }
        let mut bytes = [0; NAME_BYTES];
        let place = bytes.get_mut(..text.len())?;
        place.copy_from_slice(text);
        place.make_ascii_lowercase();
        Some(Self { len: text.len() as u8, bytes })
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..usize::from(self.len)).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

impl Hash for HostName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Debug for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

/// A name, and what of a URI decides how it is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// RFC 3263 §4: "We define TARGET as the value of the maddr parameter of the URI, if present, otherwise, the host
    /// value of the hostport component of the URI."
    pub name: HostName,
    /// The port, where the URI has one.
    pub port: Option<u16>,
    /// The transport, where the URI has one or a rule decides it.
    pub transport: Option<Transport>,
    /// It is to be reached as if by a `sips` URI.
    pub sips: bool,
}

/// As a URI would ask for it: `sip:example.com:5060;transport=tcp`.
impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.sips { "sips" } else { "sip" };
        write!(f, "{scheme}:{}", self.name.as_str())?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        match self.transport {
            Some(transport) => write!(f, ";transport={transport}"),
            None => Ok(()),
        }
    }
}
