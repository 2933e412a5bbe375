//! What the control thread knows of names.

use std::time::Duration;

use crate::dns::{Answer, Counts, Kind};

/// What came of a query to a name server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// Records.
    Records,
    /// That there are none.
    Nothing,
    /// Nothing in time, or that it cannot tell.
    Failed,
}

impl Said {
    /// All of them; `ALL[i] as usize == i`.
    pub const ALL: [Self; 3] = [Self::Records, Self::Nothing, Self::Failed];

    /// The metric's label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::Nothing => "nothing",
            Self::Failed => "failed",
        }
    }
}

/// Names and queries.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DnsReadings {
    /// By [`Kind`] and [`Said`].
    pub queries: [[u64; Said::ALL.len()]; Kind::ALL.len()],
    /// How long all of them took together.
    pub took: Duration,
    /// Names that are kept.
    pub kept: Counts,
    /// Names that are being looked up.
    pub under_way: u64,
    /// Names of messages that wait to be looked up.
    pub waiting: u64,
    /// Names that were not looked up because all room was taken.
    pub refused: u64,
}

impl DnsReadings {
    /// Counts a query.
    pub fn count(&mut self, kind: Kind, answer: &Answer, took: Duration) {
        let said = match answer {
            Answer::Records { .. } => Said::Records,
            Answer::Nothing { .. } => Said::Nothing,
            Answer::Failed(_) => Said::Failed,
        };
        self.queries[kind as usize][said as usize] += 1;
        self.took += took;
    }
}
