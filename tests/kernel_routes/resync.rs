//! Following where events are lost, where they come while tables are read, and where somebody else sends them.

use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use viaduct::control::netlink::{self, FollowOptions};

use crate::follow::{dev, run};
use crate::namespace::{ip, isolated};
use crate::watch::{self, Watch};

/// Routes to so many hosts of 172.16.0.0/16.
fn hosts(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("route add 172.16.{}.{} dev v0", n / 256, n % 256)).collect()
}

async fn settle(watches: &mut [Watch; 2]) {
    watch::settle(watches).await.unwrap_or_else(|how| panic!("{how}"));
}

#[test]
fn more_events_than_the_socket_holds_lead_to_another_reading() {
    const ROUTES: usize = 60_000;
    isolated("resync::more_events_than_the_socket_holds_lead_to_another_reading", || {
        run(async || {
            let mut watches = watch::both();
            assert!(ip("", &hosts(ROUTES)).is_empty());
            settle(&mut watches).await;
            for Watch { how, follower, publications, .. } in &watches {
                let counts = follower.counts();
                println!("{how}: {counts:?}");
                assert!(counts.overruns > 0, "{how}");
                assert!(*publications < 20, "{how}: {publications} publications of one burst");
                assert!(counts.routes > ROUTES as u64, "{how}");
            }
            let before = watches[1].follower.counts();
            assert!(before.resyncs > 0, "the tables were read anew");

            // Now there is nothing but events again.
            assert!(ip("", &["route replace 10.9.0.0/16 via 10.2.0.9"]).is_empty());
            settle(&mut watches).await;
            assert_eq!(dev(&watches[1].fib, "10.9.0.1").as_deref(), Some("v1"));
            let after = watches[1].follower.counts();
            assert_eq!((after.resyncs, after.overruns), (before.resyncs, before.overruns));
            assert!(after.events > before.events);
        });
    });
}

/// What was read, and what has happened since the reading began, make up what there is.
#[test]
fn tables_that_change_while_they_are_compared_do_not_differ() {
    const SOON: Duration = Duration::from_millis(5);
    // On a busy machine whoever compares may come to it once while all of it happens.
    const ROUNDS: usize = 10;
    isolated("resync::tables_that_change_while_they_are_compared_do_not_differ", || {
        run(async || {
            // Enough for a reading to last a while.
            assert!(ip("", &hosts(5_000)).is_empty());
            let options = FollowOptions { redump_below: 0, audit_every: SOON, audit_doubts_after: SOON };
            let mut watches = [Watch::start("read anew", usize::MAX), Watch::with("compared", options)];
            let flaps: Vec<String> = (0..20_000)
                .map(|n| match n % 4 {
                    0 | 2 => format!("route replace 10.9.0.0/16 via 10.{}.0.9", 1 + n % 4 / 2),
                    1 => format!("route append 172.16.{}.7 dev v1 metric 7", n / 4 % 19),
                    _ => format!("route del 172.16.{}.7 dev v1 metric 7", n / 4 % 19),
                })
                .collect();
            let mut counts = watches[1].follower.counts();
            for _ in 0..ROUNDS {
                let flaps = flaps.clone();
                let flapping = thread::spawn(move || ip("", &flaps));
                while !flapping.is_finished() {
                    watches[1].wait(Duration::from_millis(20)).await;
                }
                assert_eq!(flapping.join().expect("ip runs"), [""; 0]);
                settle(&mut watches).await;
                counts = watches[1].follower.counts();
                println!("{counts:?}");
                if counts.audits > 1 {
                    break;
                }
            }
            assert!(counts.audits > 1, "{counts:?}");
            assert_eq!((counts.mismatches, counts.overruns, counts.resyncs), (0, 0, 0), "{counts:?}");
        });
    });
}

/// `NLM_F_DUMP_INTR`: the list of addresses changes between two parts of it.
#[test]
fn a_list_that_changes_while_it_is_read_is_read_again() {
    const ADDRESSES: usize = 2_000;
    isolated("resync::a_list_that_changes_while_it_is_read_is_read_again", || {
        run(async || {
            let address = |n: usize| format!("10.3.{}.{}/32", n / 250, n % 250 + 1);
            let all: Vec<_> = (0..ADDRESSES).map(|n| format!("addr add {} dev v0", address(n))).collect();
            assert!(ip("", &all).is_empty());
            let flaps: Vec<_> = (0..40)
                .map(|n| format!("addr {} 10.4.0.1/32 dev v1", if n % 2 == 0 { "add" } else { "del" }))
                .collect();
            // Between two programs there is a moment of quiet, in which a list can be read whole.
            const MOMENT: Duration = Duration::from_millis(15);
            let flap = move |_| {
                thread::sleep(MOMENT);
                ip("", &flaps)
            };
            let flapping = thread::spawn(move || (0..80).flat_map(flap).collect::<Vec<_>>());
            let (mut interrupted, mut whole) = (0, 0);
            while !flapping.is_finished() {
                interrupted += (0..8).filter(|_| is_interrupted()).count();
                // Given up after so many attempts, it would say so.
                let fib = netlink::dump(1).unwrap_or_else(|error| panic!("{error}"));
                let of_v0 =
                    |(address, _): &(IpAddr, u32)| matches!(address, IpAddr::V4(v4) if v4.octets()[1] == 3);
                assert_eq!(fib.addresses().filter(of_v0).count(), ADDRESSES);
                whole += 1;
            }
            assert_eq!(flapping.join().expect("ip runs"), [""; 0]);
            println!("{whole} snapshots, all whole; {interrupted} lists beside them were interrupted");
            assert!(interrupted > 0 && whole > 0);
        });
    });
}

/// Whether the kernel calls one reading of the addresses interrupted.
fn is_interrupted() -> bool {
    const NLM_F_DUMP_INTR: u16 = 0x10;
    let socket = Socket::new(NETLINK_ROUTE).expect("a netlink socket");
    let request = message(libc::RTM_GETADDR, (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16, &[0; 8]);
    socket.send(&request, 0).expect("the question is sent");
    loop {
        let (datagram, _) = socket.recv_from_full().expect("an answer");
        let mut rest = datagram.as_slice();
        while let Some((header, _)) = rest.split_first_chunk::<16>() {
            let flags = u16::from_ne_bytes([header[6], header[7]]);
            if flags & NLM_F_DUMP_INTR != 0 {
                return true;
            }
            if u16::from_ne_bytes([header[4], header[5]]) == libc::NLMSG_DONE as u16 {
                return false;
            }
            let len = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
            rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = (16 + body.len() as u32).to_ne_bytes().to_vec();
    bytes.extend([kind.to_ne_bytes(), flags.to_ne_bytes()].concat());
    bytes.extend([0; 8]);
    bytes.extend(body);
    bytes
}

/// Whoever may may send to the groups that the kernel tells its events to.
#[test]
fn events_that_are_not_the_kernels_are_not_heeded() {
    const GROUP_IPV4_ROUTE: u32 = 1 << (7 - 1);
    const GROUP_LINK: u32 = 1;
    isolated("resync::events_that_are_not_the_kernels_are_not_heeded", || {
        run(async || {
            let mut watches = watch::both();
            // What the kernel still has to say of a namespace that is new; to one while the other one is listened to, too.
            for place in [0, 1, 0, 1] {
                while watches[place].wait(Duration::from_millis(100)).await {}
            }
            let counted = |watch: &Watch| {
                let counts = watch.follower.counts();
                (counts.events, counts.resyncs, watch.fib.entries())
            };
            let before = [0, 1].map(|place: usize| counted(&watches[place]));
            let mut foreign = Socket::new(NETLINK_ROUTE).expect("a netlink socket");
            foreign.bind_auto().expect("an address of its own");
            // 10.66.0.0/16 unreachable, in table main.
            let route = [libc::AF_INET as u8, 16, 0, 0, 254, 3, 0, 7, 0, 0, 0, 0, 8, 0, 1, 0, 10, 66, 0, 0];
            for (group, bytes) in [
                (GROUP_IPV4_ROUTE, message(libc::RTM_NEWROUTE, libc::NLM_F_CREATE as u16, &route)),
                (GROUP_IPV4_ROUTE, message(libc::RTM_NEWROUTE, 0, &route[..13])),
                (GROUP_LINK, message(libc::RTM_DELLINK, 0, &[0; 3])),
                (GROUP_LINK, b"neither header nor length".to_vec()),
            ] {
                foreign.send_to(&bytes, &SocketAddr::new(0, group), 0).expect("it is sent");
            }
            for (watch, before) in watches.iter_mut().zip(before) {
                assert!(
                    !watch.wait(Duration::from_millis(100)).await,
                    "{}: something was published",
                    watch.how
                );
                assert_eq!(counted(watch), before, "{}", watch.how);
            }
            // The kernel's are.
            let entries = watches[1].fib.entries();
            assert!(ip("", &["route add unreachable 10.66.0.0/16"]).is_empty());
            settle(&mut watches).await;
            assert_ne!(watches[1].fib.entries(), entries);
        });
    });
}

/// The kernel tells nobody of address labels, and of few sysctls: a comparison finds them, also of small tables.
#[test]
fn what_the_kernel_tells_nobody_of_is_found_by_a_comparison() {
    const SOON: Duration = Duration::from_millis(50);
    isolated("resync::what_the_kernel_tells_nobody_of_is_found_by_a_comparison", || {
        run(async || {
            let options =
                |redump_below| FollowOptions { redump_below, audit_every: SOON, audit_doubts_after: SOON };
            let mut watches = [
                Watch::with("small", options(usize::MAX)),
                Watch::with("followed event by event", options(0)),
            ];
            let label = "addrlabel add prefix 2001:db8:77::/48 label 99";
            assert!(ip("", &[label]).is_empty());
            for watch in &mut watches {
                watch.catch_up().await.unwrap_or_else(|how| panic!("{how}"));
                let counts = watch.follower.counts();
                assert!(counts.audits > 0, "{}: {counts:?}", watch.how);
                assert_eq!(counts.mismatches, 0, "{}: nobody could have known", watch.how);
            }
            std::fs::write("/proc/sys/net/ipv6/conf/v0/use_oif_addrs_only", "1").expect("a sysctl");
            for watch in &mut watches {
                watch.catch_up().await.unwrap_or_else(|how| panic!("{how}"));
                let counts = watch.follower.counts();
                assert_eq!(counts.mismatches, 1, "{}: {counts:?}", watch.how);
            }
        });
    });
}
