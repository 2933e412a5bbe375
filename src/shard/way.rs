//! By which stream a message leaves.

use std::net::SocketAddr;
use std::sync::Arc;

use super::handler::Handler;
use super::worker::Worker;
use crate::metrics::SeriesId;
use crate::net::{ListenerId, Transport};
use crate::proxy::name_of_client;
use crate::stream::{Number, peer_mark};
use crate::tls::PeerName;

/// Where a message leaves by a stream.
#[derive(Clone, Debug)]
pub(super) struct Way {
    /// The listener's identity: numbers change.
    pub listener: u32,
    /// Where to, if the stream is gone or any will do.
    pub to: SocketAddr,
    /// By which stream.
    pub stream: Number,
    /// The mark of its peer, where it is not this process alone that knows the stream's number.
    pub peer: Option<u16>,
    /// A final answer goes out: whoever asked waits for one less.
    pub answers: bool,
    /// Whom the server's certificate has to be for, where a message leaves over TLS.
    pub name: Option<Arc<PeerName>>,
    /// No other stream leads there: a request goes to a client that is reached by this one alone.
    pub is_flow: bool,
    /// An answer goes where its Via says, because its stream is gone.
    pub is_back: bool,
}

impl<S, H: Handler> Worker<S, H> {
    pub(super) fn way_of(&self, listener: ListenerId, to: SocketAddr, stream: Number) -> Way {
        let listener = self.current.snapshot.plan.listener(listener);
        let name = match stream.name() {
            Some(id) => self.handler.name_of(id),
            None if listener.transport.is_secure() && stream.get().is_none() => {
                Some(Arc::new(PeerName::of_address(to.ip())))
            }
            None => None,
        };
        let listener = listener.identity;
        Way { listener, to, stream, peer: None, answers: false, name, is_flow: false, is_back: false }
    }

    /// The connections of listeners that were renamed are theirs from now on.
    pub(super) fn rename_streams(&mut self) {
        let (snapshot, bindings) = (&self.current.snapshot, &self.current.bindings);
        let is_renamed = snapshot.plan.listeners.iter().any(|listener| !listener.formerly.is_empty());
        if !is_renamed || self.streams.is_empty() {
            return;
        }
        let traffic = &self.metrics.traffic;
        let now_is = |identity| {
            let on = snapshot.view.by_identity(identity)?;
            let series = bindings.bound(on).map_or(SeriesId::OTHER, |bound| bound.series);
            Some((snapshot.plan.listener(on).identity, series.0))
        };
        self.streams.rename(now_is, |old, new| {
            traffic.disconnected(SeriesId(old));
            traffic.connected(SeriesId(new));
        });
    }

    /// A way that was found before its listener was renamed.
    pub(super) fn as_renamed(&self, way: Way) -> Way {
        let snapshot = &self.current.snapshot;
        let on = snapshot.view.by_identity(way.listener);
        Way { listener: on.map_or(way.listener, |on| snapshot.plan.listener(on).identity), ..way }
    }

    /// An answer whose stream is gone leaves by another one, which is opened where there is none (RFC 3261 §18.2.2).
    pub(super) fn way_back(&self, way: &Way, answer: &[u8]) -> Way {
        let snapshot = &self.current.snapshot;
        let on = snapshot.view.by_identity(way.listener).map(|on| snapshot.plan.listener(on));
        let is_tls = on.is_some_and(|on| on.transport == Transport::Tls);
        let name = if is_tls { name_of_client(snapshot, answer, way.to.ip()).map(Arc::new) } else { None };
        Way { stream: Number::ANY, name, is_back: true, ..way.clone() }
    }

    /// A request leaves by this stream, or by any or none.
    pub(super) fn way_onward(&self, listener: ListenerId, to: SocketAddr, stream: Number) -> Way {
        let flow = stream.get().map(|_| peer_mark(self.nonce, to));
        Way { peer: flow, is_flow: flow.is_some(), ..self.way_of(listener, to, stream) }
    }
}
