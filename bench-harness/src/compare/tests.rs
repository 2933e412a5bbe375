//! Forwarders in network namespaces: a few hundred calls each, and every message accounted for.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use indicatif::ProgressBar;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::peers::{Peer, Way};
use super::rounds::{Ask, Rounds};
use super::setting::Setting;
use super::window::{Bench, Plan};
use crate::certificates;
use crate::load::{Driver, Offer, Secure, Settings, Transport};
use crate::null::Engine;
use crate::peak::{Search, Verdict};
use crate::results::model::{Load, Results, Sample};
use crate::results::{Histograms, Unit};
use crate::subject::FORWARDER_CORE;
use crate::world::{SINK, World};

/// Messages, calls or connections a second.
const RATE: f64 = 300.0;

fn setting(folder: &Path) -> Setting {
    Setting {
        core: FORWARDER_CORE,
        opensips: None,
        folder: folder.to_owned(),
        shared_mib: 512,
        socket_buffer: 1 << 20,
    }
}

/// A window of each of these loads through one forwarder, at rates that a busy machine and a debug build carry.
fn windows(peer: Peer, loads: &[Load]) -> Vec<Sample> {
    let world = World::build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let setting = setting(folder.path());
    if let Some(why) = peer.missing(&setting) {
        let line = format!("SKIPPED: load through {}: {why}", peer.name());
        writeln!(std::io::stderr(), "{line}").expect("standard error");
        return Vec::new();
    }
    certificates::make(folder.path(), &super::ends()).unwrap();
    let bench = Bench::new(&world, FORWARDER_CORE, false, None).unwrap();
    let mut bench = bench.with_tls(Secure::read(folder.path()).unwrap(), false).unwrap();
    let mut started = peer.start(&setting, 900).unwrap();
    assert_eq!(
        started.told.configuration.is_empty(),
        matches!(peer, Peer::Null(_) | Peer::NullSpinning | Peer::NullAtOnce)
    );
    let len = bench.wait_for(&mut started.subject, loads[0]).unwrap();
    assert!(len > 300, "{len} bytes");
    let window = |load: &Load| {
        // What a build for debugging takes for handshakes and frames is a multiple.
        let is_dear =
            (load.transport() == Transport::Tls && load.unit() == Unit::Connection) || *load == Load::WsCalls;
        let rate = if is_dear { RATE / 3.0 } else { RATE };
        let plan = Plan { load: *load, rate, length: Duration::from_secs(1) };
        bench.window(&mut started.subject, plan, 4).unwrap().sample
    };
    loads.iter().map(window).collect()
}

fn all_accounted_for(sample: &Sample, messages_each: u64) {
    // On a machine that is busy with other tests the load may not be in time with all of them.
    assert!(sample.sent as f64 > sample.offered_per_second * 0.66 * messages_each as f64, "{sample:?}");
    assert_eq!((sample.delivered, sample.sent % messages_each), (sample.sent, 0), "{sample:?}");
    assert_eq!((sample.lost, sample.failed, sample.round), (0, 0, 4), "{sample:?}");
    assert!(sample.cpu_ns > 0 && sample.resident_bytes > 1 << 20, "{sample:?}");
    assert!(sample.latency.is_some_and(|latency| latency.p50_ns > 1_000), "{sample:?}");
}

#[test]
fn every_message_of_hundreds_of_calls_through_viaduct_is_accounted_for() {
    let samples = windows(Peer::Viaduct, &[Load::Calls, Load::Messages]);
    let [calls, messages] = &samples[..] else { panic!("{samples:?}") };
    all_accounted_for(calls, 6);
    assert_eq!(calls.calls * 6, calls.sent);
    all_accounted_for(messages, 1);
    assert_eq!((messages.calls, messages.retransmissions), (0, 0));
}

#[test]
fn transactions_lose_no_message_either() {
    for sample in windows(Peer::ViaductStateful(Transport::Udp), &[Load::StatefulCalls]) {
        all_accounted_for(&sample, 6);
        assert_eq!(sample.calls * 6, sample.sent);
    }
}

/// The higher rate is too much because the forwarder is stopped then: neither what waits for it nor the calls that it has begun
/// may be there at the lower rate.
#[test]
fn a_forwarder_begins_afresh_after_what_it_does_not_carry() {
    let world = World::build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let setting = setting(folder.path());
    let mut bench = Bench::new(&world, FORWARDER_CORE, false, None).unwrap();
    for (peer, load) in [
        (Peer::ViaductStateful(Transport::Udp), Load::StatefulCalls),
        (Peer::ViaductStateful(Transport::Tcp), Load::TcpCalls),
    ] {
        let id = Cell::new(0);
        let start = || {
            let subject = peer.start(&setting, 900)?.subject;
            id.set(subject.id().cast_signed());
            Ok(subject)
        };
        let stop = |rate| {
            if rate > 50.0 {
                kill(Pid::from_raw(id.get()), Signal::SIGSTOP).unwrap();
            }
        };
        let mut subject = start().unwrap();
        bench.wait_for(&mut subject, load).unwrap();
        let first = subject.id();
        let search = Search { first: 50.0, between: (50.0, 200.0), rise: 4.0, within: 5.0, windows: 14 };
        let found = bench.most(&mut subject, load, &search, 0, &start, &stop).unwrap();
        assert_eq!(found.most, Some(50.0), "{:?}", found.windows);
        let mut too_much = found.windows.iter().filter(|window| window.offered_per_second > 50.0);
        assert!(too_much.all(|window| window.begun_afresh == 1), "{:?}", found.windows);
        assert_ne!(subject.id(), first);
        let plan = Plan { load, rate: 50.0, length: Duration::from_secs(1) };
        let sample = bench.window(&mut subject, plan, 4).unwrap().sample;
        all_accounted_for(&sample, 6);
    }
}

/// It is stopped in the middle of its first window, and there again for the next.
#[test]
fn a_forwarder_begins_afresh_after_a_window_in_which_it_lost_something() {
    let world = World::build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let setting = setting(folder.path());
    let mut bench = Bench::new(&world, FORWARDER_CORE, false, None).unwrap();
    let start = || Ok(Peer::Null(Engine::Uring).start(&setting, 900)?.subject);
    let mut subject = start().unwrap();
    bench.wait_for(&mut subject, Load::Messages).unwrap();
    let (first, process) = (subject.id(), Pid::from_raw(subject.id().cast_signed()));
    let stopped = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(400));
        kill(process, Signal::SIGSTOP)
    });
    let plan = Plan { load: Load::Messages, rate: RATE, length: Duration::from_secs(1) };
    let lost = bench.window_afresh(&mut subject, plan, 4, &start).unwrap();
    stopped.join().unwrap().unwrap();
    assert!(lost.sample.lost > 0 && lost.verdict != Verdict::Carried, "{:?}", lost.sample);
    let second = subject.id();
    assert!(lost.sample.begun_afresh == 1 && second != first);
    let whole = bench.window_afresh(&mut subject, plan, 4, &start).unwrap();
    all_accounted_for(&whole.sample, 1);
    assert_eq!((whole.sample.begun_afresh, subject.id()), (0, second));
    let both = whole.and(lost).unwrap();
    assert_eq!((both.sample.begun_afresh, both.verdict != Verdict::Carried), (1, true));
    assert_eq!(both.latency.len(), both.sample.delivered);
}

/// Processes whose command lines name something in this folder.
fn configured_in(folder: &Path) -> Vec<u32> {
    let folder = folder.to_str().unwrap();
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let of = |entry: fs::DirEntry| {
        let words = fs::read_to_string(entry.path().join("cmdline")).ok()?;
        words.contains(folder).then_some(entry.file_name().to_str()?.parse().ok()?)
    };
    entries.filter_map(of).collect()
}

#[test]
fn a_round_has_one_sample_of_each_subject_under_each_load_that_it_takes() {
    let world = World::build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let setting = setting(folder.path());
    let bench = Bench::new(&world, FORWARDER_CORE, false, None).unwrap();
    let peers = [Peer::Viaduct, Peer::ViaductSpinning, Peer::Null(Engine::Uring), Peer::NullSpinning];
    let mut rounds = Rounds::start(bench, &peers, &setting, Results::default()).unwrap();
    let ask = Ask {
        rounds: 2,
        window: Duration::from_millis(400),
        part_of_most: 0.8,
        knee: Some(RATE / 0.8),
        calls: None,
        tcp_calls: None,
        paced: RATE,
        loads: vec![Load::Messages, Load::Paced],
    };
    let told = Cell::new(0);
    let ran = RefCell::new(BTreeSet::new());
    let round_over = |_: &Results, _: &Histograms| {
        told.set(told.get() + 1);
        let running = configured_in(folder.path());
        assert_eq!(running.len(), 2);
        let mut ran = ran.borrow_mut();
        running.into_iter().for_each(|process| assert!(ran.insert(process), "a round has its own processes"));
        Ok(())
    };
    let bar = ProgressBar::hidden();
    rounds.run(&ask, &bar, &round_over).unwrap();
    assert_eq!(Some(bar.position()), bar.length(), "each step counts as it was planned");
    let (results, histograms) = rounds.into_results();
    let takers = |load: Load| peers.into_iter().filter(move |peer| peer.takes(load));
    assert_eq!((told.get(), results.samples.len()), (2, 2 * (2 + 4)));
    assert_eq!(results.offered["messages"].per_second, RATE);
    for (round, load) in (0..2).flat_map(|round| ask.loads.iter().map(move |load| (round, *load))) {
        for peer in takers(load) {
            let is_it = |s: &&Sample| (s.round, s.load) == (round, load) && s.subject == peer.name();
            let [sample] = results.samples.iter().filter(is_it).collect::<Vec<_>>()[..] else {
                panic!("{:?}", results.samples)
            };
            // Three times as long, in four windows or with a message to each in turn.
            let seconds = if load == Load::Paced { 1.2 } else { 0.4 };
            assert!(sample.sent as f64 > RATE * seconds * 0.66 && sample.delivered > 0, "{sample:?}");
            assert!(histograms[&(peer.name().to_owned(), load)].len() >= sample.delivered);
        }
    }
    for round in 0..2 {
        let paced = |name: &str| {
            let is_it = |s: &&Sample| (s.round, s.load, &*s.subject) == (round, Load::Paced, name);
            results.samples.iter().find(is_it).unwrap()
        };
        let [ours, floor] = ["viaduct", "null-uring"].map(paced);
        assert!(ours.sent.abs_diff(floor.sent) <= 1, "one each in turn: {ours:?}, {floor:?}");
    }
}

#[test]
fn the_floor_forwards_by_either_engine() {
    [Engine::Uring, Engine::Mmsg].into_iter().for_each(forwards_by);
}

#[cfg(feature = "glommio")]
#[test]
fn the_floor_forwards_by_glommio() {
    forwards_by(Engine::Glommio);
}

fn forwards_by(engine: Engine) {
    for sample in windows(Peer::Null(engine), &[Load::Messages, Load::Paced]) {
        all_accounted_for(&sample, 1);
    }
}

#[test]
fn who_looks_instead_of_sleeping_forwards_too() {
    for peer in [Peer::ViaductSpinning, Peer::NullSpinning] {
        for sample in windows(peer, &[Load::Paced]) {
            all_accounted_for(&sample, 1);
        }
    }
}

#[test]
fn who_wakes_up_for_each_message_forwards_too() {
    for sample in windows(Peer::NullAtOnce, &[Load::Messages]) {
        all_accounted_for(&sample, 1);
    }
    let samples = windows(Peer::ViaductAtOnce, &[Load::Messages, Load::Calls]);
    samples.iter().zip([1, 6]).for_each(|(sample, messages)| all_accounted_for(sample, messages));
}

#[test]
fn every_message_of_hundreds_of_calls_through_kamailio_is_accounted_for() {
    for way in Way::ALL {
        let load = if way == Way::Stateful { Load::StatefulCalls } else { Load::Calls };
        for sample in windows(Peer::Kamailio(way), &[load]) {
            all_accounted_for(&sample, 6);
            assert_eq!(sample.calls * 6, sample.sent);
        }
    }
}

#[test]
fn every_message_over_tcp_is_accounted_for_and_each_exchange_has_its_connection() {
    for peer in [Peer::ViaductStateful(Transport::Tcp), Peer::KamailioTcp(true), Peer::KamailioTcp(false)] {
        calls_and_connections(&windows(peer, &[Load::TcpCalls, Load::TcpConnections]));
    }
}

#[test]
fn every_message_over_tls_is_accounted_for_and_each_exchange_has_its_connection() {
    for peer in [Peer::ViaductStateful(Transport::Tls), Peer::KamailioTls] {
        calls_and_connections(&windows(peer, &[Load::TlsCalls, Load::TlsConnections]));
    }
}

#[test]
fn every_message_from_websocket_to_tcp_is_accounted_for() {
    for peer in [Peer::ViaductStateful(Transport::Ws), Peer::KamailioWs] {
        for sample in windows(peer, &[Load::WsCalls]) {
            all_accounted_for(&sample, 6);
            assert_eq!(sample.calls * 6, sample.sent);
        }
    }
}

/// No load of a comparison is over both, so this one is made by hand.
#[test]
fn websocket_over_tls_carries_calls_too() {
    let world = World::build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let setting = setting(folder.path());
    certificates::make(folder.path(), &super::ends()).unwrap();
    let mut started = Peer::ViaductStateful(Transport::Wss).start(&setting, 0).unwrap();
    let settings = super::window::settings(started.subject.address, Load::WsCalls);
    let settings = Settings { transport: Transport::Wss, ..settings };
    let sink = world.listening_sink(SINK).unwrap();
    let secure = Secure::read(folder.path()).unwrap();
    let mut driver = Driver::over_connections(sink, Some(secure), settings.clone(), false).unwrap();
    let drain = Duration::from_secs(3);
    let passed = world.in_client(|| started.subject.until_calls_pass(&mut driver, &settings, drain));
    passed.unwrap();
    driver.reset(settings);
    let offer =
        Offer { rate: 100.0, length: Duration::from_millis(500), jitter: false, drain, gives_up: false };
    let outcome = world.in_client(|| driver.run(&offer)).unwrap();
    assert!(outcome.tally.begun > 20 && outcome.tally.adds_up(), "{:?}", outcome.tally);
    assert_eq!((outcome.tally.failed, outcome.disconnected), (0, 0), "{:?}", outcome.tally);
}

fn calls_and_connections(samples: &[Sample]) {
    let [calls, connections] = samples else { return };
    all_accounted_for(calls, 6);
    assert_eq!(calls.calls * 6, calls.sent);
    all_accounted_for(connections, 2);
    assert_eq!(connections.calls * 2, connections.sent, "{connections:?}");
}

#[test]
fn who_dies_in_a_window_is_named_with_its_last_words() {
    let world = World::build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut subject = Peer::Viaduct.start(&setting(folder.path()), 0).unwrap().subject;
    let mut bench = Bench::new(&world, FORWARDER_CORE, false, None).unwrap();
    bench.wait_for(&mut subject, Load::Messages).unwrap();
    let id = nix::unistd::Pid::from_raw(subject.id().try_into().unwrap());
    let killer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(600));
        nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGKILL).unwrap();
    });
    let plan = Plan { load: Load::Messages, rate: RATE, length: Duration::from_secs(1) };
    let error = bench.window(&mut subject, plan, 0).err().unwrap();
    killer.join().unwrap();
    let said = error.to_string();
    assert!(crate::died::Died::is(&error) && said.starts_with("viaduct ended with signal: 9"), "{said}");
}
