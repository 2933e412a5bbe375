//! `check --sockets`: whether a start would have its sockets, told before it is tried and without harm to whoever has them.

use std::net::{TcpListener, UdpSocket};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::program;
use crate::viaduct::{Home, LISTENERS, RELAY};
use crate::world::{World, edge};

const ASK: [&str; 2] = ["check", "--sockets"];

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

type Pairs = Vec<(String, String)>;

/// Exit code, (code, severity) of findings, and each listener's `socket`.
fn asked(home: &Home, world: &World) -> (Option<i32>, Pairs, Pairs) {
    let output = home.command(world, &[&ASK[..], &["--json"]].concat());
    let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let pairs = |list: &Value, [first, second]: [&str; 2]| {
        let word = |value: &Value| value.as_str().expect("text").to_owned();
        let list = list.as_array().expect("a list").iter();
        list.map(|entry| (word(&entry[first]), word(&entry[second]))).collect::<Pairs>()
    };
    assert_eq!(json["ok"], output.status.success());
    (
        output.status.code(),
        pairs(&json["findings"], ["code", "severity"]),
        pairs(&json["listeners"], ["name", "socket"]),
    )
}

fn pair(first: &str, second: &str) -> (String, String) {
    (first.into(), second.into())
}

#[test]
fn what_is_free_is_said_to_be_and_only_where_that_is_asked() {
    let world = World::new();
    let home = Home::new(&format!("{LISTENERS}{RELAY}"));
    let (code, findings, sockets) = asked(&home, &world);
    assert_eq!((code, findings), (Some(0), Vec::new()));
    assert!(sockets.len() == 10 && sockets.iter().all(|(_, socket)| socket == "free"), "{sockets:?}");
    assert!(text(&home.command(&world, &ASK)).contains(" free "));
    let unasked = text(&home.command(&world, &["check", "--json"]));
    assert!(!unasked.contains("\"socket\""), "{unasked}");
    // It has let go of all of them.
    home.start(&world).stop();
}

#[test]
fn whoever_has_a_port_is_named_and_a_start_fails_as_foretold() {
    let world = World::new();
    let taken = world.inside(|| Ok((UdpSocket::bind(edge())?, TcpListener::bind(edge())?))).expect("ports");
    let admin = world.inside(|| TcpListener::bind("127.0.0.1:9060")).expect("a port");
    let home = Home::new(&format!("{LISTENERS}{RELAY}"));
    let (code, findings, sockets) = asked(&home, &world);
    // Nobody has asked for TCP there.
    let (error, warning) = (pair("port-in-use", "error"), pair("port-in-use", "warning"));
    assert_eq!((code, findings), (Some(1), vec![error.clone(), warning, error]));
    let in_use: Vec<_> = sockets.iter().filter(|(_, socket)| socket != "free").collect();
    assert_eq!(in_use, [&pair("public", "in use"), &pair("public/tcp", "in use")]);
    let told = text(&home.command(&world, &ASK));
    let own = format!("(process {})", std::process::id());
    for words in [
        &*format!("{own} has udp:1.2.3.4:5060"),
        &*format!("{own} has tcp:1.2.3.4:5060"),
        &*format!("{own} has the admin address 127.0.0.1:9060"),
        "`run` does not start without it",
        "[admin] listen names another",
        "ss -lutnp 'sport = :5060'",
        "not ok (2 errors, 1 warning, 0 notes)",
    ] {
        assert!(told.contains(words), "no «{words}» in:\n{told}");
    }
    drop(admin);
    let (status, log) = home.spawn(&world).wait();
    assert!(status.code() == Some(1) && log.contains("listener public: 1.2.3.4:5060 is in use"), "{log}");
    drop(taken);
    assert_eq!(asked(&home, &world).0, Some(0));
}

/// Every call that is made while it asks arrives.
#[test]
fn a_running_viaduct_is_known_and_not_disturbed() {
    let world = World::new();
    let home = Home::new(&format!("{LISTENERS}{RELAY}"));
    let viaduct = home.start(&world);
    let caller = world.public.party("caller", "1.2.3.100:5060");
    let callee = world.private.party("callee", "10.0.0.100:5060");
    for _ in 0..3 {
        let mut command = Command::new(env!("CARGO_BIN_EXE_viaduct"));
        command.args(ASK).arg("-c").arg(home.file()).stdout(Stdio::null());
        let mut asking = world.spawn(&mut command);
        let mut calls = 0;
        let status = loop {
            caller.send(&caller.request("INVITE", &callee.uri()), edge());
            callee.receive_request("INVITE");
            calls += 1;
            if let Some(status) = asking.ended().expect("a child can be waited for") {
                break status;
            }
        };
        assert!(status.success() && calls > 1, "{status}, {calls} calls");
    }
    let (code, findings, sockets) = asked(&home, &world);
    assert_eq!(
        (code, findings),
        (Some(0), vec![pair("port-running", "note"); 6]),
        "five listeners and admin"
    );
    assert!(sockets.iter().all(|(_, socket)| socket == "running"), "{sockets:?}");
    let told = text(&home.command(&world, &ASK));
    assert!(
        told.contains("has udp:1.2.3.4:5060, tcp:1.2.3.4:5060") && told.contains("viaduct (process "),
        "{told}"
    );
    viaduct.stop();
}

#[test]
fn a_port_that_is_not_for_this_user_is_told_with_what_it_needs() {
    let world = World::new();
    let home = Home::new(&format!("{}{RELAY}", LISTENERS.replace("1.2.3.4:5060", "1.2.3.4:506")));
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set", "-net_bind_service", "--inh-caps", "-net_bind_service"]);
    command.arg(env!("CARGO_BIN_EXE_viaduct")).args(ASK).arg("-c").arg(home.file());
    let output = world.inside(|| program::output(&mut command)).expect("setpriv of util-linux");
    let told = text(&output);
    assert_eq!(output.status.code(), Some(1), "{told}{}", String::from_utf8_lossy(&output.stderr));
    for words in [
        "error[port-privileged]: listener «public»",
        "this user may not have udp:1.2.3.4:506: it needs CAP_NET",
    ] {
        assert!(told.contains(words), "no «{words}» in:\n{told}");
    }
    assert_eq!(asked(&home, &world).0, Some(0), "who may is told nothing");
}
