//! Comparisons of what is known with what was read, and what comes of them.

use std::sync::Arc;

use tokio::time::Instant;

use super::background::{Compared, Job, Meanwhile};
use super::state::{Log, Unsure};
use super::verdict::Verdict;
use super::{Burst, CONFIRM, Follower};
use crate::control::netlink::dump::load;
use crate::control::netlink::error::Error;
use crate::fib::{Fib, Rib};

impl Follower {
    /// Small tables are read anew after any event: what differs, no event has told of.
    pub(super) fn audit_small(&mut self) -> Result<Option<Arc<Fib>>, Error> {
        self.audit_at = Instant::now() + self.options.audit_every;
        let read = match load(&mut self.requester) {
            Ok(read) => read,
            Err(error) => {
                // Whoever is told of it has to hear that it is over, too.
                let now = Instant::now();
                self.state.reload = Some("tables could not be compared");
                self.burst = Some(Burst { first: now, over: now });
                return Err(error);
            }
        };
        self.read()?;
        if self.burst.is_some() {
            // They change just now, and are read again when that is over.
            return Ok(None);
        }
        let known = self.state.rib.fib(self.state.counts.generation);
        self.judge(Compared::of(read, &known, self.state.rib.parts().clone(), &Meanwhile::default()))
    }

    pub(super) fn compare(&mut self, read: Rib) {
        let Some(log) = &self.state.log else { return };
        if log.is_broad() {
            // Too much depends on what has changed meanwhile: later.
            self.audit_at = Instant::now() + self.options.audit_doubts_after;
            self.state.log = None;
            return;
        }
        let meanwhile = Meanwhile { touched: log.touched(), moves_ipv6: log.moves_ipv6() };
        let known = Arc::new(self.state.rib.fib(self.state.counts.generation));
        self.job = Some(Job::compare(read, known, self.state.rib.parts().clone(), meanwhile));
    }

    pub(super) fn judge(&mut self, mut compared: Compared) -> Result<Option<Arc<Fib>>, Error> {
        self.audit_at = Instant::now() + self.options.audit_every;
        let verdict = self.suspicion.judge(&mut compared);
        if verdict == Verdict::Suspected {
            self.audit_at = self.audit_at.min(Instant::now() + CONFIRM);
            self.state.log = None;
            return Ok(None);
        }
        self.state.counts.audits += 1;
        let unsure = std::mem::take(&mut self.state.unsure);
        if verdict == Verdict::Same {
            self.state.log = None;
            if unsure.ipv6 && compared.moves_ipv6 {
                self.state.unsure.ipv6 = true;
                self.audit_at = self.audit_at.min(Instant::now() + self.options.audit_doubts_after);
            }
            return Ok(None);
        }
        if verdict == Verdict::Untold {
            tracing::info!("address labels have changed, which the kernel tells nobody of");
            return self.correct(compared);
        }
        self.tell(&compared, &unsure);
        self.correct(compared)
    }

    /// Takes over what differs: what was read as a whole may lack something itself.
    fn correct(&mut self, compared: Compared) -> Result<Option<Arc<Fib>>, Error> {
        let log = self.state.log.take().unwrap_or_default();
        take_over(&mut self.state.rib, compared, log);
        // What is no route is read again.
        (self.state.changed, self.state.dirty, self.state.doubt) = (true, true, true);
        self.conclude()
    }

    /// Counts and names what differs, but for what was unsure: that was only to be expected.
    fn tell(&mut self, compared: &Compared, unsure: &Unsure) {
        let wrong = || compared.prefixes.iter().filter(|place| !unsure.holds(place));
        let parts = if unsure.all { &[] } else { compared.parts.as_slice() };
        let count = wrong().count();
        if count == 0 && parts.is_empty() {
            tracing::info!(
                "{} prefixes that changed while tables were read are put right",
                compared.prefixes.len()
            );
            return;
        }
        self.state.counts.mismatches += count as u64 + u64::from(!parts.is_empty());
        let few = wrong().take(3).map(|(table, prefix)| format!("{prefix} in table {table}"));
        let what: Vec<String> = few.chain(parts.iter().map(|part| (*part).to_owned())).collect();
        tracing::warn!(
            "what was followed differs from the kernel's at {count} prefixes, or in other things ({}); the kernel's is taken",
            what.join(", ")
        );
    }

    /// Takes what was read, brought up to date, for what is known.
    pub(super) fn adopt(&mut self, mut read: Rib) -> Result<Option<Arc<Fib>>, Error> {
        if let Some(log) = self.state.log.take() {
            self.state.unsure = log.replay(&mut read);
        }
        self.take(read);
        // What is no route may have been read before it changed; and the log may not have been enough.
        (self.state.changed, self.state.dirty, self.state.doubt) = (true, true, true);
        if !self.state.unsure.is_nothing() {
            self.audit_at = self.audit_at.min(Instant::now() + CONFIRM);
        }
        self.conclude()
    }
}

/// Takes what differs from what was read, but for what has changed since.
fn take_over(rib: &mut Rib, mut compared: Compared, log: Log) {
    let touched = log.touched();
    // A link that went while the two were compared has taken its routes with it from what is known only.
    log.replay(&mut compared.read);
    for place in compared.prefixes.iter().filter(|place| !touched.contains(place)) {
        rib.copy_routes(&compared.read, *place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::netlink::event::Event;
    use crate::control::netlink::follow::state::apply;
    use crate::fib::Builder;
    use crate::fib::spec::{Link, Route};

    const PREFIX: &str = "10.66.0.0/16";

    fn host() -> Builder {
        Builder::host().link(Link::up(2, "eth0")).assign(2, "192.0.2.1/24".parse().unwrap())
    }

    fn with_route() -> Builder {
        host().route(Route::new(PREFIX.parse().unwrap(), 2, "192.0.2.2".parse().ok()))
    }

    /// Whether the route is known after a comparison that found it missing, or too much, and these events meanwhile.
    fn corrected(known: Builder, read: Builder, events: &[Event]) -> bool {
        let mut rib = known.rib();
        let known = rib.fib(1);
        let compared = Compared::of(read.rib(), &known, rib.parts().clone(), &Meanwhile::default());
        assert_eq!(compared.prefixes, [(254, PREFIX.parse().unwrap())]);
        let mut log = Log::default();
        for event in events {
            log.note(event);
            apply(&mut rib, event.clone(), false);
        }
        take_over(&mut rib, compared, log);
        rib.fib(2).changed_prefixes(&host().rib().fib(0)).contains(&(254, PREFIX.parse().unwrap()))
    }

    #[test]
    fn what_differs_is_taken_over() {
        assert!(corrected(host(), with_route(), &[]));
        assert!(!corrected(with_route(), host(), &[]));
    }

    #[test]
    fn routes_of_a_link_that_went_meanwhile_do_not_come_back() {
        assert!(!corrected(host(), with_route(), &[Event::LinkGone(2)]));
        let down = Event::Link(Link { up: false, carrier: false, ..Link::up(2, "eth0") });
        assert!(!corrected(host(), with_route(), &[down]));
    }
}
