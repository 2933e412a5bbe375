//! The configuration held against every new state of the routes, while the process runs.
//!
//! Once a second, and only if something was published since: as many next hops as
//! [`limits::FINDING_QUESTIONS`] allows, so that ten thousand rules take ten seconds and the control thread
//! never more than some milliseconds. What is new and what is gone is told once.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::monitor::Monitor;
use crate::findings::{Examiner, Finding, Key, Severity};
use crate::limits;
use crate::metrics::exposition::FindingReadings;
use crate::rules::Rule;
use crate::snapshot::Snapshot;

/// What is known to be wrong, and how far the newest snapshot has been gone through.
#[derive(Default)]
pub struct Watch {
    open: BTreeMap<Key, Open>,
    /// The rules that `open` is about; listeners may come and go meanwhile.
    rules: Option<Arc<[Rule]>>,
    /// Counts the passes over a Plan.
    pass: u64,
    /// The generation that this pass began with, and how often names had changed; the next one begins with newer ones.
    began_at: (u64, u64),
    /// The next unit of this pass; `None`: it is over.
    next: Option<usize>,
    /// Numbers for the metrics.
    numbers: FindingReadings,
}

struct Open {
    finding: Finding,
    /// The pass that saw it last.
    seen: u64,
}

/// What a look has changed.
#[derive(Debug, Default)]
pub struct Changes {
    /// Found now and not before.
    pub new: Vec<Finding>,
    /// Found before, and no longer.
    pub resolved: Vec<Finding>,
}

impl Watch {
    /// Looks again, if there is reason to, and tells the log and the metrics.
    pub fn care(&mut self, snapshot: &Snapshot, names: u64, monitor: &Monitor) {
        self.look(snapshot, names).tell();
        monitor.facts().process.findings = self.numbers;
    }

    /// Goes on with the pass under way, or begins one if the snapshot is newer than the last one's.
    fn look(&mut self, snapshot: &Snapshot, names: u64) -> Changes {
        let mut changes = Changes::default();
        let rules = &snapshot.plan.rules;
        let others = self.rules.as_ref().is_none_or(|known| !Arc::ptr_eq(known, rules));
        if others || (self.next.is_none() && self.began_at != (snapshot.generation, names)) {
            self.rules = Some(Arc::clone(rules));
            (self.began_at, self.next) = ((snapshot.generation, names), Some(0));
            self.pass += 1;
        }
        let Some(first) = self.next else { return changes };
        let examiner = Examiner::with_names(&snapshot.plan, &snapshot.fib, &snapshot.view, &snapshot.names);
        let (mut unit, mut asked) = (first, 0);
        while unit < examiner.units() && asked < limits::FINDING_QUESTIONS {
            let found = examiner.unit(unit);
            asked += found.asked.max(1);
            found.findings.into_iter().for_each(|finding| self.note(finding, &mut changes));
            unit += 1;
        }
        self.next = (unit < examiner.units()).then_some(unit);
        self.numbers.unexamined = (examiner.units() - unit) as u64;
        if self.next.is_none() {
            self.close(&mut changes);
        }
        changes
    }

    fn note(&mut self, finding: Finding, changes: &mut Changes) {
        let key = finding.key();
        if let Some(open) = self.open.get_mut(&key) {
            // The words may differ by now; it is the same trouble.
            *open = Open { finding, seen: self.pass };
        } else if self.open.len() < limits::OPEN_FINDINGS {
            self.numbers.open[finding.code.index()] += 1;
            self.numbers.opened += 1;
            changes.new.push(finding.clone());
            self.open.insert(key, Open { finding, seen: self.pass });
        }
    }

    /// A pass is over: what it has not seen is gone.
    fn close(&mut self, changes: &mut Changes) {
        let (pass, numbers) = (self.pass, &mut self.numbers);
        self.open.retain(|_, Open { finding, seen }| {
            let stays = *seen == pass;
            if !stays {
                numbers.open[finding.code.index()] -= 1;
                numbers.resolved += 1;
                changes.resolved.push(finding.clone());
            }
            stays
        });
    }
}

impl Changes {
    fn tell(&self) {
        let news = |list: &'_ [Finding]| -> Vec<Finding> {
            list.iter().filter(|finding| !finding.code.is_told_elsewhere()).cloned().collect()
        };
        let (new, resolved) = (news(&self.new), news(&self.resolved));
        for finding in new.iter().take(limits::FINDINGS_TOLD) {
            let (code, message, remedy) = (finding.code.label(), finding.message(), &finding.remedy);
            match finding.severity {
                Severity::Note => tracing::info!("[{code}] {message} ({remedy})"),
                Severity::Error | Severity::Warning => tracing::warn!("[{code}] {message} ({remedy})"),
            }
        }
        for finding in resolved.iter().take(limits::FINDINGS_TOLD) {
            let (code, subject, about) = (finding.code.label(), &finding.subject, &finding.about);
            let about = if about.is_empty() { String::new() } else { format!(" ({about})") };
            tracing::info!("[{code}] resolved: {subject}{about}");
        }
        for (list, what) in [(&new, "new"), (&resolved, "resolved")] {
            if let Some(more @ 1..) = list.len().checked_sub(limits::FINDINGS_TOLD) {
                tracing::warn!("{more} further {what} findings; `viaduct check` shows all");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::fib::spec::{Link, Route};
    use crate::fib::{Builder, Fib};
    use crate::findings::Code;
    use crate::plan::Plan;
    use crate::token::Keys;

    fn host(routes: &[&str]) -> Fib {
        let host = Builder::host().link(Link::up(2, "lan")).assign(2, "10.0.0.4/24".parse().unwrap());
        let gateway = Some("10.0.0.1".parse().unwrap());
        routes
            .iter()
            .fold(host, |host, prefix| host.route(Route::new(prefix.parse().unwrap(), 2, gateway)))
            .build()
    }

    fn plan(rules: usize) -> Arc<Plan> {
        let listener =
            "[[listener]]\nname = \"a\"\nbind = \"udp:10.0.0.4:5060\"\nadvertise = \"198.51.100.4\"\n";
        let rules: String =
            (0..rules).map(|n| format!("[[route]]\nto = \"sip:192.0.{}.{}\"\n", n / 250, n % 250)).collect();
        let loaded = config::from_str("test.toml", &(listener.to_owned() + &rules), &host(&[]));
        Arc::new(loaded.unwrap_or_else(|findings| panic!("{findings}")).plan)
    }

    fn snapshot(generation: u64, plan: &Arc<Plan>, routes: &[&str]) -> Snapshot {
        let keys = Arc::new(Keys::from_secret(&[7; 16]));
        Snapshot::new(generation, Arc::clone(plan), Arc::new(host(routes)), keys, Arc::default())
    }

    fn told(changes: &Changes) -> (Vec<&str>, Vec<&str>) {
        let codes = |list: &'_ [Finding]| list.iter().map(|finding| finding.code.label()).collect();
        (codes(&changes.new), codes(&changes.resolved))
    }

    #[test]
    fn only_what_is_new_and_what_is_gone_is_told() {
        let plan = plan(1);
        let mut watch = Watch::default();
        assert_eq!(told(&watch.look(&snapshot(1, &plan, &[]), 0)), (vec!["next-hop-unrouted"], vec![]));
        assert_eq!(watch.numbers.open[Code::NextHopUnrouted.index()], 1);
        assert_eq!(told(&watch.look(&snapshot(2, &plan, &["198.51.100.0/24"]), 0)), (vec![], vec![]));
        assert_eq!(
            told(&watch.look(&snapshot(3, &plan, &["192.0.0.0/16"]), 0)),
            (vec![], vec!["next-hop-unrouted"])
        );
        assert_eq!(told(&watch.look(&snapshot(4, &plan, &[]), 0)), (vec!["next-hop-unrouted"], vec![]));
        assert_eq!((watch.numbers.opened, watch.numbers.resolved), (2, 1));
        assert_eq!(watch.numbers.open.iter().sum::<u64>(), 1);
    }

    #[test]
    fn without_a_publication_nothing_is_asked() {
        let plan = plan(1);
        let mut watch = Watch::default();
        watch.look(&snapshot(7, &plan, &[]), 0);
        // The same generation with other routes is never published; it would be seen if it were asked.
        assert_eq!(told(&watch.look(&snapshot(7, &plan, &["192.0.0.0/16"]), 0)), (vec![], vec![]));
    }

    #[test]
    fn many_rules_are_gone_through_in_slices() {
        let rules = limits::FINDING_QUESTIONS * 2 + 10;
        let plan = plan(rules);
        let mut watch = Watch::default();
        let mut found = 0;
        for (generation, left) in [(1, rules + 1 - 1000), (2, rules + 1 - 2000), (3, 0)] {
            let changes = watch.look(&snapshot(generation, &plan, &[]), 0);
            assert!(changes.new.len() <= limits::FINDING_QUESTIONS);
            found += changes.new.len();
            assert_eq!(watch.numbers.unexamined, left as u64);
        }
        assert_eq!(found, rules);
        // What came meanwhile begins another pass, and only its end says what is gone.
        assert_eq!(told(&watch.look(&snapshot(3, &plan, &["192.0.0.0/16"]), 0)).1.len(), 0);
        assert_eq!(told(&watch.look(&snapshot(3, &plan, &["192.0.0.0/16"]), 0)).1.len(), 0);
        assert_eq!(told(&watch.look(&snapshot(3, &plan, &["192.0.0.0/16"]), 0)).1.len(), rules);
    }

    #[test]
    fn a_reload_begins_anew_and_keeps_what_is_known() {
        let mut watch = Watch::default();
        watch.look(&snapshot(1, &plan(2), &[]), 0);
        let changes = watch.look(&snapshot(2, &plan(1), &[]), 0);
        assert_eq!(told(&changes), (vec![], vec!["next-hop-unrouted"]), "the second rule is gone");
        assert_eq!(watch.numbers.open.iter().sum::<u64>(), 1);
    }

    /// An address that flaps must not keep the last of many rules from being looked at.
    #[test]
    fn listeners_that_come_and_go_do_not_begin_it_anew() {
        let rules = limits::FINDING_QUESTIONS * 2;
        let mut now = plan(rules);
        let mut watch = Watch::default();
        for generation in 1..=3 {
            watch.look(&snapshot(generation, &now, &[]), 0);
            now = Arc::new(now.with_listeners(crate::plan::expand(&now.sections, &host(&[]))));
        }
        assert_eq!(watch.numbers.open[Code::NextHopUnrouted.index()], rules as u64);
        assert_eq!(watch.numbers.unexamined, 0);
    }

    #[test]
    fn the_memory_of_what_is_open_has_an_end() {
        let plan = plan(limits::OPEN_FINDINGS + 100);
        let mut watch = Watch::default();
        for _ in 0..10 {
            watch.look(&snapshot(1, &plan, &[]), 0);
        }
        assert_eq!(watch.open.len(), limits::OPEN_FINDINGS);
        assert_eq!(watch.numbers.open.iter().sum::<u64>(), limits::OPEN_FINDINGS as u64);
    }
}
