//! Filters at the shard's own sockets, where more comes than it can handle.

use super::handler::Handler;
use super::record::RecordKind;
use super::worker::Worker;
use crate::engine::{Io, SocketId};
use crate::net::ListenerId;
use crate::overload::{Filter, Kept};

impl<S, H: Handler> Worker<S, H> {
    /// Listeners may have other numbers, or the handler begins anew: no socket has a filter any more.
    pub(super) fn unfilter<I: Io<Source = S>>(&mut self, io: &mut I) {
        self.handler.unfilter();
        for number in 0..self.open.len() {
            let open = self.open.get_mut(number).and_then(Option::as_mut);
            if !open.is_some_and(|open| std::mem::take(&mut open.is_filtered)) {
                continue;
            }
            let socket = SocketId(number as u16);
            // A socket that is gone has none.
            let _ = io.filter(socket, &[]);
            if let Some(on) = self.current.bindings.listener(socket) {
                self.record(RecordKind::Filtered { on, begins: false });
            }
        }
    }

    /// Sets the filters that the handler wants from now on.
    pub(super) fn look_at_filters<I: Io<Source = S>>(&mut self, io: &mut I) {
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
            kept => Filter::new(snapshot.ours.written(), &snapshot.plan.overload).program(kept),
        };
        let steps = program.as_ref().map_or(&[][..], |program| program.steps());
        // The kernel has to have room for the new one before it gives up the old one.
        let set = io.filter(bound.socket, steps).or_else(|_| {
            io.filter(bound.socket, &[])?;
            io.filter(bound.socket, steps)
        });
        let is_filtered = program.is_some() && set.is_ok();
        let was_filtered = std::mem::replace(&mut open.is_filtered, is_filtered);
        let is_new = set.is_err() && !std::mem::replace(&mut open.is_unfilterable, true);
        if kept != Kept::ALL && !is_filtered {
            self.handler.keeps_all(on);
        }
        if let Some(errno) = set.err().filter(|_| is_new) {
            self.record(RecordKind::NoFilter { on, errno });
        }
        if was_filtered != is_filtered {
            self.record(RecordKind::Filtered { on, begins: is_filtered });
        }
    }
}
