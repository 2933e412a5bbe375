//! What `bench-harness load` says of a forwarder that is not there.

use std::net::{TcpListener, UdpSocket};
use std::process::Command;

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
