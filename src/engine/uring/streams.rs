//! The streams of a shard: what is under way on each, and what waits to be sent.
//!
//! ```text
//!  connect ──► Connecting ──► Open ──finish──► Finishing: all is sent, then the peer has its time to close
//!  adopt ────────────────────►  │                  │
//!                               └──── reset, failure, end ────► Over: nothing is under way any more ──► gone
//! ```
//!
//! Of each stream one send is under way at a time, so that its bytes keep their order: what is written meanwhile
//! collects in a second buffer and leaves with the next one. A buffer is there as long as it holds something.

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use super::address::{Address, BYTES};
use crate::engine::SocketId;
use crate::limits::{STREAM_QUEUE_BYTES, STREAM_QUEUES_BYTES, STREAMS};
use crate::net::Now;
use crate::stream::StreamId;

/// One stream.
pub struct Stream {
    id: StreamId,
    socket: OwnedFd,
    /// Where it is connected to, for the kernel, until that has begun.
    pub to: Address,
    pub is_connecting: bool,
    pub is_receiving: bool,
    pub is_sending: bool,
    /// The peer sends no more.
    pub is_read: bool,
    /// It is closed once all is sent, or by then.
    finish_by: Option<Now>,
    /// The peer was told that nothing more comes.
    pub is_shut: bool,
    /// It is over, and its shard knows.
    pub is_over: bool,
    /// What is being sent, from `sent` on.
    out: Vec<u8>,
    sent: usize,
    /// What follows.
    queue: Vec<u8>,
}

impl Stream {
    pub fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Something waits to be sent.
    pub fn has_more(&self) -> bool {
        self.sent < self.out.len() || !self.queue.is_empty()
    }

    /// What is to be sent next; it stays where it is until [`Stream::took`].
    pub fn next_bytes(&mut self) -> &[u8] {
        if self.sent == self.out.len() {
            (self.out, self.sent) = (std::mem::take(&mut self.queue), 0);
        }
        self.out.get(self.sent..).unwrap_or_default()
    }

    pub fn is_finishing(&self) -> bool {
        self.finish_by.is_some()
    }

    fn is_idle(&self) -> bool {
        !(self.is_connecting || self.is_receiving || self.is_sending)
    }
}

/// A place, which streams use one after the other.
struct Place {
    next: StreamId,
    /// In memory of its own: the kernel reads an address of it, and places move as their number grows.
    stream: Option<Box<Stream>>,
}

/// The streams by place.
#[derive(Default)]
pub struct Streams {
    places: Vec<Place>,
    free: VecDeque<u16>,
    /// Their receives are to be started.
    pub unarmed: Vec<StreamId>,
    /// Those that are finishing, and those that are over.
    pub closing: Vec<StreamId>,
    /// They failed before anything could be under way: their shard is to be told.
    failed: Vec<(StreamId, i32)>,
    /// Something of these was added since they were looked at.
    pub is_news: bool,
    /// Sockets that do not accept until then: there was no room for another file.
    pub resting: Vec<SocketId>,
    pub rest_until: Now,
    queued_bytes: usize,
}

impl Streams {
    /// Takes a socket in. `None`: there are too many.
    pub fn insert(&mut self, socket: OwnedFd, is_connecting: bool) -> Option<StreamId> {
        let number = match u16::try_from(self.places.len()).ok().filter(|_| self.places.len() < STREAMS) {
            // Places are used again late, so that what is late finds nobody for long.
            Some(number) if self.free.len() < STREAMS / 64 => {
                self.places.push(Place { next: StreamId::first(number), stream: None });
                number
            }
            _ => self.free.pop_front()?,
        };
        let place = self.places.get_mut(usize::from(number))?;
        let id = place.next;
        place.next = id.next();
        place.stream = Some(Box::new(Stream {
            id,
            socket,
            to: Address([0; BYTES]),
            is_connecting,
            is_receiving: false,
            is_sending: false,
            is_read: false,
            finish_by: None,
            is_shut: false,
            is_over: false,
            out: Vec::new(),
            sent: 0,
            queue: Vec::new(),
        }));
        if !is_connecting {
            self.unarmed.push(id);
        }
        Some(id)
    }

    pub fn get(&mut self, id: StreamId) -> Option<&mut Stream> {
        let stream = self.places.get_mut(usize::from(id.place()))?.stream.as_deref_mut();
        stream.filter(|stream| stream.id == id)
    }

    /// Adds bytes to what is sent. `false`: there is no room, or no such stream.
    pub fn write(&mut self, id: StreamId, bytes: &[u8]) -> bool {
        let others = self.queued_bytes;
        let Some(stream) = self.get(id).filter(|s| !s.is_over && !s.is_finishing()) else { return false };
        let waiting = stream.out.len() - stream.sent + stream.queue.len();
        if waiting + bytes.len() > STREAM_QUEUE_BYTES || others + bytes.len() > STREAM_QUEUES_BYTES {
            return false;
        }
        stream.queue.extend_from_slice(bytes);
        self.queued_bytes += bytes.len();
        true
    }

    /// The kernel has taken so many bytes; tells whether that was all there is.
    pub fn took(&mut self, id: StreamId, bytes: usize) -> bool {
        let Some(stream) = self.get(id) else { return true };
        stream.is_sending = false;
        let bytes = bytes.min(stream.out.len() - stream.sent);
        stream.sent += bytes;
        if stream.sent == stream.out.len() {
            (stream.out, stream.sent) = (Vec::new(), 0);
        }
        let all = !stream.has_more();
        self.queued_bytes -= bytes;
        all
    }

    /// Begins to close a stream, by then at the latest.
    pub fn finish(&mut self, id: StreamId, by: Now) {
        let Some(stream) = self.get(id).filter(|s| !s.is_over && !s.is_finishing()) else { return };
        stream.finish_by = Some(by);
        self.closing.push(id);
        self.is_news = true;
    }

    /// A stream is over; `false`: it was before.
    pub fn over(&mut self, id: StreamId) -> bool {
        let Some(stream) = self.get(id).filter(|stream| !stream.is_over) else { return false };
        stream.is_over = true;
        if !stream.is_finishing() {
            self.closing.push(id);
        }
        true
    }

    /// What the `i`th closing stream needs.
    pub fn care(&mut self, i: usize, now: Now) -> Option<(StreamId, Care)> {
        let id = *self.closing.get(i)?;
        let Some(stream) = self.get(id) else { return Some((id, Care::Gone)) };
        let care = match stream.finish_by {
            _ if stream.is_over && stream.is_idle() => Care::Gone,
            _ if stream.is_over => Care::Wait,
            Some(by) if now >= by => Care::Reset,
            Some(_) if stream.is_connecting || stream.has_more() || stream.is_sending => Care::Wait,
            Some(_) if stream.is_read => Care::End,
            Some(_) if !stream.is_shut => Care::Shut,
            _ => Care::Wait,
        };
        Some((id, care))
    }

    /// Forgets a stream that nothing is under way on, which closes it.
    pub fn remove(&mut self, id: StreamId) {
        self.closing.retain(|closing| *closing != id);
        let Some(place) = self.places.get_mut(usize::from(id.place())) else { return };
        if let Some(stream) = place.stream.take_if(|stream| stream.id == id) {
            self.queued_bytes -= stream.out.len() - stream.sent + stream.queue.len();
            self.free.push_back(id.place());
        }
    }

    /// A stream is to be told as over, by [`Streams::next_failed`].
    pub fn fail(&mut self, id: StreamId, errno: i32) {
        self.failed.push((id, errno));
        self.is_news = true;
    }

    /// A stream that is over and whose shard is to be told.
    pub fn next_failed(&mut self) -> Option<(StreamId, i32)> {
        self.failed.pop()
    }

    /// Bytes that wait to be sent.
    #[cfg(test)]
    fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }
}

/// What a closing stream needs next.
#[derive(Debug, PartialEq, Eq)]
pub enum Care {
    /// The peer is to be told that nothing more comes.
    Shut,
    /// It ends: all is sent, and the peer has closed, too.
    End,
    /// It ends with a reset: its time is over.
    Reset,
    /// It is to be forgotten.
    Gone,
    /// Nothing now.
    Wait,
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn socket() -> OwnedFd {
        UnixStream::pair().unwrap().0.into()
    }

    #[test]
    fn bytes_leave_in_order_and_what_comes_meanwhile_follows() {
        let mut streams = Streams::default();
        let id = streams.insert(socket(), false).unwrap();
        assert!(streams.write(id, b"one") && streams.write(id, b"two"));
        assert_eq!(streams.get(id).unwrap().next_bytes(), b"onetwo");
        assert!(streams.write(id, b"three"));
        assert_eq!(streams.get(id).unwrap().next_bytes(), b"onetwo", "it is under way");
        assert!(!streams.took(id, 4));
        assert_eq!(streams.get(id).unwrap().next_bytes(), b"wo");
        assert!(!streams.took(id, 2));
        assert_eq!(streams.get(id).unwrap().next_bytes(), b"three");
        assert!(streams.took(id, 5));
        assert_eq!((streams.queued_bytes(), streams.get(id).unwrap().out.capacity()), (0, 0));
    }

    #[test]
    fn a_queue_has_an_end() {
        let mut streams = Streams::default();
        let id = streams.insert(socket(), false).unwrap();
        assert!(streams.write(id, &vec![0; STREAM_QUEUE_BYTES]) && !streams.write(id, b"x"));
        streams.over(id);
        streams.remove(id);
        assert_eq!(streams.queued_bytes(), 0);
        assert!(!streams.write(id, b"x"));
    }

    #[test]
    fn a_stream_that_finishes_sends_all_tells_the_peer_and_waits_for_it() {
        let (mut streams, by) = (Streams::default(), Now(9));
        let id = streams.insert(socket(), false).unwrap();
        streams.write(id, b"last");
        streams.finish(id, by);
        assert!(!streams.write(id, b"too late"));
        assert_eq!(streams.care(0, Now(0)), Some((id, Care::Wait)));
        streams.get(id).unwrap().next_bytes();
        streams.took(id, 4);
        assert_eq!(streams.care(0, Now(0)), Some((id, Care::Shut)));
        streams.get(id).unwrap().is_shut = true;
        assert_eq!(streams.care(0, Now(0)), Some((id, Care::Wait)));
        assert_eq!(streams.care(0, by), Some((id, Care::Reset)));
        streams.get(id).unwrap().is_read = true;
        assert_eq!(streams.care(0, Now(0)), Some((id, Care::End)));
        assert!(streams.over(id) && !streams.over(id));
        assert_eq!(streams.care(0, Now(0)), Some((id, Care::Gone)));
        streams.remove(id);
        assert!(streams.care(0, Now(0)).is_none() && streams.get(id).is_none());
    }

    #[test]
    fn a_stream_is_kept_while_the_kernel_uses_its_memory() {
        let mut streams = Streams::default();
        let id = streams.insert(socket(), false).unwrap();
        streams.get(id).unwrap().is_sending = true;
        streams.over(id);
        assert_eq!(streams.care(0, Now(0)), Some((id, Care::Wait)));
        streams.took(id, 0);
        assert_eq!(streams.care(0, Now(0)), Some((id, Care::Gone)));
    }

    #[test]
    fn places_are_used_again_for_other_numbers_and_not_soon() {
        let mut streams = Streams::default();
        let mut last = None;
        for _ in 0..3_000 {
            let id = streams.insert(socket(), false).unwrap();
            assert_ne!(Some(id.place()), last);
            last = Some(id.place());
            streams.over(id);
            streams.remove(id);
        }
        assert!(streams.places.len() <= STREAMS / 64 + 1);
    }
}
