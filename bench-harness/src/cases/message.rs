//! What is done for a message: parse, decide, rewrite, and all of it.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use sip_parser::{HeaderLine, MAX_LINES, RequestValues, Start};
use viaduct::egress::{Question, auto};
use viaduct::limits::MESSAGE_BYTES;
use viaduct::net::{ListenerId, NextHop, Transport};
use viaduct::proxy::Outcome;
use viaduct::rewrite::Edits;

use super::support::Shard;
use super::{Case, mixed_rules, rules, traffic};

/// Who sends [`traffic::invite`].
const CALLER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 5060);
/// Who answers.
const CALLEE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 100)), 5060);

/// Splits INVITEs into lines and reads the values that forwarding needs of every request.
#[derive(Default)]
pub struct Parse {
    messages: Vec<Vec<u8>>,
}

impl Case for Parse {
    fn prepare(&mut self, calls: usize) {
        self.messages = (0..calls).map(|number| traffic::invite(number as u32)).collect();
    }

    fn run(&mut self) {
        let mut lines = [HeaderLine::EMPTY; MAX_LINES];
        for bytes in &self.messages {
            let read = parse(black_box(bytes), &mut lines);
            assert!(black_box(read).is_ok());
        }
    }
}

fn parse(bytes: &[u8], lines: &mut [HeaderLine]) -> Result<(), sip_parser::Error> {
    // It and its values stay where they are read, as in a proxy.
    let parsed = sip_parser::parse(bytes, lines);
    let message = parsed.as_ref().map_err(|error| *error)?;
    if let Start::Request(line) = message.start() {
        let mut values = RequestValues::unread();
        message.request_via(&mut values);
        message.request_values(line, &mut values);
        let RequestValues { via, uri, from, to, call_id, cseq, .. } = black_box(&values);
        let read =
            [via.is_some(), uri.is_some(), from.is_some(), to.is_some(), call_id.is_some(), cseq.is_some()];
        assert!(read.iter().all(|read| *read));
    }
    Ok(())
}

/// The first rule of a hundred that matches, and the automatic choice of the listener, with nothing remembered.
pub struct Decide {
    rules: rules::Match,
    shard: Shard,
    question: Question,
    calls: usize,
}

impl Decide {
    /// Among the hundred rules and two listeners of all measurements.
    pub fn new() -> Self {
        let shard = shard();
        let next_hop = NextHop { transport: Transport::Udp, address: CALLEE };
        let question = Question { next_hop, ingress: shard.listener("public"), flow: 1 };
        Self { rules: rules::Match::new(100), shard, question, calls: 0 }
    }
}

impl Case for Decide {
    fn prepare(&mut self, calls: usize) {
        self.rules.prepare(1);
        self.calls = calls;
    }

    fn run(&mut self) {
        let snapshot = &self.shard.snapshot;
        for _ in 0..self.calls {
            self.rules.run();
            let chosen = auto(&snapshot.plan, &snapshot.fib, &snapshot.view, black_box(&self.question));
            assert!(black_box(chosen).is_ok());
        }
    }
}

/// What is written into a forwarded INVITE.
#[derive(Clone, Copy)]
enum New {
    Lines,
    MaxForwards(u64),
    Source(SocketAddr),
}

/// The edits of a forwarded INVITE: two Record-Routes and a Via before its Via, `received`, Max-Forwards.
pub struct Rewrite {
    message: Vec<u8>,
    via: usize,
    via_end: usize,
    max_forwards: usize,
    edits: Edits<New>,
    out: Vec<u8>,
    calls: usize,
}

const VIA: &[u8] =
    b"Via: SIP/2.0/UDP 10.0.0.4:5060;branch=z9hG4bKv1a0000kq3v7x2m5t6w4y7z2a3b4c5d6e7f2g3h4i5j6;rport\r\n";
const RECORD_ROUTES: &[u8] =
    b"Record-Route: <sip:v1kq3v7x2m5t6w4y7z2a3b4c5d6e7f2g3h4i5j6k7@10.0.0.4:5060;lr;r2=on>\r\n\
    Record-Route: <sip:v1m5t6w4y7z2a3b4c5d6e7f2g3h4i5j6k7l2m3@192.0.2.254:5060;lr;r2=on>\r\n";

impl Rewrite {
    /// Of the INVITE that all measurements use.
    pub fn new() -> Self {
        let message = traffic::invite(1);
        let at = |what: &[u8]| memchr::memmem::find(&message, what).expect("the INVITE has it");
        let (via, via_end, max_forwards) = (at(b"Via: "), at(b";rport\r\n") + 6, at(b": 70\r\n") + 2);
        let out = vec![0; MESSAGE_BYTES];
        Self { via, via_end, max_forwards, message, edits: Edits::new(), out, calls: 0 }
    }
}

impl Case for Rewrite {
    fn prepare(&mut self, calls: usize) {
        self.calls = calls;
    }

    fn run(&mut self) {
        for _ in 0..self.calls {
            let edits = &mut self.edits;
            edits.clear();
            edits.insert(self.via, New::Lines);
            edits.replace(self.via_end..self.via_end, New::Source(black_box(CALLER)));
            edits.replace(self.max_forwards..self.max_forwards + 2, New::MaxForwards(black_box(69)));
            let written = edits.apply(black_box(&self.message), &mut self.out, |new, out| match new {
                New::Lines => {
                    out.put(black_box(RECORD_ROUTES));
                    out.put(black_box(VIA));
                }
                New::MaxForwards(value) => out.put_number(value),
                New::Source(source) => {
                    out.put_text(b"=");
                    out.put_number(source.port().into());
                    out.put_text(b";received=");
                    out.put_ip(source.ip());
                }
            });
            assert!(black_box(written).is_ok());
        }
    }
}

/// What comes in of a call.
#[derive(Clone, Copy)]
pub enum Part {
    /// The INVITE of 600 bytes, a new transaction each time.
    Invite,
    /// The same INVITE once more.
    Retransmission,
    /// The callee's 200 to it.
    Response,
    /// The callee's BYE, with the route set that we wrote.
    Bye,
}

/// All that is done for a message: parse, decide among a hundred rules, automatic egress, rewrite.
pub struct Pipeline {
    shard: Shard,
    part: Part,
    on: ListenerId,
    from: SocketAddr,
    /// The INVITE as it was forwarded.
    forwarded: Vec<u8>,
    number: u32,
    messages: Vec<Vec<u8>>,
}

impl Pipeline {
    /// With the configuration that all measurements use.
    pub fn new(part: Part) -> Self {
        Self::on(shard(), part)
    }

    /// Of the INVITE among so many mixed rules, of which only the last one takes it.
    pub fn among(rules: usize) -> Self {
        let configuration = mixed_rules::configuration(rules);
        Self::on(Shard::new(&configuration, mixed_rules::ADDRESSES, &[]), Part::Invite)
    }

    fn on(mut shard: Shard, part: Part) -> Self {
        let (public, private) = (shard.listener("public"), shard.listener("private"));
        let forwarded = shard.handle(&traffic::invite(u32::MAX), public, CALLER).1.to_vec();
        let (on, from) = match part {
            Part::Invite | Part::Retransmission => (public, CALLER),
            Part::Response | Part::Bye => (private, CALLEE),
        };
        Self { shard, part, on, from, forwarded, number: 0, messages: Vec::new() }
    }

    fn message(&self, number: u32) -> Vec<u8> {
        match self.part {
            Part::Invite => traffic::invite(number),
            Part::Retransmission => traffic::invite(u32::MAX),
            Part::Response => traffic::response(&self.forwarded),
            Part::Bye => traffic::bye(&self.forwarded, number),
        }
    }
}

impl Case for Pipeline {
    fn prepare(&mut self, calls: usize) {
        let numbers = (0..calls as u32).map(|number| self.number.wrapping_add(number));
        self.messages = numbers.map(|number| self.message(number)).collect();
        self.number = self.number.wrapping_add(calls as u32);
    }

    fn run(&mut self) {
        for message in &self.messages {
            let (outcome, _) = self.shard.handle(black_box(message), self.on, self.from);
            assert!(matches!(black_box(outcome), Outcome::Forward { .. } | Outcome::Relay { .. }));
        }
    }
}

/// An INVITE that is taken, where transactions are kept: the pipeline of the INVITE, and of the 200.
pub struct Stateful {
    shard: Shard,
    /// Says beforehand what the first one writes.
    oracle: Shard,
    number: u32,
    messages: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Stateful {
    /// With the configuration that all measurements use, but for the mode of the rule that takes the INVITE.
    pub fn new() -> Self {
        let configuration = traffic::configuration()
            .replace("to = \"request-uri\"\nmode = \"stateless\"", "to = \"request-uri\"");
        let shard = || Shard::new(&configuration, traffic::ADDRESSES, &[]);
        Self { shard: shard(), oracle: shard(), number: 0, messages: Vec::new() }
    }
}

/// Handles both, and sends what comes of it.
fn take(shard: &mut Shard, invite: &[u8], answer: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let (public, private) = (shard.listener("public"), shard.listener("private"));
    let (outcome, forwarded) = shard.handle(black_box(invite), public, CALLER);
    assert!(matches!(black_box(outcome), Outcome::Forward { transaction: Some(_), .. }));
    let answer = answer(forwarded);
    assert_eq!(shard.send_due(), 0, "no 100 before its time");
    let (outcome, _) = shard.handle(black_box(&answer), private, CALLEE);
    assert!(matches!(black_box(outcome), Outcome::Relay { .. }));
    answer
}

impl Case for Stateful {
    fn prepare(&mut self, calls: usize) {
        let numbers = (0..calls as u32).map(|number| self.number.wrapping_add(number));
        let oracle = &mut self.oracle;
        let exchange = |number| {
            let invite = traffic::invite(number);
            let ok = take(oracle, &invite, traffic::response);
            (invite, ok)
        };
        self.messages = numbers.map(exchange).collect();
        self.number = self.number.wrapping_add(calls as u32);
    }

    fn run(&mut self) {
        for (invite, ok) in &mut self.messages {
            *ok = take(&mut self.shard, invite, |_| std::mem::take(ok));
        }
    }
}

fn shard() -> Shard {
    Shard::new(&traffic::configuration(), traffic::ADDRESSES, &[])
}
