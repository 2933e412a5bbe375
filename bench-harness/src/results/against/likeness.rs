//! What differs between two runs besides what they measured.

use std::collections::BTreeMap;

use super::super::model::{Load, Machine, Results};
use super::super::statistics::median;

/// By which part a rate may be another's before it is told: searches for the most that is carried do not find the same twice.
const RATE: f64 = 0.1;

/// Times may be held against each other: it is the same processor, kernel and so on.
pub fn is_same_machine(old: &Results, new: &Results) -> bool {
    machines(&old.machine, &new.machine).is_empty()
}

/// What both have, and not the same, in words.
pub fn differences(old: &Results, new: &Results) -> Vec<String> {
    let mut told = machines(&old.machine, &new.machine);
    changed(&mut told, "compiler", &old.machine.built_by(), &new.machine.built_by());
    for (name, then) in &old.subjects {
        let Some(now) = new.subjects.get(name) else { continue };
        if then.configuration != now.configuration {
            told.push(format!("{name}: its configuration is another"));
        }
        if !name.starts_with("viaduct") && !name.starts_with("null") {
            changed(&mut told, &format!("{name}: version"), &then.version, &now.version);
        }
    }
    let (then, now) = (rates(old), rates(new));
    for ((load, subject), then) in then {
        let Some(now) = now.get(&(load, subject)) else { continue };
        if (now / then - 1.0).abs() > RATE {
            let load = load.name();
            told.push(format!("{load}, {subject}: {then:.0} a second were offered, now {now:.0}"));
        }
    }
    told
}

fn machines(old: &Machine, new: &Machine) -> Vec<String> {
    let mut told = Vec::new();
    changed(&mut told, "processor", &old.cpu, &new.cpu);
    changed(&mut told, "cores", &old.cores.len().to_string(), &new.cores.len().to_string());
    changed(&mut told, "kernel", &old.kernel, &new.kernel);
    if old.virtual_machine != new.virtual_machine {
        told.push("one is under a hypervisor, the other is not".to_owned());
    }
    if old.mitigations != new.mitigations {
        told.push("the kernel's mitigations are others".to_owned());
    }
    told
}

fn changed(told: &mut Vec<String>, what: &str, then: &str, now: &str) {
    if then != now {
        told.push(format!("{what}: {then} before, {now} now"));
    }
}

/// What was offered to each under each load for which one rate was chosen.
fn rates(results: &Results) -> BTreeMap<(Load, &str), f64> {
    let mut all = BTreeMap::<(Load, &str), Vec<f64>>::new();
    let chosen = |load: Load| !matches!(load, Load::Knee | Load::Saturation | Load::Overload);
    for sample in results.samples.iter().filter(|sample| chosen(sample.load)) {
        all.entry((sample.load, &sample.subject)).or_default().push(sample.offered_per_second);
    }
    all.into_iter().filter_map(|(whose, rates)| Some((whose, median(rates)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::model::Subject;

    #[test]
    fn a_profile_is_told_and_where_earlier_files_have_it_is_no_difference() {
        let built = |rustc: &str, guided| {
            let machine = Machine { rustc: rustc.into(), guided, ..Machine::default() };
            Results { machine, ..Results::default() }
        };
        let [plain, guided, earlier] =
            [built("rustc 1", false), built("rustc 1", true), built("rustc 1, guided by a profile", false)];
        assert_eq!(
            differences(&plain, &guided),
            ["compiler: rustc 1 before, rustc 1, guided by a profile now"]
        );
        assert!(differences(&earlier, &guided).is_empty());
    }

    #[test]
    fn machines_configurations_and_rates_that_differ_are_told() {
        let mut old = crate::results::tests::results();
        old.subjects.insert("kamailio".into(), Subject::default());
        assert!(differences(&old, &old).is_empty() && is_same_machine(&old, &old));
        let mut new = old.clone();
        new.machine.rustc = "rustc 2".into();
        new.subjects.get_mut("kamailio").unwrap().configuration = "children=2".into();
        for sample in new.samples.iter_mut().filter(|sample| sample.load == Load::Calls) {
            sample.offered_per_second = if sample.subject == "kamailio" { 1_200.0 } else { 1_050.0 };
        }
        let told = differences(&old, &new);
        assert!(is_same_machine(&old, &new), "another compiler is no other machine");
        assert_eq!(
            told[1..],
            [
                "kamailio: its configuration is another",
                "calls, kamailio: 1000 a second were offered, now 1200"
            ]
        );
        new.machine.kernel = "6.1".into();
        assert!(!is_same_machine(&old, &new) && differences(&old, &new)[0] == "kernel:  before, 6.1 now");
    }
}
