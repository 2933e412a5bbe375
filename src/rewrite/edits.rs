//! The edit list.

use std::ops::Range;

use super::sink::Sink;
use crate::limits::{EDITS, INK_BYTES};

/// The rewritten message does not fit: into the output, the edit list or its ink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the rewritten message is too large")]
pub struct TooLarge;

/// Edits over one message, kept in order of their offsets; those at the same offset stay in the order in
/// which they were made. Made once for each shard and cleared for each message; allocates nothing after.
///
/// Offsets are those of the received bytes, whatever other edits there are. Where deletions overlap,
/// each byte goes once.
pub struct Edits {
    list: Box<[Edit]>,
    len: usize,
    /// Text that edits insert, in the order in which it was written.
    ink: Box<[u8]>,
    inked: usize,
    /// What of the received bytes is the message; bytes before and behind do not go out.
    frame: Range<usize>,
    overflow: bool,
}

/// Deletes `delete` bytes at `at` and inserts `text` instead.
#[derive(Clone, Copy, Default)]
struct Edit {
    at: usize,
    delete: usize,
    text: Text,
}

/// Where inserted bytes stand.
#[derive(Clone, Copy)]
enum Text {
    Ink { from: usize, to: usize },
    Received { from: usize, to: usize },
}

impl Default for Text {
    fn default() -> Self {
        Self::Ink { from: 0, to: 0 }
    }
}

impl Default for Edits {
    fn default() -> Self {
        Self::new()
    }
}

impl Edits {
    /// An empty list of the sizes in [`crate::limits`].
    pub fn new() -> Self {
        Self {
            list: vec![Edit::default(); EDITS].into(),
            len: 0,
            ink: vec![0; INK_BYTES].into(),
            inked: 0,
            frame: 0..usize::MAX,
            overflow: false,
        }
    }

    /// Begins with the next message.
    pub fn clear(&mut self) {
        self.len = 0;
        self.inked = 0;
        self.frame = 0..usize::MAX;
        self.overflow = false;
    }

    /// Deletes these bytes.
    pub fn delete(&mut self, range: Range<usize>) {
        self.add(range, Text::default());
    }

    /// Inserts what is written to the result, before the byte at `at`.
    pub fn insert(&mut self, at: usize) -> Ink<'_> {
        self.replace(at..at)
    }

    /// Replaces these bytes by what is written to the result.
    pub fn replace(&mut self, range: Range<usize>) -> Ink<'_> {
        let from = self.inked;
        let edit = self.add(range, Text::Ink { from, to: from });
        Ink { edits: self, edit, from }
    }

    /// Replaces these bytes by other bytes of the same message, as they were received.
    pub fn replace_by_received(&mut self, range: Range<usize>, received: Range<usize>) {
        self.add(range, Text::Received { from: received.start, to: received.end });
    }

    /// Says where in the received bytes the message begins and ends.
    pub fn frame(&mut self, message: Range<usize>) {
        self.frame = message;
    }

    /// The place of the new edit in the list.
    fn add(&mut self, range: Range<usize>, text: Text) -> usize {
        if self.len == self.list.len() {
            self.overflow = true;
            return usize::MAX;
        }
        let edit = Edit { at: range.start, delete: range.end.saturating_sub(range.start), text };
        let mut place = self.len;
        while place > 0 && self.list[place - 1].at > edit.at {
            self.list[place] = self.list[place - 1];
            place -= 1;
        }
        self.list[place] = edit;
        self.len += 1;
        place
    }

    /// Writes `received` with all edits into `out`; gives the length.
    ///
    /// # Errors
    /// [`TooLarge`]: it does not fit into `out`, or the edits did not fit into their list.
    pub fn apply(&self, received: &[u8], out: &mut [u8]) -> Result<usize, TooLarge> {
        if self.overflow {
            return Err(TooLarge);
        }
        let received = received.get(..self.frame.end).unwrap_or(received);
        let mut written = Written { out, len: 0 };
        let mut done = self.frame.start;
        for edit in self.list.iter().take(self.len) {
            if edit.at > done {
                written.put(received, done..edit.at)?;
                done = edit.at;
            }
            match edit.text {
                Text::Ink { from, to } => written.put(&self.ink, from..to)?,
                Text::Received { from, to } => written.put(received, from..to)?,
            }
            done = done.max(edit.at.saturating_add(edit.delete));
        }
        if done < received.len() {
            written.put(received, done..received.len())?;
        }
        Ok(written.len)
    }
}

struct Written<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl Written<'_> {
    fn put(&mut self, from: &[u8], range: Range<usize>) -> Result<(), TooLarge> {
        let text = from.get(range.start.min(from.len())..range.end.min(from.len())).ok_or(TooLarge)?;
        let end = self.len.checked_add(text.len()).ok_or(TooLarge)?;
        self.out.get_mut(self.len..end).ok_or(TooLarge)?.copy_from_slice(text);
        self.len = end;
        Ok(())
    }
}

/// Takes the text of one edit, which is complete when this is dropped.
pub struct Ink<'a> {
    edits: &'a mut Edits,
    edit: usize,
    from: usize,
}

impl Sink for Ink<'_> {
    // Most texts are short and of a length that the compiler knows: then a copy is a few moves.
    #[inline(always)]
    fn put(&mut self, text: &[u8]) {
        let edits = &mut *self.edits;
        let end = edits.inked.saturating_add(text.len());
        match edits.ink.get_mut(edits.inked..end) {
            Some(room) => {
                room.copy_from_slice(text);
                edits.inked = end;
            }
            None => edits.overflow = true,
        }
    }
}

impl Drop for Ink<'_> {
    fn drop(&mut self) {
        if let Some(edit) = self.edits.list.get_mut(self.edit) {
            edit.text = Text::Ink { from: self.from, to: self.edits.inked };
        }
    }
}
