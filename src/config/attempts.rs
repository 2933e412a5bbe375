//! `timeout`, `failover` and `fork`: how several next hops are tried.

use std::time::Duration;

use super::diagnostic::Findings;
use super::read::{Entry, Section};
use crate::rules::{Attempts, Mode};
use crate::status::Statuses;
use crate::transaction::SIXTY_FOUR_T1_NS;

/// Shortest `timeout`: less than a retransmission (T1) says nothing of a next hop that is far away.
const SHORTEST: Duration = Duration::from_millis(100);

/// The keys as they stand in a route.
pub(super) struct Keys<'d> {
    timeout: Option<Entry<'d>>,
    failover: Option<Entry<'d>>,
    fork: Option<Entry<'d>>,
}

impl<'d> Keys<'d> {
    pub fn take(section: &mut Section<'d>) -> Self {
        Self {
            timeout: section.take("timeout"),
            failover: section.take("failover"),
            fork: section.take("fork"),
        }
    }

    /// Those that are there.
    pub fn given(&self) -> impl Iterator<Item = &Entry<'d>> {
        [&self.timeout, &self.failover, &self.fork].into_iter().flatten()
    }

    /// What they say. Without transactions there is nothing that could be tried again.
    pub fn read(self, mode: Mode, findings: &mut Findings) -> Attempts {
        if mode == Mode::Stateless {
            for entry in self.given() {
                findings.error(
                    entry.span.clone(),
                    format!("`{}` needs transactions", entry.key),
                    "write mode = \"stateful\"; a stateless route takes the first next hop that can be sent to",
                );
            }
            return Attempts::DEFAULT;
        }
        let longest = Duration::from_nanos(SIXTY_FOUR_T1_NS);
        let timeout = self.timeout.and_then(|entry| entry.duration(SHORTEST..=longest, findings));
        let forks = self.fork.and_then(|entry| entry.boolean(findings)).unwrap_or(false);
        let failover = self.failover.map(|entry| {
            if forks {
                let message =
                    "`failover` means nothing with `fork`: all next hops are asked, whatever they answer";
                findings.error(entry.span.clone(), message, "leave one of them out");
            }
            statuses(&entry, findings)
        });
        Attempts {
            timeout_ns: timeout.and_then(|timeout| timeout.as_nanos().try_into().ok()),
            failover: failover.unwrap_or(Attempts::DEFAULT.failover),
            forks,
        }
    }
}

/// Statuses and classes: `[408, 480, "5xx"]`; an empty list is none.
fn statuses(entry: &Entry<'_>, findings: &mut Findings) -> Statuses {
    if entry.is_empty() {
        return Statuses::NONE;
    }
    let mut set = Statuses::NONE;
    for entry in entry.values(findings) {
        if !entry.is_text() {
            let status = entry.number(300..600, findings).and_then(|status| status.try_into().ok());
            set = status.map_or(set, |status| set.with(status));
            continue;
        }
        let Some(text) = entry.text(findings) else { continue };
        match ["3xx", "4xx", "5xx"].iter().position(|class| *class == text.text) {
            Some(place) => set = set.with_class(place as u16 + 3),
            None => {
                findings.error(
                    text.span,
                    format!("«{}» is no class of answers to go on after", text.text),
                    "write \"3xx\", \"4xx\" or \"5xx\", or a status as a number; a 6xx is everybody's answer",
                );
            }
        }
    }
    set
}
