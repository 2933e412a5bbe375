//! Random changes, thought of and then made: the kernel refuses what is refused in thought, and has what was
//! predicted. `VIADUCT_THOUGHTS` says how many; a failure prints the seed and all that was done before.

use viaduct::cli::what_if::{Change, OfThisHost};
use viaduct::control::netlink;

use crate::what_if::{entries, settled};
use crate::world::World;

struct Dice(u64);

impl Dice {
    /// SplitMix64.
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[usize::try_from(self.roll() % of.len() as u64).expect("a small number")]
    }
}

const LINKS: [&str; 3] = ["priv", "spare", "six"];
const ADDRESSES: [&str; 9] = [
    "10.0.0.4/24",
    "10.0.0.5/24",
    "10.0.0.6/25",
    "10.9.0.4/24",
    "172.20.0.4/32",
    "172.20.0.5/24",
    "fd00:6::4/64",
    "fd00:6::5/64",
    "fd00:7::4/128",
];
const PREFIXES: [&str; 4] = ["198.51.100.0/24", "198.51.100.0/26", "203.0.113.7", "default"];
const PREFIXES_6: [&str; 3] = ["2001:db8:7::/64", "2001:db8:7::/65", "2001:db8:8::1"];
const GATEWAYS: [&str; 5] = ["10.0.0.100", "10.9.0.100", "172.20.0.9", "1.2.3.100", "10.0.0.4"];
const GATEWAYS_6: [&str; 3] = ["fd00:6::100", "2001:db8:1::100", "fd00:6::5"];

fn change(dice: &mut Dice) -> String {
    let link = dice.one(&LINKS);
    match dice.roll() % 16 {
        0..=2 => format!(
            "addr add {} dev {link}{}",
            dice.one(&ADDRESSES),
            dice.one(&[" nodad", " nodad noprefixroute"])
        ),
        3 | 4 => format!("addr del {} dev {link}", dice.one(&ADDRESSES)),
        5 => format!("link set {link} down"),
        6 | 7 => format!("link set {link} up"),
        8 | 9 => {
            let (verb, prefix) = (dice.one(&["add", "replace", "add"]), dice.one(&PREFIXES));
            let tail = dice.one(&["", "", " metric 7", " src 10.0.0.4", " src 172.20.0.5", " table 100"]);
            match dice.roll() % 4 {
                0 => format!("route {verb} {prefix} dev {link}{tail}"),
                1 => {
                    let kind = dice.one(&["unreachable", "prohibit", "blackhole"]);
                    format!("route {verb} {kind} {prefix}{}", dice.one(&["", "", " src 10.0.0.77"]))
                }
                _ => format!("route {verb} {prefix} via {}{tail}", dice.one(&GATEWAYS)),
            }
        }
        10 | 11 => {
            let prefix = dice.one(&PREFIXES);
            let tail = dice.one(&["", "", " metric 7", " table 100", " via 10.0.0.100", " dev spare"]);
            format!("route del {prefix}{tail}")
        }
        12 => {
            let prefix = dice.one(&PREFIXES_6);
            match dice.roll() % 4 {
                0 => format!("-6 route add {prefix} dev {link}"),
                1 => format!(
                    "-6 route add {prefix} via {}{}",
                    dice.one(&GATEWAYS_6),
                    dice.one(&["", " metric 7"])
                ),
                2 => format!(
                    "-6 route add unreachable {prefix}{}",
                    dice.one(&["", " via fd00:6::100", " dev spare"])
                ),
                _ => format!("-6 route del {prefix}"),
            }
        }
        13 | 14 => {
            let selector = dice.one(&[
                "from 10.0.0.4",
                "to 198.51.100.0/24",
                "fwmark 7",
                "oif priv",
                "not from 10.9.0.0/16",
            ]);
            let action = dice.one(&["lookup 100", "lookup main", "prohibit", "unreachable"]);
            format!("rule add {selector} {action}{}", dice.one(&["", " pref 100", " pref 200"]))
        }
        _ => format!(
            "rule del {}",
            dice.one(&["from 10.0.0.4", "to 198.51.100.0/24", "pref 100", "fwmark 7", "lookup 100"])
        ),
    }
}

/// Nexthop objects and multipath routes, as far as the host allows: nothing brings them back once their link
/// has gone.
fn objects(world: &World) {
    for line in [
        "nexthop replace id 10 via 10.0.0.100 dev priv",
        "nexthop replace id 11 via 10.9.0.100 dev spare",
        "nexthop replace id 12 group 10/11",
        "route replace 192.0.2.0/24 nhid 12",
        "route replace 192.0.2.0/25 nhid 10",
        "route replace 192.0.2.128/25 nexthop via 10.0.0.100 nexthop via 10.9.0.100",
        "-6 route replace 2001:db8:9::/64 nexthop via fd00:6::100 nexthop via 2001:db8:1::100",
    ] {
        let mut ip = std::process::Command::new("ip");
        ip.args(line.split(' '));
        // Some of it may lack its gateway's network now.
        let _ = world.inside(|| crate::program::output(&mut ip)).expect("ip runs");
    }
}

#[test]
fn random_changes_do_what_was_predicted() {
    let wanted: usize = std::env::var("VIADUCT_THOUGHTS").ok().and_then(|n| n.parse().ok()).unwrap_or(300);
    let seed: u64 = std::env::var("VIADUCT_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let world = World::new();
    let read = || world.inside(|| netlink::read(1).map_err(std::io::Error::other)).expect("netlink").rib();
    let mut dice = Dice(seed);
    let (mut done, mut made, mut refused) = (Vec::new(), 0, 0);
    for number in 0..wanted {
        if number % 40 == 0 {
            objects(&world);
        }
        let words = change(&mut dice);
        let thought: Change = words.parse().unwrap_or_else(|e| panic!("{e}"));
        let mut host = read();
        let before = entries(&host.fib(1));
        let predicted = world.inside(|| Ok(thought.apply(&mut host, &OfThisHost))).expect("a thread");
        let mut ip = std::process::Command::new("ip");
        ip.args(words.split(' '));
        let output = world.inside(|| crate::program::output(&mut ip)).expect("ip runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let told = || {
            format!(
                "seed {seed}: `{words}`: {predicted:?}; the kernel: {said}\nbefore: {before:#?}\nafter {done:#?}"
            )
        };
        assert_eq!(predicted.is_ok(), output.status.success(), "{}", told());
        let expected = if predicted.is_ok() { entries(&host.fib(2)) } else { before.clone() };
        let state = settled(&read, &expected);
        let missing: Vec<_> = state.difference(&expected).collect();
        let wrong: Vec<_> = expected.difference(&state).collect();
        assert!(
            missing.is_empty() && wrong.is_empty(),
            "the kernel has {missing:#?}, predicted was {wrong:#?}\n{}",
            told()
        );
        *if predicted.is_ok() { &mut made } else { &mut refused } += 1;
        done.push(words);
    }
    println!("{made} changes made as predicted, {refused} refused by both");
    assert!(made * 3 > wanted, "{made} of {wanted} were made: the dice are poor");
}
