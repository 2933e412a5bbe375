//! What commands do where standard output or standard error takes no more: it is full, or a pipe whose reader has gone.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// Commands that are done at once, and print one line and several.
const COMMANDS: [&str; 3] =
    ["against old.json old.json", "fib --v4 100 --v6 0", "fib --v4 100 --v6 0 --json"];

fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("results/2026-11-29/guided/results.json");
    fs::copy(results, folder.path().join("old.json")).expect("results");
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

fn end(folder: &TempDir, line: &str, out: impl Into<Stdio>, err: impl Into<Stdio>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench-harness"));
    command.current_dir(folder.path()).args(line.split(' ')).stdout(out).stderr(err);
    let child = command.spawn().expect("the program starts");
    child.wait_with_output().expect("it ends")
}

#[test]
fn a_full_standard_output_is_told_of() {
    let folder = folder();
    for line in COMMANDS.into_iter().chain(["certificates --out made 127.0.0.1"]) {
        let Output { status, stderr, .. } = end(&folder, line, full(), Stdio::piped());
        let said = String::from_utf8_lossy(&stderr);
        assert_eq!(status.code(), Some(1), "{line}: {said}");
        assert!(said.contains("cannot write to standard output: No space left"), "{line}: {said}");
        assert_eq!(said.lines().count(), 1, "{line}: {said}");
    }
}

#[test]
fn a_reader_that_has_gone_is_no_failure() {
    let folder = folder();
    for line in COMMANDS {
        let Output { status, stderr, .. } = end(&folder, line, unread(), Stdio::piped());
        assert_eq!((status.code(), &*String::from_utf8_lossy(&stderr)), (Some(0), ""), "{line}");
    }
}

#[test]
fn a_standard_error_that_takes_nothing_changes_no_exit_code() {
    let folder = folder();
    for line in COMMANDS {
        assert_eq!(end(&folder, line, full(), full()).status.code(), Some(1), "{line}");
    }
    let absent = end(&folder, "against absent.json old.json", Stdio::null(), full());
    assert_eq!(absent.status.code(), Some(1), "{absent:?}");
}
