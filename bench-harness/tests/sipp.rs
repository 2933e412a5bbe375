//! `bench-harness sipp` makes its calls and says how SIPp ended. Needs root or user namespaces, and SIPp.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_bench-harness");

/// `None`, and says so: something that is needed is not there.
fn sipp(words: &[&str]) -> Option<Output> {
    let viaduct = Path::new(PROGRAM).with_file_name("viaduct");
    if !viaduct.is_file() || Command::new("sipp").arg("-v").output().is_err() {
        println!("SKIPPED calls by `bench-harness sipp`: they need sipp and {}", viaduct.display());
        return None;
    }
    Some(Command::new(PROGRAM).arg("sipp").args(words).output().expect("the program starts"))
}

#[test]
fn calls_of_every_scenario_go_through_a_fresh_viaduct() {
    let Some(done) = sipp(&["--calls", "5", "--rate", "50", "--json"]) else { return };
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{}\n{said}{}", done.status, String::from_utf8_lossy(&done.stderr));
    let rows: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    let rows = rows.as_array().expect("a list");
    let names: Vec<_> = rows.iter().map(|row| row["scenario"].as_str().expect("a name")).collect();
    assert!(names.contains(&"call") && names.contains(&"own-error"), "{names:?}");
    for row in rows {
        assert_eq!((&row["caller"]["successful"], &row["caller"]["failed"]), (&5.into(), &0.into()), "{row}");
        assert_eq!(row["caller"]["exit_code"], 0, "{row}");
    }
}

#[test]
fn a_port_that_is_taken_is_sipps_exit_code_and_ours() {
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let taken = taken.local_addr().expect("an address");
    let words = ["--scenario", "own-error", "--calls", "1", "--via", "127.0.0.1:9"];
    let Some(done) = sipp(&[&words[..], &["--caller", &taken.to_string()]].concat()) else { return };
    let said = String::from_utf8_lossy(&done.stdout);
    let code = done.status.code().expect("an exit code");
    assert!(code >= 254, "{code}: {said}");
    assert!(said.contains(&format!("SIPp's exit code {code}")), "{said}");
}

/// Processes that this one started.
fn children(process: u32) -> Vec<u32> {
    let list = told(process, &format!("task/{process}/children"));
    list.split_whitespace().filter_map(|id| id.parse().ok()).collect()
}

fn told(process: u32, what: &str) -> String {
    std::fs::read_to_string(format!("/proc/{process}/{what}")).unwrap_or_default()
}

/// SIGKILL, too, which nothing of ours can answer.
#[test]
fn what_a_signal_ends_leaves_no_sipp() {
    // Nobody answers at the discard port, so it waits; in namespaces of their own there are two, which have enough to do.
    let waits = ["--scenario", "own-error", "--calls", "1", "--via", "127.0.0.1:9"];
    let calls = ["--scenario", "call", "--calls", "1000", "--rate", "10"];
    if sipp(&["--help"]).is_none() {
        return;
    }
    for (words, sipps, signal) in [
        (&waits[..], 1, "TERM"),
        (&waits[..], 1, "INT"),
        (&waits[..], 1, "KILL"),
        (&calls[..], 2, "TERM"),
        (&calls[..], 2, "KILL"),
    ] {
        let mut command = Command::new(PROGRAM);
        command.arg("sipp").args(words).stdout(Stdio::null()).stderr(Stdio::null());
        let mut harness = command.spawn().expect("the program starts");
        let is_sipp = |id: &u32| told(*id, "comm").starts_with("sipp");
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut all = Vec::new();
        while all.iter().filter(|id| is_sipp(id)).count() < sipps && Instant::now() < deadline {
            sleep(Duration::from_millis(20));
            all = children(harness.id());
        }
        assert_eq!(all.iter().filter(|id| is_sipp(id)).count(), sipps, "it starts SIPp");
        sleep(Duration::from_millis(200));
        let kill = Command::new("kill").args([&format!("-{signal}"), &harness.id().to_string()]).status();
        assert!(kill.expect("kill").success());
        harness.wait().expect("it ends");
        sleep(Duration::from_millis(500));
        for id in all {
            let stat = told(id, "stat");
            assert!(!is_sipp(&id) || stat.contains(") Z"), "{words:?} {signal}: {stat}");
        }
    }
}
