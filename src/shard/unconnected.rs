//! Peers that are not reached: connections that did not come about, counted by why, and datagrams that did not arrive; told to
//! the log.

use std::net::SocketAddr;

use super::handler::Handler;
use super::record::{Opening, RecordKind};
use super::worker::Worker;
use crate::engine::Io;
use crate::metrics::StreamEnd;
use crate::stream::{Refused, StreamId};

/// Which connection: its listener's identity, and the peer.
pub(super) type Between = (u32, SocketAddr);

impl<S, H: Handler> Worker<S, H> {
    /// A connection that was to be opened to a peer will not be; `errno`: the kernel's reason, 0 where it gave none;
    /// `is_back`: it was to be for an answer.
    pub(super) fn not_connected(&mut self, between: Between, why: StreamEnd, errno: i32, is_back: bool) {
        self.metrics.streams.ended(why);
        self.tell_not_made(between, why, errno, opening(is_back));
    }

    /// A connection that a peer has opened is not taken in.
    pub(super) fn not_accepted(&mut self, between: Between, why: StreamEnd) {
        self.metrics.streams.ended(why);
        self.tell_not_made(between, why, 0, Opening::ByPeer);
    }

    /// A connection that was to be opened is not open in time.
    pub(super) fn not_connected_in_time<I: Io<Source = S>>(&mut self, io: &mut I, stream: StreamId) {
        let meant = self.streams.get(stream).map(|c| ((c.listener, c.peer), opening(c.is_back)));
        self.cut_off(io, stream, StreamEnd::ConnectTimeout);
        if let Some((between, opening)) = meant {
            self.tell_not_made(between, StreamEnd::ConnectTimeout, 0, opening);
        }
    }

    /// ICMP says of a request that it did not arrive.
    #[cold]
    pub(super) fn tell_unreached(&mut self, to: SocketAddr) {
        if self.unconnected.is_new(to.ip(), 0, self.now) {
            self.record(RecordKind::Unreached { to });
        }
    }

    /// Tells the log, unless it has been told of that peer lately.
    fn tell_not_made(&mut self, (listener, peer): Between, why: StreamEnd, errno: i32, opening: Opening) {
        let Some(on) = self.current.snapshot.view.by_identity(listener) else { return };
        if self.unconnected.is_new(peer.ip(), 0, self.now) {
            self.record(RecordKind::NotConnected { on, peer, why, errno, opening });
        }
    }
}

const fn opening(is_back: bool) -> Opening {
    if is_back { Opening::ForAnswer } else { Opening::ForRequest }
}

/// Why there is no room for it.
pub(super) const fn too_many(refused: Refused) -> StreamEnd {
    match refused {
        Refused::TooMany => StreamEnd::TooMany,
        Refused::TooManyOfPeer => StreamEnd::TooManyOfPeer,
    }
}

/// Why the kernel could not open a connection.
pub(super) const fn cause(errno: i32) -> StreamEnd {
    match errno {
        // The first two are resets, the last one is ICMP's "protocol unreachable".
        libc::ECONNREFUSED | libc::ECONNRESET | libc::ENOPROTOOPT => StreamEnd::ConnectRefused,
        libc::ENETUNREACH | libc::EHOSTUNREACH | libc::ENETDOWN | libc::EHOSTDOWN | libc::EACCES => {
            StreamEnd::ConnectUnreachable
        }
        libc::ETIMEDOUT => StreamEnd::ConnectTimeout,
        _ => StreamEnd::ConnectFailed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_reasons_are_told_apart() {
        let causes =
            [libc::ECONNREFUSED, libc::ENOPROTOOPT, libc::EHOSTUNREACH, libc::ETIMEDOUT, libc::EMFILE];
        let labels = [
            "connect_refused",
            "connect_refused",
            "connect_unreachable",
            "connect_timeout",
            "connect_failed",
        ];
        assert_eq!(causes.map(|errno| cause(errno).label()), labels);
        assert!(causes.iter().all(|errno| !cause(*errno).was_open()));
    }
}
