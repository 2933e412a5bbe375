//! Sends that are over when they are submitted: when that is done, and how the shard hears of it.

use std::io;

use super::send::Ended;
use super::{Engine, Event, MOST_FLUSHES, Shard};
use crate::limits::SENDS_PER_SUBMIT;

impl Engine<'_> {
    /// Tells the shard how the sends went that the kernel has taken.
    pub(super) fn settle(&mut self, shard: &mut impl Shard<Self>) {
        // With a failure yet untold, none can be said to have succeeded.
        if self.all_settled() || !self.ring.all_submitted() || self.ring.overflown() {
            return;
        }
        self.settle_streams(shard);
        let mut queued = std::mem::take(&mut self.queued);
        for number in queued.drain(..) {
            let event = match self.sends.finish(number) {
                Some(Ended::Sent { cookie }) => Event::Sent { cookie },
                Some(Ended::Failed { on, to, errno, cookie }) => Event::SendFailed { on, to, errno, cookie },
                None => continue,
            };
            shard.on_event(self, event);
        }
        // A shard does not send in answer to these events, but if it did, nothing would be lost.
        queued.append(&mut self.queued);
        self.queued = queued;
    }

    pub(super) fn all_settled(&self) -> bool {
        self.queued.is_empty() && self.streams.at_once.is_empty()
    }

    /// Messages that wait to be submitted.
    pub(super) fn unsubmitted(&self) -> usize {
        self.queued.len() + self.streams.writes
    }

    /// Submits and settles the sends where there are enough of them; and where messages come one by one, so that nothing that one
    /// leads to waits for what else the shard does in its turn. `before`: so many had waited when it came.
    pub(super) fn send_many(&mut self, shard: &mut impl Shard<Self>, before: usize) -> io::Result<()> {
        let sends = self.unsubmitted();
        let are_of_one = sends == 1 || sends > 0 && before == 0;
        let leave_alone = are_of_one && self.ready.is_empty() && !self.coalesce.expects_more();
        if sends >= SENDS_PER_SUBMIT || leave_alone { self.send_all(shard) } else { Ok(()) }
    }

    pub(super) fn send_all(&mut self, shard: &mut impl Shard<Self>) -> io::Result<()> {
        self.send_streams();
        self.ring.submit()?;
        self.drain()?;
        self.settle(shard);
        Ok(())
    }

    /// The last sends leave; what failed of them is still told.
    pub(super) fn send_last(&mut self, shard: &mut impl Shard<Self>) -> io::Result<()> {
        for _ in 0..MOST_FLUSHES {
            self.send_all(shard)?;
            if self.all_settled() {
                break;
            }
        }
        Ok(())
    }
}
