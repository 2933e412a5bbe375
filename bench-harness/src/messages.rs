//! The load's messages: one INVITE of about 600 bytes, made distinct by digits that are patched in place.

use std::net::SocketAddr;

/// A message with places where a running number goes.
#[derive(Clone)]
pub struct Template {
    bytes: Vec<u8>,
    places: Vec<usize>,
}

/// Width of the running number: eight hexadecimal digits.
const DIGITS: usize = 8;
const PLACE: &str = "########";

impl Template {
    /// An INVITE from `from`, received by Viaduct, for a user at `callee`.
    pub fn invite(from: SocketAddr, callee: SocketAddr) -> Self {
        let sdp = "v=0\r\no=- 3724394400 3724394405 IN IP4 198.18.0.1\r\ns=-\r\nc=IN IP4 198.18.0.1\r\n\
                   t=0 0\r\nm=audio 49170 RTP/AVP 8 0\r\na=rtpmap:8 PCMA/8000\r\n";
        let text = format!(
            "INVITE sip:4989123456@{callee} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {from};branch=z9hG4bK{PLACE};rport\r\n\
             Max-Forwards: 70\r\n\
             From: \"Anna\" <sip:493012345@{from}>;tag={PLACE}\r\n\
             To: <sip:4989123456@{callee}>\r\n\
             Call-ID: {PLACE}-7f3a@load\r\n\
             CSeq: 1 INVITE\r\n\
             Contact: <sip:493012345@{from}>\r\n\
             Allow: INVITE, ACK, BYE, CANCEL, OPTIONS\r\n\
             Supported: 100rel, timer\r\n\
             User-Agent: load\r\n\
             Content-Type: application/sdp\r\n\
             Content-Length: {}\r\n\r\n{sdp}",
            sdp.len()
        );
        let places = text.match_indices(PLACE).map(|(at, _)| at).collect();
        Self { bytes: text.into_bytes(), places }
    }

    /// Length of every message in bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends message number `number`.
    pub fn append(&mut self, number: u32, out: &mut Vec<u8>) {
        let mut digits = [0; DIGITS];
        for (i, digit) in digits.iter_mut().enumerate() {
            let nibble = number >> (4 * (DIGITS - 1 - i)) & 0xf;
            *digit = b"0123456789abcdef"[nibble as usize];
        }
        for &at in &self.places {
            self.bytes[at..at + DIGITS].copy_from_slice(&digits);
        }
        out.extend_from_slice(&self.bytes);
    }
}

/// The running number of a message of the load, by its Call-ID.
pub fn number_of(message: &[u8]) -> Option<u32> {
    let at = memchr::memmem::find(message, b"\r\nCall-ID: ")? + b"\r\nCall-ID: ".len();
    let digits = message.get(at..at + DIGITS)?;
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_distinct_and_equally_long() {
        let address = "10.1.0.2:5060".parse().unwrap();
        let mut template = Template::invite(address, "10.2.0.2:5060".parse().unwrap());
        let mut out = Vec::new();
        template.append(0, &mut out);
        template.append(0xdead_beef, &mut out);
        let (first, second) = out.split_at(template.len());
        assert_eq!(second.len(), template.len());
        assert!((550..700).contains(&template.len()), "{}", template.len());
        let text = std::str::from_utf8(second).unwrap();
        assert_eq!(text.matches("deadbeef").count(), 3);
        assert_ne!(first, second);
        assert_eq!(super::number_of(second), Some(0xdead_beef));
        assert_eq!(super::number_of(b"OPTIONS sip:a@b SIP/2.0\r\n\r\n"), None);
    }
}
