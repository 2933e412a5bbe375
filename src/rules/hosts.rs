//! Host names and addresses, exact, without regard to case and brackets.

use std::cmp::Ordering;

use super::bits::{Bits, Rows};

/// The rules for each host that one of the host keys names.
pub(super) struct Hosts(Rows<Box<str>>);

impl Hosts {
    /// `hosts` has an item for each rule: lower-case hosts; empty: any.
    pub fn new<'k>(hosts: impl ExactSizeIterator<Item = &'k [Box<str>]> + Clone) -> Self {
        Self(Rows::new(hosts))
    }

    /// Any rule asks for a host.
    pub fn is_asked(&self) -> bool {
        self.0.is_asked()
    }

    /// The rules for a host as received.
    pub fn get(&self, host: &[u8]) -> &Bits {
        self.0.get_by(|known| compare(known.as_bytes(), plain(host)))
    }
}

/// A host without brackets and without the dot of a fully qualified name.
pub(super) fn plain(host: &[u8]) -> &[u8] {
    let host = match host {
        [b'[', inner @ .., b']'] => inner,
        host => host,
    };
    host.strip_suffix(b".").unwrap_or(host)
}

fn compare(known: &[u8], host: &[u8]) -> Ordering {
    known.iter().copied().cmp(host.iter().map(u8::to_ascii_lowercase))
}
