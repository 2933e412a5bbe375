//! What commands do where standard output or standard error takes no more: it is full, or a pipe whose reader has gone.

#[path = "support/program.rs"]
#[allow(dead_code)] // What programs write is not wanted here.
mod program;

use std::fs::{self, File};
use std::io::{self, Read};
use std::process::{Command, ExitStatus, Stdio};

use tempfile::TempDir;

const CONFIGURATION: &str = "\
[[listener]]
name = \"own\"
bind = \"udp:127.0.0.1:5060\"

[[route]]
to = \"request-uri\"
";

/// A capture without packets: the header of pcap, little-endian, Ethernet.
const CAPTURE: [u8; 24] =
    [0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0];

/// Every command that prints and ends by itself.
const COMMANDS: [&str; 14] = [
    "--version",
    "check --help",
    "check -c viaduct.toml",
    "check -c viaduct.toml --json",
    "completions bash",
    "doctor --root host --all",
    "doctor --root host --json",
    "doctor --list",
    "explain -c viaduct.toml --ruri sip:127.0.0.9 --source 127.0.0.2:5060",
    "explain -c viaduct.toml --pcap empty.pcap",
    "man",
    "routes diff --dst 127.0.0.1 --for 0",
    "routes get 127.0.0.1",
    "routes get 127.0.0.1 --json",
];

/// Commands that fail, with their exit codes.
const FAILURES: [(&str, i32); 12] = [
    ("check --nothing", 2),
    ("demo --calls none", 2),
    ("doctor -c absent.toml", 78),
    ("doctor --only nothing", 2),
    ("doctor --root absent", 1),
    ("explain -c absent.toml --ruri sip:127.0.0.9 --source 127.0.0.2:5060", 78),
    ("explain -c viaduct.toml --pcap viaduct.toml", 1),
    ("fly", 2),
    ("man viaduct.toml", 1),
    ("routes diff -c absent.toml", 78),
    ("routes get 127.0.0.1 --oif nothing", 2),
    ("run -c absent.toml", 78),
];

fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("viaduct.toml"), CONFIGURATION).expect("a configuration");
    fs::write(folder.path().join("empty.pcap"), CAPTURE).expect("a capture");
    fs::create_dir_all(folder.path().join("host/proc")).expect("a host");
    folder
}

/// What takes nothing.
fn full() -> File {
    File::options().write(true).open("/dev/full").expect("/dev/full")
}

/// A pipe that nobody reads.
fn unread() -> io::PipeWriter {
    io::pipe().expect("a pipe").1
}

fn viaduct(folder: &TempDir, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_viaduct"));
    command.current_dir(folder.path()).args(line.split(' '));
    command
}

/// How a command ends that writes there, and what it says on standard error.
fn end(folder: &TempDir, line: &str, out: impl Into<Stdio>) -> (ExitStatus, String) {
    let mut command = viaduct(folder, line);
    let mut program =
        program::Program::start(command.stdout(out).stderr(Stdio::piped())).expect("viaduct runs");
    let status = program.wait(program::LIMIT).expect("it ends");
    let mut said = String::new();
    let mut err = program.0.stderr.take().expect("a pipe");
    err.read_to_string(&mut said).expect("text");
    (status, said)
}

#[test]
fn a_full_standard_output_is_told_of() {
    let folder = folder();
    for line in COMMANDS {
        let (status, said) = end(&folder, line, full());
        assert_eq!(status.code(), Some(1), "{line}: {said}");
        assert!(said.contains("cannot write to standard output: No space left"), "{line}: {said}");
        assert_eq!(said.lines().count(), 1, "{line}: {said}");
    }
}

#[test]
fn a_reader_that_has_gone_is_no_failure() {
    let folder = folder();
    for line in COMMANDS {
        let (status, said) = end(&folder, line, unread());
        assert_eq!((status.code(), &*said), (Some(0), ""), "{line}");
    }
}

/// How a command ends that can tell nobody why.
fn end_untold(folder: &TempDir, line: &str, out: impl Into<Stdio>, err: impl Into<Stdio>) -> Option<i32> {
    let mut command = viaduct(folder, line);
    let mut program = program::Program::start(command.stdout(out).stderr(err)).expect("viaduct runs");
    program.wait(program::LIMIT).expect("it ends").code()
}

#[test]
fn a_standard_error_that_takes_nothing_changes_no_exit_code() {
    let folder = folder();
    for (line, code) in FAILURES {
        let (status, said) = end(&folder, line, Stdio::null());
        assert!(status.code() == Some(code) && !said.is_empty(), "{line}: {status}: {said}");
        assert_eq!(end_untold(&folder, line, Stdio::null(), full()), Some(code), "{line}");
        assert_eq!(end_untold(&folder, line, Stdio::null(), unread()), Some(code), "{line}");
    }
    for line in COMMANDS {
        assert_eq!(end_untold(&folder, line, full(), full()), Some(1), "{line}");
    }
}
