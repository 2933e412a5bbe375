//! Peers that do not behave, one kind a test: each is cut off as it deserves, and leaves neither memory nor files.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::metrics::Metrics;
use crate::tcp::{connect, ended, options, read_message, reset, until_open};
use crate::viaduct::{Home, KEEPING_RELAY, LISTENERS, Viaduct};
use crate::world::{EDGE, PATIENCE, World, eventually};

/// What may be left of a peak: the allocator keeps some, and the process's tables grow with their first use.
const SPARE_BYTES: u64 = 24 << 20;

fn home(tcp: &str) -> Home {
    Home::new(&format!("[tcp]\n{tcp}\n{LISTENERS}{KEEPING_RELAY}"))
}

/// Files and memory of the process.
struct Level {
    files: usize,
    bytes: u64,
}

impl Level {
    fn of(viaduct: &Viaduct<'_>) -> Self {
        Self { files: viaduct.descriptors(), bytes: resident(&viaduct.metrics()) }
    }

    /// Once somebody has been served, and has gone.
    fn at_rest(world: &World, viaduct: &Viaduct<'_>) -> Self {
        is_served(world, "before");
        until_open(viaduct, 0);
        Self::of(viaduct)
    }

    /// Waits until it is as before, and no connection has left anything.
    fn until_back(&self, viaduct: &Viaduct<'_>) {
        until_open(viaduct, 0);
        eventually("all files are closed", || (viaduct.descriptors() <= self.files).then_some(()));
        let metrics = viaduct.metrics();
        for kept in ["viaduct_connections_kept_bytes", "viaduct_connections_unsent_bytes"] {
            assert_eq!(metrics.sum(kept, &[]), 0, "{kept}");
        }
        let now = resident(&metrics);
        assert!(now <= self.bytes + SPARE_BYTES, "{now} bytes after {}", self.bytes);
        // Every connection that has come has gone in one way.
        let came = metrics.sum("viaduct_connections_accepted_total", &[])
            + metrics.sum("viaduct_connections_opened_total", &[]);
        assert_eq!(metrics.sum("viaduct_connections_ended_total", &[]), came);
    }
}

fn resident(metrics: &Metrics) -> u64 {
    metrics.sum("viaduct_resident_memory_bytes", &[])
}

/// Somebody who behaves is served meanwhile.
fn is_served(world: &World, branch: &str) {
    let mut good = connect(&world.public, EDGE);
    good.write_all(options("sip:1.2.3.4", branch).as_bytes()).expect("a request");
    assert!(read_message(&mut good).starts_with("SIP/2.0 200 "));
}

#[test]
fn a_peer_that_never_reads_is_not_read_and_cut_off() {
    let world = World::new();
    let home = home("queue = \"128KiB\"");
    let viaduct = home.start(&world);
    let before = Level::at_rest(&world, &viaduct);
    let mut deaf = connect(&world.public, EDGE);
    deaf.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    let many: String = (0..100).map(|n| options("sip:1.2.3.4", &format!("deaf{n}"))).collect();
    let begin = Instant::now();
    let mut most = 0;
    while deaf.write_all(many.as_bytes()).is_ok() {
        most = most.max(viaduct.metrics().sum("viaduct_connections_unsent_bytes", &[]));
        assert!(begin.elapsed() < 2 * PATIENCE, "it is never cut off");
    }
    // Whoever finds first that it has taken nothing for 10 s, Viaduct or the kernel (TCP_USER_TIMEOUT).
    eventually("its connection has ended", || {
        let metrics = viaduct.metrics();
        (ended(&metrics, "stalled") + ended(&metrics, "broken") == 1).then_some(())
    });
    // And answers to what had been read of it by then: a batch.
    assert!(most <= (128 << 10) + (1 << 20), "{most} bytes waited");
    assert!(viaduct.metrics().sum("viaduct_connections_paused_total", &[]) > 0);
    is_served(&world, "after");
    drop(deaf);
    before.until_back(&viaduct);
    viaduct.stop();
}

#[test]
fn a_byte_a_second_is_too_slow_and_costs_what_has_come() {
    let world = World::new();
    let home = home("header = \"2s\"\nbody = \"2s\"");
    let viaduct = home.start(&world);
    let before = Level::at_rest(&world, &viaduct);
    let mut slow: Vec<TcpStream> = (0..20).map(|_| connect(&world.public, EDGE)).collect();
    // Half of them are slow with their headers, half with their bodies.
    let head = options("sip:1.2.3.4", "slow").replace("Content-Length: 0", "Content-Length: 60000");
    for (number, stream) in slow.iter_mut().enumerate() {
        let begin = if number % 2 == 0 { "OPTIONS sip:x" } else { &head };
        stream.write_all(begin.as_bytes()).expect("a beginning");
    }
    let begin = Instant::now();
    while ended(&viaduct.metrics(), "too_slow") < 20 {
        assert!(begin.elapsed() < PATIENCE, "they are never cut off");
        // What is announced is not kept.
        let kept = viaduct.metrics().sum("viaduct_connections_kept_bytes", &[]);
        assert!(kept <= 20 * 2_048, "{kept} bytes kept");
        std::thread::sleep(Duration::from_secs(1));
        slow.iter_mut().for_each(|stream| drop(stream.write_all(b"x")));
    }
    assert!(begin.elapsed() >= Duration::from_secs(2));
    is_served(&world, "after");
    drop(slow);
    before.until_back(&viaduct);
    viaduct.stop();
}

#[test]
fn who_connects_and_resets_for_ever_leaves_nothing() {
    const MANY: u64 = 3_000;
    let world = World::new();
    let home = home("");
    let viaduct = home.start(&world);
    let before = Level::at_rest(&world, &viaduct);
    let to: SocketAddr = EDGE.parse().expect("an address");
    let churn = world.public.inside(|| {
        for number in 0..MANY {
            let mut stream = TcpStream::connect(to)?;
            if number % 3 == 0 {
                stream.write_all(b"INVITE sip:nobody")?;
            }
            reset(stream);
        }
        Ok(())
    });
    churn.expect("connections");
    is_served(&world, "after");
    before.until_back(&viaduct);
    // Some were gone before they could be accepted.
    let metrics = viaduct.metrics();
    let accepted = metrics.sum("viaduct_connections_accepted_total", &[]);
    assert!(accepted <= MANY + 2 && accepted > 2, "{accepted}");
    viaduct.stop();
}

#[test]
fn ten_thousand_idle_connections_are_cheap() {
    let world = World::new();
    let home = home("");
    let viaduct = home.start(&world);
    let before = Level::at_rest(&world, &viaduct);
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("the limit of files");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("it can be raised that far");
    // Other tests of this process have files, too.
    let many = 10_000.min(hard.saturating_sub(4_000));
    assert!(many >= 1_000, "the limit of open files is {hard}");
    let to: SocketAddr = EDGE.parse().expect("an address");
    let connect_all = || (0..many).map(|_| TcpStream::connect(to)).collect::<Result<Vec<_>, _>>();
    let streams = world.public.inside(connect_all).expect("connections");
    until_open(&viaduct, many);
    let metrics = viaduct.metrics();
    assert_eq!(metrics.sum("viaduct_connections_kept_bytes", &[]), 0);
    assert_eq!(metrics.sum("viaduct_connections_failed_total", &[]), 0);
    let each = resident(&metrics).saturating_sub(before.bytes) / many;
    assert!(each < 2_048, "{each} bytes for each connection");
    is_served(&world, "meanwhile");
    drop(streams);
    before.until_back(&viaduct);
    viaduct.stop();
}

#[test]
fn one_peer_has_no_more_than_it_may_and_the_log_says_so() {
    let world = World::new();
    let home = home("connections = 100\nper_peer = 3");
    let viaduct = home.start(&world);
    // A core has so many: with two of them, and connections spread by their ports, up to twice as many are let in.
    let streams: Vec<TcpStream> = (0..40).map(|_| connect(&world.public, EDGE)).collect();
    eventually("some are refused", || {
        (viaduct.metrics().sum("viaduct_connections_failed_total", &[("why", "too_many_of_peer")]) > 0)
            .then_some(())
    });
    let shards = viaduct.metrics().sum("viaduct_shards", &[]);
    eventually("the others are open", || {
        (viaduct.metrics().sum("viaduct_connections", &[]) <= 3 * shards).then_some(())
    });
    eventually("the log tells", || {
        viaduct.log().contains("no connection is taken from 1.2.3.100:").then_some(())
    });
    let log = viaduct.log();
    assert!(log.contains("[tcp] per_peer is the limit"), "{log}");
    assert_eq!(log.matches("no connection is taken from").count(), 1, "{log}");
    let refused = streams.into_iter().filter_map(|mut stream| {
        stream.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
        stream.read(&mut [0]).err().filter(|error| error.kind() == ErrorKind::ConnectionReset)
    });
    assert!(refused.count() as u64 >= 40 - 3 * shards);
    viaduct.stop();
}
