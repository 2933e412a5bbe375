//! Datagrams over the loopback device, on the engine of the module that this one stands in.

use std::net::{IpAddr, SocketAddrV6, UdpSocket};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::super::*;
use super::{drive, run};
use crate::cli::netns::{Host, add_address, add_veth, netlink, up};
use crate::engine::Event;
use crate::engine::tests::harness::{BURST, Client, Echo, OWN, STEP, inside, listener, open};
use crate::limits::{ENGINE_SOCKETS, SENDS_PER_SUBMIT};
use crate::metrics::Drops;

/// Makes an interface `v0` with an address; nobody answers on its other side.
fn silent_link(address: &str) -> Host {
    let address: IpAddr = address.parse().unwrap();
    let other = Host::new().unwrap();
    netlink(async |handle| {
        add_veth(handle, "v0", &other, "p0").await?;
        up(handle, "v0").await?;
        add_address(handle, "v0", address).await
    })
    .unwrap();
    other.inside(|| netlink(async |handle| up(handle, "p0").await)).unwrap();
    other
}

#[test]
fn every_datagram_comes_back() {
    const ROUNDS: usize = 100;
    inside(|| {
        let socket = open(OWN);
        let (echo, metrics) = run(Echo::on(&socket), |talk| {
            let client = Client::new();
            for round in 1..=ROUNDS {
                for number in 0..BURST {
                    client.send(&[round as u8, number as u8]);
                }
                talk.until_ended(round * BURST);
                client.receive_all(BURST);
            }
        });
        assert_eq!(echo.received() + socket.drops().full as usize, ROUNDS * BURST);
        assert_eq!((echo.sent, echo.failed.len()), (echo.received(), 0));
        assert_eq!(metrics.receive_restarts.get(), 0);
    });
}

#[test]
fn each_datagram_tells_how_long_it_has_waited() {
    inside(|| {
        for bind in [OWN, "[::1]:5060"] {
            let socket = open(bind);
            // The kernel begins to stamp what comes a moment after the first socket has asked for it.
            std::thread::sleep(Duration::from_millis(100));
            let (go, gate) = mpsc::channel();
            let echo = Echo { gate: Some(gate), ..Echo::on(&socket) };
            let to = bind.to_owned();
            let (echo, _) = run(echo, move |talk| {
                let own = if to == OWN { "127.0.0.1:0" } else { "[::1]:0" };
                let client = Client::between(own, &to);
                client.send(b"early");
                // It waits in the socket, which is not yet read.
                std::thread::sleep(Duration::from_millis(80));
                go.send(()).unwrap();
                talk.until_ended(1);
                client.send(b"late");
                talk.until_ended(2);
            });
            let [Some(early), Some(late)] = echo.waited_ns[..] else { panic!("{:?}", echo.waited_ns) };
            assert!((80_000_000..5_000_000_000).contains(&early) && late < early, "{early}, {late}");
        }
    });
}

#[test]
fn the_largest_datagram_passes_whole() {
    inside(|| {
        let (echo, _) = run(Echo::on(&open(OWN)), |_| {
            let client = Client::new();
            let large: Vec<u8> = (0..65_507u32).map(|n| n as u8).collect();
            client.send(&large);
            assert!(client.receive().expect("the large one comes back") == large);
            client.send(b"");
            assert_eq!(client.receive().expect("the empty one comes back"), b"");
        });
        assert_eq!((echo.received(), echo.truncated), (2, 0));
    });
}

#[test]
fn what_a_filter_drops_is_counted_by_itself() {
    inside(|| {
        let socket = open(OWN);
        let (echo, _) = run(Echo::on(&socket), |_| {
            let client = Client::new();
            let exchange = |bytes: &[u8]| {
                client.send(bytes);
                assert_eq!(client.receive().as_deref(), Some(bytes));
            };
            exchange(b"dropped?");
            exchange(b"filter");
            (0..3).for_each(|_| client.send(b"dropped"));
            exchange(b"kept");
            // Another one in its place.
            exchange(b"filter");
            client.send(b"dropped");
            exchange(b"everything");
            exchange(b"dropped?");
        });
        assert_eq!(socket.drops(), Drops { full: 0, filtered: 4 });
        assert_eq!((echo.received(), echo.sent), (6, 6));
        // Whoever opens it next knows of no filter.
        let (echo, _) = run(Echo::on(&socket), |_| {
            let client = Client::new();
            client.send(b"filter");
            assert!(client.receive().is_some());
        });
        assert_eq!(echo.received(), 1);
        // Until then it is there.
        let (echo, _) = run(Echo::on(&socket), |_| Client::new().insist(b"dropped?"));
        assert!(echo.received() > 0);
        assert_eq!(socket.drops().full, 0);
    });
}

#[test]
fn a_send_that_the_kernel_refuses_is_told_and_nothing_else_suffers() {
    inside(|| {
        let to = Some("192.0.2.1:5060".parse().unwrap());
        let echo = Echo { to, ..Echo::on(&open(OWN)) };
        let (echo, _) = run(echo, |talk| {
            let client = Client::new();
            client.send(b"away");
            client.send(b"away");
            client.send(b"x");
            client.receive_all(1);
            talk.until_ended(3);
        });
        // The namespace has no route to it.
        assert_eq!(echo.failed, [libc::ENETUNREACH, libc::ENETUNREACH]);
        assert_eq!(echo.sent, 1);
    });
}

#[test]
fn a_port_that_nobody_has_does_not_end_the_receive() {
    inside(|| {
        let to = Some("127.0.0.1:9".parse().unwrap());
        let echo = Echo { to, ..Echo::on(&open(OWN)) };
        let (echo, metrics) = run(echo, |talk| {
            let client = Client::new();
            for count in 1..=100 {
                client.send(b"away");
                talk.until_ended(count);
            }
        });
        assert_eq!((echo.received(), echo.sent), (100, 100));
        assert_eq!(metrics.receive_restarts.get(), 0);
    });
}

#[test]
fn a_socket_is_drained_before_it_is_closed() {
    inside(|| {
        let sockets = vec![(SocketId(0), open(OWN)), (SocketId(1), open("127.0.0.1:5070"))];
        let echo = Echo { sockets, ..Echo::default() };
        let (echo, _) = run(echo, |talk| {
            let client = Client::new();
            for _ in 0..BURST {
                client.send(b"x");
            }
            client.send(b"close");
            client.receive_all(BURST);
            talk.until_closed(1);
            // The port is free again once the socket is closed; the other one still answers.
            let deadline = Instant::now() + STEP;
            while UdpSocket::bind(OWN).is_err() {
                assert!(Instant::now() < deadline, "the port is not free");
                std::thread::sleep(Duration::from_millis(5));
            }
            let other = UdpSocket::bind("127.0.0.1:0").unwrap();
            other.set_read_timeout(Some(STEP)).unwrap();
            other.send_to(b"y", "127.0.0.1:5070").unwrap();
            other.recv(&mut [0; 64]).expect("the other socket answers");
        });
        assert_eq!(echo.closed, [SocketId(0)]);
        assert_eq!(echo.received(), BURST + 2);
        echo.assert_accounted();
    });
}

#[test]
fn a_socket_without_a_place_is_refused_and_the_others_are_served() {
    inside(|| {
        let nowhere = SocketId(ENGINE_SOCKETS);
        let sockets = vec![(nowhere, open("127.0.0.1:5070")), (SocketId(0), open(OWN))];
        let (echo, _) = run(Echo { sockets, ..Echo::default() }, |talk| {
            talk.until_closed(1);
            let client = Client::new();
            client.send(b"x");
            client.receive_all(1);
            talk.until_ended(1);
        });
        assert_eq!((echo.sent, &echo.closed[..]), (1, &[nowhere][..]));
    });
}

#[test]
fn a_closing_socket_leaves_its_group_to_the_others() {
    inside(|| {
        let sockets = vec![(SocketId(0), open(OWN)), (SocketId(1), open(OWN))];
        let echo = Echo { sockets, ..Echo::default() };
        let (echo, _) = run(echo, |talk| {
            Client::new().send(b"close");
            talk.until_received(1);
            for _ in 0..200 {
                // A new port each time, so that the kernel would choose either socket.
                let client = Client::new();
                client.send(b"x");
                client.receive().expect("the socket that is left answers");
            }
        });
        assert_eq!((echo.received(), echo.closed.len()), (201, 1));
        echo.assert_accounted();
    });
}

#[test]
fn a_waker_ends_a_sleep() {
    struct Sleeper(Vec<Duration>, Instant);
    impl<'m> Shard<Engine<'m>> for Sleeper {
        fn begin(&mut self, _: &mut Engine<'m>, _: Now) {
            self.0.push(self.1.elapsed());
            self.1 = Instant::now();
        }
        fn on_event(&mut self, _: &mut Engine<'m>, _: Event<'_>) {}
        fn end(&mut self, _: &mut Engine<'m>) -> Next {
            if self.0.len() > 20 { Next::Stop } else { Next::Wait(None) }
        }
    }
    let metrics = EngineMetrics::default();
    let mut engine = Engine::new(&metrics).unwrap();
    let waker = engine.waker();
    let thread = std::thread::spawn(move || {
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(20));
            waker.wake();
        }
    });
    let mut sleeper = Sleeper(Vec::new(), Instant::now());
    drive(&mut engine, &mut sleeper);
    thread.join().unwrap();
    // On a slow machine some sleeps end late, but without the waker every one lasts a second.
    let short = sleeper.0.iter().filter(|d| d.as_nanos() < u128::from(LONGEST_WAIT_NS) * 9 / 10).count();
    assert!(short >= 10, "{:?}", sleeper.0);
}

#[test]
fn who_is_woken_within_a_batch_begins_another_one() {
    struct Busy(Waker, Arc<Socket>, SocketAddr, Vec<Instant>);
    impl<'m> Shard<Engine<'m>> for Busy {
        fn begin(&mut self, io: &mut Engine<'m>, _: Now) {
            self.3.push(Instant::now());
            match self.3.len() {
                1 => io.open(SocketId(0), &self.1),
                // So many sends are submitted while completions are looked at, and with them the next read of the
                // waker, which finds this wake-up.
                2 => {
                    for _ in 0..SENDS_PER_SUBMIT {
                        let tx = io.tx().expect("a send buffer");
                        io.send(tx, 1, SocketId(0), self.2, 0);
                    }
                }
                _ => return,
            }
            self.0.wake();
        }
        fn on_event(&mut self, _: &mut Engine<'m>, _: Event<'_>) {}
        fn end(&mut self, _: &mut Engine<'m>) -> Next {
            if self.3.len() > 2 { Next::Stop } else { Next::Wait(None) }
        }
    }
    inside(|| {
        let sink = UdpSocket::bind("127.0.0.1:0").unwrap();
        let metrics = EngineMetrics::default();
        let mut engine = Engine::new(&metrics).unwrap();
        let mut busy = Busy(engine.waker(), open(OWN), sink.local_addr().unwrap(), Vec::new());
        drive(&mut engine, &mut busy);
        let slept = busy.3[2] - busy.3[1];
        assert!(slept.as_nanos() < u128::from(LONGEST_WAIT_NS) / 2, "{slept:?}");
    });
}

#[test]
fn a_full_send_buffer_costs_what_does_not_fit_and_no_other_socket_anything() {
    const SENT: usize = 64;
    inside(|| {
        let _other = silent_link("10.77.0.1");
        // What waits for a neighbour's address is charged to its socket: some twenty of these.
        let small = Arc::new(Socket::open(&listener("10.77.0.1:5060"), 8 << 10).unwrap());
        let sockets = vec![(SocketId(0), small), (SocketId(1), open("10.77.0.1:5070"))];
        let to = Some("10.77.0.9:5060".parse().unwrap());
        let (echo, _) = run(Echo { sockets, to, ..Echo::default() }, |talk| {
            let client = Client::between("10.77.0.1:0", "10.77.0.1:5060");
            for count in 1..=SENT {
                client.send(b"away");
                talk.until_ended(count);
            }
            let client = Client::between("10.77.0.1:0", "10.77.0.1:5070");
            for _ in 0..SENT {
                client.send(b"x");
                client.receive_all(1);
            }
            talk.until_ended(2 * SENT);
        });
        echo.assert_accounted();
        assert!(echo.failed.iter().all(|errno| *errno == libc::EAGAIN), "{:?}", echo.failed);
        assert!((1..SENT).contains(&echo.failed.len()), "{} of {SENT} refused", echo.failed.len());
        assert_eq!(echo.sent, 2 * SENT - echo.failed.len());
    });
}

#[test]
fn a_flood_does_not_keep_a_socket_from_closing() {
    inside(|| {
        let (echo, _) = run(Echo::on(&open(OWN)), |talk| {
            let client = Client::new();
            (0..BURST).for_each(|_| client.throw(b"x"));
            talk.until_received(1);
            let begun = Instant::now();
            client.throw(b"close");
            while !talk.any_closed() {
                // One that is lost in the flood is said again.
                client.throw(b"close");
                (0..BURST).for_each(|_| client.throw(b"x"));
                assert!(begun.elapsed() < STEP, "still open");
            }
        });
        assert_eq!(echo.closed, [SocketId(0)]);
    });
}

#[test]
fn signals_interrupt_nothing_but_the_sleep() {
    extern "C" fn nothing(_: libc::c_int) {}
    // SAFETY: an all-zero sigaction is valid; the handler does nothing. Without SA_RESTART the call that is
    // interrupted ends with EINTR.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
        assert_eq!(libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()), 0);
    }
    inside(|| {
        let (echo, metrics) = run(Echo::on(&open(OWN)), |talk| {
            let client = Client::new();
            for count in 1..=50 {
                // It sleeps by now, or soon; what is in its way is interrupted there.
                std::thread::sleep(Duration::from_millis(2));
                talk.interrupt();
                client.send(b"x");
                talk.interrupt();
                client.receive_all(1);
                talk.until_ended(count);
            }
        });
        assert_eq!((echo.received(), echo.sent), (50, 50));
        assert_eq!(metrics.receive_restarts.get(), 0);
    });
}

#[test]
fn a_link_local_address_keeps_its_scope_from_the_first_datagram_to_the_last() {
    inside(|| {
        let _other = silent_link("fe80::77");
        let scope = nix::net::if_::if_nametoindex("v0").unwrap();
        let mut own = listener("[::1]:5060");
        own.bind = SocketAddrV6::new("fe80::77".parse().unwrap(), 5060, 0, scope).into();
        let bind = own.bind.to_string();
        let (echo, _) = run(Echo::on(&Arc::new(Socket::open(&own, 1 << 16).unwrap())), move |talk| {
            let client = Client::between(&bind.replace(":5060", ":7777"), &bind);
            client.insist(b"x");
            client.send(b"close");
            talk.until_closed(1);
        });
        let from = SocketAddrV6::new("fe80::77".parse().unwrap(), 7777, 0, scope);
        assert_eq!(echo.from, Some(from.into()));
        echo.assert_accounted();
        assert!(echo.sent > 0 && echo.failed.is_empty());
    });
}

#[test]
fn drops_of_a_full_receive_buffer_are_read_from_the_kernel() {
    const SENT: usize = 200;
    inside(|| {
        let socket = Arc::new(Socket::open(&listener(OWN), 8 << 10).unwrap());
        let (receive, send) = socket.buffers().unwrap();
        assert_eq!((receive, send), (8 << 10, 8 << 10), "what was asked for was granted");
        let (go, gate) = mpsc::channel();
        let echo = Echo { gate: Some(gate), ..Echo::on(&socket) };
        let (echo, _) = run(echo, move |talk| {
            let client = Client::new();
            (0..SENT).for_each(|_| client.send(b"x"));
            go.send(()).unwrap();
            talk.until_received(SENT);
        });
        assert!(socket.drops().full > 0, "{SENT} datagrams do not fit into 16 KiB");
        assert_eq!(echo.received() + socket.drops().full as usize, SENT);
    });
}
