//! The listeners of a Plan as a Fib sees them.

use std::cmp::Reverse;
use std::net::{IpAddr, SocketAddr};

use crate::fib::{Fib, Route};
use crate::net::{Transport, address_bits};
use crate::plan::{Listener, ListenerId, Plan, Standing};

/// The listeners of a [`Plan`] as a [`Fib`] sees them; part of each snapshot.
///
/// All that the choice needs and that depends on nothing but the two is worked out once here.
pub struct View {
    /// By [`ListenerId`].
    seats: Vec<Seat>,
    /// Ascending by identity.
    identities: Vec<(u32, ListenerId)>,
    /// Ascending by transport, address and configured order.
    sockets: Vec<(Transport, IpAddr, ListenerId)>,
    kinds: Vec<Kind>,
    /// Usually none.
    missed: Vec<Missed>,
}

/// Whether a listener can be sent from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ListenerState {
    /// Its address is on the host, its device is up.
    Up,
    /// Its address is on none of the host's interfaces (or, link-local, not on its own).
    AddressAbsent,
    /// The interface that carries its address is down or has no carrier.
    HomeDown,
    /// There is no interface of its `device`'s name.
    DeviceAbsent,
    /// Its `device` is down or has no carrier.
    DeviceDown,
    /// Its sockets could not be opened.
    NoSocket,
}

impl ListenerState {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Up, Self::AddressAbsent, Self::HomeDown, Self::DeviceAbsent, Self::DeviceDown, Self::NoSocket];

    /// As tables and the log say it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::AddressAbsent => "address absent",
            Self::HomeDown => "interface down",
            Self::DeviceAbsent => "device absent",
            Self::DeviceDown => "device down",
            Self::NoSocket => "no socket",
        }
    }
}

/// One listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seat {
    pub state: ListenerState,
    /// What its socket is tied to: its `device`, or the link of its link-local address; 0 for none.
    pub oif: u32,
    /// The interface that carries its address; 0 for none.
    pub home: u32,
    /// The VRF that its `device` is or belongs to; 0 for none.
    pub vrf: u32,
    /// It can be sent from, its address is assigned, and its socket is tied to nothing: where no rule looks at the source, its
    /// sends take the route that any source would.
    pub is_plain: bool,
    /// Its address lives on an interface that leads nowhere (loopback, a dummy, a VRF), so it is of no one network.
    pub roams: bool,
}

/// A listener that is not up, and where it is missed.
struct Missed {
    listener: ListenerId,
    transport: Transport,
    address: IpAddr,
    vrf: u32,
    /// The interfaces that carry its address, or another one of its network.
    devs: Vec<u32>,
}

impl Missed {
    fn of(listener: &Listener, seat: &Seat, fib: &Fib) -> Option<Self> {
        if seat.state == ListenerState::Up || listener.standing == Standing::Leaving {
            return None;
        }
        let address = listener.bind.ip();
        let near = fib.assigned().filter(|own| own.network.contains(&address)).map(|own| own.dev);
        let devs = near.chain(Some(seat.home).filter(|&home| home != 0)).collect();
        Some(Self { listener: listener.id, transport: listener.transport, address, vrf: seat.vrf, devs })
    }
}

/// What can send by one transport to one family.
struct Kind {
    transport: Transport,
    v4: bool,
    /// In the order in which they are asked.
    classes: Vec<Class>,
}

/// Listeners of one transport and family that share mark and device: the kernel treats them alike
/// until their source comes in.
pub(super) struct Class {
    pub mark: u32,
    /// Index of the `device`; 0 for none.
    pub oif: u32,
    pub vrf: u32,
    /// In configured order; never empty.
    pub members: Vec<ListenerId>,
    /// The same with the bits of their addresses, ascending by these, then in configured order.
    by_address: Vec<(u128, ListenerId)>,
}

impl Class {
    fn new(first: &Listener, seat: &Seat) -> Self {
        Self {
            mark: first.mark.unwrap_or(0),
            oif: if first.device.is_some() { seat.oif } else { 0 },
            vrf: seat.vrf,
            members: Vec::new(),
            by_address: Vec::new(),
        }
    }

    /// The members with this address, in configured order.
    #[inline]
    pub fn at(&self, address: IpAddr) -> impl Iterator<Item = ListenerId> + Clone {
        let wanted = address_bits(address);
        let from = self.by_address.partition_point(|(own, _)| *own < wanted);
        let rest = self.by_address.get(from..).unwrap_or_default();
        rest.iter().take_while(move |(own, _)| *own == wanted).map(|(_, id)| *id)
    }
}

impl ListenerState {
    /// One clause about the listener, without a full stop.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::AddressAbsent => "its address is on no interface of this host",
            Self::HomeDown => "the interface that carries its address is down or has no carrier",
            Self::DeviceAbsent => "there is no interface of its device's name",
            Self::DeviceDown => "its device is down or has no carrier",
            Self::NoSocket => "its socket could not be opened",
        }
    }
}

impl View {
    /// Looks up devices, homes of addresses and states of all listeners.
    pub fn new(plan: &Plan, fib: &Fib) -> Self {
        let seats: Vec<Seat> = plan.listeners.iter().map(|l| Seat::of(l, fib)).collect();
        let mut identities: Vec<(u32, ListenerId)> = (plan.listeners.iter())
            .flat_map(|l| std::iter::once(l.identity).chain(l.formerly.iter().copied()).map(|i| (i, l.id)))
            .collect();
        identities.sort_unstable();
        let mut sockets: Vec<_> = plan.listeners.iter().map(|l| (l.transport, l.bind.ip(), l.id)).collect();
        sockets.sort_unstable();
        let kinds = kinds(plan, &seats);
        let missed =
            plan.listeners.iter().zip(&seats).filter_map(|(l, seat)| Missed::of(l, seat, fib)).collect();
        Self { seats, identities, sockets, kinds, missed }
    }

    /// Whether the listener can be sent from.
    pub fn state(&self, listener: ListenerId) -> ListenerState {
        self.seat(listener).state
    }

    /// [`View::state`] is [`ListenerState::Up`].
    pub fn is_up(&self, listener: ListenerId) -> bool {
        self.state(listener) == ListenerState::Up
    }

    /// Index of the interface that carries the listener's address.
    pub fn home(&self, listener: ListenerId) -> Option<u32> {
        Some(self.seat(listener).home).filter(|&index| index != 0)
    }

    /// The VRF that the listener's `device` is or belongs to, as an interface index; 0 for none.
    pub fn vrf(&self, listener: ListenerId) -> u32 {
        self.seat(listener).vrf
    }

    /// The listener with this identity, present or `formerly`.
    pub fn by_identity(&self, identity: u32) -> Option<ListenerId> {
        let place = self.identities.binary_search_by_key(&identity, |(i, _)| *i).ok()?;
        self.identities.get(place).map(|(_, listener)| *listener)
    }

    /// The listener itself if it has this transport, else its sibling: the listener of that transport with the same
    /// address, device and mark; of several the one with its port, else the first.
    pub fn sibling(&self, plan: &Plan, listener: ListenerId, transport: Transport) -> Option<ListenerId> {
        let own = plan.listener(listener);
        if own.transport == transport {
            return Some(listener);
        }
        let beside = |id: &ListenerId| {
            let other = plan.listener(*id);
            alike(other, own) && link_of(other.bind) == link_of(own.bind)
        };
        let order = |id: &ListenerId| {
            let other = plan.listener(*id);
            (other.standing == Standing::Leaving, other.bind.port() != own.bind.port())
        };
        self.at(transport, own.bind.ip()).filter(beside).min_by_key(order)
    }

    /// The listener with this transport, address (a link-local one on its link, if that is given) and port, or with any port
    /// where `any_port` says so and none has that one; of several, which differ in device or mark, the one that is like
    /// `ingress` in these, else the first configured; one that is leaving only where there is no other.
    pub(super) fn at_socket(
        &self,
        plan: &Plan,
        transport: Transport,
        socket: SocketAddr,
        any_port: bool,
        ingress: &Listener,
    ) -> Option<ListenerId> {
        let link = link_of(socket);
        let has_port = |own: &Listener| own.bind.port() == socket.port();
        let here = |id: &ListenerId| {
            let own = plan.listener(*id);
            (any_port || has_port(own)) && (link == 0 || link_of(own.bind) == link)
        };
        self.at(transport, socket.ip()).filter(here).min_by_key(|&id| {
            let own = plan.listener(id);
            (own.standing == Standing::Leaving, !has_port(own), !alike(own, ingress))
        })
    }

    /// A listener that is not up, whose address is the route's source; else one whose address is of a network of the
    /// route's device.
    pub(super) fn missed(&self, transport: Transport, vrf: u32, route: &Route) -> Option<ListenerId> {
        let all = || {
            let v4 = route.source.is_ipv4();
            let like = move |m: &&Missed| (m.transport, m.vrf, m.address.is_ipv4()) == (transport, vrf, v4);
            self.missed.iter().filter(like)
        };
        let on_source = all().find(|missed| missed.address == route.source);
        on_source
            .or_else(|| all().find(|missed| missed.devs.contains(&route.dev)))
            .map(|missed| missed.listener)
    }

    /// The listeners with this transport and address, in configured order.
    pub(super) fn at(&self, transport: Transport, ip: IpAddr) -> impl Iterator<Item = ListenerId> {
        let from = self.sockets.partition_point(|(t, i, _)| (*t, *i) < (transport, ip));
        let here = self.sockets.get(from..).unwrap_or_default();
        here.iter().take_while(move |(t, i, _)| (*t, *i) == (transport, ip)).map(|(_, _, id)| *id)
    }

    pub(super) fn seat(&self, listener: ListenerId) -> &Seat {
        &self.seats[usize::from(listener.0)]
    }

    /// The classes that can send by this transport to an address of this family, in the order in which
    /// they are asked.
    pub(super) fn classes(&self, transport: Transport, destination: IpAddr) -> &[Class] {
        (self.kinds.iter())
            .find(|k| (k.transport, k.v4) == (transport, destination.is_ipv4()))
            .map_or(&[], |k| &k.classes)
    }
}

impl Seat {
    fn of(listener: &Listener, fib: &Fib) -> Self {
        // A link-local address is of one interface; none, where that is absent.
        let own_link = match (link_of(listener.bind), &listener.link) {
            (0, None) => None,
            (link, _) => Some(Some(link).filter(|&link| link != 0)),
        };
        let device = listener.device.as_deref().map(|name| fib.link_index(name));
        let vrf = device.flatten().map_or(0, |index| fib.l3_master(index));
        let home = match own_link {
            None => home_for(fib, listener.bind.ip(), vrf, device.flatten()),
            Some(link) => link.filter(|&link| fib.homes_of(listener.bind.ip()).any(|home| home == link)),
        };
        let oif = device.or(own_link).unwrap_or(Some(0));
        let state = match (home, oif) {
            _ if listener.standing == Standing::Leaving => ListenerState::AddressAbsent,
            _ if listener.standing == Standing::Refused => ListenerState::NoSocket,
            (_, None) => ListenerState::DeviceAbsent,
            (None, _) => ListenerState::AddressAbsent,
            (Some(home), _) if !fib.link_up(home) => ListenerState::HomeDown,
            (_, Some(oif)) if oif != 0 && !fib.link_up(oif) => ListenerState::DeviceDown,
            _ => ListenerState::Up,
        };
        let is_assigned = fib.homes_of(listener.bind.ip()).next().is_some();
        let oif = oif.unwrap_or(0);
        let is_plain = state == ListenerState::Up && is_assigned && oif == 0;
        let home = home.unwrap_or(0);
        Self { state, oif, home, vrf, is_plain, roams: fib.leads_nowhere(home) }
    }
}

/// Of several interfaces with the address the one that the socket's sends know it by: in the socket's VRF, where
/// addresses of others do not count; then one that is up, because the kernel asks only whether some interface has the
/// address; then the `device` itself.
fn home_for(fib: &Fib, address: IpAddr, vrf: u32, device: Option<u32>) -> Option<u32> {
    let fitness =
        |home: u32| (fib.l3_master(home) == vrf, fib.link_up(home), Some(home) == device, Reverse(home));
    fib.homes_of(address).max_by_key(|&home| fitness(home)).or_else(|| fib.home_of(address))
}

/// The link of a link-local IPv6 address; 0 for other addresses.
pub(super) fn link_of(address: SocketAddr) -> u32 {
    match address {
        SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() => v6.scope_id(),
        _ => 0,
    }
}

fn alike(a: &Listener, b: &Listener) -> bool {
    a.device == b.device && a.mark == b.mark
}

/// Listeners with neither mark nor device first, then those with a device alone, then the marked ones;
/// within these in configured order of their first listener. An untied socket is what the main table
/// is for; whoever ties one to a device or a mark means it for what the others cannot reach.
fn kinds(plan: &Plan, seats: &[Seat]) -> Vec<Kind> {
    let mut order: Vec<&Listener> = plan.listeners.iter().collect();
    order.sort_by_key(|l| (l.mark.is_some(), l.device.is_some()));
    let mut kinds: Vec<Kind> = Vec::new();
    for listener in order {
        let (transport, v4) = (listener.transport, listener.bind.is_ipv4());
        let kind = find_or_push(
            &mut kinds,
            |k| (k.transport, k.v4) == (transport, v4),
            || Kind { transport, v4, classes: Vec::new() },
        );
        let class = find_or_push(
            &mut kind.classes,
            |c| c.members.first().is_some_and(|&first| alike(plan.listener(first), listener)),
            || Class::new(listener, &seats[usize::from(listener.id.0)]),
        );
        class.members.push(listener.id);
        class.by_address.push((address_bits(listener.bind.ip()), listener.id));
    }
    for class in kinds.iter_mut().flat_map(|kind| &mut kind.classes) {
        class.by_address.sort_unstable();
    }
    kinds
}

fn find_or_push<T>(list: &mut Vec<T>, is_it: impl Fn(&T) -> bool, make: impl FnOnce() -> T) -> &mut T {
    let place = list.iter().position(is_it).unwrap_or_else(|| {
        list.push(make());
        list.len() - 1
    });
    &mut list[place]
}
