//! Calls in a chain with Kamailio before Viaduct, behind it, and on both sides.
//!
//! ```text
//!  caller ── outer Kamailio ── Viaduct ── inner Kamailio ── callee
//!  192.168.7.100  .7.1   1.2.3.100   1.2.3.4   10.0.0.4   10.0.0.100   .8.1  192.168.8.100
//!                                              fd00:6::4  fd00:6::100        fd00:8::100
//! ```

use std::net::SocketAddr;
use std::time::Duration;

use crate::endpoint::{Party, Received, settle};
use crate::kamailio::{Kamailio, Link, Mode, Stand, installed};
use crate::pki::Authority;
use crate::sip::{Dialog, Message, host_port, parameter, same_transaction, sent_by};
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
    /// Between Kamailio and Viaduct.
    link: Link,
}

const BEFORE: Shape = Shape { outer: true, inner: false, six: false, link: Link::Udp };
const BEHIND: Shape = Shape { outer: false, inner: true, six: false, link: Link::Udp };
const BOTH: Shape = Shape { outer: true, inner: true, six: false, link: Link::Udp };
const BOTH_TO_SIX: Shape = Shape { outer: true, inner: true, six: true, link: Link::Udp };

impl Shape {
    const fn by(self, link: Link) -> Self {
        Self { link, ..self }
    }

    /// What has come by a connection Viaduct keeps.
    fn is_kept(self) -> bool {
        self.link != Link::Udp
    }
}

/// Viaduct over TLS, with certificates for its addresses.
const TLS: &str = r#"
[[listener]]
name = "public-tls"
bind = "tls:1.2.3.4:5061"
certificate = "edge.crt"
key = "edge.key"
ca = "ca.pem"
client_certificates = "required"

[[listener]]
name = "private-tls"
bind = "tls:10.0.0.4:5061"
certificate = "edge.crt"
key = "edge.key"
ca = "ca.pem"
client_certificates = "required"

[[listener]]
name = "six-tls"
bind = "tls:[fd00:6::4]:5061"
certificate = "edge.crt"
key = "edge.key"
ca = "ca.pem"
client_certificates = "required"
"#;

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
        let (world, authority, link) = (World::new(), Authority::new("A"), shape.link);
        let uri = |address: &str| format!("sip:{address}:{};transport={}", link.port(), link.transport());
        let mut kamailios = Vec::new();
        let caller = shape.outer.then(|| {
            let caller = world.public.behind("caller", "192.168.7.1/24", "192.168.7.100/24");
            let (host, addresses, next) = (&world.public, ["1.2.3.100", "192.168.7.1"], uri("1.2.3.4"));
            let stand = Stand { host, addresses, next: Some(&next), link, authority: &authority };
            kamailios.push(Kamailio::start(&stand, mode));
            caller
        });
        let callee = shape.inner.then(|| {
            let (host, here, there, addresses) = if shape.six {
                (&world.six, "fd00:8::1/64", "fd00:8::100/64", ["[fd00:6::100]", "[fd00:8::1]"])
            } else {
                (&world.private, "192.168.8.1/24", "192.168.8.100/24", ["10.0.0.100", "192.168.8.1"])
            };
            let callee = host.behind("callee", here, there);
            let stand = Stand { host, addresses, next: None, link, authority: &authority };
            kamailios.push(Kamailio::start(&stand, mode));
            callee
        });
        let next = match (shape.inner, shape.six) {
            (true, true) => uri("[fd00:6::100]"),
            (true, false) => uri("10.0.0.100"),
            (false, _) => "request-uri".to_owned(),
        };
        let home = home(shape, &next, &authority);
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

    /// The addresses that record themselves, from the caller to the callee, and by which transport. A strict Kamailio
    /// records the one on Viaduct's side.
    fn recorded(&self) -> Vec<(SocketAddr, &'static str)> {
        let Shape { outer, inner, six, link } = self.shape;
        let strict = self.mode == Mode::Strict;
        let plain = |address: &str| (with_port(address), "udp");
        let linked = |address: &str, is_linked: bool| match is_linked {
            true => (with_port(&format!("{address}:{}", link.port())), link.transport()),
            false => plain(address),
        };
        let mut all = Vec::new();
        if outer && !strict {
            all.push(plain("192.168.7.1"));
        }
        if outer {
            all.push(linked("1.2.3.100", true));
        }
        all.push(linked("1.2.3.4", outer));
        all.push(linked(if six { "[fd00:6::4]" } else { "10.0.0.4" }, inner));
        if inner {
            all.push(linked(if six { "[fd00:6::100]" } else { "10.0.0.100" }, true));
        }
        if inner && !strict {
            all.push(plain(self.last()));
        }
        all
    }

    /// By what a request has come from one end to the other, hop by hop, the last first.
    fn hops(&self, from_caller: bool) -> Vec<&'static str> {
        let Shape { outer, inner, link, .. } = self.shape;
        let between = |is_there: bool| is_there.then_some(link.transport());
        let (near, far) = if from_caller { (outer, inner) } else { (inner, outer) };
        ["udp"].into_iter().chain(between(far)).chain(between(near)).collect()
    }
}

/// Viaduct's files. Where it is reached by connections, it keeps what it has from them.
fn home(shape: Shape, next: &str, authority: &Authority) -> Home {
    let mode = if shape.is_kept() { "stateful" } else { "stateless" };
    let tls = if shape.link == Link::Tls { TLS } else { "" };
    let route = format!("\n[[route]]\nname = \"on\"\nto = \"{next}\"\nmode = \"{mode}\"\n");
    // A Kamailio of one process on a busy machine may take late what waits for it.
    let home = Home::new(&format!("[tcp]\nqueue = \"4MiB\"\n{LISTENERS}{tls}{route}"));
    let own = authority.issue(&["1.2.3.4", "10.0.0.4", "fd00:6::4"]);
    for (name, text) in [("ca.pem", &authority.pem()), ("edge.crt", &own.certificate), ("edge.key", &own.key)]
    {
        home.put(name, text);
    }
    home
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
        let values = arrived.message.values("Record-Route");
        let recorded: Vec<_> = values.iter().rev().map(|value| recorded(value)).collect();
        let recorded: Vec<_> = recorded.iter().map(|(address, by)| (*address, &**by)).collect();
        assert_eq!(recorded, self.chain.recorded(), "{}", arrived.message);
        (invite, arrived)
    }

    /// Each hop put one Via on top, took one from Max-Forwards, and the last is who sent it.
    fn passed(&self, arrived: &Received, last: SocketAddr, origin: &Party) {
        let (message, by) = (&arrived.message, self.chain.hops(origin.address == self.caller.address));
        let hops = by.len();
        assert_eq!(arrived.from, last, "{message}");
        let vias = message.values("Via");
        let wanted = by.iter().chain(&["udp"]).map(|by| format!("SIP/2.0/{} ", by.to_uppercase()));
        assert!(vias.iter().zip(wanted).all(|(via, wanted)| via.starts_with(&wanted)), "{by:?}:\n{message}");
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
        edge.expect("Viaduct at least").0
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
        let answer = answer(from, 200);
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

/// Address and transport of a Record-Route.
fn recorded(value: &str) -> (SocketAddr, String) {
    (with_port(host_port(value)), parameter(value, "transport").unwrap_or_else(|| "udp".to_owned()))
}

/// The next answer but 100, which has this status.
fn answer(party: &Party, status: u16) -> Received {
    loop {
        let received = party.receive();
        let start = &received.message.start;
        if !start.starts_with("SIP/2.0 100 ") {
            assert!(start.starts_with(&format!("SIP/2.0 {status} ")), "{status}:\n{}", received.message);
            return received;
        }
    }
}

fn with_port(text: &str) -> SocketAddr {
    let address = text.parse().or_else(|_| format!("{text}:5060").parse());
    address.unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// A call with everything in it, ended by the caller and then one ended by the callee.
fn conversations(shape: Shape, mode: Mode) {
    if !installed(shape.link) {
        return;
    }
    let chain = Chain::new(shape, mode);
    let viaduct = chain.home.start(&chain.world);
    let ends = Ends::new(&chain);
    for caller_ends in [true, false] {
        let (_, invite) = ends.invite();
        ends.callee.answer(&invite, "180 Ringing");
        answer(&ends.caller, 180);
        let accepted = ends.callee.answer(&invite, "200 OK");
        let answer = answer(&ends.caller, 200);
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
    if !installed(shape.link) {
        return;
    }
    let chain = Chain::new(shape, mode);
    let viaduct = chain.home.start(&chain.world);
    let ends = Ends::new(&chain);
    // RFC 3261 §9.1: a CANCEL goes on only where a provisional response has come in, and a 100 ends at the nearest
    // transaction, which here may be the inner Kamailio's: then the outer one has none.
    let ends_at_inner = shape.inner && mode == Mode::Stateful;
    let is_kept_before = shape.outer || shape.is_kept();
    let early = if is_kept_before && ends_at_inner { "183 Session Progress" } else { "100 Trying" };
    for provisional in [early, "180 Ringing"] {
        let (sent, invite) = ends.invite();
        ends.callee.answer(&invite, provisional);
        if provisional.starts_with("100") && mode == Mode::Stateful {
            // §17.2.1: each transaction on the way has 200 ms for a 100 of its own.
            std::thread::sleep(Duration::from_millis(500));
        } else if shape.is_kept() {
            let code = provisional.split(' ').next().and_then(|code| code.parse().ok());
            answer(&ends.caller, code.expect("a status"));
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
        assert!(answer(&ends.caller, 200).message.value("CSeq").ends_with("CANCEL"));
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
    let answer = answer(&ends.caller, code);
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
    if !installed(shape.link) {
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

/// With a Kamailio on either side and on both, over TCP and over TLS.
fn by_streams(each: impl Fn(Shape)) {
    for link in [Link::Tcp, Link::Tls] {
        for shape in [BEFORE, BEHIND, BOTH_TO_SIX] {
            each(shape.by(link));
        }
    }
}

#[test]
fn kamailio_by_streams() {
    by_streams(|shape| conversations(shape, Mode::Stateful));
}

#[test]
fn calls_fail_with_kamailio_by_streams() {
    by_streams(|shape| calls_that_fail(shape, Mode::Stateful));
}

#[test]
fn five_hundred_calls_with_kamailio_by_tcp() {
    volume(BOTH_TO_SIX.by(Link::Tcp));
}

#[test]
fn five_hundred_calls_with_kamailio_by_tls() {
    volume(BOTH_TO_SIX.by(Link::Tls));
}
