//! Messages that one shard received and another one's transaction is to handle.
//!
//! One queue for each shard that takes, not one for each pair: their memory would grow with the square of the
//! number of shards, and what is handed over is a small part of what a shard does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam::queue::ArrayQueue;

use crate::engine::SocketId;
use crate::limits;
use crate::metrics::Class;

/// A message on its way to another shard. Its bytes' memory is used again.
#[derive(Debug)]
pub(super) struct Letter {
    /// The socket that it came in on; all shards number theirs alike.
    pub socket: SocketId,
    /// The identity of the listener that it came in on: the socket's number may be another's when it arrives.
    pub listener: u32,
    /// Who sent it.
    pub from: SocketAddr,
    /// What it counts as.
    pub class: Class,
    /// How long it had waited before it was handed over, in nanoseconds, if that is known.
    pub waited_ns: Option<u64>,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// All shards' boxes; all clones are the same ones.
#[derive(Clone, Debug)]
pub struct Post(Arc<[Mailbox]>);

#[derive(Debug)]
struct Mailbox {
    letters: ArrayQueue<Letter>,
    /// Memory of letters that were read.
    used: ArrayQueue<Vec<u8>>,
    /// The owner has been woken, and has not yet looked.
    rung: AtomicBool,
    /// The owner has ended.
    gone: AtomicBool,
}

/// What became of a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Posted {
    /// It waits; its reader will look.
    Waits,
    /// It waits; its reader is to be woken.
    Wake,
    /// There is no room.
    Lost,
    /// There is no such shard any more.
    Gone,
}

impl Post {
    /// For so many shards.
    pub fn new(shards: usize) -> Self {
        let mailbox = |_| Mailbox {
            letters: ArrayQueue::new(limits::HANDED_OVER),
            used: ArrayQueue::new(limits::HANDED_OVER),
            rung: AtomicBool::new(false),
            gone: AtomicBool::new(false),
        };
        Self((0..shards.max(1)).map(mailbox).collect())
    }

    /// Sends a copy of `bytes`; `letter` makes a letter of it.
    pub(super) fn send(&self, to: u16, bytes: &[u8], letter: impl FnOnce(Vec<u8>) -> Letter) -> Posted {
        let mailbox = self.0.get(usize::from(to)).filter(|mailbox| !mailbox.gone.load(Ordering::Relaxed));
        let Some(mailbox) = mailbox else { return Posted::Gone };
        if mailbox.letters.is_full() {
            return Posted::Lost;
        }
        let mut copy = mailbox.used.pop().unwrap_or_default();
        copy.extend_from_slice(bytes);
        if mailbox.letters.push(letter(copy)).is_err() {
            return Posted::Lost;
        }
        // The reader takes the bell down before it looks: what comes later rings again.
        if mailbox.rung.swap(true, Ordering::AcqRel) { Posted::Waits } else { Posted::Wake }
    }

    /// A batch of `own` begins to look at its letters: who sends one from here on rings again.
    pub(super) fn lower_bell(&self, own: u16) {
        let mailbox = self.0.get(usize::from(own));
        if let Some(mailbox) = mailbox.filter(|mailbox| mailbox.rung.load(Ordering::Relaxed)) {
            mailbox.rung.swap(false, Ordering::AcqRel);
        }
    }

    /// Takes the next letter.
    pub(super) fn take(&self, own: u16) -> Option<Letter> {
        self.0.get(usize::from(own))?.letters.pop()
    }

    /// Gives a letter's memory back.
    pub(super) fn give_back(&self, own: u16, mut bytes: Vec<u8>) {
        bytes.clear();
        let is_kept = bytes.capacity() <= limits::LETTER_BYTES;
        if let Some(mailbox) = self.0.get(usize::from(own)).filter(|_| is_kept) {
            // One too many is freed.
            let _ = mailbox.used.push(bytes);
        }
    }

    /// This shard ends: nobody will read its letters.
    pub(super) fn leave(&self, own: u16) {
        if let Some(mailbox) = self.0.get(usize::from(own)) {
            mailbox.gone.store(true, Ordering::Relaxed);
        }
    }

    /// No letter waits.
    pub(super) fn is_empty(&self, own: u16) -> bool {
        self.0.get(usize::from(own)).is_none_or(|mailbox| mailbox.letters.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(bytes: Vec<u8>) -> Letter {
        let from = "192.0.2.1:5060".parse().unwrap();
        Letter { socket: SocketId(3), listener: 7, from, class: Class::Invite, bytes, waited_ns: None }
    }

    #[test]
    fn a_letter_arrives_and_rings_once() {
        let post = Post::new(2);
        post.lower_bell(1);
        assert_eq!(post.send(1, b"one", letter), Posted::Wake);
        assert_eq!(post.send(1, b"two", letter), Posted::Waits);
        post.lower_bell(1);
        assert!(post.is_empty(0) && !post.is_empty(1));
        assert_eq!(post.take(1).unwrap().bytes, b"one");
        assert_eq!(post.take(1).unwrap().bytes, b"two");
        assert!(post.take(1).is_none());
        assert_eq!(post.send(1, b"three", letter), Posted::Wake);
        assert_eq!(post.send(2, b"nobody", letter), Posted::Gone);
        post.leave(1);
        assert_eq!(post.send(1, b"nobody", letter), Posted::Gone);
    }

    #[test]
    fn memory_is_used_again_and_a_full_box_takes_no_more() {
        let post = Post::new(1);
        post.send(0, &[1; 900], letter);
        let first = post.take(0).unwrap().bytes;
        let at = first.as_ptr();
        post.give_back(0, first);
        post.send(0, &[2; 900], letter);
        let second = post.take(0).unwrap().bytes;
        assert_eq!((second.as_ptr(), second.as_slice()), (at, &[2; 900][..]));
        // That of a long one is not kept.
        post.send(0, &[3; 2 * limits::LETTER_BYTES], letter);
        let long = post.take(0).unwrap().bytes;
        post.give_back(0, long);
        post.send(0, b"short", letter);
        assert!(post.take(0).unwrap().bytes.capacity() <= limits::LETTER_BYTES);
        let sent = (0..limits::HANDED_OVER + 3).filter(|_| post.send(0, b"x", letter) != Posted::Lost);
        assert_eq!(sent.count(), limits::HANDED_OVER);
    }
}
