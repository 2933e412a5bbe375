//! What commands do where standard output takes no more: it is full, or a pipe whose reader has gone.

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
const COMMANDS: [&str; 12] = [
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

fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("viaduct.toml"), CONFIGURATION).expect("a configuration");
    fs::write(folder.path().join("empty.pcap"), CAPTURE).expect("a capture");
    fs::create_dir_all(folder.path().join("host/proc")).expect("a host");
    folder
}

/// How a command ends that writes there, and what it says on standard error.
fn end(folder: &TempDir, line: &str, out: impl Into<Stdio>) -> (ExitStatus, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_viaduct"));
    command.current_dir(folder.path()).args(line.split(' ')).stdout(out).stderr(Stdio::piped());
    let mut program = program::Program::start(&mut command).expect("viaduct runs");
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
        let full = File::options().write(true).open("/dev/full").expect("/dev/full");
        let (status, said) = end(&folder, line, full);
        assert_eq!(status.code(), Some(1), "{line}: {said}");
        assert!(said.contains("cannot write to standard output: No space left"), "{line}: {said}");
        assert_eq!(said.lines().count(), 1, "{line}: {said}");
    }
}

#[test]
fn a_reader_that_has_gone_is_no_failure() {
    let folder = folder();
    for line in COMMANDS {
        let (reader, writer) = io::pipe().expect("a pipe");
        drop(reader);
        let (status, said) = end(&folder, line, writer);
        assert_eq!((status.code(), &*said), (Some(0), ""), "{line}");
    }
}
