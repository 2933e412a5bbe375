//! Requests that live for one hop, made of the request that was forwarded: ACK and CANCEL.

use sip_parser::{CSeq, HeaderName, Message, Start};

use crate::rewrite::Output;

/// What is made of the forwarded request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop<'a> {
    /// The ACK to a response of 300 to 699 with this To.
    Ack {
        /// The value of the response's To.
        to: &'a [u8],
    },
    /// Its CANCEL.
    Cancel {
        /// Header lines that say why; empty where nobody has said it.
        reasons: &'a [u8],
    },
}

/// Writes an ACK or a CANCEL into `out`; gives its length, or `None`: it does not fit, or `request` is none.
///
/// §17.1.1.3: "The ACK request constructed by the client transaction MUST contain values for the Call-ID,
/// From, and Request-URI that are equal to the values of those header fields in the request passed to the
/// transport by the client transaction […]. The To header field in the ACK MUST equal the To header field in
/// the response being acknowledged […]. The ACK MUST contain a single Via header field, and this MUST be equal
/// to the top Via header field of the original request. The CSeq header field in the ACK MUST contain the same
/// value for the sequence number as was present in the original request, but the method parameter MUST be
/// equal to "ACK"." "If the INVITE request whose response is being acknowledged had Route header fields, those
/// header fields MUST appear in the ACK."
///
/// §9.1: "The Request-URI, Call-ID, To, the numeric part of CSeq, and From header fields in the CANCEL request
/// MUST be identical to those in the request being cancelled, including tags. A CANCEL constructed by a client
/// MUST have only a single Via header field value matching the top Via value in the request being cancelled.
/// […] If the request being cancelled contains a Route header field, the CANCEL request MUST include that Route
/// header field's values. […] The CANCEL request MUST NOT contain any Require or Proxy-Require header fields."
pub fn write(request: &Message<'_>, hop: Hop<'_>, out: &mut [u8]) -> Option<usize> {
    let Start::Request(line) = request.start() else { return None };
    let method: &[u8] = match hop {
        Hop::Ack { .. } => b"ACK",
        Hop::Cancel { .. } => b"CANCEL",
    };
    let mut out = Output::new(out);
    out.put(method);
    out.put(b" ");
    out.put(request.text(line.uri));
    out.put(b" SIP/2.0\r\n");
    // The forwarded request's top Via is the one that was written here, in a line of its own.
    copy_line(request, HeaderName::Via, &mut out);
    out.put(b"Max-Forwards: 70\r\n");
    for line in request.all(HeaderName::Route) {
        out.put(request.text(line.line));
    }
    copy_line(request, HeaderName::From, &mut out);
    match hop {
        Hop::Ack { to } => {
            out.put(b"To: ");
            out.put(to);
            out.put(b"\r\n");
        }
        Hop::Cancel { .. } => copy_line(request, HeaderName::To, &mut out),
    }
    copy_line(request, HeaderName::CallId, &mut out);
    out.put(b"CSeq: ");
    out.put_number(u64::from(CSeq::parse(request.value(HeaderName::CSeq)).ok()?.number));
    out.put(b" ");
    out.put(method);
    out.put(b"\r\n");
    if let Hop::Cancel { reasons } = hop {
        out.put(reasons);
    }
    out.put(b"Content-Length: 0\r\n\r\n");
    out.finish()
}

fn copy_line(request: &Message<'_>, name: HeaderName, out: &mut Output<'_>) {
    if let Some(line) = request.first(name) {
        out.put(request.text(line.line));
    }
}

#[cfg(test)]
mod tests {
    use sip_parser::{HeaderLine, parse};

    use super::*;

    const INVITE: &str = "INVITE sip:bob@10.0.0.100;x=1 SIP/2.0\r\n\
        Record-Route: <sip:token@10.0.0.4;lr>\r\n\
        Via: SIP/2.0/UDP 10.0.0.4:5060;rport;branch=z9hG4bKbtaaours\r\n\
        v: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1;received=192.0.2.1\r\n\
        Route: <sip:10.0.0.7;lr>\r\nMax-Forwards: 69\r\nProxy-Require: none\r\n\
        Route: <sip:10.0.0.8;lr>\r\nf: <sip:anna@192.0.2.1>;tag=a\r\nTo: <sip:bob@example.org>\r\n\
        Call-ID: c1\r\nCSeq: 986759 INVITE\r\nContent-Type: application/sdp\r\nContent-Length: 3\r\n\r\nv=0";

    fn written(hop: Hop<'_>) -> String {
        let mut lines = [HeaderLine::EMPTY; 40];
        let request = parse(INVITE.as_bytes(), &mut lines).unwrap();
        let mut out = [0; 1_000];
        let len = write(&request, hop, &mut out).unwrap();
        String::from_utf8(out[..len].to_vec()).unwrap()
    }

    #[test]
    fn an_ack_has_the_answers_to() {
        assert_eq!(
            written(Hop::Ack { to: b"<sip:bob@example.org>;tag=b" }),
            "ACK sip:bob@10.0.0.100;x=1 SIP/2.0\r\n\
             Via: SIP/2.0/UDP 10.0.0.4:5060;rport;branch=z9hG4bKbtaaours\r\nMax-Forwards: 70\r\n\
             Route: <sip:10.0.0.7;lr>\r\nRoute: <sip:10.0.0.8;lr>\r\nf: <sip:anna@192.0.2.1>;tag=a\r\n\
             To: <sip:bob@example.org>;tag=b\r\nCall-ID: c1\r\nCSeq: 986759 ACK\r\nContent-Length: 0\r\n\r\n"
        );
    }

    #[test]
    fn a_cancel_has_the_requests_to() {
        assert_eq!(
            written(Hop::Cancel { reasons: b"Reason: Q.850;cause=16\r\n" }),
            "CANCEL sip:bob@10.0.0.100;x=1 SIP/2.0\r\n\
             Via: SIP/2.0/UDP 10.0.0.4:5060;rport;branch=z9hG4bKbtaaours\r\nMax-Forwards: 70\r\n\
             Route: <sip:10.0.0.7;lr>\r\nRoute: <sip:10.0.0.8;lr>\r\nf: <sip:anna@192.0.2.1>;tag=a\r\n\
             To: <sip:bob@example.org>\r\nCall-ID: c1\r\nCSeq: 986759 CANCEL\r\n\
             Reason: Q.850;cause=16\r\nContent-Length: 0\r\n\r\n"
        );
    }

    #[test]
    fn what_does_not_fit_is_not_written() {
        let mut lines = [HeaderLine::EMPTY; 40];
        let request = parse(INVITE.as_bytes(), &mut lines).unwrap();
        assert_eq!(write(&request, Hop::Cancel { reasons: b"" }, &mut [0; 100]), None);
    }
}
