//! What both sides of the load say in answer to what they hear: responses, ACK and BYE.

use std::net::SocketAddr;

use super::scan::{Header, Scan, Start, address, elements, uri};

/// Body of the 200 to an INVITE, with its headers.
const ANSWER: &str = "Content-Type: application/sdp\r\nContent-Length: 132\r\n\r\nv=0\r\n\
    o=- 3724394401 3724394406 IN IP4 198.18.0.2\r\ns=-\r\nc=IN IP4 198.18.0.2\r\nt=0 0\r\n\
    m=audio 49172 RTP/AVP 8 0\r\na=rtpmap:8 PCMA/8000\r\n";
const NO_BODY: &str = "Content-Length: 0\r\n\r\n";

/// Writes a response to a request (RFC 3261 §8.2.6.2): Via, From, To, Call-ID, CSeq and Record-Route are copied,
/// To has `tag` added where it has none. `contact`: address of the answering side.
pub fn response(request: &Scan<'_>, status: &str, tag: &[u8], contact: &str, out: &mut Vec<u8>) {
    put(out, &[b"SIP/2.0 ", status.as_bytes(), b"\r\n"]);
    for (header, value) in &request.headers {
        match header {
            Header::Via => put(out, &[b"Via: ", value, b"\r\n"]),
            Header::RecordRoute => put(out, &[b"Record-Route: ", value, b"\r\n"]),
            Header::From => put(out, &[b"From: ", value, b"\r\n"]),
            Header::To if memchr::memmem::find(value, b";tag=").is_some() => {
                put(out, &[b"To: ", value, b"\r\n"]);
            }
            Header::To => put(out, &[b"To: ", value, b";tag=", tag, b"\r\n"]),
            Header::CallId => put(out, &[b"Call-ID: ", value, b"\r\n"]),
            Header::CSeq => put(out, &[b"CSeq: ", value, b"\r\n"]),
            Header::Contact => {}
        }
    }
    let invite = request.start == Start::Request(b"INVITE");
    if invite {
        put(out, &[b"Contact: <sip:callee@", contact.as_bytes(), b">\r\n"]);
    }
    let rest = if invite && status.starts_with("200") { ANSWER } else { NO_BODY };
    out.extend_from_slice(rest.as_bytes());
}

/// Writes a 503 to an INVITE into `out`; `false`: the message is none.
pub fn refusal(message: &[u8], out: &mut Vec<u8>) -> bool {
    out.clear();
    let Some(scan) = Scan::of(message).filter(|scan| scan.start == Start::Request(b"INVITE")) else {
        return false;
    };
    response(&scan, "503 Service Unavailable", b"refuses", "refuses.invalid", out);
    true
}

/// Writes the ACK to a refusal (RFC 3261 §17.1.1.3): the Via is the INVITE's, by transport, `host:port` and running number
/// of its caller, To is the refusal's. `target`: `host:port` of the Request-URI.
pub fn ack_to_refusal(refusal: &Scan<'_>, (by, number): (&str, u32), target: &str, out: &mut Vec<u8>) {
    let via = format!("ACK sip:{target} SIP/2.0\r\nVia: SIP/2.0/{by};branch=z9hG4bK{number:08x};rport\r\n");
    put(out, &[via.as_bytes(), b"Max-Forwards: 70\r\nFrom: ", refusal.first(Header::From)]);
    put(out, &[b"\r\nTo: ", refusal.first(Header::To)]);
    put(out, &[b"\r\nCall-ID: ", refusal.first(Header::CallId), b"\r\nCSeq: 1 ACK\r\n", NO_BODY.as_bytes()]);
}

/// What the requests of a dialog have in common, as the 200 to the INVITE laid it down.
pub struct Within<'a> {
    ok: &'a Scan<'a>,
    route: Vec<&'a [u8]>,
}

impl<'a> Within<'a> {
    /// RFC 3261 §12.1.2: "The route set MUST be set to the list of URIs in the Record-Route header field from the
    /// response, taken in reverse order and preserving all URI parameters."
    pub fn of(ok: &'a Scan<'a>) -> Self {
        let mut route: Vec<&[u8]> = ok.all(Header::RecordRoute).flat_map(elements).collect();
        route.reverse();
        Self { ok, route }
    }

    /// Where requests go: the topmost Route, or the remote target; `None`: a name stands there.
    pub fn next_hop(&self) -> Option<SocketAddr> {
        let first = self.route.first().copied().unwrap_or_else(|| self.ok.first(Header::Contact));
        address(uri(first))
    }

    /// Writes a request; `via`: its whole Via without the branch's last letter, which is that of the method.
    pub fn request(&self, method: &str, via: &[u8], number: &str, out: &mut Vec<u8>) {
        let target = uri(self.ok.first(Header::Contact));
        put(
            out,
            &[
                method.as_bytes(),
                b" ",
                target,
                b" SIP/2.0\r\nVia: ",
                via,
                &method.as_bytes()[..1],
                b";rport\r\n",
            ],
        );
        for route in &self.route {
            put(out, &[b"Route: ", route, b"\r\n"]);
        }
        put(out, &[b"Max-Forwards: 70\r\nFrom: ", self.ok.first(Header::From)]);
        put(out, &[b"\r\nTo: ", self.ok.first(Header::To)]);
        put(out, &[b"\r\nCall-ID: ", self.ok.first(Header::CallId)]);
        put(out, &[b"\r\nCSeq: ", number.as_bytes(), b" ", method.as_bytes(), b"\r\n", NO_BODY.as_bytes()]);
    }
}

/// Appends all parts.
fn put(out: &mut Vec<u8>, parts: &[&[u8]]) {
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

#[cfg(test)]
mod tests {
    use super::*;

    const INVITE: &[u8] = b"INVITE sip:49@10.2.0.2:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 10.2.0.1;branch=1\r\n\
        Via: SIP/2.0/UDP 10.1.0.2;branch=2\r\nRecord-Route: <sip:10.2.0.1;r2=on;lr>\r\n\
        Record-Route: <sip:10.1.0.1:5070;r2=on;lr>\r\nFrom: <sip:a@10.1.0.2>;tag=1\r\nTo: <sip:49@10.2.0.2>\r\n\
        Call-ID: 0000002a-7f3a@load\r\nCSeq: 1 INVITE\r\nContact: <sip:a@10.1.0.2>\r\nContent-Length: 0\r\n\r\n";

    #[test]
    fn the_route_set_is_the_recorded_one_in_reverse() {
        let mut ok = Vec::new();
        response(&Scan::of(INVITE).unwrap(), "200 OK", b"xyz", "10.2.0.2:5060", &mut ok);
        let text = std::str::from_utf8(&ok).unwrap();
        assert!(text.starts_with(
            "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 10.2.0.1;branch=1\r\nVia: SIP/2.0/UDP 10.1.0.2"
        ));
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{} in {head}", body.len());
        let ok = Scan::of(&ok).unwrap();
        let within = Within::of(&ok);
        assert_eq!(within.next_hop(), Some("10.1.0.1:5070".parse().unwrap()));
        let mut bye = Vec::new();
        within.request("BYE", b"SIP/2.0/UDP 10.1.0.2;branch=z9hG4bK1", "2", &mut bye);
        let text = String::from_utf8(bye).unwrap();
        assert_eq!(
            text,
            "BYE sip:callee@10.2.0.2:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 10.1.0.2;branch=z9hG4bK1B;rport\r\n\
             Route: <sip:10.1.0.1:5070;r2=on;lr>\r\nRoute: <sip:10.2.0.1;r2=on;lr>\r\nMax-Forwards: 70\r\n\
             From: <sip:a@10.1.0.2>;tag=1\r\nTo: <sip:49@10.2.0.2>;tag=xyz\r\nCall-ID: 0000002a-7f3a@load\r\n\
             CSeq: 2 BYE\r\nContent-Length: 0\r\n\r\n"
        );
    }

    #[test]
    fn without_record_route_requests_go_to_the_contact() {
        let ok = b"SIP/2.0 200 OK\r\nContact: <sip:callee@[::1]:5080>\r\n\r\n";
        let ok = Scan::of(ok).unwrap();
        assert_eq!(Within::of(&ok).next_hop(), Some("[::1]:5080".parse().unwrap()));
    }
}
