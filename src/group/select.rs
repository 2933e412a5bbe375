//! The order in which a group's gateways are tried for one request.
//!
//! Rendezvous hashing with weights: each gateway draws a number by the request's key and its own identity, and the
//! highest goes first. So the order is the same wherever the same key is asked for, weights are kept, and a gateway that
//! goes leaves the order of all others as it is: only its own share moves.

use crate::limits::{CANDIDATES, GATEWAYS_PER_GROUP};
use crate::random::{ADDED, mix};

/// `select`: what of a request chooses its gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Select {
    /// The transaction: each request anew, a retransmission the same.
    #[default]
    Weighted,
    /// The Call-ID: all requests of a call the same.
    CallId,
    /// The number in the Request-URI.
    Number,
}

impl Select {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Weighted, Self::CallId, Self::Number];

    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Weighted => "weighted",
            Self::CallId => "call-id",
            Self::Number => "number",
        }
    }
}

/// What choosing needs to know of a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// A hash of where it is, the same in every process.
    pub identity: u32,
    /// The lowest goes first (as RFC 2782 has it: "A client MUST attempt to contact the target host with the
    /// lowest-numbered priority it can reach").
    pub priority: u16,
    /// Its part of the requests among those of its priority; 0: none.
    pub weight: u16,
}

/// Places in a group's list, best first; at most [`CANDIDATES`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Order {
    len: u8,
    places: [u8; CANDIDATES],
}

const _: () = assert!(CANDIDATES <= GATEWAYS_PER_GROUP && GATEWAYS_PER_GROUP <= u8::MAX as usize);

impl Order {
    /// The places.
    pub fn as_slice(&self) -> &[u8] {
        &self.places[..usize::from(self.len)]
    }

    fn push(&mut self, place: u8) {
        if let Some(free) = self.places.get_mut(usize::from(self.len)) {
            *free = place;
            self.len += 1;
        }
    }
}

/// Puts those gateways in order of which `share` says how much of their weight they get, 1 to 255 of 255; 0: they are
/// left out. `members` ascend by priority.
pub fn order(members: &[Member], key: u64, mut share: impl FnMut(usize) -> u8) -> Order {
    let mut order = Order::default();
    let mut rest = members;
    while let [first, ..] = rest {
        let room = CANDIDATES - usize::from(order.len);
        if room == 0 {
            break;
        }
        let begin = members.len() - rest.len();
        let same = rest.partition_point(|member| member.priority == first.priority);
        let (level, after) = rest.split_at(same);
        best_of(level, begin, key, &mut share, room, &mut order);
        rest = after;
    }
    order
}

/// Appends the best `room` gateways of one priority.
fn best_of(
    level: &[Member],
    begin: usize,
    key: u64,
    share: &mut impl FnMut(usize) -> u8,
    room: usize,
    order: &mut Order,
) {
    let mut best = [(0.0, 0); CANDIDATES];
    let mut found = 0;
    for (place, member) in (begin..).zip(level) {
        let weight = u32::from(member.weight) * u32::from(share(place));
        if weight == 0 {
            continue;
        }
        let drawn = (draw(key, member.identity) * f64::from(weight), place as u8);
        let at = best[..found].partition_point(|other: &(f64, u8)| other.0 >= drawn.0);
        if at < room {
            found = (found + 1).min(room);
            best[at..found].rotate_right(1);
            best[at] = drawn;
        }
    }
    best[..found].iter().for_each(|(_, place)| order.push(*place));
}

/// A number above 0 of which the distribution makes the highest of several, each multiplied by its weight, that of a
/// gateway as often as its weight says: the inverse of an exponentially distributed one.
fn draw(key: u64, identity: u32) -> f64 {
    let bits = mix(key ^ mix(u64::from(identity) ^ 0x243f_6a88_85a3_08d3)) >> 11;
    let unit = (bits as f64 + 0.5) / (1u64 << 53) as f64;
    -1.0 / unit.ln()
}

/// The key of a text, such as a Call-ID.
pub fn text_key(text: &[u8]) -> u64 {
    let (words, rest) = text.as_chunks::<8>();
    let last = rest.iter().fold(text.len() as u64, |word, byte| word << 8 | u64::from(*byte));
    let whole = words.iter().fold(0, |key, word| mix(key ^ u64::from_le_bytes(*word)).wrapping_add(ADDED));
    mix(whole ^ last)
}

/// The key of a number: visual separators (RFC 3966 §5.1.1) and a leading `+` do not count, letters are compared
/// without case. `None`: there is none.
pub fn number_key(user: &[u8]) -> Option<u64> {
    let digits = user.strip_prefix(b"+").unwrap_or(user);
    let mut key = 0;
    let mut any = false;
    for byte in digits.iter().filter(|byte| !b"-.() ".contains(byte)) {
        key = mix(key ^ u64::from(byte.to_ascii_lowercase())).wrapping_add(ADDED);
        any = true;
    }
    any.then_some(key)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn member(identity: u32, priority: u16, weight: u16) -> Member {
        Member { identity: identity.wrapping_mul(0x9e37_79b9), priority, weight }
    }

    fn keys(count: u64) -> impl Iterator<Item = u64> {
        (0..count).map(|n| mix(n ^ 77))
    }

    fn first(members: &[Member], key: u64, share: impl Fn(usize) -> u8) -> Option<u8> {
        order(members, key, share).as_slice().first().copied()
    }

    /// How often each gateway goes first.
    fn shares(members: &[Member], count: u64, share: impl Fn(usize) -> u8) -> Vec<u64> {
        let mut all = vec![0; members.len()];
        for key in keys(count) {
            if let Some(place) = first(members, key, &share) {
                all[usize::from(place)] += 1;
            }
        }
        all
    }

    #[test]
    fn lower_priorities_come_first_and_nobody_twice() {
        let members = [member(1, 1, 1), member(2, 1, 5), member(3, 2, 1), member(4, 7, 9)];
        for key in keys(200) {
            let order = order(&members, key, |_| 255);
            let priorities: Vec<u16> =
                order.as_slice().iter().map(|p| members[usize::from(*p)].priority).collect();
            assert_eq!(priorities, [1, 1, 2, 7]);
            let mut places = order.as_slice().to_vec();
            places.sort_unstable();
            assert_eq!(places, [0, 1, 2, 3]);
        }
    }

    #[test]
    fn no_more_candidates_than_there_is_room_for() {
        let members: Vec<Member> =
            (0..GATEWAYS_PER_GROUP as u32).map(|n| member(n, n as u16 / 5, 1)).collect();
        let order = order(&members, 9, |_| 255);
        assert_eq!(order.as_slice().len(), CANDIDATES);
        assert!(
            order.as_slice()[..5].iter().all(|p| *p < 5) && order.as_slice()[5..].iter().all(|p| *p >= 5)
        );
    }

    #[test]
    fn what_has_no_weight_or_no_share_is_left_out() {
        let members = [member(1, 1, 0), member(2, 1, 1), member(3, 2, 1)];
        assert_eq!(order(&members, 5, |_| 255).as_slice(), [1, 2]);
        assert_eq!(order(&members, 5, |place| if place == 1 { 0 } else { 255 }).as_slice(), [2]);
        assert!(order(&members, 5, |_| 0).as_slice().is_empty());
    }

    /// The second place, too, is drawn by weight among those that are left.
    #[test]
    fn the_next_gateways_are_drawn_by_weight() {
        let members = [member(1, 1, 6), member(2, 1, 3), member(3, 1, 1)];
        let mut second = [0u64; 3];
        for key in keys(40_000) {
            let order = order(&members, key, |_| 255);
            if order.as_slice()[0] == 0 {
                second[usize::from(order.as_slice()[1])] += 1;
            }
        }
        let part = second[1] as f64 / (second[1] + second[2]) as f64;
        assert!((part - 0.75).abs() < 0.02, "{second:?}");
    }

    #[test]
    fn a_share_that_grows_takes_from_others_and_moves_nothing_else() {
        let members = [member(1, 1, 2), member(2, 1, 2), member(3, 1, 1)];
        let with = |share: u8| move |place: usize| if place == 0 { share } else { 255 };
        for key in keys(5_000) {
            let mut before = first(&members, key, with(0));
            for share in [1, 25, 128, 255] {
                let now = first(&members, key, with(share));
                assert!(now == before || now == Some(0), "{before:?} {now:?}");
                before = now;
            }
        }
        let shares = shares(&members, 40_000, with(128));
        let part = shares[0] as f64 / 40_000.0;
        assert!((part - 1.004 / 4.004).abs() < 0.015, "{shares:?}");
    }

    #[test]
    fn a_number_is_the_same_however_it_is_written() {
        let key = number_key(b"+33123456789");
        assert!(key.is_some() && key == number_key(b"33-123.456 (789)"));
        assert_ne!(key, number_key(b"33123456780"));
        assert_ne!(number_key(b"12"), number_key(b"21"));
        assert_eq!((number_key(b""), number_key(b"+"), number_key(b"--")), (None, None, None));
        assert_eq!(number_key(b"Alice"), number_key(b"alice"));
    }

    #[test]
    fn texts_that_differ_have_other_keys() {
        let texts = ["", "a", "b", "aa", "12345678", "123456780", "1234567812345678", "8765432112345678"];
        let mut keys: Vec<u64> = texts.iter().map(|text| text_key(text.as_bytes())).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), texts.len());
        assert_eq!(text_key(b"call7@host"), text_key(b"call7@host"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Within five standard deviations of what the weights say.
        #[test]
        fn weights_are_kept(weights in prop::collection::vec(0u16..20, 2..10)) {
            let members: Vec<Member> =
                (1..).zip(&weights).map(|(n, weight)| member(n, 1, *weight)).collect();
            let total: f64 = weights.iter().map(|w| f64::from(*w)).sum();
            prop_assume!(total > 0.0);
            let count = 20_000;
            for (weight, drawn) in weights.iter().zip(shares(&members, count, |_| 255)) {
                let part = f64::from(*weight) / total;
                let expected = part * count as f64;
                let bound = 5.0 * (count as f64 * part * (1.0 - part)).sqrt() + 1e-9;
                prop_assert!((drawn as f64 - expected).abs() <= bound, "{weights:?}: {drawn} for {expected}");
            }
        }

        /// The order of the others stays, whoever goes.
        #[test]
        fn one_that_goes_moves_its_own_share_only(
            weights in prop::collection::vec(1u16..20, 2..CANDIDATES),
            gone in any::<prop::sample::Index>(),
            key in any::<u64>(),
        ) {
            let members: Vec<Member> =
                (1..).zip(&weights).map(|(n, weight)| member(n, n as u16 % 2, *weight)).collect();
            let mut members = members;
            members.sort_by_key(|m| m.priority);
            let gone = gone.index(members.len());
            let all = order(&members, key, |_| 255);
            let left = order(&members, key, |place| if place == gone { 0 } else { 255 });
            let kept: Vec<u8> = all.as_slice().iter().copied().filter(|p| usize::from(*p) != gone).collect();
            prop_assert_eq!(kept, left.as_slice());
        }
    }
}
