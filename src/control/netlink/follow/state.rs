//! What is known of the kernel's state, event by event.

use std::collections::HashSet;

use ipnet::IpNet;

use crate::control::netlink::dump::expiry_of;
use crate::control::netlink::event::Event;
use crate::control::netlink::wire;
use crate::fib::{Change, Fib, Rib, Silent};
use crate::limits::EVENT_LOG;
use crate::metrics::RoutingCounts;

/// The mirrored routing policy, and what is to be done about it.
pub struct State {
    pub rib: Rib,
    /// All but the routes has to be read anew.
    pub dirty: bool,
    /// All has to be read anew: why.
    pub reload: Option<&'static str>,
    /// Something happened that the kernel tells of only in part: what was made of it is to be audited.
    pub doubt: bool,
    /// Something has changed since the last publication.
    pub changed: bool,
    /// Events may be older than what is known.
    pub again: bool,
    /// What may differ because tables were read while it changed.
    pub unsure: Unsure,
    /// Events since a reading in the background began.
    pub log: Option<Log>,
    pub counts: RoutingCounts,
}

/// What happens while the kernel's tables are read: the tables may hold it already, or not.
#[derive(Default)]
pub struct Log {
    events: Vec<Event>,
    /// There were more than it holds.
    pub overflown: bool,
}

impl Log {
    pub fn note(&mut self, event: &Event) {
        if self.events.len() < EVENT_LOG {
            self.events.push(event.clone());
        } else {
            self.overflown = true;
        }
    }

    /// Something other than a route changed, of which many routes may depend.
    pub fn is_broad(&self) -> bool {
        self.overflown || self.events.iter().any(|event| !matches!(event, Event::Route(_) | Event::Nothing))
    }

    /// The prefixes whose routes changed.
    pub fn touched(&self) -> HashSet<(u32, IpNet)> {
        let route = |event: &Event| match event {
            Event::Route(Change::Add(route, _) | Change::Remove(route)) => Some((route.table, route.prefix)),
            _ => None,
        };
        self.events.iter().filter_map(route).collect()
    }

    /// IPv6 routes changed.
    pub fn moves_ipv6(&self) -> bool {
        self.events.iter().any(moves_ipv6)
    }

    /// Does to what was read meanwhile what has happened meanwhile; what is unsure after that.
    pub fn replay(self, rib: &mut Rib) -> Unsure {
        let unsure = Unsure { all: self.is_broad(), ipv6: self.moves_ipv6(), prefixes: self.touched() };
        for event in self.events {
            apply(rib, event, true);
        }
        unsure
    }
}

/// What changed while it was read. The kernel does not say whether the reading came before a change or after it, and some
/// changes done twice are not what they are done once: a route that is added and then replaced is both. Another reading
/// says how it is.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Unsure {
    /// Links, addresses or nexthop objects changed too, of which many routes may depend.
    pub all: bool,
    /// IPv6 routes changed. Their list lacks some that stayed when others change while it is read: `fib6_dump_table` begins
    /// anew and passes over as many as it has told.
    pub ipv6: bool,
    /// With their tables.
    prefixes: HashSet<(u32, IpNet)>,
}

impl Unsure {
    /// Everything is as the kernel has it, for all that is known.
    pub fn is_nothing(&self) -> bool {
        !self.all && !self.ipv6 && self.prefixes.is_empty()
    }

    /// The prefix of this table may have other routes.
    pub fn holds(&self, place: &(u32, IpNet)) -> bool {
        self.all || (self.ipv6 && place.1.addr().is_ipv6()) || self.prefixes.contains(place)
    }

    fn add(&mut self, event: &Event) {
        match event {
            Event::Nothing => {}
            Event::Route(Change::Add(route, _) | Change::Remove(route)) => {
                self.ipv6 |= moves_ipv6(event);
                self.prefixes.insert((route.table, route.prefix));
            }
            _ => self.all = true,
        }
    }
}

fn moves_ipv6(event: &Event) -> bool {
    match event {
        Event::Route(Change::Add(route, _) | Change::Remove(route)) => route.prefix.addr().is_ipv6(),
        _ => false,
    }
}

/// What an event comes to besides the change itself.
pub struct Applied {
    /// It does not fit to what is known.
    strange: bool,
    silent: Silent,
    /// What is no route changed.
    parts: bool,
}

pub fn apply(rib: &mut Rib, event: Event, again: bool) -> Applied {
    let parts = !matches!(event, Event::Route(_) | Event::Nothing);
    let mut strange = false;
    let silent = match event {
        Event::Route(change) => {
            strange = !apply_route(rib, change, again);
            Silent::Nothing
        }
        Event::Link(link) => rib.link_is(link),
        Event::LinkGone(index) => rib.link_gone(index),
        Event::Address(address) => {
            rib.address_is(address);
            Silent::Nothing
        }
        Event::AddressGone(address) => rib.address_gone(&address),
        Event::Object(object) => {
            rib.object_is(object);
            Silent::Nothing
        }
        Event::ObjectGone(id) => {
            rib.object_gone(id);
            Silent::Known
        }
        Event::Parts | Event::Nothing => Silent::Nothing,
    };
    Applied { strange, silent, parts }
}

/// Whether the change fits to what is known.
fn apply_route(rib: &mut Rib, change: Change, again: bool) -> bool {
    match &change {
        // What of it is known is to go, which a reading finds out.
        Change::Add(route, _) if route.is_over() => false,
        Change::Add(route, _) => {
            rib.note_expiry(expiry_of(route));
            rib.apply(change, again)
        }
        // It is not known any more since its lifetime was over.
        Change::Remove(route) => {
            let again = again || route.is_over();
            rib.apply(change, again)
        }
    }
}

impl State {
    pub fn new(rib: Rib) -> Self {
        Self {
            rib,
            dirty: false,
            reload: None,
            doubt: false,
            changed: false,
            again: false,
            unsure: Unsure::default(),
            log: None,
            counts: RoutingCounts::default(),
        }
    }

    /// Takes the messages of one datagram.
    pub fn take(&mut self, datagram: &[u8]) {
        for message in wire::messages(datagram) {
            self.counts.events += 1;
            let event = message.ok().and_then(|message| Event::decode(&message));
            match event {
                Some(Event::Nothing) => {}
                Some(event) => self.happen(event),
                None => self.reload = Some("an event cannot be read"),
            }
        }
    }

    fn happen(&mut self, event: Event) {
        if let Some(log) = &mut self.log {
            log.note(&event);
        }
        if self.again {
            self.unsure.add(&event);
        }
        let applied = apply(&mut self.rib, event, self.again);
        self.changed = true;
        self.dirty |= applied.parts;
        self.doubt |= applied.silent != Silent::Nothing || self.again;
        if applied.strange {
            self.reload = Some("an event does not fit to what was known");
        }
        if applied.silent == Silent::Unknown {
            self.reload = Some("an event does not tell all that goes with it");
        }
    }

    /// The next snapshot.
    pub fn publish(&mut self) -> Fib {
        self.changed = false;
        self.counts.generation += 1;
        let fib = self.rib.fib(self.counts.generation);
        self.counts.routes = self.rib.len() as u64;
        fib
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::control::netlink::wire::Request;
    use crate::fib::spec::{Link, Route};
    use crate::fib::{Builder, Place};

    fn state() -> State {
        State::new(Builder::host().rib())
    }

    /// `ip route add unreachable 10.66.0.0/16`, as the kernel tells of it.
    fn route_event() -> Vec<u8> {
        let body = [libc::AF_INET as u8, 16, 0, 0, 254, 3, 0, libc::RTN_UNREACHABLE, 0, 0, 0, 0];
        Request::new(libc::RTM_NEWROUTE, libc::NLM_F_CREATE as u16, &body)
            .attribute(1, &[10, 66, 0, 0])
            .finish(0)
    }

    #[test]
    fn an_event_changes_what_is_known() {
        let mut state = state();
        let before = state.publish();
        state.take(&route_event());
        assert!(state.changed && state.reload.is_none() && !state.dirty);
        let changes = state.publish().changes_since(&before);
        assert_eq!(changes.len(), 1, "{changes:?}");
        assert_eq!((state.counts.events, state.counts.generation), (1, 2));
    }

    #[test]
    fn a_route_that_was_over_goes_from_beside_another_without_a_word() {
        let route = |gateway: &str| Route::new("::/0".parse().unwrap(), 2, gateway.parse().ok());
        let over = Route { lifetime: Some(-1), ..route("fe80::1") };
        let mut rib = Builder::host().link(Link::up(2, "eth0")).route(route("fe80::2")).rib();
        let before = rib.len();
        assert!(!apply(&mut rib, Event::Route(Change::Remove(over.clone())), false).strange);
        assert!(apply(&mut rib, Event::Route(Change::Remove(route("fe80::1"))), false).strange);
        assert_eq!(rib.len(), before);
        assert!(apply(&mut rib, Event::Route(Change::Add(over, Place::First)), false).strange, "to be read");
        let lives = Route { lifetime: Some(500), ..route("fe80::1") };
        assert!(!apply(&mut rib, Event::Route(Change::Add(lives, Place::First)), false).strange);
        let left = rib.expiry().expect("a lifetime").duration_since(Instant::now());
        assert!(left > Duration::from_secs(4) && left < Duration::from_secs(6), "{left:?}");
    }

    #[test]
    fn events_that_cannot_be_read_lead_to_another_reading() {
        let whole = route_event();
        for len in 1..whole.len() {
            let mut cut = whole[..len].to_vec();
            for length_is_told_as_cut in [false, true] {
                if length_is_told_as_cut && len >= 16 {
                    cut[..4].copy_from_slice(&(len as u32).to_ne_bytes());
                    // An attribute less is a route to everywhere: readable.
                    if len == 28 {
                        continue;
                    }
                }
                let mut state = state();
                state.take(&cut);
                assert!(state.reload.is_some(), "the first {len} bytes");
            }
        }
        // What comes before it in the same datagram counts.
        let mut state = state();
        state.take(&[whole.as_slice(), &[1, 0, 0, 0]].concat());
        assert!(state.changed && state.reload.is_some());
    }

    #[test]
    fn what_changes_while_it_is_read_is_unsure() {
        let message = route_event();
        let event = || wire::messages(&message).find_map(|m| Event::decode(&m.ok()?)).expect("an event");
        let place = (254, "10.66.0.0/16".parse().expect("a prefix"));
        let mut log = Log::default();
        log.note(&event());
        let unsure = log.replay(&mut Builder::host().rib());
        assert!(unsure.holds(&place) && !unsure.is_nothing());
        assert!(!unsure.holds(&(254, "10.0.0.0/8".parse().expect("a prefix"))));
        let mut log = Log::default();
        [event(), Event::LinkGone(7)].iter().for_each(|event| log.note(event));
        assert!(log.replay(&mut Builder::host().rib()).all);
        assert!(Log::default().replay(&mut Builder::host().rib()).is_nothing());
        // Read between the subscription and the first reading.
        let mut state = state();
        state.take(&message);
        assert!(state.unsure.is_nothing());
        state.again = true;
        state.take(&message);
        assert!(state.unsure.holds(&place) && !state.unsure.all && !state.unsure.ipv6);
    }

    #[test]
    fn messages_of_no_concern_change_nothing() {
        let mut state = state();
        for kind in [libc::NLMSG_NOOP as u16, libc::NLMSG_DONE as u16, libc::RTM_NEWNEIGH, 999] {
            state.take(&Request::new(kind, 0, &[0; 12]).finish(0));
        }
        assert!(!state.changed && state.reload.is_none() && !state.dirty);
        assert_eq!(state.counts.events, 4);
    }
}
