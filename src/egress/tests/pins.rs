//! Pins under virtual time.

use std::collections::HashMap;

use proptest::prelude::*;

use crate::egress::{Pin, PinKind, Pins};
use crate::limits::{PIN_SETS, PIN_WAYS};
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

/// A transaction that falls into this set.
fn key(set: u64, fingerprint: u64) -> TransactionKey {
    TransactionKey(u128::from(fingerprint) << 64 | u128::from(set))
}

#[test]
fn what_was_put_is_found_as_it_was() {
    let mut pins = Pins::new(16);
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
fn a_full_set_loses_its_oldest_and_counts_it() {
    let mut pins = Pins::new(16);
    let ways = PIN_WAYS as u64;
    // The INVITE is the oldest, though it would hold the longest.
    pins.put(key(5, 1), PinKind::Invite, || pin(1), Now(0));
    for n in 2..=ways {
        pins.put(key(5, n), PinKind::Other, || pin(n as u32), Now(n * SECOND));
    }
    assert_eq!(pins.evicted(), 0);
    pins.put(key(5, ways + 1), PinKind::Other, || pin(0), Now(10 * SECOND));
    assert_eq!(pins.evicted(), 1);
    assert_eq!(pins.get(key(5, 1), Now(10 * SECOND)), None);
    for n in 2..=ways + 1 {
        assert!(pins.get(key(5, n), Now(10 * SECOND)).is_some(), "{n}");
    }
    // What has run out makes room without being counted, before anything younger goes.
    pins.put(key(5, ways + 2), PinKind::Other, || pin(0), Now(35 * SECOND));
    assert_eq!(pins.evicted(), 1);
    assert_eq!(pins.len(), PIN_WAYS);
    assert!(pins.get(key(5, ways + 1), Now(35 * SECOND)).is_some());
}

#[test]
fn sets_are_apart_and_the_size_is_as_stated() {
    let mut pins = Pins::new(PIN_SETS);
    assert_eq!(pins.capacity(), 327_680);
    for set in 0..PIN_SETS as u64 {
        pins.put(key(set, 9), PinKind::Other, || pin(set as u32), Now(0));
    }
    assert_eq!((pins.len(), pins.evicted()), (PIN_SETS, 0));
    assert!((0..PIN_SETS as u64).all(|set| pins.get(key(set, 9), Now(0)) == Some(pin(set as u32))));
    assert_eq!(Pins::new(3).capacity(), 4 * PIN_WAYS);
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
    fn never_a_wrong_answer(steps in proptest::collection::vec((0u64..4, 1u64..12, any::<bool>(), 0u64..20), 1..400)) {
        let mut pins = Pins::new(4);
        let mut model: HashMap<(u64, u64), (u32, PinKind, u64)> = HashMap::new();
        let (mut now, mut forgotten) = (0, 0);
        for (n, (set, fingerprint, invite, seconds)) in (0u32..).zip(steps) {
            now += seconds * SECOND;
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
