//! Who is measured when: an order that turns from round to round and runs backwards in every second one, and pairs whose
//! messages alternate, or whose small windows do.

use super::peers::{Peer, Way};
use crate::null::Engine;
use crate::results::model::Load;

/// Of a pair, who has each of its windows: neither comes first more often, and what changes steadily is the same for both.
pub const IN_TURN: [usize; 8] = [0, 1, 1, 0, 0, 1, 1, 0];

/// Who are held against each other by a difference of delays, which is smaller than what a machine changes by from one second
/// to the next. Both of the first pair sleep until a message comes, and leave the core to each other.
const ASLEEP: [Peer; 2] = [Peer::Viaduct, Peer::Null(Engine::Uring)];
/// Those of the second one would keep it from each other.
const SPINNING: [Peer; 2] = [Peer::ViaductSpinning, Peer::NullSpinning];

/// A part of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// One window.
    Alone(Peer),
    /// One window of both, whose messages alternate.
    Together([Peer; 2]),
    /// Windows of both, as [`IN_TURN`] has them.
    Paired([Peer; 2]),
}

/// What a round has under a load, for those who take it.
pub fn turns(peers: &[Peer], load: Load, round: u32) -> Vec<Turn> {
    let mut takers: Vec<Peer> = peers.iter().copied().filter(|peer| peer.takes(load)).collect();
    takers.sort_by_key(|peer| place(*peer));
    let pair = |peer: Peer| {
        let pair = [ASLEEP, SPINNING].into_iter().find(|pair| pair.contains(&peer))?;
        (load == Load::Paced && pair.iter().all(|peer| takers.contains(peer))).then_some(pair)
    };
    // Two rounds begin with the same, the second one backwards: who follows whom is followed by him as often.
    let first = round as usize / 2 % takers.len().max(1);
    let mut order: Vec<_> = takers.iter().skip(first).chain(takers.iter().take(first)).collect();
    if !round.is_multiple_of(2) {
        order.reverse();
    }
    let mut turns = Vec::new();
    for peer in order {
        let turn = match pair(*peer) {
            None => Turn::Alone(*peer),
            Some(ASLEEP) if round.is_multiple_of(2) => Turn::Together(ASLEEP),
            Some([ours, floor]) if ours == ASLEEP[0] => Turn::Together([floor, ours]),
            Some(pair) if round.is_multiple_of(2) => Turn::Paired(pair),
            Some([ours, floor]) => Turn::Paired([floor, ours]),
        };
        if !turns.contains(&turn) {
            turns.push(turn);
        }
    }
    turns
}

/// In a ring in which who are held against each other are neighbours, as far as a ring has room: what a machine does changes
/// least from one window to the next.
fn place(peer: Peer) -> usize {
    match peer {
        Peer::NullSpinning | Peer::NullAtOnce | Peer::ViaductAtOnce => 0,
        Peer::Null(engine) => {
            if engine == Engine::Uring {
                2
            } else {
                1
            }
        }
        Peer::Viaduct | Peer::ViaductSpinning => 3,
        Peer::ViaductStateful(_) => 4,
        Peer::Kamailio(Way::Mhomed | Way::Stateful)
        | Peer::KamailioTcp(true)
        | Peer::KamailioTls
        | Peer::KamailioWs => 5,
        Peer::Kamailio(Way::Stateless) | Peer::KamailioTcp(false) => 6,
        Peer::Opensips(Way::Stateless | Way::Stateful) => 7,
        Peer::Opensips(Way::Mhomed) => 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Turn {
        /// Whose it is.
        fn peers(&self) -> &[Peer] {
            match self {
                Self::Alone(peer) => std::slice::from_ref(peer),
                Self::Together(pair) | Self::Paired(pair) => pair,
            }
        }
    }

    const FLOOR: Peer = Peer::Null(Engine::Uring);
    const KAMAILIO: Peer = Peer::Kamailio(Way::Stateless);
    const ALL: [Peer; 6] =
        [Peer::Viaduct, Peer::ViaductSpinning, FLOOR, Peer::Null(Engine::Mmsg), Peer::NullSpinning, KAMAILIO];

    #[test]
    fn each_who_takes_a_load_has_one_window_and_follows_each_neighbour_as_often_as_he_is_followed() {
        let mut followed = std::collections::BTreeMap::<_, i32>::new();
        for round in 0..8 {
            let turns = turns(&ALL, Load::Messages, round);
            let peers: Vec<_> = turns.iter().flat_map(Turn::peers).copied().collect();
            let takers = [Peer::Null(Engine::Mmsg), FLOOR, Peer::Viaduct, KAMAILIO];
            let end = if round % 2 == 0 { peers[0] } else { peers[3] };
            assert_eq!(end, takers[round as usize / 2]);
            for pair in peers.windows(2) {
                let places = [0, 1].map(|of| takers.iter().position(|peer| *peer == pair[of]).unwrap());
                let (pair, sign) =
                    if places[0] < places[1] { (places, 1) } else { ([places[1], places[0]], -1) };
                *followed.entry(pair).or_default() += sign;
            }
            assert!(takers.iter().all(|peer| peers.contains(peer)) && peers.len() == 4, "{peers:?}");
        }
        assert!(followed.values().all(|balance| *balance == 0), "{followed:?}");
        assert_eq!(turns(&ALL, Load::TcpCalls, 3), []);
    }

    #[test]
    fn who_are_held_against_each_other_are_neighbours() {
        let ways = Way::ALL.into_iter().flat_map(|way| [Peer::Kamailio(way), Peer::Opensips(way)]);
        let all: Vec<Peer> = ALL.into_iter().filter(|peer| *peer != KAMAILIO).chain(ways).collect();
        let of = |load| turns(&all, load, 0).iter().flat_map(Turn::peers).copied().collect::<Vec<_>>();
        assert_eq!(of(Load::Calls)[..2], [Peer::Viaduct, Peer::Kamailio(Way::Mhomed)]);
        let calls = of(Load::CallsOpensips);
        let [first, .., last] = calls[..] else { panic!("{calls:?}") };
        assert_eq!(
            (first, last),
            (Peer::Viaduct, Peer::Opensips(Way::Mhomed)),
            "the last is before the first"
        );
        assert_eq!(of(Load::Messages)[1..3], [FLOOR, Peer::Viaduct]);
    }

    #[test]
    fn delay_is_measured_in_pairs_that_alternate() {
        for round in 0..6 {
            let turns = turns(&ALL, Load::Paced, round);
            assert_eq!(turns.len(), 4, "{turns:?}");
            let in_order =
                |[ours, floor]: [Peer; 2]| if round % 2 == 0 { [ours, floor] } else { [floor, ours] };
            assert!(turns.contains(&Turn::Together(in_order(ASLEEP))), "{turns:?}");
            assert!(turns.contains(&Turn::Paired(in_order(SPINNING))), "{turns:?}");
            assert!(turns.contains(&Turn::Alone(KAMAILIO)));
        }
        let without = turns(&[Peer::Viaduct, Peer::ViaductSpinning, KAMAILIO], Load::Paced, 0);
        assert!(without.iter().all(|turn| matches!(turn, Turn::Alone(_))) && without.len() == 3);
    }

    #[test]
    fn neither_of_a_pair_is_earlier() {
        let places = |who| IN_TURN.iter().enumerate().filter(move |(_, own)| **own == who).map(|(at, _)| at);
        assert_eq!(places(0).sum::<usize>(), places(1).sum::<usize>());
        assert_eq!((places(0).count(), places(1).count()), (4, 4));
    }
}
