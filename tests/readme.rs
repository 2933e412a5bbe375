//! What README.md shows is true: its configurations compile, its tables are complete.

#[path = "support/pki.rs"]
#[allow(dead_code)] // Certificates are wanted here, whatever they are for.
mod pki;
#[path = "support/program.rs"]
mod program;

use std::process::Command;

use viaduct::drop_reason::DropReason;
use viaduct::fib::spec::{Link, Route};
use viaduct::fib::{Builder, Fib};
use viaduct::findings::Code;

const README: &str = include_str!("../README.md");

fn toml_blocks() -> Vec<&'static str> {
    README.split("```toml\n").skip(1).filter_map(|block| block.split("```").next()).collect()
}

/// A host that has every address of the recipes.
fn host() -> Fib {
    let addresses = ["1.2.3.4/24", "10.0.0.4/24", "203.0.113.10/24", "fd00::4/64"];
    let host = Builder::host().link(Link::up(2, "eth0"));
    addresses
        .iter()
        .fold(host, |host, address| host.assign(2, address.parse().expect("address/length")))
        .route(Route::new(
            "0.0.0.0/0".parse().expect("a prefix"),
            2,
            Some("203.0.113.1".parse().expect("an address")),
        ))
        .build()
}

#[test]
fn every_configuration_shown_compiles() {
    let blocks = toml_blocks();
    assert!(blocks.len() >= 4, "the recipes are gone");
    let (folder, authority) = (tempfile::tempdir().expect("a folder"), pki::Authority::new("A"));
    let pair = authority.issue(&["sip.example.net"]);
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file can be written");
        path
    };
    for (name, text) in
        [("viaduct.crt", &pair.certificate), ("viaduct.key", &pair.key), ("carriers.pem", &authority.pem())]
    {
        file(name, text);
    }
    for block in blocks {
        // Which cores there are is the machine's affair; without the line, all of them.
        let block: String =
            block.lines().filter(|l| !l.starts_with("cores = ")).flat_map(|l| [l, "\n"]).collect();
        let loaded = viaduct::config::load(&file("viaduct.toml", &block), &host());
        if let Err(findings) = loaded {
            panic!("{findings}\nin this block of README.md:\n{block}");
        }
    }
}

#[test]
fn every_drop_reason_has_its_row() {
    for reason in DropReason::ALL {
        let text = reason.describe().split_whitespace().collect::<Vec<_>>().join(" ");
        let row = format!("| `{}` | {text} |", reason.label());
        assert!(README.contains(&row), "README.md lacks: {row}");
    }
    let rows = README.lines().filter(|l| l.starts_with("| `") && l.matches('|').count() == 3).filter(|l| {
        let label = l.split('`').nth(1).unwrap_or_default();
        DropReason::ALL.iter().any(|r| r.label() == label)
    });
    assert_eq!(rows.count(), DropReason::ALL.len());
}

#[test]
fn every_finding_has_its_row() {
    for code in Code::ALL {
        let text = code.describe().split_whitespace().collect::<Vec<_>>().join(" ");
        let row = format!("| `{}` | {text} |", code.label());
        assert!(README.contains(&row), "README.md lacks: {row}");
    }
}

#[test]
fn every_command_named_exists() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_viaduct"));
    let help = program::output(command.arg("--help")).expect("viaduct runs");
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    for command in ["run", "check", "doctor", "explain", "routes", "demo", "completions", "man"] {
        assert!(README.contains(&format!("`viaduct {command}")), "README.md does not name {command}");
        assert!(help.contains(&format!("\n  {command}")), "viaduct --help does not list {command}:\n{help}");
    }
}
