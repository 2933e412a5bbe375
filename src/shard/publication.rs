//! What the control thread publishes and every shard reads once per batch.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;

use crate::engine::SocketId;
use crate::metrics::SeriesId;
use crate::plan::ListenerId;
use crate::snapshot::Snapshot;

/// One state of everything a shard needs: decisions, sockets, numbers.
///
/// Sockets travel with the snapshot that names them, so a shard takes both at once: it never sends
/// by a listener whose socket it has not, nor receives on one that it does not know.
pub struct Publication<S> {
    /// What decisions are made against.
    pub snapshot: Snapshot,
    /// Listeners and sockets.
    pub bindings: Arc<Bindings>,
    /// The sockets that each shard shall have open, by shard number; one that is open and does not
    /// stand here is read until it is empty and closed. The same `Arc` means: nothing has changed.
    pub sockets: Arc<SocketTable<S>>,
    /// When that was called for (a routing event, a reload) which made these sockets the ones to have: for the
    /// metrics alone.
    pub sockets_since: Instant,
    /// The process stops: shards end when their sockets are closed and their sends done.
    pub stopping: bool,
}

/// Sockets by shard number.
pub type SocketTable<S> = [Box<[(SocketId, S)]>];

/// Where all shards find the newest publication.
pub type Published<S> = Arc<ArcSwap<Publication<S>>>;

/// Which socket belongs to which listener, by one Plan's numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bindings {
    by_listener: Box<[Bound]>,
    by_socket: Box<[Option<ListenerId>]>,
}

/// What a listener is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Its socket, the same number in all shards.
    pub socket: SocketId,
    /// Where it is counted.
    pub series: SeriesId,
}

impl Bindings {
    /// `listeners[i]` is what `ListenerId(i)` is bound to; `closing` are sockets that still deliver
    /// what they had received, for the listener that took over their address, if one did.
    pub fn new(listeners: Box<[Bound]>, closing: &[(SocketId, Option<ListenerId>)]) -> Self {
        let numbers = listeners.iter().map(|b| b.socket).chain(closing.iter().map(|(s, _)| *s));
        let len = numbers.map(|s| usize::from(s.0) + 1).max().unwrap_or(0);
        let mut by_socket = vec![None; len];
        for (socket, listener) in closing {
            by_socket[usize::from(socket.0)] = *listener;
        }
        for (i, bound) in (0..).zip(&listeners) {
            by_socket[usize::from(bound.socket.0)] = Some(ListenerId(i));
        }
        Self { by_listener: listeners, by_socket: by_socket.into() }
    }

    /// What a listener is bound to.
    pub fn bound(&self, listener: ListenerId) -> Option<Bound> {
        self.by_listener.get(usize::from(listener.0)).copied()
    }

    /// The listener that a socket's datagrams came in on.
    pub fn listener(&self, socket: SocketId) -> Option<ListenerId> {
        self.by_socket.get(usize::from(socket.0)).copied().flatten()
    }
}
