//! What comes back on a branch (RFC 3261 §16.7): on to the server transaction at once, or kept until it is known to be
//! the best answer.

use super::challenges;
use super::client::{Ack, ClientState};
use super::context::{Transactions, Work, read};
use super::events::{Heard, Peer, SendFailure};
use super::hop::{self, Hop};
use super::search::Rank;
use super::server::ServerState;
use super::slab::Handle;
use super::table::{ClientPending, Method, Table};
use crate::net::Now;

/// A response shows that its request has arrived, whatever is still to be told of its way. Behind a connection that has ended a
/// provisional one is the last.
const fn refutes(status: u16, why: SendFailure) -> bool {
    match why {
        SendFailure::Other | SendFailure::Refused(_) | SendFailure::Connection(_) | SendFailure::Broken => {
            true
        }
        SendFailure::Ended => status >= 200,
    }
}

impl Transactions {
    /// A response has come whose branch is ours and names this transaction; `method` is that of its CSeq, `to` the
    /// value of its To.
    pub fn on_response(&mut self, branch: u64, method: &[u8], status: u16, to: &[u8], now: Now) -> Heard {
        let Some(handle) = self.table.client(branch, Method::of(method)) else { return Heard::Stray };
        self.table.advance(now);
        let Some(record) = self.table.clients.get_mut(handle) else { return Heard::Stray };
        let heard = record.machine.on_response(status, now);
        let listener = record.place.listener;
        self.heard_from = record.gateway.gateway().map(|gateway| Peer { gateway, listener });
        if let Some(ClientPending::Fail(why)) = record.pending
            && refutes(status, why)
        {
            record.pending = None;
        }
        if heard.cancel && record.pending.is_none() {
            record.pending = Some(ClientPending::Cancel);
        }
        let (server, is_late) = (record.server, record.machine.is_abandoned());
        match heard.ack {
            Some(ack) => self.acknowledge(handle, ack, to),
            None => self.forget_request(handle),
        }
        self.table.arm_client(handle);
        let Some(server) = server.filter(|_| heard.passes) else { return Heard::Absorbed };
        match self.table.search(server) {
            Some(_) if status >= 300 => self.refused(server, handle, status, now),
            // Without it another answer has gone back.
            None if status >= 300 && is_late => Heard::Absorbed,
            Some(search) if status >= 200 => {
                search.leave(handle);
                self.stop_search(server, now);
                self.may_answer(server, status, now)
            }
            _ => self.may_answer(server, status, now),
        }
    }

    /// The gateway that the response of the last [`Transactions::on_response`] came from.
    pub fn heard_from(&mut self) -> Option<Peer> {
        self.heard_from.take()
    }

    /// RFC 6026 §8.3: "If the server transaction is no longer available to handle the transmission, the response
    /// is simply discarded."
    fn may_answer(&mut self, server: Handle, status: u16, now: Now) -> Heard {
        let Some(record) = self.table.servers.get_mut(server) else { return Heard::Stray };
        let mut thought = record.machine;
        if !thought.on_response(status, now) {
            return Heard::Absorbed;
        }
        // RFC 4320 §4.2: "A transaction-stateful SIP element MUST NOT send a response with Status-Code of 408 to a
        // non-INVITE request." It counts as answered, so that it is not sent on anew.
        if status == 408 && !record.machine.is_invite() {
            record.machine = thought;
            let search = record.search.take();
            self.table.close_search(search);
            self.table.arm_server(server);
            return Heard::Absorbed;
        }
        Heard::Forward { server, status: status_sent(status) }
    }

    /// A branch among several was refused: the answer is forwarded if it is the best and nobody else is waited for.
    fn refused(&mut self, server: Handle, client: Handle, status: u16, now: Now) -> Heard {
        let Some(search) = self.table.search(server) else { return Heard::Stray };
        let (rank, replaced) = search.on_refusal(client, status);
        let is_finished = search.is_finished();
        self.table.forget(replaced);
        if status >= 600 {
            self.stop_search(server, now);
        }
        self.table.arm_server(server);
        match rank {
            Rank::Best if is_finished => self.may_answer(server, status, now),
            Rank::Best => Heard::Keep { server, status: status_sent(status), adds: false },
            Rank::Challenge => Heard::Keep { server, status: status_sent(status), adds: true },
            Rank::Worse => Heard::Absorbed,
        }
    }

    /// A response, as it would go back in these bytes, is kept as the best one so far, or its challenges are added to
    /// that one's.
    pub fn kept(&mut self, server: Handle, adds: bool, bytes: &[u8]) {
        let Table { servers, searches, store, .. } = &mut self.table;
        let search = servers.get(server).and_then(|record| searches.get_mut(record.search?));
        let Some(search) = search else { return };
        let Work { kept, made, lines } = &mut self.work;
        let bytes = match search.best().and_then(|best| best.stored.as_ref()).filter(|_| adds) {
            Some(best) => {
                let len = store.copy(best, kept);
                challenges::add(&kept[..len], bytes, lines, made).and_then(|len| made.get(..len))
            }
            None => Some(bytes),
        };
        // What does not fit is left out.
        let stored = bytes.and_then(|bytes| store.put(bytes));
        if adds && stored.is_none() {
            return;
        }
        if let Some(replaced) = search.keep_best(stored) {
            store.free(replaced);
        }
    }

    /// The request is no longer sent again, nor is anything made of it.
    fn forget_request(&mut self, handle: Handle) {
        let Some(record) = self.table.clients.get_mut(handle) else { return };
        let is_over = match record.machine.state() {
            ClientState::Calling | ClientState::Proceeding => false,
            ClientState::Completed => !record.machine.is_invite(),
            ClientState::Accepted => true,
        };
        if is_over {
            let stored = record.stored.take();
            self.table.forget(stored);
        }
    }

    /// Has an ACK sent; the first one takes the place of the INVITE that it is made of.
    fn acknowledge(&mut self, handle: Handle, ack: Ack, to: &[u8]) {
        let Some(record) = self.table.clients.get_mut(handle) else { return };
        if ack == Ack::New
            && let Some(stored) = record.stored.take()
        {
            let Work { kept, made, lines } = &mut self.work;
            let len = self.table.store.copy(&stored, kept);
            self.table.store.free(stored);
            let written = read(&kept[..len], lines).and_then(|m| hop::write(&m, Hop::Ack { to }, made));
            record.stored = written.and_then(|len| self.table.store.put(&made[..len]));
        }
        record.pending = record.stored.is_some().then_some(ClientPending::Ack);
    }

    /// A response goes back in these bytes: what is to be sent again is kept.
    pub fn forwarded(&mut self, server: Handle, status: u16, bytes: &[u8], now: Now) {
        let Some(record) = self.table.servers.get_mut(server) else { return };
        let was_answered = record.machine.is_answered();
        if !record.machine.on_response(status, now) || was_answered {
            return;
        }
        record.pending = None;
        let old = record.stored.take();
        // RFC 6026 §7.1: "The server transaction MUST NOT generate 2xx retransmissions on its own."
        let is_kept = record.machine.state() != ServerState::Accepted;
        let search = if record.machine.is_answered() { record.search.take() } else { None };
        self.table.forget(old);
        self.table.close_search(search);
        let stored = if is_kept { self.table.store.put(bytes) } else { None };
        if let Some(record) = self.table.servers.get_mut(server) {
            record.stored = stored;
        }
        self.table.arm_server(server);
    }
}

/// §16.7 step 6: "If the only response that was received is a 503, the proxy SHOULD generate a 500 response and forward
/// that upstream."
pub(super) const fn status_sent(status: u16) -> u16 {
    if status == 503 { 500 } else { status }
}
