//! Configurations that must not start, and what they say.

use std::process::Output;

use crate::viaduct::{Home, LISTENERS, RELAY};
use crate::world::{World, eventually};

const WRONG_CONFIGURATION: i32 = 78;

fn refused(configuration: &str, words: &[&str]) -> String {
    let world = World::new();
    let home = Home::new(configuration);
    let check = home.command(&world, &["check"]);
    let text = said(&check);
    assert_eq!(check.status.code(), Some(WRONG_CONFIGURATION), "check:\n{text}");
    for word in words {
        assert!(text.contains(word), "check does not say `{word}`:\n{text}");
    }
    let mut run = home.spawn(&world);
    let status = eventually("run refuses", || run.ended());
    assert_eq!(status.code(), Some(WRONG_CONFIGURATION), "run:\n{}", run.log());
    for word in words {
        assert!(run.log().contains(word), "run does not say `{word}`:\n{}", run.log());
    }
    text
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn an_unknown_key_is_shown_where_it_stands() {
    let text = refused(&format!("{LISTENERS}{RELAY}egres = \"private\"\n"), &["egres", "viaduct.toml"]);
    let line = format!("{LISTENERS}{RELAY}").lines().count() + 1;
    assert!(text.contains(&format!(":{line}:")), "line {line} and a column:\n{text}");
}

#[test]
fn an_egress_of_the_other_family_is_an_error_at_load_time() {
    refused(
        &format!(
            "{LISTENERS}\n[[route]]\nname = \"media\"\nto = \"sip:10.0.0.100:5060\"\negress = \"six\"\n"
        ),
        &["six", "10.0.0.100"],
    );
}

#[test]
fn an_unknown_listener_is_an_error() {
    refused(&format!("{LISTENERS}{RELAY}egress = \"privat\"\n"), &["privat"]);
}

#[test]
fn what_is_reserved_for_later_is_refused_clearly() {
    refused(&format!("{LISTENERS}{RELAY}\n[[peer]]\nname = \"x\"\n"), &["peer"]);
}

#[test]
fn a_core_that_this_process_may_not_use_is_an_error() {
    let world = World::new();
    let home = Home::new(&format!("[engine]\ncores = [999]\n{LISTENERS}{RELAY}"));
    let mut run = home.spawn(&world);
    let status = eventually("run refuses", || run.ended());
    assert!(!status.success());
    assert!(run.log().contains("999"), "the core is named:\n{}", run.log());
    assert_eq!(status.code(), Some(WRONG_CONFIGURATION), "{}", run.log());
}

#[test]
fn check_accepts_what_runs() {
    let world = World::new();
    let home = Home::new(&format!("{LISTENERS}{RELAY}"));
    let check = home.command(&world, &["check"]);
    assert_eq!(check.status.code(), Some(0), "{}", said(&check));
}

#[test]
fn explain_says_what_happens() {
    let world = World::new();
    let home = Home::new(&format!("{LISTENERS}{RELAY}"));
    let explain = home.command(
        &world,
        &[
            "explain",
            "--json",
            "--method",
            "INVITE",
            "--ruri",
            "sip:callee@10.0.0.100",
            "--source",
            "1.2.3.100:5060",
            "--listener",
            "public",
        ],
    );
    assert_eq!(explain.status.code(), Some(0), "{}", said(&explain));
    let answer: serde_json::Value =
        serde_json::from_slice(&explain.stdout).unwrap_or_else(|e| panic!("{e}: {}", said(&explain)));
    assert_eq!(answer["decision"], "forward");
    assert_eq!(answer["rule"], "relay");
    assert_eq!(answer["next_hop"]["address"], "10.0.0.100");
    assert_eq!(answer["egress"]["listener"], "private");
    assert_eq!(answer["egress"]["reason"], "auto");
    assert_eq!(answer["route"]["dev"], "priv");
    assert_eq!(answer["route"]["source"], "10.0.0.4");
    assert_eq!(answer["record_route"].as_array().map(Vec::len), Some(2), "{answer}");
    assert!(answer["via"].as_str().is_some_and(|via| via.contains("10.0.0.4:5060")), "{answer}");
}

/// Rules may go by the user whose sockets send: then the one who asks is not the one that is meant.
#[test]
fn who_runs_viaduct_may_be_another_than_who_asks() {
    const USER: &str = "1234";
    let world = World::new();
    // Where only some users are known (user namespaces), the kernel takes no such rule.
    for family in ["-4", "-6"] {
        world.ip(&format!("{family} rule add uidrange {USER}-{USER} prohibit"));
    }
    let asked = |words: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_viaduct"));
        command.args(words);
        world.inside(|| crate::program::output(&mut command)).expect("viaduct runs")
    };
    for destination in ["10.0.0.100", "fd00:6::100"] {
        for (user, kind) in [(USER, "prohibit"), ("root", "unicast")] {
            let output = asked(&["routes", "get", destination, "--user", user, "--compare", "--json"]);
            assert_eq!(output.status.code(), Some(0), "{}", said(&output));
            let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
            assert_eq!((&answer["kind"], &answer["agree"]), (&kind.into(), &true.into()), "{answer}");
        }
    }
    let nobody = asked(&["routes", "get", "10.0.0.100", "--user", "no-such-user"]);
    assert_eq!(nobody.status.code(), Some(2), "{}", said(&nobody));

    let home = Home::new(&format!("{LISTENERS}{RELAY}"));
    let explain =
        ["explain", "--ruri", "sip:a@10.0.0.100", "--source", "1.2.3.100:5060", "--listener", "public"];
    let here = said(&home.command(&world, &explain));
    assert!(
        here.contains("this is asked as user 0: --user says another") && here.contains("private"),
        "{here}"
    );
    let there = said(&home.command(&world, &[&explain[..], &["--user", USER]].concat()));
    assert!(there.contains("500") && !there.contains("--user says another"), "{there}");

    // An egress that cannot reach its next hop is an error in the file.
    let fixed = "[[route]]\nname = \"media\"\nto = \"sip:10.0.0.100\"\negress = \"private\"\n";
    let home = Home::new(&format!("{LISTENERS}{fixed}"));
    let file = home.file();
    let file = file.to_str().expect("a path");
    for (words, good) in [(&["check", "-c", file][..], 0), (&["doctor", "--only", "marks", "-c", file], 0)] {
        let here = asked(words);
        assert_eq!(here.status.code(), Some(good), "{}", said(&here));
        let there = asked(&[words, &["--user", USER]].concat());
        assert!(there.status.code() == Some(78) && said(&there).contains("media"), "{}", said(&there));
    }
}

#[test]
fn routes_get_agrees_with_the_kernel() {
    let world = World::new();
    for (destination, device) in [("10.0.0.100", "priv"), ("fd00:6::100", "six"), ("1.2.3.100", "pub")] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_viaduct"));
        command.args(["routes", "get", destination, "--compare", "--json"]);
        let output = world.inside(|| crate::program::output(&mut command)).expect("viaduct runs");
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(answer["dev"], device, "{answer}");
        assert_eq!(answer["agree"], true, "{answer}");
    }
}
