//! What the kernel may drop for us where more comes than can be handled: a filter at the socket (`SO_ATTACH_FILTER`,
//! socket(7)) is asked before a datagram is queued, so that what it drops takes nothing of this core.
//!
//! Callers that hear nothing send again (RFC 3261 §17.1.1.2), seven times at most: with five times the load a dozen
//! INVITEs come for each call that there is time for, and only to read them takes a fifth of a core. A filter sees no
//! more than where bytes stand. So it drops, at random and as large a part as [`super::Shares`] says, only of requests
//! that begin something by what stands in their first line: a method that makes a call or the like, to a number at one of
//! our own addresses. Within a dialog the Request-URI is the other party's Contact (§12.2.1.1), which is none of ours.
//! Everything else comes in, and so does what is usual but written in another way.

mod program;
#[cfg(test)]
mod tests;

use super::Policy;

pub use program::Program;

/// Begin something, and go on within it by other methods or to a Contact.
const METHODS: [&str; 4] = ["INVITE", "MESSAGE", "SUBSCRIBE", "PUBLISH"];

/// Behind the method.
const SCHEME: &str = " sip:";

/// Digits of a number; E.164 has 15, prefixes come before them.
const DIGITS: usize = 24;

/// Names and addresses of ours that are looked for: the first ones of more.
const OWN: usize = 64;

/// What one may be long: longer ones are not looked for.
const OWN_BYTES: usize = 72;

/// What tells the requests of which the kernel may drop some.
pub struct Filter<'a> {
    own: &'a [Box<str>],
    policy: &'a Policy,
}

impl<'a> Filter<'a> {
    /// By the hosts of URIs that mean us, with their ports where they have some, and what is kept in any case.
    pub fn new(own: &'a [Box<str>], policy: &'a Policy) -> Self {
        Self { own, policy }
    }

    /// A filter for `kept` may drop this datagram: the same as [`Self::program`] says to the kernel.
    pub fn fits(&self, datagram: &[u8]) -> bool {
        self.can_tell() && datagram.len() >= self.least() && self.fits_first_line(datagram) == Some(true)
    }

    fn fits_first_line(&self, datagram: &[u8]) -> Option<bool> {
        let uri = METHODS
            .iter()
            .find_map(|method| datagram.strip_prefix(method.as_bytes())?.strip_prefix(SCHEME.as_bytes()))?;
        let digits =
            uri.iter().take(DIGITS + 1).position(|c| !is_of_number(*c)).filter(|digits| *digits > 0)?;
        let (number, rest) = uri.split_at_checked(digits)?;
        let host = rest.strip_prefix(b"@")?;
        let is_own = self.own().any(|own| {
            let behind = host.strip_prefix(own).unwrap_or_default();
            behind.first() == Some(&END) || behind.starts_with(PHONE)
        });
        Some(is_own && !self.policy.is_emergency(number))
    }

    /// A priority stands in a header, wherever that is.
    fn can_tell(&self) -> bool {
        self.policy.priorities.is_empty()
    }

    fn own(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.own.iter().map(|own| own.as_bytes()).filter(|own| own.len() <= OWN_BYTES).take(OWN)
    }

    /// Numbers that could be meant.
    fn emergency(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let numbers = self.policy.emergency.iter().map(|number| number.as_bytes());
        numbers.filter(|number| number.len() <= DIGITS && number.iter().all(|c| is_of_number(*c)))
    }

    /// Bytes of a datagram that is looked at: all that may be is there.
    fn least(&self) -> usize {
        let method = METHODS.iter().map(|method| method.len()).max().unwrap_or(0);
        method + SCHEME.len() + DIGITS + 1 + OWN_BYTES + PHONE.len()
    }
}

/// What stands behind a Request-URI.
const END: u8 = b' ';

/// The same, with the only parameter that one may have: others may be of an address that stands for one party (`gr`, RFC
/// 5627).
const PHONE: &[u8] = b";user=phone ";

/// The first and the last character of a number, and what lies between them: `+ , - . /` and digits.
const NUMBER: [u8; 2] = *b"+9";

fn is_of_number(c: u8) -> bool {
    (NUMBER[0]..=NUMBER[1]).contains(&c)
}
