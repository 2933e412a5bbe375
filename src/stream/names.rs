//! The names that servers are asked for over TLS, of one shard, by number: transactions and pins keep four bytes of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::number::{NameId, Number};
use crate::limits::STREAM_NAMES;
use crate::tls::PeerName;

/// Bits of a [`NameId`] that say how often its place was used.
const PLACE_BITS: u32 = usize::BITS - (STREAM_NAMES - 1).leading_zeros();
const TURNS: u32 = (1 << (NameId::BITS - PLACE_BITS)) - 1;

/// Places for names that only messages have: no number of those takes the room of the configuration's, nor the other way round.
const OF_MESSAGES: usize = STREAM_NAMES / 4;

/// A bounded number of names. One that a transaction needs stays. Where another one finds no room, the one of its like that was
/// asked for longest ago goes: what still has its number is sent to nobody.
#[derive(Debug, Default)]
pub struct Names {
    by_host: HashMap<Box<str>, usize>,
    places: Vec<Known>,
    /// How many of them only messages have.
    of_messages: usize,
    holds: Holds,
    asked: u64,
}

#[derive(Debug)]
struct Known {
    name: Arc<PeerName>,
    host: Box<str>,
    turn: u32,
    /// The configuration has it.
    is_configured: bool,
    /// When it was asked for last, in askings.
    asked: u64,
}

impl Names {
    /// The number of a host name, in lower case and without a dot at its end, or of an address. `is_configured`: it stands in the
    /// configuration, not only in a message. `None`: it can be in no certificate, or transactions need all others.
    pub fn number(&mut self, host: &str, is_configured: bool) -> Option<NameId> {
        self.asked += 1;
        let place = match self.by_host.get(host) {
            Some(place) => *place,
            None => self.take_in(host, is_configured)?,
        };
        let known = self.places.get_mut(place)?;
        known.asked = self.asked;
        if is_configured && !known.is_configured {
            known.is_configured = true;
            self.of_messages -= 1;
        }
        Some(known.id(place))
    }

    /// The name of this number; `None`: it had to go.
    pub fn get(&self, id: NameId) -> Option<&Arc<PeerName>> {
        let place = place_of(id)?;
        self.places.get(place).filter(|known| known.id(place) == id).map(|known| &known.name)
    }

    /// The configuration has changed: it has the names that it asks for from here on.
    pub fn reconfigured(&mut self) {
        self.places.iter_mut().for_each(|known| known.is_configured = false);
        self.of_messages = self.places.len();
    }

    /// What transactions say by that they need a name.
    pub fn holds(&self) -> Holds {
        self.holds.clone()
    }

    fn take_in(&mut self, host: &str, is_configured: bool) -> Option<usize> {
        let name = Arc::new(PeerName::new(host)?);
        let is_short = match is_configured {
            true => self.places.len() - self.of_messages < STREAM_NAMES - OF_MESSAGES,
            false => self.of_messages < OF_MESSAGES,
        };
        let has_room = is_short && self.places.len() < STREAM_NAMES;
        let place = if has_room { self.places.len() } else { self.oldest(is_configured, is_short)? };
        let turn = self.places.get(place).map_or(1, |known| known.turn % TURNS + 1);
        let known = Known { name, host: host.into(), turn, is_configured, asked: self.asked };
        match self.places.get_mut(place) {
            Some(old) => {
                self.by_host.remove(&old.host);
                self.of_messages -= usize::from(!old.is_configured);
                *old = known;
            }
            None => self.places.push(known),
        }
        self.of_messages += usize::from(!is_configured);
        self.by_host.insert(host.into(), place);
        Some(place)
    }

    /// The place that goes to another name: of its like, or, where there are too few of those, of the others.
    fn oldest(&self, is_configured: bool, is_short: bool) -> Option<usize> {
        let is_like = |known: &Known| (known.is_configured == is_configured) != is_short;
        let may_go = |place: usize, known: &Known| {
            (is_configured || is_short || is_like(known)) && !self.holds.is_held(place)
        };
        let places = self.places.iter().enumerate().filter(|(place, known)| may_go(*place, known));
        places.min_by_key(|(_, known)| (!is_like(known), known.asked)).map(|(place, _)| place)
    }
}

impl Known {
    fn id(&self, place: usize) -> NameId {
        NameId(self.turn << PLACE_BITS | place as u32)
    }
}

/// The place of a name; `None`: of [`NameId::NOBODY`].
fn place_of(id: NameId) -> Option<usize> {
    (id.0 >> PLACE_BITS != 0).then_some((id.0 & ((1 << PLACE_BITS) - 1)) as usize)
}

/// How many transactions of a shard need each name: whoever keeps them counts, and [`Names`] reads.
#[derive(Clone, Debug)]
pub struct Holds(Arc<[AtomicU32]>);

impl Default for Holds {
    fn default() -> Self {
        Self((0..STREAM_NAMES).map(|_| AtomicU32::new(0)).collect())
    }
}

impl Holds {
    /// One more needs the name of this number, if that names one.
    pub fn hold(&self, stream: Number) {
        if let Some(count) = self.count(stream) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One that [`Holds::hold`] was told of does not any more.
    pub fn release(&self, stream: Number) {
        if let Some(count) = self.count(stream) {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn count(&self, stream: Number) -> Option<&AtomicU32> {
        self.0.get(place_of(stream.name()?)?)
    }

    fn is_held(&self, place: usize) -> bool {
        self.0.get(place).is_some_and(|count| count.load(Ordering::Relaxed) > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(n: usize) -> String {
        format!("n{n}.example")
    }

    /// All that messages may have.
    fn full() -> (Names, Vec<NameId>) {
        let mut names = Names::default();
        let ids = (0..OF_MESSAGES).map(|n| names.number(&host(n), false).expect("room")).collect();
        (names, ids)
    }

    #[test]
    fn a_name_keeps_its_number_and_others_have_others() {
        let mut names = Names::default();
        let [a, b] = ["a.example", "192.0.2.1"].map(|host| names.number(host, true).expect("a number"));
        assert!(a != b && names.number("a.example", false) == Some(a));
        assert_eq!(names.get(a).map(|name| name.to_string()).as_deref(), Some("a.example"));
        assert_eq!(names.get(b).map(|name| name.to_string()).as_deref(), Some("192.0.2.1"));
        for host in ["no name", "gw-.example", "-gw.example", "a.1"] {
            assert_eq!(names.number(host, true), None, "{host}");
        }
        assert_eq!((names.places.len(), names.of_messages), (2, 0));
        assert!(names.get(NameId::NOBODY).is_none());
    }

    #[test]
    fn the_one_that_was_asked_for_longest_ago_goes_and_its_number_names_nobody() {
        let (mut names, ids) = full();
        assert_eq!(names.number(&host(0), false), Some(ids[0]));
        let new = names.number("new.example", false).expect("room");
        assert!(names.get(ids[1]).is_none() && names.get(ids[0]).is_some() && names.get(new).is_some());
        assert_eq!((names.places.len(), names.by_host.len()), (OF_MESSAGES, OF_MESSAGES));
        assert_ne!(names.number(&host(1), false), Some(ids[1]), "it has another number now");
    }

    #[test]
    fn a_name_that_a_transaction_needs_stays_until_that_is_over() {
        let (mut names, ids) = full();
        let holds = names.holds();
        ids.iter().for_each(|id| holds.hold(Number::named(*id)));
        holds.hold(Number::named(ids[7]));
        assert_eq!(names.number("new.example", false), None);
        holds.release(Number::named(ids[7]));
        assert_eq!(names.number("new.example", false), None, "another one needs it, too");
        holds.release(Number::named(ids[7]));
        assert!(names.number("new.example", false).is_some() && names.get(ids[7]).is_none());
        assert!(ids.iter().filter(|id| **id != ids[7]).all(|id| names.get(*id).is_some()));
    }

    #[test]
    fn names_of_messages_take_nothing_from_those_of_the_configuration() {
        let (mut names, ids) = full();
        let holds = names.holds();
        ids.iter().for_each(|id| holds.hold(Number::named(*id)));
        let own = |n: usize| format!("gw{n}.example");
        let configured: Vec<NameId> =
            (OF_MESSAGES..STREAM_NAMES).map(|n| names.number(&own(n), true).expect("room")).collect();
        ids.iter().for_each(|id| holds.release(Number::named(*id)));
        (0..STREAM_NAMES).for_each(|n| assert!(names.number(&format!("x{n}.example"), false).is_some()));
        assert!(configured.iter().all(|id| names.get(*id).is_some()));
        // What was a message's is the configuration's from the moment that it is asked for by that.
        let last = format!("x{}.example", STREAM_NAMES - 1);
        let known = names.number(&last, true);
        (0..STREAM_NAMES).for_each(|n| assert!(names.number(&host(n), false).is_some()));
        assert!(known.is_some() && names.number(&last, false) == known);
    }

    #[test]
    fn names_of_the_configuration_leave_some_to_messages_and_are_none_any_more_once_that_changes() {
        let mut names = Names::default();
        let first = names.number(&host(0), true);
        (1..2 * STREAM_NAMES).for_each(|n| assert!(names.number(&host(n), true).is_some()));
        assert_eq!((names.places.len(), names.of_messages), (STREAM_NAMES - OF_MESSAGES, 0));
        assert!(first.is_some_and(|id| names.get(id).is_none()), "they go to each other");
        names.reconfigured();
        (0..STREAM_NAMES).for_each(|n| assert!(names.number(&format!("x{n}.example"), false).is_some()));
        assert!(names.number("new.example", true).is_some(), "messages have all, and none is needed");
        assert_eq!(names.of_messages, names.places.len() - 1);
    }
}
