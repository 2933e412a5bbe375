//! Following: whatever happens to the kernel's tables reaches the reader, also what it tells nobody.

use std::sync::Arc;
use std::time::{Duration, Instant};

use viaduct::control::netlink::{self, FollowOptions, Follower};
use viaduct::fib::{Answer, Fib, NoRoute, Query};

use crate::namespace::{ip, isolated, sysctl};

fn query(dst: &str) -> Query {
    Query::to(dst.parse().expect("an address"))
}

pub fn dev(fib: &Fib, dst: &str) -> Option<String> {
    match fib.lookup(&query(dst)) {
        Answer::Route(route) => fib.link_name(route.dev).map(String::from),
        _ => None,
    }
}

pub fn run(work: impl AsyncFnOnce()) {
    sysctl("ipv6.conf.default.accept_dad", "0");
    let refused = ip(
        "",
        &[
            "link add v0 type veth peer name p0",
            "link add v1 type veth peer name p1",
            "link set p0 up",
            "link set p1 up",
            "link set v0 up",
            "link set v1 up",
            "addr add 10.1.0.1/24 dev v0",
            "addr add 10.2.0.1/24 dev v1",
            "route add 10.9.0.0/16 via 10.1.0.9",
        ],
    );
    assert_eq!(refused, [""; 0]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(work());
}

/// The first publication that satisfies `wanted`.
async fn until(follower: &mut Follower, wanted: impl Fn(&Fib) -> bool) -> Arc<Fib> {
    let published = async {
        loop {
            let fib = follower.next().await.unwrap_or_else(|error| panic!("{error}"));
            if wanted(&fib) {
                return fib;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(5), published).await.expect("the change is published")
}

/// Every event is applied, however small the tables.
const BY_EVENT: FollowOptions = FollowOptions {
    redump_below: 0,
    audit_every: Duration::from_secs(3600),
    audit_doubts_after: Duration::from_secs(3600),
};

#[test]
fn changes_reach_the_reader_also_those_without_a_message() {
    isolated("follow::changes_reach_the_reader_also_those_without_a_message", || {
        changes_reach_the_reader(FollowOptions::default());
    });
}

#[test]
fn changes_reach_the_reader_event_by_event() {
    isolated("follow::changes_reach_the_reader_event_by_event", || changes_reach_the_reader(BY_EVENT));
}

fn changes_reach_the_reader(options: FollowOptions) {
    run(async || {
        let (mut follower, fib) = Follower::start_with(options).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(dev(&fib, "10.9.0.1").as_deref(), Some("v0"));
        let mut generation = fib.generation();

        let mut step = async |commands: &[&str], wanted: &dyn Fn(&Fib) -> bool| {
            assert_eq!(ip("", commands), [""; 0]);
            let fib = until(&mut follower, wanted).await;
            assert!(fib.generation() > generation, "generations grow");
            generation = fib.generation();
        };
        step(&["route replace 10.9.0.0/16 via 10.2.0.9"], &|fib| {
            dev(fib, "10.9.0.1").as_deref() == Some("v1")
        })
        .await;
        step(&["rule add pref 5 to 10.9.0.0/16 prohibit"], &|fib| {
            fib.lookup(&query("10.9.0.1")) == Answer::No(NoRoute::Prohibit)
        })
        .await;
        step(&["rule del pref 5"], &|fib| dev(fib, "10.9.0.1").as_deref() == Some("v1")).await;
        // IPv4 routes of a device that goes down vanish without a message.
        step(&["link set v1 down"], &|fib| dev(fib, "10.9.0.1").is_none()).await;
        step(&["link set v1 up", "route add 10.9.0.0/16 via 10.2.0.9"], &|fib| {
            dev(fib, "10.9.0.1").as_deref() == Some("v1")
        })
        .await;
        // So do those that prefer a source which goes away.
        step(&["addr add 10.2.0.7/32 dev v1", "route add 10.8.0.0/16 dev v0 src 10.2.0.7"], &|fib| {
            dev(fib, "10.8.0.1").as_deref() == Some("v0")
        })
        .await;
        step(&["addr del 10.2.0.7/32 dev v1"], &|fib| dev(fib, "10.8.0.1").is_none()).await;
        // And those of a nexthop object that is deleted.
        step(&["nexthop add id 7 via 10.1.0.8 dev v0", "route add 10.7.0.0/16 nhid 7"], &|fib| {
            dev(fib, "10.7.0.1").as_deref() == Some("v0")
        })
        .await;
        step(&["nexthop del id 7"], &|fib| dev(fib, "10.7.0.1").is_none()).await;
        // The carrier goes, and with it the device's routes, where the host is set so.
        sysctl("ipv4.conf.v1.ignore_routes_with_linkdown", "1");
        step(&["link set p1 down"], &|fib| dev(fib, "10.9.0.1").is_none()).await;
        step(&["link set p1 up"], &|fib| dev(fib, "10.9.0.1").as_deref() == Some("v1")).await;
        step(&["addr add 2001:db8:1::1/64 dev v0 nodad"], &|fib| {
            dev(fib, "2001:db8:1::9").as_deref() == Some("v0")
        })
        .await;
        assert_eq!(follower.counts().resyncs, 0);
    });
}

#[test]
fn a_change_is_published_within_milliseconds() {
    const CHANGES: usize = 200;
    isolated("follow::a_change_is_published_within_milliseconds", || {
        run(async || {
            let (mut follower, _) = Follower::start().unwrap_or_else(|error| panic!("{error}"));
            let mut times = Vec::with_capacity(CHANGES);
            for change in 0..CHANGES {
                let (gateway, link) = if change % 2 == 0 { ("10.2.0.9", "v1") } else { ("10.1.0.9", "v0") };
                // The clock runs from before the change, so that it includes what `ip` takes.
                let start = Instant::now();
                ip("", &[format!("route replace 10.9.0.0/16 via {gateway}")]);
                until(&mut follower, |fib| dev(fib, "10.9.0.1").as_deref() == Some(link)).await;
                times.push(start.elapsed());
            }
            times.sort_unstable();
            let (median, p99) = (times[CHANGES / 2], times[CHANGES * 99 / 100]);
            println!("from `ip route replace` to the publication: median {median:.1?}, p99 {p99:.1?}");
            // Generous, for machines under load; a missed event would be seconds.
            assert!(p99 < Duration::from_millis(500), "p99 {p99:?}");
        });
    });
}

#[test]
fn a_burst_larger_than_the_socket_is_folded_and_nothing_is_lost() {
    const ROUTES: usize = 20_000;
    isolated("follow::a_burst_larger_than_the_socket_is_folded_and_nothing_is_lost", || {
        run(async || {
            let (mut follower, _) = Follower::start().unwrap_or_else(|error| panic!("{error}"));
            let commands: Vec<String> = (0..ROUTES)
                .map(|n| {
                    format!("route add 172.{}.{}.{}/32 via 10.1.0.9", 16 + n / 65_536, n / 256 % 256, n % 256)
                })
                .collect();
            assert!(ip("", &commands).is_empty());
            let last = format!("172.16.{}.{}", (ROUTES - 1) / 256, (ROUTES - 1) % 256);
            let fib = until(&mut follower, |fib| dev(fib, &last).is_some()).await;
            assert!((0..ROUTES).all(|n| {
                let dst = format!("172.16.{}.{}", n / 256, n % 256);
                dev(&fib, &dst).as_deref() == Some("v0")
            }));
            println!("{ROUTES} routes in {} publications", fib.generation() - 1);
            assert!(fib.generation() < 20, "a burst is folded: {}", fib.generation());
        });
    });
}

#[test]
fn a_dump_amid_changes_is_whole() {
    isolated("follow::a_dump_amid_changes_is_whole", || {
        run(async || {
            // Enough routes for a dump to take several reads, so that changes come between them.
            let routes: Vec<String> =
                (0..3_000).map(|n| format!("route add 172.16.{}.{}/32 dev v0", n / 256, n % 256)).collect();
            assert!(ip("", &routes).is_empty());
            let flaps: Vec<String> =
                (0..3_000).map(|n| format!("route replace 10.9.0.0/16 via 10.{}.0.9", 1 + n % 2)).collect();
            std::thread::scope(|scope| {
                let flapping = scope.spawn(|| assert!(ip("", &flaps).is_empty()));
                let mut dumps = 0;
                while !flapping.is_finished() {
                    dumps += 1;
                    let fib = netlink::dump(dumps).unwrap_or_else(|error| panic!("{error}"));
                    let dev = dev(&fib, "10.9.0.1");
                    assert!(matches!(dev.as_deref(), Some("v0" | "v1")), "{dev:?}");
                }
                println!("{dumps} dumps amid 3000 changes");
            });
        });
    });
}

#[test]
fn ipv6_routes_go_when_their_lifetime_is_over() {
    isolated("follow::ipv6_routes_go_when_their_lifetime_is_over", || lifetimes(FollowOptions::default()));
}

#[test]
fn ipv6_routes_go_when_their_lifetime_is_over_event_by_event() {
    isolated("follow::ipv6_routes_go_when_their_lifetime_is_over_event_by_event", || lifetimes(BY_EVENT));
}

fn lifetimes(options: FollowOptions) {
    run(async || {
        let start = || Follower::start_with(options).unwrap_or_else(|error| panic!("{error}"));
        let (mut follower, _) = start();
        let made = Instant::now();
        let routes = [
            "-6 route add 2001:db8:9::/48 dev v0 metric 100 expires 2",
            "-6 route add 2001:db8:9::/48 dev v1 metric 200",
        ];
        assert_eq!(ip("-6", &routes), [""; 0]);
        let by = |wanted: &'static str| move |fib: &Fib| dev(fib, "2001:db8:9::1").as_deref() == Some(wanted);
        until(&mut follower, by("v0")).await;
        until(&mut follower, by("v1")).await;
        let took = made.elapsed();
        assert!(took > Duration::from_millis(1_900) && took < Duration::from_millis(3_500), "{took:?}");
        let (_, fib) = start();
        assert!(by("v1")(&fib), "a route that is over already is not there");

        assert_eq!(ip("-6", &["-6 route del 2001:db8:9::/48 dev v0 metric 100"]), [""; 0]);
        assert_eq!(ip("-6", &["-6 route add 2001:db8:9::/48 dev v0 metric 100 expires 2"]), [""; 0]);
        until(&mut follower, by("v0")).await;
        let renew = "-6 route change 2001:db8:9::/48 dev v0 metric 100 expires 600";
        assert_eq!(ip("-6", &[renew, renew, renew]), [""; 0]);
        let told = tokio::time::timeout(Duration::from_secs(3), async {
            let mut told = 0;
            loop {
                let fib = follower.next().await.unwrap_or_else(|error| panic!("{error}"));
                assert!(by("v0")(&fib), "it was renewed");
                told += 1;
                if options == FollowOptions::default() {
                    panic!("{told} snapshots of what is as it was");
                }
            }
        });
        assert!(told.await.is_err());
        assert_eq!(follower.counts().mismatches, 0);
    });
}

#[test]
fn of_paths_whose_first_is_over_the_kernel_is_asked() {
    isolated("follow::of_paths_whose_first_is_over_the_kernel_is_asked", || paths(FollowOptions::default()));
}

#[test]
fn of_paths_whose_first_is_over_the_kernel_is_asked_event_by_event() {
    let name = "follow::of_paths_whose_first_is_over_the_kernel_is_asked_event_by_event";
    isolated(name, || paths(BY_EVENT));
}

/// The kernel tells of the first path's lifetime only, and uses all as long as one of them lives.
fn paths(options: FollowOptions) {
    const TO: &str = "2001:db8:9::1";
    run(async || {
        let start = || Follower::start_with(options).unwrap_or_else(|error| panic!("{error}"));
        let (mut follower, _) = start();
        let routes = [
            "-6 addr add 2001:db8:1::1/64 dev v0 nodad",
            "-6 addr add 2001:db8:2::1/64 dev v1 nodad",
            "-6 route add 2001:db8:9::/48 via 2001:db8:1::9 dev v0 expires 2",
            "-6 route append 2001:db8:9::/48 via 2001:db8:2::9 dev v1 expires 600",
        ];
        assert_eq!(ip("-6", &routes), [""; 0]);
        until(&mut follower, |fib| dev(fib, TO).is_some()).await;
        let is_asked = |fib: &Fib| fib.lookup(&query(TO)) == Answer::AskKernel;
        let fib = until(&mut follower, is_asked).await;
        let answer = netlink::ask(&query(TO), fib.uid()).unwrap_or_else(|error| panic!("{error}"));
        assert!(matches!(answer, Answer::Route(_)), "{answer:?}");
        let (_, fib) = start();
        assert!(is_asked(&fib));
        // As when it collects garbage.
        assert_eq!(ip("-6", &["-6 route del 2001:db8:9::/48 via 2001:db8:1::9 dev v0"]), [""; 0]);
        until(&mut follower, |fib| dev(fib, TO).as_deref() == Some("v1")).await;
        assert_eq!(follower.counts().mismatches, 0);
    });
}
