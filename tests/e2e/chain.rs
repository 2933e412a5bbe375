//! Calls in a chain with Kamailio before Viaduct, behind it, and on both sides.
//!
//! ```text
//!  caller ── outer Kamailio ── Viaduct ── inner Kamailio ── callee
//!  192.168.7.100  .7.1   1.2.3.100   1.2.3.4   10.0.0.4   10.0.0.100   .8.1  192.168.8.100
//!                                              fd00:6::4  fd00:6::100        fd00:8::100
//! ```

use std::net::SocketAddr;

use crate::endpoint::{Party, Received, settle};
use crate::kamailio::{Kamailio, Mode, installed};
use crate::sip::{Dialog, Message, host_port, same_transaction, sent_by};
use crate::sipp::{self, End};
use crate::viaduct::{Home, LISTENERS};
use crate::world::{Far, World};

/// Where Kamailio stands.
#[derive(Clone, Copy, Debug)]
struct Shape {
    outer: bool,
    inner: bool,
    /// The callee's side speaks IPv6.
    six: bool,
}

const BEFORE: Shape = Shape { outer: true, inner: false, six: false };
const BEHIND: Shape = Shape { outer: false, inner: true, six: false };
const BOTH: Shape = Shape { outer: true, inner: true, six: false };
const BOTH_TO_SIX: Shape = Shape { outer: true, inner: true, six: true };

/// The hosts at both ends and the Kamailios between.
struct Chain {
    world: World,
    caller: Option<Far>,
    callee: Option<Far>,
    home: Home,
    _kamailios: Vec<Kamailio>,
    shape: Shape,
    mode: Mode,
}

impl Chain {
    fn new(shape: Shape, mode: Mode) -> Self {
        let world = World::new();
        let mut kamailios = Vec::new();
        let caller = shape.outer.then(|| {
            let caller = world.public.behind("caller", "192.168.7.1/24", "192.168.7.100/24");
            let addresses = ["1.2.3.100", "192.168.7.1"];
            kamailios.push(Kamailio::start(&world.public, addresses, Some("sip:1.2.3.4:5060"), mode));
            caller
        });
        let callee = shape.inner.then(|| {
            let (near, here, there, addresses) = if shape.six {
                (&world.six, "fd00:8::1/64", "fd00:8::100/64", ["[fd00:6::100]", "[fd00:8::1]"])
            } else {
                (&world.private, "192.168.8.1/24", "192.168.8.100/24", ["10.0.0.100", "192.168.8.1"])
            };
            let callee = near.behind("callee", here, there);
            kamailios.push(Kamailio::start(near, addresses, None, mode));
            callee
        });
        let next = match (shape.inner, shape.six) {
            (true, true) => "sip:[fd00:6::100]:5060",
            (true, false) => "sip:10.0.0.100:5060",
            (false, _) => "request-uri",
        };
        let home = Home::new(&format!(
            "{LISTENERS}\n[[route]]\nname = \"on\"\nto = \"{next}\"\nmode = \"stateless\"\n"
        ));
        Self { world, caller, callee, home, _kamailios: kamailios, shape, mode }
    }

    fn caller_end(&self) -> End<'_> {
        match &self.caller {
            Some(host) => End { host, address: "192.168.7.100" },
            None => End { host: &self.world.public, address: "1.2.3.100" },
        }
    }

    fn callee_end(&self) -> End<'_> {
        match &self.callee {
            Some(host) if self.shape.six => End { host, address: "[fd00:8::100]" },
            Some(host) => End { host, address: "192.168.8.100" },
            None => End { host: &self.world.private, address: "10.0.0.100" },
        }
    }

    /// Whom the caller sends to.
    fn first(&self) -> &'static str {
        if self.shape.outer { "192.168.7.1" } else { "1.2.3.4" }
    }

    /// Whom the callee hears from.
    fn last(&self) -> &'static str {
        match (self.shape.inner, self.shape.six) {
            (true, true) => "[fd00:8::1]",
            (true, false) => "192.168.8.1",
            (false, _) => "10.0.0.4",
        }
    }

    /// The addresses that record themselves, from the caller to the callee. A strict Kamailio records the one on
    /// Viaduct's side.
    fn recorded(&self) -> Vec<&'static str> {
        let strict = self.mode == Mode::Strict;
        let mut all = match (self.shape.outer, strict) {
            (false, _) => vec![],
            (true, false) => vec!["192.168.7.1", "1.2.3.100"],
            (true, true) => vec!["1.2.3.100"],
        };
        all.extend(["1.2.3.4", if self.shape.six { "[fd00:6::4]" } else { "10.0.0.4" }]);
        if self.shape.inner {
            all.push(if self.shape.six { "[fd00:6::100]" } else { "10.0.0.100" });
        }
        if self.shape.inner && !strict {
            all.push(self.last());
        }
        all
    }

    fn hops(&self) -> usize {
        1 + usize::from(self.shape.outer) + usize::from(self.shape.inner)
    }
}

/// Both ends of a call.
struct Ends<'a> {
    chain: &'a Chain,
    caller: Party,
    callee: Party,
}

impl<'a> Ends<'a> {
    fn new(chain: &'a Chain) -> Self {
        let party = |end: End<'_>, user| end.host.party(user, &format!("{}:5060", end.address));
        Self {
            chain,
            caller: party(chain.caller_end(), "caller"),
            callee: party(chain.callee_end(), "callee"),
        }
    }

    fn first(&self) -> SocketAddr {
        format!("{}:5060", self.chain.first()).parse().expect("an address")
    }

    fn last(&self) -> SocketAddr {
        format!("{}:5060", self.chain.last()).parse().expect("an address")
    }

    /// Sends an INVITE and gives it as sent and as it arrives, which it does by the way of the chain.
    fn invite(&self) -> (Message, Received) {
        let invite = self.caller.request("INVITE", &self.callee.uri());
        self.caller.send(&invite, self.first());
        let arrived = self.callee.receive_request("INVITE");
        self.passed(&arrived, self.last(), &self.caller);
        let mut recorded: Vec<_> = hosts(&arrived.message, "Record-Route");
        recorded.reverse();
        assert_eq!(recorded, self.chain.recorded(), "{}", arrived.message);
        (invite, arrived)
    }

    /// Each hop put one Via on top, took one from Max-Forwards, and the last is who sent it.
    fn passed(&self, arrived: &Received, last: SocketAddr, origin: &Party) {
        let (message, hops) = (&arrived.message, self.chain.hops());
        assert_eq!(arrived.from, last, "{message}");
        let vias = message.values("Via");
        assert_eq!(vias.len(), hops + 1, "{message}");
        assert_eq!(with_port(sent_by(&vias[0])), last, "{message}");
        assert_eq!(with_port(sent_by(&vias[hops])), origin.address, "{message}");
        assert_eq!(message.value("Max-Forwards"), (70 - hops).to_string(), "{message}");
        assert!(message.values("Route").is_empty(), "every hop took its own Route:\n{message}");
    }

    /// The first hop of requests in the dialog.
    fn edge(&self, from_caller: bool) -> SocketAddr {
        let recorded = self.chain.recorded();
        let edge = if from_caller { recorded.first() } else { recorded.last() };
        with_port(edge.expect("Viaduct at least"))
    }

    /// A request in the dialog from one end to the other, and its 200 back.
    fn exchange(&self, method: &str, dialog: &mut Dialog, from_caller: bool) -> Message {
        let (from, to, last) = if from_caller {
            (&self.caller, &self.callee, self.last())
        } else {
            (&self.callee, &self.caller, self.first())
        };
        let first = self.edge(from_caller);
        assert_eq!(dialog.next_hop(), first);
        let sent = dialog.send(from, method);
        let arrived = to.receive_request(method);
        self.passed(&arrived, last, from);
        assert_eq!(arrived.message.start, format!("{method} {} SIP/2.0", to.uri()), "the remote target");
        to.answer(&arrived, "200 OK");
        let answer = from.receive_response(200);
        assert_eq!(answer.from, first);
        assert_eq!(answer.message.values("Via").len(), 1, "{}", answer.message);
        if method == "INVITE" {
            let mut ack = dialog.request(from, "ACK");
            ack.set("CSeq", &sent.value("CSeq").replace("INVITE", "ACK"));
            from.send(&ack, first);
            self.passed(&to.receive_request("ACK"), last, from);
        }
        answer.message
    }
}

fn hosts(message: &Message, name: &str) -> Vec<String> {
    let bare = |value: &String| with_port(host_port(value)).to_string();
    message.values(name).iter().map(|value| bare(value).trim_end_matches(":5060").to_string()).collect()
}

fn with_port(text: &str) -> SocketAddr {
    let address = text.parse().or_else(|_| format!("{text}:5060").parse());
    address.unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// A call with everything in it, ended by the caller and then one ended by the callee.
fn conversations(shape: Shape, mode: Mode) {
    if !installed() {
        return;
    }
    let chain = Chain::new(shape, mode);
    let viaduct = chain.home.start(&chain.world);
    let ends = Ends::new(&chain);
    for caller_ends in [true, false] {
        let (_, invite) = ends.invite();
        ends.callee.answer(&invite, "180 Ringing");
        ends.caller.receive_response(180);
        let accepted = ends.callee.answer(&invite, "200 OK");
        let answer = ends.caller.receive_response(200);
        assert_eq!(answer.from, ends.first());
        assert_eq!(answer.message.values("Via").len(), 1, "{}", answer.message);
        let mut of_callee = Dialog::of_callee(&invite.message, &accepted);
        let mut of_caller = Dialog::of_caller(&answer.message);
        let mut mirrored = of_callee.routes.clone();
        mirrored.reverse();
        assert_eq!(of_caller.routes, mirrored, "both ends have one route set, read from either side");
        of_caller.send(&ends.caller, "ACK");
        ends.passed(&ends.callee.receive_request("ACK"), ends.last(), &ends.caller);

        for method in ["INVITE", "OPTIONS", "INFO", "UPDATE"] {
            ends.exchange(method, &mut of_callee, false);
            ends.exchange(method, &mut of_caller, true);
        }
        if caller_ends {
            ends.exchange("BYE", &mut of_caller, true);
        } else {
            ends.exchange("BYE", &mut of_callee, false);
        }
    }
    settle();
    ends.caller.received_nothing();
    ends.callee.received_nothing();
    let metrics = viaduct.accounted(40);
    assert_eq!(metrics.sum("viaduct_answers_total", &[]), 0, "Viaduct answered itself");
    assert_eq!(metrics.sum("viaduct_dropped_total", &[]), 0, "Viaduct dropped something");
    viaduct.stop();
}

/// A call cancelled before and after it rings, and one that is refused.
fn calls_that_fail(shape: Shape, mode: Mode) {
    if !installed() {
        return;
    }
    let chain = Chain::new(shape, mode);
    let viaduct = chain.home.start(&chain.world);
    let ends = Ends::new(&chain);
    // RFC 3261 §9.1: a CANCEL goes on only where a provisional response has come in, and a 100 ends at the nearest
    // transaction, which here may be the inner Kamailio's: then the outer one has none.
    let ends_at_inner = shape.inner && mode == Mode::Stateful;
    let early = if shape.outer && ends_at_inner { "183 Session Progress" } else { "100 Trying" };
    for provisional in [early, "180 Ringing"] {
        let (sent, invite) = ends.invite();
        ends.callee.answer(&invite, provisional);
        if provisional.starts_with("100") && mode == Mode::Stateful {
            settle();
        } else {
            ends.caller.receive();
        }
        let cancel = same_transaction(&sent, "CANCEL", sent.value("To"));
        ends.caller.send(&cancel, ends.first());
        let cancelled = ends.callee.receive_request("CANCEL");
        assert_eq!(cancelled.from, ends.last());
        assert_eq!(
            cancelled.message.branch(),
            invite.message.branch(),
            "§9.1: the CANCEL names the transaction that it ends"
        );
        ends.callee.answer(&cancelled, "200 OK");
        assert!(ends.caller.receive_response(200).message.value("CSeq").ends_with("CANCEL"));
        refuse(&ends, &sent, &invite, "487 Request Terminated");
    }
    let (sent, invite) = ends.invite();
    refuse(&ends, &sent, &invite, "486 Busy Here");
    // INVITE, provisional, CANCEL, its 200, 487, ACK; twice; then INVITE, 486, ACK.
    viaduct.accounted(if early.starts_with("100") && ends_at_inner { 14 } else { 15 });
    viaduct.stop();
}

/// The callee's final answer reaches the caller and the ACK, hop by hop or through, reaches the callee.
fn refuse(ends: &Ends<'_>, sent: &Message, invite: &Received, status: &str) {
    ends.callee.answer(invite, status);
    let code = status.split(' ').next().and_then(|code| code.parse().ok()).expect("a status");
    let answer = ends.caller.receive_response(code);
    assert_eq!(answer.from, ends.first());
    let ack = same_transaction(sent, "ACK", answer.message.value("To"));
    ends.caller.send(&ack, ends.first());
    let ack = ends.callee.receive_request("ACK");
    assert_eq!(ack.from, ends.last());
    assert_eq!(ack.message.branch(), invite.message.branch(), "§17.1.1.3: the branch of its INVITE");
    settle();
    ends.callee.received_nothing();
    ends.caller.received_nothing();
}

/// Many calls by SIPp; every one must succeed.
fn volume(shape: Shape) {
    if !installed() {
        return;
    }
    const CALLS: u32 = 500;
    let chain = Chain::new(shape, Mode::Stateful);
    let viaduct = chain.home.start(&chain.world);
    sipp::calls("call", CALLS, &chain.caller_end(), chain.first(), &chain.callee_end());
    let metrics = viaduct.accounted(u64::from(CALLS) * 6);
    assert_eq!(metrics.sum("viaduct_dropped_total", &[]), 0, "Viaduct dropped something");
    viaduct.stop();
}

#[test]
fn kamailio_before_viaduct() {
    conversations(BEFORE, Mode::Stateful);
}

#[test]
fn kamailio_behind_viaduct() {
    conversations(BEHIND, Mode::Stateful);
}

#[test]
fn kamailio_on_both_sides() {
    conversations(BOTH, Mode::Stateful);
}

#[test]
fn kamailio_on_both_sides_from_ipv4_to_ipv6() {
    conversations(BOTH_TO_SIX, Mode::Stateful);
}

#[test]
fn stateless_kamailio_on_both_sides() {
    conversations(BOTH, Mode::Stateless);
}

#[test]
fn strict_kamailio_before_viaduct() {
    conversations(BEFORE, Mode::Strict);
}

#[test]
fn strict_kamailio_behind_viaduct() {
    conversations(BEHIND, Mode::Strict);
}

#[test]
fn strict_kamailio_on_both_sides_from_ipv4_to_ipv6() {
    conversations(BOTH_TO_SIX, Mode::Strict);
}

#[test]
fn calls_fail_with_kamailio_before_viaduct() {
    calls_that_fail(BEFORE, Mode::Stateful);
}

#[test]
fn calls_fail_with_kamailio_behind_viaduct() {
    calls_that_fail(BEHIND, Mode::Stateful);
}

#[test]
fn calls_fail_with_kamailio_on_both_sides() {
    calls_that_fail(BOTH_TO_SIX, Mode::Stateful);
}

#[test]
fn five_hundred_calls_with_kamailio_before_viaduct() {
    volume(BEFORE);
}

#[test]
fn five_hundred_calls_with_kamailio_behind_viaduct() {
    volume(BEHIND);
}

#[test]
fn five_hundred_calls_with_kamailio_on_both_sides() {
    volume(BOTH_TO_SIX);
}
