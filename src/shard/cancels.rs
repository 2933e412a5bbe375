//! CANCELs whose INVITE waits for an answer of the kernel or of DNS: they wait behind it.

use super::handler::Handler;
use super::panics;
use super::parking::{Parked, Stay};
use super::worker::{Arrival, Worker};
use crate::dns::Question;
use crate::drop_reason::DropReason;

impl<S, H: Handler> Worker<S, H> {
    /// Whether this is a CANCEL that waits behind its INVITE, whatever would become of it by itself, and whoever else may wait: it is
    /// decided about once that one has gone. There is one for each, so that it has an end.
    ///
    /// RFC 3261 §16.10: "A proxy MUST cancel any pending client transactions associated with a response context when it receives a
    /// matching CANCEL request." Those of an INVITE which waits are still to come; what has overtaken it cancels nothing.
    pub(super) fn waits_behind_invite(&mut self, arrival: &Arrival<'_>) -> bool {
        let any_waits = self.parking.len() > 0 || self.waiting.len() > 0;
        any_waits && is_cancel(arrival.incoming.bytes) && self.wait_behind_invite(arrival)
    }

    #[cold]
    fn wait_behind_invite(&mut self, arrival: &Arrival<'_>) -> bool {
        let incoming = &arrival.incoming;
        // What this panics at, so does the proxy, and that is told.
        let transaction = panics::guard(|| self.handler.transaction_of(incoming)).ok().flatten();
        let Some(transaction) = transaction else { return false };
        if self.cancels_of(transaction).any(|parked| parked.is(incoming)) {
            self.metrics.dropped(DropReason::Absorbed);
            return true;
        }
        let is_first = arrival.stay.has_waited() || self.cancels_of(transaction).next().is_none();
        let Some((name, stay)) = self.stay_of_invite(transaction).filter(|_| is_first) else { return false };
        // So that both are taken out at the same time, one behind the other.
        let parked = self.parked(arrival, transaction, stay);
        match name {
            Some(question) => self.keep_for_name(question, parked, arrival),
            None => self.keep_for_kernel(parked, arrival),
        }
        true
    }

    fn cancels_of(&self, transaction: u64) -> impl Iterator<Item = &Parked> {
        let all = self.parking.all().chain(self.waiting.all().map(|(_, parked)| parked));
        all.filter(move |parked| parked.transaction == transaction && is_cancel(&parked.bytes))
    }

    /// For which name an INVITE waits, if for any, and how long already.
    fn stay_of_invite(&self, transaction: u64) -> Option<(Option<Question>, Stay)> {
        let is_it = |parked: &Parked| parked.transaction == transaction && !is_cancel(&parked.bytes);
        if let Some(parked) = self.parking.all().find(|parked| is_it(parked)) {
            return Some((None, parked.stay));
        }
        let (question, parked) = self.waiting.all().find(|(_, parked)| is_it(parked))?;
        Some((Some(*question), parked.stay))
    }
}

fn is_cancel(message: &[u8]) -> bool {
    message.trim_ascii_start().starts_with(b"CANCEL ")
}
