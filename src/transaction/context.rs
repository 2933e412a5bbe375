//! The proxy core over the transactions (RFC 3261 §16.7 to §16.10): what happens on one side of a request leads
//! to something on the other.
//!
//! ```text
//!  request ─► on_request ─┬─ new ─► open ─────────► server and client record
//!                         ├─ again ─► the last answer is sent again
//!                         └─ ACK, CANCEL ─► its INVITE's
//!  response ─► on_response ─► client ─► passes? ─► forwarded ─► server
//!  failure ─► failed ─► client
//!  time, and what any of these left to be sent ─► next ─► one message to send, or nothing is due
//! ```
//!
//! A request has one client transaction. Those that follow it where it fails would be opened by [`Transactions::next`]
//! in the place where it now answers, with a branch of their own and the same server transaction.

use sip_parser::{HeaderLine, Message, parse};

use super::client::{Ack, Client, ClientDue, ClientState};
use super::counts::{Cause, Counts, Full, What};
use super::events::{Arrived, Heard, Opening, Send, ToTag};
use super::hop::{self, Hop};
use super::own::{self, Own};
use super::server::{OnAck, OnRequest, Server, ServerDue, ServerState};
use super::slab::Handle;
use super::table::{
    ClientPending, ClientRecord, Method, Place, ServerPending, ServerRecord, Side, Size, Table,
};
use super::timers::Timer;
use crate::limits::{HEADER_LINES, MESSAGE_BYTES};
use crate::net::Now;

/// All transactions of one shard. Memory is taken when it is made.
pub struct Transactions {
    table: Table,
    work: Work,
}

/// Room for a kept message that is read, and for one that is made of it.
struct Work {
    kept: Box<[u8]>,
    made: Box<[u8]>,
    lines: Box<[HeaderLine]>,
}

impl Transactions {
    /// None yet, with room for this many.
    pub fn new(size: Size) -> Self {
        let work = Work {
            kept: vec![0; MESSAGE_BYTES].into(),
            made: vec![0; MESSAGE_BYTES].into(),
            lines: vec![HeaderLine::EMPTY; HEADER_LINES].into(),
        };
        Self { table: Table::new(size), work }
    }

    /// What has been counted.
    pub fn counts(&self) -> Counts {
        Counts { blocks: self.table.store.used() as u64, ..self.table.counts }
    }

    /// [`Transactions::next`] has something to do.
    pub fn is_due(&self, now: Now) -> bool {
        self.table.is_due(now)
    }

    /// When it will have.
    pub fn deadline(&self) -> Option<Now> {
        self.table.deadline()
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
    /// answered, "the CANCEL request has no effect".
    fn on_cancel(&mut self, key: u128, now: Now) -> Arrived {
        let Some(handle) = self.table.server(key, |_| true) else { return Arrived::New };
        let waits = self.table.servers.get(handle).filter(|record| !record.machine.is_answered());
        if let Some(client) = waits.and_then(|record| record.client)
            && let Some(record) = self.table.clients.get_mut(client)
            && record.machine.on_cancel(now)
        {
            record.pending = Some(ClientPending::Cancel);
            self.table.arm_client(client);
        }
        Arrived::Cancels
    }

    /// A CANCEL was answered in these bytes: "a CANCEL request is handled in a stateful proxy by its own server
    /// transaction" (§16.10). Where there is no room for that, it is answered the same as long as its INVITE is kept.
    pub fn cancel_answered(&mut self, key: u128, back: Place, bytes: &[u8], now: Now) {
        let mut machine = Server::other(now);
        machine.on_response(200, now);
        let stored = self.table.store.put(bytes);
        let record = ServerRecord {
            key,
            method: Method::CANCEL,
            machine,
            place: back,
            client: None,
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
        if let Some(record) = self.table.servers.get_mut(handle)
            && record.machine.on_request() == OnRequest::SendAgain
            && record.stored.is_some()
        {
            record.pending.get_or_insert(ServerPending::ResponseAgain);
            self.table.arm_server(handle);
        }
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
        if table.servers.is_full() || table.clients.is_full() {
            return Err(Full::Transactions);
        }
        if !table.store.has_room_for_new(opening.bytes.len()) {
            return Err(Full::Messages);
        }
        table.advance(now);
        let method = Method::of(opening.method);
        let is_invite = method == Method::INVITE;
        let server = table.insert_server(ServerRecord {
            key: opening.key,
            method,
            machine: if is_invite { Server::invite(now) } else { Server::other(now) },
            place: opening.back,
            client: None,
            stored: None,
            pending: is_invite.then_some(ServerPending::Trying),
        })?;
        let stored = table.store.put(opening.bytes);
        let client = table.insert_client(ClientRecord {
            branch: opening.branch,
            method,
            machine: if is_invite { Client::invite(now) } else { Client::other(now) },
            place: opening.onward,
            server: Some(server),
            stored,
            pending: None,
        })?;
        if let Some(record) = table.servers.get_mut(server) {
            record.client = Some(client);
        }
        table.arm_server(server);
        table.arm_client(client);
        Ok(client)
    }

    /// A response has come whose branch is ours and names this transaction; `method` is that of its CSeq, `to` the
    /// value of its To.
    pub fn on_response(&mut self, branch: u64, method: &[u8], status: u16, to: &[u8], now: Now) -> Heard {
        let Some(handle) = self.table.client(branch, Method::of(method)) else { return Heard::Stray };
        self.table.advance(now);
        let Some(record) = self.table.clients.get_mut(handle) else { return Heard::Stray };
        let heard = record.machine.on_response(status, now);
        if heard.cancel {
            record.pending = Some(ClientPending::Cancel);
        }
        let server = record.server;
        match heard.ack {
            Some(ack) => self.acknowledge(handle, ack, to),
            None => self.forget_request(handle),
        }
        self.table.arm_client(handle);
        let Some(server) = server.filter(|_| heard.passes) else { return Heard::Absorbed };
        self.may_answer(server, status, now)
    }

    /// RFC 6026 §8.3: "If the server transaction is no longer available to handle the transmission, the response
    /// is simply discarded."
    fn may_answer(&mut self, server: Handle, status: u16, now: Now) -> Heard {
        let Some(record) = self.table.servers.get_mut(server) else { return Heard::Stray };
        let mut thought = record.machine;
        if !thought.on_response(status, now) {
            return Heard::Absorbed;
        }
        // §16.7 step 6: "If the only response that was received is a 503, the proxy SHOULD generate a 500 response
        // and forward that upstream." RFC 4320 §4.2: "A transaction-stateful SIP element MUST NOT send a response
        // with Status-Code of 408 to a non-INVITE request." It counts as answered, so that it is not sent on anew.
        match status {
            408 if !record.machine.is_invite() => {
                record.machine = thought;
                self.table.arm_server(server);
                Heard::Absorbed
            }
            503 => Heard::Forward { server, status: 500 },
            status => Heard::Forward { server, status },
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
        self.table.forget(old);
        let stored = if is_kept { self.table.store.put(bytes) } else { None };
        if let Some(record) = self.table.servers.get_mut(server) {
            record.stored = stored;
        }
        self.table.arm_server(server);
    }

    /// A request could not be sent (RFC 3261 §17.1.4, §16.9).
    pub fn failed(&mut self, client: Handle) {
        if let Some(record) = self.table.clients.get_mut(client)
            && record.machine.on_transport_error()
        {
            record.pending = Some(ClientPending::Fail);
            self.table.arm_client(client);
        }
    }

    /// Does what is due until there is a message to send, which is then in `out`; `None`: nothing is due any more.
    pub fn next(&mut self, now: Now, to_tag: ToTag<'_>, out: &mut [u8]) -> Option<Send> {
        while let Some(side) = self.table.due(now) {
            let send = match side {
                Side::Server(handle) => self.server_due(handle, now, out),
                Side::Client(handle) => self.client_due(handle, now, to_tag, out),
            };
            if send.is_some() {
                return send;
            }
        }
        None
    }

    /// What [`Transactions::next`] gave is sent: there is a socket for it.
    pub fn sent(&mut self, what: What) {
        self.table.counts.sent[what as usize] += 1;
    }

    fn server_due(&mut self, handle: Handle, now: Now, out: &mut [u8]) -> Option<Send> {
        let record = self.table.servers.get_mut(handle)?;
        let pending = record.pending.take();
        let due = if pending.is_some() { ServerDue::Nothing } else { record.machine.on_timer(now) };
        self.table.arm_server(handle);
        match (pending, due) {
            (Some(ServerPending::Trying), _) => self.trying(handle, out),
            (Some(ServerPending::ResponseAgain), _) => self.response_again(handle, out),
            (None, ServerDue::Trying) => {
                self.table.fired(Timer::Late);
                self.trying(handle, out)
            }
            (None, ServerDue::SendAgain) => {
                self.table.fired(Timer::G);
                self.response_again(handle, out)
            }
            (None, ServerDue::End(timer)) => {
                self.table.fired(timer);
                let cause = if timer == Timer::H { Cause::NoAck } else { Cause::Answered };
                self.table.close_server(handle, cause);
                None
            }
            (None, ServerDue::Nothing) => None,
        }
    }

    fn response_again(&self, handle: Handle, out: &mut [u8]) -> Option<Send> {
        let record = self.table.servers.get(handle)?;
        let len = self.table.store.copy(record.stored.as_ref()?, out);
        Some(Send { what: What::ResponseAgain, place: record.place, len, request: None })
    }

    /// Answers 100, which is made of the request that was sent on.
    fn trying(&mut self, handle: Handle, out: &mut [u8]) -> Option<Send> {
        let client = self.table.servers.get(handle)?.client?;
        let len = self.own_answer(client, Own::Trying, &[], out)?;
        self.answered_by_us(handle, What::Trying, &out[..len])
    }

    /// Keeps an answer of our own to be sent again; it is sent now.
    fn answered_by_us(&mut self, server: Handle, what: What, bytes: &[u8]) -> Option<Send> {
        let record = self.table.servers.get_mut(server)?;
        let (old, place) = (record.stored.take(), record.place);
        self.table.forget(old);
        let stored = self.table.store.put(bytes);
        self.table.servers.get_mut(server)?.stored = stored;
        Some(Send { what, place, len: bytes.len(), request: None })
    }

    /// Writes an answer of our own to the request that a client transaction keeps.
    fn own_answer(&mut self, client: Handle, own: Own, to_tag: &[u8], out: &mut [u8]) -> Option<usize> {
        let stored = self.table.clients.get(client)?.stored.as_ref()?;
        let Work { kept, lines, .. } = &mut self.work;
        let len = self.table.store.copy(stored, kept);
        own::write(&read(&kept[..len], lines)?, own, to_tag, out)
    }

    fn client_due(&mut self, handle: Handle, now: Now, to_tag: ToTag<'_>, out: &mut [u8]) -> Option<Send> {
        let record = self.table.clients.get_mut(handle)?;
        let pending = record.pending.take();
        let due = if pending.is_some() { ClientDue::Nothing } else { record.machine.on_timer(now) };
        self.table.arm_client(handle);
        match (pending, due) {
            (Some(ClientPending::Ack), _) => self.request(handle, What::Ack, out),
            (Some(ClientPending::Cancel), _) => self.cancel(handle, now, out),
            (Some(ClientPending::Fail), _) => {
                self.give_up(handle, Own::Failed, Cause::Failed, now, to_tag, out)
            }
            (None, ClientDue::SendAgain(timer)) => {
                self.table.fired(timer);
                self.request(handle, What::RequestAgain, out)
            }
            (None, ClientDue::Cancel) => {
                self.table.fired(Timer::C);
                self.cancel(handle, now, out)
            }
            (None, ClientDue::TimedOut(timer)) => {
                self.table.fired(timer);
                self.give_up(handle, Own::TimedOut, Cause::TimedOut, now, to_tag, out)
            }
            (None, ClientDue::End(timer)) => {
                self.table.fired(timer);
                self.table.close_client(handle, Cause::Answered);
                None
            }
            (None, ClientDue::Nothing) => None,
        }
    }

    fn request(&self, handle: Handle, what: What, out: &mut [u8]) -> Option<Send> {
        let record = self.table.clients.get(handle)?;
        let len = self.table.store.copy(record.stored.as_ref()?, out);
        Some(Send { what, place: record.place, len, request: Some(handle) })
    }

    /// Sends a CANCEL, which is a client transaction of its own: "The destination address, port, and transport
    /// for the CANCEL MUST be identical to those used to send the original request." (§9.1)
    fn cancel(&mut self, invite: Handle, now: Now, out: &mut [u8]) -> Option<Send> {
        let record = self.table.clients.get(invite)?;
        let (branch, place) = (record.branch, record.place);
        let Work { kept, lines, .. } = &mut self.work;
        let len = self.table.store.copy(record.stored.as_ref()?, kept);
        let len = hop::write(&read(&kept[..len], lines)?, Hop::Cancel, out)?;
        let opened = self.table.insert_client(ClientRecord {
            branch,
            method: Method::CANCEL,
            machine: Client::other(now),
            place,
            server: None,
            stored: None,
            pending: None,
        });
        match opened {
            Ok(handle) => {
                let stored = self.table.store.put(&out[..len]);
                if let Some(record) = self.table.clients.get_mut(handle) {
                    record.stored = stored;
                }
                self.table.arm_client(handle);
            }
            // It is sent once.
            Err(full) => self.table.counts.refused[full as usize] += 1,
        }
        Some(Send { what: What::Cancel, place, len, request: opened.ok() })
    }

    /// No answer will come: answers in its place.
    ///
    /// §16.7 step 6: "If there are no final responses in the context, the proxy MUST send a 408 (Request Timeout)
    /// response to the server transaction." RFC 4320 §4.2: "A transaction-stateful SIP element MUST NOT send a
    /// response with Status-Code of 408 to a non-INVITE request. As a consequence, an element that cannot respond
    /// before the transaction expires will not send a final response at all."
    fn give_up(
        &mut self,
        client: Handle,
        own: Own,
        cause: Cause,
        now: Now,
        to_tag: ToTag<'_>,
        out: &mut [u8],
    ) -> Option<Send> {
        let waiting = self.table.clients.get(client)?.server.filter(|&server| {
            let record = self.table.servers.get(server);
            record.is_some_and(|r| !r.machine.is_answered() && (own == Own::Failed || r.machine.is_invite()))
        });
        let send = waiting.and_then(|server| {
            let tag = to_tag(self.table.servers.get(server)?.key);
            let len = self.own_answer(client, own, &tag, out)?;
            let record = self.table.servers.get_mut(server)?;
            record.machine.on_response(own.status(), now);
            record.pending = None;
            let send = self.answered_by_us(server, What::Final, &out[..len]);
            self.table.arm_server(server);
            send
        });
        self.table.close_client(client, cause);
        send
    }
}

/// Reads a kept message: it was written here.
fn read<'m>(bytes: &'m [u8], lines: &'m mut [HeaderLine]) -> Option<Message<'m>> {
    parse(bytes, lines).ok()
}
