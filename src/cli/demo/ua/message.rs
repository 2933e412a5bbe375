//! Reading and writing of the few messages a small user agent needs; text, and knowingly not Viaduct's parser.

use std::net::SocketAddr;

/// A received message, split into lines.
pub struct Message<'a> {
    /// Request-Line or Status-Line.
    pub start: &'a str,
    headers: Vec<(&'a str, &'a str)>,
}

impl<'a> Message<'a> {
    /// Splits a datagram; `None` if it is not text with a header section.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (head, _body) = text.split_once("\r\n\r\n")?;
        let mut lines = head.split("\r\n");
        let start = lines.next()?;
        let headers = lines.filter_map(|line| line.split_once(':')).map(|(n, v)| (n.trim(), v.trim()));
        Some(Self { start, headers: headers.collect() })
    }

    /// The status code of a response.
    pub fn status(&self) -> Option<u16> {
        self.start.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
    }

    /// The method of a request.
    pub fn method(&self) -> Option<&'a str> {
        if self.status().is_some() { None } else { self.start.split(' ').next() }
    }

    /// The values of all header lines of this name, in order.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|&(_, value)| value)
    }

    /// The first value of this name; empty where there is none.
    pub fn get(&self, name: &str) -> &'a str {
        self.all(name).next().unwrap_or("")
    }

    /// CSeq's number and method.
    pub fn cseq(&self) -> Option<(u32, &'a str)> {
        let (number, method) = self.get("CSeq").split_once(' ')?;
        Some((number.parse().ok()?, method.trim()))
    }

    /// The `tag` of a From or To value.
    pub fn tag(value: &str) -> Option<&str> {
        let (_, after) = value.rsplit_once(";tag=")?;
        after.split(';').next()
    }

    /// The URIs of a list of name-addr values such as Record-Route, in order.
    pub fn uris(&self, name: &str) -> Vec<String> {
        let mut uris = Vec::new();
        for value in self.all(name) {
            let mut rest = value;
            while let Some((_, after)) = rest.split_once('<') {
                let Some((uri, tail)) = after.split_once('>') else { break };
                uris.push(uri.to_owned());
                rest = tail;
            }
        }
        uris
    }
}

/// The address that a `sip:` URI with an IP literal names.
pub fn address_of(uri: &str) -> Option<SocketAddr> {
    let rest = uri.strip_prefix("sip:")?;
    let rest = rest.split(['?', ';']).next()?;
    let host = rest.rsplit('@').next()?;
    host.parse().ok().or_else(|| {
        let ip = host.trim_start_matches('[').trim_end_matches(']').parse().ok()?;
        Some(SocketAddr::new(ip, 5060))
    })
}

/// A response to `request`, with its Via, Record-Route, From, To (with `to_tag`), Call-ID and CSeq.
pub fn response(request: &Message<'_>, status: &str, to_tag: &str, contact: &str, body: &str) -> String {
    let mut text = format!("SIP/2.0 {status}\r\n");
    for name in ["Via", "Record-Route", "From"] {
        for value in request.all(name) {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    let to = request.get("To");
    let to = if Message::tag(to).is_some() { to.to_owned() } else { format!("{to};tag={to_tag}") };
    let (call_id, cseq) = (request.get("Call-ID"), request.get("CSeq"));
    text.push_str(&format!("To: {to}\r\nCall-ID: {call_id}\r\nCSeq: {cseq}\r\nContact: <{contact}>\r\n"));
    finish(text, body)
}

/// Closes a header section and appends the body.
pub fn finish(mut text: String, body: &str) -> String {
    if !body.is_empty() {
        text.push_str("Content-Type: application/sdp\r\n");
    }
    text.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_a_dialog_needs() {
        let text = "SIP/2.0 200 OK\r\nRecord-Route: <sip:10.0.0.1:5060;lr>, <sip:[fd00::1]:5060;lr>\r\n\
                    To: <sip:bob@h>;tag=b7\r\nCSeq: 3 INVITE\r\n\r\n";
        let message = Message::read(text.as_bytes()).unwrap();
        assert_eq!(message.status(), Some(200));
        assert_eq!(message.method(), None);
        assert_eq!(message.cseq(), Some((3, "INVITE")));
        assert_eq!(Message::tag(message.get("To")), Some("b7"));
        assert_eq!(message.uris("Record-Route"), ["sip:10.0.0.1:5060;lr", "sip:[fd00::1]:5060;lr"]);
    }

    #[test]
    fn finds_the_address_of_a_uri() {
        let v6 = "[fd00::1]:5070".parse().unwrap();
        assert_eq!(address_of("sip:a@[fd00::1]:5070;lr"), Some(v6));
        assert_eq!(address_of("sip:10.0.0.1"), Some("10.0.0.1:5060".parse().unwrap()));
        assert_eq!(address_of("sip:example.net"), None);
    }
}
