//! Calls over all pairs of transports and address families, many at a time: what either end sends arrives at the other
//! as it was, but for what a proxy does to it.
//!
//! Of each pair there are so many calls as `VIADUCT_CALLS` says (10); failures are told with their pair and message.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use crate::browser::Browser;
use crate::desk::{ByWebSocket, Desk};
use crate::passing::{Side, call};
use crate::phone::{ByDatagrams, ByStreams, Phone};
use crate::tls::Trust;
use crate::viaduct::{KEEPING_RELAY, Viaduct};
use crate::world::{Far, World, eventually};

/// What the matrix has besides TLS; nothing here is to be refused because this machine is busy.
const REST: &str = r#"
[overload]
max_wait = "off"

[[listener]]
name = "public-ws"
bind = "ws:1.2.3.4:8080"

[[listener]]
name = "six-ws"
bind = "ws:[fd00:6::4]:8080"

[[listener]]
name = "public-wss"
bind = "wss:1.2.3.4:8443"
advertise = "edge.example:8443"
certificate = "edge.crt"
key = "edge.key"

[[listener]]
name = "six-wss"
bind = "wss:[fd00:6::4]:8443"
advertise = "edge.example:8443"
certificate = "edge.crt"
key = "edge.key"
"#;

/// How a phone is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Udp,
    Tcp,
    Tls,
    Ws,
    Wss,
}

impl By {
    const fn via(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Ws => "WS",
            Self::Wss => "WSS",
        }
    }

    /// Where Viaduct listens.
    const fn port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 5060,
            Self::Tls => 5061,
            Self::Ws => 8080,
            Self::Wss => 8443,
        }
    }

    const fn is_browsers(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }
}

/// One of Viaduct's links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Net {
    Public,
    Private,
    Six,
}

impl Net {
    fn host(self, world: &World) -> &Far {
        match self {
            Self::Public => &world.public,
            Self::Private => &world.private,
            Self::Six => &world.six,
        }
    }

    /// Viaduct's address, that of the host, and the host's name.
    const fn addresses(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Public => ("1.2.3.4", "1.2.3.100", "alice.example"),
            Self::Private => ("10.0.0.4", "10.0.0.100", "bob.example"),
            Self::Six => ("[fd00:6::4]", "[fd00:6::100]", "six.example"),
        }
    }

    fn edge(self, by: By) -> String {
        format!("{}:{}", self.addresses().0, by.port())
    }
}

/// What Viaduct says of itself on that side.
fn side(net: Net, by: By) -> Side {
    let sent_by = match by {
        By::Tls | By::Wss => format!("edge.example:{}", by.port()),
        By::Udp | By::Tcp | By::Ws => net.edge(by),
    };
    Side { via: by.via(), sent_by }
}

/// Who calls whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pair {
    caller: (Net, By),
    callee: (Net, By),
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = |(net, by): (Net, By)| format!("{} {}", by.via(), net.addresses().1);
        write!(f, "{} → {}", end(self.caller), end(self.callee))
    }
}

const FAMILIES: [(Net, Net); 3] =
    [(Net::Public, Net::Private), (Net::Public, Net::Six), (Net::Six, Net::Private)];
const CALLERS: [By; 5] = [By::Udp, By::Tcp, By::Tls, By::Ws, By::Wss];
const CALLEES: [By; 3] = [By::Udp, By::Tcp, By::Tls];

/// A browser takes no calls of strangers.
fn pairs() -> impl Iterator<Item = Pair> {
    let by = CALLERS.into_iter().flat_map(|from| CALLEES.map(|to| (from, to)));
    by.flat_map(|(from, to)| {
        FAMILIES.map(|(caller, callee)| Pair { caller: (caller, from), callee: (callee, to) })
    })
}

/// Which phone: where, how it is reached, and whether it calls or is called.
type Place = (Net, By, bool);

/// All phones but the browsers, which the calls open.
struct Phones<'w>(Vec<(Place, Box<dyn Phone + Sync + 'w>)>);

impl<'w> Phones<'w> {
    fn of(world: &'w World, trust: &Trust, pairs: impl Iterator<Item = Pair>) -> Self {
        let ends = pairs
            .flat_map(|Pair { caller, callee }| [(caller.0, caller.1, true), (callee.0, callee.1, false)]);
        let mut places: Vec<Place> = Vec::new();
        for place in ends.filter(|(_, by, _)| !by.is_browsers()) {
            if !places.contains(&place) {
                places.push(place);
            }
        }
        Self(places.into_iter().map(|place| (place, phone(world, trust, place))).collect())
    }
}

fn phone<'w>(world: &'w World, trust: &Trust, (net, by, calls): Place) -> Box<dyn Phone + Sync + 'w> {
    let (host, (_, ip, name)) = (net.host(world), net.addresses());
    let user = if calls { "caller" } else { "callee" };
    let port = by.port() + if calls { 10 } else { 0 };
    let (address, edge) = (format!("{ip}:{port}"), net.edge(by));
    match by {
        By::Udp => Box::new(ByDatagrams(host.party(user, &address), edge.parse().expect("an address"))),
        By::Tcp => Box::new(ByStreams::new(host, user, ip, &address, (&edge, "none"), None)),
        By::Tls | By::Ws | By::Wss => {
            let secrets = trust.secrets(&[name]);
            Box::new(ByStreams::new(host, user, name, &address, (&edge, "edge.example"), Some(&secrets)))
        }
    }
}

/// The desks of all phones, and what browsers are in and trust.
struct Scene<'s> {
    world: &'s World,
    trust: &'s Trust,
    desks: Vec<(Place, Desk<'s>)>,
}

/// How many calls of a pair there are at a time.
const AT_A_TIME: usize = 16;

impl<'s> Scene<'s> {
    fn new(world: &'s World, trust: &'s Trust, phones: &'s Phones<'_>) -> Self {
        let desks = phones.0.iter().map(|(place, phone)| (*place, Desk::new(&**phone))).collect();
        Self { world, trust, desks }
    }

    /// A browser there, where those call.
    fn browser(&self, (net, by): (Net, By)) -> Option<ByWebSocket> {
        let (host, edge) = (net.host(self.world), net.edge(by));
        let browser = match by {
            By::Ws => Browser::new("wendy", host, &edge),
            By::Wss => {
                let authority = self.trust.authority.pem();
                Browser::secure("wendy", host, &edge, (&authority, "edge.example"))
            }
            By::Udp | By::Tcp | By::Tls => return None,
        };
        Some(ByWebSocket::new(browser))
    }

    fn desk(&self, place: Place) -> &Desk<'s> {
        let found = self.desks.iter().find(|(here, _)| *here == place);
        &found.unwrap_or_else(|| panic!("no phone at {place:?}")).1
    }

    /// Does something while all phones take what comes.
    fn during<R>(&self, work: impl FnOnce() -> R) -> R {
        let ends = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for (_, desk) in &self.desks {
                scope.spawn(|| desk.run(&ends));
            }
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            ends.store(true, Ordering::Relaxed);
            result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Makes so many calls of a pair, and tells of those that failed.
    fn calls(&self, pair: Pair, calls: usize) -> Vec<String> {
        let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let caller = || {
            let browser = self.browser(pair.caller);
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= calls {
                    return;
                }
                if let Err(what) = self.one(pair, browser.as_ref(), number) {
                    failed.lock().expect("no panic").push(format!("{pair}, call {number}: {what}"));
                }
            }
        };
        std::thread::scope(|scope| (0..AT_A_TIME.min(calls)).for_each(|_| _ = scope.spawn(caller)));
        failed.into_inner().expect("no panic")
    }

    fn one(&self, pair: Pair, browser: Option<&ByWebSocket>, number: usize) -> Result<(), String> {
        let Pair { caller, callee } = pair;
        let id = format!("{}-{}-{number}@{:?}-{:?}", caller.1.via(), callee.1.via(), caller.0, callee.0);
        let there = self.desk((callee.0, callee.1, false)).leg(&id);
        let sides = (&side(caller.0, caller.1), &side(callee.0, callee.1));
        match browser {
            Some(browser) => call(browser, &there, sides, &id, number.is_multiple_of(2)),
            None => {
                let here = self.desk((caller.0, caller.1, true)).leg(&id);
                call(&here, &there, sides, &id, number.is_multiple_of(2))
            }
        }
    }
}

#[test]
fn calls_over_every_pair_of_transports_and_families() {
    let calls = std::env::var("VIADUCT_CALLS").map_or(10, |text| text.parse().expect("a number"));
    let world = World::new();
    let trust = Trust::new(&format!("{REST}{KEEPING_RELAY}"));
    let viaduct = trust.home.start(&world);
    let phones = Phones::of(&world, &trust, pairs());
    let scene = Scene::new(&world, &trust, &phones);
    let begin = Instant::now();
    let failed: Vec<String> = scene.during(|| {
        let of_pair = |pair| {
            let failed = scene.calls(pair, calls);
            println!("{pair}: {} of {calls} calls, {:.1?}", calls - failed.len(), begin.elapsed());
            failed
        };
        pairs().flat_map(of_pair).collect()
    });
    assert!(failed.is_empty(), "{} calls failed:\n{}", failed.len(), failed.join("\n"));
    let metrics = viaduct.accounted((pairs().count() * calls * 12) as u64);
    for lost in ["stray_response", "not_handed_over", "connection_failed", "foreign_response", "bad_branch"] {
        assert_eq!(metrics.dropped(lost), 0, "{lost}");
    }
    assert_eq!(metrics.sum("viaduct_tls_failures_total", &[]), 0);
    let handshakes = |side| metrics.sum("viaduct_tls_handshakes_total", &[("side", side)]);
    // One connection each, whatever they are used for: Viaduct's to four phones, and theirs and browsers' to Viaduct.
    let by_browsers = pairs().filter(|pair| pair.caller.1 == By::Wss).count() * AT_A_TIME.min(calls);
    assert_eq!((handshakes("opened"), handshakes("accepted")), (4, 4 + by_browsers as u64));
    viaduct.stop();
}

/// How often the certificate changes.
const CHANGES: usize = 5;

/// Calls go on by the connections that they have, and others connect for each call, while Viaduct's certificate is replaced,
/// with a reload and without one.
#[test]
fn no_call_over_tls_fails_while_the_certificate_changes() {
    let world = World::new();
    let trust = Trust::new(&format!("{REST}{KEEPING_RELAY}"));
    let viaduct = trust.home.start(&world);
    let pair = Pair { caller: (Net::Public, By::Tls), callee: (Net::Private, By::Tls) };
    let phones = Phones::of(&world, &trust, [pair].into_iter());
    let scene = Scene::new(&world, &trust, &phones);
    let (ends, made, failed) = (AtomicBool::new(false), AtomicUsize::new(0), Mutex::new(Vec::new()));
    let until_ended = |one: &dyn Fn(usize) -> Result<(), String>| {
        while !ends.load(Ordering::Relaxed) {
            let number = made.fetch_add(1, Ordering::Relaxed);
            if let Err(what) = one(number) {
                failed.lock().expect("no panic").push(format!("call {number}: {what}"));
            }
        }
    };
    let secrets = trust.secrets(&["alice.example"]);
    let by_new_connections = |number: usize| {
        let (address, edge) = (format!("1.2.3.100:{}", 10_000 + number), Net::Public.edge(By::Tls));
        let edge = (&*edge, "edge.example");
        let caller = ByStreams::new(&world.public, "once", "alice.example", &address, edge, Some(&secrets));
        let id = format!("once-{number}");
        let there = scene.desk((Net::Private, By::Tls, false)).leg(&id);
        let sides = (&side(Net::Public, By::Tls), &side(Net::Private, By::Tls));
        call(&caller, &there, sides, &id, number.is_multiple_of(2))
    };
    scene.during(|| {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| until_ended(&|number| scene.one(pair, None, number)));
                scope.spawn(|| until_ended(&by_new_connections));
            }
            // However this ends, the calls do.
            let changes = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                (1..=CHANGES).for_each(|change| renew(&trust, &viaduct, change, &made));
            }));
            ends.store(true, Ordering::Relaxed);
            changes.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        });
    });
    let failed = failed.into_inner().expect("no panic");
    assert!(failed.is_empty(), "{} calls failed:\n{}", failed.len(), failed.join("\n"));
    let metrics = viaduct.metrics();
    let failures = |labels: &[(&str, &str)]| metrics.sum("viaduct_tls_failures_total", labels);
    // Who is gone after his call may have had an ACK alone by a connection that was opened anew.
    assert_eq!(failures(&[]), failures(&[("cause", "unheard")]));
    assert_eq!(metrics.dropped("connection_failed"), 0);
    viaduct.stop();
}

/// Has Viaduct show another certificate, and calls be made before and afterwards.
fn renew(trust: &Trust, viaduct: &Viaduct<'_>, change: usize, made: &AtomicUsize) {
    let more = |what: &str| {
        let before = made.load(Ordering::Relaxed);
        eventually(what, || (made.load(Ordering::Relaxed) >= before + 24).then_some(()));
    };
    more("calls are made by the certificate that there is");
    trust.show(&trust.authority.issue(&["edge.example"]));
    if change.is_multiple_of(2) {
        viaduct.reload(change as u64 / 2);
    } else {
        eventually("the new certificate is in use", || {
            let told = viaduct.log().matches("listener public-tls has new certificates").count();
            (told >= change.div_ceil(2)).then_some(())
        });
    }
    more("calls are made by the new certificate");
}
