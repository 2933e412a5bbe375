//! Challenges of several answers in one: RFC 3261 §16.7 step 7.

use sip_parser::HeaderLine;

use super::context::read;
use crate::rewrite::Output;

/// Writes the answer `best` with the challenges of `other`; gives its length, or `None`: it does not fit, or has none
/// to add.
///
/// "the proxy MUST collect any WWW-Authenticate and Proxy-Authenticate header field values from all other 401
/// (Unauthorized) and 407 (Proxy Authentication Required) responses received so far in this response context and add
/// them to this response without modification before forwarding."
pub fn add(best: &[u8], other: &[u8], lines: &mut [HeaderLine], out: &mut [u8]) -> Option<usize> {
    let end = read(best, lines)?.lines().last().map(|line| usize::from(line.line.end))?;
    let mut out = Output::new(out);
    out.put(best.get(..end)?);
    let other = read(other, lines)?;
    for name in [b"WWW-Authenticate".as_slice(), b"Proxy-Authenticate"] {
        for line in other.named(name) {
            out.put(other.text(line.line));
        }
    }
    out.put(best.get(end..)?);
    out.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_added_as_they_came() {
        let best = "SIP/2.0 407 Proxy Authentication Required\r\nVia: SIP/2.0/UDP a\r\n\
                    Proxy-Authenticate: Digest realm=\"one\",\r\n nonce=\"1\"\r\nContent-Length: 3\r\n\r\nabc";
        let other = "SIP/2.0 401 Unauthorized\r\nProxy-Authenticate: Digest realm=\"three\"\r\n\
                     Via: SIP/2.0/UDP a\r\nwww-authenticate:Digest realm=\"two\"\r\nContent-Length: 0\r\n\r\n";
        let (mut lines, mut out) = ([HeaderLine::EMPTY; 20], [0; 1_000]);
        let len = add(best.as_bytes(), other.as_bytes(), &mut lines, &mut out).unwrap();
        let expected = best.replace(
            "\r\n\r\nabc",
            "\r\nwww-authenticate:Digest realm=\"two\"\r\nProxy-Authenticate: Digest realm=\"three\"\r\n\r\nabc",
        );
        assert_eq!(std::str::from_utf8(&out[..len]).unwrap(), expected);
        assert_eq!(add(best.as_bytes(), other.as_bytes(), &mut lines, &mut out[..100]), None);
    }
}
