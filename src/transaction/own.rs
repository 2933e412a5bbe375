//! Answers of the proxy's own to a request that it has forwarded: 100, and what stands in for an answer that
//! did not come.

use nix::errno::Errno;
use sip_parser::{HeaderName, Message, NameAddr};

use crate::rewrite::Output;
use crate::tls::Cause;

/// What is known of why a request could not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// TLS failed.
    Tls(Cause),
    /// The kernel refused it, with this error number.
    Refused(u8),
}

/// An answer of the proxy's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    /// 100: it is being worked on.
    Trying,
    /// 408: nothing came back in time.
    TimedOut,
    /// 487: it was cancelled, and nobody has answered it. "If the original request was an INVITE, the UAS SHOULD immediately respond
    /// to the INVITE with a 487 (Request Terminated)." (§9.2)
    Terminated,
    /// 500: it could not be sent. "If the only response that was received is a 503, the proxy SHOULD generate
    /// a 500 response and forward that upstream." (§16.7 step 6), and §16.9 has the failure taken for a 503. Where TLS failed
    /// or the kernel refused, the answer says why.
    Failed(Option<Fault>),
    /// 430: the connection to a client is gone (RFC 5626 §5.3.1).
    FlowFailed,
}

impl Own {
    /// 100, 408, 430, 487 or 500.
    pub const fn status(self) -> u16 {
        match self {
            Self::Trying => 100,
            Self::TimedOut => 408,
            Self::Terminated => 487,
            Self::Failed(_) => 500,
            Self::FlowFailed => 430,
        }
    }

    /// The answer that stands for a branch that ended with this status, of which nothing is kept but what is known of why it
    /// could not be sent.
    pub const fn of(status: u16, cause: Option<Fault>) -> Self {
        match status {
            408 => Self::TimedOut,
            430 => Self::FlowFailed,
            487 => Self::Terminated,
            _ => Self::Failed(cause),
        }
    }

    /// What is known of why it could not be sent.
    pub const fn cause(self) -> Option<Fault> {
        if let Self::Failed(cause) = self { cause } else { None }
    }

    /// The status by which it is compared with others: "the proxy MUST behave as if the forwarded request received a
    /// 503" (§16.9).
    pub const fn counts_as(self) -> u16 {
        match self {
            Self::Failed(_) => 503,
            own => own.status(),
        }
    }

    const fn start_line(self) -> &'static [u8] {
        match self {
            Self::Trying => b"SIP/2.0 100 Trying\r\n",
            Self::TimedOut => b"SIP/2.0 408 Request Timeout\r\n",
            Self::Terminated => b"SIP/2.0 487 Request Terminated\r\n",
            Self::Failed(_) => b"SIP/2.0 500 Next Hop Unreachable\r\n",
            Self::FlowFailed => b"SIP/2.0 430 Flow Failed\r\n",
        }
    }
}

/// Writes the answer to the request that was forwarded as `request`, `above` of whose Vias are ours, or that an earlier
/// answer of ours stands for; gives its length, or `None`: it does not fit. `to_tag` is added where the request's To has none; a 100 gets none, because it "SHOULD NOT" (§17.2.1).
///
/// §8.2.6.2: "The Via header field values in the response MUST equal the Via header field values in the request
/// and MUST maintain the same ordering": those that stand below ours.
pub fn write(request: &Message<'_>, above: usize, own: Own, to_tag: &[u8], out: &mut [u8]) -> Option<usize> {
    let mut out = Output::new(out);
    out.put(own.start_line());
    // Ours stands in a line of its own.
    for line in request.all(HeaderName::Via).skip(above) {
        out.put(request.text(line.line));
    }
    for name in [HeaderName::From, HeaderName::To, HeaderName::CallId, HeaderName::CSeq] {
        let Some(line) = request.first(name) else { continue };
        if name == HeaderName::To && own != Own::Trying && wants_tag(request.text(line.value)) {
            let (start, value_end) = (usize::from(line.line.start), usize::from(line.value.end));
            let bytes = request.bytes();
            out.put(bytes.get(start..value_end).unwrap_or_default());
            out.put(b";tag=");
            out.put(to_tag);
            out.put(bytes.get(value_end..usize::from(line.line.end)).unwrap_or_default());
        } else {
            out.put(request.text(line.line));
        }
    }
    // §8.2.6.1: "When a 100 (Trying) response is generated, any Timestamp header field present in the request
    // MUST be copied into this 100 (Trying) response."
    if let (Own::Trying, Some(line)) = (own, request.first(HeaderName::Timestamp)) {
        out.put(request.text(line.line));
    }
    if let Some(cause) = own.cause() {
        put_warning(&mut out, cause);
    }
    out.put(b"Content-Length: 0\r\n\r\n");
    out.finish()
}

/// §20.43: "399 Miscellaneous warning: The warning text can include arbitrary information to be presented to a human user or
/// logged." The log says more, to whom that is no secret.
fn put_warning(out: &mut Output<'_>, fault: Fault) {
    out.put(b"Warning: 399 viaduct \"");
    match fault {
        Fault::Tls(cause) => {
            out.put(b"TLS to the next hop failed: ");
            out.put(cause.in_words().as_bytes());
            out.put(b" (");
            out.put(cause.label().as_bytes());
            out.put(b")");
        }
        Fault::Refused(errno) => {
            out.put(b"the kernel refuses to send to the next hop: ");
            out.put(Errno::from_raw(errno.into()).desc().as_bytes());
        }
    }
    out.put(b"\"\r\n");
}

fn wants_tag(to: &[u8]) -> bool {
    NameAddr::parse(to).is_ok_and(|to| !to.params().has(b"tag"))
}

#[cfg(test)]
mod tests {
    use sip_parser::{HeaderLine, parse};

    use super::*;

    fn written(to: &str, own: Own) -> String {
        let request = format!(
            "INVITE sip:bob@10.0.0.100 SIP/2.0\r\nRecord-Route: <sip:token@10.0.0.4;lr>\r\n\
             Via: SIP/2.0/UDP 10.0.0.4:5060;rport;branch=z9hG4bKbtaaours\r\n\
             Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1;received=192.0.2.9, SIP/2.0/UDP first\r\n\
             Max-Forwards: 69\r\nVia: SIP/2.0/UDP zeroth\r\nFrom: <sip:anna@192.0.2.1>;tag=a\r\nTo: {to}\r\n\
             Call-ID: c1\r\nCSeq: 7 INVITE\r\nTimestamp: 54\r\nContent-Length: 0\r\n\r\n"
        );
        let mut lines = [HeaderLine::EMPTY; 40];
        let request = parse(request.as_bytes(), &mut lines).unwrap();
        let mut out = [0; 1_000];
        let len = write(&request, 1, own, b"ours", &mut out).unwrap();
        String::from_utf8(out[..len].to_vec()).unwrap()
    }

    const VIAS: &str = "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1;received=192.0.2.9, SIP/2.0/UDP first\r\n\
        Via: SIP/2.0/UDP zeroth\r\nFrom: <sip:anna@192.0.2.1>;tag=a\r\n";

    #[test]
    fn a_100_has_no_tag_and_the_timestamp() {
        assert_eq!(
            written("<sip:bob@example.org>", Own::Trying),
            format!(
                "SIP/2.0 100 Trying\r\n{VIAS}To: <sip:bob@example.org>\r\nCall-ID: c1\r\nCSeq: 7 INVITE\r\n\
                 Timestamp: 54\r\nContent-Length: 0\r\n\r\n"
            )
        );
    }

    #[test]
    fn a_final_answer_has_a_tag_unless_the_request_had_one() {
        assert_eq!(
            written("<sip:bob@example.org>", Own::TimedOut),
            format!(
                "SIP/2.0 408 Request Timeout\r\n{VIAS}To: <sip:bob@example.org>;tag=ours\r\nCall-ID: c1\r\n\
                 CSeq: 7 INVITE\r\nContent-Length: 0\r\n\r\n"
            )
        );
        let text = written("<sip:bob@example.org>;tag=b", Own::Failed(None));
        assert!(text.starts_with("SIP/2.0 500 Next Hop Unreachable\r\n"), "{text}");
        assert!(text.contains("To: <sip:bob@example.org>;tag=b\r\n"), "{text}");
        for own in [Own::Trying, Own::TimedOut, Own::Terminated, Own::Failed(None), Own::FlowFailed] {
            assert!(written("<sip:b@e>", own).starts_with(&format!("SIP/2.0 {} ", own.status())));
        }
    }

    #[test]
    fn where_tls_failed_the_answer_says_why() {
        let cause = crate::tls::Failure::Closed.cause();
        let text = written("<sip:b@e>", Own::Failed(Some(Fault::Tls(cause))));
        let warning = "Warning: 399 viaduct \"TLS to the next hop failed: it closed the connection in the middle of the \
            handshake (closed)\"\r\n";
        assert!(text.contains(warning), "{text}");
    }

    #[test]
    fn where_the_kernel_refused_the_answer_says_why() {
        let text = written("<sip:b@e>", Own::Failed(Some(Fault::Refused(1))));
        let warning = "Warning: 399 viaduct \"the kernel refuses to send to the next hop: Operation not permitted\"\r\n";
        assert!(text.contains(warning), "{text}");
    }
}
