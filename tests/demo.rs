//! The README's first command: it passes, and leaves nothing behind however it ends.

#[path = "support/program.rs"]
mod program;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use program::Program;

fn demo(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_viaduct"));
    command.args(["demo", "--json", "--calls", "10"]).env("TMPDIR", folder);
    command
}

fn eventually(what: &str, mut look: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !look() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Processes whose command line names something in this folder, as the demo's forwarder does.
fn processes_of(folder: &Path) -> Vec<String> {
    let folder = folder.to_str().expect("a UTF-8 path");
    let entries = fs::read_dir("/proc").expect("/proc").filter_map(Result::ok);
    let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|l| l.contains(folder))
        .collect()
}

fn nothing_is_left(folder: &Path) {
    // The forwarder of a demo that was killed is told by the kernel to end, and takes its time for it.
    eventually("the demo's processes end", || processes_of(folder).is_empty());
    let left: Vec<_> = fs::read_dir(folder).expect("the folder").filter_map(Result::ok).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn it_passes_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = program::output(&mut demo(folder.path())).expect("the demo runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{}\n{said}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout)
    );
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["passed"], true, "{report}");
    assert_eq!(report["pairs"].as_array().map(Vec::len), Some(6), "{report}");
    assert!(report["bridged"]["calls"].as_u64() > Some(0), "{report}");
    assert!(report["flip"]["moved"].as_u64() > Some(0), "{report}");
    assert!(report["followed"]["first_answer_us"].as_u64() > Some(0), "{report}");
    nothing_is_left(folder.path());
}

fn interrupted_by(signal: Signal) {
    let folder = tempfile::tempdir().expect("a folder");
    let log = fs::File::create(folder.path().join("stderr")).expect("a file");
    let work = folder.path().join("work");
    fs::create_dir(&work).expect("a folder");
    let mut program =
        Program::start(demo(&work).stdout(log.try_clone().expect("a second handle")).stderr(log))
            .expect("the demo starts");
    eventually("the forwarder runs", || processes_of(&work).len() == 1);
    std::thread::sleep(Duration::from_millis(300));
    let id = i32::try_from(program.0.id()).expect("a process number");
    kill(Pid::from_raw(id), signal).expect("a signal can be sent");
    let status = program.wait(program::LIMIT).expect("the demo ends");
    let said = fs::read_to_string(folder.path().join("stderr")).expect("what it said");
    assert_eq!((status.code(), said.as_str()), (Some(1), "viaduct demo: interrupted\n"), "{status}");
    nothing_is_left(&work);
}

#[test]
fn an_interrupt_in_the_middle_leaves_nothing_behind() {
    interrupted_by(Signal::SIGINT);
    interrupted_by(Signal::SIGTERM);
}

#[test]
fn a_demo_that_is_killed_takes_its_forwarder_along() {
    let folder = tempfile::tempdir().expect("a folder");
    let null = || fs::File::create("/dev/null").expect("/dev/null");
    let program = Program::start(demo(folder.path()).stdout(null()).stderr(null())).expect("the demo starts");
    eventually("the forwarder runs", || processes_of(folder.path()).len() == 1);
    drop(program);
    eventually("the forwarder ends", || processes_of(folder.path()).is_empty());
}
