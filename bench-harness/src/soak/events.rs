//! Random events of links, addresses, routes, nexthop objects and rules.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::process::{Child, ChildStdin, Command, Stdio};

use ipnet::IpNet;

use crate::draw::{Random, inside};
use crate::follow::route;

/// Links that flap; the load does not use them.
pub const SPARES: usize = 4;
/// Nexthop objects of the spare links; two more lead to the sink.
const NEXTHOPS: usize = 16;
/// Rules that may be there at a time.
const RULES: usize = 32;
/// Changes of a burst.
pub const BURST: usize = 2_000;

/// The world's routing, and an `ip` that changes it line by line.
pub struct Events {
    child: Child,
    lines: ChildStdin,
    random: Random,
    /// Routes that the load's roaming calls may take.
    nets: Vec<IpNet>,
    /// Events made.
    pub made: u64,
    /// Bursts made.
    pub bursts: u64,
}

/// What the host has before any event.
pub fn prepare(nets: &[IpNet]) -> String {
    let mut lines = String::from("addr add 2001:db8:2::1/64 dev out nodad\n");
    for net in nets {
        lines.push_str(&route(net, false));
    }
    for spare in 0..SPARES {
        let _ = writeln!(lines, "link add spare{spare} type veth peer name far{spare}");
        let _ = writeln!(lines, "link set far{spare} up\nlink set spare{spare} up");
    }
    lines.push_str(&rest());
    lines.push_str("nexthop replace id 50 via 10.2.0.2 dev out\n");
    lines.push_str("nexthop replace id 51 via 2001:db8:2::2 dev out\n");
    lines
}

/// Addresses of the spare links at rest.
fn rest() -> String {
    (0..SPARES).fold(String::new(), |mut lines, spare| {
        let _ = writeln!(lines, "addr replace 10.9.{spare}.1/24 dev spare{spare}");
        let _ = writeln!(lines, "addr replace fd00:9:{spare}::1/64 dev spare{spare} nodad");
        lines
    })
}

impl Events {
    /// Begins with the routes that [`prepare`] made.
    pub fn start(nets: Vec<IpNet>, random: Random) -> io::Result<Self> {
        // The kernel refuses many of them, a deletion of what is not there for one: that is part of it.
        let mut child = Command::new("ip")
            .args(["-force", "-batch", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let lines = child.stdin.take().ok_or_else(|| io::Error::other("no pipe to ip"))?;
        Ok(Self { child, lines, random, nets, made: 0, bursts: 0 })
    }

    /// Makes so many events of any kind.
    pub fn make(&mut self, count: usize) -> io::Result<()> {
        let lines: String = (0..count).map(|_| self.event()).collect();
        self.made += count as u64;
        self.lines.write_all(lines.as_bytes())
    }

    /// Many changes of routes at once.
    pub fn burst(&mut self) -> io::Result<()> {
        let lines: String = (0..BURST).map(|_| self.table_route()).collect();
        self.made += BURST as u64;
        self.bursts += 1;
        self.lines.write_all(lines.as_bytes())
    }

    /// Brings links, addresses and rules back to rest, and waits until that is done.
    pub fn finish(mut self) -> io::Result<()> {
        let mut lines = String::new();
        for spare in 0..SPARES {
            let _ = writeln!(lines, "link set spare{spare} up\naddr flush dev spare{spare} scope global");
        }
        for pref in 0..RULES {
            let _ = writeln!(lines, "-4 rule del pref {0}\n-6 rule del pref {0}", 1000 + pref);
        }
        lines.push_str(&rest());
        self.lines.write_all(lines.as_bytes())?;
        drop(self.lines);
        // Its exit code tells of refused changes, of which there were many.
        self.child.wait().map(drop)
    }

    /// An address that some of the events concern.
    pub fn destination(&mut self) -> IpAddr {
        let v4: Vec<&IpNet> = self.nets.iter().take(FEW).filter(|net| net.addr().is_ipv4()).collect();
        let place = self.random.below(v4.len().max(1));
        v4.get(place).map_or(IpAddr::from([10, 2, 0, 2]), |net| inside(net, &mut self.random))
    }

    fn event(&mut self) -> String {
        const KINDS: [(u8, u64); 7] = [(0, 30), (1, 15), (2, 15), (3, 12), (4, 12), (5, 12), (6, 4)];
        match self.random.weighted(&KINDS) {
            0 => self.table_route(),
            1 => self.other_route(),
            2 => self.nexthop(),
            3 => self.rule(),
            4 | 5 => self.address(),
            _ => {
                let state = ["down", "up", "up"][self.random.below(3)];
                format!("link set spare{} {state}\n", self.random.below(SPARES))
            }
        }
    }

    /// Every fourth is one of few, which the roaming calls go to.
    fn net(&mut self) -> IpNet {
        let end = if self.random.below(4) == 0 { FEW.min(self.nets.len()) } else { self.nets.len() };
        self.nets[self.random.below(end)]
    }

    /// Routes by which calls may leave: whatever becomes of them leads to the sink, or nowhere at all.
    fn table_route(&mut self) -> String {
        let net = self.net();
        let gateway = route(&net, self.random.below(2) == 0);
        let with = |verb: &str| gateway.replacen("replace", verb, 1);
        let metric = 10 + self.random.below(4);
        match self.random.below(10) {
            0 => format!("route del {net}\n"),
            1 => with("append"),
            2 => format!("{} metric {metric}\n", with("add").trim_end()),
            3 => format!("route del {net} metric {metric}\n"),
            4 => {
                let kind = ["unreachable", "prohibit", "blackhole"][self.random.below(3)];
                format!("route replace {kind} {net}\n")
            }
            5 => format!("route replace {net} nhid {}\n", if net.addr().is_ipv4() { 50 } else { 51 }),
            _ => gateway,
        }
    }

    /// Routes by the spare links, in the main and in another table.
    fn other_route(&mut self) -> String {
        let (spare, number) = (self.random.below(SPARES), self.random.below(256));
        let verb = ["add", "replace", "append", "del"][self.random.below(4)];
        let table = ["", " table 100", " table 150"][self.random.below(3)];
        match self.random.below(4) {
            0 => format!("route {verb} 172.20.{number}.0/24 nhid {}{table}\n", 1 + number % NEXTHOPS),
            1 => format!("route {verb} fd00:{number:x}::/32 via fd00:9:{spare}::2 dev spare{spare}{table}\n"),
            _ => format!("route {verb} 172.20.{number}.0/24 via 10.9.{spare}.2 dev spare{spare}{table}\n"),
        }
    }

    fn nexthop(&mut self) -> String {
        let (id, spare) = (1 + self.random.below(NEXTHOPS), self.random.below(SPARES));
        match self.random.below(6) {
            0 => format!("nexthop del id {id}\n"),
            1 => format!("nexthop replace id {} group {id}/{}\n", 100 + id, 1 + self.random.below(NEXTHOPS)),
            2 => format!("nexthop del id {}\n", 100 + id),
            // The calls' own: gone for a moment with all their routes, and by another gateway.
            3 => {
                let gateway = 2 + self.random.below(2);
                format!("nexthop del id 50\nnexthop replace id 50 via 10.2.0.{gateway} dev out\n")
            }
            4 => {
                let gateway = 2 + self.random.below(2);
                format!("nexthop replace id 51 via 2001:db8:2::{gateway} dev out\n")
            }
            _ => format!("nexthop replace id {id} via 10.9.{spare}.2 dev spare{spare}\n"),
        }
    }

    /// One at most for each preference and family: a list of rules that only grows would soon be all the work.
    fn rule(&mut self) -> String {
        let (pref, number) = (1000 + self.random.below(RULES), self.random.below(256));
        let (family, what) = match self.random.below(7) {
            0 => ("-4", format!("from 172.20.{number}.0/24 lookup 100")),
            1 => ("-4", format!("to 172.20.{number}.0/24 prohibit")),
            2 => ("-4", format!("fwmark {} lookup 100", 1 + number)),
            // For all calls: its table holds no way for them.
            3 => ("-4", "from all lookup 150".to_owned()),
            4 => ("-6", format!("from fd00:{number:x}::/32 lookup 100")),
            5 => return format!("-6 rule del pref {pref}\n"),
            _ => return format!("-4 rule del pref {pref}\n"),
        };
        format!("{family} rule del pref {pref}\n{family} rule add pref {pref} {what}\n")
    }

    fn address(&mut self) -> String {
        let (spare, host) = (self.random.below(SPARES), 1 + self.random.below(8));
        let verb = ["add", "del"][self.random.below(2)];
        match self.random.below(3) {
            0 => format!("addr {verb} fd00:9:{spare}::{host}/64 dev spare{spare} nodad\n"),
            _ => format!("addr {verb} 10.9.{spare}.{host}/24 dev spare{spare}\n"),
        }
    }
}

/// So many routes carry calls and change more often than others.
const FEW: usize = 256;
