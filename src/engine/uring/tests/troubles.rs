//! What a network, a kernel or a system under pressure does to an engine.

use std::sync::mpsc;
use std::time::Duration;

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

/// Closes the first of its sockets by the first datagram there, and writes to the second one then, which ends it.
struct Closing {
    sockets: Vec<(SocketId, Arc<Socket>)>,
    second: SocketAddr,
    written: Option<Instant>,
    /// From then until the second one's datagram.
    took: Option<Duration>,
}

impl<'m> Shard<Engine<'m>> for Closing {
    fn begin(&mut self, io: &mut Engine<'m>, _: Now) {
        self.sockets.drain(..).for_each(|(id, socket)| io.open(id, &socket));
    }

    fn on_event(&mut self, io: &mut Engine<'m>, event: Event<'_>) {
        match (event, self.written) {
            (Event::Datagram { .. }, None) => {
                let tx = io.tx().expect("a send buffer");
                io.send(tx, 1, SocketId(0), self.second, 0);
                io.close(SocketId(0));
                self.written = Some(Instant::now());
            }
            (Event::Datagram { on: SocketId(1), .. }, Some(written)) => self.took = Some(written.elapsed()),
            _ => {}
        }
    }

    fn end(&mut self, _: &mut Engine<'m>) -> Next {
        if self.took.is_some() { Next::Stop } else { Next::Wait(None) }
    }
}

/// What a closing socket still has to send is submitted before it goes, and with that the kernel tells what has come meanwhile.
#[test]
fn what_comes_while_a_socket_is_let_go_of_is_not_slept_on() {
    const LENT: u16 = 8;
    let sizes = Sizes { receive_buffers: LENT, ..Sizes::DEFAULT };
    let took = |first: u16| {
        let own = [first, first + 1].map(|port| format!("127.0.0.1:{port}"));
        let sockets = (0..).map(SocketId).zip(own.iter().map(|own| open(own))).collect();
        let client = Client::between("127.0.0.1:0", &own[0]);
        // The receive takes as many as buffers are lent and ends, so that the socket goes in the batch that closes it.
        (0..=LENT).for_each(|_| client.send(b"x"));
        let metrics = EngineMetrics::default();
        let mut engine = Engine::with(sizes, &metrics).unwrap();
        let mut shard = Closing { sockets, second: own[1].parse().unwrap(), written: None, took: None };
        engine.run(&mut shard).unwrap();
        shard.took.unwrap()
    };
    inside(move || {
        let tries: Vec<_> = (0..3).map(|n| took(6500 + 2 * n)).collect();
        // The processor may be elsewhere whenever it likes: one try in which it is not is enough.
        assert!(tries.iter().any(|took| *took < Duration::from_nanos(LONGEST_WAIT_NS) / 2), "{tries:?}");
    });
}
