//! Messages that one shard received and another one's transaction is to handle.
//!
//! One queue for each shard that takes, not one for each pair: their memory would grow with the square of the
//! number of shards, and what is handed over is a small part of what a shard does.
//!
//! Each has two lanes. What arrives leads to something that leaves, maybe by a connection of another shard, so it is not taken over
//! where that would find no room. What leaves leads nowhere else, so each shard always takes that: however full all boxes are,
//! nobody waits for who waits for him.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crossbeam::queue::ArrayQueue;

use super::way::Way;
use crate::engine::{Accepted, SocketId};
use crate::limits;
use crate::metrics::Class;
use crate::net::Now;
use crate::proxy::owner_of_quoted;
use crate::stream::{Number, Waiting};
use crate::transaction::{Handle, SendFailure};

/// What one shard has for another one. The memory of its bytes is used again.
#[derive(Debug)]
pub(super) struct Letter {
    pub what: What,
    /// Those of a message; else none.
    pub bytes: Vec<u8>,
}

/// What goes the same way, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// What a transaction is to hear.
    Arrives,
    /// What a connection is to get.
    Leaves,
}

/// What a letter is about.
#[derive(Debug)]
pub(super) enum What {
    /// A message came in whose transaction is the other one's.
    Received(Received),
    /// A message is to leave by a stream of the other one.
    Leaves {
        /// Where to.
        way: Way,
        /// Who is to be told where it cannot.
        waiting: Waiting,
    },
    /// A connection was accepted that is the other one's.
    Accepted {
        /// On which socket.
        socket: SocketId,
        /// From where.
        from: SocketAddr,
        /// It.
        accepted: Accepted,
    },
    /// What a transaction of the other one sent could not leave.
    NotSent(Handle, SendFailure),
    /// What a transaction of the other one sent has left by a connection with this peer, which has ended.
    Lost(Handle, SocketAddr, SendFailure),
    /// ICMP says that a request of the other one did not reach this address; the bytes are as much of it as is known.
    Unreached(SocketAddr),
}

impl What {
    /// Which way it goes.
    pub fn lane(&self) -> Lane {
        match self {
            Self::Leaves { .. } | Self::Accepted { .. } => Lane::Leaves,
            Self::Received(_) | Self::NotSent(..) | Self::Lost(..) | Self::Unreached(_) => Lane::Arrives,
        }
    }

    /// A message that came by a connection.
    fn is_of_stream(&self) -> bool {
        matches!(self, Self::Received(received) if received.stream.is_stream())
    }
}

/// A message that came in.
#[derive(Debug)]
pub(super) struct Received {
    /// The socket that it came in on; all shards number theirs alike.
    pub socket: SocketId,
    /// The identity of the listener that it came in on: the socket's number may be another's when it arrives.
    pub listener: u32,
    /// Who sent it.
    pub from: SocketAddr,
    /// By which stream.
    pub stream: Number,
    /// What it counts as.
    pub class: Class,
    /// How long it had waited before it was handed over, in nanoseconds, if that is known.
    pub waited_ns: Option<u64>,
    /// When that was.
    pub since: Now,
}

impl Received {
    /// How long it has waited in all, in nanoseconds.
    pub fn waited_ns(&self, now: Now) -> u64 {
        self.waited_ns.unwrap_or(0).saturating_add(now.since(self.since))
    }
}

/// All shards' boxes; all clones are the same ones.
#[derive(Clone, Debug)]
pub struct Post(Arc<[Mailbox]>);

#[derive(Debug)]
struct Mailbox {
    arrives: ArrayQueue<Letter>,
    leaves: ArrayQueue<Letter>,
    /// Of those that arrive: messages that came by connections.
    of_streams: AtomicUsize,
    /// Memory of letters that were read.
    used: ArrayQueue<Vec<u8>>,
    /// The owner has been woken, and has not yet looked.
    rung: AtomicBool,
    /// The owner has ended.
    gone: AtomicBool,
}

impl Mailbox {
    fn lane(&self, lane: Lane) -> &ArrayQueue<Letter> {
        match lane {
            Lane::Arrives => &self.arrives,
            Lane::Leaves => &self.leaves,
        }
    }

    /// What came by connections has room of its own: however many datagrams come, it gets its turn, and the other way round.
    fn has_room(&self, what: &What) -> bool {
        let of_streams = self.of_streams.load(Ordering::Relaxed);
        match what.lane() {
            _ if what.is_of_stream() => of_streams < limits::HANDED_OVER_OF_STREAMS,
            Lane::Arrives => self.arrives.len() < limits::HANDED_OVER + of_streams,
            Lane::Leaves => !self.leaves.is_full(),
        }
    }

    /// Puts a letter in; `Err`: others were quicker, and there is no room.
    fn put(&self, letter: Letter) -> Result<(), Letter> {
        let is_of_stream = letter.what.is_of_stream();
        if is_of_stream {
            self.of_streams.fetch_add(1, Ordering::Relaxed);
        }
        let put = self.lane(letter.what.lane()).push(letter);
        if put.is_err() && is_of_stream {
            self.of_streams.fetch_sub(1, Ordering::Relaxed);
        }
        put
    }

    fn take(&self, lane: Lane) -> Option<Letter> {
        let letter = self.lane(lane).pop()?;
        if letter.what.is_of_stream() {
            self.of_streams.fetch_sub(1, Ordering::Relaxed);
        }
        Some(letter)
    }
}

/// What became of a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Posted {
    /// It waits; its reader will look.
    Waits,
    /// It waits; its reader is to be woken.
    Wake,
}

/// Why a letter was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotPosted {
    /// There is no room.
    NoRoom,
    /// There is no such shard any more.
    Gone,
}

impl Post {
    /// For so many shards.
    pub fn new(shards: usize) -> Self {
        let mailbox = |_| Mailbox {
            arrives: ArrayQueue::new(limits::HANDED_OVER + limits::HANDED_OVER_OF_STREAMS),
            leaves: ArrayQueue::new(limits::HANDED_OVER),
            of_streams: AtomicUsize::new(0),
            used: ArrayQueue::new(limits::HANDED_OVER),
            rung: AtomicBool::new(false),
            gone: AtomicBool::new(false),
        };
        Self((0..shards.max(1)).map(mailbox).collect())
    }

    /// Tells the shard whose transaction it is that a request did not reach `to`, of which `quoted` is known; the shard,
    /// if it is to be woken. Where there is no room nobody is told: the request is sent again, or its silence says the
    /// same.
    pub fn tell_unreached(&self, to: SocketAddr, quoted: &[u8]) -> Option<u16> {
        let owner = owner_of_quoted(quoted)?;
        matches!(self.send(owner, quoted, What::Unreached(to)), Ok(Posted::Wake)).then_some(owner)
    }

    /// Sends a letter with a copy of `bytes`; what it is about comes back where it is not sent.
    pub(super) fn send(&self, to: u16, bytes: &[u8], what: What) -> Result<Posted, (NotPosted, What)> {
        let mailbox = self.0.get(usize::from(to)).filter(|mailbox| !mailbox.gone.load(Ordering::Relaxed));
        let Some(mailbox) = mailbox else { return Err((NotPosted::Gone, what)) };
        if !mailbox.has_room(&what) {
            return Err((NotPosted::NoRoom, what));
        }
        let mut copy = mailbox.used.pop().unwrap_or_default();
        copy.extend_from_slice(bytes);
        if let Err(letter) = mailbox.put(Letter { what, bytes: copy }) {
            return Err((NotPosted::NoRoom, letter.what));
        }
        // The reader takes the bell down before it looks: what comes later rings again.
        Ok(if mailbox.rung.swap(true, Ordering::AcqRel) { Posted::Waits } else { Posted::Wake })
    }

    /// How many shards there are, those that have ended included.
    pub(super) fn shards(&self) -> u16 {
        self.0.len() as u16
    }

    /// This shard has ended.
    pub(super) fn is_gone(&self, shard: u16) -> bool {
        self.0.get(usize::from(shard)).is_none_or(|mailbox| mailbox.gone.load(Ordering::Relaxed))
    }

    /// A batch of `own` begins to look at its letters: who sends one from here on rings again.
    pub(super) fn lower_bell(&self, own: u16) {
        let mailbox = self.0.get(usize::from(own));
        if let Some(mailbox) = mailbox.filter(|mailbox| mailbox.rung.load(Ordering::Relaxed)) {
            mailbox.rung.swap(false, Ordering::AcqRel);
        }
    }

    /// Takes the next letter of a lane.
    pub(super) fn take(&self, own: u16, lane: Lane) -> Option<Letter> {
        self.0.get(usize::from(own))?.take(lane)
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

    /// This shard ends: nobody will read its letters, and connections in them are closed.
    pub(super) fn leave(&self, own: u16) {
        if let Some(mailbox) = self.0.get(usize::from(own)) {
            mailbox.gone.store(true, Ordering::Relaxed);
            for lane in [Lane::Arrives, Lane::Leaves] {
                while mailbox.take(lane).is_some() {}
            }
        }
    }

    /// No letter waits in a lane.
    pub(super) fn is_empty(&self, own: u16, lane: Lane) -> bool {
        self.0.get(usize::from(own)).is_none_or(|mailbox| mailbox.lane(lane).is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received() -> What {
        let from = "192.0.2.1:5060".parse().unwrap();
        let (socket, stream, class) = (SocketId(3), Number::NONE, Class::Invite);
        What::Received(Received { socket, listener: 7, from, stream, class, waited_ns: None, since: Now(0) })
    }

    fn send(post: &Post, to: u16, bytes: &[u8]) -> Result<Posted, NotPosted> {
        post.send(to, bytes, received()).map_err(|(why, _)| why)
    }

    #[test]
    fn what_did_not_arrive_is_told_to_whose_it_is_and_rings_once() {
        let branch = crate::token::Branch {
            owner: 1,
            stateful: true,
            peer: 0,
            ingress: 7,
            connection: 0,
            transaction: 9,
        };
        let (keys, to) = (crate::token::Keys::from_secret(&[7; 16]), "192.0.2.9:5061".parse().unwrap());
        let mut text = [0; crate::token::BRANCH_LEN];
        branch.write(&keys, keys.signer(), to, &mut text);
        let text = std::str::from_utf8(&text).unwrap();
        let quoted = format!("INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch={text}\r\nFr");
        let post = Post::new(2);
        assert_eq!(post.tell_unreached(to, quoted.as_bytes()), Some(1));
        assert_eq!(post.tell_unreached(to, quoted.as_bytes()), None, "it is awake");
        assert_eq!(post.tell_unreached(to, quoted.replace("z9hG4bKbt", "z9hG4bKbs").as_bytes()), None);
        assert_eq!(post.tell_unreached(to, &quoted.as_bytes()[..60]), None);
        let Some(Letter { what: What::Unreached(told), bytes }) = post.take(1, Lane::Arrives) else {
            panic!()
        };
        assert_eq!((told, bytes.as_slice()), (to, quoted.as_bytes()));
        assert!(post.take(1, Lane::Arrives).is_some() && post.take(1, Lane::Arrives).is_none());
    }

    #[test]
    fn a_letter_arrives_and_rings_once() {
        let post = Post::new(2);
        post.lower_bell(1);
        assert_eq!(send(&post, 1, b"one"), Ok(Posted::Wake));
        assert_eq!(send(&post, 1, b"two"), Ok(Posted::Waits));
        post.lower_bell(1);
        assert!(post.is_empty(0, Lane::Arrives) && !post.is_empty(1, Lane::Arrives));
        assert_eq!(post.take(1, Lane::Arrives).unwrap().bytes, b"one");
        assert_eq!(post.take(1, Lane::Arrives).unwrap().bytes, b"two");
        assert!(post.take(1, Lane::Arrives).is_none());
        assert_eq!(send(&post, 1, b"three"), Ok(Posted::Wake));
        assert_eq!(send(&post, 2, b"nobody"), Err(NotPosted::Gone));
        post.leave(1);
        assert_eq!(send(&post, 1, b"nobody"), Err(NotPosted::Gone));
    }

    #[test]
    fn connections_in_letters_that_nobody_reads_are_closed() {
        let (socket, mut peer) = std::os::unix::net::UnixStream::pair().unwrap();
        let post = Post::new(1);
        let from = "192.0.2.1:5060".parse().unwrap();
        let accepted = Accepted::Socket(socket.into());
        post.send(0, &[], What::Accepted { socket: SocketId(0), from, accepted }).unwrap();
        peer.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
        post.leave(0);
        assert_eq!(std::io::Read::read(&mut peer, &mut [0]).unwrap(), 0);
    }

    #[test]
    fn memory_is_used_again_and_a_full_box_takes_no_more() {
        let post = Post::new(1);
        send(&post, 0, &[1; 900]).unwrap();
        let first = post.take(0, Lane::Arrives).unwrap().bytes;
        let at = first.as_ptr();
        post.give_back(0, first);
        send(&post, 0, &[2; 900]).unwrap();
        let second = post.take(0, Lane::Arrives).unwrap().bytes;
        assert_eq!((second.as_ptr(), second.as_slice()), (at, &[2; 900][..]));
        // That of a long one is not kept.
        send(&post, 0, &[3; 2 * limits::LETTER_BYTES]).unwrap();
        let long = post.take(0, Lane::Arrives).unwrap().bytes;
        post.give_back(0, long);
        send(&post, 0, b"short").unwrap();
        assert!(post.take(0, Lane::Arrives).unwrap().bytes.capacity() <= limits::LETTER_BYTES);
        let sent = (0..limits::HANDED_OVER + 3).filter(|_| send(&post, 0, b"x").is_ok());
        assert_eq!(sent.count(), limits::HANDED_OVER);
    }

    #[test]
    fn what_leaves_what_connections_bring_and_datagrams_have_room_of_their_own() {
        let post = Post::new(1);
        let by_stream = || {
            let What::Received(received) = received() else { unreachable!() };
            What::Received(Received { stream: Number::new(0, crate::stream::StreamId::first(1)), ..received })
        };
        let sent = (0..limits::HANDED_OVER).filter(|_| post.send(0, b"x", by_stream()).is_ok());
        assert_eq!(sent.count(), limits::HANDED_OVER_OF_STREAMS);
        let sent = (0..limits::HANDED_OVER).filter(|_| send(&post, 0, b"x").is_ok());
        assert_eq!(sent.count(), limits::HANDED_OVER);
        assert!(send(&post, 0, b"x").is_err() && post.send(0, b"x", by_stream()).is_err());
        post.take(0, Lane::Arrives).unwrap();
        assert!(send(&post, 0, b"x").is_err(), "it was one of a connection");
        post.send(0, b"x", by_stream()).unwrap();
        let (socket, from, accepted) =
            (SocketId(0), "192.0.2.1:5060".parse().unwrap(), Accepted::Simulated(0));
        assert!(post.is_empty(0, Lane::Leaves));
        post.send(0, &[], What::Accepted { socket, from, accepted }).unwrap();
        assert!(post.take(0, Lane::Leaves).is_some());
    }
}
