//! What commands that measure do with files and folders that they are given: they look at them first.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

/// Measures one small piece.
const SHORT: [&str; 4] = ["micro", "--only", "rules_match_1", "--quick"];

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

/// The exit code, and what it said.
fn end(folder: &Path, words: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench-harness"));
    let done = command.current_dir(folder).args(words).output().expect("the program starts");
    let said = [done.stdout, done.stderr].concat();
    (done.status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn figures_are_held_against_the_file_as_it_was() {
    if Command::new("valgrind").arg("--version").output().is_err() {
        return println!("SKIPPED figures held against what was: they need valgrind");
    }
    let folder = folder();
    fs::write(folder.path().join("limits"), "pipeline 1e9\n").expect("a file");
    let was = Path::new(env!("CARGO_MANIFEST_DIR")).join("results/2026-11-29/guided/results.json");
    let mut old: Value = serde_json::from_str(&fs::read_to_string(was).expect("results")).expect("JSON");
    // Nothing takes as few.
    old["ratios"]["own_work_instructions"] = 3.0.into();
    fs::create_dir(folder.path().join("out")).expect("a folder");
    fs::write(folder.path().join("out/results.json"), old.to_string()).expect("a file");
    let line = "micro --instructions-only --quick --limits limits --out out --against out/results.json";
    let (code, said) = end(folder.path(), &line.split(' ').collect::<Vec<_>>());
    assert!(code == Some(1) && said.contains("WORSE"), "{code:?} {said}");
}

#[test]
fn what_cannot_be_read_or_written_is_told_before_anything_is_measured() {
    let folder = folder();
    fs::write(folder.path().join("file"), "").expect("a file");
    fs::write(folder.path().join("none.json"), "[]").expect("a file");
    for command in [&SHORT[..], &["compare"], &["all"]] {
        for (words, named) in [
            (&["--against", "nosuch.json"][..], "nosuch.json: No such file"),
            (&["--against", "none.json"], "none.json: "),
            (&["--out", "/proc/foo"], "/proc/foo: "),
            (&["--out", "file"], "file: "),
            (&["--junit", "verdict.xml"], "--against <OLD.json>"),
            (&["--threshold", "own_work_ns=0.1"], "--against <OLD.json>"),
        ] {
            let (code, said) = end(folder.path(), &[command, words].concat());
            assert!(code != Some(0) && said.contains(named), "{command:?} {words:?}: {code:?} {said}");
            assert!(!said.contains("parts, about") && !said.contains("load "), "{said}");
        }
    }
    let left = fs::read_dir(folder.path()).expect("the folder").count();
    assert_eq!(left, 2, "file and none.json");
}
