//! The simulated world: a forwarder on four networks, user agents around it, a route that flips.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use viaduct::cli::demo::ua::{Agent, Finished, Role, Script};
use viaduct::config;
use viaduct::engine::SocketId;
use viaduct::engine::sim::{Endpoint, Faults, Hop, HostId, Outbox, World};
use viaduct::fib::spec::{Link, Route};
use viaduct::fib::{Answer, Builder, Fib, Query};
use viaduct::group::Roster;
use viaduct::metrics::{SeriesId, ShardMetrics};
use viaduct::net::Now;
use viaduct::plan::Plan;
use viaduct::random::Random;
use viaduct::shard::{
    Bindings, Bound, Post, Publication, Published, Questions, Records, Setup, SocketTable, Worker,
};
use viaduct::snapshot::Snapshot;
use viaduct::token::Keys;

use super::coats::Trust;

pub const MS: u64 = 1_000_000;
/// Calls are placed in the first two seconds; the rest is for retransmissions to end.
const PLACING_MS: u64 = 2_000;
const END_MS: u64 = 45_000;
const CALLS: u64 = 24;

const CONFIGURATION: &str = r#"
[[listener]]
name = "public"
bind = "udp:203.0.113.1:5060"
tcp = false
[[listener]]
name = "private"
bind = "udp:10.0.0.1:5060"
tcp = false
[[listener]]
name = "backup"
bind = "udp:10.0.1.1:5060"
tcp = false
[[listener]]
name = "six"
bind = "udp:[fd00::1]:5060"
tcp = false
[[route]]
name = "service"
when = { ruri_user = '^\*33[0-9]+$' }
to = "sip:10.9.9.9:5060"
mode = "stateless"
[[route]]
name = "refused"
when = { ruri_user = '^nobody$' }
reject = 403
[[route]]
name = "all"
to = "request-uri"
mode = "stateless"
"#;

/// Several next hops, where transactions are kept: one after the other, all at a time, and the gateways of a group.
const SEVERAL: &str = r#"
[[group]]
name = "pool"
gateways = [{ to = "sip:10.0.0.10:5060" }, { to = "sip:[fd00::10]:5060" }, { to = "sip:10.9.9.9:5060" }]
[[route]]
name = "pooled"
when = { ruri_user = '^pooled[0-9]+$' }
to = "group:pool"
timeout = "3s"
[[route]]
name = "spread"
when = { ruri_user = '^spread[0-9]+$' }
to = ["sip:10.0.0.10:5060", "sip:[fd00::10]:5060", "sip:10.9.9.9:5060"]
timeout = "3s"
[[route]]
name = "forked"
when = { ruri_user = '^forked[0-9]+$' }
to = ["sip:10.0.0.10:5060", "sip:[fd00::10]:5060", "sip:10.9.9.9:5060"]
fork = true
"#;

/// Listeners for connections, at ports of their own: a simulated socket takes either kind.
const CONNECTIONS: &str = r#"
[[listener]]
name = "public-tcp"
bind = "tcp:203.0.113.1:5070"
[[listener]]
name = "private-tcp"
bind = "tcp:10.0.0.1:5070"
[[listener]]
name = "six-tcp"
bind = "tcp:[fd00::1]:5070"
"#;

/// The same over TLS and WebSocket, each network's.
const LAYERS: [(&str, &str); 3] = [("public", "203.0.113.1"), ("private", "10.0.0.1"), ("six", "[fd00::1]")];

fn layers() -> String {
    let folder = trust().folder().display();
    let files =
        format!("certificate = \"{folder}/own.crt\"\nkey = \"{folder}/own.key\"\nca = \"{folder}/ca.pem\"\n");
    let listener = |(net, address): &(&str, &str)| {
        [("tls", 5071, &*files), ("ws", 5080, ""), ("wss", 5081, &*files)]
            .map(|(transport, port, files)| {
                format!("[[listener]]\nname = \"{net}-{transport}\"\nbind = \"{transport}:{address}:{port}\"\n{files}")
            })
            .concat()
    };
    LAYERS.iter().map(listener).collect()
}

/// Of all ends of all connections.
pub fn trust() -> &'static Trust {
    Trust::of(&["203.0.113.1", "203.0.113.10", "10.0.0.1", "10.0.0.10", "fd00::1", "fd00::10"])
}

/// Public, private, IPv6 host, and the service that is reached by either private link.
const AGENTS: [&str; 4] = ["203.0.113.10:5060", "10.0.0.10:5060", "[fd00::10]:5060", "10.9.9.9:5060"];
/// The forwarder's listener that each of them sends to.
const PROXIES: [&str; 4] = ["203.0.113.1:5060", "10.0.0.1:5060", "[fd00::1]:5060", "10.0.0.1:5060"];

/// The address of an agent.
pub fn address(agent: usize) -> SocketAddr {
    AGENTS[agent].parse().expect("an address")
}

fn fib(generation: u64, service_by_backup: bool) -> Fib {
    let (dev, gateway) = if service_by_backup { (4, "10.0.1.10") } else { (3, "10.0.0.10") };
    Builder::host()
        .generation(generation)
        .link(Link::up(2, "eth0"))
        .link(Link::up(3, "eth1"))
        .link(Link::up(4, "eth2"))
        .link(Link::up(5, "eth3"))
        .assign(2, "203.0.113.1/24".parse().unwrap())
        .assign(3, "10.0.0.1/24".parse().unwrap())
        .assign(4, "10.0.1.1/24".parse().unwrap())
        .assign(5, "fd00::1/64".parse().unwrap())
        .route(Route::new("10.9.9.9/32".parse().unwrap(), dev, Some(gateway.parse().unwrap())))
        .build()
}

/// A user agent as an endpoint: the demo's, with virtual instants.
pub struct UserAgent {
    agent: Agent,
    own: SocketAddr,
    epoch: Instant,
    /// Calls to place: when, which, to whom.
    plan: Vec<(u64, Script, String)>,
    proxy: SocketAddr,
    pub finished: Vec<Finished>,
}

impl UserAgent {
    fn at(&self, now: Now) -> Instant {
        self.epoch + Duration::from_nanos(now.0)
    }

    fn flush(&mut self, out: &mut Outbox) {
        for send in self.agent.take_sends() {
            out.send(self.own, send.to, send.text);
        }
        self.finished.extend(self.agent.take_finished());
    }
}

impl Endpoint for UserAgent {
    fn on_datagram(&mut self, out: &mut Outbox, _: SocketAddr, from: SocketAddr, bytes: &[u8], now: Now) {
        let at = self.at(now);
        self.agent.receive(bytes, 0, from, at);
        self.flush(out);
    }

    fn on_timer(&mut self, out: &mut Outbox, now: Now) {
        let at = self.at(now);
        while self.plan.last().is_some_and(|(when, ..)| *when <= now.0) {
            if let Some((_, script, uri)) = self.plan.pop() {
                self.agent.place(script, &uri, 0, self.proxy, at);
            }
        }
        self.agent.tick(at);
        self.flush(out);
        out.wake_at(now.plus_ns(20 * MS));
    }
}

/// How the forwarder forwards.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Forwarder {
    /// One shard, no transactions.
    Stateless,
    /// So many shards that keep transactions.
    Stateful(usize),
    /// The same, and they take connections.
    Streams(usize),
    /// The same, and connections over TLS and WebSocket.
    Layers(usize),
}

impl Forwarder {
    fn shards(self) -> usize {
        match self {
            Self::Stateless => 1,
            Self::Stateful(shards) | Self::Streams(shards) | Self::Layers(shards) => shards,
        }
    }

    fn configuration(self) -> String {
        let stateful = CONFIGURATION.replace("stateless", "stateful");
        match self {
            Self::Stateless => CONFIGURATION.to_owned(),
            Self::Stateful(_) => SEVERAL.to_owned() + &stateful,
            Self::Streams(_) => CONNECTIONS.to_owned() + &stateful,
            Self::Layers(_) => CONNECTIONS.to_owned() + &layers() + &stateful,
        }
    }
}

/// One seed's world.
pub struct Simulation<E = UserAgent> {
    pub world: World<'static, Worker<SocketAddr>, E>,
    /// By shard; these are the first hosts.
    pub metrics: Vec<Arc<ShardMetrics>>,
    pub plan: Arc<Plan>,
    /// How the gateways do, whatever is published; one failure puts one down, and nobody looks after them.
    pub roster: Arc<Roster>,
    agents: Vec<HostId>,
    published: Published<SocketAddr>,
    keys: Arc<Keys>,
    routing: Rc<RefCell<Arc<Fib>>>,
    /// When the service's route changes, and to which link.
    flips: Vec<(u64, bool)>,
    generation: u64,
}

impl Simulation {
    pub fn new(seed: u64, faults: Faults, forwarder: Forwarder) -> Self {
        let epoch = Instant::now();
        let mut simulation = Self::with(seed, faults, forwarder, |own, proxy| UserAgent {
            agent: Agent::new(own),
            own,
            epoch,
            plan: Vec::new(),
            proxy,
            finished: Vec::new(),
        });
        for (number, plan) in call_plans(&mut Random::new(seed)).into_iter().enumerate() {
            simulation.agent(number).plan = plan;
        }
        simulation
    }

    /// Calls placed, and those that went as the script says on the caller's side.
    pub fn calls(&mut self) -> (usize, usize) {
        let good = self.finished().filter(|f| f.call_id.starts_with("sim") && f.failure.is_none()).count();
        (CALLS as usize, good)
    }

    fn finished(&mut self) -> impl Iterator<Item = Finished> {
        let mut all = Vec::new();
        for &host in &self.agents {
            if let Some(agent) = self.world.endpoint(host) {
                // A callee's own view of the call has no set-up time.
                all.extend(agent.finished.iter().filter(|f| f.setup.is_some()).cloned());
            }
        }
        all.into_iter()
    }

    pub fn failures(&mut self) -> String {
        let failed = self.finished().filter(|f| f.failure.is_some());
        failed.map(|f| format!("{f:?}\n")).collect()
    }

    pub fn run(&mut self) {
        self.run_until(END_MS);
    }
}

impl<E: Endpoint> Simulation<E> {
    /// With an agent of this making at each of [`AGENTS`]: its address, and the listener that it sends to.
    pub fn with(
        seed: u64,
        faults: Faults,
        forwarder: Forwarder,
        make: impl Fn(SocketAddr, SocketAddr) -> E,
    ) -> Self {
        let mut dice = Random::new(seed ^ 0x5eed);
        let first = Arc::new(fib(1, false));
        let loaded = config::from_str("simulation", &forwarder.configuration(), &first);
        let plan = Arc::new(loaded.unwrap_or_else(|f| panic!("{f}")).plan);
        let keys = Arc::new(Keys::from_secret(b"a key for tests."));
        let roster = Arc::new(Roster::unwatched(plan.groups.iter().map(|group| group.gateways.len())));
        let shards = forwarder.shards();
        let published =
            Arc::new(ArcSwap::from_pointee(publication(1, shards, &plan, &first, &keys, &roster)));
        let routing = Rc::new(RefCell::new(first));
        let paths = {
            let routing = Rc::clone(&routing);
            move |host: HostId, from: SocketAddr, to: SocketAddr| {
                if host >= shards { Some(1) } else { interface(&routing.borrow(), from, to) }
            }
        };
        let mut world = World::new(seed, faults, Box::new(paths));
        let (post, throttles) = (Post::new(shards), Arc::default());
        let metrics: Vec<_> = (0..shards).map(|_| Arc::new(ShardMetrics::default())).collect();
        for (number, metrics) in metrics.iter().enumerate() {
            for series in 0..plan.listeners.len() {
                metrics.traffic.open(SeriesId(series as u16));
            }
            world.add_shard(Worker::new(Setup {
                number: number as u16,
                published: Arc::clone(&published),
                metrics: Arc::clone(metrics),
                records: Records::default(),
                questions: Questions::new(viaduct::limits::KERNEL_QUESTIONS),
                names: Questions::new(viaduct::limits::DNS_QUESTIONS),
                post: post.clone(),
                nonce: 1,
                throttles: Arc::clone(&throttles),
            }));
        }
        let agents = (AGENTS.iter().zip(PROXIES))
            .map(|(own, proxy)| {
                let own: SocketAddr = own.parse().unwrap();
                world.add_endpoint(make(own, proxy.parse().unwrap()), vec![own])
            })
            .collect();
        let flips = (0..dice.below(6)).map(|n| (dice.below(PLACING_MS + 4_000) * MS, n % 2 == 0)).collect();
        Self { world, metrics, plan, roster, agents, published, keys, routing, flips, generation: 1 }
    }

    pub fn agent(&mut self, number: usize) -> &mut E {
        self.world.endpoint(self.agents[number]).expect("an agent")
    }

    pub fn is_forwarder(&self, host: HostId) -> bool {
        host < self.metrics.len()
    }

    /// An address that the forwarder listens on.
    pub fn is_ours(&self, address: SocketAddr) -> bool {
        self.plan.listeners.iter().any(|l| l.bind == address)
    }

    pub fn run_until(&mut self, end_ms: u64) {
        let mut flips = std::mem::take(&mut self.flips);
        flips.sort();
        for (at, to_backup) in flips {
            self.world.run_until(Now(at));
            self.generation += 1;
            let fib = Arc::new(fib(self.generation, to_backup));
            *self.routing.borrow_mut() = Arc::clone(&fib);
            let old = self.published.load_full();
            let mut new =
                publication(self.generation, self.metrics.len(), &self.plan, &fib, &self.keys, &self.roster);
            // The same table: sockets have not changed.
            new.sockets = Arc::clone(&old.sockets);
            self.published.store(Arc::new(new));
            (0..self.metrics.len()).for_each(|shard| self.world.wake(shard));
        }
        self.world.run_until(Now(end_ms * MS));
    }

    pub fn egress_moved(&self) -> u64 {
        self.metrics.iter().map(|m| m.egress_moved.get()).sum()
    }

    /// The trace as text: the same seed, the same text.
    pub fn story(&self) -> String {
        let mut out = String::new();
        for Hop { at, host, interface, from, to, bytes, copies } in self.world.trace() {
            let text = String::from_utf8_lossy(bytes);
            let first = text.lines().next().unwrap_or("");
            let via = text.lines().find(|l| l.starts_with("Via:")).unwrap_or("");
            let _ = writeln!(
                out,
                "\n{:>9.3} ms  host {host} dev {interface}  {from} → {to} x{copies}  {first}\n    {via}",
                at.0 as f64 / 1e6
            );
        }
        out
    }
}

/// By which interface the forwarder's kernel would send it: the bound lookup.
fn interface(fib: &Fib, from: SocketAddr, to: SocketAddr) -> Option<u32> {
    let mut query = Query::to(to.ip());
    query.src = Some(from.ip());
    match fib.lookup(&query) {
        Answer::Route(route) => Some(route.dev),
        Answer::No(_) | Answer::AskKernel => None,
    }
}

fn publication(
    generation: u64,
    shards: usize,
    plan: &Arc<Plan>,
    fib: &Arc<Fib>,
    keys: &Arc<Keys>,
    roster: &Arc<Roster>,
) -> Publication<SocketAddr> {
    let (plan, fib, keys, roster) = (Arc::clone(plan), Arc::clone(fib), Arc::clone(keys), Arc::clone(roster));
    let snapshot = Snapshot::watched(generation, plan, fib, keys, Arc::default(), roster);
    let plan = &snapshot.plan;
    let ids = (0..plan.listeners.len() as u16).map(SocketId);
    let bound = ids.clone().map(|socket| Bound { socket, series: SeriesId(socket.0) }).collect();
    let sockets: Box<[_]> = ids.zip(plan.listeners.iter().map(|l| l.bind)).collect();
    let table: Arc<SocketTable<SocketAddr>> = Arc::from(vec![sockets; shards]);
    Publication {
        snapshot,
        bindings: Arc::new(Bindings::new(bound, &[])),
        sockets: table,
        sockets_since: std::time::Instant::now(),
        stopping: false,
    }
}

/// For each agent the calls it places, latest first.
fn call_plans(dice: &mut Random) -> [Vec<(u64, Script, String)>; 4] {
    let mut plans: [Vec<_>; 4] = Default::default();
    for number in 0..CALLS {
        let from = dice.below(3) as usize;
        let to = (from + 1 + dice.below(3) as usize) % 4;
        let uri = match to {
            3 => format!("sip:*33{number}@203.0.113.1"),
            other => format!("sip:ua@{}", AGENTS[other]),
        };
        let (bye_by, letter) = if dice.per_mille(500) { (Role::Caller, 'a') } else { (Role::Callee, 'b') };
        let script = Script { call_id: format!("sim{number}{letter}"), bye_by };
        plans[from].push((dice.below(PLACING_MS) * MS, script, uri));
    }
    for plan in &mut plans {
        plan.sort_by_key(|(at, ..)| std::cmp::Reverse(*at));
    }
    plans
}
