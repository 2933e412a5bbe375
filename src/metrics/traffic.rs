//! Messages by listener, class, direction and egress reason.

use std::sync::OnceLock;

use super::{Class, Counter};
use crate::egress::Reason;
use crate::limits;

const CLASSES: usize = Class::ALL.len();
const REASONS: usize = Reason::ALL.len();

/// A listener's place in the traffic tables. The control thread gives one to each listener name and
/// keeps it for the life of the process, so that a reload does not reset what is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SeriesId(pub u16);

impl SeriesId {
    /// What listeners share that come after [`limits::LISTENERS`] other names in one process's life.
    pub const OTHER: Self = Self(limits::LISTENERS as u16);
}

/// The traffic table of one shard, and the connections of each listener. A row takes memory from the moment its listener first exists.
#[derive(Debug)]
pub struct Traffic {
    rows: Box<[OnceLock<Box<Row>>]>,
}

/// One listener's counters.
#[derive(Debug)]
struct Row {
    received: [Counter; CLASSES],
    sent: [[Counter; REASONS]; CLASSES],
    connections: Counter,
}

impl Row {
    fn new() -> Self {
        Self {
            received: std::array::from_fn(|_| Counter::default()),
            sent: std::array::from_fn(|_| std::array::from_fn(|_| Counter::default())),
            connections: Counter::default(),
        }
    }
}

impl Default for Traffic {
    fn default() -> Self {
        let this = Self { rows: (0..=limits::LISTENERS).map(|_| OnceLock::new()).collect() };
        this.open(SeriesId::OTHER);
        this
    }
}

impl Traffic {
    /// Makes the row of a listener; by the control thread, before a shard hears of the listener.
    pub fn open(&self, series: SeriesId) {
        if let Some(row) = self.rows.get(usize::from(series.0)) {
            row.get_or_init(|| Box::new(Row::new()));
        }
    }

    /// Counts a message that came in.
    #[inline]
    pub fn received(&self, series: SeriesId, class: Class) {
        if let Some(row) = self.row(series) {
            row.received[class as usize].count();
        }
    }

    /// Counts a message that went out.
    #[inline]
    pub fn sent(&self, series: SeriesId, class: Class, reason: Reason) {
        if let Some(row) = self.row(series) {
            row.sent[class as usize][reason.index()].count();
        }
    }

    /// How many messages of this class came in on this listener.
    pub fn received_count(&self, series: SeriesId, class: Class) -> u64 {
        self.row(series).map_or(0, |row| row.received[class as usize].get())
    }

    /// How many messages of this class left from this listener for this reason.
    pub fn sent_count(&self, series: SeriesId, class: Class, reason: Reason) -> u64 {
        self.row(series).map_or(0, |row| row.sent[class as usize][reason.index()].get())
    }

    /// A connection of this listener is there.
    pub fn connected(&self, series: SeriesId) {
        if let Some(row) = self.row(series) {
            row.connections.add(1);
        }
    }

    /// It is there no more.
    pub fn disconnected(&self, series: SeriesId) {
        if let Some(row) = self.row(series) {
            row.connections.set(row.connections.get().saturating_sub(1));
        }
    }

    /// How many connections this listener has now.
    pub fn connections(&self, series: SeriesId) -> u64 {
        self.row(series).map_or(0, |row| row.connections.get())
    }

    #[inline]
    fn row(&self, series: SeriesId) -> Option<&Row> {
        self.rows.get(usize::from(series.0))?.get().map(Box::as_ref)
    }
}
