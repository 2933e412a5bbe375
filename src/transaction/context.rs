//! The proxy core over the transactions (RFC 3261 §16.7 to §16.10): what happens on one side of a request leads
//! to something on the other.
//!
//! ```text
//!  request ─► on_request ─┬─ new ─► open ─────────► server and client record
//!                         ├─ again ─► the last answer is sent again
//!                         └─ ACK, CANCEL ─► its INVITE's
//!  response ─► on_response ─► client ─► passes? ─┬─ forwarded ─► server        (answers.rs)
//!                                                └─ kept: others may be better
//!  failure ─► failed ─► client
//!  time, and what any of these left to be sent ─► next ─► one message to send,  (due.rs)
//!                                                         a branch to begin, or nothing is due
//! ```
//!
//! A request with one next hop has one client transaction. One with several has a [`Search`] besides, until it is
//! answered, and a client transaction for each branch, which is begun where and when that is due.

use std::net::SocketAddr;

use sip_parser::{HeaderLine, Message, parse};

use super::client::{Client, ClientState};
use super::counts::{Counts, Full};
use super::events::{Arrived, Beginning, Opening, Peer, SendFailure};
use super::own::{self, Own};
use super::reasons;
use super::search::Search;
use super::server::{OnAck, OnRequest, Server, ServerState};
use super::slab::Handle;
use super::table::{ClientPending, ClientRecord, Method, Place, ServerPending, ServerRecord, Size, Table};
use super::timers::SIXTY_FOUR_T1_NS;
use crate::limits::{CANCEL_REASON_BYTES, HEADER_LINES, MESSAGE_BYTES};
use crate::net::Now;
use crate::stream::Holds;

/// All transactions of one shard. Memory is taken when it is made.
pub struct Transactions {
    pub(super) table: Table,
    pub(super) work: Work,
    /// Whom the response came from that was heard last.
    pub(super) heard_from: Option<Peer>,
    /// Who did not answer; told by [`Transactions::next`].
    pub(super) silent: Option<Peer>,
}

/// Room for a kept message that is read, and for one that is made of it.
pub(super) struct Work {
    pub kept: Box<[u8]>,
    pub made: Box<[u8]>,
    pub lines: Box<[HeaderLine]>,
}

impl Transactions {
    /// None yet, with room for this many.
    pub fn new(size: Size) -> Self {
        let work = Work {
            kept: vec![0; MESSAGE_BYTES].into(),
            made: vec![0; MESSAGE_BYTES].into(),
            lines: vec![HeaderLine::EMPTY; HEADER_LINES].into(),
        };
        Self { table: Table::new(size), work, heard_from: None, silent: None }
    }

    /// With these names of servers, which say by what is told them who is needed.
    #[must_use]
    pub fn naming(mut self, names: Holds) -> Self {
        self.table.names = names;
        self
    }

    /// What has been counted.
    pub fn counts(&self) -> Counts {
        Counts { blocks: self.table.store.used() as u64, ..self.table.counts }
    }

    /// [`Transactions::next`] has something to do.
    pub fn is_due(&self, now: Now) -> bool {
        self.silent.is_some() || self.table.is_due(now)
    }

    /// When it will have.
    pub fn deadline(&self) -> Option<Now> {
        if self.silent.is_some() { Some(Now(0)) } else { self.table.deadline() }
    }

    /// A request has come: "the server transport attempts to match the request to a server transaction"
    /// (RFC 6026 §8.10).
    pub fn on_request(&mut self, key: u128, method: &[u8], now: Now) -> Arrived {
        let wanted = match method {
            b"ACK" => Method::INVITE,
            other => Method::of(other),
        };
        self.table.advance(now);
        match self.table.server(key, |record| record.method == wanted) {
            Some(handle) if method == b"ACK" => self.on_ack(handle, now),
            Some(handle) => self.on_request_again(handle),
            None if wanted == Method::CANCEL => self.on_cancel(key, now),
            None => Arrived::New,
        }
    }

    fn on_ack(&mut self, handle: Handle, now: Now) -> Arrived {
        let Some(record) = self.table.servers.get_mut(handle) else { return Arrived::New };
        if record.machine.on_ack(now) == OnAck::PassOn {
            return Arrived::New;
        }
        if record.machine.state() == ServerState::Confirmed {
            record.pending = None;
            let stored = record.stored.take();
            self.table.forget(stored);
        }
        self.table.arm_server(handle);
        Arrived::Absorbed
    }

    /// §16.10: "If a matching response context is found, the element MUST immediately return a 200 (OK) response
    /// to the CANCEL request. […] Furthermore, the element MUST generate CANCEL requests for all pending client
    /// transactions in the context". §9.2: "assuming that the request method is anything but CANCEL or ACK"; if it was
    /// answered, "the CANCEL request has no effect", and it "has no impact on the processing of transactions with any other
    /// method" than INVITE.
    fn on_cancel(&mut self, key: u128, now: Now) -> Arrived {
        let Some(handle) = self.table.server(key, |_| true) else { return Arrived::New };
        let can_end = |record: &&ServerRecord| record.machine.is_invite() && !record.machine.is_answered();
        let waits = self.table.servers.get(handle).filter(can_end);
        let Some(&ServerRecord { client, search, .. }) = waits else { return Arrived::Cancels };
        match search {
            Some(_) => {
                self.stop_search(handle, now);
                let terminated = Own::Terminated.counts_as();
                let replaced = self.table.search(handle).and_then(|search| search.on_loss(None, terminated));
                self.table.forget(replaced);
                self.table.arm_server(handle);
            }
            None => client.into_iter().for_each(|client| self.cancel_branch(client, now)),
        }
        Arrived::Cancels
    }

    /// The CANCEL that [`Transactions::on_request`] has taken for that of a transaction gives these values of Reason, which those
    /// of its branches get, too. They wait as long as a branch may have to ring before it can be cancelled.
    #[cold]
    pub fn cancelled_because<'v>(&mut self, key: u128, values: impl Iterator<Item = &'v [u8]>) {
        let Some(handle) = self.table.server(key, |_| true) else { return };
        let waits = self.table.servers.get(handle).is_some_and(|record| !record.machine.is_answered());
        let room = self.work.made.get_mut(..CANCEL_REASON_BYTES).unwrap_or_default();
        let len = reasons::write(values, room);
        if waits && len > 0 {
            self.table.keep_reasons(handle, &self.work.made[..len]);
        }
    }

    /// No other branch is begun, and those that there are are cancelled.
    pub(super) fn stop_search(&mut self, server: Handle, now: Now) {
        let Some(search) = self.table.search(server) else { return };
        search.stop();
        for client in search.waiting() {
            self.cancel_branch(client, now);
        }
    }

    fn cancel_branch(&mut self, client: Handle, now: Now) {
        if let Some(record) = self.table.clients.get_mut(client)
            && record.machine.on_cancel(now)
            && !matches!(record.pending, Some(ClientPending::Fail(_)))
        {
            record.pending = Some(ClientPending::Cancel);
            self.table.arm_client(client);
        }
    }

    /// A CANCEL was answered in these bytes: "a CANCEL request is handled in a stateful proxy by its own server
    /// transaction" (§16.10). Where there is no room for that, it is answered the same as long as its INVITE is kept.
    pub fn cancel_answered(&mut self, key: u128, back: Place, bytes: &[u8], now: Now) {
        let mut machine = Server::other(now).over(back.stream.is_stream());
        machine.on_response(200, now);
        let stored = self.table.store.put(bytes);
        let record = ServerRecord {
            key,
            method: Method::CANCEL,
            machine,
            place: back,
            client: None,
            search: None,
            stored: None,
            pending: None,
        };
        let opened = self.table.insert_server(record);
        match opened.ok().and_then(|handle| Some((handle, self.table.servers.get_mut(handle)?))) {
            Some((handle, record)) => {
                record.stored = stored;
                self.table.arm_server(handle);
            }
            None => self.table.forget(stored),
        }
    }

    fn on_request_again(&mut self, handle: Handle) -> Arrived {
        self.table.counts.absorbed += 1;
        let Some(record) = self.table.servers.get_mut(handle) else { return Arrived::Absorbed };
        let pending = match record.machine.on_request() {
            OnRequest::Trying => ServerPending::Trying,
            OnRequest::SendAgain if record.stored.is_some() => ServerPending::ResponseAgain,
            OnRequest::SendAgain | OnRequest::Absorb => return Arrived::Absorbed,
        };
        record.pending.get_or_insert(pending);
        self.table.arm_server(handle);
        Arrived::Absorbed
    }

    /// Keeps a request that is sent on; gives the client transaction that a failure of the send is told to.
    ///
    /// # Errors
    /// There is no room: nothing was kept.
    pub fn open(&mut self, opening: &Opening<'_>, now: Now) -> Result<Handle, Full> {
        let opened = self.try_open(opening, now);
        if let Err(full) = opened {
            self.table.counts.refused[full as usize] += 1;
        }
        opened
    }

    fn try_open(&mut self, opening: &Opening<'_>, now: Now) -> Result<Handle, Full> {
        let table = &mut self.table;
        let searches = opening.search.is_some();
        if table.servers.is_full() || table.clients.is_full() || (searches && table.searches.is_full()) {
            return Err(Full::Transactions);
        }
        // Our 100, which a search keeps, is shorter than the request that it is made of.
        let kept = opening.bytes.len() * if searches { 3 } else { 1 };
        if !table.store.has_room_for_new(kept) {
            return Err(Full::Messages);
        }
        table.advance(now);
        let method = Method::of(opening.method);
        let is_invite = method == Method::INVITE;
        let machine = if is_invite { Server::invite(now) } else { Server::other(now) };
        let mut machine = machine.over(opening.back.stream.is_stream());
        // Its time is over already, as if it had come again.
        let is_late = opening.has_waited && machine.on_request() == OnRequest::Trying;
        let server = table.insert_server(ServerRecord {
            key: opening.key,
            method,
            machine,
            place: opening.back,
            client: None,
            search: None,
            stored: None,
            pending: is_late.then_some(ServerPending::Trying),
        })?;
        let stored = table.store.put(opening.bytes);
        let client = table.insert_client(ClientRecord {
            branch: opening.branch,
            gateway: opening.gateway.into(),
            method,
            machine: Client::new(is_invite, patience_ns(is_invite, searches, opening.patience_ns), now)
                .over(opening.onward.stream.is_stream()),
            place: opening.onward,
            server: Some(server),
            stored,
            pending: None,
        })?;
        if let Some(record) = table.servers.get_mut(server) {
            record.client = Some(client);
        }
        table.arm_client(client);
        if let Some(beginning) = &opening.search {
            self.begin_search(server, client, opening.bytes, beginning, now);
        }
        self.table.arm_server(server);
        Ok(client)
    }

    /// Without room for it the first next hop is the only one.
    fn begin_search(
        &mut self,
        server: Handle,
        client: Handle,
        sent: &[u8],
        beginning: &Beginning<'_>,
        now: Now,
    ) {
        let Work { made, lines, .. } = &mut self.work;
        let Table { servers, store, .. } = &mut self.table;
        let trying = read(sent, lines).and_then(|sent| own::write(&sent, 1, Own::Trying, &[], made));
        let Some(trying) = trying.and_then(|len| store.put(&made[..len])) else { return };
        let (before, behind) = (&sent[..beginning.own.start], &sent[beginning.own.end..]);
        let alike = before.len() + behind.len();
        made[..before.len()].copy_from_slice(before);
        made[before.len()..alike].copy_from_slice(behind);
        let is_invite = servers.get(server).is_some_and(|record| record.machine.is_invite());
        let Some(request) = store.put(&made[..alike]) else { return store.free(trying) };
        let mut search = Search::new(is_invite, now, beginning.terms, beginning.hops, request, trying);
        if let Some((number, _)) = search.take() {
            search.began(number, client);
        }
        self.table.open_search(server, search);
    }

    /// ICMP says that a request on this branch did not reach `to`. Where somebody has answered there it was another
    /// datagram's fault, and where it went elsewhere it was not this one; gives whether it was.
    pub fn unreached(&mut self, branch: u64, method: &[u8], to: SocketAddr) -> bool {
        let Some(client) = self.table.client(branch, Method::of(method)) else { return false };
        let is_it = self.table.clients.get(client).is_some_and(|record| {
            record.place.is_to(to)
                && record.machine.state() == ClientState::Calling
                && record.machine.on_transport_error()
        });
        let is_news = self.table.clients.get(client).is_some_and(|record| record.pending.is_none());
        if is_it && is_news {
            self.table.counts.unreached += 1;
            self.failed(client, SendFailure::Other);
        }
        is_it && is_news
    }

    /// A request has left by a connection with `peer`, which has ended: a transaction that went elsewhere has the number of one
    /// that is over.
    pub fn lost(&mut self, client: Handle, peer: SocketAddr, why: SendFailure) {
        if self.table.clients.get(client).is_some_and(|record| record.place.is_to(peer)) {
            self.failed(client, why);
        }
    }

    /// A request could not be sent (RFC 3261 §17.1.4, §16.9), or its answer cannot come. Of several reasons the first one counts.
    pub fn failed(&mut self, client: Handle, why: SendFailure) {
        let record = self.table.clients.get_mut(client);
        let record = record.filter(|record| !matches!(record.pending, Some(ClientPending::Fail(_))));
        let Some(record) = record else { return };
        let is_over = match why {
            SendFailure::Ended => record.machine.on_end_of_connection(),
            SendFailure::Broken => record.machine.on_broken_connection(),
            SendFailure::Connection(_) | SendFailure::Refused(_) | SendFailure::Other => {
                record.machine.on_transport_error()
            }
        };
        if is_over {
            record.pending = Some(ClientPending::Fail(why));
            self.table.arm_client(client);
        }
    }
}

/// So long, in nanoseconds, the first answer to a branch is waited for.
///
/// A request other than INVITE that stays without an answer is never answered here (RFC 4320 §4.2); as long as there is
/// nobody else to ask, there is nothing that its end would be good for.
pub(super) const fn patience_ns(is_invite: bool, has_others: bool, patience_ns: u64) -> u64 {
    if is_invite || has_others { patience_ns } else { SIXTY_FOUR_T1_NS }
}

/// Reads a kept message: it was written here.
pub(super) fn read<'m>(bytes: &'m [u8], lines: &'m mut [HeaderLine]) -> Option<Message<'m>> {
    parse(bytes, lines).ok()
}
