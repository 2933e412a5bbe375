//! Before the tree: which of the root's branches a request may lead into, told by filters alone.
//!
//! Most requests show nothing that any rule asks for. The filters are probed one behind the other: the answer
//! is nearly always no, so the processor need not wait for one before it asks the next.

use std::collections::HashSet;
use std::net::IpAddr;

use super::checks::{Asks, Numbers};
use super::filter::{Filter, first_word, last_word, may_be_separated};
use super::matcher::{Party, Shown};
use super::names::{mixed, plain_host};
use super::networks::first_bits;

/// Branches that have a bit; those beyond are always open.
pub(super) const BITS: usize = 64;

/// For what a request shows, what branches ask for; what none asks for is not looked at.
#[derive(Default)]
pub(super) struct Gate {
    /// Branches of which no filter knows what they ask for.
    always: u64,
    /// Branches that ask for headers.
    headers: u64,
    /// The others, no two of which look at the same.
    doors: Vec<Door>,
}

/// What leads into a branch.
struct Door {
    shows: Shows,
    filter: Filter,
    /// Its bit.
    branch: u64,
}

/// What of a request a door looks at.
#[derive(Clone, Copy)]
enum Shows {
    V4,
    V6,
    RuriHost,
    FromHost,
    ToHost,
    Prefix,
    RuriBegins,
    RuriEnds,
    FromBegins,
    FromEnds,
    ToBegins,
    ToEnds,
}

/// Hosts of Request-URI, From, To, and what users of the same three begin and end with.
const HOSTS: [Shows; 3] = [Shows::RuriHost, Shows::FromHost, Shows::ToHost];
const USERS: [[Shows; 2]; 3] = [
    [Shows::RuriBegins, Shows::RuriEnds],
    [Shows::FromBegins, Shows::FromEnds],
    [Shows::ToBegins, Shows::ToEnds],
];

/// What is known of a word.
enum Word {
    Is(u64),
    /// The request has no such thing.
    None,
    /// Not at a glance.
    Unknown,
}

impl Shows {
    /// The word of it for a filter.
    #[inline(always)]
    fn word(self, shown: &impl Shown) -> Word {
        use Party::{From, RequestUri, To};
        let host = |party| Word::Is(mixed(plain_host(shown.host(party))));
        match self {
            Self::V4 | Self::V6 => match (self, shown.source()) {
                (Self::V4, ip @ IpAddr::V4(_)) | (Self::V6, ip @ IpAddr::V6(_)) => Word::Is(first_bits(ip)),
                _ => Word::None,
            },
            Self::RuriHost => host(RequestUri),
            Self::FromHost => host(From),
            Self::ToHost => host(To),
            Self::Prefix | Self::RuriBegins => of_user(shown, RequestUri, first_word),
            Self::RuriEnds => of_user(shown, RequestUri, last_word),
            Self::FromBegins => of_user(shown, From, first_word),
            Self::FromEnds => of_user(shown, From, last_word),
            Self::ToBegins => of_user(shown, To, first_word),
            Self::ToEnds => of_user(shown, To, last_word),
        }
    }
}

#[inline(always)]
fn of_user(shown: &impl Shown, party: Party, word: impl Fn(&[u8]) -> u64) -> Word {
    shown.user(party).map_or(Word::Unknown, |user| Word::Is(word(user)))
}

/// A branch of the root.
pub(super) struct Behind<'a> {
    pub asks: Asks,
    /// Telling it takes an automaton.
    pub scan: bool,
    /// The values that lead on, as `numbers` has them.
    pub values: &'a HashSet<u32>,
}

impl Gate {
    /// Before the root's branches, no two of which ask for the same.
    pub fn new<'a>(branches: impl Iterator<Item = Behind<'a>>, numbers: &Numbers) -> Self {
        let mut this = Self::default();
        for (at, behind) in branches.enumerate().take(BITS) {
            this.add(1 << at, &behind, numbers);
        }
        this
    }

    fn add(&mut self, branch: u64, behind: &Behind<'_>, numbers: &Numbers) {
        let values = || behind.values.iter().copied();
        match behind.asks {
            Asks::Source => {
                for (shows, is_v4) in [(Shows::V4, true), (Shows::V6, false)] {
                    let networks = values().map(|number| numbers.networks.network(number));
                    let networks = networks.filter(move |network| network.addr().is_ipv4() == is_v4);
                    self.door(shows, branch, Filter::of_networks(networks));
                }
            }
            Asks::Prefix => {
                let keys = values().map(|number| numbers.prefixes.text(number));
                self.door(Shows::Prefix, branch, Filter::of_keys(keys));
            }
            Asks::Host(which) => {
                let words = values().map(|number| mixed(numbers.hosts.name(number)));
                self.door(HOSTS[usize::from(which % 3)], branch, Some(Filter::new(u64::MAX, words)));
            }
            Asks::Pattern(field) => match USERS.get(usize::from(field)) {
                Some(_) if behind.scan => self.always |= branch,
                Some(ends) => {
                    let keys = numbers.patterns[usize::from(field)].keys(behind.values);
                    for (shows, keys) in ends.iter().zip(keys) {
                        self.door(*shows, branch, Filter::of_keys(keys.into_iter()));
                    }
                }
                None => self.headers |= branch,
            },
            Asks::Transport | Asks::Listener | Asks::Method | Asks::Not => self.always |= branch,
        }
    }

    fn door(&mut self, shows: Shows, branch: u64, filter: Option<Filter>) {
        self.doors.extend(filter.map(|filter| Door { shows, filter, branch }));
    }

    /// A bit for each branch that the request may lead into, the first one lowest; `None`: that is not known at a glance.
    #[inline(always)]
    pub fn open(&self, shown: &impl Shown) -> Option<u64> {
        let always = self.always | bits(self.headers, shown.has_headers().into());
        let mut told = 0;
        self.each(shown, |_, answer| told |= answer)?;
        Some(if told & 1 == 0 { always } else { always | self.opened(shown) })
    }

    /// What filters open.
    #[inline(never)]
    fn opened(&self, shown: &impl Shown) -> u64 {
        let mut open = 0;
        let known = self.each(shown, |door, answer| open |= bits(door.branch, answer));
        known.map_or(u64::MAX, |()| open)
    }

    /// Calls the function with each door and an answer, the lowest bit of which says whether it may be open; `None`: what one
    /// of them looks at is not known.
    #[inline(always)]
    fn each(&self, shown: &impl Shown, mut told: impl FnMut(&Door, u64)) -> Option<()> {
        for door in &self.doors {
            let word = match door.shows.word(shown) {
                Word::Is(word) => word,
                Word::None => continue,
                Word::Unknown => return None,
            };
            let answer = door.filter.told(word);
            let separated = matches!(door.shows, Shows::Prefix);
            told(door, if separated { answer | may_be_separated(word, door.filter.mask()) } else { answer });
        }
        Some(())
    }
}

/// The bits, where the lowest bit of what is told is set.
#[inline(always)]
fn bits(bits: u64, told: u64) -> u64 {
    bits & (told & 1).wrapping_neg()
}
