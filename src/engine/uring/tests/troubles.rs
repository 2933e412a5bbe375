//! What a network, a kernel or a system under pressure does to an engine.

use std::net::{IpAddr, SocketAddrV6};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::super::*;
use super::harness::*;
use crate::cli::netns::{Host, add_address, add_veth, netlink, up};

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
fn all_send_buffers_in_use_is_told_and_the_next_are_served() {
    let sizes = Sizes { send_buffers: 4, ..Sizes::DEFAULT };
    inside(move || {
        let (go, gate) = mpsc::channel();
        let echo = Echo { gate: Some(gate), ..Echo::on(&open(OWN)) };
        let (echo, _) = run_with(sizes, echo, move |talk| {
            let client = Client::new();
            (0..BURST).for_each(|_| client.send(b"x"));
            go.send(()).unwrap();
            talk.until_received(BURST);
            client.receive_all(4);
            for count in 1..=BURST {
                client.send(b"y");
                talk.until_received(BURST + count);
                client.receive_all(1);
            }
            talk.until_ended(4 + BURST);
        });
        echo.assert_accounted();
        assert!((1..=BURST - 4).contains(&echo.no_buffer), "{} without a buffer", echo.no_buffer);
    });
}

#[test]
fn completions_that_find_no_room_are_fetched_and_every_failure_finds_its_send() {
    let sizes = Sizes { receive_buffers: 64, submissions: 16, completions: 16, ..Sizes::DEFAULT };
    inside(move || {
        let (go, gate) = mpsc::channel();
        let to = Some("192.0.2.1:5060".parse().unwrap());
        let echo = Echo { gate: Some(gate), to, ..Echo::on(&open(OWN)) };
        let (echo, metrics) = run_with(sizes, echo, move |talk| {
            let client = Client::new();
            for _ in 0..BURST {
                // No route to it, so that its send has a completion; and one that goes well, and has none.
                client.send(b"away");
                client.send(b"x");
            }
            go.send(()).unwrap();
            talk.until_ended(2 * BURST);
            client.receive_all(BURST);
            client.send(b"later");
            client.receive_all(1);
            talk.until_ended(2 * BURST + 1);
        });
        assert_eq!(echo.failed, vec![libc::ENETUNREACH; BURST]);
        assert_eq!(echo.sent, BURST + 1);
        assert!(metrics.ring_overflows.get() > 0, "the ring was to overflow");
    });
}

#[test]
fn a_datagram_larger_than_the_buffer_is_told_to_be_cut() {
    let sizes = Sizes { message_bytes: 1_000, ..Sizes::DEFAULT };
    inside(move || {
        let (echo, _) = run_with(sizes, Echo::on(&open(OWN)), |_| {
            let client = Client::new();
            for (len, heard) in [(999, 999), (1_000, 1_000), (1_001, 1_000), (9_000, 1_000), (1, 1)] {
                client.send(&vec![b'x'; len]);
                assert_eq!(client.receive().expect("an answer").len(), heard);
            }
        });
        assert_eq!((echo.received(), echo.truncated), (5, 2));
    });
}

#[test]
fn an_error_that_icmp_tells_a_connected_socket_ends_no_service() {
    let peer = "127.0.0.1:9";
    inside(move || {
        let socket = open(OWN);
        // Only a connected socket is told such errors; those that are being closed are connected, to this.
        socket.leave_group().unwrap();
        let (go, gate) = mpsc::channel();
        let echo = Echo { gate: Some(gate), ..Echo::on(&socket) };
        let (echo, metrics) = run(echo, move |talk| {
            let client = Client::between(peer, OWN);
            client.send(b"x");
            drop(client);
            go.send(()).unwrap();
            talk.until_ended(1);
            let client = Client::between(peer, OWN);
            client.send(b"y");
            client.receive_all(1);
            talk.until_ended(2);
        });
        assert_eq!((echo.received(), echo.sent), (2, 2));
        assert_eq!((metrics.receive_restarts.get(), metrics.receive_starved.get()), (1, 0));
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
        assert!(socket.drops() > 0, "{SENT} datagrams do not fit into 16 KiB");
        assert_eq!(echo.received() + socket.drops() as usize, SENT);
    });
}
