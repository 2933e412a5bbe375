//! What a network, a kernel or a system under pressure does to an engine.

use std::sync::mpsc;

use super::super::*;
use super::{run, run_with};
use crate::engine::tests::harness::{BURST, Client, Echo, OWN, inside, open};

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
