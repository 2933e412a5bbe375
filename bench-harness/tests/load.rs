//! `bench-harness load` against a forwarder on loopback, and what it says of one that is not there.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The exit code, and what it said.
fn load(line: &str) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench-harness"));
    let done = command.arg("load").args(line.split(' ')).output().expect("the program starts");
    let said = [done.stdout, done.stderr].concat();
    (done.status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn what_goes_nowhere_is_told_as_that() {
    // Whoever takes it and sends nothing on.
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let to = silent.local_addr().expect("an address");
    let line = format!(
        "--to {to} --from 127.0.0.1:25071 --callee 127.0.0.1:25072 --mix unanswered --no-retransmissions --rate 20 --seconds 1 --drain 1"
    );
    let (code, said) = load(&line);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("nothing arrived: does a forwarder listen at {to}")), "{said}");
    assert!(said.contains("latency:   –") && !said.contains("p50 0 µs, p99 0 µs, p99.9 0 µs\nown"), "{said}");
    let (code, said) = load(&(line + " --json"));
    let json: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((code, &json["passed"]), (Some(1), &false.into()), "{said}");
    assert!(json["reasons"][0].as_str().is_some_and(|why| why.starts_with("nothing arrived")), "{said}");
}

#[test]
fn a_forwarder_that_takes_no_connection_is_told_as_that() {
    let closed = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let to = closed.local_addr().expect("an address");
    drop(closed);
    let line = format!(
        "--transport tcp --to {to} --from 127.0.0.1:25073 --callee 127.0.0.1:25074 --mix options --rate 20 --seconds 1 --drain 1"
    );
    let (code, said) = load(&line);
    assert_eq!(code, Some(1), "{said}");
    assert!(!said.contains("the load was the limit"), "{said}");
    assert!(said.contains(&format!("each connection to {to} was refused or broke")), "{said}");
}

#[test]
fn a_caller_that_cannot_send_to_the_forwarder_is_refused() {
    let (code, said) = load("--to 127.0.0.1:9 --from [::1]:25075 --callee [::1]:25076");
    assert!(code == Some(1) && said.contains("--to 127.0.0.1:9 and --from [::1]:25075"), "{said}");
}

#[test]
fn callers_beyond_the_last_port_are_refused() {
    let (code, said) = load("--to 127.0.0.1:9 --from 127.0.0.1:65530 --callee 127.0.0.1:25076 --peers 10");
    let why = "--from 127.0.0.1:65530 with --peers 10: there are no ports above 65535";
    assert!(code == Some(1) && said.contains(why), "{said}");
}

/// Viaduct between both families; it ends with this value.
struct Bridge(Child);

impl Bridge {
    fn start(folder: &Path) -> Self {
        let file = folder.join("viaduct.toml");
        let configuration = "[admin]\nlisten = \"off\"\n\n[engine]\ncores = [0]\n\n\
            [[listener]]\nname = \"four\"\nbind = \"udp:127.0.0.1:25077\"\n\n\
            [[listener]]\nname = \"six\"\nbind = \"udp:[::1]:25077\"\n\n\
            [[route]]\nname = \"all\"\nto = \"request-uri\"\n";
        fs::write(&file, configuration).expect("a file");
        let viaduct = Path::new(env!("CARGO_BIN_EXE_bench-harness")).with_file_name("viaduct");
        let mut command = Command::new(viaduct);
        command.args(["run", "-c"]).arg(file).stderr(Stdio::piped());
        let mut child = command.spawn().expect("viaduct, built as all of the workspace is for its tests");
        let told = BufReader::new(child.stderr.take().expect("a pipe"));
        let this = Self(child);
        let mut lines = told.lines().map_while(Result::ok);
        assert!(lines.any(|line| line.contains("forwards")), "viaduct ended");
        this
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn calls_go_from_one_family_to_the_other_and_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let _bridge = Bridge::start(folder.path());
    for (callers, callee) in [("127.0.0.1", "[::1]"), ("[::1]", "127.0.0.1")] {
        let line = format!(
            "--to {callers}:25077 --from {callers}:25078 --callee {callee}:25079 --rate 50 --seconds 1 --drain 2 --json"
        );
        // A busy machine makes the load late; nothing is lost by that.
        let (_, said) = load(&line);
        let json: serde_json::Value = serde_json::from_str(&said).expect("JSON");
        let counted = ["calls", "failed", "delivered", "missing"].map(|name| json["account"][name].as_u64());
        assert_eq!(counted, [50, 0, 300, 0].map(Some), "{said}");
    }
}
