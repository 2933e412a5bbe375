//! `viaduct doctor` as a program: exit codes, its shape for programs, hosts of which nothing is known.

#[path = "support/program.rs"]
mod program;

use std::fs;
use std::process::{Command, Output};

use serde_json::Value;

fn doctor(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_viaduct"));
    program::output(command.arg("doctor").args(words)).expect("viaduct runs")
}

fn findings(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text)
        .unwrap_or_else(|e| panic!("{e}: {text}\n{}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn this_host_is_audited_whatever_it_is() {
    let output = doctor(&["--json"]);
    assert!(matches!(output.status.code(), Some(0 | 1)), "{output:?}");
    let findings = findings(&output);
    for finding in &findings {
        let keys: Vec<&String> = finding.as_object().expect("an object").keys().collect();
        assert_eq!(keys, ["code", "status", "subject", "found", "wanted", "why", "remedy", "section"]);
        let status = finding["status"].as_str().expect("a word");
        assert!(["pass", "warn", "fail", "skip"].contains(&status), "{finding}");
        let bad = matches!(status, "warn" | "fail");
        assert_eq!(finding["remedy"].is_string(), bad, "{finding}");
    }
    let failed = findings.iter().any(|finding| finding["status"] == "fail");
    assert_eq!(output.status.code(), Some(i32::from(failed)));
    // The tests run on it.
    for code in ["kernel-release", "io-uring"] {
        assert!(findings.iter().all(|f| f["code"] != code || f["status"] != "fail"), "{code}");
    }
    let Value::Array(list) = serde_json::from_slice(&doctor(&["--list", "--json"]).stdout).expect("JSON")
    else {
        panic!("no list");
    };
    let listed = String::from_utf8(doctor(&["--list"]).stdout).expect("text");
    for code in listed.lines().filter_map(|line| line.split(' ').next()) {
        assert!(findings.iter().any(|finding| finding["code"] == code), "{code} is listed and found nothing");
        assert!(list.iter().any(|check| check["code"] == code), "{code} is not in JSON");
    }
}

#[test]
fn of_a_host_without_files_nothing_can_be_told() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("proc")).expect("a folder");
    let output = doctor(&["--root", folder.path().to_str().expect("a path"), "--strict", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let findings = findings(&output);
    assert!(findings.len() > 40);
    let told: Vec<&Value> = findings.iter().filter(|finding| finding["status"] != "skip").collect();
    assert!(told.iter().all(|finding| finding["code"] == "marks"), "{told:#?}");
}

#[test]
fn a_folder_that_is_no_host_is_not_audited() {
    let folder = tempfile::tempdir().expect("a folder");
    for root in [folder.path().to_path_buf(), folder.path().join("absent")] {
        let output = doctor(&["--root", root.to_str().expect("a path")]);
        assert_eq!((output.status.code(), &*output.stdout), (Some(1), &b""[..]), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(&format!("{} has neither proc nor sys", root.display())), "{said}");
    }
}

#[test]
fn another_hosts_files_are_audited_from_a_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir_all(folder.path().join("proc/sys/kernel")).expect("a folder");
    fs::write(folder.path().join("proc/sys/kernel/osrelease"), "5.10.0-28-amd64\n").expect("a file");
    let root = folder.path().to_str().expect("a path");
    let output = doctor(&["--root", root, "--only", "kernel-release"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout);
    for words in ["fail", "5.10.0-28-amd64", "Linux 6.1 or newer", "tuning.md#kernel-release", "1 failed"] {
        assert!(text.contains(words), "no «{words}» in:\n{text}");
    }
    assert!(!text.contains('\u{1b}'), "colours where nobody sees them: {text}");
}

#[test]
fn wrong_words_and_wrong_files_have_their_own_exit_codes() {
    let unknown = doctor(&["--only", "weather"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("--list"));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("viaduct.toml");
    fs::write(&file, "[engin]\n").expect("a file");
    assert_eq!(doctor(&["-c", file.to_str().expect("a path")]).status.code(), Some(78));
}
