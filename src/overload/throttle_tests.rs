//! What next hops ask for: what is spared, whom, until when; and whether both sides come to rest, in virtual time.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::{Feedback, Load, Measure, Plea, Sparing, Standing, Throttles, Waits};
use crate::limits::{PLEA_KNOWN_NS, PLEA_NS, THROTTLE_SETS, THROTTLE_WAYS};
use crate::net::{ListenerId, Now};

const HERE: ListenerId = ListenerId(0);

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;

fn address(number: u32) -> SocketAddr {
    (std::net::Ipv4Addr::from(number), 5060).into()
}

fn loss(percent: u8, validity_ms: u32, sequence: u64) -> Plea {
    Plea { measure: Measure::Loss(percent), validity_ms, sequence: Some(sequence) }
}

fn rate(rate: u32) -> Plea {
    Plea { measure: Measure::Rate(rate), validity_ms: 60_000, sequence: None }
}

fn request(standing: Standing, draw: u64) -> Sparing {
    Sparing { standing, is_bound: false, draw }
}

/// Of so many requests of each standing, in turns, how many of each are spared.
fn spared(throttles: &Throttles, counts: [u64; 3], at: Now) -> [u64; 3] {
    let standings = [Standing::New, Standing::InDialog, Standing::Kept];
    let mut spared = [0; 3];
    for round in 0..2_000u64 {
        for (standing, count) in standings.into_iter().zip(counts) {
            for number in 0..count {
                let draw = (round * 100 + number) << 2 | standing as u64;
                let is_spared = throttles.spares(address(1), request(standing, draw), at);
                // Until the mix is known, the usual one is taken for it.
                spared[standing as usize] += u64::from(is_spared && round >= 1_000);
            }
        }
    }
    spared
}

#[track_caller]
fn about(found: u64, expected: u64) {
    assert!(found.abs_diff(expected) <= expected / 10, "{found}, not about {expected}");
}

/// RFC 7339 §7.2: "10 / 40 * 100 = 25. Or, 25% of the requests in the first category can be reduced to get an overall
/// reduction of 10%."
#[test]
fn what_begins_something_goes_first() {
    let throttles = Throttles::default();
    throttles.hear(address(1), &loss(10, 60_000, 1), Now(0));
    let [new, others @ ..] = spared(&throttles, [4, 4, 2], Now(1));
    about(new, 1_000);
    assert_eq!(others, [0, 0]);
    throttles.hear(address(1), &loss(60, 60_000, 2), Now(0));
    let [new, in_dialog, kept] = spared(&throttles, [4, 4, 2], Now(1));
    // Some counts of the mix are between two whole numbers of it.
    assert!(new >= 3_900 && kept == 0, "{new} {kept}");
    about(in_dialog, 2_000);
    throttles.hear(address(1), &loss(90, 60_000, 3), Now(0));
    let [new, in_dialog, kept] = spared(&throttles, [4, 4, 2], Now(1));
    assert!(new >= 3_900 && in_dialog >= 3_900, "{new} {in_dialog}");
    about(kept, 1_000);
    throttles.hear(address(1), &loss(100, 60_000, 4), Now(0));
    assert_eq!(spared(&throttles, [4, 4, 2], Now(1)), [4_000, 4_000, 2_000]);
}

#[test]
fn what_nobody_can_be_told_of_is_sent() {
    let throttles = Throttles::default();
    let bound = Sparing { standing: Standing::Kept, is_bound: true, draw: 1 };
    for plea in [loss(100, 60_000, 1), rate(0)] {
        throttles.hear(address(1), &plea, Now(0));
        assert!(!throttles.spares(address(1), bound, Now(1)));
        assert!(throttles.spares(address(1), request(Standing::Kept, 1), Now(1)));
    }
}

/// RFC 7339 §5.4: "unique combinations of IP and port values".
#[test]
fn another_address_or_port_is_another_next_hop() {
    let throttles = Throttles::default();
    assert!(throttles.hear(address(1), &loss(100, 500, 1), Now(0)));
    let spares = |to: &str| throttles.spares(to.parse().unwrap(), request(Standing::New, 7), Now(1));
    assert_eq!(["0.0.0.1:5060", "0.0.0.1:5061", "0.0.0.2:5060"].map(spares), [true, false, false]);
}

/// RFC 7339 §5.7.
#[test]
fn it_ends_with_its_time_or_when_it_is_told_to() {
    let throttles = Throttles::default();
    let spares = |ms: u64| throttles.spares(address(1), request(Standing::New, 7), Now(ms * MS));
    throttles.hear(address(1), &loss(100, 500, 1), Now(0));
    assert!(spares(499) && !throttles.is_quiet(Now(499 * MS)));
    assert!(!spares(500) && throttles.is_quiet(Now(500 * MS)));
    throttles.hear(address(1), &loss(100, 500, 2), Now(600 * MS));
    assert!(spares(601));
    // "when the value of the "oc-validity" parameter is 0, the client SHOULD disregard the value in the "oc" parameter."
    assert!(!throttles.hear(address(1), &loss(100, 0, 3), Now(700 * MS)));
    assert!(!spares(701));
    throttles.hear(address(1), &loss(100, u32::MAX, 4), Now(0));
    assert!(!throttles.is_quiet(Now(PLEA_NS - 1)) && throttles.is_quiet(Now(PLEA_NS)));
}

/// RFC 7339 §4.4 and §5.4.
#[test]
fn an_answer_that_was_overtaken_changes_nothing() {
    let throttles = Throttles::default();
    let spares = |at| throttles.spares(address(1), request(Standing::New, 7), Now(at));
    assert!(throttles.hear(address(1), &loss(100, 500, 5), Now(0)));
    // "If these values match, the response does not update the overload control parameters": nor their time.
    assert!(!throttles.hear(address(1), &loss(100, 500, 5), Now(400 * MS)));
    assert!(!throttles.hear(address(1), &loss(0, 0, 4), Now(400 * MS)));
    assert!(spares(499 * MS) && !spares(500 * MS));
    // What was told before it ended does not begin it again.
    throttles.hear(address(1), &loss(0, 0, 6), Now(500 * MS));
    assert!(!throttles.hear(address(1), &loss(100, 500, 5), Now(600 * MS)));
    assert!(!spares(601 * MS));
    // Without a number it counts as it comes.
    assert!(throttles.hear(address(1), &Plea { sequence: None, ..loss(100, 500, 0) }, Now(700 * MS)));
    assert!(spares(701 * MS));
}

#[test]
fn a_next_hop_may_begin_to_count_anew() {
    let now_s = 1_282_321_615 * 100_000;
    let throttles = Throttles::default();
    throttles.hear(address(1), &loss(10, 500, now_s), Now(0));
    // "significantly less than the last several values"
    assert!(throttles.hear(address(1), &loss(100, 500, 100_000), Now(1)));
    assert!(throttles.hear(address(1), &loss(100, 500, 100_001), Now(2)));
    // A little less, once nothing can be on its way any more.
    assert!(!throttles.hear(address(1), &loss(100, 500, 99_999), Now(PLEA_KNOWN_NS)));
    assert!(throttles.hear(address(1), &loss(100, 500, 99_999), Now(PLEA_KNOWN_NS + 2)));
}

/// RFC 7415 §3.5.1 and §3.5.2.
#[test]
fn a_rate_lets_so_many_pass_and_those_last_that_begin_something() {
    let throttles = Throttles::default();
    throttles.hear(address(1), &rate(100), Now(0));
    let passed = |standing, ms: std::ops::Range<u64>| -> u64 {
        let spares = |ms| throttles.spares(address(1), request(standing, ms), Now(ms * MS));
        ms.map(|ms| u64::from(!spares(ms))).sum()
    };
    // A thousand in a second, of which a hundred pass, and at first as many as are tolerated.
    about(passed(Standing::New, 0..1_000), 100);
    // The bucket is as full as new ones fill it: five more of a dialog pass, and ten of what is kept.
    about(passed(Standing::InDialog, 1_000..2_000), 105);
    about(passed(Standing::Kept, 2_000..3_000), 110);
    throttles.hear(address(1), &rate(0), Now(3_000 * MS));
    assert_eq!(passed(Standing::Kept, 3_000..4_000), 0);
}

#[test]
fn a_higher_rate_does_not_wait_for_what_a_lower_one_has_let_through() {
    let throttles = Throttles::default();
    throttles.hear(address(1), &rate(2), Now(0));
    (0..100).for_each(|draw| _ = throttles.spares(address(1), request(Standing::Kept, draw), Now(0)));
    throttles.hear(address(1), &rate(200), Now(1));
    let passed =
        (0..1_000u64).filter(|ms| !throttles.spares(address(1), request(Standing::New, *ms), Now(ms * MS)));
    about(passed.count() as u64, 190);
}

#[test]
fn the_same_request_is_answered_the_same() {
    let throttles = Throttles::default();
    throttles.hear(address(1), &loss(40, 60_000, 1), Now(0));
    let mut spares = |draw| throttles.spares(address(1), request(Standing::New, draw), Now(1));
    // Once the mix is what comes.
    (0..10_000).for_each(|draw| _ = spares(draw));
    let first: Vec<bool> = (0..1_000).map(&mut spares).collect();
    assert_eq!(first, (0..1_000).map(&mut spares).collect::<Vec<_>>());
}

#[test]
fn more_next_hops_than_there_is_room_for_push_out_each_other() {
    let throttles = Throttles::default();
    for number in 0..10 * (THROTTLE_SETS * THROTTLE_WAYS) as u32 {
        assert!(throttles.hear(address(number), &loss(100, 60_000, 7), Now(u64::from(number))));
    }
    let known = (0..10 * (THROTTLE_SETS * THROTTLE_WAYS) as u32)
        .filter(|number| throttles.spares(address(*number), request(Standing::New, 1), Now(SECOND)));
    assert_eq!(known.count(), THROTTLE_SETS * THROTTLE_WAYS);
    // Who asks for nothing takes nobody's place.
    throttles.hear(address(u32::MAX), &loss(0, 500, 1), Now(SECOND));
    let known = (0..10 * (THROTTLE_SETS * THROTTLE_WAYS) as u32)
        .filter(|number| throttles.spares(address(*number), request(Standing::New, 1), Now(SECOND)));
    assert_eq!(known.count(), THROTTLE_SETS * THROTTLE_WAYS);
}

#[test]
fn shards_hear_at_the_same_time_without_waiting_for_each_other() {
    let throttles = Throttles::default();
    std::thread::scope(|scope| {
        for shard in 0..3 {
            let throttles = &throttles;
            scope.spawn(move || {
                for number in 0..10_000 {
                    throttles.hear(address(1), &loss(100, 60_000, number * 3 + shard), Now(number));
                    throttles.spares(address(1), request(Standing::New, number), Now(number));
                }
            });
        }
    });
    assert!(throttles.hear(address(1), &loss(100, 60_000, 40_000), Now(10_000)), "nobody holds it");
    assert!(throttles.spares(address(1), request(Standing::New, 1), Now(10_001)));
}

/// A next hop with one server, and the network on the way there and back.
struct NextHop {
    waits: Waits,
    load: Load,
    /// Until then it works off what has come.
    busy_until: u64,
    answers: VecDeque<(u64, Feedback)>,
    handled: [u64; 2],
    refused: u64,
}

/// It handles a thousand requests a second, and answers 10 ms later; refusing one takes a tenth.
const HANDLING: u64 = MS;
const LONGEST: u64 = 15 * MS;
const NETWORK: u64 = 10 * MS;

impl NextHop {
    fn receive(&mut self, standing: Standing, now: u64) {
        let waited = self.busy_until.saturating_sub(now);
        let at = Now(now + waited);
        self.waits.observe(HERE, Some(waited), at);
        let refuses = self.waits.here().refuses(standing);
        self.load.count(refuses, self.waits.here().is_overloaded(), at);
        self.busy_until = at.0 + if refuses { HANDLING / 10 } else { HANDLING };
        self.refused += u64::from(refuses);
        self.handled[usize::from(standing != Standing::New)] += u64::from(!refuses);
        self.answers.push_back((at.0 + NETWORK, self.load.feedback(at)));
    }
}

#[test]
fn a_next_hop_with_three_times_its_load_is_spared_two_thirds_of_it() {
    let (throttles, to) = (Throttles::default(), address(1));
    let mut next_hop = NextHop {
        waits: Waits::new(Some(LONGEST)),
        load: Load::new(1_700_000_000),
        busy_until: 0,
        answers: VecDeque::new(),
        handled: [0; 2],
        refused: 0,
    };
    let (mut spared, mut sent) = ([0u64; 2], 0);
    // Nine of ten requests begin something; half of a millisecond's share at most is random.
    for number in 0..60_000u64 {
        let now = if number < 45_000 {
            number * SECOND / 3_000
        } else {
            15 * SECOND + (number - 45_000) * SECOND / 500
        };
        if number == 15_000 {
            (spared, sent, next_hop.handled, next_hop.refused) = ([0; 2], 0, [0; 2], 0);
        }
        if number == 45_000 {
            // Ten seconds of it: it gets what it can handle, and hardly has to refuse anything itself.
            assert!((9_000..12_000).contains(&sent), "{sent} sent");
            assert!(next_hop.handled.iter().sum::<u64>() >= 8_500, "{:?} handled", next_hop.handled);
            assert!(next_hop.refused < 2_000, "{} refused", next_hop.refused);
            assert_eq!(spared[1], 0, "dialogs go on");
        }
        if number == 50_000 {
            spared = [0; 2];
        }
        while let Some((at, feedback)) = next_hop.answers.front().copied().filter(|(at, _)| *at <= now) {
            next_hop.answers.pop_front();
            let Feedback { percent, validity_ms, sequence: (seconds, rest) } = feedback;
            let plea = loss(percent, validity_ms, seconds * 100_000 + u64::from(rest));
            throttles.hear(to, &plea, Now(at));
        }
        let standing = if number % 10 == 0 { Standing::InDialog } else { Standing::New };
        if throttles.spares(to, request(standing, number), Now(now)) {
            spared[usize::from(standing != Standing::New)] += 1;
        } else {
            sent += 1;
            next_hop.receive(standing, now);
        }
    }
    assert_eq!(spared, [0; 2], "once the load has gone, all is sent");
}
