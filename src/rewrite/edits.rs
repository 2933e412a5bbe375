//! The edit list.

use std::ops::Range;

use super::output::Output;
use crate::limits::EDITS;

/// The rewritten message does not fit: into the output or the edit list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the rewritten message is too large")]
pub struct TooLarge;

/// Edits over one message, kept in order of their offsets; those at the same offset stay in the order in
/// which they were made. Made once for each shard and cleared for each message; allocates nothing after.
///
/// Offsets are those of the received bytes, whatever other edits there are. Where deletions overlap,
/// each byte goes once. `T` names a text that is inserted; it is written when its place in the output is
/// reached, so that no byte is copied twice.
pub struct Edits<T> {
    list: Box<[Edit<T>; EDITS]>,
    len: usize,
    /// What of the received bytes is the message; bytes before and behind do not go out.
    frame: Range<usize>,
    overflow: bool,
}

/// Deletes the bytes from `at` to `end` and inserts `text` instead.
#[derive(Clone, Copy)]
struct Edit<T> {
    at: usize,
    end: usize,
    text: Text<T>,
}

#[derive(Clone, Copy)]
enum Text<T> {
    Nothing,
    New(T),
    Received { from: usize, to: usize },
}

impl<T: Copy> Default for Edits<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Copy> Edits<T> {
    /// An empty list of the size in [`crate::limits`].
    pub fn new() -> Self {
        let list = Box::new([Edit { at: 0, end: 0, text: Text::Nothing }; EDITS]);
        Self { list, len: 0, frame: 0..usize::MAX, overflow: false }
    }

    /// Begins with the next message.
    pub fn clear(&mut self) {
        self.len = 0;
        self.frame = 0..usize::MAX;
        self.overflow = false;
    }

    /// Deletes these bytes.
    pub fn delete(&mut self, range: Range<usize>) {
        self.add(range, Text::Nothing);
    }

    /// Inserts a text before the byte at `at`.
    pub fn insert(&mut self, at: usize, text: T) {
        self.add(at..at, Text::New(text));
    }

    /// Replaces these bytes by a text.
    pub fn replace(&mut self, range: Range<usize>, text: T) {
        self.add(range, Text::New(text));
    }

    /// Replaces these bytes by other bytes of the same message, as they were received.
    pub fn replace_by_received(&mut self, range: Range<usize>, received: Range<usize>) {
        self.add(range, Text::Received { from: received.start, to: received.end });
    }

    /// Says where in the received bytes the message begins and ends.
    pub fn frame(&mut self, message: Range<usize>) {
        self.frame = message;
    }

    #[inline(always)]
    fn edits(&self) -> &[Edit<T>] {
        self.list.get(..self.len).unwrap_or_default()
    }

    #[inline(always)]
    fn add(&mut self, range: Range<usize>, text: Text<T>) {
        if self.len >= EDITS {
            self.overflow = true;
            return;
        }
        let edit = Edit { at: range.start, end: range.end, text };
        let mut place = self.len;
        while place > 0 && self.list[place - 1].at > edit.at {
            self.list[place] = self.list[place - 1];
            place -= 1;
        }
        self.list[place] = edit;
        self.len += 1;
    }

    /// Writes `received` with all edits into `out`; gives the length. `write` writes a text.
    ///
    /// # Errors
    /// [`TooLarge`]: it does not fit into `out`, or the edits did not fit into their list.
    #[inline]
    pub fn apply(
        &self,
        received: &[u8],
        out: &mut [u8],
        mut write: impl FnMut(T, &mut Output<'_>),
    ) -> Result<usize, TooLarge> {
        if self.overflow {
            return Err(TooLarge);
        }
        let received = received.get(..self.frame.end).unwrap_or(received);
        let part = |from: usize, to: usize| received.get(from..to.min(received.len())).unwrap_or_default();
        let mut out = Output::new(out);
        let mut done = self.frame.start;
        // Of most responses one line goes, and nothing else changes.
        if let [Edit { at, end, text: Text::Nothing }] = self.edits() {
            out.put_text(part(done, *at));
            out.put(part(done.max(*at).max(*end), received.len()));
            return out.finish().ok_or(TooLarge);
        }
        for edit in self.edits() {
            // Nothing, where an edit before has deleted this place.
            out.put_text(part(done, edit.at));
            match edit.text {
                Text::Nothing => {}
                Text::New(text) => write(text, &mut out),
                Text::Received { from, to } => out.put_text(part(from, to)),
            }
            done = done.max(edit.at).max(edit.end);
        }
        out.put(part(done, received.len()));
        out.finish().ok_or(TooLarge)
    }
}
