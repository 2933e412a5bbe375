//! What is known of the kernel's state, event by event.

use std::collections::HashSet;

use ipnet::IpNet;

use crate::control::netlink::event::Event;
use crate::control::netlink::wire;
use crate::fib::{Change, Fib, Rib};
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
    fn note(&mut self, event: &Event) {
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

    /// Does to what was read meanwhile what has happened meanwhile.
    pub fn replay(self, rib: &mut Rib) {
        for event in self.events {
            apply(rib, event, true);
        }
    }
}

/// What an event comes to besides the change itself.
struct Applied {
    /// It does not fit to what is known.
    strange: bool,
    /// Others changed by it of which no event tells.
    silent: bool,
    /// What is no route changed.
    parts: bool,
}

fn apply(rib: &mut Rib, event: Event, again: bool) -> Applied {
    let mut applied = Applied { strange: false, silent: false, parts: !matches!(event, Event::Route(_)) };
    match event {
        Event::Route(change) => applied.strange = !rib.apply(change, again),
        Event::Link(link) => applied.silent = rib.link_is(link),
        Event::LinkGone(index) => {
            rib.link_gone(index);
            applied.silent = true;
        }
        Event::Address(address) => rib.address_is(address),
        Event::AddressGone(address) => {
            rib.address_gone(&address);
            applied.silent = true;
        }
        Event::ObjectGone(id) => {
            rib.object_gone(id);
            applied.silent = true;
        }
        Event::Parts => {}
        Event::Nothing => applied.parts = false,
    }
    applied
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
        let applied = apply(&mut self.rib, event, self.again);
        self.changed = true;
        self.dirty |= applied.parts;
        self.doubt |= applied.silent || self.again;
        if applied.strange {
            self.reload = Some("an event does not fit to what was known");
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
