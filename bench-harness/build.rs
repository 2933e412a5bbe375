//! Tells the program how it is made: a measurement's results name it.

use std::path::Path;
use std::process::Command;

fn main() {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = said(Command::new(rustc).arg("--version")).unwrap_or_default();
    let flags = std::env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    println!("cargo::rustc-env=BUILT_BY={version}");
    println!("cargo::rustc-env=BUILT_GUIDED={}", flags.contains("profile-use"));
    println!("cargo::rustc-env=BUILT_FROM={}", commit().unwrap_or_default());
    println!("cargo::rerun-if-changed=build.rs");
}

/// The commit that is built; of release builds only, because a debug build measures nothing and would be made anew after each
/// commit.
fn commit() -> Option<String> {
    if std::env::var("PROFILE").as_deref() != Ok("release") {
        return None;
    }
    // What is not committed is told, too, as of when this ran.
    let commit =
        said(Command::new("git").args(["describe", "--always", "--dirty", "--exclude=*", "--abbrev=12"]))?;
    let log = said(Command::new("git").args(["rev-parse", "--git-path", "logs/HEAD"]))?;
    if Path::new(&log).exists() {
        println!("cargo::rerun-if-changed={log}");
    }
    for folder in ["../src", "../sip-parser/src", "src"] {
        println!("cargo::rerun-if-changed={folder}");
    }
    Some(commit)
}

/// What it printed, if it succeeded.
fn said(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
