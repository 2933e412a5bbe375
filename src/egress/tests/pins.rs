//! Pins under virtual time.

use std::collections::HashMap;

use proptest::prelude::*;

use crate::egress::{Pin, PinKind, Pins};
use crate::limits::PINS;
use crate::net::{NextHop, Now, Transport};
use crate::token::{KeyId, TransactionKey};

const SECOND: u64 = 1_000_000_000;

fn pin(n: u32) -> Pin {
    Pin {
        next_hop: NextHop { transport: Transport::Udp, address: "10.0.0.9:5060".parse().unwrap() },
        egress: n,
        signer: KeyId(n ^ 0xffff),
        record_route: n.is_multiple_of(2),
        set: n.is_multiple_of(3),
        by_message: n.is_multiple_of(5),
    }
}

/// As good as random (the finalizer of SplitMix64).
fn hash(n: u64) -> u64 {
    let n = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

/// A transaction that falls into this set.
fn key(set: u64, fingerprint: u64) -> TransactionKey {
    TransactionKey(u128::from(fingerprint) << 64 | u128::from(set))
}

#[test]
fn what_was_put_is_found_as_it_was() {
    let mut pins = Pins::new(64);
    let hops = ["10.0.0.9:5060", "[2001:db8::9]:5070", "[fe80::9%3]:5060"];
    for (n, address) in (0u32..).zip(hops) {
        for (m, transport) in
            (0u64..).zip([Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Ws, Transport::Wss])
        {
            let next_hop = NextHop { transport, address: address.parse().unwrap() };
            let put = Pin { next_hop, ..pin(n) };
            pins.put(key(m, u64::from(n) + 1), PinKind::Other, || put, Now(0));
            assert_eq!(pins.get(key(m, u64::from(n) + 1), Now(1)), Some(put));
        }
    }
    assert_eq!(pins.get(key(0, 99), Now(1)), None);
    assert_eq!((pins.len(), pins.evicted()), (15, 0));
}

#[test]
fn an_invite_holds_five_minutes_and_others_32_seconds() {
    let mut pins = Pins::new(16);
    let start = Now(7 * SECOND + 123_456);
    pins.put(key(0, 1), PinKind::Invite, || pin(1), start);
    pins.put(key(0, 2), PinKind::Other, || pin(2), start);
    let found = |seconds: u64, n: u64| pins.get(key(0, n), start.plus_ns(seconds * SECOND)).is_some();
    assert!(found(31, 2) && !found(32, 2));
    assert!(found(299, 1) && !found(300, 1));
}

#[test]
fn a_second_decision_replaces_the_first_and_its_time() {
    let mut pins = Pins::new(16);
    pins.put(key(3, 1), PinKind::Other, || pin(1), Now(0));
    pins.put(key(3, 1), PinKind::Other, || pin(2), Now(20 * SECOND));
    assert_eq!(pins.get(key(3, 1), Now(40 * SECOND)), Some(pin(2)));
    assert_eq!((pins.len(), pins.evicted()), (1, 0));
}

#[test]
fn a_full_table_loses_its_oldest_and_counts_it() {
    let mut pins = Pins::new(8);
    // The INVITE is the oldest, though it would hold the longest.
    pins.put(key(0, 1), PinKind::Invite, || pin(1), Now(0));
    for n in 2..=8 {
        pins.put(key(0, n), PinKind::Other, || pin(n as u32), Now(n * SECOND));
    }
    assert_eq!((pins.len(), pins.evicted()), (8, 0));
    pins.put(key(0, 9), PinKind::Other, || pin(9), Now(10 * SECOND));
    assert_eq!((pins.len(), pins.evicted()), (8, 1));
    assert_eq!(pins.get(key(0, 1), Now(10 * SECOND)), None);
    for n in 2..=9 {
        assert_eq!(pins.get(key(0, n), Now(10 * SECOND)), Some(pin(n as u32)));
    }
    // What has run out makes room without being counted.
    pins.put(key(0, 10), PinKind::Other, || pin(10), Now(35 * SECOND));
    assert_eq!((pins.len(), pins.evicted()), (8, 1));
}

#[test]
fn a_full_set_loses_its_oldest_and_counts_it_once() {
    let mut pins = Pins::new(64);
    // More than there are places in a set, and fewer than there are pins.
    for n in 1..=16 {
        pins.put(key(5, n), PinKind::Invite, || pin(n as u32), Now(0));
    }
    assert_eq!((pins.len(), pins.evicted()), (15, 1));
    assert_eq!(pins.get(key(5, 1), Now(1)), None);
    assert!((2..=16).all(|n| pins.get(key(5, n), Now(1)) == Some(pin(n as u32))));
    // Those of other sets take the places of all of these in the ring, of which one is gone already.
    for n in 1..=64 {
        pins.put(key(n % 4, n), PinKind::Invite, || pin(n as u32), Now(2));
    }
    assert_eq!(pins.evicted(), 1 + 15 + 4);
    assert_eq!(pins.len(), 60, "fifteen of each of these sets");
}

#[test]
fn a_pin_that_is_replaced_leaves_its_place_to_nobody() {
    let mut pins = Pins::new(8);
    for n in 0..100 {
        pins.put(key(0, 1), PinKind::Invite, || pin(n), Now(0));
        assert_eq!(pins.get(key(0, 1), Now(0)), Some(pin(n)));
    }
    assert_eq!((pins.len(), pins.evicted()), (1, 0));
}

#[test]
fn nearly_all_of_a_full_table_are_found_and_the_size_is_as_stated() {
    let mut pins = Pins::new(PINS);
    assert_eq!(pins.capacity(), 262_144);
    let key = |n: u64| TransactionKey(u128::from(hash(2 * n)) << 64 | u128::from(hash(2 * n + 1)));
    for n in 0..2 * PINS as u64 {
        pins.put(key(n), PinKind::Other, || pin(n as u32), Now(0));
    }
    let found =
        (PINS as u64..).take(PINS).filter(|n| pins.get(key(*n), Now(0)) == Some(pin(*n as u32))).count();
    assert_eq!((pins.len(), pins.evicted()), (found, (2 * PINS - found) as u64));
    // Eight to a set in the mean: of 15 places a few sets want more.
    assert!(found < PINS && found * 1_000 >= PINS * 995, "{found}");
    assert_eq!(Pins::new(9).capacity(), 16);
    assert_eq!(Pins::new(0).capacity(), 8);
}

#[test]
fn the_clock_may_run_for_years() {
    let mut pins = Pins::new(16);
    let day = 86_400 * SECOND;
    for n in 0..200 {
        let now = Now(n * 13 * day);
        pins.put(key(0, 1), PinKind::Invite, || pin(n as u32), now);
        assert_eq!(pins.get(key(0, 1), now.plus_ns(299 * SECOND)), Some(pin(n as u32)));
        assert_eq!(pins.get(key(0, 1), now.plus_ns(301 * SECOND)), None);
    }
}

proptest! {
    /// Against a map that never forgets: whatever the table answers is right and in time, and what it
    /// has forgotten in time it has counted.
    #[test]
    fn never_a_wrong_answer(
        size in 1usize..100,
        // Numbers begin again within the steps of some.
        begin in prop_oneof![Just(0), (1u64 << 24) - 200..1 << 24, (1u64 << 32) - 200..1 << 32],
        steps in proptest::collection::vec((0u64..4, 1u64..30, any::<bool>(), 0u64..5), 1..400),
    ) {
        let mut pins = Pins::new(size);
        pins.begin_at(begin);
        let mut model: HashMap<(u64, u64), (u32, PinKind, u64)> = HashMap::new();
        let (mut now, mut forgotten) = (0, 0);
        for (n, (set, fingerprint, invite, seconds)) in (0u32..).zip(steps) {
            now += seconds * SECOND;
            // Small tables have fewer sets than four.
            let fingerprint = 100 * set + fingerprint;
            let holds = |&(_, kind, at): &(u32, PinKind, u64)| {
                now - at < if kind == PinKind::Invite { 300 * SECOND } else { 32 * SECOND }
            };
            let expected = model.get(&(set, fingerprint)).filter(|entry| holds(entry));
            match pins.get(key(set, fingerprint), Now(now)) {
                Some(found) => prop_assert_eq!(Some(found.egress), expected.map(|e| e.0)),
                None => forgotten += u64::from(expected.is_some()),
            }
            let kind = if invite { PinKind::Invite } else { PinKind::Other };
            pins.put(key(set, fingerprint), kind, || pin(n), Now(now));
            model.insert((set, fingerprint), (n, kind, now));
        }
        prop_assert!(forgotten <= pins.evicted());
        prop_assert!(pins.len() <= pins.capacity());
    }
}
