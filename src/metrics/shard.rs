//! What one shard counts.

use super::{AdmissionMetrics, Counter, StreamMetrics, Traffic, TransactionMetrics};
use crate::dns::Unresolved;
use crate::drop_reason::DropReason;
use crate::limits::GATEWAYS;
use crate::net::GatewayId;

/// Statuses that a counter exists for: 100 to 699.
const STATUSES: std::ops::Range<u16> = 100..700;

/// The counters of one shard. Begins and ends on cache lines of its own: two lines, because
/// processors fetch them in pairs.
#[derive(Debug)]
#[repr(align(128))]
pub struct ShardMetrics {
    /// Messages in and out.
    pub traffic: Traffic,
    dropped: [Counter; DropReason::ALL.len()],
    answered: Box<[Counter]>,
    /// Pins held now.
    pub pins: Counter,
    /// Messages decided by a pin.
    pub pin_hits: Counter,
    /// Pins pushed out by newer ones before their time.
    pub pin_evictions: Counter,
    /// Transactions in flight that had to change their egress.
    pub egress_moved: Counter,
    /// Messages that waited for the kernel's answer to a question of routing.
    pub parked: Counter,
    /// Messages that wait for it now.
    pub parked_now: Counter,
    /// Messages that waited for a name.
    pub parked_for_names: Counter,
    /// Messages that wait for one now.
    pub parked_for_names_now: Counter,
    /// Requests that a name led to servers.
    pub names_found: Counter,
    /// Of those, by an answer whose time is over and that no server could tell anew.
    pub names_stale: Counter,
    /// Requests that went nowhere because of a name, by [`Unresolved`].
    pub unresolved: [Counter; Unresolved::ALL.len()],
    /// Tokens of our form that did not verify.
    pub bad_tokens: Counter,
    /// Messages that were handed over to the shard that owns their transaction.
    pub handed_over: Counter,
    /// Messages of connections that found no room, and are tried again.
    pub tried_again: Counter,
    /// What transactions of other shards were to be told, and found no room.
    pub not_told: Counter,
    /// Requests to a group of which no gateway was up.
    pub last_resorts: Counter,
    /// By gateway's number.
    selected: Box<[Counter]>,
    /// What was not let in.
    pub admission: AdmissionMetrics,
    /// What transactions count.
    pub transactions: TransactionMetrics,
    /// What connections count.
    pub streams: StreamMetrics,
    /// Batches handled.
    pub batches: Counter,
    /// Time spent on batches, in nanoseconds.
    pub busy_ns: Counter,
    /// The longest batch of the current and the previous window, in nanoseconds.
    pub worst_batch_ns: Counter,
    /// Batches of [`crate::limits::LONG_BATCH_NS`] or longer.
    pub long_batches: Counter,
    /// Time spent on those, in nanoseconds.
    pub long_batches_ns: Counter,
    /// Generation of the snapshot that decides now.
    pub generation: Counter,
    /// How long it took until it had the sockets that it was to have last, in nanoseconds.
    pub sockets_delay_ns: Counter,
    /// Messages whose sends the kernel has not finished.
    pub in_flight: Counter,
    /// Log records lost because the control thread did not keep up.
    pub records_lost: Counter,
    /// What the engine counts.
    pub engine: EngineMetrics,
}

/// What an engine counts, on the shard's thread.
#[derive(Debug, Default)]
pub struct EngineMetrics {
    /// Receive buffers of the pool.
    pub receive_buffers: Counter,
    /// Receive buffers whose message is yet to be handled.
    pub receive_buffers_used: Counter,
    /// Send buffers of the pool.
    pub send_buffers: Counter,
    /// Send buffers in use now.
    pub send_buffers_used: Counter,
    /// Entries of the completion ring.
    pub ring_entries: Counter,
    /// Entries of the completion ring that were ready at the last look.
    pub ring_used: Counter,
    /// Times the completion ring overflowed.
    pub ring_overflows: Counter,
    /// Times a receive ended because all buffers were in use, not only those that the kernel had.
    pub receive_starved: Counter,
    /// Times a receive was started again.
    pub receive_restarts: Counter,
    /// Waits in which messages were collected, so that one wake-up served several.
    pub coalesced_waits: Counter,
    /// Waits that ended before the shard slept.
    pub spun_waits: Counter,
    /// Times a connection could not be accepted, because it was gone or there was no room for another file.
    pub accepts_failed: Counter,
}

impl Default for ShardMetrics {
    fn default() -> Self {
        Self {
            traffic: Traffic::default(),
            dropped: std::array::from_fn(|_| Counter::default()),
            answered: STATUSES.map(|_| Counter::default()).collect(),
            pins: Counter::default(),
            pin_hits: Counter::default(),
            pin_evictions: Counter::default(),
            egress_moved: Counter::default(),
            parked: Counter::default(),
            parked_now: Counter::default(),
            parked_for_names: Counter::default(),
            parked_for_names_now: Counter::default(),
            names_found: Counter::default(),
            names_stale: Counter::default(),
            unresolved: Default::default(),
            bad_tokens: Counter::default(),
            handed_over: Counter::default(),
            tried_again: Counter::default(),
            not_told: Counter::default(),
            last_resorts: Counter::default(),
            selected: (0..GATEWAYS).map(|_| Counter::default()).collect(),
            admission: AdmissionMetrics::default(),
            transactions: TransactionMetrics::default(),
            streams: StreamMetrics::default(),
            batches: Counter::default(),
            busy_ns: Counter::default(),
            worst_batch_ns: Counter::default(),
            long_batches: Counter::default(),
            long_batches_ns: Counter::default(),
            generation: Counter::default(),
            sockets_delay_ns: Counter::default(),
            in_flight: Counter::default(),
            records_lost: Counter::default(),
            engine: EngineMetrics::default(),
        }
    }
}

impl ShardMetrics {
    /// Counts a message that goes no further.
    #[inline]
    pub fn dropped(&self, reason: DropReason) {
        self.dropped[reason as usize].count();
    }

    /// Counts an answer of our own.
    #[inline]
    pub fn answered(&self, status: u16) {
        let index = status.clamp(STATUSES.start, STATUSES.end - 1) - STATUSES.start;
        if let Some(counter) = self.answered.get(usize::from(index)) {
            counter.count();
        }
    }

    /// Where requests to a gateway are counted.
    #[inline]
    pub fn selected(&self, gateway: GatewayId) -> Option<&Counter> {
        self.selected.get(usize::from(gateway.0))
    }

    /// How many messages went no further for this reason.
    pub fn dropped_count(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize].get()
    }

    /// The statuses that were answered, and how often.
    pub fn answers(&self) -> impl Iterator<Item = (u16, u64)> + '_ {
        STATUSES.zip(&self.answered).map(|(status, c)| (status, c.get())).filter(|(_, n)| *n > 0)
    }
}
