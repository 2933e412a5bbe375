//! Findings, for people and for programs.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};

use crate::doctor::{Check, Finding, Status, checks};

const BOLD: Style = Style::new().bold();
const FAINT: Style = Style::new().dimmed();

const fn colour(status: Status) -> Style {
    match status {
        Status::Pass => AnsiColor::Green.on_default(),
        Status::Warn => AnsiColor::Yellow.on_default().bold(),
        Status::Fail => AnsiColor::Red.on_default().bold(),
        Status::Skip => FAINT,
    }
}

/// By parts of tuning.md: what is not as it should be, or `all`; and the sums.
pub fn text(findings: &[Finding], all: bool) -> String {
    let shown = |finding: &&Finding| all || matches!(finding.status, Status::Warn | Status::Fail);
    let width = checks().map(|check| check.code.len()).max().unwrap_or(0);
    let mut out = String::new();
    let mut group = "";
    for finding in findings.iter().filter(shown) {
        let of = checks().find(|check| check.code == finding.code).map_or("", |check| check.group);
        if of != group {
            // Writing to a String does not fail.
            let _ = writeln!(out, "{}{BOLD}{of}{BOLD:#}", if group.is_empty() { "" } else { "\n" });
            group = of;
        }
        one(finding, width, &mut out);
    }
    if !out.is_empty() {
        out.push('\n');
    }
    out + &summary(findings, all)
}

fn one(finding: &Finding, width: usize, out: &mut String) {
    let Finding { code, status, subject, found, wanted, why, remedy, section } = finding;
    let style = colour(*status);
    let _ = writeln!(out, "  {style}{}{style:#}  {code:<width$}  {subject}: {found}", status.label());
    if matches!(status, Status::Pass | Status::Skip) {
        return;
    }
    let mut line = |head: &str, text: &str| {
        let _ = writeln!(out, "        {:<width$}  {FAINT}{head:<6}{FAINT:#} {text}", "");
    };
    line("wanted", wanted);
    line("why", why);
    if let Some(remedy) = remedy {
        line("mend", remedy);
    }
    line("see", &format!("tuning.md#{section}"));
}

fn summary(findings: &[Finding], all: bool) -> String {
    let count = |status| findings.iter().filter(|finding| finding.status == status).count();
    let [passed, warned, failed, skipped] = Status::ALL.map(count);
    let worst = match (failed, warned) {
        (1.., _) => Status::Fail,
        (0, 1..) => Status::Warn,
        _ => Status::Pass,
    };
    let style = colour(worst);
    let more = if all || passed + skipped == 0 { "" } else { "; --all shows every one" };
    format!(
        "{style}{failed} failed, {warned} to look at{style:#}, {passed} passed, {skipped} cannot be told here{more}\n"
    )
}

/// A list; its fields are stable.
pub fn json(findings: &[Finding]) -> Value {
    let one = |finding: &Finding| {
        json!({
            "code": finding.code, "status": finding.status.label(), "subject": finding.subject,
            "found": finding.found, "wanted": finding.wanted, "why": finding.why,
            "remedy": finding.remedy, "section": format!("tuning.md#{}", finding.section),
        })
    };
    findings.iter().map(one).collect()
}

/// All checks.
pub fn list(as_json: bool) -> String {
    let row = |check: &Check| json!({ "code": check.code, "group": check.group, "wanted": check.wanted, "section": format!("tuning.md#{}", check.section) });
    if as_json {
        return format!("{:#}\n", checks().map(row).collect::<Value>());
    }
    let width = checks().map(|check| check.code.len()).max().unwrap_or(0);
    let line = |check: &Check| format!("{:<width$}  tuning.md#{}\n", check.code, check.section);
    checks().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(status: Status) -> Finding {
        Finding {
            code: "swap",
            status,
            subject: "swap".into(),
            found: "/dev/sda2".into(),
            wanted: "none".into(),
            why: "it is slow",
            remedy: Some("swapoff -a".into()),
            section: "swap",
        }
    }

    #[test]
    fn what_passes_is_one_line_and_what_does_not_teaches() {
        let findings = [finding(Status::Pass), finding(Status::Warn)];
        let short = anstream::adapter::strip_str(&text(&findings, false)).to_string();
        let lines: Vec<&str> = short.lines().map(str::trim).collect();
        assert_eq!(lines[0], "Memory");
        assert!(lines[1].starts_with("warn  swap "), "{short}");
        for (line, head) in
            lines[2..6].iter().zip(["wanted none", "why    it", "mend   swapoff -a", "see    tuning.md#swap"])
        {
            assert!(line.starts_with(head), "{short}");
        }
        assert_eq!(
            lines[7],
            "0 failed, 1 to look at, 1 passed, 0 cannot be told here; --all shows every one"
        );
        assert_eq!(text(&findings, true).matches("swap  ").count(), 2);
    }

    #[test]
    fn programs_get_every_field_of_every_finding() {
        let value = json(&[finding(Status::Skip)]);
        let fields: Vec<&String> = value[0].as_object().unwrap().keys().collect();
        assert_eq!(fields, ["code", "status", "subject", "found", "wanted", "why", "remedy", "section"]);
        assert_eq!((&value[0]["status"], &value[0]["section"]), (&json!("skip"), &json!("tuning.md#swap")));
    }
}
