//! tuning.md and `viaduct doctor` say the same: every check has its section, every knob its check, and each knob is told
//! of in the same order.

use std::collections::{BTreeMap, BTreeSet};

use viaduct::doctor::{Check, checks};

const TUNING: &str = include_str!("../tuning.md");
const README: &str = include_str!("../README.md");

const HEADINGS: [&str; 7] = ["Why", "Default", "Check", "Set", "Undo", "Effect", "Source"];

/// Parts that are no knobs.
const MEASURED: [&str; 2] = ["What Viaduct's own work costs", "What the socket path costs"];

/// As GitHub makes anchors of headings.
fn anchor(heading: &str) -> String {
    let kept = heading
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
        .collect::<String>();
    kept.replace(' ', "-")
}

/// Part and text of each knob, by its heading.
fn knobs() -> BTreeMap<&'static str, (&'static str, &'static str)> {
    let parts = TUNING.split("\n## ").skip(1);
    let parts = parts.filter_map(|part| part.split_once('\n')).filter(|(part, _)| !MEASURED.contains(part));
    parts
        .flat_map(|(part, text)| {
            let knobs = text.split("\n### ").skip(1).filter_map(|knob| knob.split_once('\n'));
            knobs.map(move |(knob, text)| (knob, (part, text)))
        })
        .collect()
}

#[test]
fn every_check_has_its_section_and_every_knob_its_check() {
    let knobs = knobs();
    assert!(knobs.len() > 30, "{}", knobs.len());
    for Check { code, section, group, .. } in checks() {
        let found = knobs.iter().find(|(knob, _)| anchor(knob) == *section);
        let (_, (part, text)) =
            found.unwrap_or_else(|| panic!("{code}: tuning.md has no section #{section}"));
        assert_eq!(part, group, "{code}");
        assert!(!text.contains("*Not audited:*"), "{code} audits #{section}, which says that it is not");
    }
    let audited: BTreeSet<&str> = checks().map(|check| check.section).collect();
    for (knob, (_, text)) in knobs {
        assert!(
            audited.contains(&*anchor(knob)) || text.contains("*Not audited:* "),
            "«{knob}» has no check and does not say why"
        );
    }
}

#[test]
fn each_knob_says_the_same_seven_things_in_order() {
    for (knob, (_, text)) in knobs() {
        let parts = text.split("\n**").skip(1).filter_map(|part| part.split_once(".**"));
        let (headings, texts): (Vec<&str>, Vec<&str>) = parts.unzip();
        assert_eq!(headings, HEADINGS, "«{knob}»");
        assert!(texts.iter().all(|text| text.trim().len() >= 3), "«{knob}»");
        let effect = text.split("**Effect.**").nth(1).and_then(|rest| rest.split("**Source.**").next());
        let effect = effect.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            effect.starts_with("Expected: ")
                && (effect.contains("*Measured") || effect.contains("*Not measured here")),
            "«{knob}» does not say whether its effect was measured: {effect}"
        );
    }
}

#[test]
fn the_table_of_contents_is_complete_and_no_link_leads_nowhere() {
    let headings = TUNING.lines().filter_map(|l| l.strip_prefix("### ").or_else(|| l.strip_prefix("## ")));
    let anchors: Vec<String> = headings.map(anchor).collect();
    let distinct: BTreeSet<&String> = anchors.iter().collect();
    assert_eq!(distinct.len(), anchors.len(), "two headings have one anchor");
    let links: BTreeSet<String> =
        TUNING.split("](#").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())).collect();
    assert_eq!(links, anchors.into_iter().collect());
}

#[test]
fn the_unit_is_one_that_doctor_passes() {
    let unit =
        TUNING.split("```ini\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a unit file");
    let mut section = "";
    let mut settings = BTreeMap::new();
    for line in unit.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name;
        } else {
            let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("no assignment: {line}"));
            assert!(settings.insert((section, key), value).is_none(), "twice: {line}");
        }
    }
    let service = |key: &'static str| settings.get(&("Service", key)).copied();
    assert_eq!(service("ExecStart"), Some("/usr/local/bin/viaduct run -c /etc/viaduct/viaduct.toml"));
    assert_eq!(service("RestartPreventExitStatus"), Some("78"));
    assert!(service("RestrictAddressFamilies").is_some_and(|families| families.contains("AF_NETLINK")));
    assert!(service("ReadWritePaths").is_some(), "the key file is created beside the configuration");
    assert!(
        settings.contains_key(&("Install", "WantedBy")) && settings.contains_key(&("Unit", "Description"))
    );

    // And as doctor reads it, with a listener that has a mark and a port that is not for everybody.
    let root = tempfile::tempdir().expect("a folder");
    let place = root.path().join("etc/systemd/system");
    std::fs::create_dir_all(&place).expect("a folder");
    std::fs::write(place.join("viaduct.service"), unit).expect("a file");
    let file = root.path().join("viaduct.toml");
    let marked = "[[listener]]\nname = \"a\"\nbind = \"udp:127.0.0.1:443\"\nmark = 7\n";
    std::fs::write(&file, marked).expect("a file");
    let status = root.path().join("proc/self");
    std::fs::create_dir_all(&status).expect("a folder");
    std::fs::write(status.join("status"), "Cpus_allowed_list:\t0-3\n").expect("a file");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_viaduct"));
    command.args(["doctor", "--only", "systemd-unit", "--json", "--strict", "--root"]).arg(root.path());
    let output = command.arg("-c").arg(&file).output().expect("viaduct runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let findings: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
    assert_eq!((findings[0]["status"].as_str(), output.status.code()), (Some("pass"), Some(0)), "{text}");
}

#[test]
fn the_readme_names_every_check() {
    for Check { code, section, .. } in checks() {
        let link = format!("[{code}](tuning.md#{section})");
        assert!(README.contains(&link), "README.md lacks: {link}");
    }
}
