//! OPTIONS of the control thread that leave by connections: they take the way of requests, so what they say of a gateway
//! is what a request would have met with. The answer comes in as any other; here it is told where none can come.

use std::net::SocketAddr;
use std::sync::Arc;

use super::cookie::Cookie;
use super::handler::Handler;
use super::post::{NotPosted, Post, Posted, What};
use super::way::Way;
use super::worker::Worker;
use crate::drop_reason::DropReason;
use crate::engine::Io;
use crate::group::{Fault, Heard, Ping};
use crate::stream::{Number, Waiting, owner_of};
use crate::tls::{Cause, PeerName};

impl Post {
    /// Has an OPTIONS leave by a connection of the listener of this identity with `to`, opened from here; over TLS to the
    /// server of this name. Gives the shard that is to be woken. What becomes of it, if no answer does, is told to the
    /// gateways' [`crate::group::Health`].
    ///
    /// # Errors
    /// There is no room, or no shard.
    pub fn ask(
        &self,
        listener: u32,
        to: SocketAddr,
        name: Option<Arc<PeerName>>,
        ping: Ping,
        options: &[u8],
    ) -> Result<Option<u16>, NotAsked> {
        let shards = self.shards();
        let owner = owner_of(listener, to, shards).filter(|owner| !self.is_gone(*owner));
        let shard = owner.or_else(|| (0..shards).find(|shard| !self.is_gone(*shard))).ok_or(NotAsked)?;
        let stream = Number::OPENED;
        let way =
            Way { listener, to, stream, peer: None, answers: false, name, is_flow: false, is_back: false };
        let waiting = Waiting { shard, cookie: Cookie::of_ping(ping) };
        match self.send(shard, options, What::Leaves { way, waiting }) {
            Ok(posted) => Ok((posted == Posted::Wake).then_some(shard)),
            Err((NotPosted::NoRoom | NotPosted::Gone, _)) => Err(NotAsked),
        }
    }
}

/// No shard takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAsked;

impl<S, H: Handler> Worker<S, H> {
    /// A message finds no connection: none can be begun here, whoever is there.
    pub(super) fn not_begun<I: Io<Source = S>>(
        &mut self,
        io: &mut I,
        waiting: Waiting,
        cause: Option<Cause>,
    ) {
        match Cookie::ping(waiting.cookie) {
            Some(ping) => self.tell_of_ping(ping, Heard::Unsent),
            None => self.not_sent(io, waiting, DropReason::ConnectionFailed, cause),
        }
    }

    /// An OPTIONS has not left, or has left in vain; `cause`: of TLS.
    pub(super) fn ping_failed(&self, ping: Ping, why: DropReason, cause: Option<Cause>) {
        let heard = match (why, cause) {
            (DropReason::ConnectionFailed, Some(cause)) => Heard::Failed(Fault::Tls(cause)),
            (DropReason::ConnectionFailed, None) => Heard::Failed(Fault::Connection),
            _ => Heard::Unsent,
        };
        self.tell_of_ping(ping, heard);
    }

    fn tell_of_ping(&self, ping: Ping, heard: Heard) {
        self.current.snapshot.roster.health().hear(ping, heard);
    }
}
