//! The request that is explained: built from the command line, or read from a file.

use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use crate::limits;
use crate::net::Transport;

/// What the command line says about a request.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Its method.
    pub method: &'a str,
    /// Its Request-URI.
    pub ruri: &'a str,
    /// Who sends it.
    pub source: SocketAddr,
    /// By which transport.
    pub transport: Transport,
    /// `Name: value`, each; replaces what would be written otherwise.
    pub headers: &'a [String],
}

/// Why a request cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The method is no token (RFC 3261 §25.1).
    #[error("`{0}` is no SIP method")]
    Method(String),
    /// The URI is empty or holds white space, quotes or angle brackets.
    #[error("`{0}` is no URI")]
    Uri(String),
    /// A header that is not `Name: value` on one line.
    #[error("`{0}` is no header: write it as 'Name: value'")]
    Header(String),
}

/// Builds a request as a client at `source` would send it.
pub fn build(wanted: &Wanted<'_>) -> Result<Vec<u8>, Problem> {
    let Wanted { method, ruri, source, transport, headers } = *wanted;
    if !is_token(method) {
        return Err(Problem::Method(method.into()));
    }
    if ruri.is_empty() || ruri.chars().any(|c| c.is_whitespace() || c.is_control() || "<>\"".contains(c)) {
        return Err(Problem::Uri(ruri.into()));
    }
    let given: Vec<(&str, &str)> = headers.iter().map(|h| split(h)).collect::<Result<_, _>>()?;
    let at = SocketAddr::new(source.ip(), source.port());
    let host = host(source.ip());
    let usual = [
        ("Via", format!("SIP/2.0/{} {at};branch=z9hG4bKexplain;rport", transport.via())),
        ("Max-Forwards", "70".into()),
        ("From", format!("<sip:explain@{host}>;tag=explain")),
        ("To", format!("<{ruri}>")),
        ("Call-ID", format!("explain@{host}")),
        ("CSeq", format!("1 {method}")),
        ("Contact", format!("<sip:explain@{at}>")),
        ("Content-Length", "0".into()),
    ];
    let mut text = format!("{method} {ruri} SIP/2.0\r\n");
    for (name, value) in &usual {
        if !given.iter().any(|(given, _)| same_header(given, name)) {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    for (name, value) in given {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    Ok(text.into_bytes())
}

/// Reads a message from a file, or from standard input where it is `-`. Line ends of a text editor
/// (LF alone) are made the CRLF of SIP, and a missing empty line is added; the second value says so. `None`: there is
/// nothing in it.
pub fn read(path: &Path) -> io::Result<Option<(Vec<u8>, bool)>> {
    let mut bytes = Vec::new();
    let limit = limits::MESSAGE_BYTES as u64 + 1;
    if path == Path::new("-") {
        io::stdin().lock().take(limit).read_to_end(&mut bytes)?;
    } else {
        File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    }
    if bytes.len() > limits::MESSAGE_BYTES {
        return Err(io::Error::other(format!("larger than {} bytes", limits::MESSAGE_BYTES)));
    }
    Ok(Some(bytes).filter(|bytes| !bytes.is_empty()).map(mended))
}

fn mended(bytes: Vec<u8>) -> (Vec<u8>, bool) {
    let by_an_editor = !bytes.windows(2).any(|w| w == b"\r\n");
    let (mut out, mut rest) = (Vec::with_capacity(bytes.len() + 64), &bytes[..]);
    if by_an_editor {
        while let Some(end) = rest.iter().position(|&b| b == b'\n') {
            let (line, after) = rest.split_at(end);
            out.extend_from_slice(line);
            out.extend_from_slice(b"\r\n");
            rest = after.get(1..).unwrap_or_default();
            if line.is_empty() {
                break;
            }
        }
    }
    out.extend_from_slice(rest);
    let ends = |out: &[u8]| out.windows(4).any(|w| w == b"\r\n\r\n");
    let complete = ends(&out);
    while !ends(&out) {
        out.extend_from_slice(b"\r\n");
    }
    (out, by_an_editor || !complete)
}

fn host(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}

fn split(header: &str) -> Result<(&str, &str), Problem> {
    let wrong = || Problem::Header(header.into());
    let (name, value) = header.split_once(':').ok_or_else(wrong)?;
    let (name, value) = (name.trim(), value.trim());
    if is_token(name) && !value.contains(['\r', '\n', '\0']) { Ok((name, value)) } else { Err(wrong()) }
}

/// RFC 3261 §25.1.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&b))
}

/// Compares names without case, compact forms included (RFC 3261 §7.3.3).
fn same_header(given: &str, name: &str) -> bool {
    let compact = match name {
        "Via" => "v",
        "From" => "f",
        "To" => "t",
        "Call-ID" => "i",
        "Contact" => "m",
        "Content-Length" => "l",
        _ => name,
    };
    given.eq_ignore_ascii_case(name) || given.eq_ignore_ascii_case(compact)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted<'a>(ruri: &'a str, source: &str, headers: &'a [String]) -> Wanted<'a> {
        let source = source.parse().unwrap();
        Wanted { method: "INVITE", ruri, source, transport: Transport::Udp, headers }
    }

    #[test]
    fn a_request_as_its_client_would_send_it() {
        let bytes = build(&wanted("sip:bob@10.0.0.10", "[2001:db8::9]:5062", &[])).unwrap();
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            "INVITE sip:bob@10.0.0.10 SIP/2.0\r\n\
             Via: SIP/2.0/UDP [2001:db8::9]:5062;branch=z9hG4bKexplain;rport\r\n\
             Max-Forwards: 70\r\n\
             From: <sip:explain@[2001:db8::9]>;tag=explain\r\n\
             To: <sip:bob@10.0.0.10>\r\n\
             Call-ID: explain@[2001:db8::9]\r\n\
             CSeq: 1 INVITE\r\n\
             Contact: <sip:explain@[2001:db8::9]:5062>\r\n\
             Content-Length: 0\r\n\r\n"
        );
    }

    #[test]
    fn a_given_header_replaces_the_usual_one() {
        let headers = ["f: <sip:alice@example.net>;tag=1".into(), "Route:<sip:192.0.2.1;lr>".into()];
        let bytes = build(&wanted("sip:bob@10.0.0.10", "192.0.2.9:5060", &headers)).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains("\r\nf: <sip:alice@example.net>;tag=1\r\nRoute: <sip:192.0.2.1;lr>\r\n\r\n"));
        assert!(!text.contains("From:"), "{text}");
    }

    #[test]
    fn what_cannot_stand_in_a_request_is_refused() {
        for ruri in ["", "sip:a b@c", "sip:a@b\r\nX: y", "<sip:a@b>"] {
            assert_eq!(build(&wanted(ruri, "192.0.2.9:1", &[])), Err(Problem::Uri(ruri.into())));
        }
        for header in ["X", "X y: z", ": z", "X: a\r\nY: b"] {
            let headers = [header.to_owned()];
            let refused = build(&wanted("sip:a@b", "192.0.2.9:1", &headers));
            assert_eq!(refused, Err(Problem::Header(header.into())));
        }
        let spaced = Wanted { method: "IN VITE", ..wanted("sip:a@b", "192.0.2.9:1", &[]) };
        assert_eq!(build(&spaced), Err(Problem::Method("IN VITE".into())));
    }

    #[test]
    fn the_lines_of_an_editor_are_made_those_of_sip() {
        let mend = |text: &str| {
            let (bytes, changed) = mended(text.as_bytes().to_vec());
            (String::from_utf8(bytes).unwrap(), changed)
        };
        let whole = "OPTIONS sip:a SIP/2.0\r\nX: y\r\n\r\nbody\nbody";
        assert_eq!(mend(whole), (whole.into(), false));
        assert_eq!(mend("OPTIONS sip:a SIP/2.0\nX: y\n\nbody\nbody"), (whole.into(), true));
        let bare = "OPTIONS sip:a SIP/2.0\r\nX: y\r\n\r\n";
        assert_eq!(mend("OPTIONS sip:a SIP/2.0\nX: y\n"), (bare.into(), true));
        assert_eq!(mend("OPTIONS sip:a SIP/2.0\nX: y"), (bare.into(), true));
        assert_eq!(mend("OPTIONS sip:a SIP/2.0\r\nX: y\r\n"), (bare.into(), true));
        assert_eq!(mend(""), ("\r\n\r\n".into(), true));
    }
}
