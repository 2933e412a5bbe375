//! Findings against the choice itself: who cannot send has a finding, and who can has none that says
//! otherwise.

use proptest::prelude::*;

use super::{Code, Examiner, Severity, Subject};
use crate::config;
use crate::egress::{Question, View, auto, overridden};
use crate::fib::spec::{Action, Family, Kind, Link, Masked, Nexthop, Nexthops, Route, Rule};
use crate::fib::{Builder, Fib};
use crate::net::ListenerId;
use crate::plan::Plan;

const ADDRESSES: [(u32, &str); 4] =
    [(2, "203.0.113.10/24"), (3, "10.0.0.4/24"), (3, "10.0.0.44/24"), (4, "172.16.0.4/24")];
const NEXT_HOPS: [&str; 6] =
    ["203.0.113.9", "10.0.0.9", "172.16.0.9", "192.0.2.9", "198.51.100.9", "10.77.0.9"];

/// What a world is made of; each field is read as far as it is meant.
#[derive(Clone, Debug)]
struct Dice {
    links_down: Vec<u32>,
    addresses: Vec<bool>,
    /// Prefix, device, kind, paths.
    routes: Vec<(usize, u32, u8, bool)>,
    /// Priority, selector, action.
    rules: Vec<(u32, u8, u8)>,
    /// For each listener: mark and device.
    ties: Vec<u8>,
    policy: u8,
}

fn dice() -> impl Strategy<Value = Dice> {
    (
        proptest::collection::vec(2..5_u32, 0..2),
        proptest::collection::vec(any::<bool>(), 4),
        proptest::collection::vec((0..5_usize, 2..5_u32, 0..9_u8, any::<bool>()), 0..6),
        proptest::collection::vec((1..200_u32, 0..4_u8, 0..5_u8), 0..3),
        proptest::collection::vec(0..6_u8, 4),
        0..4_u8,
    )
        .prop_map(|(links_down, addresses, routes, rules, ties, policy)| Dice {
            links_down,
            addresses,
            routes,
            rules,
            ties,
            policy,
        })
}

fn host(dice: &Dice) -> Fib {
    let mut host = Builder::host();
    for index in 2..5 {
        host = host
            .link(Link { up: !dice.links_down.contains(&index), ..Link::up(index, &format!("eth{index}")) });
    }
    for ((dev, address), there) in ADDRESSES.iter().zip(&dice.addresses) {
        if *there {
            host = host.assign(*dev, address.parse().unwrap());
        }
    }
    let prefixes = ["0.0.0.0/0", "192.0.2.0/24", "198.51.100.0/24", "10.0.0.9/32", "240.0.0.0/4"];
    for &(prefix, dev, kind, several) in &dice.routes {
        let route = Route::new(prefixes[prefix].parse().unwrap(), dev, None);
        let other = Nexthop::new(2 + (dev - 1) % 3, None);
        let paths =
            if several { vec![Nexthop::new(dev, None), other] } else { vec![Nexthop::new(dev, None)] };
        let route = match kind {
            0 => Route { opaque: true, ..route },
            1 => Route { nexthops: Nexthops::Own(Vec::new()), ..route.of_kind(Kind::Prohibit) },
            2 => route.in_table(100),
            _ => Route { nexthops: Nexthops::Own(paths), ..route },
        };
        host = host.route(route);
    }
    for &(priority, selector, action) in &dice.rules {
        let action = match action {
            0 => Action::Prohibit,
            1 => Action::Nop,
            _ => Action::Table(100),
        };
        let rule = Rule::new(Family::V4, priority, action);
        host = host.rule(match selector {
            0 => Rule { from: Some("10.0.0.4/32".parse().unwrap()), ..rule },
            1 => Rule { to: Some("192.0.2.0/24".parse().unwrap()), ..rule },
            2 => Rule { mark: Some(Masked { value: 7, mask: u32::MAX }), ..rule },
            _ => Rule { from: Some("203.0.113.0/24".parse().unwrap()), ..rule },
        });
    }
    host.build()
}

/// Rules without and with `egress` to each next hop; it is compiled on a host where all of it fits.
fn plan(dice: &Dice) -> Plan {
    let mut text = match dice.policy {
        0 => "[egress]\nauto = false\n",
        1 => "[egress]\nnearest = false\n",
        2 => "[egress]\nno_listener = \"l1\"\n",
        _ => "",
    }
    .to_owned();
    for (at, ((_, address), tie)) in ADDRESSES.iter().zip(&dice.ties).enumerate() {
        let ip = address.split_once('/').unwrap().0;
        text += &format!("[[listener]]\nname = \"l{at}\"\nbind = \"udp:{ip}:{}\"\n", 5060 + at % 2 * 10);
        text += match tie {
            0 => "mark = 7\n",
            1 => "device = \"eth2\"\n",
            2 => "device = \"eth9\"\n",
            _ => "",
        };
    }
    for (at, hop) in NEXT_HOPS.iter().enumerate() {
        text += &format!(
            "[[route]]\nname = \"auto-{at}\"\nwhen = {{ ruri_user = '^a{at}$' }}\nto = \"sip:{hop}\"\n"
        );
        text += &format!(
            "[[route]]\nname = \"over-{at}\"\nwhen = {{ ruri_user = '^o{at}$' }}\nto = \"sip:{hop}\"\negress = \"l{}\"\n",
            at % 4
        );
    }
    // Nothing is up there, so nothing is a mistake yet.
    let fib = Builder::host().build();
    let loaded = config::from_str("test.toml", &text, &fib);
    loaded.unwrap_or_else(|findings| panic!("{findings}")).plan
}

proptest! {
    #[test]
    fn whoever_cannot_send_has_a_finding_and_nobody_else(dice in dice()) {
        let (plan, fib) = (plan(&dice), host(&dice));
        let view = View::new(&plan, &fib);
        let all = Examiner::new(&plan, &fib, &view).all();
        for rule in plan.rules.iter() {
            let crate::rules::Action::Forward { to, egress, .. } = &rule.action else { continue };
            let Some(next_hop) = plan.literal_hop(&to[0], None) else { continue };
            let question = Question { next_hop, ingress: ListenerId(0), flow: 0 };
            let chosen = match egress {
                Some(choice) => overridden(&plan, &fib, &view, choice, &question),
                None => auto(&plan, &fib, &view, &question),
            };
            let of_rule: Vec<_> = all.iter().filter(|f| f.subject == Subject::Rule(rule.id, rule.name.clone())).collect();
            let refuses = |code: Code| match code {
                Code::NextHopUnrouted | Code::NoListener | Code::AutomaticOff | Code::OverrideUnreachable
                | Code::OverrideWrongListener | Code::OverrideDown | Code::OverrideNoSocket | Code::AskKernel
                | Code::OnLinkAssumption => true,
                Code::SourceNoListener => of_rule.iter().any(|f| f.code == code && f.severity == Severity::Warning),
                _ => false,
            };
            let refused = of_rule.iter().any(|f| refuses(f.code));
            prop_assert_eq!(chosen.is_err(), refused, "{}: {:?} {:#?}", rule.name, chosen, of_rule);
            prop_assert!(of_rule.iter().all(|f| !f.cause.is_empty() && !f.remedy.is_empty()));
        }
    }
}
