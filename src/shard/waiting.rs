//! Messages that wait for a name: parked as those that wait for the kernel, until the control thread has published what
//! DNS says, or their time is over.

use super::handler::Handler;
use super::parking::{Parked, Stay};
use super::record::{RecordKind, Sort};
use super::worker::{Arrival, Worker};
use crate::dns::{Directory, Question, Unresolved};
use crate::drop_reason::DropReason;
use crate::egress::NoEgress;
use crate::engine::Io;
use crate::limits;
use crate::net::Now;
use crate::proxy::{Incoming, Outcome};

/// Messages that wait for names.
#[derive(Default)]
pub(super) struct Waiting(Vec<Waits>);

/// A message that waits for a name.
struct Waits {
    question: Question,
    parked: Parked,
}

/// What becomes of a message that leads to a name which leads nowhere, or by a route that only the kernel knows.
pub(super) enum Verdict {
    /// What was decided is done.
    Goes,
    /// It waits, or one like it does already.
    Stays,
    /// It cannot wait: it is decided as one that does not.
    Hurries,
}

impl Waiting {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// When the first of them has waited too long.
    pub fn deadline(&self) -> Option<Now> {
        self.0.iter().filter_map(|waits| waits.parked.stay.name_since).min().map(deadline)
    }

    /// Takes those out whose name has an answer.
    fn take_answered(&mut self, names: &Directory) -> Vec<Parked> {
        self.take(|question, _| names.get(question).is_some())
    }

    fn take_due(&mut self, now: Now) -> Vec<Parked> {
        self.take(|_, parked| parked.stay.name_since.is_some_and(|since| now >= deadline(since)))
    }

    fn take(&mut self, mut is_meant: impl FnMut(&Question, &Parked) -> bool) -> Vec<Parked> {
        let taken = self.0.extract_if(.., |waits| is_meant(&waits.question, &waits.parked));
        taken.map(|waits| waits.parked).collect()
    }

    fn is_asked(&self, question: &Question) -> bool {
        self.0.iter().any(|waits| waits.question == *question)
    }

    pub fn all(&self) -> impl Iterator<Item = (&Question, &Parked)> {
        self.0.iter().map(|waits| (&waits.question, &waits.parked))
    }

    fn holds(&self, incoming: &Incoming<'_>) -> bool {
        self.all().any(|(_, parked)| parked.is(incoming))
    }
}

fn deadline(since: Now) -> Now {
    since.plus_ns(limits::PARKED_FOR_NAME_NS)
}

impl<S, H: Handler> Worker<S, H> {
    /// Whether the message that was handled last waits for an answer, of DNS or of the kernel.
    pub(super) fn look_for_answers(&mut self, arrival: &Arrival<'_>, outcome: &Outcome) -> Verdict {
        match self.look_for_name(arrival, outcome) {
            Verdict::Goes if matches!(outcome, Outcome::Answer { .. } | Outcome::Drop(_)) => {
                self.look_for_route(arrival)
            }
            verdict => verdict,
        }
    }

    /// The message may have found no egress, and the kernel is asked for one; any other reason is told.
    fn look_for_route(&mut self, arrival: &Arrival<'_>) -> Verdict {
        let Some((next_hop, why)) = self.handler.take_no_egress() else { return Verdict::Goes };
        if let NoEgress::AskKernel(query) = why {
            if self.park(arrival, query) {
                return Verdict::Stays;
            }
            if !arrival.stay.in_haste {
                return Verdict::Hurries;
            }
        }
        if self.noted.is_new(next_hop.address.ip(), Sort::of(&why).number(), self.now) {
            self.record(RecordKind::NoEgress { on: arrival.incoming.on, next_hop, why });
        }
        Verdict::Goes
    }

    /// Whether the message that was handled last waits for a name.
    fn look_for_name(&mut self, arrival: &Arrival<'_>, outcome: &Outcome) -> Verdict {
        let Some((question, why)) = self.handler.nowhere() else { return Verdict::Goes };
        let (question, why) = (*question, *why);
        let ended = matches!(outcome, Outcome::Answer { .. } | Outcome::Drop(_));
        match why {
            // It goes elsewhere; the next one may go there.
            Unresolved::Pending if !ended => {
                self.names.ask(question);
                Verdict::Goes
            }
            Unresolved::Pending if !arrival.stay.in_haste => self.wait_for_name(arrival, question),
            why => {
                if ended {
                    self.metrics.unresolved[why as usize].count();
                }
                Verdict::Goes
            }
        }
    }

    fn wait_for_name(&mut self, arrival: &Arrival<'_>, question: Question) -> Verdict {
        let stay = arrival.stay;
        if self.waiting.holds(&arrival.incoming) {
            self.metrics.dropped(DropReason::Absorbed);
            return Verdict::Stays;
        }
        let since = stay.name_since.unwrap_or(self.now);
        if self.stop_by.is_some() || self.now >= deadline(since) {
            return Verdict::Hurries;
        }
        // Also where there is no room to wait: the next one goes there.
        let asked = self.waiting.is_asked(&question) || self.names.ask(question);
        if !asked || self.waiting.len() >= self.current.snapshot.plan.dns.queue {
            return Verdict::Hurries;
        }
        let stay = Stay { name_since: Some(since), ..stay };
        self.keep_for_name(question, self.parked(arrival, self.handler.transaction(), stay), arrival);
        Verdict::Stays
    }

    /// `arrival`: it, as it was until now.
    pub(super) fn keep_for_name(&mut self, question: Question, parked: Parked, arrival: &Arrival<'_>) {
        if arrival.stay.name_since.is_none() {
            self.metrics.parked_for_names.count();
        }
        self.waiting.0.push(Waits { question, parked });
        self.metrics.parked_for_names_now.set(self.waiting.len() as u64);
    }

    /// There are other names. `anew`: and other rules or routes, so that all are decided about again.
    pub(super) fn on_names<I: Io<Source = S>>(&mut self, io: &mut I, anew: bool) {
        let messages = match anew {
            true => self.waiting.take(|_, _| true),
            false => self.waiting.take_answered(&self.current.snapshot.names),
        };
        self.unpark(io, messages);
    }

    /// Decides about messages that have waited too long, as about such that cannot wait.
    pub(super) fn end_waiting<I: Io<Source = S>>(&mut self, io: &mut I) {
        let mut messages = self.waiting.take_due(self.now);
        messages.iter_mut().for_each(|parked| parked.stay.in_haste = true);
        self.unpark(io, messages);
    }
}
