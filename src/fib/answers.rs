//! The kernel's own answers, where a snapshot has none.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Answer, Query};
use crate::limits;

/// The last answers of the kernel, by question without its flow: at least half of [`limits::KERNEL_ANSWERS`], and never
/// more than all of these.
///
/// Where the younger half is full, the older one is forgotten: whoever asks for ever new destinations costs others a
/// question more, and never an answer for good.
#[derive(Clone, Default)]
pub(super) struct Answers {
    younger: Arc<HashMap<Query, Answer>>,
    older: Arc<HashMap<Query, Answer>>,
}

impl Answers {
    /// What the kernel was found to answer.
    pub fn get(&self, query: &Query) -> Option<Answer> {
        let query = without_flow(query);
        self.younger.get(&query).or_else(|| self.older.get(&query)).copied()
    }

    /// The same with one more.
    pub fn with(&self, query: &Query, answer: Answer) -> Self {
        let full = self.younger.len() >= limits::KERNEL_ANSWERS / 2;
        let (before, older) = if full { (None, &self.younger) } else { (Some(&self.younger), &self.older) };
        let mut younger = before.map(|answers| HashMap::clone(answers)).unwrap_or_default();
        younger.insert(without_flow(query), answer);
        Self { younger: Arc::new(younger), older: Arc::clone(older) }
    }
}

fn without_flow(query: &Query) -> Query {
    Query { flow: 0, ..*query }
}
