//! How much of each load is offered: a part of the most that was carried, so that nobody is compared while it loses any.
//!
//! ```text
//!  the most that each carries ─► groups of those that are held against each other, a rate for each group ─► lowered until
//!  windows as long as those of the rounds are carried by all of the group
//! ```

use std::collections::BTreeMap;

use super::peers::Peer;
use super::rounds::Ask;
use crate::peak::Settled;
use crate::results::model::{Load, Lowered, Offered};
use crate::results::ratios::FLOOR;

/// What is offered over TCP of the calls over UDP, where those are given: a message costs twice as much there, and more.
const TCP_PART: f64 = 0.5;
/// What is offered of new connections over TLS of those over TCP, where those are given: a handshake costs more than all else.
const TLS_CONNECTIONS: f64 = 0.5;

/// The most that each subject carries of each load, as far as it was looked for, in units of the load a second.
#[derive(Debug, Default)]
pub struct Rates(BTreeMap<Load, BTreeMap<&'static str, f64>>);

/// Who is offered the same, to be held against each other, and how much.
#[derive(Debug)]
pub struct Group {
    /// Each under the load that it takes.
    pub members: Vec<(Peer, Load)>,
    /// What is known of its rate.
    pub offered: Offered,
    /// What [`rate_name`] calls it.
    names: Vec<String>,
}

impl Rates {
    /// It has to be looked for.
    pub fn lacks(&self, ask: &Ask, load: Load, peer: Peer) -> bool {
        is_by_most(load)
            && ask.loads.contains(&load)
            && peer.takes(load)
            && given(ask, load).is_none()
            && self.most(load, peer).is_none()
    }

    /// Takes it; of loads that offer a subject the same, what is found for one holds for the others.
    pub fn found(&mut self, load: Load, peer: Peer, most: f64) {
        for load in alike(load).into_iter().filter(|load| peer.takes(*load)) {
            self.0.entry(load).or_default().insert(peer.name(), most);
        }
    }

    /// What was found.
    pub fn most(&self, load: Load, peer: Peer) -> Option<f64> {
        self.0.get(&load)?.get(peer.name()).copied()
    }

    /// All groups of those that take part, before any rate is tried.
    pub fn groups(&self, ask: &Ask, peers: &[Peer]) -> Vec<Group> {
        let members = |loads: &[Load]| {
            let of = |load: &Load| peers.iter().map(|peer| (*peer, *load)).collect::<Vec<_>>();
            let all = loads.iter().filter(|load| ask.loads.contains(load)).flat_map(of);
            all.filter(|(peer, load)| peer.takes(*load)).collect::<Vec<_>>()
        };
        let (ours, others): (Vec<_>, Vec<_>) =
            members(&[Load::Messages]).into_iter().partition(|(peer, _)| is_ours(*peer));
        let (at_once, others): (Vec<_>, Vec<_>) = others.into_iter().partition(|(peer, _)| is_at_once(*peer));
        let messages = [ours, at_once].into_iter().chain(others.into_iter().map(|other| vec![other]));
        // Calls from WebSocket to TCP stand beside those from TCP to TCP.
        let beside = [
            &[Load::Calls][..],
            &[Load::StatefulCalls],
            &[Load::CallsOpensips],
            &[Load::StatefulCallsOpensips],
            &[Load::TcpCalls, Load::WsCalls],
            &[Load::TcpConnections],
            &[Load::TlsCalls],
            &[Load::TlsConnections],
        ];
        messages.chain(beside.map(members)).filter_map(|members| self.group(ask, members)).collect()
    }

    /// `None`: nobody is in it.
    fn group(&self, ask: &Ask, members: Vec<(Peer, Load)>) -> Option<Group> {
        let (_, load) = *members.first()?;
        let found =
            || members.iter().filter_map(|(peer, load)| Some((peer.name(), self.most(*load, *peer)?)));
        let lowest = || found().map(|(_, most)| most).min_by(f64::total_cmp);
        let floor = found().find(|(name, _)| load == Load::Messages && *name == FLOOR);
        let of = floor.map(|(name, _)| name.to_owned());
        let offered = match given(ask, load) {
            Some(per_second) => Offered { per_second: whole(per_second), ..Offered::default() },
            None => {
                let part = ask.part_of_most;
                let most = floor.map(|(_, most)| most).or_else(lowest)?;
                let all = found().map(|(name, most)| (name.to_owned(), most)).collect();
                Offered {
                    per_second: whole(most * part),
                    part: Some(part),
                    of,
                    most: all,
                    ..Offered::default()
                }
            }
        };
        let mut names: Vec<_> = members.iter().map(|(peer, load)| rate_name(*load, *peer)).collect();
        names.dedup();
        Some(Group { members, offered, names })
    }
}

impl Group {
    /// With the rate that all of it carry; what each part of the results is called, with what it says of the rate.
    pub fn settled(self, settled: Settled<(Peer, Load)>) -> impl Iterator<Item = (String, Offered)> {
        let name = |(peer, _): (Peer, Load)| peer.name().to_owned();
        let lowered = settled.above.into_iter();
        let lowered = lowered.map(|(rate, who)| Lowered { per_second: whole(rate), lost_by: name(who) });
        let (per_second, lost_by) = (whole(settled.rate), settled.lost_by.map(name));
        let offered = Offered { per_second, lowered: lowered.collect(), lost_by, ..self.offered };
        self.names.into_iter().map(move |name| (name, offered.clone()))
    }
}

/// What the results call the rate at which a subject is offered a load.
pub fn rate_name(load: Load, peer: Peer) -> String {
    match load {
        Load::Messages if is_at_once(peer) => format!("{}/at-once", load.name()),
        Load::Messages if !is_ours(peer) => format!("{}/{}", load.name(), peer.name()),
        _ => load.name().to_owned(),
    }
}

/// As it is offered: whole, and at least one a second.
pub(super) fn whole(rate: f64) -> f64 {
    rate.floor().max(1.0)
}

/// Viaduct and the floor are offered the same messages; other proxies may not come near that, and are offered a part of their
/// own most.
fn is_ours(peer: Peer) -> bool {
    matches!(peer, Peer::Viaduct | Peer::Null(_))
}

/// Both of those that collect nothing are offered the same, which is less.
fn is_at_once(peer: Peer) -> bool {
    matches!(peer, Peer::ViaductAtOnce | Peer::NullAtOnce)
}

/// How much of it is offered depends on the most that is carried.
pub(super) fn is_by_most(load: Load) -> bool {
    !matches!(load, Load::Paced | Load::Overload)
}

/// Loads that offer a subject the same, this one among them.
pub fn alike(load: Load) -> Vec<Load> {
    let all = [
        &[Load::Calls, Load::StatefulCalls, Load::CallsOpensips, Load::StatefulCallsOpensips][..],
        &[Load::Messages, Load::Saturation, Load::Knee],
    ];
    all.into_iter().find(|loads| loads.contains(&load)).unwrap_or(&[load]).to_vec()
}

/// What the command line says of it.
fn given(ask: &Ask, load: Load) -> Option<f64> {
    let over_tcp = ask.tcp_calls.or(ask.calls.map(|calls| calls * TCP_PART));
    match load {
        Load::Messages | Load::Saturation | Load::Knee => ask.knee.map(|knee| knee * ask.part_of_most),
        Load::Calls | Load::StatefulCalls | Load::CallsOpensips | Load::StatefulCallsOpensips => ask.calls,
        Load::TlsConnections => over_tcp.map(|calls| calls * TLS_CONNECTIONS),
        Load::TcpCalls | Load::TcpConnections | Load::TlsCalls | Load::WsCalls => over_tcp,
        Load::Paced | Load::Overload => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::peers::Way;
    use super::*;
    use crate::load::Transport;
    use crate::null::Engine;

    fn ask(calls: Option<f64>, tcp_calls: Option<f64>) -> Ask {
        Ask {
            rounds: 1,
            window: Duration::from_secs(1),
            part_of_most: 0.8,
            knee: None,
            calls,
            tcp_calls,
            paced: 400.0,
            loads: vec![
                Load::Messages,
                Load::Calls,
                Load::StatefulCalls,
                Load::TcpCalls,
                Load::TlsConnections,
                Load::WsCalls,
            ],
        }
    }

    const KAMAILIO: Peer = Peer::Kamailio(Way::Mhomed);
    const TRANSACTIONS: Peer = Peer::Kamailio(Way::Stateful);
    const NULL: Peer = Peer::Null(Engine::Uring);

    /// What is offered to a subject that takes part beside those, before any rate is tried.
    fn offered(rates: &Rates, ask: &Ask, peers: &[Peer], load: Load, peer: Peer) -> Option<Offered> {
        let mut groups = rates.groups(ask, peers).into_iter();
        groups.find(|group| group.names.contains(&rate_name(load, peer))).map(|group| group.offered)
    }

    #[test]
    fn each_group_is_offered_a_part_of_what_its_slowest_carries() {
        let (ask, mut rates) = (ask(None, None), Rates::default());
        let peers = [Peer::Viaduct, KAMAILIO, TRANSACTIONS];
        let of = |rates: &Rates, load| offered(rates, &ask, &peers, load, Peer::Viaduct);
        assert!(rates.lacks(&ask, Load::Calls, Peer::Viaduct) && of(&rates, Load::Calls).is_none());
        assert!(!rates.lacks(&ask, Load::Paced, Peer::Viaduct), "that has its own rate");
        assert!(!rates.lacks(&ask, Load::TlsCalls, Peer::ViaductStateful(Transport::Tls)), "not asked for");
        rates.found(Load::Calls, Peer::Viaduct, 8_000.0);
        rates.found(Load::Calls, KAMAILIO, 4_000.0);
        rates.found(Load::StatefulCalls, TRANSACTIONS, 1_001.0);
        assert!(!rates.lacks(&ask, Load::StatefulCalls, Peer::Viaduct), "the same is offered to it");
        assert!(!rates.lacks(&ask, Load::StatefulCalls, TRANSACTIONS));
        let [without, with] = [Load::Calls, Load::StatefulCalls].map(|load| of(&rates, load).unwrap());
        assert_eq!((without.per_second, without.part, &without.of), (3_200.0, Some(0.8), &None));
        assert_eq!(without.most.keys().collect::<Vec<_>>(), ["kamailio-mhomed", "viaduct"]);
        assert_eq!((with.per_second, with.most["viaduct"]), (800.0, 8_000.0));
    }

    #[test]
    fn messages_are_a_part_of_what_the_floor_carries_and_of_their_own_for_other_proxies() {
        let (ask, mut rates) = (ask(None, None), Rates::default());
        for (peer, most) in [
            (Peer::Viaduct, 70_000.0),
            (NULL, 100_000.0),
            (Peer::Null(Engine::Mmsg), 110_000.0),
            (KAMAILIO, 30_000.0),
        ] {
            rates.found(Load::Saturation, peer, most);
        }
        assert!(!rates.lacks(&ask, Load::Messages, KAMAILIO), "the same is looked for");
        let peers = [Peer::Viaduct, NULL, Peer::Null(Engine::Mmsg), KAMAILIO];
        let [ours, floor, theirs] = [Peer::Viaduct, NULL, KAMAILIO]
            .map(|peer| offered(&rates, &ask, &peers, Load::Messages, peer).unwrap());
        assert_eq!((ours.per_second, ours.of.as_deref(), &ours), (80_000.0, Some("null-uring"), &floor));
        assert_eq!((ours.most.len(), ours.most["viaduct"]), (3, 70_000.0));
        assert_eq!((theirs.per_second, theirs.of, theirs.most.len()), (24_000.0, None, 1));
        rates.found(Load::Messages, Peer::NullAtOnce, 90_000.0);
        rates.found(Load::Messages, Peer::ViaductAtOnce, 60_000.0);
        let pair = [Peer::Viaduct, Peer::ViaductAtOnce, Peer::NullAtOnce, KAMAILIO];
        let [ours, floor] = [Peer::ViaductAtOnce, Peer::NullAtOnce]
            .map(|peer| offered(&rates, &ask, &pair, Load::Messages, peer).unwrap());
        assert_eq!((ours.per_second, ours.most.len(), &ours), (48_000.0, 2, &floor));
        let alone = offered(&rates, &ask, &[Peer::Viaduct, KAMAILIO], Load::Messages, Peer::Viaduct).unwrap();
        assert_eq!((alone.per_second, alone.of), (56_000.0, None));
    }

    #[test]
    fn calls_from_websocket_are_as_many_as_those_over_tcp() {
        let (ask, mut rates) = (ask(None, None), Rates::default());
        let ws = Peer::ViaductStateful(Transport::Ws);
        rates.found(Load::TcpCalls, Peer::KamailioTcp(true), 500.0);
        rates.found(Load::WsCalls, ws, 2_000.0);
        let groups = rates.groups(&ask, &[Peer::KamailioTcp(true), ws]);
        let [group] = &groups[..] else { panic!("{groups:?}") };
        assert_eq!(group.offered.per_second, 400.0);
        assert_eq!(group.members, [(Peer::KamailioTcp(true), Load::TcpCalls), (ws, Load::WsCalls)]);
        assert_eq!(group.names, ["tcp-calls", "ws-calls"]);
    }

    #[test]
    fn a_lowered_rate_is_that_of_all_loads_of_its_group_and_says_why() {
        let (ask, mut rates) = (ask(None, None), Rates::default());
        let (tcp, ws) = ((Peer::KamailioTcp(true), Load::TcpCalls), (Peer::KamailioWs, Load::WsCalls));
        [tcp, ws].into_iter().for_each(|(peer, load)| rates.found(load, peer, 500.0));
        let group = rates.groups(&ask, &[tcp.0, ws.0]).remove(0);
        let settled = Settled { rate: 256.0, above: vec![(400.0, tcp), (320.0, ws)], lost_by: Some(ws) };
        let told: BTreeMap<_, _> = group.settled(settled).collect();
        assert_eq!((told.len(), &told["tcp-calls"]), (2, &told["ws-calls"]));
        let Offered { per_second, lowered, lost_by, part, .. } = &told["ws-calls"];
        assert_eq!((*per_second, lost_by.as_deref(), *part), (256.0, Some("kamailio-ws"), Some(0.8)));
        let lowered: Vec<_> = lowered.iter().map(|step| (step.per_second, step.lost_by.as_str())).collect();
        assert_eq!(lowered, [(400.0, "kamailio-tcp"), (320.0, "kamailio-ws")]);
    }

    #[test]
    fn what_the_command_line_says_is_offered_and_nothing_looked_for() {
        let rates = Rates::default();
        let tls = Peer::ViaductStateful(Transport::Tls);
        let of = |ask: &Ask, load, peer| {
            let offered = offered(&rates, ask, &[Peer::Viaduct, NULL, tls], load, peer);
            offered.map(|offered| (offered.per_second, offered.part))
        };
        let both = ask(Some(1_000.0), None);
        assert_eq!(of(&both, Load::Calls, Peer::Viaduct), Some((1_000.0, None)));
        assert_eq!(of(&both, Load::TlsConnections, tls), Some((250.0, None)));
        assert!(!rates.lacks(&both, Load::StatefulCalls, TRANSACTIONS));
        let tcp = ask(None, Some(100.0));
        assert_eq!(of(&tcp, Load::TlsConnections, tls), Some((50.0, None)));
        assert!(rates.lacks(&tcp, Load::Calls, KAMAILIO) && of(&tcp, Load::Calls, Peer::Viaduct).is_none());
        let knee = Ask { knee: Some(50_000.0), ..ask(None, None) };
        assert_eq!(of(&knee, Load::Messages, NULL), Some((40_000.0, None)));
        assert!(!rates.lacks(&knee, Load::Messages, NULL) && rates.lacks(&tcp, Load::Messages, NULL));
    }
}
