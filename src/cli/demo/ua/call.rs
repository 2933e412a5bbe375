//! One call: a dialog and the script it follows.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::message::{self, Message};
use super::{Finished, GIVE_UP, Port, Send, T1};

/// Who sends the BYE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The one who placed the call.
    Caller,
    /// The one who was called.
    Callee,
}

/// What a call does after it is set up.
#[derive(Clone, Debug)]
pub struct Script {
    /// The Call-ID; unique.
    pub call_id: String,
    /// Who ends it.
    pub bye_by: Role,
}

/// A request or a 2xx that is sent again until it is answered.
struct Outstanding {
    send: (Port, SocketAddr, String),
    cseq: u32,
    method: &'static str,
    is_request: bool,
    first: Instant,
    next: Instant,
    interval: Duration,
}

/// One dialog from one side.
pub(super) struct Call {
    id: String,
    role: Role,
    bye_by: Role,
    contact: SocketAddr,
    port: Port,
    /// The neighbour that all messages of the dialog have to come from.
    neighbour: SocketAddr,
    local: String,
    remote: String,
    target: String,
    routes: Vec<String>,
    cseq: u32,
    outstanding: Option<Outstanding>,
    setup: Option<Duration>,
    release: Option<Duration>,
    retransmissions: u32,
    reinvited_by_peer: bool,
    done: bool,
    finished: Option<Finished>,
}

const SDP: &str = "v=0\r\no=- 3724394400 3724394405 IN IP4 198.18.0.1\r\ns=-\r\nc=IN IP4 198.18.0.1\r\n\
                   t=0 0\r\nm=audio 49170 RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\n\
                   a=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n";

impl Call {
    pub(super) fn caller(
        script: Script,
        uri: &str,
        contact: SocketAddr,
        port: Port,
        proxy: SocketAddr,
    ) -> Self {
        let local = format!("<sip:caller@{contact}>;tag=a{}", script.call_id);
        let remote = format!("<{uri}>");
        Self::new(
            script.call_id,
            Role::Caller,
            script.bye_by,
            contact,
            port,
            proxy,
            local,
            remote,
            uri.to_owned(),
        )
    }

    pub(super) fn callee(id: &str, contact: SocketAddr, port: Port, from: SocketAddr) -> Self {
        // The caller's script decides; it says so in the Call-ID's last letter.
        let bye_by = if id.ends_with('b') { Role::Callee } else { Role::Caller };
        let none = String::new;
        Self::new(id.to_owned(), Role::Callee, bye_by, contact, port, from, none(), none(), none())
    }

    #[allow(clippy::too_many_arguments)]
    fn new(
        id: String,
        role: Role,
        bye_by: Role,
        contact: SocketAddr,
        port: Port,
        neighbour: SocketAddr,
        local: String,
        remote: String,
        target: String,
    ) -> Self {
        Self {
            id,
            role,
            bye_by,
            contact,
            port,
            neighbour,
            local,
            remote,
            target,
            routes: Vec::new(),
            cseq: 0,
            outstanding: None,
            setup: None,
            release: None,
            retransmissions: 0,
            reinvited_by_peer: false,
            done: false,
            finished: None,
        }
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn take_finished(&mut self) -> Option<Finished> {
        self.finished.take()
    }

    pub(super) fn start(&mut self, sends: &mut Vec<Send>, now: Instant) {
        self.request("INVITE", sends, now);
    }

    pub(super) fn receive(
        &mut self,
        message: &Message<'_>,
        port: Port,
        from: SocketAddr,
        sends: &mut Vec<Send>,
        now: Instant,
    ) {
        if from != self.neighbour {
            let what = message.start;
            let neighbour = self.neighbour;
            return self.fail(format!("«{what}» came from {from}, the dialog belongs to {neighbour}"));
        }
        self.port = port;
        match (message.status(), message.method()) {
            (Some(status), _) => self.on_response(status, message, sends, now),
            (None, Some(method)) => self.on_request(method, message, sends, now),
            (None, None) => {}
        }
    }

    fn on_response(&mut self, status: u16, message: &Message<'_>, sends: &mut Vec<Send>, now: Instant) {
        let Some((cseq, method)) = message.cseq() else { return };
        if status < 200 {
            return;
        }
        if status >= 300 {
            return self.fail(format!("{method} was answered «{}»", message.start));
        }
        if method == "INVITE" {
            self.learn(message, "To", Role::Caller);
            self.ack(cseq, sends);
        }
        let Some(waiting) = self.outstanding.take_if(|o| o.is_request && o.cseq == cseq) else { return };
        let took = now - waiting.first;
        match (method, self.role, cseq) {
            ("INVITE", Role::Caller, 1) => {
                self.setup = Some(took);
                self.request("INVITE", sends, now);
            }
            ("INVITE", Role::Callee, _) if self.bye_by == Role::Callee => self.request("BYE", sends, now),
            ("BYE", _, _) => {
                self.release = Some(took);
                self.finish(None);
            }
            _ => {}
        }
    }

    fn on_request(&mut self, method: &str, message: &Message<'_>, sends: &mut Vec<Send>, now: Instant) {
        match method {
            "INVITE" => self.on_invite(message, sends, now),
            "ACK" => self.on_ack(message, sends, now),
            "BYE" => {
                self.reply(message, "200 OK", "", sends);
                self.outstanding = None;
                self.finish(None);
            }
            _ => self.reply(message, "405 Method Not Allowed", "", sends),
        }
    }

    fn on_invite(&mut self, message: &Message<'_>, sends: &mut Vec<Send>, now: Instant) {
        let Some((cseq, _)) = message.cseq() else { return };
        if self.role == Role::Callee && cseq == 1 {
            self.local = format!("{};tag=b{}", message.get("To"), self.id);
            self.learn(message, "From", Role::Callee);
            self.reply(message, "180 Ringing", "", sends);
        }
        self.reinvited_by_peer |= self.role == Role::Caller;
        let text = message::response(message, "200 OK", &format!("b{}", self.id), &self.uri(), SDP);
        if self.outstanding.as_ref().is_none_or(|o| o.cseq != cseq || o.is_request) {
            self.expect("ACK", cseq, false, text.clone(), now);
        }
        sends.push(Send { port: self.port, to: self.neighbour, text });
    }

    fn on_ack(&mut self, message: &Message<'_>, sends: &mut Vec<Send>, now: Instant) {
        let Some((cseq, _)) = message.cseq() else { return };
        if self.outstanding.take_if(|o| !o.is_request && o.cseq == cseq).is_none() {
            return;
        }
        match self.role {
            Role::Callee if cseq > 1 && self.cseq == 0 => self.request("INVITE", sends, now),
            Role::Caller if self.bye_by == Role::Caller => self.request("BYE", sends, now),
            _ => {}
        }
    }

    /// RFC 3261 §12.1: takes remote party, route set and remote target from the dialog's first messages.
    fn learn(&mut self, message: &Message<'_>, remote: &str, role: Role) {
        self.remote = message.get(remote).to_owned();
        if let Some(contact) = message.uris("Contact").into_iter().next() {
            self.target = contact;
        }
        if self.routes.is_empty() {
            self.routes = message.uris("Record-Route");
            if role == Role::Caller {
                self.routes.reverse();
            }
        }
    }

    fn reply(&mut self, request: &Message<'_>, status: &str, body: &str, sends: &mut Vec<Send>) {
        let text = message::response(request, status, &format!("b{}", self.id), &self.uri(), body);
        sends.push(Send { port: self.port, to: self.neighbour, text });
    }

    fn request(&mut self, method: &'static str, sends: &mut Vec<Send>, now: Instant) {
        self.cseq += 1;
        let (cseq, body) = (self.cseq, if method == "INVITE" { SDP } else { "" });
        let text = self.compose(method, cseq, body);
        let to = self.next_hop();
        self.expect(method, cseq, true, text.clone(), now);
        sends.push(Send { port: self.port, to, text });
    }

    fn ack(&mut self, cseq: u32, sends: &mut Vec<Send>) {
        let text = self.compose("ACK", cseq, "");
        sends.push(Send { port: self.port, to: self.next_hop(), text });
    }

    fn compose(&self, method: &str, cseq: u32, body: &str) -> String {
        let Self { id, contact, target, local, remote, .. } = self;
        let side = if self.role == Role::Caller { 'a' } else { 'b' };
        let mut text = format!(
            "{method} {target} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {contact};branch=z9hG4bK{id}{side}{cseq}{method};rport\r\n\
             Max-Forwards: 70\r\n"
        );
        for route in &self.routes {
            text.push_str(&format!("Route: <{route}>\r\n"));
        }
        text.push_str(&format!(
            "From: {local}\r\nTo: {remote}\r\nCall-ID: {id}\r\nCSeq: {cseq} {method}\r\nContact: <{}>\r\n",
            self.uri()
        ));
        message::finish(text, body)
    }

    fn uri(&self) -> String {
        format!("sip:ua@{}", self.contact)
    }

    fn next_hop(&self) -> SocketAddr {
        self.routes.first().and_then(|uri| message::address_of(uri)).unwrap_or(self.neighbour)
    }

    fn expect(&mut self, method: &'static str, cseq: u32, is_request: bool, text: String, now: Instant) {
        let to = if is_request { self.next_hop() } else { self.neighbour };
        let send = (self.port, to, text);
        let next = now + T1;
        self.outstanding =
            Some(Outstanding { send, cseq, method, is_request, first: now, next, interval: T1 });
    }

    pub(super) fn tick(&mut self, sends: &mut Vec<Send>, now: Instant) {
        let Some(waiting) = &mut self.outstanding else { return };
        if now >= waiting.first + GIVE_UP {
            let what = if waiting.is_request { "no final answer to" } else { "no" };
            let reason = format!("{what} {} {} within {GIVE_UP:?}", waiting.method, waiting.cseq);
            return self.fail(reason);
        }
        if now >= waiting.next {
            waiting.interval *= 2;
            waiting.next = now + waiting.interval;
            self.retransmissions += 1;
            let (port, to, text) = waiting.send.clone();
            sends.push(Send { port, to, text });
        }
    }

    fn fail(&mut self, reason: String) {
        self.outstanding = None;
        self.finish(Some(reason));
    }

    fn finish(&mut self, failure: Option<String>) {
        if std::mem::replace(&mut self.done, true) && failure.is_none() {
            return;
        }
        let failure = failure.or_else(|| {
            (self.role == Role::Caller && !self.reinvited_by_peer)
                .then(|| "the callee's re-INVITE never came".to_owned())
        });
        self.finished = Some(Finished {
            call_id: self.id.clone(),
            setup: self.setup,
            release: self.release,
            retransmissions: self.retransmissions,
            failure,
        });
    }
}
