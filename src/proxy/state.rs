//! What one shard keeps between messages.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use memchr::memmem::Finder;
use sip_parser::{HeaderLine, parse};

use crate::dns::{Question, Unresolved};
use crate::egress::{NoEgress, PINNED_NS, Pins, Recent};
use crate::limits::{HEADER_LINES, MESSAGE_BYTES, PINS, SHARDS, USER_BYTES};
use crate::net::{ListenerId, NextHop, Now};
use crate::overload::{Kept, Throttles};
use crate::rewrite::Edits;
use crate::rules::Scratch;
use crate::snapshot::Snapshot;
use crate::stream::{NameId, Names, Number, peer_mark};
use crate::tls::PeerName;
use crate::token::TransactionSecret;
use crate::transaction::{Counts, Size, Transactions};

use super::admit::{Admission, Came};
use super::answer::Asker;
use super::candidates::{Candidate, Candidates};
use super::forward::New;
use super::loops;
use super::names::Named;
use super::outcome::{Considered, Incoming, NameCounts, Tally};
use super::reply::Reply;
use super::shed;
use super::target::Asked;
use super::tops::Tops;

/// What one shard keeps between messages: recent decisions, transactions and working memory. All memory is taken
/// when it is made; that of transactions when a rule first asks for them.
pub struct State {
    /// Index of the message that is being handled.
    pub(super) lines: Box<[HeaderLine]>,
    pub(super) recent: Recent,
    /// Room for what was kept of a request, of which that to another next hop is made.
    pub(super) kept: Box<[u8]>,
    /// Next hops of the message that is being handled.
    pub(super) candidates: Candidates,
    /// What egress was asked about it.
    pub(super) asked: Asked,
    /// The Request-URI that a rule's `set` makes.
    pub(super) rewritten: Box<[u8]>,
    /// The names of servers over TLS.
    pub(super) servers: Names,
    /// What next hops ask to be spared: of all shards.
    pub(super) throttles: Arc<Throttles>,
    pub(super) work: Work,
    /// What transactions there is room for; none: they are not kept.
    room: Option<Size>,
}

/// All of [`State`] but the index, which the message borrows, and recent choices, which the search does.
pub(super) struct Work {
    /// How many shards there are: a branch names one of them as its transaction's owner.
    pub shards: u16,
    /// Which of them this is.
    pub number: u16,
    /// Those that have ended, by number: what they would own, whoever receives it keeps.
    pub gone: Box<[bool]>,
    /// None until some rule is stateful, or some listener takes streams; from then on they stay, whatever the rules become.
    pub transactions: Option<Box<Transactions>>,
    /// Some rule is or was stateful, or some listener over TLS or WebSocket: each request belongs to the shard that its Call-ID names.
    pub hands_over: bool,
    /// Tells this process from others: [`peer_mark`]. `None`: it has no connections of its own, and takes those that are
    /// named for real.
    pub nonce: Option<u64>,
    pub secret: TransactionSecret,
    pub pins: Pins,
    /// Rules read From or To: pins are bound to these.
    reads_parties: bool,
    /// Until then there may be pins from before the rules changed in that.
    pub bound_otherwise_until: Now,
    pub scratch: Scratch,
    pub edits: Edits<New>,
    pub tops: Tops,
    pub admission: Admission,
    /// See [`loops::finder`].
    pub marks: Finder<'static>,
    /// User parts as rules see them: of Request-URI, From and To.
    pub users: [Box<[u8]>; 3],
    pub considered: Considered,
    /// What is handled now was handled before, has waited since, and was counted.
    pub again: bool,
    /// It cannot wait for names any more.
    pub in_haste: bool,
    /// The last name of the request that leads nowhere, perhaps only for now; and why.
    pub nowhere: Option<(Question, Unresolved)>,
    pub counted: Counted,
}

/// What is counted message by message.
#[derive(Default)]
pub(super) struct Counted {
    pub pin_hits: u64,
    pub egress_moved: u64,
    pub bad_tokens: u64,
    pub last_resorts: u64,
    /// Next hops that a request was not sent to because they had asked to be sent less.
    pub spared: u64,
    /// Answers in which a next hop asked for that.
    pub pleas: u64,
    pub names: NameCounts,
}

impl Work {
    /// What a branch says of the stream's peer.
    pub fn mark_of(&self, peer: SocketAddr, stream: Number) -> u16 {
        self.nonce.filter(|_| stream.is_stream()).map_or(0, |nonce| peer_mark(nonce, peer))
    }

    /// Keeps what became of a request's names.
    pub fn note_names(&mut self, named: &Named) {
        self.counted.names.found += named.counts.found;
        self.counted.names.stale += named.counts.stale;
        if named.nowhere.is_some() {
            self.nowhere = named.nowhere;
        }
    }
}

impl State {
    /// State for shard `number` of `shards`. The secret under which transactions are hashed is taken from
    /// the snapshot's keys and kept, so that a change of keys moves nothing that is in flight.
    pub fn new(number: u16, shards: usize, snapshot: &Snapshot) -> Self {
        Self::with_pins(shards, snapshot, PINS).keeping(number, Size::SHARD, snapshot)
    }

    /// As shard `number`, which keeps transactions where a rule is stateful.
    #[must_use]
    pub fn keeping(mut self, number: u16, room: Size, snapshot: &Snapshot) -> Self {
        (self.work.number, self.room) = (number, Some(room));
        self.begin_to_keep(snapshot);
        self
    }

    /// In the process with this nonce, which all shards have alike.
    #[must_use]
    pub fn of_process(mut self, nonce: u64) -> Self {
        self.work.nonce = Some(nonce);
        self
    }

    /// Beside other shards, which hear the answers of next hops, too.
    #[must_use]
    pub fn beside(mut self, throttles: Arc<Throttles>) -> Self {
        self.throttles = throttles;
        self
    }

    /// As [`State::new`], with a table of recent decisions of another size and without transactions: for `explain`
    /// and tests, which need few.
    pub fn with_pins(shards: usize, snapshot: &Snapshot, pins: usize) -> Self {
        let work = Work {
            shards: shards.clamp(1, SHARDS) as u16,
            number: 0,
            gone: vec![false; shards].into(),
            transactions: None,
            hands_over: false,
            nonce: None,
            secret: snapshot.keys.transaction_secret(),
            pins: Pins::new(pins),
            reads_parties: snapshot.plan.matcher.reads_parties(),
            bound_otherwise_until: Now::default(),
            scratch: scratch(snapshot),
            edits: Edits::new(),
            tops: Tops::new(),
            admission: Admission::new(
                &snapshot.plan.overload,
                shards.clamp(1, SHARDS) as u16,
                since_1970_s(),
            ),
            marks: loops::finder(),
            users: std::array::from_fn(|_| vec![0; USER_BYTES].into()),
            considered: Considered::default(),
            again: false,
            in_haste: false,
            nowhere: None,
            counted: Counted::default(),
        };
        Self {
            lines: vec![HeaderLine::EMPTY; HEADER_LINES].into(),
            recent: Recent::new(),
            kept: vec![0; MESSAGE_BYTES].into(),
            candidates: Candidates::new(),
            asked: Asked::NOTHING,
            rewritten: vec![0; MESSAGE_BYTES].into(),
            servers: Names::default(),
            throttles: Arc::default(),
            work,
            room: None,
        }
    }

    /// Fits the state to a snapshot with another Plan, which may renumber listeners and rules: pins
    /// stay (RFC 3261 §16.11), working memory is made anew. Called between batches.
    pub fn adopt(&mut self, snapshot: &Snapshot, now: Now) {
        let reads_parties = snapshot.plan.matcher.reads_parties();
        if self.work.reads_parties != reads_parties {
            self.work.reads_parties = reads_parties;
            self.work.bound_otherwise_until = now.plus_ns(PINNED_NS);
        }
        self.work.scratch = scratch(snapshot);
        self.work.admission.adopt(&snapshot.plan.overload, self.work.shards);
        self.recent.clear();
        self.work.tops.clear();
        self.servers.reconfigured();
        self.begin_to_keep(snapshot);
    }

    fn begin_to_keep(&mut self, snapshot: &Snapshot) {
        self.work.hands_over |= snapshot.plan.keeps_all();
        let Some(room) = self.room.filter(|_| self.work.transactions.is_none()) else { return };
        if snapshot.plan.is_stateful() || snapshot.plan.has_streams() {
            self.work.transactions = Some(Box::new(Transactions::new(room).naming(self.servers.holds())));
        }
    }

    /// The name of a server over TLS by its number; `None`: it had to make room for others, or is nobody.
    pub fn name_of(&self, id: NameId) -> Option<Arc<PeerName>> {
        self.servers.get(id).cloned()
    }

    /// Shards of its process.
    pub fn shards(&self) -> usize {
        self.work.shards.into()
    }

    /// Another shard has ended.
    pub fn shard_gone(&mut self, shard: u16) {
        if let Some(gone) = self.work.gone.get_mut(usize::from(shard)) {
            *gone = true;
        }
    }

    /// The message that is handled next came in there, and has waited so long since, in nanoseconds, if that is known.
    #[inline]
    pub fn waited(&mut self, on: ListenerId, ns: Option<u64>, came: Came, now: Now) {
        self.work.admission.begin(on, ns, came, now);
    }

    /// The message of which [`State::waited`] was told has to go at a glance: it has waited too long, and there are more such
    /// than can be answered.
    #[inline]
    pub fn sheds(&mut self, snapshot: &Snapshot, message: &[u8], now: Now) -> bool {
        let admission = &mut self.work.admission;
        !admission.is_in
            && admission.waits.here().is_overloaded()
            && shed::sheds(admission, &snapshot.plan.overload, snapshot.ours.written(), message, now)
    }

    /// Which listeners are to keep another part of what a filter at their sockets may drop, from now on.
    pub fn look(&mut self, now: Now, change: &mut dyn FnMut(ListenerId, Kept)) {
        self.work.admission.look(now, change);
    }

    /// No filter could be had there, whatever was wanted.
    pub fn keeps_all(&mut self, on: ListenerId) {
        self.work.admission.keeps_all(on);
    }

    /// There is no filter any more, and listeners may have other numbers.
    pub fn unfilter(&mut self) {
        self.work.admission.unfilter();
    }

    /// When [`State::look`] has something to do.
    #[inline]
    pub fn look_at(&self) -> Option<Now> {
        self.work.admission.shares.look_at()
    }

    /// What has been counted since the start.
    pub fn tally(&self, now: Now) -> Tally {
        Tally {
            pins: self.work.pins.len() as u64,
            pin_hits: self.work.counted.pin_hits,
            pin_evictions: self.work.pins.evicted(),
            egress_moved: self.work.counted.egress_moved,
            bad_tokens: self.work.counted.bad_tokens,
            last_resorts: self.work.counted.last_resorts,
            refused: self.work.admission.refused(),
            overloaded: self.work.admission.is_overloaded(now),
            spared: self.work.counted.spared,
            pleas: self.work.counted.pleas,
            throttled: !self.throttles.is_quiet(now),
            sources_forgotten: self.work.admission.evicted(),
            names: self.work.counted.names,
            transactions: self.work.transactions.as_ref().map_or_else(Counts::default, |t| t.counts()),
        }
    }

    /// What the message that was handled last led to on its way, besides its [`super::Outcome`].
    pub fn considered(&self) -> Considered {
        let Asked { question, is_asked } = self.asked;
        Considered { question: is_asked.then_some(question), ..self.work.considered }
    }

    /// Where the request that was handled last may go, in order; none where an earlier decision or an answer of ours
    /// left nothing to choose.
    pub fn candidates(&self) -> &[Candidate] {
        self.candidates.as_slice()
    }

    /// What is handled from now on comes `again`: it has waited for the kernel or for a name. `in_haste`: it cannot wait
    /// for a name that nobody has asked for yet, nor for the kernel, but goes elsewhere or is answered.
    pub fn comes(&mut self, again: bool, in_haste: bool) {
        (self.work.again, self.work.in_haste) = (again, in_haste);
    }

    /// A name of the request that was handled last that leads nowhere, perhaps only for now; and why.
    pub fn nowhere(&self) -> Option<&(Question, Unresolved)> {
        self.work.nowhere.as_ref()
    }

    /// Stands for the transaction of the request that was handled last, where that was decided about: an INVITE and its CANCEL
    /// have the same.
    pub fn transaction(&self) -> u64 {
        self.asked.question.flow
    }

    /// The same of a request that is not handled yet, sound or not; `None`: it is no message.
    #[cold]
    pub fn transaction_of(&mut self, incoming: &Incoming<'_>) -> Option<u64> {
        let Self { lines, work, .. } = self;
        let message = parse(incoming.bytes, lines).ok()?;
        Some(Asker::of(&message, incoming).transaction(work).low())
    }

    /// Why the message that was handled last found no egress, if that was so: for the log.
    pub fn take_no_egress(&mut self) -> Option<(NextHop, NoEgress)> {
        match self.work.considered.reply {
            Some(Reply::NoEgress(next_hop, why)) => {
                self.work.considered.reply = None;
                Some((next_hop, why))
            }
            _ => None,
        }
    }
}

/// Working memory for the rules of a Plan.
fn scratch(snapshot: &Snapshot) -> Scratch {
    let mut scratch = snapshot.plan.matcher.scratch();
    scratch.prepare(&snapshot.plan.rules);
    scratch
}

/// Sequence numbers that others remember have to grow over restarts.
fn since_1970_s() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
