//! Builds a policy in a fresh namespace, and asks questions that matter to it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::time::{Duration, Instant};

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use viaduct::fib::{Fib, LOOPBACK, Query};

use crate::dice::Dice;
use crate::namespace::{fresh, ip, sysctl};
use crate::policy::{Act, Policy, RawRule};
use crate::program;

/// Builds the policy; gives the commands that the kernel refused.
pub fn build(policy: &Policy) -> Vec<String> {
    fresh();
    for family in ["all", "default"] {
        sysctl(&format!("ipv6.conf.{family}.accept_dad"), "0");
    }
    let commands = |starts: &[&str]| -> Vec<String> {
        let meant = |command: &&String| starts.iter().any(|start| command.starts_with(start));
        policy.commands.iter().filter(meant).cloned().collect()
    };
    let mut refused = ip("", &["link set lo up"]);
    refused.extend(ip("", &commands(&["link add"])));
    for (name, value) in &policy.sysctls {
        sysctl(name, value);
    }
    refused.extend(ip("", &commands(&["link set", "addr"])));
    refused.extend(ip("-6", &commands(&["-6"])));
    refused.extend(ip("-4", &commands(&["-4"])));
    policy.raw_rules.iter().for_each(add_rule);
    refused.extend(ip("", &policy.downs));
    settle(policy);
    refused
}

/// Does this, in this order; gives the `ip` commands that the kernel refused.
pub fn act(acts: &[Act]) -> Vec<String> {
    let family = |act: &Act| match act {
        Act::Ip(words) => ["-4", "-6"].into_iter().find(|family| words.starts_with(family)).or(Some("")),
        _ => None,
    };
    let mut refused = Vec::new();
    for some in acts.chunk_by(|a, b| family(a).is_some() && family(a) == family(b)) {
        let words: Vec<_> =
            some.iter().filter_map(|act| if let Act::Ip(words) = act { Some(words) } else { None }).collect();
        match &some[0] {
            Act::Rule(rule) => add_rule(rule),
            Act::Sysctl(name, value) => sysctl(name, value),
            act => refused.extend(ip(family(act).unwrap_or(""), &words)),
        }
    }
    refused
}

/// What the kernel does a moment later: it tells routing of a carrier that came or went, together with
/// the link's state, and it makes addresses usable that need no duplicate address detection.
fn settle(policy: &Policy) {
    let lines = |arguments: &[&str]| -> Vec<String> {
        let output = program::output(Command::new("ip").arg("-o").args(arguments)).expect("ip runs");
        String::from_utf8_lossy(&output.stdout).lines().map(String::from).collect()
    };
    let carrier_told = |line: &String| {
        line.contains("LOOPBACK")
            || (line.contains(" state UP ") == line.contains("LOWER_UP") && !line.contains(" state UNKNOWN "))
    };
    let stays_tentative = |line: &String| policy.tentative.iter().any(|link| line.contains(link.as_str()));
    let settled = || {
        lines(&["link"]).iter().all(carrier_told)
            && lines(&["-6", "addr", "show", "tentative"]).iter().all(stays_tentative)
    };
    let start = Instant::now();
    while !settled() {
        assert!(start.elapsed() < Duration::from_secs(10), "the links do not settle");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn add_rule(rule: &RawRule) {
    const TABLE: u16 = 15;
    const PRIORITY: u16 = 6;
    let family = if rule.v6 { libc::AF_INET6 } else { libc::AF_INET } as u8;
    let mut body = vec![family, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];
    let mut attribute = |kind: u16, value: &[u8]| {
        body.extend_from_slice(&(value.len() as u16 + 4).to_ne_bytes());
        body.extend_from_slice(&kind.to_ne_bytes());
        body.extend_from_slice(value);
        body.resize(body.len().next_multiple_of(4), 0);
    };
    attribute(TABLE, &rule.table.to_ne_bytes());
    attribute(PRIORITY, &rule.priority.to_ne_bytes());
    for (kind, value) in &rule.attributes {
        attribute(*kind, value);
    }
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK | libc::NLM_F_CREATE) as u16;
    let mut request = (body.len() as u32 + 16).to_ne_bytes().to_vec();
    request.extend_from_slice(&libc::RTM_NEWRULE.to_ne_bytes());
    request.extend_from_slice(&flags.to_ne_bytes());
    request.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0]);
    request.extend_from_slice(&body);
    let socket = Socket::new(NETLINK_ROUTE).expect("a netlink socket");
    let patience = Some(Duration::from_secs(5));
    socket2::SockRef::from(&socket).set_read_timeout(patience).expect("a timeout");
    socket.send_to(&request, &SocketAddr::new(0, 0), 0).expect("the rule is sent");
    // An older kernel refuses what it does not know; then the rule is not there, which is as well.
    socket.recv_from_full().expect("an answer");
}

/// The state of the namespace, for a failure's report.
pub fn describe(policy: &Policy, refused: &[String]) -> String {
    let mut text = String::from("built by:\n");
    for command in policy.commands.iter().chain(&policy.downs) {
        let mark = if refused.contains(command) { "  refused: ip " } else { "  ip " };
        text.push_str(&format!("{mark}{command}\n"));
    }
    text.push_str(&format!("sysctls: {:?}\n", policy.sysctls));
    for arguments in [
        "addr",
        "-4 rule",
        "-6 rule",
        "nexthop",
        "-6 neigh",
        "-4 route show table all",
        "-6 route show table all",
    ] {
        let output = program::output(Command::new("ip").args(arguments.split(' ')));
        let shown = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        text.push_str(&format!("$ ip {arguments}\n{}", shown.unwrap_or_default()));
    }
    text
}

/// A question that the policy may have an opinion on.
pub fn question(dice: &mut Dice, policy: &Policy, fib: &Fib) -> Query {
    let v6 = dice.percent(50);
    let dst = destination(dice, policy, v6);
    let v6 = dst.is_ipv6();
    let oif = if dice.percent(25) {
        let devices: Vec<u32> = policy.links.iter().filter_map(|name| fib.link_index(name)).collect();
        if devices.is_empty() { LOOPBACK } else { *dice.pick(&devices) }
    } else {
        0
    };
    Query {
        src: source(dice, policy, fib, v6, oif),
        mark: *dice.pick(&[0, 0, 0, 1, 2, 7, 0x107]),
        oif,
        protocol: *dice.pick(&[17, 17, 6]),
        sport: *dice.pick(&[0, 5060, 5060, 1500]),
        dport: *dice.pick(&[0, 5060, 5060, 5070]),
        flow: dice.bits(),
        ..Query::to(dst)
    }
}

fn destination(dice: &mut Dice, policy: &Policy, v6: bool) -> IpAddr {
    let mut pool: Vec<IpAddr> =
        policy.targets.iter().copied().filter(|target| target.is_ipv6() == v6).collect();
    let net = dice.below(5) as u8;
    let host = *dice.pick(&[0_u8, 1, 2, 7, 77, 201, 255]);
    pool.push(if v6 {
        Ipv6Addr::new(0x2001, 0xdb8, net.into(), 0, 0, 0, 0, host.into()).into()
    } else {
        Ipv4Addr::new(10, net, dice.below(2) as u8, host).into()
    });
    match dice.below(20) {
        0 => *dice.pick(if policy.own.is_empty() { &pool } else { &policy.own }),
        1 if v6 => Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x99).into(),
        1 => Ipv4Addr::BROADCAST.into(),
        2 if v6 => Ipv6Addr::new(0xff0e, 0, 0, 0, 0, 0, 0, 0x99).into(),
        2 => (*dice.pick(&[Ipv4Addr::new(224, 0, 0, 5), Ipv4Addr::new(239, 1, 1, 1)])).into(),
        3 if v6 => Ipv6Addr::new(0xfd00, 0, net.into(), 0, 0, 0, 0, 9).into(),
        3 => Ipv4Addr::new(127, 0, 0, *dice.pick(&[1, 7])).into(),
        4 if v6 => Ipv6Addr::new(0x2600, 0, 0, 0, 0, 0, 0, 1).into(),
        4 => Ipv4Addr::new(8, 8, 8, 8).into(),
        _ => *dice.pick(&pool),
    }
}

fn source(dice: &mut Dice, policy: &Policy, fib: &Fib, v6: bool, oif: u32) -> Option<IpAddr> {
    let link_local = |(address, dev): &(IpAddr, u32)| {
        matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local()) && *dev == oif
    };
    match dice.below(20) {
        0..=8 => None,
        9 if v6 => Some(Ipv6Addr::new(0x2001, 0xdb8, 0x99, 0, 0, 0, 0, 1).into()),
        9 => Some(Ipv4Addr::new(198, 51, 100, 99).into()),
        10 if v6 && oif != 0 => fib.addresses().find(link_local).map(|(address, _)| address),
        _ => {
            let own: Vec<IpAddr> = policy.own.iter().copied().filter(|own| own.is_ipv6() == v6).collect();
            if own.is_empty() { None } else { Some(*dice.pick(&own)) }
        }
    }
}
