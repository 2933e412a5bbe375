//! The engine over the loopback device of a network namespace of its own.

#[path = "../../tests/datagrams.rs"]
mod datagrams;
#[path = "../../tests/streams.rs"]
mod streams;
mod troubles;
mod turns;

use std::net::UdpSocket;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::*;
use crate::engine::tests::harness::{self, BURST, Client, Echo, OWN, STEP, Talk, inside, listener, open};

/// Runs the shard while `talk` talks to it, and stops it then. Returns shard and metrics.
fn run(echo: Echo, talk: impl FnOnce(&Talk) + std::marker::Send + 'static) -> (Echo, EngineMetrics) {
    run_with(Sizes::DEFAULT, echo, talk)
}

/// [`run`] on an engine that accepts connections with descriptors below this one.
fn run_accepting_below(
    below: i32,
    echo: Echo,
    talk: impl FnOnce(&Talk) + std::marker::Send + 'static,
) -> (Echo, EngineMetrics) {
    run_with(Sizes { accept_below: Some(below), ..Sizes::DEFAULT }, echo, talk)
}

/// [`run`] on an engine of these sizes.
fn run_with(
    sizes: Sizes,
    echo: Echo,
    talk: impl FnOnce(&Talk) + std::marker::Send + 'static,
) -> (Echo, EngineMetrics) {
    harness::run(echo, talk, move |echo, metrics, begin| {
        let mut engine = Engine::with(sizes, metrics).unwrap();
        engine.coalesce(echo.coalesce_ns);
        engine.spin(echo.spin_ns);
        begin(engine.waker());
        engine.run(echo).unwrap();
        assert_eq!(engine.sends.used(), 0, "a send buffer was lost");
    })
}

/// Runs a shard by itself.
fn drive<'m>(engine: &mut Engine<'m>, shard: &mut impl Shard<Engine<'m>>) {
    engine.run(shard).unwrap();
}

/// Sends so many datagrams, which all wait in the socket before the shard, which waits at its gate, runs; and receives as many.
fn burst(talk: &Talk, client: &Client, go: &mpsc::Sender<()>, many: usize) {
    for _ in 0..many {
        client.send(b"x");
    }
    go.send(()).unwrap();
    talk.until_ended(many);
    client.receive_all(many);
}

#[test]
fn an_empty_pool_of_receive_buffers_is_survived() {
    const ROUNDS: usize = 20;
    let sizes = Sizes { receive_buffers: 8, ..Sizes::DEFAULT };
    inside(move || {
        let socket = open(OWN);
        let (go, gate) = mpsc::channel();
        let echo = Echo { gate: Some(gate), ..Echo::on(&socket) };
        let (echo, metrics) = run_with(sizes, echo, move |talk| {
            let client = Client::new();
            // Four times the pool.
            burst(talk, &client, &go, BURST);
            // All that comes later is served as ever.
            for round in 2..=ROUNDS {
                for _ in 0..8 {
                    client.send(b"y");
                }
                talk.until_ended(BURST + (round - 1) * 8);
                client.receive_all(8);
            }
        });
        assert_eq!(socket.drops().full, 0, "the burst fits the socket's buffer");
        assert_eq!((echo.received(), echo.sent), (BURST + (ROUNDS - 1) * 8, echo.received()));
        let (starved, restarts) = (metrics.receive_starved.get(), metrics.receive_restarts.get());
        assert!(starved >= 3, "8 buffers, {BURST} datagrams waiting, starved {starved} times");
        assert_eq!(starved, restarts, "started again once each time");
    });
}

#[test]
fn the_kernel_is_lent_more_buffers_by_a_burst_and_none_of_it_is_lost() {
    const MANY: usize = 200;
    inside(move || {
        let socket = open(OWN);
        let (go, gate) = mpsc::channel();
        let echo = Echo { gate: Some(gate), ..Echo::on(&socket) };
        let (echo, metrics) = run_with(Sizes::DEFAULT, echo, move |talk| {
            burst(talk, &Client::new(), &go, MANY);
        });
        assert_eq!((echo.received(), echo.sent, socket.drops().full), (MANY, MANY, 0));
        assert!(metrics.receive_restarts.get() > 0, "the kernel had fewer than came");
        assert_eq!(metrics.receive_starved.get(), 0, "there were more");
    });
}

#[test]
fn what_a_closing_socket_had_received_is_handled_to_the_last() {
    let sizes = Sizes { receive_buffers: 8, ..Sizes::DEFAULT };
    inside(move || {
        let (go, gate) = mpsc::channel();
        let echo = Echo { gate: Some(gate), ..Echo::on(&open(OWN)) };
        let (echo, _) = run_with(sizes, echo, move |talk| {
            let client = Client::new();
            // The first receive takes eight of these and ends; the rest is behind the one that closes.
            client.send(b"close");
            for _ in 1..BURST {
                client.send(b"x");
            }
            go.send(()).unwrap();
            talk.until_closed(1);
            client.receive_all(BURST - 1);
            talk.until_ended(BURST - 1);
        });
        assert_eq!((echo.received(), echo.sent), (BURST, BURST - 1));
        echo.assert_accounted();
    });
}

#[test]
fn one_wake_up_serves_what_comes_within_the_minimum_wait() {
    const COUNT: usize = 200;
    if !Engine::new(&EngineMetrics::default()).unwrap().coalesce(1_000) {
        return eprintln!("SKIPPED: a ring's minimum wait needs Linux 6.12");
    }
    // Each run has a port of its own: the kernel is still closing the socket of the one before.
    let run = |port, coalesce_ns| {
        let own = format!("127.0.0.1:{port}");
        let echo = Echo { coalesce_ns, ..Echo::on(&open(&own)) };
        let (echo, metrics) = run(echo, move |talk| {
            let client = Client::between("127.0.0.1:0", &own);
            for _ in 0..COUNT {
                client.send(b"x");
                std::thread::sleep(Duration::from_micros(200));
            }
            talk.until_ended(COUNT);
            client.receive_all(COUNT);
        });
        assert_eq!(echo.sent, COUNT);
        (echo.batches, metrics.coalesced_waits.get())
    };
    inside(|| {
        // A busy machine may collect by itself, or pause so long between messages that there is nothing to collect.
        let tries: Vec<_> = (0..5).map(|n| (run(6000 + n, 0), run(7000 + n, 4_000_000))).collect();
        assert!(tries.iter().all(|((_, collected), _)| *collected == 0), "{tries:?}");
        let is_shown =
            |((many, _), (few, waits)): &((usize, u64), (usize, u64))| *waits > 0 && few * 3 < *many;
        assert!(tries.iter().any(is_shown), "{tries:?}");
    });
}

#[test]
fn what_a_single_message_leads_to_leaves_before_the_batch_ends() {
    const COUNT: usize = 8;
    inside(|| {
        for (port, spin_ns, bytes, answers) in [
            (6400, 0, &b"x"[..], 1),
            (6401, 1_000_000_000, b"x", 1),
            (6402, 0, b"thrice", 3),
            (6403, 1_000_000_000, b"thrice", 3),
        ] {
            let own = format!("127.0.0.1:{port}");
            let echo = Echo { spin_ns, ..Echo::on(&open(&own)) };
            let (echo, _) = run(echo, move |_| {
                let client = Client::between("127.0.0.1:0", &own);
                for _ in 0..COUNT {
                    client.send(bytes);
                    client.receive_all(answers);
                }
            });
            assert_eq!((echo.sent, echo.unsent), (COUNT * answers, 0));
        }
        for (port, bytes, all) in [(6404, &b"x"[..], COUNT), (6405, b"thrice", 3 * COUNT)] {
            let own = format!("127.0.0.1:{port}");
            let (go, gate) = mpsc::channel();
            let echo = Echo { gate: Some(gate), ..Echo::on(&open(&own)) };
            let (echo, _) = run(echo, move |talk| {
                let client = Client::between("127.0.0.1:0", &own);
                (0..COUNT).for_each(|_| client.send(bytes));
                go.send(()).unwrap();
                client.receive_all(all);
                talk.until_ended(all);
            });
            assert_eq!((echo.sent, echo.unsent), (all, all), "several leave together");
        }
    });
}

#[test]
fn a_shard_looks_for_a_while_and_then_sleeps() {
    const COUNT: usize = 50;
    const PAUSE: Duration = Duration::from_millis(600);
    // CPU time in a pause, and later in it, and waits that ended before a sleep.
    let run = |port, spin_ns| {
        let own = format!("127.0.0.1:{port}");
        let used = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
        let echo = Echo { spin_ns, ..Echo::on(&open(&own)) };
        let pause = Arc::clone(&used);
        let (echo, metrics) = run(echo, move |talk| {
            let client = Client::between("127.0.0.1:0", &own);
            for _ in 0..COUNT {
                client.send(b"x");
                std::thread::sleep(Duration::from_millis(1));
            }
            talk.until_ended(COUNT);
            client.receive_all(COUNT);
            for part in &*pause {
                let before = talk.cpu();
                std::thread::sleep(PAUSE);
                part.store((talk.cpu() - before).as_nanos() as u64, Ordering::Relaxed);
                std::thread::sleep(PAUSE);
            }
        });
        assert_eq!(echo.sent, COUNT);
        // While it looks and nothing comes, and a turn follows each time.
        assert!(
            (echo.idle > 0) == (spin_ns > 0) && echo.idle <= echo.batches,
            "{} {}",
            echo.idle,
            echo.batches
        );
        let [first, later] =
            [0, 1].map(|part: usize| Duration::from_nanos(used[part].load(Ordering::Relaxed)));
        (first, later, metrics.spun_waits.get())
    };
    inside(|| {
        let shown = (0..5).any(|n| {
            let tried = [(6100, 0), (6200, 20_000_000), (6300, 1_000_000_000)];
            let tried = tried.map(|(port, spin_ns)| run(port + n, spin_ns));
            let [(_, _, none), (short, asleep, some), (long, awake, all)] = tried;
            assert_eq!(none, 0);
            eprintln!("{tried:?}");
            // A second is for ever.
            short * 4 < long && asleep * 4 < awake && some > 0 && all > 0
        });
        // The processor may be elsewhere whenever it likes: one try in which it is not is enough.
        assert!(shown);
    });
}

#[test]
fn errors_of_bind_say_what_to_do() {
    inside(|| {
        let _taken = UdpSocket::bind(OWN).unwrap();
        let error = Socket::open(&listener(OWN), 1 << 20).unwrap_err();
        assert!(error.to_string().contains("in use by another program; see: ss -lunp"), "{error}");
        let mut on_device = listener("127.0.0.1:5099");
        on_device.device = Some("nosuch0".into());
        let error = Socket::open(&on_device, 1 << 20).unwrap_err();
        assert!(error.to_string().contains("SO_BINDTODEVICE nosuch0"), "{error}");
        let absent = Socket::open(&listener("192.0.2.77:5060"), 1 << 20).unwrap();
        assert!(absent.buffers().unwrap().0 >= 1 << 16);
    });
}

/// Processor time of this thread.
fn processor_time() -> Duration {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap();
    Duration::new(now.tv_sec() as u64, now.tv_nsec() as u32)
}

#[test]
fn a_batch_costs_the_same_however_many_sockets_there_could_be() {
    const BATCHES: u32 = 500;
    struct Restless(Waker, u32);
    impl<'m> Shard<Engine<'m>> for Restless {
        fn begin(&mut self, _: &mut Engine<'m>, _: Now) {}
        fn on_event(&mut self, _: &mut Engine<'m>, _: Event<'_>) {}
        fn end(&mut self, _: &mut Engine<'m>) -> Next {
            self.0.wake();
            self.1 += 1;
            if self.1 < BATCHES { Next::Wait(None) } else { Next::Stop }
        }
    }
    let metrics = EngineMetrics::default();
    let mut engine = Engine::new(&metrics).unwrap();
    let mut cost = || {
        let begun = processor_time();
        let mut shard = Restless(engine.waker(), 0);
        engine.run(&mut shard).unwrap();
        (processor_time() - begun) / BATCHES
    };
    let least = (0..5).map(|_| cost()).min().unwrap();
    assert!(
        least < Duration::from_micros(15),
        "{least:?} a batch: does it look at every place for a socket?"
    );
}

#[test]
fn a_panic_of_the_shard_leaves_nothing_behind() {
    struct Panics(Option<Arc<Socket>>, Vec<Tx>);
    impl<'m> Shard<Engine<'m>> for Panics {
        fn begin(&mut self, io: &mut Engine<'m>, _: Now) {
            if let Some(socket) = self.0.take() {
                io.open(SocketId(0), &socket);
            }
        }
        fn on_event(&mut self, io: &mut Engine<'m>, _: Event<'_>) {
            self.1.extend(io.tx());
            panic!("as this shard does");
        }
        fn end(&mut self, _: &mut Engine<'m>) -> Next {
            Next::Wait(None)
        }
    }
    inside(|| {
        let metrics = EngineMetrics::default();
        let mut engine = Engine::new(&metrics).unwrap();
        let mut shard = Panics(Some(open(OWN)), Vec::new());
        let client = Client::new();
        client.send(b"x");
        client.send(b"y");
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| engine.run(&mut shard))).unwrap_err();
        let ready = std::mem::take(&mut engine.ready);
        assert!(engine.ring.quiesce(ready.into_iter()), "the kernel has ended all that it was doing");
        drop(engine);
        // A buffer that the shard still holds is still memory.
        let held = shard.1[0].as_mut();
        held.fill(7);
        assert_eq!(held.iter().map(|b| usize::from(*b)).sum::<usize>(), 7 * MESSAGE_BYTES);
        let deadline = Instant::now() + STEP;
        while UdpSocket::bind(OWN).is_err() {
            assert!(Instant::now() < deadline, "the port is not free");
            std::thread::sleep(Duration::from_millis(5));
        }
    });
}

#[test]
#[should_panic(expected = "a send buffer of another engine")]
fn a_send_buffer_of_another_engine_is_refused() {
    let metrics = EngineMetrics::default();
    let mut one = Engine::new(&metrics).unwrap();
    let mut other = Engine::new(&metrics).unwrap();
    let tx = one.tx().unwrap();
    other.discard(tx);
}
