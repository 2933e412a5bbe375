//! The groups of a pattern, found in a user without allocating: what templates show.

use regex_automata::dfa::onepass;
use regex_automata::nfa::thompson::{self, NFA, pikevm};
use regex_automata::util::primitives::NonMaxUsize;
use regex_automata::{Anchored, Input};
use regex_syntax::hir::{Hir, Look};

use super::automaton::parse;
use crate::limits::{PATTERN_BYTES, USER_BYTES};

/// Groups that a template can name: `$1` to `$9`.
const GROUPS: usize = 9;
/// Beginning and end of the match and of each group.
const SLOTS: usize = 2 * (1 + GROUPS);

/// A user part that rules see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// Of the Request-URI.
    Ruri,
    /// Of the From URI.
    From,
    /// Of the To URI.
    To,
}

/// A pattern whose groups are asked for.
#[derive(Clone, Debug)]
pub(super) enum Groups {
    /// One way through the text tells the groups.
    OnePass(Box<onepass::DFA>),
    /// Any pattern.
    Any(pikevm::PikeVM),
}

/// Memory of a shard for finding groups; large enough for every pattern that it was prepared for.
#[derive(Default)]
pub(super) struct Room {
    one_pass: Option<onepass::Cache>,
    any: Option<pikevm::Cache>,
}

/// The users of a request, and where the groups of their patterns stand in them. Kept by a shard and filled anew for
/// each request whose rule has templates.
pub struct Captured {
    users: [Kept; 3],
}

/// A user, and its groups.
struct Kept {
    text: Box<[u8]>,
    len: usize,
    groups: [(u16, u16); GROUPS],
}

impl Default for Captured {
    fn default() -> Self {
        let kept = || Kept { text: vec![0; USER_BYTES].into(), len: 0, groups: [(0, 0); GROUPS] };
        Self { users: [kept(), kept(), kept()] }
    }
}

impl Captured {
    /// Keeps a user; it has no groups yet.
    pub(super) fn keep(&mut self, which: User, user: &[u8]) {
        let kept = &mut self.users[which as usize];
        kept.len = user.len().min(kept.text.len());
        kept.text[..kept.len].copy_from_slice(&user[..kept.len]);
        kept.groups = [(0, 0); GROUPS];
    }

    /// Finds the groups of a user that is kept. A group that takes no part in the match is empty.
    pub(super) fn find(&mut self, which: User, groups: &Groups, room: &mut Room) {
        let kept = &mut self.users[which as usize];
        let Some(text) = kept.text.get(..kept.len) else { return };
        let mut slots = [None; SLOTS];
        groups.search(text, room, &mut slots);
        for (group, place) in kept.groups.iter_mut().zip(slots.as_chunks::<2>().0.iter().skip(1)) {
            if let [Some(begin), Some(end)] = place {
                *group = (begin.get() as u16, end.get() as u16);
            }
        }
    }

    /// The user, or a group of its pattern, from 1 on.
    pub(super) fn shown(&self, which: User, group: Option<u8>) -> &[u8] {
        let kept = &self.users[which as usize];
        let user = kept.text.get(..kept.len).unwrap_or_default();
        let Some(group) = group else { return user };
        let place = kept.groups.get(usize::from(group).wrapping_sub(1));
        place.and_then(|&(begin, end)| user.get(begin.into()..end.into())).unwrap_or_default()
    }
}

impl Groups {
    /// Compiles a pattern that was found sound before.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(pattern: &str) -> Result<Self, String> {
        let hir = parse(pattern)?;
        let config = thompson::Config::new().utf8(false).nfa_size_limit(Some(PATTERN_BYTES));
        let nfa = thompson::Compiler::new().configure(config).build_from_hir(&hir);
        let nfa = nfa.map_err(|error| error.to_string())?;
        if begins_at_start(&hir)
            && let Ok(one_pass) = one_pass(nfa.clone())
        {
            return Ok(Self::OnePass(Box::new(one_pass)));
        }
        pikevm::PikeVM::new_from_nfa(nfa).map(Self::Any).map_err(|error| error.to_string())
    }

    /// How many groups a pattern has; `None`: it is no pattern.
    pub fn count(pattern: &str) -> Option<usize> {
        parse(pattern).ok().map(|hir| hir.properties().explicit_captures_len())
    }

    /// Makes the memory large enough for this pattern.
    pub fn prepare(&self, room: &mut Room) {
        match self {
            Self::OnePass(dfa) => match &mut room.one_pass {
                Some(cache) => cache.reset(dfa),
                none => *none = Some(dfa.create_cache()),
            },
            Self::Any(vm) => match &mut room.any {
                Some(cache) => cache.reset(vm),
                none => *none = Some(vm.create_cache()),
            },
        }
    }

    fn search(&self, text: &[u8], room: &mut Room, slots: &mut [Option<NonMaxUsize>; SLOTS]) {
        self.prepare(room);
        match self {
            Self::OnePass(dfa) => {
                let input = Input::new(text).anchored(Anchored::Yes);
                let found = room.one_pass.as_mut().map(|cache| dfa.try_search_slots(cache, &input, slots));
                // It refuses only what is asked for unanchored.
                debug_assert!(!matches!(found, Some(Err(_))));
            }
            Self::Any(vm) => {
                if let Some(cache) = &mut room.any {
                    vm.search_slots(cache, &Input::new(text), slots);
                }
            }
        }
    }
}

/// Each match begins where the text does.
fn begins_at_start(hir: &Hir) -> bool {
    hir.properties().look_set_prefix().contains(Look::Start)
}

fn one_pass(nfa: NFA) -> Result<onepass::DFA, String> {
    let config = onepass::Config::new().size_limit(Some(PATTERN_BYTES));
    onepass::Builder::new().configure(config).build_from_nfa(nfa).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex_automata::meta::Regex;

    use super::*;

    const PATTERNS: [&str; 9] = [
        "^0([1-9][0-9]*)$",
        "^(00|\\+)?(33|49)([0-9]{2})(.*)$",
        "(a+)(b*)",
        "(a|ab)(c|bcd)?$",
        "^(a)?(b)?",
        "((a)(b)?)+",
        "(?i)^(AB)(1*?)(1)?",
        "b$|^(1)",
        "^$",
    ];

    #[test]
    fn what_begins_at_the_start_and_is_told_in_one_way_takes_one_way() {
        let one_pass = |pattern| matches!(Groups::new(pattern), Ok(Groups::OnePass(_)));
        assert_eq!(PATTERNS.map(one_pass), [true, true, false, false, true, false, false, false, true]);
        assert_eq!(PATTERNS.map(|pattern| Groups::count(pattern).unwrap()), [1, 4, 2, 2, 2, 3, 3, 1, 0]);
    }

    proptest! {
        /// One memory serves all of them, whichever was asked before.
        #[test]
        fn groups_are_those_of_the_plain_engine(texts in proptest::collection::vec("[ab]{0,4}c?d?|0?[0-9+]{0,6}|[aAbB1]{0,5}", 1..4)) {
            let groups = PATTERNS.map(|pattern| Groups::new(pattern).unwrap());
            let (mut room, mut captured) = (Room::default(), Captured::default());
            for text in &texts {
                for (pattern, groups) in PATTERNS.iter().zip(&groups) {
                    captured.keep(User::To, text.as_bytes());
                    captured.find(User::To, groups, &mut room);
                    prop_assert_eq!(captured.shown(User::To, None), text.as_bytes());
                    let mut plain = Regex::new(pattern).unwrap().create_captures();
                    Regex::new(pattern).unwrap().captures(text.as_str(), &mut plain);
                    for group in 1..=9 {
                        let expected = plain.get_group(group).map_or("", |span| &text[span.range()]);
                        let shown = captured.shown(User::To, Some(group as u8));
                        prop_assert_eq!(shown, expected.as_bytes(), "{} of {} in {}", group, pattern, text);
                    }
                }
            }
        }
    }
}
