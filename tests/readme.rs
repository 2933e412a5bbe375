//! What README.md shows is true: its configurations compile, its tables are complete.

#[path = "support/pki.rs"]
#[allow(dead_code)] // Certificates are wanted here, whatever they are for.
mod pki;
#[path = "support/program.rs"]
mod program;

use std::path::Path;
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

/// Codes of findings about the file itself stand where it is read.
#[test]
fn every_code_of_the_file_is_named() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let folder = std::fs::read_dir(src.join("config")).expect("a folder").filter_map(Result::ok);
    let files = folder.map(|entry| entry.path()).chain([src.join("cli/check/mod.rs")]);
    let mut codes = viaduct::cli::check::SOCKET_CODES.map(str::to_owned).to_vec();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file:?}: {error}"));
        let given = text.split(".code(\"").skip(1).filter_map(|rest| rest.split('"').next());
        codes.extend(given.map(str::to_owned));
    }
    assert!(codes.iter().any(|code| code == "key-file") && codes.len() > 10, "{codes:?}");
    for code in codes {
        assert!(README.contains(&format!("`{code}`")), "README.md lacks the code {code}");
    }
}

#[test]
fn every_metric_is_named_and_every_one_named_exists() {
    const EXPOSED: &str = include_str!(
        "../src/metrics/snapshots/viaduct__metrics__tests__the_text_is_what_operators_alert_on.snap"
    );
    let types = EXPOSED.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let exposed: Vec<&str> = types.collect();
    assert!(exposed.len() > 100, "{exposed:?}");
    let names = README.split('`').skip(1).step_by(2);
    let named: Vec<&str> =
        names.filter(|name| name.starts_with("viaduct_")).filter_map(|name| name.split('{').next()).collect();
    for name in &exposed {
        let is_it = |named: &&str| named.strip_suffix("_total").unwrap_or(named) == *name;
        assert!(named.iter().any(is_it), "README.md does not name {name}");
    }
    for name in named {
        let bare = name.strip_suffix("_total").unwrap_or(name);
        assert!(exposed.contains(&bare), "no metric is {name}");
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

#[test]
fn every_file_named_exists_and_the_plot_is_of_results_that_are_here() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let links = |begin| README.split(begin).skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
    let is_here = |link: &&str| !link.contains("://") && !link.starts_with('#');
    for link in links("](").filter(is_here) {
        let file = link.split('#').next().unwrap_or(link);
        assert!(root.join(file).exists(), "README.md leads to {file}");
    }
    let plots: Vec<&str> = README
        .lines()
        .filter_map(|line| line.strip_prefix("![")?.split_once("](")?.1.strip_suffix(".svg)"))
        .collect();
    assert!(!plots.is_empty(), "README.md shows no plot");
    for plot in plots {
        let results = root.join(plot).with_file_name("results.json");
        let results =
            std::fs::read_to_string(&results).unwrap_or_else(|error| panic!("{results:?}: {error}"));
        let results: serde_json::Value = serde_json::from_str(&results).expect("JSON");
        let ratio = &results["ratios"]["cpu_per_call_vs_kamailio_mhomed"]["median"];
        let told = format!("{:.2} of Kamailio's with\n`mhomed=1`", ratio.as_f64().expect("a ratio"));
        assert!(README.contains(&told), "README.md does not say what {plot} shows: {told}");
    }
}
