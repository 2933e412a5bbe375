//! What is due: messages that transactions send by themselves, the next branches of searches, and ends.

use super::answers::status_sent;
use super::client::{Client, ClientDue, ClientState};
use super::context::{Transactions, Work, patience_ns, read};
use super::counts::{Cause, Full, What};
use super::events::{Attempt, Due, Peer, Send, SendFailure, ToTag};
use super::hop::{self, Hop};
use super::own::{self, Fault, Own};
use super::reasons;
use super::search::{Onward, Terms};
use super::server::{ServerDue, ServerState};
use super::slab::Handle;
use super::table::{ClientPending, ClientRecord, Method, Place, ServerPending, ServerRecord, Side, Table};
use super::timers::{SIXTY_FOUR_T1_NS, Timer};
use crate::net::Now;

impl Transactions {
    /// Does what is due until there is a message to send or a branch to begin, the message or the request of which is
    /// then in `out`; `None`: nothing is due any more.
    pub fn next(&mut self, now: Now, to_tag: ToTag<'_>, out: &mut [u8]) -> Option<Due> {
        loop {
            if let Some(peer) = self.silent.take() {
                return Some(Due::Silent(peer));
            }
            let due = match self.table.due(now)? {
                Side::Server(handle) => self.server_due(handle, now, to_tag, out),
                Side::Client(handle) => self.client_due(handle, now, to_tag, out).map(Due::Send),
            };
            if due.is_some() {
                return due;
            }
        }
    }

    /// What [`Transactions::next`] gave is sent: there is a socket for it.
    pub fn sent(&mut self, what: What) {
        self.table.counts.sent[what as usize] += 1;
    }

    fn server_due(&mut self, handle: Handle, now: Now, to_tag: ToTag<'_>, out: &mut [u8]) -> Option<Due> {
        let record = self.table.servers.get_mut(handle)?;
        if record.pending.is_none() && self.table.search(handle).is_some_and(|search| search.is_due()) {
            return self.search_due(handle, now, to_tag, out);
        }
        self.server_sends(handle, now, out).map(Due::Send)
    }

    fn server_sends(&mut self, handle: Handle, now: Now, out: &mut [u8]) -> Option<Send> {
        let record = self.table.servers.get_mut(handle)?;
        let pending = record.pending.take();
        let due = if pending.is_some() { ServerDue::Nothing } else { record.machine.on_timer(now) };
        self.table.arm_server(handle);
        match (pending, due) {
            (Some(ServerPending::Trying), _) => self.trying(handle, out),
            (Some(ServerPending::ResponseAgain), _) => self.response_again(handle, out),
            (None, ServerDue::Trying(timer)) => {
                self.table.fired(timer);
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
        let len = self.own_answer(handle, Own::Trying, &[], out)?;
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

    /// Writes an answer of our own, made of the request that was sent on, or of our 100 to it.
    fn own_answer(&mut self, server: Handle, own: Own, to_tag: &[u8], out: &mut [u8]) -> Option<usize> {
        let Table { servers, clients, searches, store, .. } = &self.table;
        let record = servers.get(server)?;
        let (stored, above) = match record.search.and_then(|search| searches.get(search)) {
            Some(search) => (&search.trying, 0),
            None => (clients.get(record.client?)?.stored.as_ref()?, 1),
        };
        let Work { kept, lines, .. } = &mut self.work;
        let len = store.copy(stored, kept);
        own::write(&read(&kept[..len], lines)?, above, own, to_tag, out)
    }

    fn client_due(&mut self, handle: Handle, now: Now, to_tag: ToTag<'_>, out: &mut [u8]) -> Option<Send> {
        let record = self.table.clients.get_mut(handle)?;
        let pending = record.pending.take();
        let due = if pending.is_some() { ClientDue::Nothing } else { record.machine.on_timer(now) };
        self.table.arm_client(handle);
        match (pending, due) {
            (Some(ClientPending::Ack), _) => self.request(handle, What::Ack, out),
            (Some(ClientPending::Cancel), _) => self.cancel(handle, now, out),
            (Some(ClientPending::Fail(SendFailure::Broken)), _) => {
                self.table.clients.get_mut(handle)?.machine.give_up();
                self.table.arm_client(handle);
                self.lose(handle, Own::Failed(None), now, to_tag, out)
            }
            (Some(ClientPending::Fail(why)), _) => {
                let own = self.failure(handle, why);
                self.give_up(handle, own, Cause::Failed, now, to_tag, out)
            }
            (None, ClientDue::SendAgain(timer)) => {
                self.table.fired(timer);
                self.request(handle, What::RequestAgain, out)
            }
            (None, ClientDue::Cancel) => {
                self.table.fired(Timer::C);
                self.cancel(handle, now, out)
            }
            (None, ClientDue::Abandoned) => {
                self.table.fired(Timer::Patience);
                self.lose(handle, Own::TimedOut, now, to_tag, out)
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
        let Work { kept, made, lines } = &mut self.work;
        let len = self.table.store.copy(record.stored.as_ref()?, kept);
        let reasons = record.server.map_or(0, |server| write_reasons(&self.table, server, made));
        let cancel = Hop::Cancel { reasons: &made[..reasons] };
        let len = hop::write(&read(&kept[..len], lines)?, cancel, out)?;
        let opened = self.table.insert_client(ClientRecord {
            branch,
            gateway: None.into(),
            method: Method::CANCEL,
            machine: Client::new(false, SIXTY_FOUR_T1_NS, now).over(place.stream.is_stream()),
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

    /// What stands for the answer to a request that could not be sent: where it was to leave by a certain connection that
    /// is gone, registrars are to forget it.
    fn failure(&self, client: Handle, why: SendFailure) -> Own {
        let place = self.table.clients.get(client).map(|record| record.place);
        let is_flow = place.is_some_and(|place| place.stream.get().is_some());
        match why {
            SendFailure::Connection(_) | SendFailure::Ended if is_flow => Own::FlowFailed,
            SendFailure::Connection(cause) => Own::Failed(cause.map(Fault::Tls)),
            SendFailure::Refused(errno) => Own::Failed(Some(Fault::Refused(errno))),
            SendFailure::Ended | SendFailure::Broken | SendFailure::Other => Own::Failed(None),
        }
    }

    /// No answer will come, and the branch is over.
    fn give_up(
        &mut self,
        client: Handle,
        own: Own,
        cause: Cause,
        now: Now,
        to_tag: ToTag<'_>,
        out: &mut [u8],
    ) -> Option<Send> {
        let is_abandoned = self.table.clients.get(client)?.machine.is_abandoned();
        let send = match is_abandoned {
            true => self.note_silence(client, own, now).and(None),
            false => self.lose(client, own, now, to_tag, out),
        };
        self.table.close_client(client, cause);
        send
    }

    /// No answer is waited for any more: the next hop is tried, if there is one; else answers in its place.
    ///
    /// §16.7 step 6: "If there are no final responses in the context, the proxy MUST send a 408 (Request Timeout)
    /// response to the server transaction." RFC 4320 §4.2: "A transaction-stateful SIP element MUST NOT send a
    /// response with Status-Code of 408 to a non-INVITE request. As a consequence, an element that cannot respond
    /// before the transaction expires will not send a final response at all." Who has cancelled is told that (§9.2), as by a search.
    fn lose(
        &mut self,
        client: Handle,
        own: Own,
        now: Now,
        to_tag: ToTag<'_>,
        out: &mut [u8],
    ) -> Option<Send> {
        let server = self.table.clients.get(client)?.server;
        let machine = &self.table.clients.get(client)?.machine;
        // One that has left by a connection which broke may have arrived: only what never left is sent by UDP.
        let is_new = machine.state() == ClientState::Calling && !machine.is_abandoned();
        if let Some(server) = server.filter(|_| matches!(own, Own::Failed(_)) && is_new)
            && self.table.search(server).is_some_and(|search| search.falls_back(client))
        {
            // That says nothing of who is there.
            self.table.arm_server(server);
            return None;
        }
        self.note_silence(client, own, now)?;
        let server = server?;
        let record = self.table.servers.get(server).filter(|record| !record.machine.is_answered())?;
        let is_silent = own == Own::TimedOut && !record.machine.is_invite();
        if let Some(search) = self.table.search(server) {
            search.cause = own.cause().or(search.cause);
            let replaced = search.on_loss(Some(client), own.counts_as());
            self.table.forget(replaced);
            self.table.arm_server(server);
            return None;
        }
        // Who says nothing has its 408: "If there are no final responses in the context, the proxy MUST send a 408 (Request
        // Timeout) response to the server transaction" (§16.7 step 6).
        let is_ended = own != Own::TimedOut && self.table.clients.get(client)?.machine.is_unwanted();
        let own = if is_ended { Own::Terminated } else { own };
        if is_silent { None } else { self.answer_by_own(server, own, now, to_tag, out) }
    }

    /// The next hop has said nothing, or could not be sent to: where it is a gateway, that is noted. `None`: there is no
    /// such transaction.
    fn note_silence(&mut self, client: Handle, own: Own, now: Now) -> Option<()> {
        let record = self.table.clients.get_mut(client)?;
        let counts = match own {
            // One connection may break under many requests: that is one thing, and new ones are made.
            Own::Failed(_) | Own::FlowFailed => {
                record.machine.state() == ClientState::Calling && !record.machine.is_abandoned()
            }
            Own::TimedOut | Own::Terminated | Own::Trying => record.machine.tells_silence(now),
        };
        if counts {
            let listener = record.place.listener;
            self.silent = record.gateway.gateway().map(|gateway| Peer { gateway, listener });
        }
        Some(())
    }

    fn answer_by_own(
        &mut self,
        server: Handle,
        own: Own,
        now: Now,
        to_tag: ToTag<'_>,
        out: &mut [u8],
    ) -> Option<Send> {
        let tag = to_tag(self.table.servers.get(server)?.key);
        let len = self.own_answer(server, own, &tag, out)?;
        let record = self.table.servers.get_mut(server)?;
        record.machine.on_response(own.status(), now);
        record.pending = None;
        let search = record.search.take();
        self.table.close_search(search);
        let send = self.answered_by_us(server, What::Final, &out[..len]);
        self.table.arm_server(server);
        send
    }

    /// The next branch is begun, or the best answer sent.
    fn search_due(&mut self, server: Handle, now: Now, to_tag: ToTag<'_>, out: &mut [u8]) -> Option<Due> {
        let is_invite = self.table.servers.get(server)?.machine.is_invite();
        let search = self.table.search(server)?;
        search.stop_by(now);
        if let Some((number, onward)) = search.take() {
            let terms = search.terms;
            self.table.arm_server(server);
            return self.attempt(server, number, onward, terms, out).map(Due::Attempt);
        }
        let cause = search.cause;
        let status = search.best().map_or(Own::Failed(None).counts_as(), |best| best.status);
        if status == 408 && !is_invite {
            return self.end_silently(server, now);
        }
        let send = self
            .best_answer(server, now, out)
            .or_else(|| self.answer_by_own(server, Own::of(status, cause), now, to_tag, out));
        if send.is_none() {
            // Nothing could be written: nobody waits for it any more.
            self.table.close_server(server, Cause::Failed);
        }
        send.map(Due::Send)
    }

    fn attempt(
        &mut self,
        server: Handle,
        number: u8,
        onward: Onward,
        terms: Terms,
        out: &mut [u8],
    ) -> Option<Attempt> {
        let &ServerRecord { key, place: back, .. } = self.table.servers.get(server)?;
        let Table { servers, searches, store, .. } = &self.table;
        let search = searches.get(servers.get(server)?.search?)?;
        let len = store.copy(&search.request, out);
        Some(Attempt { server, number, onward, terms, key, back, len })
    }

    /// A branch is begun with the request in these bytes; what else there is to do is left to a later
    /// [`Transactions::next`]. `None`: there was no room, and the branch counts as one that could not be sent.
    pub fn begin(
        &mut self,
        attempt: &Attempt,
        onward: Place,
        branch: u64,
        bytes: &[u8],
        now: Now,
    ) -> Option<Handle> {
        let begun = self.try_begin(attempt, onward, branch, bytes, now);
        match begun {
            Ok(client) => {
                if let Some(search) = self.table.search(attempt.server) {
                    search.began(attempt.number, client);
                }
                self.table.arm_client(client);
                self.table.arm_server(attempt.server);
            }
            Err(full) => {
                self.table.counts.refused[full as usize] += 1;
                self.cannot_begin(attempt);
            }
        }
        begun.ok()
    }

    fn try_begin(
        &mut self,
        attempt: &Attempt,
        onward: Place,
        branch: u64,
        bytes: &[u8],
        now: Now,
    ) -> Result<Handle, Full> {
        let table = &mut self.table;
        let Some(server) = table.servers.get(attempt.server) else { return Err(Full::Transactions) };
        let (method, is_invite) = (server.method, server.machine.is_invite());
        let has_others = table.search(attempt.server).is_some_and(|search| !search.is_exhausted());
        let patience_ns = patience_ns(is_invite, has_others, attempt.terms.patience_ns);
        if table.clients.is_full() {
            return Err(Full::Transactions);
        }
        let stored = Some(table.store.put(bytes).ok_or(Full::Messages)?);
        table.insert_client(ClientRecord {
            branch,
            gateway: attempt.onward.gateway.into(),
            method,
            machine: Client::new(is_invite, patience_ns, now).over(onward.stream.is_stream()),
            place: onward,
            server: Some(attempt.server),
            stored,
            pending: None,
        })
    }

    /// A branch cannot be begun: nobody can send it.
    pub fn cannot_begin(&mut self, attempt: &Attempt) {
        if let Some(search) = self.table.search(attempt.server) {
            let replaced = search.on_loss(None, Own::Failed(None).counts_as());
            self.table.forget(replaced);
        }
        self.table.arm_server(attempt.server);
    }

    /// The best answer that was received is sent.
    fn best_answer(&mut self, server: Handle, now: Now, out: &mut [u8]) -> Option<Send> {
        let Table { servers, searches, store, .. } = &mut self.table;
        let record = servers.get_mut(server)?;
        let best = searches.get(record.search?)?.best()?;
        let len = store.copy(best.stored.as_ref()?, out);
        let status = status_sent(best.status);
        record.machine.on_response(status, now);
        let search = record.search.take();
        self.table.close_search(search);
        let send = self.answered_by_us(server, What::Best, &out[..len]);
        self.table.arm_server(server);
        send
    }

    /// Nobody has answered in time, and that is not said.
    fn end_silently(&mut self, server: Handle, now: Now) -> Option<Due> {
        let record = self.table.servers.get_mut(server)?;
        record.machine.on_response(408, now);
        let search = record.search.take();
        self.table.close_search(search);
        self.table.arm_server(server);
        None
    }
}

/// Writes header lines that say why a branch of this server transaction is cancelled, if that is known; gives their length.
/// A caller who has cancelled knows it best.
fn write_reasons(table: &Table, server: Handle, out: &mut [u8]) -> usize {
    if let Some(lines) = table.reasons.get(server) {
        return table.store.copy(lines, out);
    }
    let Some(record) = table.servers.get(server) else { return 0 };
    let best = record.search.and_then(|search| table.searches.get(search)?.best());
    match best.map(|best| best.status) {
        _ if record.machine.state() == ServerState::Accepted => reasons::write_answered(200, out),
        Some(status) if status >= 600 => reasons::write_answered(status, out),
        _ => 0,
    }
}
