//! What a shard asks about each message, and about time.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::dns;
use crate::egress::NoEgress;
use crate::limits::UNDERSTUDY_PINS;
use crate::net::{ListenerId, NextHop, Now};
use crate::overload::Kept;
use crate::proxy::{self, Came, Incoming, Outcome, Own, Tally};
use crate::snapshot::Snapshot;
use crate::stream::NameId;
use crate::tls::PeerName;
use crate::transaction::{Handle, SendFailure};

/// What decides about a message: [`proxy::State`], or a stand-in for tests.
pub trait Handler {
    /// Decides, and writes what is to be sent into `out`.
    fn handle(&mut self, snapshot: &Snapshot, incoming: &Incoming<'_>, now: Now, out: &mut [u8]) -> Outcome;
    /// Writes the answer to a request that finds no room into `out`.
    fn refuse(&mut self, snapshot: &Snapshot, incoming: &Incoming<'_>, now: Now, out: &mut [u8]) -> Outcome;
    /// The message that is handled next came in there and has waited so long since, in nanoseconds, if that is known.
    fn waited(&mut self, on: ListenerId, ns: Option<u64>, came: Came, now: Now);
    /// That message has to go at a glance: more comes than can be handled.
    fn sheds(&mut self, snapshot: &Snapshot, message: &[u8], now: Now) -> bool;
    /// Which listeners are to keep another part of what a filter at their sockets may drop ([`crate::overload::Filter`]), from
    /// now on.
    fn look(&mut self, now: Now, change: &mut dyn FnMut(ListenerId, Kept)) {
        let _ = (now, change);
    }
    /// No filter could be had there, whatever was wanted.
    fn keeps_all(&mut self, on: ListenerId) {
        let _ = on;
    }
    /// There is no filter any more, and listeners may have other numbers.
    fn unfilter(&mut self) {}
    /// When [`Handler::look`] has something to do.
    fn look_at(&self) -> Option<Now> {
        None
    }
    /// The snapshot has another configuration from now on.
    fn adopt(&mut self, snapshot: &Snapshot, now: Now);
    /// What was counted since the start.
    fn tally(&self, now: Now) -> Tally;
    /// Why the last message found no egress, if that was so.
    fn take_no_egress(&mut self) -> Option<(NextHop, NoEgress)>;
    /// Whether messages from now on have been handled before, and whether they cannot wait for names any more.
    fn comes(&mut self, again: bool, in_haste: bool);
    /// A name of the last message that leads nowhere, perhaps only for now; and why.
    fn nowhere(&self) -> Option<&(dns::Question, dns::Unresolved)>;
    /// What stands for the transaction of that message, which an INVITE and its CANCEL have alike.
    fn transaction(&self) -> u64;
    /// The same of a request that is not handled yet; `None`: it is none.
    fn transaction_of(&mut self, incoming: &Incoming<'_>) -> Option<u64>;
    /// [`Handler::next`] has something to do.
    fn is_due(&self, now: Now) -> bool;
    /// When it will have.
    fn deadline(&self) -> Option<Now>;
    /// Does what is due until there is a message to send, and writes that into `out`.
    fn next(&mut self, snapshot: &Snapshot, now: Now, out: &mut [u8]) -> Option<Own>;
    /// The request of a transaction could not be sent.
    fn send_failed(&mut self, transaction: Handle, why: SendFailure);
    /// The request of a transaction has left by a connection with this peer, which has ended.
    fn lost(&mut self, transaction: Handle, peer: SocketAddr, why: SendFailure);
    /// The name of a server by its number; `None`: it had to make room for others.
    fn name_of(&self, id: NameId) -> Option<Arc<PeerName>>;
    /// ICMP says that a request did not reach `to`; `quoted`: as much of it as is known. Gives whether one waited for that.
    fn unreached(&mut self, to: SocketAddr, quoted: &[u8]) -> bool;
    /// Another shard has ended: nothing is handed over to it any more.
    fn shard_gone(&mut self, shard: u16);
    /// One of its kind that handles messages to no effect; `None`: there is none.
    fn understudy(&self, snapshot: &Snapshot) -> Option<Self>
    where
        Self: Sized;
}

impl Handler for proxy::State {
    fn handle(&mut self, snapshot: &Snapshot, incoming: &Incoming<'_>, now: Now, out: &mut [u8]) -> Outcome {
        proxy::handle(self, snapshot, incoming, now, out)
    }

    fn refuse(&mut self, snapshot: &Snapshot, incoming: &Incoming<'_>, now: Now, out: &mut [u8]) -> Outcome {
        proxy::refuse(self, snapshot, incoming, now, out)
    }

    fn waited(&mut self, on: ListenerId, ns: Option<u64>, came: Came, now: Now) {
        self.waited(on, ns, came, now);
    }

    fn sheds(&mut self, snapshot: &Snapshot, message: &[u8], now: Now) -> bool {
        self.sheds(snapshot, message, now)
    }

    fn look(&mut self, now: Now, change: &mut dyn FnMut(ListenerId, Kept)) {
        self.look(now, change);
    }

    fn keeps_all(&mut self, on: ListenerId) {
        self.keeps_all(on);
    }

    fn unfilter(&mut self) {
        self.unfilter();
    }

    fn look_at(&self) -> Option<Now> {
        self.look_at()
    }

    fn adopt(&mut self, snapshot: &Snapshot, now: Now) {
        self.adopt(snapshot, now);
    }

    fn tally(&self, now: Now) -> Tally {
        self.tally(now)
    }

    fn take_no_egress(&mut self) -> Option<(NextHop, NoEgress)> {
        self.take_no_egress()
    }

    fn comes(&mut self, again: bool, in_haste: bool) {
        self.comes(again, in_haste);
    }

    fn nowhere(&self) -> Option<&(dns::Question, dns::Unresolved)> {
        self.nowhere()
    }

    fn transaction(&self) -> u64 {
        self.transaction()
    }

    fn transaction_of(&mut self, incoming: &Incoming<'_>) -> Option<u64> {
        self.transaction_of(incoming)
    }

    fn is_due(&self, now: Now) -> bool {
        self.is_due(now)
    }

    fn deadline(&self) -> Option<Now> {
        self.deadline()
    }

    fn next(&mut self, snapshot: &Snapshot, now: Now, out: &mut [u8]) -> Option<Own> {
        self.next(snapshot, now, out)
    }

    fn send_failed(&mut self, transaction: Handle, why: SendFailure) {
        self.send_failed(transaction, why);
    }

    fn lost(&mut self, transaction: Handle, peer: SocketAddr, why: SendFailure) {
        self.lost(transaction, peer, why);
    }

    fn name_of(&self, id: NameId) -> Option<Arc<PeerName>> {
        self.name_of(id)
    }

    fn unreached(&mut self, to: SocketAddr, quoted: &[u8]) -> bool {
        self.unreached(to, quoted)
    }

    fn shard_gone(&mut self, shard: u16) {
        self.shard_gone(shard);
    }

    fn understudy(&self, snapshot: &Snapshot) -> Option<Self> {
        Some(Self::with_pins(self.shards(), snapshot, UNDERSTUDY_PINS))
    }
}
