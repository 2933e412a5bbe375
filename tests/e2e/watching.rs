//! `viaduct routes diff`, while the host changes.

use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::viaduct::{Home, LISTENERS};
use crate::world::{World, eventually};

#[test]
fn every_change_is_told_with_what_it_moves() {
    let world = World::new();
    let rule = "[[route]]\nname = \"carrier\"\nto = \"sip:198.51.100.9\"\n";
    let home = Home::new(&format!("{LISTENERS}{rule}"));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("out");
    let mut command = Command::new(env!("CARGO_BIN_EXE_viaduct"));
    command.args(["routes", "diff", "--json", "--dst", "198.51.100.7", "-c"]).arg(home.file());
    command.stdin(Stdio::null()).stdout(std::fs::File::create(&path).expect("a file"));
    let mut program = world.spawn(&mut command);
    let lines = || -> Vec<Value> {
        let text = std::fs::read_to_string(&path).expect("the file");
        // The last line may be under way.
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    };
    let line = |what: &str, fits: &dyn Fn(&Value) -> bool| {
        eventually(what, || lines().into_iter().find(|line| fits(line)))
    };
    line("it follows", &|line| !line["following"].is_null());

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
    line("the route is gone", &|line| line["change"] == "removed" && line["prefix"] == "198.51.100.0/24");

    kill(Pid::from_raw(i32::try_from(program.0.id()).expect("a number")), Signal::SIGINT).expect("a signal");
    let status = eventually("it ends", || program.ended().expect("a status"));
    assert!(status.success(), "{status}");
}
