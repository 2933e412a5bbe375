//! Max-Breadth (RFC 5393 §5.3): how many branches a request may be on at a time, over all proxies.
//!
//! A request that is not sent to several at a time keeps what it has; one that has none is as good as one of 60, because
//! the next proxy that forks would say so.

use sip_parser::{HeaderName, Message};

use super::reply::Reply;
use super::validate::Flaw;

/// "Proxies MUST have a maximum allowable Incoming Max-Breadth value, which is RECOMMENDED to be 60"; and "If a SIP
/// proxy receives a request with no Max-Breadth header field value, it MUST add one, with a value that is RECOMMENDED
/// to be 60."
const MOST: u8 = 60;

/// The header's name.
pub(super) const NAME: &[u8] = b"Max-Breadth";

/// How the branches of a request share its breadth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    /// So many at a time.
    pub width: u8,
    /// Max-Breadth of each.
    pub each: u8,
}

impl Share {
    /// For so many next hops. Where the breadth does not suffice for all of them at a time, the others follow: "a proxy
    /// receiving a request with a Max-Breadth of 1 can only fork serially".
    ///
    /// "SIP proxies MUST NOT allow the Outgoing Max-Breadth to exceed the Incoming Max-Breadth in a given response
    /// context."
    ///
    /// # Errors
    /// 440 where it is 0, 400 where it is no number.
    pub fn of(message: &Message<'_>, next_hops: usize) -> Result<Self, Reply> {
        let breadth = read(message)?;
        let width = usize::from(breadth).min(next_hops).max(1) as u8;
        Ok(Self { width, each: breadth / width })
    }
}

/// "The Max-Breadth header field takes a single positive integer as its value."
fn read(message: &Message<'_>) -> Result<u8, Reply> {
    let mut lines = message.named_as(HeaderName::Other, NAME);
    let Some(line) = lines.next() else { return Ok(MOST) };
    let text = message.text(line.value);
    if lines.next().is_some() || text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return Err(Flaw::Breadth.into());
    }
    // What is longer than a number can be is more than enough.
    let value = std::str::from_utf8(text).ok().and_then(|text| text.parse::<u64>().ok()).unwrap_or(u64::MAX);
    match value.min(MOST.into()) as u8 {
        0 => Err(Reply::Breadth),
        breadth => Ok(breadth),
    }
}

#[cfg(test)]
mod tests {
    use sip_parser::{HeaderLine, parse};

    use super::*;

    fn share(headers: &str, next_hops: usize) -> Result<(u8, u8), u16> {
        let text = format!("INVITE sip:b SIP/2.0\r\n{headers}Content-Length: 0\r\n\r\n");
        let mut lines = [HeaderLine::EMPTY; 20];
        let message = parse(text.as_bytes(), &mut lines).unwrap();
        Share::of(&message, next_hops).map(|share| (share.width, share.each)).map_err(Reply::status)
    }

    #[test]
    fn the_breadth_is_divided_and_never_exceeded() {
        assert_eq!(share("", 3), Ok((3, 20)));
        assert_eq!(share("Max-Breadth: 4\r\n", 8), Ok((4, 1)));
        assert_eq!(share("max-breadth:7\r\n", 2), Ok((2, 3)));
        assert_eq!(share("Max-Breadth: 1\r\n", 8), Ok((1, 1)));
        // "If this maximum is exceeded in a received request, the proxy MUST overwrite it".
        assert_eq!(share("Max-Breadth: 99999999999999999999999\r\n", 8), Ok((8, 7)));
        for next_hops in 1..=8usize {
            for breadth in 1..=60 {
                let (width, each) = share(&format!("Max-Breadth: {breadth}\r\n"), next_hops).unwrap();
                assert!(each > 0 && u32::from(width) * u32::from(each) <= breadth, "{breadth} {next_hops}");
            }
        }
    }

    #[test]
    fn what_is_no_breadth_is_refused() {
        assert_eq!(share("Max-Breadth: 0\r\n", 2), Err(440));
        for bad in ["Max-Breadth: \r\n", "Max-Breadth: 3, 4\r\n", "Max-Breadth: 3\r\nMax-Breadth: 3\r\n"] {
            assert_eq!(share(bad, 2), Err(400), "{bad}");
        }
    }
}
