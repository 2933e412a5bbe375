//! How long a comparison takes, by what it is made of: for the plan of `all`, so that a small one stays small, and for what
//! its progress says is left.

use std::collections::BTreeSet;
use std::time::Duration;

use super::OURS;
use super::order::{IN_TURN, Turn, turns};
use super::peers::Peer;
use super::rates::{alike, is_by_most};
use super::selection::{Family, Selection};
use super::window::{STEP_LENGTH, WARM_UP};
use crate::results::model::Load;

/// A forwarder starts and forwards; with its processes Kamailio takes longest.
const START: Duration = Duration::from_millis(700);
/// Around each window: calls end, silence is waited for (twice), accounts are read.
const AROUND: Duration = Duration::from_millis(350);
/// Windows of a search, most of them.
const SEARCHED: u32 = 24;
/// After so many of them the forwarder starts afresh.
const LOST: u32 = 10;
/// Windows that try a rate.
const TRIED: u32 = 2;
/// Windows of a round's search for the knee, and after how many the forwarder starts afresh.
const CLIMBED: u32 = 9;
const FELL: u32 = 5;

/// With all who are selected, as if all were installed; `is_given`: the rates are, and nothing is looked for.
pub fn estimate(selection: &Selection, is_given: bool) -> Duration {
    let loads = selection.loads();
    let families = selection.families().iter();
    let families = families.filter(|family| **family != Family::Opensips || selection.opensips.is_some());
    let mut peers: Vec<Peer> = OURS.into_iter().chain(families.flat_map(|family| family.peers())).collect();
    peers.retain(|peer| loads.iter().any(|load| peer.takes(*load)));
    let length = selection.window();
    let round: Duration = loads.iter().map(|load| of_round(&peers, *load, length)).sum();
    let looked_for = |peer: &Peer| {
        let own = loads.iter().copied().filter(|load| is_by_most(*load) && peer.takes(*load));
        let own: Vec<_> = own.collect();
        of_looks(&own) + of_tries(&own, length)
    };
    let looks = if is_given { Duration::ZERO } else { peers.iter().map(looked_for).sum() };
    looks + (of_starts(peers.len()) + round) * selection.rounds()
}

/// So many forwarders start, as before each round.
pub(super) fn of_starts(peers: usize) -> Duration {
    START * peers as u32
}

/// One subject's searches for the most that it carries of these loads: one for those that are alike.
pub(super) fn of_looks(loads: &[Load]) -> Duration {
    let kinds: BTreeSet<_> = loads.iter().map(|load| alike(*load)).collect();
    (window(STEP_LENGTH) * SEARCHED + START * LOST) * kinds.len() as u32
}

/// One subject's windows that try what is offered of these loads.
pub(super) fn of_tries(loads: &[Load], length: Duration) -> Duration {
    let tried = loads.iter().filter(|load| !matches!(load, Load::Saturation | Load::Knee)).count();
    window(length) * TRIED * tried as u32
}

/// A load's part of a round.
pub(super) fn of_round(peers: &[Peer], load: Load, length: Duration) -> Duration {
    turns(peers, load, 0).iter().map(|turn| of_turn(turn, load, length)).sum()
}

/// One part of that.
pub(super) fn of_turn(turn: &Turn, load: Load, length: Duration) -> Duration {
    match (turn, load) {
        (Turn::Together(_), _) => WARM_UP + window(length * 3),
        (Turn::Paired(_), _) => {
            let windows = IN_TURN.len() as u32;
            window(length * 3 * 2 / windows) * windows
        }
        (Turn::Alone(_), Load::Paced) => window(length * 3),
        (Turn::Alone(_), Load::Saturation) => window(length) + START,
        (Turn::Alone(_), Load::Knee) => window(STEP_LENGTH) * CLIMBED + START * FELL,
        (Turn::Alone(_), _) => window(length),
    }
}

fn window(length: Duration) -> Duration {
    WARM_UP + length + AROUND
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;
    use crate::null::Engine;

    fn of(loads: &[Load], rounds: u32, window_ms: u64) -> Selection {
        Selection {
            only: vec![Family::Null],
            rounds: Some(rounds),
            window_ms: Some(window_ms),
            loads: loads.to_vec(),
            opensips: None,
        }
    }

    #[test]
    fn it_is_the_sum_of_starts_searches_and_windows() {
        let ms = Duration::from_millis;
        let floors = Engine::value_variants().len() as u32;
        // Two take no other load: they collect nothing.
        let (all, others) = (1 + floors + 2, 1 + floors);
        let given = estimate(&of(&[Load::Messages], 2, 450), true);
        assert_eq!(given, START * 2 * all + ms(1_000) * 2 * all);
        let looked_for = estimate(&of(&[Load::Messages, Load::Saturation], 1, 450), false) - START * all;
        let search = ms(1_050) * SEARCHED + START * LOST;
        assert_eq!(looked_for, (search + ms(1_000) * (TRIED + 1)) * all + (ms(1_000) + START) * others);
        // A pair that takes turns by windows and one that does by messages, and the other floors.
        let paced = estimate(&of(&[Load::Paced], 1, 600), true) - START * (others + 2);
        assert_eq!(paced, ms(1_000) * 8 + ms(2_350 + 200) + ms(2_350) * (floors - 1));
    }

    #[test]
    fn opensips_takes_time_where_it_is_given() {
        let only = vec![Family::Kamailio, Family::Opensips];
        let without = Selection { only, ..of(&[Load::Calls], 1, 300) };
        let with = Selection { opensips: Some("/opt/opensips".into()), ..without.clone() };
        assert!(estimate(&with, false) > estimate(&without, false) * 3 / 2);
    }
}
