//! No dependency asks for a newer Rust than `rust-version` promises.

#[path = "support/program.rs"]
mod program;

use std::process::Command;

use serde_json::Value;

#[test]
fn every_dependency_builds_with_the_stated_minimum_rust() {
    let mut command = Command::new(env!("CARGO"));
    command
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = program::output(&mut command).expect("cargo runs");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let ours = version(env!("CARGO_PKG_RUST_VERSION"));
    let newer: Vec<String> = metadata["packages"]
        .as_array()
        .expect("packages")
        .iter()
        .filter_map(|package| Some((package, package["rust_version"].as_str()?)))
        .filter(|(_, needs)| version(needs) > ours)
        .map(|(package, needs)| format!("{} {} needs {needs}", package["name"], package["version"]))
        .collect();
    assert!(newer.is_empty(), "rust-version is {}, but {newer:?}", env!("CARGO_PKG_RUST_VERSION"));
}

fn version(text: &str) -> (u32, u32, u32) {
    let mut parts = text.split('.').map(|part| part.parse().expect("a version"));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

#[test]
fn versions_compare_by_number() {
    assert!(version("1.100") > version("1.89.2"));
}
