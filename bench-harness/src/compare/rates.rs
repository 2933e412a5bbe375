//! How much of each load of calls or connections is offered: a part of what the slowest of those who take it carries, so that
//! nobody is compared while it loses any.

use std::collections::BTreeMap;

use super::peers::Peer;
use super::rounds::Ask;
use crate::results::Unit;
use crate::results::model::{Load, Offered};

/// Part of the most that the slowest carries: machines are not the same from one minute to the next.
const PART: f64 = 0.6;
/// What is offered over TCP of the calls over UDP, where those are given: a message costs twice as much there, and more.
const TCP_PART: f64 = 0.5;
/// What is offered of new connections over TLS of those over TCP, where those are given: a handshake costs more than all else.
const TLS_CONNECTIONS: f64 = 0.5;

/// The most that each subject carries of each load, as far as it was looked for, in units of the load a second.
#[derive(Debug, Default)]
pub struct Rates(BTreeMap<Load, BTreeMap<&'static str, f64>>);

impl Rates {
    /// It has to be looked for.
    pub fn lacks(&self, ask: &Ask, load: Load, peer: Peer) -> bool {
        load.unit() != Unit::Message
            && ask.loads.contains(&load)
            && peer.takes(load)
            && given(ask, load).is_none()
            && !self.0.get(&load).is_some_and(|found| found.contains_key(peer.name()))
    }

    /// Takes it; of two loads that offer a subject the same, what is found for one holds for the other.
    pub fn found(&mut self, load: Load, peer: Peer, most: f64) {
        let same = [Load::Calls, Load::StatefulCalls];
        let loads = if same.contains(&load) { &same[..] } else { &[load][..] };
        for load in loads.iter().filter(|load| peer.takes(**load)) {
            self.0.entry(*load).or_default().insert(peer.name(), most);
        }
    }

    /// What is offered; `None`: nobody takes it.
    pub fn offered(&self, ask: &Ask, load: Load) -> Option<Offered> {
        if let Some(per_second) = given(ask, load) {
            return Some(Offered { per_second: whole(per_second), ..Offered::default() });
        }
        self.0.get(&load)?;
        // Calls from WebSocket to TCP stand beside those from TCP to TCP.
        let beside = [Load::TcpCalls, Load::WsCalls];
        let loads = if beside.contains(&load) { &beside[..] } else { &[load][..] };
        let found = || loads.iter().filter_map(|load| self.0.get(load)).flatten();
        let lowest = found().map(|(_, most)| *most).min_by(f64::total_cmp)?;
        let most = found().map(|(name, most)| ((*name).to_owned(), *most)).collect();
        Some(Offered { per_second: whole(lowest * PART), part: Some(PART), most })
    }
}

/// As it is offered: whole, and at least one a second.
pub(super) fn whole(rate: f64) -> f64 {
    rate.floor().max(1.0)
}

/// What the command line says of it.
fn given(ask: &Ask, load: Load) -> Option<f64> {
    let over_tcp = ask.tcp_calls.or(ask.calls.map(|calls| calls * TCP_PART));
    match load {
        Load::Calls | Load::StatefulCalls => ask.calls,
        Load::TlsConnections => over_tcp.map(|calls| calls * TLS_CONNECTIONS),
        Load::TcpCalls | Load::TcpConnections | Load::TlsCalls | Load::WsCalls => over_tcp,
        Load::Messages | Load::Paced | Load::Saturation | Load::Knee | Load::Overload => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::peers::Way;
    use super::*;
    use crate::load::Transport;

    fn ask(calls: Option<f64>, tcp_calls: Option<f64>) -> Ask {
        Ask {
            rounds: 1,
            window: Duration::from_secs(1),
            part_of_knee: 0.8,
            knee: None,
            calls,
            tcp_calls,
            paced: 400.0,
            loads: vec![
                Load::Messages,
                Load::Calls,
                Load::StatefulCalls,
                Load::TlsConnections,
                Load::WsCalls,
            ],
        }
    }

    const KAMAILIO: Peer = Peer::Kamailio(Way::Mhomed);
    const TRANSACTIONS: Peer = Peer::Kamailio(Way::Stateful);

    #[test]
    fn each_group_is_offered_a_part_of_what_its_slowest_carries() {
        let (ask, mut rates) = (ask(None, None), Rates::default());
        assert!(rates.lacks(&ask, Load::Calls, Peer::Viaduct) && rates.offered(&ask, Load::Calls).is_none());
        assert!(!rates.lacks(&ask, Load::Messages, Peer::Viaduct), "that has its knee");
        assert!(!rates.lacks(&ask, Load::TcpCalls, Peer::ViaductStateful(Transport::Tcp)), "not asked for");
        rates.found(Load::Calls, Peer::Viaduct, 8_000.0);
        rates.found(Load::Calls, KAMAILIO, 4_000.0);
        rates.found(Load::StatefulCalls, TRANSACTIONS, 1_001.0);
        assert!(!rates.lacks(&ask, Load::StatefulCalls, Peer::Viaduct), "the same is offered to it");
        assert!(!rates.lacks(&ask, Load::StatefulCalls, TRANSACTIONS));
        let [without, with] =
            [Load::Calls, Load::StatefulCalls].map(|load| rates.offered(&ask, load).unwrap());
        assert_eq!((without.per_second, without.part), (2_400.0, Some(PART)));
        assert_eq!(without.most.keys().collect::<Vec<_>>(), ["kamailio-mhomed", "viaduct"]);
        assert_eq!((with.per_second, with.most["viaduct"]), (600.0, 8_000.0));
    }

    #[test]
    fn calls_from_websocket_are_as_many_as_those_over_tcp() {
        let (ask, mut rates) = (ask(None, None), Rates::default());
        rates.found(Load::TcpCalls, Peer::KamailioTcp(true), 500.0);
        assert!(rates.offered(&ask, Load::WsCalls).is_none());
        rates.found(Load::WsCalls, Peer::ViaductStateful(Transport::Ws), 2_000.0);
        let [tcp, ws] = [Load::TcpCalls, Load::WsCalls].map(|load| rates.offered(&ask, load).unwrap());
        assert_eq!((tcp.per_second, &tcp), (300.0, &ws));
    }

    #[test]
    fn what_the_command_line_says_is_offered_and_nothing_looked_for() {
        let rates = Rates::default();
        let both = ask(Some(1_000.0), None);
        let of = |ask: &Ask, load| rates.offered(ask, load).map(|offered| (offered.per_second, offered.part));
        assert_eq!(of(&both, Load::Calls), Some((1_000.0, None)));
        assert_eq!(of(&both, Load::TlsConnections), Some((250.0, None)));
        assert!(!rates.lacks(&both, Load::StatefulCalls, TRANSACTIONS));
        let tcp = ask(None, Some(100.0));
        assert_eq!(of(&tcp, Load::TlsConnections), Some((50.0, None)));
        assert!(rates.lacks(&tcp, Load::Calls, KAMAILIO) && of(&tcp, Load::Calls).is_none());
    }
}
