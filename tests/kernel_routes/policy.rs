//! Random routing policies, as `ip` commands.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::dice::Dice;

/// A policy and what is worth asking of it.
#[derive(Default)]
pub struct Policy {
    pub links: Vec<String>,
    /// Before the commands.
    pub sysctls: Vec<(String, String)>,
    /// Run in this order: links, addresses, IPv6, IPv4.
    pub commands: Vec<String>,
    /// Run last.
    pub downs: Vec<String>,
    /// Attributes that this `ip` may not know: (IPv6, priority, table, [(type, value)]).
    pub raw_rules: Vec<RawRule>,
    pub own: Vec<IpAddr>,
    /// Those of `own` that are for the link only.
    pub link_scope: Vec<IpAddr>,
    /// Links whose duplicate address detection outlasts the test.
    pub tentative: Vec<String>,
    /// Nexthop objects: id, and whether it is one of IPv6.
    pub objects: Vec<(u32, bool)>,
    /// Prefixes of routes by nexthop objects.
    pub object_prefixes: Vec<IpNet>,
    /// Of IPv6 routes with a source prefix whose change the kernel has refused.
    pub lost_subtrees: Vec<IpNet>,
    pub targets: Vec<IpAddr>,
}

/// One thing that is done to the kernel.
pub enum Act {
    /// `ip` with these words, after `-4` or `-6` if they name one.
    Ip(String),
    /// A rule by hand.
    Rule(RawRule),
    /// A sysctl's name and value.
    Sysctl(String, String),
}

impl From<String> for Act {
    fn from(words: String) -> Self {
        Self::Ip(words)
    }
}

impl std::fmt::Display for Act {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ip(words) => write!(f, "ip {words}"),
            Self::Rule(rule) => write!(f, "by hand: {rule:?}"),
            Self::Sysctl(name, value) => write!(f, "sysctl {name}={value}"),
        }
    }
}

#[derive(Debug)]
pub struct RawRule {
    pub v6: bool,
    pub priority: u32,
    pub table: u32,
    pub attributes: Vec<(u16, Vec<u8>)>,
}

pub const TABLES: [u32; 6] = [100, 101, 102, 103, 253, 254];

/// A random policy.
pub fn random(dice: &mut Dice) -> Policy {
    let mut policy = Policy::default();
    if dice.percent(30) {
        policy.sysctls.push(("ipv6.conf.all.forwarding".into(), "1".into()));
    }
    if dice.percent(15) {
        policy.sysctls.push(("ipv4.nexthop_compat_mode".into(), "0".into()));
    }
    if dice.percent(15) {
        policy.sysctls.push(("ipv6.route.skip_notify_on_dev_down".into(), "1".into()));
    }
    let links = 2 + dice.below(3);
    for number in 0..links {
        link(dice, &mut policy, number);
    }
    for _ in 0..dice.below(3) {
        let address = if dice.percent(50) {
            IpAddr::from(Ipv4Addr::new(192, 0, 2, dice.below(4) as u8 + 1))
        } else {
            IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, dice.below(4) as u16 + 1))
        };
        policy.commands.push(format!("addr add {address} dev lo"));
        policy.own.push(address);
    }
    if dice.percent(60) {
        nexthops(dice, &mut policy);
    }
    for v6 in [false, true] {
        if dice.percent(70) {
            let (address, dev) = gateway(dice, &policy, v6);
            let family = if v6 { "-6" } else { "-4" };
            policy
                .commands
                .push(format!("{family} route add default via {address} dev {dev} onlink metric 50"));
        }
    }
    for _ in 0..8 + dice.below(16) {
        let v6 = dice.percent(50);
        let command = route(dice, &mut policy, v6);
        policy.commands.push(command);
    }
    if dice.percent(75) {
        for _ in 0..1 + dice.below(8) {
            match rule(dice, &policy) {
                Act::Rule(rule) => policy.raw_rules.push(rule),
                Act::Ip(command) => policy.commands.push(command),
                Act::Sysctl(..) => unreachable!("a rule is none"),
            }
        }
    }
    if dice.percent(10) {
        // A policy-routed host: whatever no other rule leads to has no route.
        let family = if dice.percent(50) { "-4" } else { "-6" };
        // IPv6 obeys its boot rules, deleted or not, until the first rule is added.
        policy.commands.push(format!("{family} rule add pref 32000 nop"));
        policy.commands.push(format!("{family} rule del pref 32766"));
    }
    for number in 0..links {
        match dice.below(10) {
            0 => policy.downs.push(format!("link set v{number} down")),
            1 | 2 => policy.downs.push(format!("link set p{number} down")),
            _ => {}
        }
    }
    policy
}

/// A host with a table per source address and no route in table main.
pub fn policy_routed_host() -> Policy {
    let mut policy = Policy { links: vec!["v0".into(), "v1".into()], ..Policy::default() };
    for (number, net) in [(0, 1), (1, 2)] {
        for command in [
            format!("link add v{number} type veth peer name p{number}"),
            format!("link set p{number} up"),
            format!("link set v{number} up"),
            format!("addr add 10.{net}.0.1/24 dev v{number} noprefixroute"),
            format!("addr add 2001:db8:{net}::1/64 dev v{number} nodad noprefixroute"),
            format!("-4 rule add pref 10{net} from 10.{net}.0.1 lookup 10{net}"),
            format!("-6 rule add pref 10{net} from 2001:db8:{net}::1 lookup 10{net}"),
            format!("-4 route add 10.{net}.0.0/24 dev v{number} table 10{net}"),
            format!("-4 route add default via 10.{net}.0.254 dev v{number} table 10{net}"),
            format!("-6 route add 2001:db8:{net}::/64 dev v{number} table 10{net}"),
            format!("-6 route add default via 2001:db8:{net}::fe dev v{number} table 10{net}"),
        ] {
            policy.commands.push(command);
        }
        policy.own.push(Ipv4Addr::new(10, net, 0, 1).into());
        policy.own.push(Ipv6Addr::new(0x2001, 0xdb8, net.into(), 0, 0, 0, 0, 1).into());
    }
    policy.targets =
        ["198.51.100.1", "10.1.0.7", "10.2.0.7", "2001:db8:77::1", "2001:db8:1::7", "2001:db8:2::7"]
            .map(|text| text.parse().expect("an address"))
            .into();
    policy
}

fn link(dice: &mut Dice, policy: &mut Policy, number: usize) {
    let name = format!("v{number}");
    policy.commands.push(format!("link add {name} type veth peer name p{number}"));
    policy.commands.push(format!("link set p{number} addrgenmode none up"));
    if dice.percent(30) {
        policy.commands.push(format!("link set {name} group {}", 5 + dice.below(2)));
    }
    policy.commands.push(format!("link set {name} up"));
    let conf = [
        (20, "ipv4", "ignore_routes_with_linkdown", "1"),
        (20, "ipv6", "ignore_routes_with_linkdown", "1"),
        (5, "ipv4", "route_localnet", "1"),
        (5, "ipv6", "use_oif_addrs_only", "1"),
        (10, "ipv6", "use_tempaddr", "2"),
        (10, "ipv6", "optimistic_dad", "1"),
        (10, "ipv6", "use_optimistic", "1"),
    ];
    for (chance, family, key, value) in conf {
        if dice.percent(chance) {
            policy.sysctls.push((format!("{family}.conf.{name}.{key}"), value.into()));
        }
    }
    if dice.percent(15) {
        for (key, value) in [("accept_dad", "1"), ("dad_transmits", "100")] {
            policy.sysctls.push((format!("ipv6.conf.{name}.{key}"), value.into()));
        }
        policy.tentative.push(name.clone());
    }
    let net = number as u8 + 1;
    for _ in 0..dice.below(4) {
        let host = dice.below(6) as u8 + 1;
        let (address, command) = match dice.below(10) {
            0 => {
                let own = Ipv4Addr::new(10, 100, net, host);
                (own, format!("addr add {own} peer 10.100.{net}.{} dev {name}", host + 20))
            }
            1 => {
                let own = Ipv4Addr::new(10, net, 9, host);
                (own, format!("addr add {own}/24 dev {name} scope link"))
            }
            2 => {
                let own = Ipv4Addr::new(10, net, 8, host);
                (own, format!("addr add {own}/32 dev {name}"))
            }
            3 => {
                let own = Ipv4Addr::new(169, 254, net, host);
                (own, format!("addr add {own}/16 dev {name} scope link"))
            }
            _ => {
                let own = Ipv4Addr::new(10, net, dice.below(2) as u8, host);
                (own, format!("addr add {own}/24 brd + dev {name}"))
            }
        };
        if command.contains("scope link") {
            policy.link_scope.push(address.into());
        }
        policy.commands.push(command);
        policy.own.push(address.into());
    }
    for _ in 0..dice.below(4) {
        let host = dice.below(6) as u16 + 1;
        let prefix =
            *dice.pick(&[[0x2001, 0xdb8], [0x2001, 0xdb8], [0xfd00, 0], [0x2002, 0xa00], [0xfec0, 0]]);
        let own = Ipv6Addr::new(prefix[0], prefix[1], net.into(), 0, 0, 0, 0, host);
        let flags = match dice.below(12) {
            0 => "nodad preferred_lft 0",
            1 => "optimistic",
            2 => "nodad mngtmpaddr",
            3 => "",
            4 => "nodad noprefixroute",
            _ => "nodad",
        };
        policy
            .commands
            .push(format!("addr add {own}/{} dev {name} {flags}", dice.pick(&[64, 64, 64, 48, 128])));
        policy.own.push(own.into());
    }
    policy.links.push(name);
}

/// A neighbour on the network of some link.
pub fn gateway(dice: &mut Dice, policy: &Policy, v6: bool) -> (IpAddr, String) {
    let number = dice.below(policy.links.len());
    let (net, host) = (number as u8 + 1, 200 + dice.below(4) as u8);
    let address: IpAddr = if v6 {
        match dice.below(4) {
            0 => Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, host.into()).into(),
            _ => Ipv6Addr::new(0x2001, 0xdb8, net.into(), 0, 0, 0, 0, host.into()).into(),
        }
    } else {
        Ipv4Addr::new(10, net, dice.below(2) as u8, host).into()
    };
    (address, policy.links[number].clone())
}

fn nexthops(dice: &mut Dice, policy: &mut Policy) {
    let mut members = [Vec::new(), Vec::new()];
    for id in 1..=4 + dice.below(4) as u32 {
        let v6 = id % 2 == 0;
        let command = nexthop(dice, policy, v6, &format!("add id {id}"));
        // The kernel wants no blackhole in a group.
        if !command.ends_with("blackhole") {
            members[usize::from(v6)].push(format!("{id},{}", 1 + dice.below(5)));
        }
        policy.commands.push(command);
        policy.objects.push((id, v6));
    }
    for v6 in [false, true] {
        let members = &members[usize::from(v6)];
        if members.len() > 1 {
            let id = if v6 { 52 } else { 51 };
            let family = if v6 { "-6" } else { "-4" };
            policy.commands.push(format!("{family} nexthop add id {id} group {}", members.join("/")));
            policy.objects.push((id, v6));
        }
    }
}

/// A nexthop object of one path, or a blackhole; `what` is done to which id.
pub fn nexthop(dice: &mut Dice, policy: &Policy, v6: bool, what: &str) -> String {
    let (address, dev) = gateway(dice, policy, v6);
    let family = if v6 { "-6" } else { "-4" };
    match dice.below(8) {
        0 => format!("{family} nexthop {what} blackhole"),
        1 => format!("{family} nexthop {what} dev {dev}"),
        _ => format!("{family} nexthop {what} via {address} dev {dev} onlink"),
    }
}

/// A destination prefix out of a space small enough for prefixes to nest.
pub fn destination(dice: &mut Dice, policy: &mut Policy, v6: bool) -> String {
    if v6 {
        let len = *dice.pick(&[0_u8, 32, 48, 48, 56, 64, 64, 128]);
        let address = Ipv6Addr::new(
            0x2001,
            0xdb8,
            dice.below(8) as u16,
            *dice.pick(&[0, 0, 0x100]),
            0,
            0,
            0,
            *dice.pick(&[7, 77]),
        );
        policy.targets.push(address.into());
        return ipnet::Ipv6Net::new(address, len).expect("a prefix length").trunc().to_string();
    }
    let len = *dice.pick(&[0_u8, 0, 8, 12, 16, 16, 20, 24, 24, 28, 32]);
    let first = *dice.pick(&[10_u8, 10, 10, 198, 127]);
    let address = Ipv4Addr::new(first, dice.below(8) as u8, dice.below(2) as u8, *dice.pick(&[7, 77]));
    policy.targets.push(address.into());
    ipnet::Ipv4Net::new(address, len).expect("a prefix length").trunc().to_string()
}

pub fn route(dice: &mut Dice, policy: &mut Policy, v6: bool) -> String {
    let family = if v6 { "-6" } else { "-4" };
    let verb = *dice.pick(&["add", "add", "append", "prepend", "replace"]);
    let to = destination(dice, policy, v6);
    let kind = match dice.below(16) {
        0 => "blackhole ",
        1 => "unreachable ",
        2 => "prohibit ",
        3 => "throw ",
        4 if v6 => "anycast ",
        4 => "broadcast ",
        5 => "local ",
        _ => "",
    };
    let prefix: IpNet = to.parse().expect("a prefix");
    let mut command = format!("{family} route {verb} {kind}{to}");
    match kind {
        "blackhole " | "unreachable " | "prohibit " | "throw " => {}
        "" => path(dice, policy, v6, &mut command),
        _ => command.push_str(&format!(" dev {}", dice.pick(&policy.links))),
    }
    if command.contains("nhid") {
        policy.object_prefixes.push(prefix);
    }
    if kind == "local " && dice.percent(60) {
        command.push_str(" table local");
    } else {
        command.push_str(&format!(" table {}", dice.pick(&TABLES)));
    }
    if dice.percent(40) {
        command.push_str(&format!(" metric {}", dice.pick(&[0, 10, 20, 256, 1024])));
    }
    if dice.percent(25)
        && let Some(source) = own(dice, policy, v6)
    {
        command.push_str(&format!(" src {source}"));
    }
    if !v6 && dice.percent(5) {
        command.push_str(" tos 0x10");
    }
    if v6 && kind.is_empty() && dice.percent(15) {
        command.push_str(&format!(" pref {}", dice.pick(&["low", "high", "medium"])));
    }
    if v6 && dice.percent(8) {
        command.push_str(&format!(" from 2001:db8:{}::/{}", dice.below(4), dice.pick(&[32, 48, 64])));
    }
    command
}

fn path(dice: &mut Dice, policy: &Policy, v6: bool, command: &mut String) {
    let usable: Vec<u32> =
        policy.objects.iter().filter(|(_, family)| *family == v6 || !v6).map(|(id, _)| *id).collect();
    match dice.below(10) {
        0..=2 => command.push_str(&format!(" dev {}", dice.pick(&policy.links))),
        3 | 4 if !usable.is_empty() => command.push_str(&format!(" nhid {}", dice.pick(&usable))),
        5 | 6 => {
            for _ in 0..2 + dice.below(2) {
                let (address, dev) = gateway(dice, policy, v6);
                let weight = 1 + dice.below(4);
                command.push_str(&format!(" nexthop via {address} dev {dev} weight {weight} onlink"));
            }
        }
        7 if !v6 => {
            let (address, dev) = gateway(dice, policy, true);
            command.push_str(&format!(" via inet6 {address} dev {dev} onlink"));
        }
        _ => {
            let (address, dev) = gateway(dice, policy, v6);
            command.push_str(&format!(" via {address} dev {dev} onlink"));
        }
    }
}

fn own(dice: &mut Dice, policy: &Policy, v6: bool) -> Option<IpAddr> {
    let own: Vec<IpAddr> = policy.own.iter().copied().filter(|own| own.is_ipv6() == v6).collect();
    if own.is_empty() { None } else { Some(*dice.pick(&own)) }
}

pub fn rule(dice: &mut Dice, policy: &Policy) -> Act {
    let v6 = dice.percent(50);
    let family = if v6 { "-6" } else { "-4" };
    let priority = 100 + dice.below(40) * 10;
    if dice.percent(8) {
        return Act::Rule(raw_rule(dice, v6, priority as u32));
    }
    let mut command = format!("{family} rule add pref {priority}");
    if dice.percent(10) {
        command.push_str(" not");
    }
    if dice.percent(40) {
        let source = own(dice, policy, v6).unwrap_or(if v6 {
            Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 1).into()
        } else {
            Ipv4Addr::new(10, 9, 9, 9).into()
        });
        let len = if v6 { *dice.pick(&[128, 64, 32]) } else { *dice.pick(&[32, 24, 8, 0]) };
        command.push_str(&format!(" from {source}/{len}"));
    }
    if dice.percent(25)
        && let Some(target) = policy.targets.iter().find(|target| target.is_ipv6() == v6)
    {
        command.push_str(&format!(" to {target}/{}", if v6 { 48 } else { 16 }));
    }
    let selectors = [
        (25, format!("fwmark {}", dice.pick(&["1", "2", "0x7/0xff", "0x0/0x1"]))),
        (15, format!("oif {}", dice.pick(&policy.links))),
        (5, "oif absent0".to_owned()),
        (10, format!("iif {}", dice.pick(&["lo", "v0", "absent0"]))),
        (10, format!("ipproto {}", dice.pick(&["udp", "tcp"]))),
        (10, format!("sport {}", dice.pick(&["5060", "1000-6000"]))),
        (10, format!("dport {}", dice.pick(&["5060", "5000-5070", "1"]))),
        (8, format!("uidrange {}", dice.pick(&["0-0", "1-1000", "0-65535"]))),
        (5, "tos 0x10".to_owned()),
        (3, "tun_id 5".to_owned()),
    ];
    for (chance, selector) in selectors {
        if dice.percent(chance) {
            command.push(' ');
            command.push_str(&selector);
        }
    }
    match dice.below(14) {
        0 => command.push_str(&format!(" goto {}", priority + 10 * (1 + dice.below(5)))),
        1 => command.push_str(" nop"),
        2 => command.push_str([" blackhole", " unreachable", " prohibit"][dice.below(3)]),
        3 => command.push_str(&format!(" lookup main suppress_prefixlength {}", dice.pick(&[0, 8, 24]))),
        4 => command.push_str(&format!(" lookup main suppress_ifgroup {}", 5 + dice.below(2))),
        5 => command.push_str(" l3mdev"),
        6 => command.push_str(" lookup 199"),
        _ => command.push_str(&format!(" lookup {}", dice.pick(&TABLES))),
    }
    Act::Ip(command)
}

/// DSCP, flow label and port masks are younger than many an `ip`.
fn raw_rule(dice: &mut Dice, v6: bool, priority: u32) -> RawRule {
    const DPORT_RANGE: u16 = 24;
    const DSCP: u16 = 25;
    const FLOW_LABEL: u16 = 26;
    const FLOW_LABEL_MASK: u16 = 27;
    const DPORT_MASK: u16 = 29;
    let port = |first: u16, last: u16| [first.to_ne_bytes(), last.to_ne_bytes()].concat();
    let attributes = match dice.below(3) {
        0 => vec![(DSCP, vec![*dice.pick(&[0, 46])])],
        1 if v6 => {
            let label: u32 = *dice.pick(&[0, 5]);
            vec![
                (FLOW_LABEL, label.to_be_bytes().to_vec()),
                (FLOW_LABEL_MASK, 0xf_u32.to_be_bytes().to_vec()),
            ]
        }
        _ => vec![(DPORT_RANGE, port(5060, 5060)), (DPORT_MASK, 0xfff0_u16.to_ne_bytes().to_vec())],
    };
    RawRule { v6, priority, table: *dice.pick(&TABLES), attributes }
}
