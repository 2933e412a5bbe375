//! Storms: hundreds of changes without a pause, followed while they happen. Few prefixes and many ways to change them, so
//! that changes of the same ones follow each other closely.

use std::thread;
use std::time::Duration;

use crate::dice::Dice;
use crate::namespace::{ip, isolated, sysctl};
use crate::number;
use crate::watch::{self, Watch};

/// Changes of one storm.
const CHANGES: usize = 400;
/// Prefixes of each family.
const PREFIXES: usize = 48;
/// Routes that stay, by family: the kernel lists its tables in many parts, and changes come between these.
const STILL: usize = 2_000;
/// Links that flap.
const SPARES: usize = 2;
const RULES: usize = 8;

#[test]
fn storms_of_changes_are_followed() {
    isolated("storm::storms_of_changes_are_followed", || {
        let (storms, first) = (number("VIADUCT_STORMS", 20), number("VIADUCT_SEED", 1));
        sysctl("ipv6.conf.default.accept_dad", "0");
        assert_eq!(ip("", &world()), [""; 0]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut watches = watch::both();
            for seed in first..first + storms {
                storm(seed, &mut watches).await;
            }
            let counts = watches[1].follower.counts();
            println!("{storms} storms of {CHANGES} changes: {counts:?}");
            assert_eq!((counts.mismatches, counts.overruns), (0, 0), "{counts:?}");
        });
    });
}

async fn storm(seed: u64, watches: &mut [Watch; 2]) {
    let mut dice = Dice::new(seed);
    let changes: Vec<String> = (0..CHANGES).flat_map(|_| change(&mut dice)).collect();
    let told = changes.clone();
    // Many are refused, a deletion of what is not there for one: that is part of it.
    let changing = thread::spawn(move || ip("", &changes));
    while !changing.is_finished() {
        watches[1].wait(Duration::from_millis(5)).await;
    }
    let refused = changing.join().expect("ip runs");
    if let Err(how) = watch::settle(watches).await {
        let lines: Vec<String> =
            (told.into_iter())
                .map(|line| {
                    if refused.contains(&line) { format!("  (refused) {line}") } else { format!("  {line}") }
                })
                .collect();
        panic!(
            "VIADUCT_SEED={seed} VIADUCT_STORMS=1 (or with storms before it): {how}\n{}",
            lines.join("\n")
        );
    }
}

fn world() -> Vec<String> {
    let mut lines: Vec<String> = [
        "link add out type veth peer name far",
        "link set far up",
        "link set out up",
        "addr add 10.2.0.1/24 dev out",
        "addr add 2001:db8:2::1/64 dev out nodad",
        "nexthop add id 50 via 10.2.0.2 dev out",
        "nexthop add id 51 via 2001:db8:2::2 dev out",
    ]
    .map(String::from)
    .into();
    for number in 0..STILL {
        lines.push(format!("route add 45.{}.{}.0/24 via 10.2.0.2 dev out", number / 250, number % 250));
        lines.push(format!("route add 2c00:{number:x}::/32 via 2001:db8:2::2 dev out"));
    }
    for spare in 0..SPARES {
        lines.push(format!("link add spare{spare} type veth peer name far{spare}"));
        lines.push(format!("link set far{spare} up"));
        lines.push(format!("link set spare{spare} up"));
        lines.push(format!("addr add 10.9.{spare}.1/24 dev spare{spare}"));
        lines.push(format!("addr add fd00:9:{spare}::1/64 dev spare{spare} nodad"));
    }
    lines
}

fn change(dice: &mut Dice) -> Vec<String> {
    match dice.below(20) {
        0..12 => vec![route(dice)],
        12..14 => vec![spare_route(dice)],
        14..16 => nexthop(dice),
        16 => rule(dice),
        17..19 => vec![address(dice)],
        _ => vec![format!("link set spare{} {}", dice.below(SPARES), dice.pick(&["down", "up", "up"]))],
    }
}

/// By a link that stays.
fn route(dice: &mut Dice) -> String {
    let number = dice.below(PREFIXES);
    let v4 = dice.percent(60);
    let net = if v4 { format!("44.{number}.0.0/16") } else { format!("2a00:{number:x}::/32") };
    let gateway = match (v4, 2 + dice.below(2)) {
        (true, host) => format!("10.2.0.{host}"),
        (false, host) => format!("2001:db8:2::{host}"),
    };
    let way = format!("{net} via {gateway} dev out");
    let metric = 10 + dice.below(3);
    match dice.below(10) {
        0 => format!("route del {net}"),
        1 => format!("route append {way}"),
        2 => format!("route add {way} metric {metric}"),
        3 => format!("route del {net} metric {metric}"),
        4 => format!("route replace {} {net}", dice.pick(&["unreachable", "prohibit", "blackhole"])),
        5 => format!("route replace {net} nhid {}", if v4 { 50 } else { 51 }),
        _ => format!("route replace {way}"),
    }
}

/// By a link that does not, in the main and in other tables.
fn spare_route(dice: &mut Dice) -> String {
    let (spare, number) = (dice.below(SPARES), dice.below(16));
    let verb = *dice.pick(&["add", "replace", "append", "del"]);
    let table = *dice.pick(&["", " table 100", " table 150"]);
    match dice.below(4) {
        0 => format!("route {verb} 172.20.{number}.0/24 nhid {}{table}", 1 + number % 4),
        1 => format!("route {verb} fd00:{number:x}::/32 via fd00:9:{spare}::2 dev spare{spare}{table}"),
        _ => format!("route {verb} 172.20.{number}.0/24 via 10.9.{spare}.2 dev spare{spare}{table}"),
    }
}

fn nexthop(dice: &mut Dice) -> Vec<String> {
    let (id, spare, host) = (1 + dice.below(4), dice.below(SPARES), 2 + dice.below(2));
    match dice.below(6) {
        0 => vec![format!("nexthop del id {id}")],
        1 => vec![format!("nexthop replace id {} group {id}/{}", 100 + id, 1 + dice.below(4))],
        2 => vec![format!("nexthop del id {}", 100 + id)],
        3 => vec!["nexthop del id 50".into(), format!("nexthop replace id 50 via 10.2.0.{host} dev out")],
        4 => vec![format!("nexthop replace id 51 via 2001:db8:2::{host} dev out")],
        _ => vec![format!("nexthop replace id {id} via 10.9.{spare}.2 dev spare{spare}")],
    }
}

fn rule(dice: &mut Dice) -> Vec<String> {
    let (pref, number) = (1000 + dice.below(RULES), dice.below(16));
    let (family, what) = match dice.below(5) {
        0 => ("-4", format!("from 172.20.{number}.0/24 lookup 100")),
        1 => ("-4", format!("to 172.20.{number}.0/24 prohibit")),
        2 => ("-4", "from all lookup 150".to_owned()),
        3 => ("-6", format!("from fd00:{number:x}::/32 lookup 100")),
        _ => return vec![format!("-4 rule del pref {pref}"), format!("-6 rule del pref {pref}")],
    };
    vec![format!("{family} rule del pref {pref}"), format!("{family} rule add pref {pref} {what}")]
}

fn address(dice: &mut Dice) -> String {
    let (spare, host, verb) = (dice.below(SPARES), 1 + dice.below(4), *dice.pick(&["add", "del"]));
    match dice.below(3) {
        0 => format!("addr {verb} fd00:9:{spare}::{host}/64 dev spare{spare} nodad"),
        _ => format!("addr {verb} 10.9.{spare}.{host}/24 dev spare{spare}"),
    }
}
