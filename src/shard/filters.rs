//! Filters at the shard's own sockets, where more comes than it can handle.

use super::handler::Handler;
use super::record::RecordKind;
use super::worker::Worker;
use crate::engine::{Io, SocketId};
use crate::net::ListenerId;
use crate::overload::{Filter, Kept};

impl<S, H: Handler> Worker<S, H> {
    /// The handler begins anew, and knows of no filter.
    pub(super) fn adopt(&mut self) {
        self.handler.adopt(&self.current.snapshot);
        self.filters_are_old = true;
    }

    /// Sets the filters that the handler wants from now on.
    pub(super) fn look_at_filters<I: Io<Source = S>>(&mut self, io: &mut I) {
        if std::mem::take(&mut self.filters_are_old) {
            self.end_filters(io);
        }
        if self.handler.look_at().is_none_or(|at| self.now < at) {
            return;
        }
        let mut changes = Vec::new();
        self.handler.look(self.now, &mut |on, kept| changes.push((on, kept)));
        changes.iter().for_each(|(on, kept)| self.filter(io, *on, *kept));
    }

    fn filter<I: Io<Source = S>>(&mut self, io: &mut I, on: ListenerId, kept: Kept) {
        let Some(bound) = self.current.bindings.bound(on) else { return };
        let Some(open) = self.open.get_mut(usize::from(bound.socket.0)).and_then(Option::as_mut) else {
            return;
        };
        let snapshot = &self.current.snapshot;
        let program = match kept {
            Kept::ALL => None,
            kept => Filter::new(&snapshot.ours, &snapshot.plan.overload).program(kept),
        };
        let is_filtered = program.is_some();
        let kind = match io.filter(bound.socket, program.as_ref().map_or(&[], |program| program.steps())) {
            // It may take the next one.
            Err(errno) => {
                let _ = io.filter(bound.socket, &[]);
                let is_new = !std::mem::replace(&mut open.is_unfilterable, true);
                open.is_filtered = false;
                is_new.then_some(RecordKind::NoFilter { on, errno })
            }
            Ok(()) if open.is_filtered == is_filtered => None,
            Ok(()) => {
                open.is_filtered = is_filtered;
                Some(RecordKind::Filtered { on, begins: is_filtered })
            }
        };
        if let Some(kind) = kind {
            self.record(kind);
        }
    }

    fn end_filters<I: Io<Source = S>>(&mut self, io: &mut I) {
        for (number, open) in (0..).zip(self.open.iter_mut()) {
            if open.as_mut().is_some_and(|open| std::mem::take(&mut open.is_filtered)) {
                // A socket that is gone has none.
                let _ = io.filter(SocketId(number), &[]);
            }
        }
    }
}
