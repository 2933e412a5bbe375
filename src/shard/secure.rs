//! Connections over TLS that are opened from here: whom they are for, what waits until they are, and why they are not.

use std::net::SocketAddr;
use std::sync::Arc;

use super::handler::Handler;
use super::lost::Lost;
use super::record::{RecordKind, Text};
use super::way::Way;
use super::worker::Worker;
use crate::drop_reason::DropReason;
use crate::engine::Io;
use crate::net::{ListenerId, Transport};
use crate::plan::{Plan, Tls};
use crate::snapshot::Snapshot;
use crate::stream::{Connection, Layer, LayerFailure, Number, Scratch, StreamId, Waiting};
use crate::tls::{Client, Failure};

/// What this shard opens connections over TLS with: of each listener's files one, so that its sessions are nobody else's.
#[derive(Default)]
pub(super) struct Clients(Vec<(Arc<Tls>, Client)>);

impl Clients {
    /// Of these files; `None`: they trust nobody.
    fn of(&mut self, tls: &Arc<Tls>, plan: &Plan) -> Option<&Client> {
        if !self.0.iter().any(|(known, _)| Arc::ptr_eq(known, tls)) {
            let client = tls.client.as_ref()?.apart();
            let in_force = |known: &Arc<Tls>| {
                plan.sections
                    .iter()
                    .filter_map(|section| section.tls.as_ref())
                    .any(|own| Arc::ptr_eq(own, known))
            };
            self.0.retain(|(known, _)| in_force(known));
            self.0.push((Arc::clone(tls), client));
        }
        self.0.iter().find(|(known, _)| Arc::ptr_eq(known, tls)).map(|(_, client)| client)
    }
}

/// A connection that can be opened.
pub(super) struct Beginning {
    pub connection: Connection,
    /// What is sent first.
    pub hello: Vec<u8>,
}

impl<S, H: Handler> Worker<S, H> {
    /// A connection of this listener for what goes this way.
    ///
    /// # Errors
    /// TLS cannot begin. `None`: there can be none. Nobody is there to connect to over WebSocket (RFC 7118 has clients connect),
    /// nor where the name of who has to answer over TLS had to make room for others.
    pub(super) fn beginning(&mut self, on: ListenerId, way: &Way) -> Result<Beginning, Option<LayerFailure>> {
        let plan = &self.current.snapshot.plan;
        let listener = plan.listener(on);
        let name = match (listener.transport, &way.name) {
            (Transport::Udp | Transport::Tcp, _) => {
                let connection = Connection::new(way.listener, way.to, false, self.now);
                return Ok(Beginning { connection, hello: Vec::new() });
            }
            (Transport::Tls, Some(name)) => name,
            (Transport::Tls, None) if way.stream == Number::ANY => return Err(Some(Failure::NoName.into())),
            (Transport::Tls | Transport::Ws | Transport::Wss, _) => return Err(None),
        };
        let tls = plan.section(listener.section).tls.as_ref();
        let client = tls.and_then(|tls| self.clients.of(tls, plan));
        let mut scratch = Scratch::default();
        let layer = Layer::connect(client, name, &mut scratch).map_err(Some)?;
        let connection = Connection::named(way.listener, way.to, Some(Arc::clone(name)), layer, self.now);
        Ok(Beginning { connection, hello: scratch.out })
    }

    /// Whom a server was verified for counts by the files of then. Where those have changed since, what its connection has begun is
    /// finished there, and what comes from now on has another one opened.
    pub(super) fn verify_anew(&mut self, old: &Snapshot) {
        fn files(snapshot: &Snapshot, listener: u32) -> Option<&Arc<Tls>> {
            let on = snapshot.view.by_identity(listener)?;
            snapshot.plan.section(snapshot.plan.listener(on).section).tls.as_ref()
        }
        let new = &self.current.snapshot;
        if !Arc::ptr_eq(&old.plan, &new.plan) {
            self.streams.hide_opened(|listener| files(old, listener) != files(new, listener));
        }
    }

    /// Keeps a message until the handshake of its connection is over.
    pub(super) fn hold<I: Io<Source = S>>(
        &mut self,
        io: &mut I,
        stream: StreamId,
        bytes: &[u8],
        waiting: Waiting,
    ) {
        if !self.streams.hold(stream, bytes, waiting) {
            return self.not_sent(io, waiting, DropReason::ConnectionFailed, None);
        }
        self.keep_less(io);
    }

    /// The handshake of a connection is over: what has waited for it is sent.
    pub(super) fn on_handshaken<I: Io<Source = S>>(&mut self, io: &mut I, stream: StreamId) {
        let session =
            self.streams.get(stream).and_then(|c| Some((c.is_ours(), c.layer.session()?.is_resumed())));
        if let Some((is_ours, is_resumed)) = session {
            self.metrics.streams.handshaken(is_ours, is_resumed);
        }
        let held = self.streams.take_held(stream);
        for (message, waiting) in held.each() {
            self.write_open(io, stream, message, waiting);
        }
    }

    /// TLS or WebSocket has failed on a connection: that is counted and logged, and whoever waits for the connection is told.
    pub(super) fn tell_of_failure<I: Io<Source = S>>(
        &mut self,
        io: &mut I,
        stream: StreamId,
        place: (u32, SocketAddr),
        failure: &LayerFailure,
    ) {
        self.log_failure(place, failure);
        for waiting in self.streams.take_held(stream).into_waiting() {
            self.not_sent(io, waiting, DropReason::ConnectionFailed, failure.cause());
        }
        let connection = self.streams.get(stream);
        if let Some(lost) = connection.map(|connection| Lost::of(connection, failure.cause())) {
            self.tell_lost(io, lost);
        }
    }

    /// The same where there is no connection.
    pub(super) fn log_failure(&self, (listener, peer): (u32, SocketAddr), failure: &LayerFailure) {
        self.metrics.streams.layer_failed(failure);
        if let Some(on) = self.current.snapshot.view.by_identity(listener) {
            let (label, cause) = (failure.label(), Text::new(&failure.to_string()));
            self.record(RecordKind::ConnectionFailed { on, peer, label, cause });
        }
    }

    /// A connection ends. Where it has never been one because its handshake is not over, that is told; `failure`: as what.
    pub(super) fn end_of_handshake<I: Io<Source = S>>(
        &mut self,
        io: &mut I,
        stream: StreamId,
        failure: fn(&Connection) -> Option<Failure>,
    ) -> bool {
        let Some(connection) = self.streams.get(stream) else { return false };
        let place = (connection.listener, connection.peer);
        let Some(failure) = failure(connection) else { return false };
        self.tell_of_failure(io, stream, place, &failure.into());
        true
    }
}
