//! Who is measured when: an order that turns from round to round, and pairs whose messages alternate, or whose small windows
//! do.

use super::peers::Peer;
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

impl Turn {
    /// Whose it is.
    pub fn peers(&self) -> &[Peer] {
        match self {
            Self::Alone(peer) => std::slice::from_ref(peer),
            Self::Together(pair) | Self::Paired(pair) => pair,
        }
    }
}

/// What a round has under a load, for those who take it.
pub fn turns(peers: &[Peer], load: Load, round: u32) -> Vec<Turn> {
    let takers: Vec<Peer> = peers.iter().copied().filter(|peer| peer.takes(load)).collect();
    let pair = |peer: Peer| {
        let pair = [ASLEEP, SPINNING].into_iter().find(|pair| pair.contains(&peer))?;
        (load == Load::Paced && pair.iter().all(|peer| takers.contains(peer))).then_some(pair)
    };
    let first = round as usize % takers.len().max(1);
    let mut turns = Vec::new();
    for peer in takers.iter().skip(first).chain(takers.iter().take(first)) {
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

#[cfg(test)]
mod tests {
    use super::super::peers::Way;
    use super::*;

    const FLOOR: Peer = Peer::Null(Engine::Uring);
    const KAMAILIO: Peer = Peer::Kamailio(Way::Stateless);
    const ALL: [Peer; 6] =
        [Peer::Viaduct, Peer::ViaductSpinning, FLOOR, Peer::Null(Engine::Mmsg), Peer::NullSpinning, KAMAILIO];

    #[test]
    fn each_who_takes_a_load_has_one_window_and_another_is_first_in_each_round() {
        for round in 0..8 {
            let turns = turns(&ALL, Load::Messages, round);
            let peers: Vec<_> = turns.iter().flat_map(Turn::peers).copied().collect();
            let takers = [Peer::Viaduct, FLOOR, Peer::Null(Engine::Mmsg), KAMAILIO];
            assert_eq!(peers[0], takers[round as usize % 4]);
            assert!(takers.iter().all(|peer| peers.contains(peer)) && peers.len() == 4, "{peers:?}");
        }
        assert_eq!(turns(&ALL, Load::TcpCalls, 3), []);
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
