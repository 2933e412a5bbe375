//! The memory of one shard's transactions: records, what finds them, their timers and the kept messages.

use std::net::SocketAddr;

use super::client::Client;
use super::counts::{Cause, Counts, Full, Kind};
use super::events::SendFailure;
use super::reasons::Reasons;
use super::search::Search;
use super::server::Server;
use super::slab::{Handle, INDEX_BYTES, Index, Slab};
use super::store::{Store, Stored};
use super::timers::Timer;
use super::wheel::{NODE_BYTES, Wheel};
use crate::limits;
use crate::net::{GatewayId, Now};
use crate::stream::{Holds, Number};

/// Bytes that a transaction takes besides its kept messages: a server and a client record, with their places in
/// the index and the wheel.
pub const TRANSACTION_BYTES: usize =
    Slab::<ServerRecord>::ENTRY_BYTES + Slab::<ClientRecord>::ENTRY_BYTES + 2 * (INDEX_BYTES + NODE_BYTES);

/// Bytes that a request with several next hops takes besides until it is answered.
pub const SEARCH_BYTES: usize = Slab::<Search>::ENTRY_BYTES;

/// How much of everything there is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Server transactions; of client transactions there are a quarter more, for CANCELs and for the further branches
    /// of requests with several next hops, of which a quarter may be unanswered at a time.
    pub transactions: usize,
    /// Blocks of kept messages.
    pub blocks: usize,
}

impl Size {
    /// A shard's.
    pub const SHARD: Self = Self { transactions: limits::TRANSACTIONS, blocks: limits::TRANSACTION_BLOCKS };

    const fn clients(self) -> usize {
        self.transactions + self.searches()
    }

    const fn searches(self) -> usize {
        self.transactions.div_ceil(4)
    }
}

/// An address of ours and one of theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Identity of the listener that is sent from: a reload may renumber listeners.
    pub listener: u32,
    /// Where to.
    pub address: SocketAddr,
    /// By which stream, while that is there; whether there is one says whether the transport is reliable.
    pub stream: Number,
}

impl Place {
    /// It leads to this address, whatever link is said.
    pub(super) fn is_to(&self, address: SocketAddr) -> bool {
        (self.address.ip(), self.address.port()) == (address.ip(), address.port())
    }
}

/// What a method is in the matching of transactions: a hash of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Method(u64);

impl Method {
    pub const INVITE: Self = Self::of(b"INVITE");
    pub const CANCEL: Self = Self::of(b"CANCEL");

    /// FNV-1a. Who makes two names collide confuses transactions of one branch, which is his own.
    pub const fn of(name: &[u8]) -> Self {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut at = 0;
        while at < name.len() {
            hash = (hash ^ name[at] as u64).wrapping_mul(0x0000_0100_0000_01b3);
            at += 1;
        }
        Self(hash)
    }
}

/// What is to be done for a server transaction at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServerPending {
    Trying,
    ResponseAgain,
}

/// What is to be done for a client transaction at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientPending {
    Ack,
    Cancel,
    /// It could not be sent.
    Fail(SendFailure),
}

pub(super) struct ServerRecord {
    /// [`crate::token::TransactionKey`], whole.
    pub key: u128,
    pub method: Method,
    pub machine: Server,
    pub place: Place,
    /// The client transaction that its answer comes from; of several the first.
    pub client: Option<Handle>,
    /// Where there are several next hops, until it is answered.
    pub search: Option<Handle>,
    /// The answer that was sent last.
    pub stored: Option<Stored>,
    pub pending: Option<ServerPending>,
}

/// An `Option<GatewayId>` of two bytes instead of four.
#[derive(Clone, Copy)]
pub(super) struct OfGroup(u16);

impl From<Option<GatewayId>> for OfGroup {
    fn from(gateway: Option<GatewayId>) -> Self {
        Self(gateway.map_or(u16::MAX, |gateway| gateway.0))
    }
}

impl OfGroup {
    pub fn gateway(self) -> Option<GatewayId> {
        (self.0 != u16::MAX).then_some(GatewayId(self.0))
    }
}

const _: () = assert!(limits::GATEWAYS < u16::MAX as usize);

pub(super) struct ClientRecord {
    /// What the branch names it by.
    pub branch: u64,
    /// The gateway of a group that it goes to.
    pub gateway: OfGroup,
    pub method: Method,
    pub machine: Client,
    pub place: Place,
    /// The server transaction that waits for it; none: a CANCEL of our own.
    pub server: Option<Handle>,
    /// The request, or the ACK to its answer.
    pub stored: Option<Stored>,
    pub pending: Option<ClientPending>,
}

/// One side's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Server(Handle),
    Client(Handle),
}

pub(super) struct Table {
    pub servers: Slab<ServerRecord>,
    pub clients: Slab<ClientRecord>,
    pub searches: Slab<Search>,
    pub store: Store,
    pub reasons: Reasons,
    pub counts: Counts,
    /// What says which names of servers are needed.
    pub names: Holds,
    by_key: Index,
    by_branch: Index,
    /// Servers first, then clients.
    wheel: Wheel,
    first_client: u32,
}

impl Table {
    pub fn new(size: Size) -> Self {
        Self {
            servers: Slab::new(size.transactions),
            clients: Slab::new(size.clients()),
            searches: Slab::new(size.searches()),
            store: Store::new(size.blocks),
            reasons: Reasons::new(limits::CANCEL_REASONS.min(size.transactions)),
            counts: Counts::default(),
            names: Holds::default(),
            by_key: Index::new(size.transactions),
            by_branch: Index::new(size.clients()),
            wheel: Wheel::new(size.transactions + size.clients()),
            first_client: size.transactions as u32,
        }
    }

    /// The server transaction of this key that `is_it`.
    pub fn server(&self, key: u128, is_it: impl Fn(&ServerRecord) -> bool) -> Option<Handle> {
        let record = |place| self.servers.at(place).and_then(|handle| self.servers.get(handle));
        let place =
            self.by_key.find(key as u64, |place| record(place).is_some_and(|r| r.key == key && is_it(r)))?;
        self.servers.at(place)
    }

    /// "A response matches a client transaction […] If the response has the same value of the branch parameter in
    /// the top Via header field as the branch parameter in the top Via header field of the request that created
    /// the transaction" and "If the method parameter in the CSeq header field matches the method of the request
    /// that created the transaction. The method is needed since a CANCEL request constitutes a different
    /// transaction, but shares the same value of the branch parameter." (§17.1.3)
    pub fn client(&self, branch: u64, method: Method) -> Option<Handle> {
        let record = |place| self.clients.at(place).and_then(|handle| self.clients.get(handle));
        let is_it = |r: &ClientRecord| r.branch == branch && r.method == method;
        let place = self.by_branch.find(branch, |place| record(place).is_some_and(is_it))?;
        self.clients.at(place)
    }

    pub fn insert_server(&mut self, record: ServerRecord) -> Result<Handle, Full> {
        let (key, kind) = (record.key, server_kind(&record.machine));
        let handle = self.servers.insert(record).ok_or(Full::Transactions)?;
        self.by_key.insert(key as u64, handle.place());
        self.counts.open[kind as usize] += 1;
        Ok(handle)
    }

    pub fn insert_client(&mut self, record: ClientRecord) -> Result<Handle, Full> {
        let (branch, kind, stream) = (record.branch, client_kind(&record.machine), record.place.stream);
        let handle = self.clients.insert(record).ok_or(Full::Transactions)?;
        self.names.hold(stream);
        self.by_branch.insert(branch, handle.place());
        self.counts.open[kind as usize] += 1;
        Ok(handle)
    }

    pub fn close_server(&mut self, handle: Handle, cause: Cause) {
        let Some(record) = self.servers.remove(handle) else { return };
        self.by_key.remove(record.key as u64, handle.place());
        self.wheel.cancel(handle.place());
        self.forget(record.stored);
        self.close_search(record.search);
        if !self.reasons.is_empty() {
            self.forget_reasons(handle);
        }
        self.counts.open[server_kind(&record.machine) as usize] -= 1;
        self.counts.ended[cause as usize] += 1;
    }

    /// Begins the search of a server transaction; without room for it nothing of it is kept.
    pub fn open_search(&mut self, server: Handle, search: Search) {
        let Some(record) = self.servers.get_mut(server) else { return };
        record.search = self.searches.insert(search);
        let search = record.search.and_then(|handle| self.searches.get(handle));
        search.into_iter().flat_map(Search::streams).for_each(|stream| self.names.hold(stream));
    }

    /// Ends a search, and gives back what was kept for it.
    pub fn close_search(&mut self, search: Option<Handle>) {
        let Some(search) = search.and_then(|handle| self.searches.remove(handle)) else { return };
        search.streams().for_each(|stream| self.names.release(stream));
        for stored in search.into_stored() {
            self.store.free(stored);
        }
    }

    /// The search of a server transaction that was not answered yet.
    pub fn search(&mut self, server: Handle) -> Option<&mut Search> {
        let handle = self.servers.get(server)?.search?;
        self.searches.get_mut(handle)
    }

    /// Ends a client transaction, and the server transaction that still waits for it alone.
    pub fn close_client(&mut self, handle: Handle, cause: Cause) {
        let Some(record) = self.clients.remove(handle) else { return };
        self.by_branch.remove(record.branch, handle.place());
        self.names.release(record.place.stream);
        self.wheel.cancel(self.first_client + handle.place());
        self.forget(record.stored);
        self.counts.open[client_kind(&record.machine) as usize] -= 1;
        self.counts.ended[cause as usize] += 1;
        if let Some(server) = record.server
            && self.servers.get(server).is_some_and(|s| !s.machine.is_answered() && s.search.is_none())
        {
            self.close_server(server, cause);
        }
    }

    /// Keeps the lines that say why a server transaction's request is cancelled, unless they would take the room of messages.
    pub fn keep_reasons(&mut self, server: Handle, lines: &[u8]) {
        if self.reasons.is_full() || !self.store.has_room_for_new(lines.len()) {
            return;
        }
        let replaced = self.store.put(lines).and_then(|stored| self.reasons.put(server, stored));
        self.forget(replaced);
    }

    #[cold]
    fn forget_reasons(&mut self, server: Handle) {
        let reasons = self.reasons.take(server);
        self.forget(reasons);
    }

    /// Gives a kept message back.
    pub fn forget(&mut self, stored: Option<Stored>) {
        if let Some(stored) = stored {
            self.store.free(stored);
        }
    }

    /// Sets the timer of a server transaction as its record asks for it.
    pub fn arm_server(&mut self, handle: Handle) {
        let Some(record) = self.servers.get(handle) else { return };
        let search = record.search.and_then(|search| self.searches.get(search));
        let is_due = record.pending.is_some() || search.is_some_and(Search::is_due);
        let at = if is_due { Some(Now(0)) } else { record.machine.deadline() };
        match at {
            Some(at) => self.wheel.set(handle.place(), at),
            None => self.wheel.cancel(handle.place()),
        }
    }

    /// Sets the timer of a client transaction as its record asks for it.
    pub fn arm_client(&mut self, handle: Handle) {
        let Some(record) = self.clients.get(handle) else { return };
        let at = if record.pending.is_some() { Now(0) } else { record.machine.deadline() };
        self.wheel.set(self.first_client + handle.place(), at);
    }

    /// A record whose time has come.
    pub fn due(&mut self, now: Now) -> Option<Side> {
        let node = self.wheel.pop(now)?;
        match node.checked_sub(self.first_client) {
            None => self.servers.at(node).map(Side::Server),
            Some(place) => self.clients.at(place).map(Side::Client),
        }
    }

    pub fn is_due(&self, now: Now) -> bool {
        self.wheel.is_due(now)
    }

    pub fn deadline(&self) -> Option<Now> {
        self.wheel.deadline()
    }

    /// Time has passed: timers are set from here on.
    pub fn advance(&mut self, now: Now) {
        self.wheel.advance(now);
    }

    pub fn fired(&mut self, timer: Timer) {
        self.counts.timers[timer as usize] += 1;
    }
}

const fn server_kind(machine: &Server) -> Kind {
    if machine.is_invite() { Kind::ServerInvite } else { Kind::ServerOther }
}

const fn client_kind(machine: &Client) -> Kind {
    if machine.is_invite() { Kind::ClientInvite } else { Kind::ClientOther }
}
