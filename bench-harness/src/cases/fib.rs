//! Routing tables as the Internet's, and lookups in them.

use std::hint::black_box;
use std::net::IpAddr;

use ipnet::IpNet;
use viaduct::fib::spec::{Link, Route};
use viaduct::fib::{Answer, Builder, Fib, Query};

use super::Case;
use crate::draw::{Random, inside, internet};

/// How destinations are drawn: from some neighbours by Zipf's law, or from the whole table.
pub const DRAWS: [&str; 2] = ["zipf", "random"];
/// Destinations that Zipf's law draws from.
const NEIGHBOURS: usize = 1024;
/// Destinations that are drawn at random before they come again; no cache holds what they touch.
const ANYWHERE: usize = 1 << 16;

/// Lookups with any source, rules and source selection included.
pub struct Lookup<'t> {
    fib: Table<'t>,
    destinations: Vec<IpAddr>,
    from: usize,
    calls: usize,
}

enum Table<'t> {
    Own(Box<Fib>),
    Lent(&'t Fib),
}

impl Lookup<'static> {
    /// By a draw and a number of routes, as in `zipf_1000`; `None`: that says neither.
    pub fn named(name: &str) -> Option<Self> {
        let (draw, routes) = name.split_once('_')?;
        let (draw, routes) = (DRAWS.into_iter().find(|known| *known == draw)?, routes.parse::<usize>().ok()?);
        let v6 = routes / 6;
        let mut random = Random(1);
        let nets = internet(routes - v6, v6, &mut random);
        let reached: Vec<&IpNet> = nets.iter().filter(|net| net.addr().is_ipv4()).collect();
        let destinations = destinations(draw, &reached, &mut random);
        Some(Self { fib: Table::Own(Box::new(table(&nets))), destinations, from: 0, calls: 0 })
    }
}

impl<'t> Lookup<'t> {
    /// In this table, to destinations drawn from its networks.
    pub fn over(fib: &'t Fib, draw: &str, nets: &[&IpNet], random: &mut Random) -> Self {
        Self { fib: Table::Lent(fib), destinations: destinations(draw, nets, random), from: 0, calls: 0 }
    }
}

impl Case for Lookup<'_> {
    fn prepare(&mut self, calls: usize) {
        self.from += self.calls;
        self.calls = calls;
    }

    fn run(&mut self) {
        let fib = match &self.fib {
            Table::Own(fib) => fib,
            Table::Lent(fib) => *fib,
        };
        let mask = self.destinations.len() - 1;
        for number in self.from..self.from + self.calls {
            let answer = fib.lookup(black_box(&Query::to(self.destinations[number & mask])));
            assert!(matches!(black_box(answer), Answer::Route(_)));
        }
    }
}

/// So many that a mask finds the next: a power of two.
fn destinations(draw: &str, nets: &[&IpNet], random: &mut Random) -> Vec<IpAddr> {
    let mut within = || inside(nets[random.below(nets.len())], random);
    if draw == "random" {
        return (0..ANYWHERE).map(|_| within()).collect();
    }
    let neighbours: Vec<IpAddr> = (0..NEIGHBOURS).map(|_| within()).collect();
    (0..ANYWHERE).map(|_| neighbours[random.zipf(NEIGHBOURS)]).collect()
}

/// A host with two upstreams; routes go by either.
pub fn table(nets: &[IpNet]) -> Fib {
    let gateway = |text: &str| Some(text.parse().expect("an address"));
    let mut host = Builder::host()
        .link(Link::up(2, "east"))
        .link(Link::up(3, "west"))
        .assign(2, "192.0.2.1/25".parse().expect("a network"))
        .assign(3, "192.0.2.129/25".parse().expect("a network"))
        .assign(2, "2001:db8:e::1/64".parse().expect("a network"))
        .assign(3, "2001:db8:f::1/64".parse().expect("a network"));
    for (number, net) in nets.iter().enumerate() {
        let (dev, v4, v6) = match number % 3 {
            0 => (2, "192.0.2.2", "2001:db8:e::2"),
            1 => (3, "192.0.2.130", "2001:db8:f::2"),
            _ => (3, "192.0.2.131", "2001:db8:f::3"),
        };
        host = host.route(Route::new(*net, dev, gateway(if net.addr().is_ipv4() { v4 } else { v6 })));
    }
    host.build()
}
