//! The load's requests: texts with places where a running number goes, which makes each of them distinct.

use std::net::SocketAddr;

use crate::load::Transport;

/// A message with places where a running number goes.
#[derive(Clone)]
pub struct Template {
    bytes: Vec<u8>,
    places: Vec<Place>,
}

/// Where a number goes, and how it is written there.
#[derive(Clone, Copy)]
enum Place {
    Hexadecimal(usize),
    Decimal(usize),
}

/// Width of the running number.
const DIGITS: usize = 8;
/// Place of all its 32 bits.
const HEXADECIMAL: &str = "########";
/// Place of its last eight decimal digits, as users have.
const DECIMAL: &str = "%%%%%%%%";

const SDP: &str = "v=0\r\no=- 3724394400 3724394405 IN IP4 198.18.0.1\r\ns=-\r\nc=IN IP4 198.18.0.1\r\n\
                   t=0 0\r\nm=audio 49170 RTP/AVP 8 0\r\na=rtpmap:8 PCMA/8000\r\n";

/// What a long message has more: headers as equipment in the field writes them.
const MORE_HEADERS: &str = "P-Asserted-Identity: \"Anna Example\" <sip:+493012345678@trunk.example.net>\r\n\
    P-Charging-Vector: icid-value=1a2b3c4d5e6f708192a3b4c5d6e7f809;orig-ioi=home1.example.net\r\n\
    P-Access-Network-Info: IEEE-802.11;network-provided\r\n\
    Session-Expires: 1800;refresher=uac\r\n\
    Min-SE: 90\r\n\
    History-Info: <sip:+4989123456@home1.example.net>;index=1,<sip:+4989123457@home1.example.net>;index=1.1\r\n\
    Accept: application/sdp, application/isup, application/dtmf-relay, application/simple-message-summary\r\n\
    Privacy: none\r\n";

impl Template {
    /// Of a text whose places read `########` (hexadecimal) or `%%%%%%%%` (decimal).
    pub fn new(text: String) -> Self {
        let at = |place| text.match_indices(place).map(|(at, _)| at);
        let places = at(HEXADECIMAL).map(Place::Hexadecimal).chain(at(DECIMAL).map(Place::Decimal)).collect();
        Self { places, bytes: text.into_bytes() }
    }

    /// An INVITE of about 600 bytes from `from`, received by Viaduct, for a user at `callee`.
    pub fn invite(from: SocketAddr, callee: SocketAddr) -> Self {
        let user = "4989123456";
        Self::request("INVITE", &format!("{user}@"), (from, callee), Transport::Udp, "", &with_sdp())
    }

    /// A request of the method, by one of many users at the first address, for one of many at the second; `long`: of about
    /// 1,100 bytes.
    pub fn of(method: &str, ends: (SocketAddr, SocketAddr), long: bool, transport: Transport) -> Self {
        let body = match method {
            "INVITE" => with_sdp(),
            "MESSAGE" => "Content-Type: text/plain\r\nContent-Length: 14\r\n\r\nAre you there?".into(),
            _ => "Content-Length: 0\r\n\r\n".into(),
        };
        let user = if method == "REGISTER" { "" } else { "49%%%%%%%%@" };
        Self::request(method, user, ends, transport, if long { MORE_HEADERS } else { "" }, &body)
    }

    fn request(
        method: &str,
        user: &str,
        (from, callee): (SocketAddr, SocketAddr),
        transport: Transport,
        more: &str,
        rest: &str,
    ) -> Self {
        let (via, parameter) = (transport.via(), transport.parameter());
        let of_callee = transport.of_callee().parameter();
        Self::new(format!(
            "{method} sip:{user}{callee}{of_callee} SIP/2.0\r\n\
             Via: SIP/2.0/{via} {from};branch=z9hG4bK{HEXADECIMAL};rport\r\n\
             Max-Forwards: 70\r\n\
             From: \"Anna\" <sip:4930{DECIMAL}@{from}>;tag={HEXADECIMAL}\r\n\
             To: <sip:{user}{callee}>\r\n\
             Call-ID: {HEXADECIMAL}-7f3a@load\r\n\
             CSeq: 1 {method}\r\n\
             Contact: <sip:493012345@{from}{parameter}>\r\n\
             Allow: INVITE, ACK, BYE, CANCEL, OPTIONS\r\n\
             Supported: 100rel, timer\r\n\
             User-Agent: load\r\n\
             {more}{rest}"
        ))
    }

    /// Length of every message in bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends message number `number`.
    pub fn append(&self, number: u32, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        self.renumber(number, &mut out[start..]);
    }

    /// Writes another number into a message of this template.
    pub fn renumber(&self, number: u32, message: &mut [u8]) {
        let mut hexadecimal = [0; DIGITS];
        for (i, digit) in hexadecimal.iter_mut().enumerate() {
            let nibble = number >> (4 * (DIGITS - 1 - i)) & 0xf;
            *digit = b"0123456789abcdef"[nibble as usize];
        }
        let mut decimal = [0; DIGITS];
        let mut rest = number;
        for digit in decimal.iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        for place in &self.places {
            match *place {
                Place::Hexadecimal(at) => message[at..at + DIGITS].copy_from_slice(&hexadecimal),
                Place::Decimal(at) => message[at..at + DIGITS].copy_from_slice(&decimal),
            }
        }
    }
}

fn with_sdp() -> String {
    format!("Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{SDP}", SDP.len())
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
        let template = Template::invite(address, "10.2.0.2:5060".parse().unwrap());
        let mut out = Vec::new();
        template.append(0, &mut out);
        template.append(0xdead_beef, &mut out);
        let (first, second) = out.split_at(template.len());
        assert_eq!(second.len(), template.len());
        assert!((550..700).contains(&template.len()), "{}", template.len());
        let text = std::str::from_utf8(second).unwrap();
        assert_eq!(text.matches("deadbeef").count(), 3);
        assert!(text.contains("<sip:493035928559@10.1.0.2:5060>"), "0xdeadbeef is 3735928559: {text}");
        assert_ne!(first, second);
        assert_eq!(super::number_of(second), Some(0xdead_beef));
        assert_eq!(super::number_of(b"OPTIONS sip:a@b SIP/2.0\r\n\r\n"), None);
    }

    #[test]
    fn long_messages_are_long_and_fit_a_frame() {
        let address = "[2001:db8:1::2]:5060".parse().unwrap();
        let long = Template::of("INVITE", (address, address), true, Transport::Udp);
        assert!((1000..1250).contains(&long.len()), "{}", long.len());
        let register = Template::of("REGISTER", (address, address), false, Transport::Udp);
        assert!(register.bytes.starts_with(b"REGISTER sip:[2001:db8:1::2]:5060 SIP/2.0\r\n"));
        let over_tcp = Template::of("REGISTER", (address, address), false, Transport::Tcp);
        assert!(over_tcp.bytes.starts_with(
            b"REGISTER sip:[2001:db8:1::2]:5060;transport=tcp SIP/2.0\r\nVia: SIP/2.0/TCP [2001:db8:1::2]:5060;"
        ));
        let over_wss = Template::of("OPTIONS", (address, address), false, Transport::Wss);
        let text = std::str::from_utf8(&over_wss.bytes).unwrap();
        assert!(text.starts_with(
            "OPTIONS sip:49%%%%%%%%@[2001:db8:1::2]:5060;transport=tcp SIP/2.0\r\nVia: SIP/2.0/WSS "
        ));
        assert!(text.contains("Contact: <sip:493012345@[2001:db8:1::2]:5060;transport=ws>"), "{text}");
    }
}
