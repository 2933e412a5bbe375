//! The engine over the loopback device of a network namespace of its own.

// They stand in the tests of `uring`, too: what both have to do.
#[allow(clippy::duplicate_mod)]
#[path = "../tests/datagrams.rs"]
mod datagrams;
#[allow(clippy::duplicate_mod)]
#[path = "../tests/streams.rs"]
mod streams;

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use super::*;
use crate::engine::Event;
use crate::engine::tests::harness::{self, Client, Echo, OWN, STEP, Talk, inside, open};

/// Runs the shard while `talk` talks to it, and stops it then. Returns shard and metrics.
fn run(echo: Echo, talk: impl FnOnce(&Talk) + Send + 'static) -> (Echo, EngineMetrics) {
    run_accepting_below(i32::MAX, echo, talk)
}

/// [`run`] on an engine that accepts connections with descriptors below this one.
fn run_accepting_below(
    below: i32,
    echo: Echo,
    talk: impl FnOnce(&Talk) + Send + 'static,
) -> (Echo, EngineMetrics) {
    harness::run(echo, talk, move |echo, metrics, begin| {
        let mut engine = Engine::new(metrics).unwrap();
        engine.accept_below = below;
        begin(engine.waker());
        engine.run(echo);
        assert_eq!(engine.sends.used(), 0, "a send buffer was lost");
    })
}

/// Runs a shard by itself.
fn drive<'m>(engine: &mut Engine<'m>, shard: &mut impl Shard<Engine<'m>>) {
    engine.run(shard);
}

#[test]
fn more_than_a_turn_reads_is_read_in_the_next_ones() {
    const SENT: usize = 5 * crate::limits::SENDS_PER_SUBMIT;
    inside(|| {
        let (go, gate) = std::sync::mpsc::channel();
        let echo = Echo { gate: Some(gate), ..Echo::on(&open(OWN)) };
        let (echo, _) = run(echo, move |talk| {
            let client = Client::new();
            (0..SENT).for_each(|_| client.send(b"x"));
            go.send(()).unwrap();
            talk.until_ended(SENT);
        });
        echo.assert_accounted();
        assert!(
            echo.received() > SENT / 2 && echo.batches >= echo.received() / crate::limits::SENDS_PER_SUBMIT
        );
    });
}

#[test]
fn a_panic_of_the_shard_leaves_nothing_behind() {
    struct Panics(Option<Arc<Socket>>);
    impl<'m> Shard<Engine<'m>> for Panics {
        fn begin(&mut self, io: &mut Engine<'m>, _: Now) {
            if let Some(socket) = self.0.take() {
                io.open(SocketId(0), &socket);
            }
        }
        fn on_event(&mut self, _: &mut Engine<'m>, _: Event<'_>) {
            panic!("as this shard does");
        }
        fn end(&mut self, _: &mut Engine<'m>) -> Next {
            Next::Wait(None)
        }
    }
    inside(|| {
        let metrics = EngineMetrics::default();
        let mut engine = Engine::new(&metrics).unwrap();
        let mut shard = Panics(Some(open(OWN)));
        Client::new().send(b"x");
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| engine.run(&mut shard))).unwrap_err();
        drop(engine);
        let deadline = Instant::now() + STEP;
        while UdpSocket::bind(OWN).is_err() {
            assert!(Instant::now() < deadline, "the port is not free");
            std::thread::sleep(Duration::from_millis(5));
        }
    });
}

/// A turn that does not wait is still one of the runtime: it would not hear of anything else.
#[test]
fn a_shard_that_never_waits_hears_of_what_comes() {
    struct Restless(Arc<Socket>, usize, Instant);
    impl<'m> Shard<Engine<'m>> for Restless {
        fn begin(&mut self, io: &mut Engine<'m>, _: Now) {
            io.open(SocketId(0), &self.0);
        }
        fn on_event(&mut self, _: &mut Engine<'m>, event: Event<'_>) {
            self.1 += usize::from(matches!(event, Event::Datagram { .. }));
        }
        fn end(&mut self, _: &mut Engine<'m>) -> Next {
            let is_over = self.1 == 3 || self.2.elapsed() > STEP;
            if is_over { Next::Stop } else { Next::Wait(Some(Now(0))) }
        }
    }
    inside(|| {
        let metrics = EngineMetrics::default();
        let mut engine = Engine::new(&metrics).unwrap();
        let mut shard = Restless(open(OWN), 0, Instant::now());
        let client = Client::new();
        let thread = std::thread::spawn(move || {
            for _ in 0..3 {
                std::thread::sleep(Duration::from_millis(20));
                client.send(b"x");
            }
        });
        engine.run(&mut shard);
        thread.join().unwrap();
        assert_eq!(shard.1, 3);
    });
}
