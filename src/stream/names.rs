//! The names that servers are asked for over TLS, of one shard, by number: transactions and pins keep four bytes of them.

use std::collections::HashMap;
use std::sync::Arc;

use super::number::NameId;
use crate::limits::STREAM_NAMES;
use crate::tls::PeerName;

/// Bits of a [`NameId`] that say how often its place was used.
const PLACE_BITS: u32 = usize::BITS - (STREAM_NAMES - 1).leading_zeros();
const TURNS: u32 = (1 << (NameId::BITS - PLACE_BITS)) - 1;

/// A bounded number of names. Where another one finds no room, the one that was asked for longest ago goes: what still has its
/// number is sent to nobody.
#[derive(Debug, Default)]
pub struct Names {
    by_host: HashMap<Box<str>, usize>,
    places: Vec<Known>,
    asked: u64,
}

#[derive(Debug)]
struct Known {
    name: Arc<PeerName>,
    host: Box<str>,
    turn: u32,
    /// When it was asked for last, in askings.
    asked: u64,
}

impl Names {
    /// The number of a host name, in lower case and without a dot at its end, or of an address; `None`: it can be in no certificate.
    pub fn number(&mut self, host: &str) -> Option<NameId> {
        self.asked += 1;
        let place = match self.by_host.get(host) {
            Some(place) => *place,
            None => self.take_in(host)?,
        };
        let known = self.places.get_mut(place)?;
        known.asked = self.asked;
        Some(known.id(place))
    }

    /// The name of this number; `None`: it had to go.
    pub fn get(&self, id: NameId) -> Option<&Arc<PeerName>> {
        let place = (id.0 & ((1 << PLACE_BITS) - 1)) as usize;
        self.places.get(place).filter(|known| known.id(place) == id).map(|known| &known.name)
    }

    fn take_in(&mut self, host: &str) -> Option<usize> {
        let name = Arc::new(PeerName::new(host)?);
        let place = if self.places.len() < STREAM_NAMES { self.places.len() } else { self.oldest()? };
        let turn = self.places.get(place).map_or(1, |known| known.turn % TURNS + 1);
        let known = Known { name, host: host.into(), turn, asked: self.asked };
        match self.places.get_mut(place) {
            Some(old) => {
                self.by_host.remove(&old.host);
                *old = known;
            }
            None => self.places.push(known),
        }
        self.by_host.insert(host.into(), place);
        Some(place)
    }

    fn oldest(&self) -> Option<usize> {
        let places = self.places.iter().enumerate();
        places.min_by_key(|(_, known)| known.asked).map(|(place, _)| place)
    }
}

impl Known {
    fn id(&self, place: usize) -> NameId {
        NameId(self.turn << PLACE_BITS | place as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_number_and_others_have_others() {
        let mut names = Names::default();
        let [a, b] = ["a.example", "192.0.2.1"].map(|host| names.number(host).expect("a number"));
        assert!(a != b && names.number("a.example") == Some(a));
        assert_eq!(names.get(a).map(|name| name.to_string()).as_deref(), Some("a.example"));
        assert_eq!(names.get(b).map(|name| name.to_string()).as_deref(), Some("192.0.2.1"));
        assert_eq!(names.number("no name"), None);
        assert_eq!(names.places.len(), 2);
    }

    #[test]
    fn the_one_that_was_asked_for_longest_ago_goes_and_its_number_names_nobody() {
        let mut names = Names::default();
        let host = |n: usize| format!("n{n}.example");
        let ids: Vec<NameId> = (0..STREAM_NAMES).map(|n| names.number(&host(n)).expect("room")).collect();
        assert_eq!(names.number(&host(0)), Some(ids[0]));
        let new = names.number("new.example").expect("room");
        assert!(names.get(ids[1]).is_none() && names.get(ids[0]).is_some() && names.get(new).is_some());
        assert_eq!((names.places.len(), names.by_host.len()), (STREAM_NAMES, STREAM_NAMES));
        assert_ne!(names.number(&host(1)), Some(ids[1]), "it has another number now");
    }
}
