//! Just enough SIP to write messages, read them back and follow a dialog; knows nothing of Viaduct's parser.

use std::fmt;
use std::net::SocketAddr;

use crate::endpoint::{Party, serial};

/// A message: start line, header lines in order, body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Start line.
    pub start: String,
    /// Name and value of each header line.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
}

impl Message {
    /// Only a start line.
    pub fn new(start: &str) -> Self {
        Self { start: start.into(), headers: Vec::new(), body: Vec::new() }
    }

    /// Reads a datagram; fails on what is no message.
    pub fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or_else(|| {
            panic!("no empty line in:\n{}", String::from_utf8_lossy(bytes));
        });
        let head = std::str::from_utf8(&bytes[..end]).expect("UTF-8 in the header section");
        let mut lines = head.split("\r\n");
        let start = lines.next().expect("a start line").to_string();
        let headers = lines
            .map(|line| line.split_once(':').unwrap_or_else(|| panic!("no colon in {line:?}")))
            .map(|(name, value)| (name.trim().to_string(), value.trim().to_string()))
            .collect();
        Self { start, headers, body: bytes[end + 4..].to_vec() }
    }

    /// As a datagram.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.to_string().into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// Appends a header line.
    pub fn add(&mut self, name: &str, value: &str) {
        self.headers.push((name.into(), value.into()));
    }

    /// Replaces the first header line of this name.
    pub fn set(&mut self, name: &str, value: &str) {
        let line = self.headers.iter_mut().find(|(n, _)| n == name);
        line.unwrap_or_else(|| panic!("no {name}")).1 = value.into();
    }

    /// Puts a header line first.
    pub fn insert_first(&mut self, name: &str, value: &str) {
        self.headers.insert(0, (name.into(), value.into()));
    }

    /// With this body.
    pub fn with_body(mut self, kind: &str, body: &str) -> Self {
        self.body = body.as_bytes().to_vec();
        self.add("Content-Type", kind);
        self.set("Content-Length", &body.len().to_string());
        self
    }

    /// The value of the first header line of this name.
    pub fn value(&self, name: &str) -> &str {
        self.values_of_lines(name).next().unwrap_or_else(|| panic!("no {name} in:\n{self}"))
    }

    fn values_of_lines(&self, name: &str) -> impl Iterator<Item = &str> {
        self.headers.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// Every value of this header, top first, comma lists taken apart (commas in quotes or <> stay).
    pub fn values(&self, name: &str) -> Vec<String> {
        self.values_of_lines(name).flat_map(split_list).collect()
    }

    /// The branch of the topmost Via.
    pub fn branch(&self) -> String {
        parameter(&self.values("Via")[0], "branch").expect("a branch")
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\r\n", self.start)?;
        for (name, value) in &self.headers {
            write!(f, "{name}: {value}\r\n")?;
        }
        f.write_str("\r\n")
    }
}

fn split_list(line: &str) -> Vec<String> {
    let (mut quoted, mut angle) = (false, false);
    let parts = line.split(|c| {
        match c {
            '"' => quoted = !quoted,
            '<' if !quoted => angle = true,
            '>' if !quoted => angle = false,
            _ => {}
        }
        c == ',' && !quoted && !angle
    });
    parts.map(|part| part.trim().to_string()).collect()
}

/// The value of `;name=value` in a header value; empty for a flag.
pub fn parameter(value: &str, name: &str) -> Option<String> {
    value.split(';').skip(1).find_map(|parameter| {
        let parameter = parameter.trim().trim_end_matches('>');
        let (n, v) = parameter.split_once('=').unwrap_or((parameter, ""));
        n.eq_ignore_ascii_case(name).then(|| v.to_string())
    })
}

/// `sent-by` of a Via value.
pub fn sent_by(via: &str) -> &str {
    via.split(';').next().and_then(|head| head.split_whitespace().last()).expect("a sent-by")
}

/// `host:port` of a Route, Record-Route or Contact value.
pub fn host_port(value: &str) -> &str {
    let uri = value.split_once("sip:").unwrap_or_else(|| panic!("no SIP URI in {value}")).1;
    let uri = uri.split(['>', ';', '?']).next().expect("a part");
    uri.rsplit_once('@').map_or(uri, |(_, host)| host)
}

/// `host:port` of a value as an address; port 5060 where none is written.
pub fn address_of(value: &str) -> SocketAddr {
    let text = host_port(value);
    let parsed = text.parse().or_else(|_| format!("{text}:5060").parse());
    parsed.unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// An answer to a request (RFC 3261 §8.2.6.2), without To tag.
pub fn response(request: &Message, status: &str) -> Message {
    let mut answer = Message::new(&format!("SIP/2.0 {status}"));
    for name in ["Via", "Record-Route", "From", "To", "Call-ID", "CSeq"] {
        for value in request.values_of_lines(name) {
            answer.add(name, value);
        }
    }
    answer
}

/// The ACK to an INVITE's non-2xx answer, or its CANCEL: same branch, same way (RFC 3261 §17.1.1.3, §9.1).
pub fn same_transaction(invite: &Message, method: &str, to: &str) -> Message {
    let uri = invite.start.split(' ').nth(1).expect("a Request-URI");
    let mut message = Message::new(&format!("{method} {uri} SIP/2.0"));
    message.add("Via", &invite.values("Via")[0]);
    message.add("Max-Forwards", "70");
    for route in invite.values("Route") {
        message.add("Route", &route);
    }
    message.add("From", invite.value("From"));
    message.add("To", to);
    message.add("Call-ID", invite.value("Call-ID"));
    message.add("CSeq", &format!("1 {method}"));
    message.add("Content-Length", "0");
    message
}

/// Who has a Via and a Contact.
pub trait Speaker {
    /// A new branch on a new Via.
    fn via(&self) -> String;
    /// The URI of its Contact.
    fn uri(&self) -> String;

    /// A request outside a dialog.
    fn request(&self, method: &str, uri: &str) -> Message {
        let n = serial();
        let mut message = Message::new(&format!("{method} {uri} SIP/2.0"));
        message.add("Via", &self.via());
        message.add("Max-Forwards", "70");
        message.add("From", &format!("<{}>;tag=from{n}", self.uri()));
        message.add("To", &format!("<{uri}>"));
        message.add("Call-ID", &format!("call{n}@e2e"));
        message.add("CSeq", &format!("1 {method}"));
        message.add("Contact", &format!("<{}>", self.uri()));
        message.add("Content-Length", "0");
        message
    }
}

impl Speaker for Party {
    fn via(&self) -> String {
        Party::via(self)
    }

    fn uri(&self) -> String {
        Party::uri(self)
    }
}

/// One side's view of a dialog (RFC 3261 §12).
pub struct Dialog {
    local: String,
    remote: String,
    call_id: String,
    target: String,
    /// Route set, first hop first.
    pub routes: Vec<String>,
    cseq: u32,
}

impl Dialog {
    /// The caller's, from the 2xx.
    pub fn of_caller(answer: &Message) -> Self {
        let mut routes = answer.values("Record-Route");
        routes.reverse();
        Self::new(answer, answer.value("From"), answer.value("To"), routes)
    }

    /// The callee's, from the INVITE as received and the answer as sent.
    pub fn of_callee(invite: &Message, answer: &Message) -> Self {
        Self::new(invite, answer.value("To"), invite.value("From"), invite.values("Record-Route"))
    }

    fn new(target_in: &Message, local: &str, remote: &str, routes: Vec<String>) -> Self {
        let target = target_in.value("Contact").trim_matches(['<', '>']).to_string();
        Self {
            local: local.into(),
            remote: remote.into(),
            call_id: target_in.value("Call-ID").into(),
            target,
            routes,
            cseq: 100 + serial() % 1000,
        }
    }

    /// A request in the dialog; an ACK gets the number of its INVITE, 1.
    pub fn request(&mut self, party: &(impl Speaker + ?Sized), method: &str) -> Message {
        self.cseq += 1;
        let number = if method == "ACK" { 1 } else { self.cseq };
        let (uri, routes) = self.aim();
        let mut message = Message::new(&format!("{method} {uri} SIP/2.0"));
        message.add("Via", &party.via());
        message.add("Max-Forwards", "70");
        for route in &routes {
            message.add("Route", route);
        }
        message.add("From", &self.local);
        message.add("To", &self.remote);
        message.add("Call-ID", &self.call_id);
        message.add("CSeq", &format!("{number} {method}"));
        message.add("Contact", &format!("<{}>", party.uri()));
        message.add("Content-Length", "0");
        message
    }

    /// Request-URI and Route of the next request (RFC 3261 §12.2.1.1): a strict router finds itself in the
    /// Request-URI, and the remote target last in Route.
    fn aim(&self) -> (String, Vec<String>) {
        match self.routes.split_first() {
            Some((first, rest)) if !first.contains(";lr") => {
                let target = format!("<{}>", self.target);
                (first.trim_matches(['<', '>']).to_owned(), rest.iter().cloned().chain([target]).collect())
            }
            _ => (self.target.clone(), self.routes.clone()),
        }
    }

    /// Where the next request of the dialog goes.
    pub fn next_hop(&self) -> SocketAddr {
        address_of(self.routes.first().unwrap_or(&self.target))
    }

    /// Sends a request of the dialog to its first route.
    pub fn send(&mut self, party: &Party, method: &str) -> Message {
        let message = self.request(party, method);
        party.send(&message, self.next_hop());
        message
    }
}
