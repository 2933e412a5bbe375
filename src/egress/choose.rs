//! Where the listener is given: by a pin, a dialog token or a rule; and the test that all must pass.

use std::net::{IpAddr, SocketAddr};

use super::view::{Seat, link_of};
use super::{Egress, ListenerState, NoEgress, Question, Reason, Unfit, View};
use crate::fib::{Answer, Fib, Query, Route, RouteKind};
use crate::net::Transport;
use crate::plan::{Listener, ListenerId, Plan, SectionId};
use crate::rules::EgressChoice;

/// Confirms that `listener` can send to the next hop: transport, family, state, link, bound lookup.
///
/// # Errors
/// Why it cannot.
pub fn confirm(
    plan: &Plan,
    fib: &Fib,
    view: &View,
    listener: ListenerId,
    question: &Question,
) -> Result<Route, Unfit> {
    let own = plan.listener(listener);
    let next_hop = &question.next_hop;
    if own.transport != next_hop.transport {
        return Err(Unfit::Transport);
    }
    if own.bind.is_ipv4() != next_hop.address.is_ipv4() {
        return Err(Unfit::Family);
    }
    let state = view.state(listener);
    if state != ListenerState::Up {
        return Err(Unfit::Down(state));
    }
    let query = bound_query(fib, view, own, question)?;
    match fib.lookup(&query) {
        Answer::Route(route) if carries(route.kind) => Ok(route),
        Answer::Route(route) => Err(Unfit::Kind(route.kind)),
        Answer::No(reason) => Err(Unfit::NoRoute(reason)),
        Answer::AskKernel => Err(Unfit::AskKernel(query)),
    }
}

/// A rule's `egress`: never silently another socket.
///
/// # Errors
/// The listener that the rule names cannot reach the next hop, or there is none.
pub fn overridden(
    plan: &Plan,
    fib: &Fib,
    view: &View,
    choice: &EgressChoice,
    question: &Question,
) -> Result<Egress, NoEgress> {
    match *choice {
        EgressChoice::Listener(section) => of_section(plan, fib, view, section, question, Reason::Override),
        EgressChoice::Relative { transport, port, address } => {
            let ingress = plan.listener(question.ingress);
            let listener = relative(plan, view, transport, address, port, ingress)?;
            given(plan, fib, view, listener, question, Reason::Override)
        }
    }
}

/// One of the listeners that a `[[listener]]` stands for: of several the one on the source that the kernel would
/// choose, else the first that can send.
///
/// # Errors
/// Why the first of the next hop's family cannot; or there is none; or of several only the kernel knows which it would
/// choose.
pub fn of_section(
    plan: &Plan,
    fib: &Fib,
    view: &View,
    section: SectionId,
    question: &Question,
    reason: Reason,
) -> Result<Egress, NoEgress> {
    let members = plan.members(section);
    // Of one that has two transports, those of the wanted one.
    let is_wanted = |l: &Listener| l.transport == question.next_hop.transport;
    let begin = members.iter().position(is_wanted).unwrap_or(0);
    let rest = members.get(begin..).unwrap_or_default();
    let count = rest.iter().take_while(|l| is_wanted(l)).count();
    let members = rest.get(..count).filter(|wanted| !wanted.is_empty()).unwrap_or(members);
    let preferred = on_the_kernels_source(fib, view, members, question)?;
    let others = members.iter().map(|l| l.id).filter(|id| Some(*id) != preferred);
    let mut failure = NoEgress::NoAddress(section);
    for listener in preferred.into_iter().chain(others) {
        match given(plan, fib, view, listener, question, reason) {
            Err(NoEgress::Unfit(_, Unfit::Family)) if failure != NoEgress::NoAddress(section) => {}
            Err(why @ NoEgress::AskKernel(_)) => return Err(why),
            Err(why) if matches!(failure, NoEgress::NoAddress(_) | NoEgress::Unfit(_, Unfit::Family)) => {
                failure = why;
            }
            Err(_) => {}
            chosen => return chosen,
        }
    }
    Err(failure)
}

fn on_the_kernels_source(
    fib: &Fib,
    view: &View,
    members: &[Listener],
    question: &Question,
) -> Result<Option<ListenerId>, NoEgress> {
    let [first, _, ..] = members else { return Ok(None) };
    let query = any_source_query(view, first, question);
    match fib.lookup(&query) {
        Answer::Route(route) => Ok(members.iter().find(|l| l.bind.ip() == route.source).map(|l| l.id)),
        Answer::No(_) => Ok(None),
        Answer::AskKernel => Err(NoEgress::AskKernel(query)),
    }
}

fn relative(
    plan: &Plan,
    view: &View,
    transport: Transport,
    address: Option<IpAddr>,
    port: Option<u16>,
    ingress: &Listener,
) -> Result<ListenerId, NoEgress> {
    let mut socket = ingress.bind;
    socket.set_ip(address.unwrap_or(ingress.bind.ip()));
    socket.set_port(port.unwrap_or(ingress.bind.port()));
    // Transports have ports of their own: who comes in on 5060 leaves over TLS from 5061.
    let any_port = port.is_none() && transport != ingress.transport;
    view.at_socket(plan, transport, socket, any_port, ingress)
        .ok_or(NoEgress::NoSuchListener(transport, socket))
}

/// A listener that something else chose.
pub(super) fn given(
    plan: &Plan,
    fib: &Fib,
    view: &View,
    listener: ListenerId,
    question: &Question,
    reason: Reason,
) -> Result<Egress, NoEgress> {
    match confirm(plan, fib, view, listener, question) {
        Ok(route) => Ok(Egress { listener, reason, route }),
        Err(Unfit::AskKernel(query)) => Err(NoEgress::AskKernel(query)),
        Err(why) => Err(NoEgress::Unfit(listener, why)),
    }
}

/// What the send will ask: the listener's own source, port, mark and device.
///
/// # Errors
/// [`Unfit::Link`]: the next hop is a link-local address that this listener's socket cannot reach.
pub fn bound_query(fib: &Fib, view: &View, own: &Listener, question: &Question) -> Result<Query, Unfit> {
    let seat = view.seat(own.id);
    let oif = match link_towards(view, question) {
        Link::Any => seat.oif,
        Link::One(link) if fits_link(fib, seat, link) => link,
        Link::Unknown if seat.oif != 0 => seat.oif,
        Link::One(_) | Link::Unknown => return Err(Unfit::Link),
    };
    let source = own.bind.ip();
    Ok(Query {
        src: Some(source),
        sport: own.bind.port(),
        ..open_query(question, own.mark.unwrap_or(0), oif)
    })
}

/// The question with any source that belongs to [`bound_query`]: under the listener's mark and device, as
/// the automatic choice asks for the listener's class.
pub fn any_source_query(view: &View, own: &Listener, question: &Question) -> Query {
    let device = if own.device.is_some() { view.seat(own.id).oif } else { 0 };
    class_query(view, own.mark.unwrap_or(0), device, question)
}

/// The question with any source, for listeners of this mark and device (0: none).
pub(super) fn class_query(view: &View, mark: u32, device: u32, question: &Question) -> Query {
    let oif = match link_towards(view, question) {
        Link::One(link) if device == 0 => link,
        Link::One(_) | Link::Any | Link::Unknown => device,
    };
    open_query(question, mark, oif)
}

/// The same question with any source.
fn open_query(question: &Question, mark: u32, oif: u32) -> Query {
    Query {
        dst: question.next_hop.address.ip(),
        src: None,
        mark,
        oif,
        protocol: match question.next_hop.transport {
            Transport::Udp => 17,
            Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss => 6,
        },
        sport: 0,
        dport: question.next_hop.address.port(),
        flow: question.flow,
    }
}

/// On which link the next hop is, as far as its address says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// Not link-local: the routes say.
    Any,
    /// Link-local on this one.
    One(u32),
    /// Link-local, written without its link.
    Unknown,
}

/// A link-local address in a message cannot say its link. The link that the request came in on is
/// meant, if its listener has one.
pub(super) fn link_towards(view: &View, question: &Question) -> Link {
    let SocketAddr::V6(v6) = question.next_hop.address else { return Link::Any };
    if !v6.ip().is_unicast_link_local() {
        return Link::Any;
    }
    match (link_of(question.next_hop.address), view.seat(question.ingress).oif) {
        (0, 0) => Link::Unknown,
        (0, link) | (link, _) => Link::One(link),
    }
}

/// A socket that is tied to a device reaches that device's link alone; tied to a VRF, its members'.
fn fits_link(fib: &Fib, seat: &Seat, link: u32) -> bool {
    seat.oif == 0 || seat.oif == link || fib.l3_master(link) == seat.oif
}

/// SIP is sent to one host; sockets may not broadcast.
pub(super) fn carries(kind: RouteKind) -> bool {
    match kind {
        RouteKind::Unicast | RouteKind::Local | RouteKind::Anycast => true,
        RouteKind::Broadcast | RouteKind::Multicast => false,
    }
}
