use std::collections::VecDeque;

use super::*;
use crate::config;
use crate::dns::{self, Found, HostName, Question as Name};
use crate::fib::spec::{Link, Route};
use crate::fib::{Builder, Fib};
use crate::group::{Life, Standing};
use crate::net::{GroupId, Transport};
use crate::token::Keys;

const LISTENERS: &str = r#"
[[listener]]
name = "public"
bind = "udp:203.0.113.10:5060"

[[listener]]
name = "private"
bind = "udp:10.0.0.4:5060"
"#;

const GROUP: &str = r#"
[[group]]
name = "trunks"
gateways = [{ to = "sip:10.0.0.71" }, { to = "sip:192.0.2.72:5070" }]
ping = { every = "10s", timeout = "2s", down_after = 2, up_after = 2, slow_return = "0s" }

[[route]]
name = "out"
to = "group:trunks"
"#;

fn fib(has_default_route: bool) -> Fib {
    let host = Builder::host()
        .link(Link::up(2, "eth0"))
        .link(Link::up(3, "eth1"))
        .assign(2, "203.0.113.10/24".parse().unwrap())
        .assign(3, "10.0.0.4/24".parse().unwrap());
    let default = Route::new("0.0.0.0/0".parse().unwrap(), 2, Some("203.0.113.1".parse().unwrap()));
    if has_default_route { host.route(default).build() } else { host.build() }
}

/// A host with a configuration, gateways that answer or not, and a clock.
struct World {
    gateways: Gateways,
    snapshot: Snapshot,
    now: Now,
    /// What left: identity of the listener, where to, the text.
    sent: VecDeque<(u32, SocketAddr, String)>,
}

fn plan(configuration: &str) -> Arc<Plan> {
    let loaded = config::from_str("test.toml", configuration, &fib(true));
    Arc::new(loaded.unwrap_or_else(|findings| panic!("{findings}")).plan)
}

fn snapshot(generation: u64, plan: &Arc<Plan>, fib: Fib, roster: Arc<Roster>) -> Snapshot {
    let keys = Arc::new(Keys::from_secret(&[7; 16]));
    Snapshot::watched(generation, Arc::clone(plan), Arc::new(fib), keys, Arc::default(), roster)
}

impl World {
    fn new(configuration: &str) -> Self {
        let mut gateways = Gateways::new(0x1234_5678_0000_00ab);
        let plan = plan(configuration);
        let numbers = gateways.number(&plan, Now(0)).unwrap();
        let roster = gateways.put_in_force(&plan, numbers, Now(0));
        let snapshot = snapshot(1, &plan, fib(true), roster);
        Self { gateways, snapshot, now: Now(0), sent: VecDeque::new() }
    }

    fn reload(&mut self, configuration: &str) {
        let plan = plan(configuration);
        let numbers = self.gateways.number(&plan, self.now).unwrap();
        let roster = self.gateways.put_in_force(&plan, numbers, self.now);
        self.snapshot = snapshot(self.snapshot.generation + 1, &plan, fib(true), roster);
    }

    /// Looks every 100 ms; those answer that `answers` says, 200.
    fn pass(&mut self, ms: u64, answers: impl Fn(SocketAddr) -> bool) -> Vec<Told> {
        let mut told = Vec::new();
        for _ in 0..ms / 100 {
            self.now = self.now.plus_ns(100_000_000);
            let Self { gateways, snapshot, now, sent } = self;
            let mut heard = Vec::new();
            let mut send = |listener: u32, to: SocketAddr, bytes: &[u8]| {
                let text = String::from_utf8(bytes.to_vec()).unwrap();
                if answers(to) {
                    heard.push(text.split("branch=").nth(1).unwrap().lines().next().unwrap().to_owned());
                }
                sent.push_back((listener, to, text));
                Ok(())
            };
            told.extend(gateways.look(snapshot, *now, &mut send));
            for branch in heard {
                let asked = PingBranch::read(branch.as_bytes(), &snapshot.keys).unwrap();
                let PingBranch { gateway, listener, number } = asked;
                snapshot.roster.health().answered(gateway, listener, number, 200);
            }
        }
        told
    }

    fn id(&self, place: usize) -> GatewayId {
        self.snapshot.roster.ids(GroupId(0))[place]
    }

    fn standing(&self, place: usize) -> Option<Standing> {
        self.snapshot.roster.health().ways(self.id(place)).next().map(|(_, way)| way.standing)
    }

    fn listener(&self, name: &str) -> u32 {
        self.snapshot.plan.listener_named(name).unwrap().identity
    }
}

fn turns(told: &[Told]) -> Vec<(&str, Life)> {
    told.iter().map(|told| (&*told.uri, told.change.to)).collect()
}

#[test]
fn options_leave_from_where_requests_would() {
    let mut world = World::new(&format!("{LISTENERS}{GROUP}"));
    world.pass(2_000, |_| true);
    let mut sent: Vec<_> = world.sent.iter().map(|(from, to, _)| (*from, to.to_string())).collect();
    sent.sort_by_key(|(_, to)| to.clone());
    let from = |name| world.listener(name);
    assert_eq!(
        sent,
        [(from("private"), "10.0.0.71:5060".to_owned()), (from("public"), "192.0.2.72:5070".to_owned())]
    );
    let text = &world.sent.iter().find(|(_, to, _)| to.port() == 5070).unwrap().2;
    assert!(
        text.starts_with("OPTIONS sip:192.0.2.72:5070 SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.10:5060;rport;")
    );
    world.pass(10_000, |_| true);
    assert_eq!(world.sent.len(), 4, "the next ones, ten seconds later");
    let pings = world.gateways.readings(&world.snapshot)[0].pings;
    assert_eq!((pings.sent, pings.alive, pings.failed, pings.unsent), (2, 2, 0, 0));
}

#[test]
fn one_that_stops_to_answer_goes_down_and_comes_back() {
    let mut world = World::new(&format!("{LISTENERS}{GROUP}"));
    world.pass(2_000, |_| true);
    // What is not answered is sent again meanwhile: at 0.5 and 1.5 s.
    let told = world.pass(24_000, |to| to.port() != 5070);
    assert_eq!(turns(&told), [("sip:192.0.2.72:5070", Life::Down)]);
    assert_eq!((world.standing(0), world.standing(1)), (Some(Standing::Up), Some(Standing::Down)));
    assert_eq!(world.sent.iter().filter(|(_, to, _)| to.port() == 5070).count(), 1 + 3 + 3);
    let told = world.pass(22_000, |_| true);
    assert_eq!(turns(&told), [("sip:192.0.2.72:5070", Life::Up)]);
    let reading = &world.gateways.readings(&world.snapshot)[1];
    assert_eq!((reading.pings.failed, reading.watched.down, reading.watched.back), (2, 1, 1));
    assert_eq!((&*reading.ways[0].listener, reading.ways[0].life), ("public", Life::Up));
}

#[test]
fn what_cannot_be_sent_says_nothing_of_the_gateway() {
    let mut world = World::new(&format!("{LISTENERS}{GROUP}"));
    world.pass(2_000, |_| true);
    let Snapshot { plan, roster, .. } = &world.snapshot;
    world.snapshot = snapshot(2, plan, fib(false), Arc::clone(roster));
    let told = world.pass(60_000, |to| to.port() != 5070);
    assert_eq!(turns(&told), []);
    let pings = world.gateways.readings(&world.snapshot)[1].pings;
    assert!(pings.unsent >= 5 && pings.failed == 0, "{pings:?}");
}

#[test]
fn a_gateway_that_stays_keeps_its_number_and_how_it_does() {
    let whole = format!("{LISTENERS}{GROUP}");
    let mut world = World::new(&whole);
    world.pass(30_000, |to| to.port() != 5070);
    assert_eq!(world.standing(1), Some(Standing::Down));
    let (first, second) = (world.id(0), world.id(1));
    // Another one before it, the first one gone.
    world.reload(&whole.replace("{ to = \"sip:10.0.0.71\" }", "{ to = \"sip:10.0.0.70\" }"));
    assert_eq!(world.id(1), second);
    assert_ne!(world.id(0), first, "transactions may still name the one that is gone");
    assert_eq!(world.standing(1), Some(Standing::Down));
    world.reload(&whole);
    assert_eq!((world.id(0), world.id(1)), (first, second), "it is back");
    // A group of another name is another group.
    world.reload(&whole.replace("trunks", "carriers"));
    assert!(![first, second].contains(&world.id(1)));
    assert_eq!(world.standing(1), None);
}

#[test]
fn numbers_are_given_anew_when_no_transaction_can_name_them() {
    let one = |last: usize| {
        format!("{LISTENERS}{GROUP}").replace("10.0.0.71", &format!("10.0.{}.{}", last / 200, last % 200 + 1))
    };
    let mut world = World::new(&one(0));
    // The second gateway stays; each reload takes another number for the first.
    for last in 1..GATEWAYS - 1 {
        world.reload(&one(last));
    }
    assert_eq!(world.gateways.number(&plan(&one(GATEWAYS)), world.now), Err(OutOfNumbers));
    world.now = world.now.plus_ns(crate::limits::GATEWAY_REUSE_NS);
    world.reload(&one(GATEWAYS));
    assert_eq!(world.snapshot.roster.place(world.id(0)), Some((GroupId(0), 0)));
}

#[test]
fn without_ping_nothing_is_sent_and_traffic_tells() {
    let whole = format!("{LISTENERS}{GROUP}");
    let ping = whole.lines().find(|line| line.starts_with("ping")).unwrap();
    let mut world = World::new(&whole.replace(ping, ""));
    world.pass(15_000, |_| true);
    assert!(world.sent.is_empty());
    let (health, id, from) = (Arc::clone(&world.gateways.health), world.id(0), world.listener("private"));
    (0..3).for_each(|_| health.report(id, from, Report::Failed));
    assert_eq!(turns(&world.pass(100, |_| true)), [("sip:10.0.0.71", Life::Down)]);
    assert_eq!(turns(&world.pass(33_000, |_| true)), [("sip:10.0.0.71", Life::Returning)]);
    assert!(world.sent.is_empty());
}

#[test]
fn a_gateway_is_asked_once_its_name_leads_somewhere() {
    let mut world = World::new(&(LISTENERS.to_owned() + &GROUP.replace("10.0.0.71", "gw.example")));
    world.pass(3_000, |_| true);
    assert!(world.sent.iter().all(|(_, to, _)| to.port() == 5070), "the other one only");
    let name = HostName::new(b"gw.example").unwrap();
    let question = Name { name, port: None, transport: None, sips: false };
    let addresses = ["10.0.0.71".parse().unwrap()].into();
    let target = dns::Target { rank: 0, weight: 0, transport: Transport::Udp, port: 5060, addresses };
    let found = Found { targets: [target].into(), stale: false };
    world.snapshot = world.snapshot.with_names(Arc::new(Directory::of([(question, Ok(found))])));
    world.pass(11_000, |_| true);
    let gateway = "10.0.0.71:5060".parse().unwrap();
    assert!(world.sent.iter().any(|(_, to, _)| *to == gateway), "{:?}", world.sent);
}

#[test]
fn every_address_of_a_name_is_asked_and_one_that_answers_is_enough() {
    const GW: &str = "[hosts]\n\"gw.example\" = [\"10.0.0.71\", \"192.0.2.71\", \"10.0.0.72\"]\n";
    let mut world = World::new(&(GW.to_owned() + LISTENERS + &GROUP.replace("10.0.0.71", "gw.example")));
    let to = |world: &World| -> Vec<(u32, String)> {
        let own = world.sent.iter().filter(|(_, to, _)| to.port() == 5060);
        let mut all: Vec<_> = own.map(|(from, to, _)| (*from, to.ip().to_string())).collect();
        all.sort_by(|a, b| a.1.cmp(&b.1));
        all
    };
    world.pass(2_000, |_| true);
    let (private, public) = (world.listener("private"), world.listener("public"));
    let each = [(private, "10.0.0.71"), (private, "10.0.0.72"), (public, "192.0.2.71")];
    assert_eq!(
        to(&world),
        each.map(|(from, to)| (from, to.to_owned())),
        "each once, from where requests would leave"
    );
    let branches: std::collections::HashSet<_> = world
        .sent
        .iter()
        .map(|(.., text)| text.split("branch=").nth(1).unwrap().lines().next().unwrap())
        .collect();
    assert_eq!(branches.len(), world.sent.len());
    let told = world.pass(60_000, |to| to.ip().to_string() != "10.0.0.71");
    assert_eq!(turns(&told), [], "the other one answers");
    let told = world.pass(60_000, |to| !to.ip().to_string().starts_with("10.0.0.7"));
    assert_eq!(turns(&told), [("sip:gw.example", Life::Down)]);
    assert_eq!(told[0].change.listener, private, "from the other listener it is up");
}
