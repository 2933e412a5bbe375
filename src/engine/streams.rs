//! The streams of a shard: what is under way on each, and what waits to be sent.
//!
//! ```text
//!  connect ──► Connecting ──► Open ──finish──► Finishing: all is sent, then the peer has its time to close
//!  adopt ────────────────────►  │                  │
//!                               └──── reset, failure, end ────► Over: nothing is under way any more ──► gone
//! ```
//!
//! Of each stream one send is under way at a time, so that its bytes keep their order. What a batch writes collects in one
//! buffer and leaves as one send at the batch's end; what is written while the kernel reads that one collects in others.
//! A buffer is there as long as it holds something, grows to a TLS record at most, and what counts against the limits is
//! what they take, not what they hold.
//!
//! A send is tried at once: it is over when it is submitted, and tells nothing where all of it went ([`Streams::took_at_once`]).
//! One that falls short is followed by such that wait for room, until nothing is left.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};

use super::SocketId;
use super::unarmed::Unarmed;
use crate::limits::{STREAM_CHUNK_BYTES, STREAM_QUEUE_MOST_BYTES, STREAM_QUEUES_BYTES, STREAMS};
use crate::net::Now;
use crate::stream::StreamId;

/// One stream, by a driver's kind of socket.
pub struct Stream<S> {
    id: StreamId,
    pub socket: S,
    pub is_connecting: bool,
    pub is_receiving: bool,
    pub is_sending: bool,
    /// It stands among those that are to send.
    is_listed: bool,
    /// The peer takes less than it is sent: the kernel waits for room.
    pub is_patient: bool,
    /// The peer sends no more.
    pub is_read: bool,
    /// Since when its receive is to be started, until that lasts: what has come meanwhile is not read.
    pub unread_since: Option<Now>,
    /// Its receive was started last, and it has read nothing since.
    pub is_in_turn: bool,
    /// Nothing more is to be read of it.
    pub is_paused: bool,
    /// The kernel is to end its receive, and has not yet said how that went.
    pub is_cancelling: bool,
    /// It is closed once all is sent, or by then.
    finish_by: Option<Now>,
    /// The peer was told that nothing more comes.
    pub is_shut: bool,
    /// It is over, and its shard knows.
    pub is_over: bool,
    /// It is over, and its shard is to be told.
    is_reset: bool,
    /// What is being sent, from `sent` on.
    out: Vec<u8>,
    sent: usize,
    /// What follows.
    queue: VecDeque<Vec<u8>>,
    /// Bytes that `out` and `queue` take.
    held_bytes: usize,
}

impl<S: AsRawFd> Stream<S> {
    pub fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl<S> Stream<S> {
    /// Something waits to be sent.
    pub fn has_more(&self) -> bool {
        self.sent < self.out.len() || !self.queue.is_empty()
    }

    /// What is to be sent next; it stays where it is until [`Streams::took`].
    pub fn next_bytes(&mut self) -> &[u8] {
        if self.sent == self.out.len() {
            (self.out, self.sent) = (self.queue.pop_front().unwrap_or_default(), 0);
        }
        self.out.get(self.sent..).unwrap_or_default()
    }

    /// Sends what is to be sent next by this means.
    #[cfg(feature = "glommio")]
    pub fn send<R>(&mut self, by: impl FnOnce(&mut S, &[u8]) -> R) -> R {
        self.next_bytes();
        by(&mut self.socket, self.out.get(self.sent..).unwrap_or_default())
    }

    /// Buffers wait behind the one that is sent.
    pub fn has_further(&self) -> bool {
        !self.queue.is_empty()
    }

    /// How large the last buffer has to be for so many bytes more; `None`: they need one of their own.
    fn last_with(&self, bytes: usize) -> Option<usize> {
        // What the kernel reads stays where it is.
        let own = (self.has_more() && !self.is_sending).then_some(&self.out);
        let last = self.queue.back().or(own)?;
        let (has, needs) = (last.capacity(), last.len() + bytes);
        match needs <= has {
            true => Some(has),
            false => (needs <= STREAM_CHUNK_BYTES).then(|| (2 * has).clamp(needs, STREAM_CHUNK_BYTES)),
        }
    }

    /// How many bytes more would be held with these.
    fn grows_by(&self, bytes: usize) -> usize {
        let last = self.queue.back().unwrap_or(&self.out);
        self.last_with(bytes).map_or(bytes, |capacity| capacity - last.capacity())
    }

    fn append(&mut self, bytes: &[u8]) {
        self.held_bytes += self.grows_by(bytes.len());
        if let Some(capacity) = self.last_with(bytes.len()) {
            let last = self.queue.back_mut().unwrap_or(&mut self.out);
            last.reserve_exact(capacity - last.len());
            last.extend_from_slice(bytes);
        } else if self.has_more() {
            self.queue.push_back(bytes.to_vec());
        } else {
            (self.out, self.sent) = (bytes.to_vec(), 0);
        }
    }

    /// So many bytes of what was being sent have left; gives how many less are held.
    fn took(&mut self, bytes: usize) -> usize {
        self.sent += bytes.min(self.out.len() - self.sent);
        if self.sent < self.out.len() {
            return 0;
        }
        let freed = std::mem::take(&mut self.out).capacity().min(self.held_bytes);
        self.sent = 0;
        self.held_bytes -= freed;
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
        freed
    }

    /// Nothing more is sent; gives how many bytes less are held. What the kernel may still read does not count: it lets
    /// go of that as soon as the socket is shut.
    fn forget(&mut self) -> usize {
        if !self.is_sending {
            (self.out, self.sent) = (Vec::new(), 0);
        }
        self.queue = VecDeque::new();
        std::mem::take(&mut self.held_bytes)
    }

    /// It is over, whether or not its shard knows.
    pub fn is_gone(&self) -> bool {
        self.is_over || self.is_reset
    }

    fn can_send(&self) -> bool {
        !(self.is_gone() || self.is_finishing())
    }

    pub fn is_finishing(&self) -> bool {
        self.finish_by.is_some()
    }

    fn is_idle(&self) -> bool {
        !(self.is_connecting || self.is_receiving || self.is_sending)
    }
}

/// A place, which streams use one after the other.
struct Place<S> {
    next: StreamId,
    /// In memory of its own: the kernel may read an address of it, and places move as their number grows.
    stream: Option<Box<Stream<S>>>,
}

/// The streams by place.
pub struct Streams<S> {
    places: Vec<Place<S>>,
    free: VecDeque<u16>,
    /// Their receives are to be started.
    pub unarmed: Unarmed,
    /// They are to be connected, and where to.
    pub unconnected: Vec<(StreamId, SocketAddr)>,
    /// They have something to send, and nothing of theirs is under way.
    unsent: Vec<StreamId>,
    /// How often something was written since these were last looked at.
    pub writes: usize,
    /// Their sends are over once they are submitted, unless the kernel says otherwise.
    pub at_once: Vec<StreamId>,
    /// Those that are finishing or over and about which something has changed.
    changed: Vec<StreamId>,
    /// Those that are finishing, or were, and by when: each has the same time, so they stand in order.
    finishing: VecDeque<(Now, StreamId)>,
    /// They failed before anything could be under way: their shard is to be told.
    failed: Vec<(StreamId, i32)>,
    /// Something of these was added since they were looked at.
    pub is_news: bool,
    /// Sockets that do not accept until then: there was no room for another file.
    pub resting: Vec<SocketId>,
    pub rest_until: Now,
    held_bytes: usize,
}

impl<S> Default for Streams<S> {
    fn default() -> Self {
        Self {
            places: Vec::new(),
            free: VecDeque::new(),
            unarmed: Unarmed::default(),
            unconnected: Vec::new(),
            unsent: Vec::new(),
            writes: 0,
            at_once: Vec::new(),
            changed: Vec::new(),
            finishing: VecDeque::new(),
            failed: Vec::new(),
            is_news: false,
            resting: Vec::new(),
            rest_until: Now::default(),
            held_bytes: 0,
        }
    }
}

impl<S> Streams<S> {
    /// Takes a socket in. `None`: there are too many.
    pub fn insert(&mut self, socket: S, is_connecting: bool) -> Option<StreamId> {
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
            is_connecting,
            is_receiving: false,
            is_sending: false,
            is_listed: false,
            is_patient: false,
            is_read: false,
            unread_since: None,
            is_in_turn: false,
            is_paused: false,
            is_cancelling: false,
            finish_by: None,
            is_shut: false,
            is_over: false,
            is_reset: false,
            out: Vec::new(),
            sent: 0,
            queue: VecDeque::new(),
            held_bytes: 0,
        }));
        Some(id)
    }

    pub fn get(&mut self, id: StreamId) -> Option<&mut Stream<S>> {
        let stream = self.places.get_mut(usize::from(id.place()))?.stream.as_deref_mut();
        stream.filter(|stream| stream.id == id)
    }

    /// Adds bytes to what is sent. `false`: there is no room, or no such stream.
    pub fn write(&mut self, id: StreamId, bytes: &[u8]) -> bool {
        let all = self.held_bytes;
        let Some(stream) = self.get(id).filter(|s| s.can_send()) else { return false };
        let more = stream.grows_by(bytes.len());
        if stream.held_bytes + more > STREAM_QUEUE_MOST_BYTES || all + more > STREAM_QUEUES_BYTES {
            return false;
        }
        stream.append(bytes);
        self.held_bytes += more;
        self.writes += 1;
        self.list(id);
        true
    }

    /// It is to send what it has, unless something of it is under way.
    pub fn list(&mut self, id: StreamId) {
        let Some(stream) = self.get(id) else { return };
        let waits = stream.is_listed || stream.is_sending || stream.is_connecting;
        if waits || stream.is_gone() || !stream.has_more() {
            return;
        }
        stream.is_listed = true;
        self.unsent.push(id);
    }

    /// The next one that is to send.
    pub fn next_unsent(&mut self) -> Option<StreamId> {
        let Some(id) = self.unsent.pop() else {
            self.writes = 0;
            return None;
        };
        if let Some(stream) = self.get(id) {
            stream.is_listed = false;
        }
        Some(id)
    }

    /// The kernel has taken so many bytes.
    pub fn took(&mut self, id: StreamId, bytes: usize) {
        let Some(stream) = self.get(id) else { return };
        stream.is_sending = false;
        let freed = stream.took(bytes);
        stream.is_patient &= stream.has_more();
        self.held_bytes -= freed;
        self.list(id);
        self.changed(id);
    }

    /// A send that was tried at once did not go as a whole: its completion says how far.
    pub fn fell_short(&mut self, id: StreamId) {
        if let Some(stream) = self.get(id) {
            stream.is_patient = true;
        }
    }

    /// A send that was tried at once was submitted: how many bytes the kernel has taken. `None`: a completion says it.
    pub fn took_at_once(&mut self, id: StreamId) -> Option<usize> {
        let stream = self.get(id).filter(|stream| stream.is_sending && !stream.is_patient)?;
        let (bytes, is_over) = (stream.out.len() - stream.sent, stream.is_over);
        self.took(id, bytes);
        (!is_over).then_some(bytes)
    }

    /// Begins to close a stream, by then at the latest.
    pub fn finish(&mut self, id: StreamId, by: Now) {
        let Some(stream) = self.get(id).filter(|s| !s.is_over && !s.is_finishing()) else { return };
        stream.finish_by = Some(by);
        self.changed.push(id);
        self.finishing.push_back((by, id));
        self.is_news = true;
    }

    /// A stream is over; `false`: it was before.
    pub fn over(&mut self, id: StreamId) -> bool {
        let Some(stream) = self.get(id).filter(|stream| !stream.is_over) else { return false };
        stream.is_over = true;
        let freed = stream.forget();
        self.changed.push(id);
        self.held_bytes -= freed;
        true
    }

    /// Something about a stream has changed, which matters where it is being closed.
    pub fn changed(&mut self, id: StreamId) {
        if self.get(id).is_some_and(|stream| stream.is_over || stream.is_finishing()) {
            self.changed.push(id);
        }
    }

    /// The next closing stream that something has changed about or whose time is over, and what it needs. Those that
    /// wait cost nothing.
    pub fn next_care(&mut self, now: Now) -> Option<(StreamId, Care)> {
        loop {
            let id = self.changed.pop().or_else(|| self.next_due(now))?;
            if let Some(care) = self.care(id, now) {
                return Some((id, care));
            }
        }
    }

    fn next_due(&mut self, now: Now) -> Option<StreamId> {
        let is_due = self.finishing.front().is_some_and(|(by, _)| now >= *by);
        if is_due { self.finishing.pop_front().map(|(_, id)| id) } else { None }
    }

    fn care(&mut self, id: StreamId, now: Now) -> Option<Care> {
        let stream = self.get(id)?;
        Some(match stream.finish_by {
            _ if stream.is_over && stream.is_idle() => Care::Gone,
            _ if stream.is_over => Care::Wait,
            Some(by) if now >= by => Care::Reset,
            Some(_) if stream.is_connecting || stream.has_more() || stream.is_sending => Care::Wait,
            Some(_) if stream.is_read => Care::End,
            Some(_) if !stream.is_shut => Care::Shut,
            _ => Care::Wait,
        })
    }

    /// Forgets a stream that nothing is under way on, which closes it.
    pub fn remove(&mut self, id: StreamId) {
        let Some(place) = self.places.get_mut(usize::from(id.place())) else { return };
        if let Some(stream) = place.stream.take_if(|stream| stream.id == id) {
            self.held_bytes -= stream.held_bytes;
            self.free.push_back(id.place());
        }
    }

    /// A stream is to be told as over, by [`Streams::next_failed`].
    pub fn fail(&mut self, id: StreamId, errno: i32) {
        self.failed.push((id, errno));
        self.is_news = true;
    }

    /// A stream is to be told as over, and sends nothing more.
    pub fn reset(&mut self, id: StreamId) {
        let Some(stream) = self.get(id).filter(|stream| !stream.is_over) else { return };
        stream.is_reset = true;
        let freed = stream.forget();
        self.held_bytes -= freed;
        self.fail(id, 0);
    }

    /// So many bytes more would not be too many.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.held_bytes + bytes.max(STREAM_CHUNK_BYTES) <= STREAM_QUEUES_BYTES
    }

    /// A stream that is over and whose shard is to be told.
    pub fn next_failed(&mut self) -> Option<(StreamId, i32)> {
        self.failed.pop()
    }

    /// Why a stream is to be told as over.
    #[cfg(feature = "glommio")]
    pub fn failure(&self, id: StreamId) -> Option<i32> {
        self.failed.iter().find_map(|(failed, errno)| (*failed == id).then_some(*errno))
    }

    /// Bytes that buffers of what is to be sent take.
    #[cfg(test)]
    fn held_bytes(&self) -> usize {
        self.held_bytes
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
#[path = "streams_tests.rs"]
mod tests;
