//! User agents that do what calls rarely do: refuse, stay silent, answer late, cancel while the answer is under way.
//!
//! What happens to a request stands in the user part that it is for; see [`Odd::answer`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use viaduct::engine::sim::{Endpoint, Outbox};
use viaduct::net::Now;
use viaduct::random::Random;

const MS: u64 = 1_000_000;
const T1: u64 = 500 * MS;
/// Nobody sends anything again after 64·T1.
const PATIENCE: u64 = 64 * T1;

/// What happens to requests, and by which method.
pub const KINDS: [(&str, &str); 15] = [
    ("mute", "INVITE"),
    ("rings", "INVITE"),
    ("busy", "INVITE"),
    ("silent", "INVITE"),
    ("cancelled", "INVITE"),
    ("taken", "INVITE"),
    ("race", "INVITE"),
    ("now", "MESSAGE"),
    ("slow", "MESSAGE"),
    ("never", "MESSAGE"),
    // By several next hops, each of which does something else: see `Odd::among_several`.
    ("spread", "INVITE"),
    ("spread", "MESSAGE"),
    ("forked", "INVITE"),
    ("pooled", "INVITE"),
    ("pooled", "MESSAGE"),
];

/// A message that is sent again with growing intervals until something stops it.
struct Again {
    to: SocketAddr,
    text: String,
    next: u64,
    interval: u64,
    until: u64,
}

/// Caller and callee in one.
pub struct Odd {
    own: SocketAddr,
    proxy: SocketAddr,
    dice: Random,
    /// When to send which request, latest first.
    plan: Vec<(u64, String)>,
    again: BTreeMap<String, Again>,
    /// Requests that were answered finally here: those that come again get the same.
    answered: BTreeMap<String, String>,
    /// Call-IDs of INVITEs that were provisionally answered here: those may be cancelled (RFC 3261 §9.1).
    rung: BTreeSet<String>,
    /// INVITEs that came in, by Call-ID.
    invites: BTreeMap<String, String>,
}

impl Odd {
    pub fn new(own: SocketAddr, proxy: SocketAddr, dice: Random) -> Self {
        Self {
            own,
            proxy,
            dice,
            plan: Vec::new(),
            again: BTreeMap::new(),
            answered: BTreeMap::new(),
            invites: BTreeMap::new(),
            rung: BTreeSet::new(),
        }
    }

    /// Sends a request of this kind at this instant; where it is one to be cancelled, that later.
    pub fn plan(&mut self, at: u64, kind: usize, number: u64, callee: SocketAddr) {
        let (user, method) = KINDS[kind];
        let own = self.own;
        let request = |method: &str| {
            format!(
                "{method} sip:{user}{number}@{callee} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK{user}{number}\r\n\
                 Max-Forwards: 70\r\nFrom: <sip:odd@{own}>;tag=f{number}\r\nTo: <sip:{user}{number}@{callee}>\r\n\
                 Call-ID: {user}{number}\r\nCSeq: 1 {method}\r\nContact: <sip:odd@{own}>\r\nContent-Length: 0\r\n\r\n"
            )
        };
        self.later(at, request(method));
        if matches!(user, "cancelled" | "race") {
            let at = at + 600 * MS + self.dice.below(800) * MS;
            self.later(at, request("CANCEL"));
        }
    }

    fn later(&mut self, at: u64, text: String) {
        self.plan.push((at, text));
        self.plan.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    }

    fn send_again(&mut self, out: &mut Outbox, key: String, to: SocketAddr, text: String, now: u64) {
        out.send(self.own, to, text.clone());
        self.again.insert(key, Again { to, text, next: now + T1, interval: T1, until: now + PATIENCE });
    }

    /// What this one of several next hops does: the first refuses, the second says nothing or rings, the third answers.
    fn among_several<'t>(&self, user: &'t str, method: &str) -> &'t str {
        match (user, self.own.ip().to_string().as_str(), method) {
            ("spread" | "pooled", "10.0.0.10", _) => "full",
            ("pooled", "fd00::10", _) => "never",
            ("spread", "fd00::10", _) => "silent",
            ("spread" | "pooled", _, "MESSAGE") => "now",
            ("spread" | "pooled" | "forked", "10.9.9.9", _) => "taken",
            ("forked", "10.0.0.10", _) => "busy",
            ("forked", ..) => "rings",
            _ => user,
        }
    }

    /// What a callee does with a request.
    fn answer(&mut self, out: &mut Outbox, from: SocketAddr, text: &str, now: u64) {
        let (user, cseq) = (self.among_several(user(text), method(text)), header(text, "CSeq"));
        let id = format!("{cseq} {}", header(text, "Call-ID"));
        if let Some(response) = self.answered.get(&id) {
            return out.send(self.own, from, response.clone());
        }
        if method(text) == "INVITE" {
            self.invites.insert(header(text, "Call-ID").to_owned(), text.to_owned());
        }
        let refuse = |status: &str| response(text, status);
        match (user, method(text)) {
            (_, "ACK") => {
                self.again.remove(&format!("final {}", header(text, "Call-ID")));
            }
            (_, "CANCEL") => {
                out.send(self.own, from, response(text, "200 OK"));
                let key = format!("1 INVITE {}", header(text, "Call-ID"));
                let invite = self.invites.get(header(text, "Call-ID"));
                if let Some(invite) = invite.filter(|_| !self.answered.contains_key(&key)) {
                    let gone = response(invite, "487 Request Terminated");
                    self.answered.insert(key, gone.clone());
                    self.send_again(out, format!("final {}", header(text, "Call-ID")), from, gone, now);
                }
            }
            ("full", _) => {
                let full = refuse("503 Service Unavailable");
                self.answered.insert(id, full.clone());
                if method(text) == "INVITE" {
                    self.send_again(out, format!("final {}", header(text, "Call-ID")), from, full, now);
                } else {
                    out.send(self.own, from, full);
                }
            }
            ("busy" | "mute", _) => {
                let busy = refuse("486 Busy Here");
                self.answered.insert(id, busy.clone());
                self.send_again(out, format!("final {}", header(text, "Call-ID")), from, busy, now);
            }
            ("cancelled" | "rings", _) => out.send(self.own, from, response(text, "180 Ringing")),
            ("taken" | "race", _) => {
                out.send(self.own, from, response(text, "180 Ringing"));
                let ok = response(text, "200 OK");
                let later = now + self.dice.below(1_600) * MS;
                let again = Again { to: from, text: ok, next: later, interval: T1, until: later + 8 * T1 };
                self.again.entry(format!("ok {}", header(text, "Call-ID"))).or_insert(again);
            }
            ("now", _) => {
                let ok = refuse("200 OK");
                self.answered.insert(id, ok.clone());
                out.send(self.own, from, ok);
            }
            ("slow", _) => {
                let ok = response(text, "200 OK");
                let again = Again {
                    to: from,
                    text: ok,
                    next: now + 6_000 * MS,
                    interval: T1,
                    until: now + 6_001 * MS,
                };
                self.again.entry(format!("slow {}", header(text, "Call-ID"))).or_insert(again);
            }
            _ => {}
        }
    }

    /// A caller has got a response.
    fn heard(&mut self, out: &mut Outbox, text: &str) {
        let status: u16 = text[8..11].parse().expect("a status");
        let (cseq, call_id) = (header(text, "CSeq"), header(text, "Call-ID"));
        let key = format!("request {cseq} {call_id}");
        if status < 200 {
            self.rung.insert(call_id.to_owned());
        }
        if status >= 200 || cseq.ends_with("INVITE") {
            self.again.remove(&key);
        }
        if status >= 300 && cseq.ends_with("INVITE") && !call_id.starts_with("mute") {
            let (via, to, from) = (header(text, "Via"), header(text, "To"), header(text, "From"));
            let uri = to.split(['<', '>']).nth(1).expect("a URI");
            let ack = format!(
                "ACK {uri} SIP/2.0\r\nVia: {via}\r\nMax-Forwards: 70\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\n\
                 CSeq: 1 ACK\r\nContent-Length: 0\r\n\r\n"
            );
            out.send(self.own, self.proxy, ack);
        }
    }
}

impl Endpoint for Odd {
    fn on_datagram(&mut self, out: &mut Outbox, _: SocketAddr, from: SocketAddr, bytes: &[u8], now: Now) {
        let text = std::str::from_utf8(bytes).expect("text");
        if text.starts_with("SIP/2.0") {
            self.heard(out, text);
        } else {
            self.answer(out, from, text, now.0);
        }
    }

    fn on_timer(&mut self, out: &mut Outbox, now: Now) {
        while self.plan.last().is_some_and(|(at, _)| *at <= now.0) {
            let (_, text) = self.plan.pop().expect("one");
            if method(&text) == "CANCEL" && !self.rung.contains(header(&text, "Call-ID")) {
                self.later(now.0 + 100 * MS, text);
                continue;
            }
            let key = format!("request {} {}", header(&text, "CSeq"), header(&text, "Call-ID"));
            self.send_again(out, key, self.proxy, text, now.0);
        }
        self.again.retain(|_, again| now.0 < again.until);
        for again in self.again.values_mut().filter(|again| again.next <= now.0) {
            out.send(self.own, again.to, again.text.clone());
            again.next = now.0 + again.interval;
            again.interval = (2 * again.interval).min(8 * T1);
        }
        out.wake_at(now.plus_ns(20 * MS));
    }
}

pub fn method(text: &str) -> &str {
    text.split(' ').next().unwrap_or("")
}

fn user(text: &str) -> &str {
    let uri = text.split([':', '@']).nth(1).unwrap_or("");
    uri.trim_end_matches(|c: char| c.is_ascii_digit())
}

pub fn header<'t>(text: &'t str, name: &str) -> &'t str {
    let prefix = format!("{name}: ");
    text.lines().find_map(|line| line.strip_prefix(prefix.as_str())).unwrap_or("")
}

pub fn response(request: &str, status: &str) -> String {
    let mut out = format!("SIP/2.0 {status}\r\n");
    for line in request.lines().skip(1) {
        let name = line.split(':').next().unwrap_or("");
        match name {
            "Via" | "From" | "Call-ID" | "CSeq" | "Record-Route" => out += &format!("{line}\r\n"),
            "To" if !line.contains(";tag=") => out += &format!("{line};tag=t\r\n"),
            "To" => out += &format!("{line}\r\n"),
            _ => {}
        }
    }
    out + "Content-Length: 0\r\n\r\n"
}
