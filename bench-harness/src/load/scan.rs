//! What the load has to see of a SIP message: no parser, and no judgement.

/// First line of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start<'a> {
    /// A request's method.
    Request(&'a [u8]),
    /// A response's status code.
    Response(u16),
}

/// Headers that the load copies or follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// Via
    Via,
    /// Record-Route
    RecordRoute,
    /// From
    From,
    /// To
    To,
    /// Call-ID
    CallId,
    /// CSeq
    CSeq,
    /// Contact
    Contact,
}

/// A message, as far as the load needs it.
#[derive(Debug)]
pub struct Scan<'a> {
    /// Its first line.
    pub start: Start<'a>,
    /// Headers in their order, each with its value, without white space around it.
    pub headers: Vec<(Header, &'a [u8])>,
}

impl<'a> Scan<'a> {
    /// Reads the first line and the headers; `None`: it has no first line of SIP.
    pub fn of(message: &'a [u8]) -> Option<Self> {
        let mut lines = Lines(message);
        let start = start(lines.next()?)?;
        let mut headers = Vec::with_capacity(12);
        for line in lines {
            let Some(colon) = memchr::memchr(b':', line) else { continue };
            if let Some(header) = header(line[..colon].trim_ascii_end()) {
                headers.push((header, line[colon + 1..].trim_ascii()));
            }
        }
        Some(Self { start, headers })
    }

    /// All values of a header, in their order.
    pub fn all(&self, wanted: Header) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        self.headers.iter().filter(move |(header, _)| *header == wanted).map(|(_, value)| *value)
    }

    /// The first value of a header; empty where it is absent.
    pub fn first(&self, wanted: Header) -> &'a [u8] {
        self.all(wanted).next().unwrap_or_default()
    }

    /// The method that CSeq names.
    pub fn cseq_method(&self) -> &'a [u8] {
        let value = self.first(Header::CSeq);
        value.rsplit(|byte| *byte == b' ').next().unwrap_or_default()
    }
}

/// The lines of a message's head.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let end = memchr::memchr(b'\n', self.0)?;
        let line = self.0[..end].strip_suffix(b"\r").unwrap_or(&self.0[..end]);
        self.0 = &self.0[end + 1..];
        (!line.is_empty()).then_some(line)
    }
}

fn start(line: &[u8]) -> Option<Start<'_>> {
    if let Some(rest) = line.strip_prefix(b"SIP/2.0 ") {
        let code = std::str::from_utf8(rest.get(..3)?).ok()?.parse().ok()?;
        return Some(Start::Response(code));
    }
    line.ends_with(b" SIP/2.0")
        .then(|| Start::Request(line.split(|byte| *byte == b' ').next().unwrap_or_default()))
}

fn header(name: &[u8]) -> Option<Header> {
    const NAMES: [(&[u8], &[u8], Header); 7] = [
        (b"via", b"v", Header::Via),
        (b"record-route", b"", Header::RecordRoute),
        (b"from", b"f", Header::From),
        (b"to", b"t", Header::To),
        (b"call-id", b"i", Header::CallId),
        (b"cseq", b"", Header::CSeq),
        (b"contact", b"m", Header::Contact),
    ];
    let is = |known: &[u8]| known.len() == name.len() && known.eq_ignore_ascii_case(name);
    NAMES.iter().find(|(long, short, _)| is(long) || is(short)).map(|(.., header)| *header)
}

/// The elements of a header's value: comma-separated, where the comma stands in no `<…>` and no quotes.
pub fn elements(value: &[u8]) -> Vec<&[u8]> {
    let (mut found, mut from, mut angle, mut quoted) = (Vec::new(), 0, false, false);
    for (at, byte) in value.iter().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b'<' if !quoted => angle = true,
            b'>' if !quoted => angle = false,
            b',' if !quoted && !angle => {
                found.push(value[from..at].trim_ascii());
                from = at + 1;
            }
            _ => {}
        }
    }
    found.push(value[from..].trim_ascii());
    found
}

/// The URI of a name-addr: what stands between `<` and `>`, or all before the parameters.
pub fn uri(value: &[u8]) -> &[u8] {
    let Some(open) = memchr::memchr(b'<', value) else {
        return value.split(|byte| *byte == b';').next().unwrap_or_default();
    };
    let rest = &value[open + 1..];
    &rest[..memchr::memchr(b'>', rest).unwrap_or(rest.len())]
}

/// Address and port of a SIP URI whose host is literal; the port is 5060 where none is written.
pub fn address(uri: &[u8]) -> Option<std::net::SocketAddr> {
    let text = std::str::from_utf8(uri).ok()?.strip_prefix("sip:")?;
    let hostport = text.rsplit('@').next()?.split([';', '?']).next()?;
    hostport.parse().ok().or_else(|| {
        let host = hostport.trim_start_matches('[').trim_end_matches(']');
        Some(std::net::SocketAddr::new(host.parse().ok()?, 5060))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_found_by_either_name() {
        let text = b"SIP/2.0 180 Ringing\r\nv: one\r\nVIA : two\r\nRecord-Route: <sip:a;lr>, <sip:b;lr>\r\n\
                     t: <sip:c@d>;tag=1\r\nCSeq: 1 INVITE\r\nSubject: x\r\n\r\nVia: body\r\n";
        let scan = Scan::of(text).unwrap();
        assert_eq!(scan.start, Start::Response(180));
        assert_eq!(scan.all(Header::Via).collect::<Vec<_>>(), [b"one", b"two"]);
        assert_eq!(scan.first(Header::To), b"<sip:c@d>;tag=1");
        assert_eq!(scan.cseq_method(), b"INVITE");
        assert_eq!(scan.first(Header::Contact), b"");
        assert_eq!(Scan::of(b"BYE sip:a SIP/2.0\r\n\r\n").unwrap().start, Start::Request(b"BYE"));
        assert!(Scan::of(b"\0\0").is_none());
        assert!(Scan::of(b"hello there\r\n\r\n").is_none());
    }

    #[test]
    fn elements_and_uris() {
        let value = b"\"a, b\" <sip:1.2.3.4;x=\"1,2\";lr>, <sip:[::1]:5070;lr>;p=1";
        let all = elements(value);
        assert_eq!(all.len(), 2);
        assert_eq!(uri(all[1]), b"sip:[::1]:5070;lr");
        assert_eq!(address(uri(all[0])).unwrap(), "1.2.3.4:5060".parse().unwrap());
        assert_eq!(address(uri(all[1])).unwrap(), "[::1]:5070".parse().unwrap());
        assert_eq!(address(b"sip:49@[::1]").unwrap(), "[::1]:5060".parse().unwrap());
        assert_eq!(address(b"sip:example.net"), None);
    }
}
