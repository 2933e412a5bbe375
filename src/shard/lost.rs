//! Requests that have left by a connection which ends before they are answered: whoever sent them is told.

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
    /// Takes them from a connection that ends; `is_broken`: not in good order; `cause`: of TLS.
    ///
    /// `None`: their answers can still come. A server that closes its connection in good order knows what it has to answer, and
    /// "SHOULD open a connection" for it (RFC 3261 §18.2.2); one that is reset may be gone, and another next hop is there now. From
    /// a client over WebSocket nothing can come by any other connection, however its own has ended.
    pub fn of(connection: &mut Connection, is_broken: bool, cause: Option<Cause>) -> Option<Self> {
        let why = if connection.is_unproven() {
            SendFailure::Connection(cause)
        } else if connection.layer.is_websocket() {
            SendFailure::Ended
        } else if is_broken {
            SendFailure::Broken
        } else {
            return None;
        };
        Some(Self { sent: connection.take_awaited(), peer: connection.peer, why })
    }
}

impl<S, H: Handler> Worker<S, H> {
    /// Tells transactions whose requests have left, and are counted, that their answers will not come.
    pub(super) fn tell_lost<I: Io<Source = S>>(&mut self, io: &mut I, lost: Option<Lost>) {
        let Some(Lost { sent, peer, why }) = lost else { return };
        for Waiting { shard, cookie } in sent {
            if let Some(ping) = Cookie::ping(cookie) {
                let cause = if let SendFailure::Connection(cause) = why { cause } else { None };
                self.ping_failed(ping, DropReason::ConnectionFailed, cause);
            }
            let Some(handle) = Cookie::transaction(cookie) else { continue };
            if shard == self.number {
                self.handler.lost(handle, peer, why);
            } else if let Ok(posted) = self.post.send(shard, &[], What::Lost(handle, peer, why)) {
                self.ring(io, shard, posted);
            }
        }
    }
}
