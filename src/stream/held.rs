//! Messages that wait for the end of a handshake.

use super::Waiting;
use crate::limits::{STREAM_QUEUE_BYTES, STREAM_WAITING};

/// In the order in which they are to be sent; no more than a connection that is open takes.
#[derive(Debug, Default)]
pub struct Held {
    bytes: Vec<u8>,
    /// Where each message ends, and who waits to hear of it.
    messages: Vec<(usize, Waiting)>,
}

impl Held {
    /// Keeps a message; `false`: there is no room.
    pub(super) fn keep(&mut self, message: &[u8], waiting: Waiting) -> bool {
        let end = self.bytes.len() + message.len();
        if end > STREAM_QUEUE_BYTES || self.messages.len() >= STREAM_WAITING {
            return false;
        }
        self.bytes.extend_from_slice(message);
        self.messages.push((end, waiting));
        true
    }

    /// Each with who waits for it.
    pub fn each(&self) -> impl Iterator<Item = (&[u8], Waiting)> {
        let begins = std::iter::once(0).chain(self.messages.iter().map(|(end, _)| *end));
        begins
            .zip(&self.messages)
            .map(|(begin, (end, waiting))| (self.bytes.get(begin..*end).unwrap_or_default(), *waiting))
    }

    /// Bytes that are kept.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Nothing of it will be sent.
    pub(super) fn give_up(&mut self) {
        self.bytes = Vec::new();
    }

    /// Those who wait.
    pub fn into_waiting(self) -> impl Iterator<Item = Waiting> {
        self.messages.into_iter().map(|(_, waiting)| waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(cookie: u64) -> Waiting {
        Waiting { shard: 0, cookie }
    }

    #[test]
    fn messages_come_out_as_they_went_in() {
        let mut held = Held::default();
        assert!(held.keep(b"one", who(1)) && held.keep(b"", who(2)) && held.keep(b"three", who(3)));
        let each: Vec<_> = held.each().collect();
        assert_eq!(each, [(&b"one"[..], who(1)), (b"", who(2)), (b"three", who(3))]);
        assert_eq!(held.bytes(), 8);
        held.give_up();
        assert_eq!(held.bytes(), 0);
        assert_eq!(held.into_waiting().collect::<Vec<_>>(), [who(1), who(2), who(3)]);
    }

    #[test]
    fn there_is_an_end_to_it() {
        let mut held = Held::default();
        assert!(held.keep(&vec![0; STREAM_QUEUE_BYTES], who(1)) && !held.keep(b"x", who(2)));
        let mut held = Held::default();
        let kept = (0..2 * STREAM_WAITING as u64).filter(|n| held.keep(b"x", who(*n))).count();
        assert_eq!((kept, held.bytes()), (STREAM_WAITING, STREAM_WAITING));
    }
}
