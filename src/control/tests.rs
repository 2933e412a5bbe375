//! The whole process in a network namespace of its own: what the other tests reach only from outside.

use std::fs;
use std::io;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::handle::Options;
use super::monitor::ShardState;
use super::shards::{Ended, ShardThread};
use super::start::assemble;
use super::supervisor::Control;
use super::*;
use crate::cli::netns::{Host, netlink, up};
use crate::metrics::EngineMetrics;
use crate::plan::Standing;

const RELAY: &str = "[[route]]\nto = \"request-uri\"\nmode = \"stateless\"\n";

/// A folder with a configuration file.
struct Home(TempDir);

impl Home {
    fn new(listeners: &[(&str, &str)]) -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        home.write(listeners, RELAY);
        home
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("viaduct.toml")
    }

    fn write(&self, listeners: &[(&str, &str)], rest: &str) {
        let mut text = String::from("[admin]\nlisten = \"127.0.0.1:0\"\n");
        for (name, bind) in listeners {
            text += &format!("[[listener]]\nname = \"{name}\"\nbind = \"udp:{bind}\"\n");
        }
        fs::write(self.file(), text + rest).unwrap();
    }

    fn options(&self) -> Options {
        Options { source: Source::File(self.file()), owns_process: false }
    }
}

/// Runs a test on a host that has a loopback and nothing else.
fn on_a_host(test: impl FnOnce() + Send) {
    let host = Host::new().expect("a network namespace (run as root, or in a user namespace)");
    let result = host.inside(|| {
        netlink(async |handle| up(handle, "lo").await)?;
        test();
        Ok(())
    });
    result.unwrap();
}

fn eventually(what: &str, mut look: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !look() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn invite(id: u32) -> String {
    format!(
        "INVITE sip:callee@127.0.0.100 SIP/2.0\r\n\
         Via: SIP/2.0/UDP 127.0.0.99:5060;branch=z9hG4bK{id}\r\n\
         From: <sip:caller@example.net>;tag=1\r\nTo: <sip:callee@127.0.0.100>\r\n\
         Call-ID: {id}\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    )
}

/// A caller and a callee with what they have to say to each other.
struct Parties {
    caller: UdpSocket,
    callee: UdpSocket,
    sent: u32,
}

impl Parties {
    fn new() -> Self {
        let socket = |address| {
            let socket = UdpSocket::bind(address).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            socket
        };
        Self { caller: socket("127.0.0.99:5060"), callee: socket("127.0.0.100:5060"), sent: 0 }
    }

    /// Sends requests by the listener; each arrives.
    fn call(&mut self, listener: &str, times: u32) {
        let mut buffer = [0; 4096];
        for _ in 0..times {
            self.sent += 1;
            self.caller.send_to(invite(self.sent).as_bytes(), listener).unwrap();
            let (len, _) = self.callee.recv_from(&mut buffer).expect("the request arrives");
            let text = String::from_utf8_lossy(&buffer[..len]).into_owned();
            assert!(text.contains(&format!("Call-ID: {}\r\n", self.sent)), "{text}");
        }
    }
}

fn bound(address: &str) -> usize {
    let port = format!(":{:04X}", address.parse::<std::net::SocketAddrV4>().unwrap().port());
    let ip = u32::from_ne_bytes(address.parse::<std::net::SocketAddrV4>().unwrap().ip().octets());
    let wanted = format!("{ip:08X}{port} 00000000:0000");
    let table = fs::read_to_string("/proc/thread-self/net/udp").unwrap();
    table.lines().filter(|line| line.contains(&wanted)).count()
}

#[test]
fn it_starts_forwards_reloads_and_stops() {
    on_a_host(|| {
        let home = Home::new(&[("one", "127.0.0.1:5060"), ("two", "127.0.0.2:5060")]);
        let handle = start(home.options()).unwrap();
        assert_eq!(handle.health(), Health::Well);
        let mut parties = Parties::new();
        parties.call("127.0.0.1:5060", 3);
        parties.call("127.0.0.2:5060", 3);

        home.write(&[("three", "127.0.0.3:5060"), ("one", "127.0.0.1:5060")], RELAY);
        handle.reload().unwrap();
        parties.call("127.0.0.3:5060", 3);
        parties.call("127.0.0.1:5060", 3);
        eventually("the removed listener is closed", || bound("127.0.0.2:5060") == 0);

        eventually("all is counted", || {
            let metrics = handle.metrics();
            ["one", "two", "three"].iter().zip([6, 3, 3]).all(|(name, count)| {
                let line = format!(
                    "{{listener=\"{name}\",class=\"INVITE\",direction=\"in\",reason=\"\",step=\"\"}}"
                );
                metrics.contains(&format!("viaduct_messages_total{line} {count}\n"))
            })
        });
        handle.stop();
        handle.wait().unwrap();
        assert_eq!((bound("127.0.0.1:5060"), bound("127.0.0.3:5060")), (0, 0));
    });
}

#[test]
fn traffic_by_one_listener_does_not_notice_reloads_that_change_others() {
    on_a_host(|| {
        let stays = ("stays", "127.0.0.1:5060");
        let home = Home::new(&[stays]);
        let handle = start(home.options()).unwrap();
        // A busy machine may be slow to reload: calls go on until there were some.
        let enough = Arc::new(AtomicBool::new(false));
        let calls = std::thread::spawn({
            let (mut parties, enough) = (Parties::new(), Arc::clone(&enough));
            move || {
                parties.call("127.0.0.1:5060", 2_000);
                while !enough.load(Ordering::Relaxed) {
                    parties.call("127.0.0.1:5060", 1);
                }
            }
        });
        let mut reloads = 0u32;
        while !calls.is_finished() {
            let other = format!("127.0.0.{}:5060", 2 + reloads % 7);
            home.write(&[("changes", &other), stays], RELAY);
            handle.reload().unwrap();
            reloads += 1;
            enough.store(reloads > 2, Ordering::Relaxed);
        }
        calls.join().unwrap();
        assert!(reloads > 2, "{reloads}");
        assert!(handle.metrics().contains(&format!("viaduct_reloads_total {reloads}\n")));
        eventually("old publications are freed", || handle.metrics().contains("viaduct_snapshots_alive 1\n"));
        handle.stop();
        handle.wait().unwrap();
    });
}

#[test]
fn a_refused_reload_changes_nothing() {
    on_a_host(|| {
        let home = Home::new(&[("one", "127.0.0.1:5060")]);
        let handle = start(home.options()).unwrap();
        // The second listener cannot be bound, so the first is not opened either.
        let taken = UdpSocket::bind("127.0.0.9:5060").unwrap();
        home.write(&[("new", "127.0.0.8:5060"), ("taken", "127.0.0.9:5060")], RELAY);
        let error = handle.reload().unwrap_err();
        assert!(matches!(&error, Error::Socket { listener, .. } if &**listener == "taken"), "{error}");
        assert_eq!(bound("127.0.0.8:5060"), 0);
        home.write(&[("one", "127.0.0.1:5060")], "[[route]]\nto = \"request-uri\"\negress = \"nowhere\"\n");
        let error = handle.reload().unwrap_err();
        assert!(error.is_configuration() && error.to_string().contains("nowhere"), "{error}");
        Parties::new().call("127.0.0.1:5060", 2);
        let metrics = handle.metrics();
        assert!(
            metrics.contains("viaduct_reloads_failed_total 2\n")
                && metrics.contains("viaduct_reloads_total 0\n")
        );
        assert_eq!(handle.health(), Health::Well);
        drop(taken);
    });
}

#[test]
fn a_start_that_fails_leaves_nothing_behind() {
    on_a_host(|| {
        let home = Home::new(&[("one", "127.0.0.1:5060"), ("two", "127.0.0.2:5060")]);
        let taken = UdpSocket::bind("127.0.0.2:5060").unwrap();
        let error = start(home.options()).err().unwrap();
        assert!(!error.is_configuration() && error.to_string().contains("in use"), "{error}");
        assert_eq!(bound("127.0.0.1:5060"), 0);
        drop(taken);

        let admin = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let text = fs::read_to_string(home.file()).unwrap();
        fs::write(home.file(), text.replace("127.0.0.1:0", &admin.local_addr().unwrap().to_string()))
            .unwrap();
        let error = start(home.options()).err().unwrap();
        assert!(matches!(&error, Error::Admin(why) if why.contains("[admin] listen")), "{error}");
        drop(admin);

        fs::write(home.0.path().join("viaduct.keys"), "no key\n").unwrap();
        let error = start(home.options()).err().unwrap();
        assert!(error.is_configuration(), "{error}");
        let missing = Options { source: Source::File("/nowhere/viaduct.toml".into()), owns_process: false };
        assert!(start(missing).err().unwrap().is_configuration());
    });
}

#[test]
fn letting_go_of_the_handle_stops_it() {
    on_a_host(|| {
        let home = Home::new(&[("one", "127.0.0.1:5060")]);
        drop(start(home.options()).unwrap());
        eventually("its socket is closed", || bound("127.0.0.1:5060") == 0);
    });
}

/// A shard whose thread has ended already.
fn ended_shard() -> ShardThread {
    let gauges = EngineMetrics::default();
    let waker = crate::engine::uring::Engine::new(&gauges).unwrap().waker();
    ShardThread::for_test(waker, std::thread::spawn(|| {}))
}

#[test]
fn a_lost_shard_leaves_its_share_to_the_others() {
    on_a_host(|| {
        let home = Home::new(&[("one", "127.0.0.1:5060")]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut control, started) = assemble(home.options()).await.unwrap();
            let shards = control.shards.len();
            if shards < 2 {
                return;
            }
            assert_eq!(bound("127.0.0.1:5060"), shards);
            let kept = control.shards[0].replace(ended_shard());
            control.on_ended(Ended { number: 0, how: Err("its ring is gone".into()) });
            let why = "shard 0 is down: its ring is gone".to_owned();
            assert_eq!(started.monitor.health(), Health::Unwell(vec![why]));
            assert_eq!(started.monitor.facts().shards[0], ShardState::Down("its ring is gone".into()));
            eventually("its socket is closed", || {
                control.tell_records();
                bound("127.0.0.1:5060") == shards - 1
            });
            Parties::new().call("127.0.0.1:5060", 50);

            // A reload gives it no sockets either.
            home.write(&[("one", "127.0.0.1:5060"), ("two", "127.0.0.2:5060")], RELAY);
            reload(&mut control, |_| {}).await.unwrap();
            eventually("the new listener is open", || bound("127.0.0.2:5060") == shards - 1);

            control.shards[0] = kept;
            control.stop();
            let (_commands, receiver) = tokio::sync::mpsc::channel(1);
            control.run(receiver).await.unwrap();
            assert_eq!((bound("127.0.0.1:5060"), bound("127.0.0.2:5060")), (0, 0));
        });
    });
}

fn ip(words: &str) {
    let done = std::process::Command::new("ip").args(words.split(' ')).status().expect("ip runs");
    assert!(done.success(), "ip {words}");
}

/// Reads the configuration again; what happens meanwhile, happens.
async fn reload(control: &mut Control, meanwhile: impl FnOnce(&mut Control)) -> Result<(), Error> {
    let (reply, mut answer) = tokio::sync::oneshot::channel();
    control.reload(Some(reply));
    meanwhile(control);
    let loaded = control.reloads.loaded().await;
    control.on_loaded(loaded);
    answer.try_recv().expect("an answer")
}

/// What the kernel has told of.
fn learn(control: &mut Control) {
    let fib = super::netlink::dump(2).expect("the kernel's tables");
    control.take_fib(fib.into(), Duration::ZERO);
}

#[test]
fn a_reload_forgets_no_address_that_came_while_it_was_read() {
    on_a_host(|| {
        let home = Home::new(&[("all", "lo:5060")]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut control, _) = assemble(home.options()).await.unwrap();
            let shards = control.shards.len();
            let added = |control: &mut Control| {
                ip("address add 127.0.0.9/8 dev lo");
                learn(control);
                assert!(control.parts.plan.listener_named("all/127.0.0.9").is_some());
            };
            reload(&mut control, added).await.unwrap();
            assert!(control.parts.plan.listener_named("all/127.0.0.9").is_some());
            assert_eq!(bound("127.0.0.9:5060"), shards);
        });
    });
}

#[test]
fn an_address_that_cannot_be_bound_stops_no_reload_where_listeners_follow() {
    on_a_host(|| {
        ip("address add 127.0.0.9/8 dev lo");
        let taken = UdpSocket::bind("127.0.0.9:5060").unwrap();
        let home = Home::new(&[("all", "lo:5060")]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut control, started) = assemble(home.options()).await.unwrap();
            let standing =
                |control: &Control, name| control.parts.plan.listener_named(name).map(|l| l.standing);
            assert_eq!(standing(&control, "all/127.0.0.9"), Some(Standing::Refused));
            home.write(&[("every", "lo:5060")], RELAY);
            reload(&mut control, |_| {}).await.unwrap();
            assert_eq!(standing(&control, "every/127.0.0.9"), Some(Standing::Refused));
            assert!(matches!(started.monitor.health(), Health::Unwell(_)));
            // The new names are shown, and no old ones.
            let names: Vec<_> =
                started.monitor.facts().standings.iter().map(|l| l.name.to_string()).collect();
            assert!(names.iter().all(|name| name.starts_with("every/")), "{names:?}");

            home.write(&[("every", "lo:5070")], RELAY);
            reload(&mut control, |_| {}).await.unwrap();
            assert_eq!(started.monitor.health(), Health::Well);
            // A listener with an address of its own is what the file asks for.
            home.write(&[("one", "127.0.0.9:5060")], RELAY);
            assert!(reload(&mut control, |_| {}).await.is_err());
            assert_eq!(standing(&control, "every/127.0.0.9"), Some(Standing::Served));
            drop(taken);
        });
    });
}

/// Sockets have their datagrams stamped when the kernel receives them.
fn stamped(control: &Control) -> Vec<bool> {
    let of_datagrams = control.parts.sockets.iter().flatten().filter(|(_, socket)| !socket.is_stream());
    of_datagrams.map(|(_, socket)| socket.tells_when_received()).collect()
}

#[test]
fn sockets_say_how_long_messages_wait_where_that_matters() {
    on_a_host(|| {
        let one = [("one", "127.0.0.1:5060")];
        let both = [one[0], ("two", "127.0.0.2:5060")];
        let max_wait = |value: &str| format!("[overload]\nmax_wait = \"{value}\"\n{RELAY}");
        let home = Home::new(&one);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut control, _) = assemble(home.options()).await.unwrap();
            assert!(!stamped(&control).is_empty());
            // Those that stay and those that are new, switched off and on again.
            for (listeners, value, wanted) in
                [(&one[..], "50ms", true), (&both, "off", false), (&one, "off", false), (&both, "10ms", true)]
            {
                home.write(listeners, &max_wait(value));
                reload(&mut control, |_| {}).await.unwrap();
                let stamped = stamped(&control);
                assert_eq!(stamped.len(), listeners.len() * control.shards.len());
                assert!(stamped.iter().all(|is| *is == wanted), "{value}: {stamped:?}");
            }
        });
    });
}

#[test]
fn the_end_of_every_shard_is_a_failure_unless_it_was_asked_for() {
    on_a_host(|| {
        let home = Home::new(&[("one", "127.0.0.1:5060")]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut control, started) = assemble(home.options()).await.unwrap();
            control.stop();
            let last = started.monitor.facts().process.generation;
            let shards = started.monitor.shards();
            eventually("all know", || shards.iter().all(|s| s.generation.get() == last));
            // As if nobody had asked.
            control.parts.stopping = false;
            let (_commands, receiver) = tokio::sync::mpsc::channel(1);
            let result = control.run(receiver).await;
            assert!(matches!(result, Err(Error::AllShardsFailed)), "{result:?}");
        });
    });
}

#[test]
fn io_errors_are_no_configuration_errors() {
    let error = Error::from(io::Error::other("no threads left"));
    assert!(!error.is_configuration());
    assert_eq!(error.to_string(), "cannot start: no threads left");
}
