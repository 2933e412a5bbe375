//! What has come in by connections that are paused: their peers wait, and what the engine had read by then waits here.

use super::{Connection, Connections, StreamId};
use crate::limits::STREAM_BUFFER_BYTES;
use crate::net::Now;

/// Of one connection, as its socket gave it.
#[derive(Debug)]
pub struct Backlog {
    /// Since when it is paused.
    since: Now,
    bytes: Vec<u8>,
    /// So many of them were taken out.
    taken: usize,
    /// Behind them the peer sends no more.
    has_end: bool,
    /// It goes on once the peer has taken what is sent to it.
    waits_for_peer: bool,
}

impl Backlog {
    fn new(since: Now) -> Self {
        Self { since, bytes: Vec::new(), taken: 0, has_end: false, waits_for_peer: false }
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.has_end |= bytes.is_empty();
    }

    /// Takes out a piece, as large as a receive buffer; `None`: there is no more.
    pub fn next_piece(&mut self) -> Option<&[u8]> {
        let rest = self.bytes.get(self.taken..).filter(|rest| !rest.is_empty())?;
        let piece = rest.get(..STREAM_BUFFER_BYTES).unwrap_or(rest);
        self.taken += piece.len();
        Some(piece)
    }

    /// Nothing but the end may follow.
    pub fn is_read(&self) -> bool {
        self.taken == self.bytes.len()
    }

    /// The peer sends no more behind it.
    pub fn has_end(&self) -> bool {
        self.has_end
    }

    pub(super) fn kept_bytes(&self) -> usize {
        self.bytes.capacity()
    }
}

impl Connection {
    fn asks_too_much(&self, most: usize) -> bool {
        !self.is_ours && self.unsent.bytes() >= most
    }
}

impl Connections {
    /// A connection is not read from now on; `false`: it was not before, or is being closed.
    pub fn pause(&mut self, stream: StreamId, now: Now) -> bool {
        let connection = self.get(stream).filter(|c| c.can_send() && c.backlog.is_none());
        connection.map(|connection| connection.backlog = Some(Box::new(Backlog::new(now)))).is_some()
    }

    /// A connection is read, and is not to wait for its peer.
    pub fn is_read_on(&mut self, stream: StreamId) -> bool {
        let most = self.queue_bytes() / 2;
        self.get(stream)
            .is_none_or(|connection| connection.backlog.is_none() && !connection.asks_too_much(most))
    }

    /// A connection is not read.
    pub fn is_paused(&mut self, stream: StreamId) -> bool {
        self.get(stream).is_some_and(|connection| connection.backlog.is_some())
    }

    /// Its peer takes less than it asks for. Of those who have connected to each other one alone may wait for that, else both do:
    /// who was connected to.
    pub fn asks_too_much(&mut self, stream: StreamId) -> bool {
        let most = self.queue_bytes() / 2;
        self.get(stream).is_some_and(|connection| connection.asks_too_much(most))
    }

    /// A connection that is paused goes on once its peer has taken what is sent to it: [`Connections::may_ask`].
    pub fn wait_for_peer(&mut self, stream: StreamId) {
        if let Some(backlog) = self.get(stream).and_then(|connection| connection.backlog.as_mut()) {
            backlog.waits_for_peer = true;
        }
    }

    /// The peer of a connection that waits for that has taken half of it, so that it is not paused for each few messages; told
    /// once.
    pub fn may_ask(&mut self, stream: StreamId) -> bool {
        let most = self.queue_bytes() / 4;
        let Some(connection) = self.get(stream) else { return false };
        let Some(backlog) = connection.backlog.as_mut().filter(|b| b.waits_for_peer) else { return false };
        backlog.waits_for_peer = connection.unsent.bytes() >= most;
        !backlog.waits_for_peer
    }

    /// Keeps what has come in by a paused connection; none: its peer sends no more. `false`: it is not paused. Then
    /// [`Connections::keeps_too_much`] may have to be asked.
    pub fn keep_for_later(&mut self, stream: StreamId, bytes: &[u8]) -> bool {
        let is_paused = self.is_paused(stream);
        if is_paused {
            self.counted(stream, |connection| connection.backlog.as_mut().map(|backlog| backlog.keep(bytes)));
        }
        is_paused
    }

    /// Takes out what was kept of a connection, which is read again; the time that has passed is not its peer's.
    pub fn take_backlog(&mut self, stream: StreamId, now: Now) -> Option<Box<Backlog>> {
        self.counted(stream, |connection| {
            let backlog = connection.backlog.take()?;
            connection.waited(now.since(backlog.since));
            connection.heard(now);
            Some(backlog)
        })?
    }

    /// Puts back what has not been handled of a connection that is paused once more. Then [`Connections::keeps_too_much`] may have
    /// to be asked.
    pub fn put_backlog(&mut self, stream: StreamId, mut backlog: Box<Backlog>) {
        self.counted(stream, |connection| {
            if let Some(paused) = connection.backlog.as_mut() {
                (backlog.since, backlog.waits_for_peer) = (paused.since, paused.waits_for_peer);
                *paused = backlog;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_out_in_order_and_counts() {
        let (mut streams, stream) = (Connections::default(), StreamId::first(0));
        let peer = "192.0.2.1:5060".parse().unwrap();
        streams.insert(stream, Connection::new(1, peer, true, Now(0)));
        assert!(!streams.keep_for_later(stream, b"not paused"));
        assert!(streams.pause(stream, Now(0)) && !streams.pause(stream, Now(1)));
        let bytes: Vec<u8> = (0..20_000u32).map(|n| (n >> 3) as u8).collect();
        for part in bytes.chunks(1_000) {
            assert!(streams.keep_for_later(stream, part));
        }
        assert!(streams.keep_for_later(stream, b""));
        assert!(streams.kept_bytes() >= bytes.len());
        let mut backlog = streams.take_backlog(stream, Now(2)).unwrap();
        assert_eq!(streams.kept_bytes(), 0);
        assert_eq!(backlog.next_piece(), Some(&bytes[..STREAM_BUFFER_BYTES]));
        assert!(streams.pause(stream, Now(3)));
        streams.put_backlog(stream, backlog);
        let mut backlog = streams.take_backlog(stream, Now(4)).unwrap();
        let mut rest = Vec::new();
        while let Some(piece) = backlog.next_piece() {
            rest.extend_from_slice(piece);
        }
        assert!(rest == bytes[STREAM_BUFFER_BYTES..] && backlog.is_read() && backlog.has_end());
        // What is kept of a connection that ends is kept no more.
        streams.pause(stream, Now(5));
        streams.keep_for_later(stream, &bytes);
        streams.ends(stream, false);
        assert_eq!((streams.kept_bytes(), streams.pause(stream, Now(6))), (0, false));
    }
}
