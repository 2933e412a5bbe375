use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;

use super::options::By;
use super::*;
use crate::config;
use crate::dns::{self, Found, HostName, Question as Name};
use crate::fib::spec::{Link, Route};
use crate::fib::{Builder, Fib};
use crate::group::{Fault, Heard, Life, Report, Standing};
use crate::net::GroupId;
use crate::pki::Authority;
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
    /// Of those that left by connections: whom the server has to be.
    names: Vec<Option<String>>,
    /// What becomes of those.
    connections: Heard,
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
        let connections = Heard::Answer(200);
        Self { gateways, snapshot, now: Now(0), sent: VecDeque::new(), names: Vec::new(), connections }
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
            let Self { gateways, snapshot, now, sent, names, connections } = self;
            let (mut heard, mut failed) = (Vec::new(), Vec::new());
            let mut leave = |options: &Leaving| {
                let Leaving { listener, to, by, bytes } = options;
                let (listener, to, text) = (*listener, *to, String::from_utf8(bytes.clone()).unwrap());
                if let By::Connection { name, ping } = by {
                    names.push(name.as_ref().map(|name| name.to_string()));
                    failed.push(*ping);
                    sent.push_back((listener, to, text));
                    return Ok(());
                }
                if answers(to) {
                    heard.push(text.split("branch=").nth(1).unwrap().lines().next().unwrap().to_owned());
                }
                sent.push_back((listener, to, text));
                Ok(())
            };
            told.extend(gateways.look(snapshot, *now, &mut leave));
            failed.into_iter().for_each(|ping| snapshot.roster.health().hear(ping, *connections));
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
    assert_eq!((pings.alive, pings.failed, pings.unsent), (2, [0; 4], 0));
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
    assert_eq!((reading.pings.failed, reading.watched.down, reading.watched.back), ([2, 0, 0, 0], 1, 1));
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
    assert!(pings.unsent >= 5 && pings.failed == [0; 4], "{pings:?}");
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

/// The same gateways by connections, and one by name over TLS.
const BY_STREAMS: &str = r#"
[hosts]
"gw.example" = ["10.0.0.73"]

[tls]
names = { "10.0.0.72/32" = "other.example" }

[[listener]]
name = "secure"
bind = "tls:10.0.0.4:5061"
certificate = "FOLDER/a.crt"
key = "FOLDER/a.key"

[[listener]]
name = "plain"
bind = "tcp:203.0.113.10:5070"

[[group]]
name = "plain"
gateways = [{ to = "sip:192.0.2.75" }]
ping = { every = "10s", timeout = "2s", down_after = 2, up_after = 2, slow_return = "0s" }

[[route]]
name = "plain"
when = { ruri_user = "^plain$" }
to = "group:plain"
egress = "plain"

[[group]]
name = "trunks"
gateways = [
    { to = "sip:10.0.0.71;transport=tcp" }, { to = "sip:10.0.0.72;transport=tls" },
    { to = "sip:gw.example;transport=tls" }, { to = "sip:10.0.0.74;transport=tls" },
]
ping = { every = "10s", timeout = "2s", down_after = 2, up_after = 2, slow_return = "0s" }

[[route]]
name = "out"
to = "group:trunks"
"#;

/// A host with those, and a certificate.
fn by_streams() -> World {
    let folder = tempfile::tempdir().unwrap();
    let pair = Authority::new("A").issue(&["a.example"]);
    for (name, text) in [("a.crt", pair.certificate), ("a.key", pair.key)] {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
    }
    let by_streams = BY_STREAMS.replace("FOLDER", &folder.path().display().to_string());
    World::new(&format!("{LISTENERS}{by_streams}"))
}

/// RFC 3261 §17.1.2.2: over a reliable transport nothing is sent again.
#[test]
fn over_connections_each_is_asked_once_by_the_name_that_requests_ask_for() {
    let mut world = by_streams();
    world.connections = Heard::Unsent;
    world.pass(9_900, |_| panic!("no datagram leaves"));
    let mut asked: Vec<_> = world.sent.iter().zip(&world.names).collect();
    asked.sort_by_key(|((_, to, _), _)| *to);
    let (tcp, tls, plain) =
        (world.listener("private/tcp"), world.listener("secure"), world.listener("plain"));
    for (((from, to, text), name), wanted) in asked.iter().zip([
        (tcp, "10.0.0.71:5060", "TCP 10.0.0.4:5060", None),
        (tls, "10.0.0.72:5061", "TLS 10.0.0.4:5061", Some("other.example")),
        (tls, "10.0.0.73:5061", "TLS 10.0.0.4:5061", Some("gw.example")),
        (tls, "10.0.0.74:5061", "TLS 10.0.0.4:5061", Some("10.0.0.74")),
        // Its rule says what it is reached by.
        (plain, "192.0.2.75:5060", "TCP 203.0.113.10:5070", None),
    ]) {
        assert_eq!((*from, &*to.to_string(), name.as_deref()), (wanted.0, wanted.1, wanted.3));
        assert!(text.contains(&format!("Via: SIP/2.0/{};", wanted.2)), "{text}");
    }
    assert_eq!(asked.len(), 5);
}

#[test]
fn what_becomes_of_connections_tells_of_the_gateway_unless_it_lies_here() {
    let mut world = by_streams();
    world.connections = Heard::Unsent;
    assert_eq!(turns(&world.pass(60_000, |_| true)), []);
    let pings = world.gateways.readings(&world.snapshot)[0].pings;
    assert_eq!((pings.alive, pings.failed, pings.unsent), (0, [0; 4], 6), "each counts once");
    world.connections = Heard::Failed(Fault::Connection);
    let told = world.pass(9_000, |_| true);
    assert_eq!(told.len(), 0, "one is not enough");
    let told = world.pass(10_000, |_| true);
    assert!(told.iter().all(|told| told.change.to == Life::Down && told.fault == Some(Fault::Connection)));
    assert_eq!(told.len(), 5);
    let reading = &world.gateways.readings(&world.snapshot)[0];
    assert_eq!((reading.pings.failed, reading.ways[0].fault), ([0, 0, 2, 0], Some(Fault::Connection)));
    world.connections = Heard::Answer(200);
    assert_eq!(turns(&world.pass(22_000, |_| true)).len(), 5);
    assert_eq!(world.gateways.readings(&world.snapshot)[0].ways[0].fault, None);
}
