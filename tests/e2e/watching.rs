//! `viaduct routes diff`, while the host changes.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::program::Program;
use crate::viaduct::{Home, LISTENERS};
use crate::world::{World, eventually};

/// `routes diff --json`, running.
struct Watcher {
    program: Program,
    path: PathBuf,
    _folder: TempDir,
}

impl Watcher {
    fn start(world: &World, home: &Home, words: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out");
        let out = std::fs::File::create(&path).expect("a file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_viaduct"));
        command.args(["routes", "diff", "--json"]).args(words).arg("-c").arg(home.file());
        command.stdin(Stdio::null()).stderr(out.try_clone().expect("a second handle")).stdout(out);
        let watcher = Self { program: world.spawn(&mut command), path, _folder: folder };
        watcher.line("it follows", &|line| !line["following"].is_null());
        watcher
    }

    fn lines(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.path).expect("the file");
        // The last line may be under way.
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The first line that fits.
    fn line(&self, what: &str, fits: &dyn Fn(&Value) -> bool) -> Value {
        eventually(what, || self.lines().into_iter().find(|line| fits(line)))
    }

    /// Ends it as Ctrl-C does.
    fn end(mut self) {
        let id = Pid::from_raw(i32::try_from(self.program.0.id()).expect("a number"));
        kill(id, Signal::SIGINT).expect("a signal");
        let status = eventually("it ends", || self.program.ended().expect("a status"));
        assert!(status.success(), "{status}");
    }
}

#[test]
fn every_change_is_told_with_what_it_moves() {
    let world = World::new();
    let rule = "[[route]]\nname = \"carrier\"\nto = \"sip:198.51.100.9\"\n";
    let home = Home::new(&format!("{LISTENERS}{rule}"));
    let watcher = Watcher::start(&world, &home, &["--dst", "198.51.100.7"]);
    let line = |what: &str, fits: &dyn Fn(&Value) -> bool| watcher.line(what, fits);

    world.ip("route add 198.51.100.0/24 via 10.0.0.100 metric 5");
    let added = line("the route", &|line| line["change"] == "added" && line["what"] == "route");
    assert_eq!(
        (&added["table"], &added["prefix"], &added["metric"]),
        (&"main".into(), &"198.51.100.0/24".into(), &5.into())
    );
    assert_eq!(
        (&added["paths"][0]["via"], &added["paths"][0]["dev"]),
        (&"10.0.0.100".into(), &"priv".into())
    );
    let answer = line("the answer", &|line| line["destination"] == "198.51.100.7");
    assert!(answer["now"].as_str().is_some_and(|now| now.starts_with("by priv via 10.0.0.100")), "{answer}");
    let moved = line("the next hop", &|line| line["change"] == "next_hop");
    assert_eq!((&moved["rule"], &moved["now"]["listener"]), (&"carrier".into(), &"private".into()));
    assert_eq!(moved["before"]["listener"], Value::Null);

    world.ip("addr add 172.20.0.4/24 dev spare");
    line("the address", &|line| line["what"] == "address" && line["address"] == "172.20.0.4");
    world.ip("rule add from 172.20.0.4 lookup 100 pref 77");
    line("the rule", &|line| line["what"] == "rule" && line["priority"] == 77 && line["change"] == "added");
    world.ip("link set priv down");
    line("the link", &|line| line["what"] == "link" && line["dev"] == "priv" && line["up"] == false);
    // `ip address` still has it.
    let rests = line("the address", &|line| line["change"] == "removed" && line["address"] == "10.0.0.4");
    assert_eq!(rests["interface_down"], true, "{rests}");
    line("the route is gone", &|line| line["change"] == "removed" && line["prefix"] == "198.51.100.0/24");

    watcher.end();
}

/// Rules may go by the user whose sockets send.
#[test]
fn answers_are_those_of_the_user_that_is_meant() {
    const USER: &str = "1234";
    let world = World::new();
    let rule = "[[route]]\nname = \"carrier\"\nto = \"sip:10.0.0.9\"\n";
    let home = Home::new(&format!("{LISTENERS}{rule}"));
    let to = ["--dst", "10.0.0.7"];
    let [here, there] =
        [&to[..], &[&to[..], &["--user", USER]].concat()].map(|words| Watcher::start(&world, &home, words));
    world.ip(&format!("rule add uidrange {USER}-{USER} prohibit"));
    let answer = there.line("the answer", &|line| line["destination"] == "10.0.0.7");
    assert!(answer["now"].as_str().is_some_and(|now| now.starts_with("nowhere")), "{answer}");
    let moved = there.line("the next hop", &|line| line["change"] == "next_hop");
    assert_eq!((&moved["before"]["listener"], &moved["now"]["listener"]), (&"private".into(), &Value::Null));

    world.ip("addr add 172.20.0.4/24 dev spare");
    here.line("what came later", &|line| line["address"] == "172.20.0.4");
    let moves = |line: &Value| line["change"] == "answer" || line["change"] == "next_hop";
    assert!(!here.lines().iter().any(moves), "{:#?}", here.lines());

    let told = Watcher::start(&world, &home, &to);
    let text = std::fs::read_to_string(&told.path).expect("the file");
    assert!(text.contains("this is asked as user 0: --user says another"), "{text}");
}

/// A wildcard stands for other listeners after each change, as in a running process.
#[test]
fn listeners_that_come_and_go_are_named() {
    let world = World::new();
    let rule = "[[route]]\nname = \"carrier\"\nto = \"sip:172.20.0.9\"\n";
    let home = Home::new(&format!("[[listener]]\nname = \"all\"\nbind = \"udp:*:5060\"\n{rule}"));
    let watcher = Watcher::start(&world, &home, &[]);
    let next_hop = |now: Value| {
        let line = watcher.line(&format!("from {now}"), &|line| {
            line["change"] == "next_hop" && line["now"]["listener"] == now
        });
        line["before"]["listener"].clone()
    };
    world.ip("addr add 172.20.0.4/24 dev spare");
    assert_eq!(next_hop("all/172.20.0.4".into()), Value::Null);
    world.ip("addr add 172.20.0.5/32 dev pub");
    world.ip("route replace 172.20.0.9 dev pub src 172.20.0.5");
    assert_eq!(next_hop("all/172.20.0.5".into()), "all/172.20.0.4");
    world.ip("addr del 172.20.0.5/32 dev pub");
    let back = watcher.line("back", &|line| line["before"]["listener"] == "all/172.20.0.5");
    assert_eq!(back["now"]["listener"], "all/172.20.0.4", "{back}");
    watcher.end();
}

/// The only listener follows an interface that is not there yet.
#[test]
fn where_no_listener_is_left_nothing_is_received() {
    let world = World::new();
    let rule = "[[route]]\nname = \"carrier\"\nto = \"sip:172.20.0.9\"\n";
    let home = Home::new(&format!("[[listener]]\nname = \"late\"\nbind = \"udp:late:5060\"\n{rule}"));
    let watcher = Watcher::start(&world, &home, &[]);
    let next_hop = |what: &str, received: bool| {
        let fits = |line: &Value| line["change"] == "next_hop" && line["now"]["received"] == received;
        watcher.line(what, &fits)
    };
    world.ip("link add late type veth peer name other");
    // It would have a link-local address.
    let alone = || std::fs::write("/proc/sys/net/ipv6/conf/late/disable_ipv6", "1");
    world.inside(alone).expect("a sysctl");
    world.ip("link set other up");
    world.ip("link set late up");
    world.ip("addr add 172.20.0.4/24 dev late");
    let appeared = next_hop("it appears", true);
    assert_eq!(
        appeared["before"]["words"], "not received: no listener that could receive it is up",
        "{appeared}"
    );
    assert_eq!(appeared["now"]["listener"], "late/172.20.0.4", "{appeared}");
    world.ip("addr del 172.20.0.4/24 dev late");
    let gone = next_hop("it goes", false);
    assert_eq!(gone["before"]["listener"], "late/172.20.0.4", "{gone}");
    watcher.end();
}
