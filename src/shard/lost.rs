//! Requests that have left by a connection which ends before they are answered: whoever sent them is told.

use std::collections::HashSet;
use std::net::SocketAddr;

use super::cookie::Cookie;
use super::handler::Handler;
use super::post::What;
use super::worker::Worker;
use crate::drop_reason::DropReason;
use crate::engine::Io;
use crate::stream::{Connection, Waiting};
use crate::tls::Cause;
use crate::transaction::SendFailure;

/// Those who are told, and what.
pub(super) struct Lost {
    sent: Vec<Waiting>,
    /// The connection's other end.
    peer: SocketAddr,
    why: SendFailure,
}

impl Lost {
    /// Takes them from a connection by which no more answers come, whether or not it ends in good order; `cause`: of TLS.
    ///
    /// A server that has still to answer "SHOULD open a connection" for that (RFC 3261 §18.2.2). Whether it will nobody knows, nor
    /// whether it has read what was sent last; and another next hop is there now. From a client over WebSocket nothing can come by
    /// any other connection.
    pub fn of(connection: &mut Connection, cause: Option<Cause>) -> Self {
        let why = if connection.is_unproven() {
            SendFailure::Connection(cause)
        } else if connection.layer.is_websocket() {
            SendFailure::Ended
        } else {
            SendFailure::Broken
        };
        Self { sent: connection.take_awaited(), peer: connection.peer, why }
    }

    /// Without those who hear already that their requests have not even left.
    pub fn without(mut self, unsent: &[Waiting]) -> Self {
        let unsent: HashSet<Waiting> = unsent.iter().copied().collect();
        self.sent.retain(|waiting| !unsent.contains(waiting));
        self
    }
}

impl<S, H: Handler> Worker<S, H> {
    /// Tells transactions whose requests have left, and are counted, that their answers will not come.
    pub(super) fn tell_lost<I: Io<Source = S>>(&mut self, io: &mut I, lost: Lost) {
        let Lost { sent, peer, why } = lost;
        for Waiting { shard, cookie } in sent {
            if let Some(ping) = Cookie::ping(cookie) {
                let cause = if let SendFailure::Connection(cause) = why { cause } else { None };
                self.ping_failed(ping, DropReason::ConnectionFailed, cause);
            }
            let Some(handle) = Cookie::transaction(cookie) else { continue };
            self.tell(io, shard, What::Lost(handle, peer, why));
        }
    }
}
