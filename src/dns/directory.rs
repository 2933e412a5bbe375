//! What shards read: questions and what they lead to, immutable.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::question::Question;
use super::resolution::Resolution;

/// Buckets of a [`Directory`]: with [`crate::limits::DNS_NAMES`] names 16 in each.
const BUCKETS: usize = 1_024;

/// Answers by question. A changed one shares all but what has changed.
#[derive(Debug)]
pub struct Directory {
    buckets: Box<[Bucket]>,
    /// Names come from messages: who sends them does not know where they go.
    hasher: RandomState,
}

type Bucket = Arc<[(u64, Arc<Entry>)]>;

/// One question with its answer.
#[derive(Debug)]
pub(super) struct Entry {
    pub question: Question,
    pub resolution: Resolution,
    /// Somebody has read it since the keeper last looked. Written at most once in that time, so that the line stays
    /// shared while traffic flows.
    used: AtomicBool,
}

impl Entry {
    pub fn new(question: Question, resolution: Resolution) -> Arc<Self> {
        Arc::new(Self { question, resolution, used: AtomicBool::new(false) })
    }

    /// Whether it was read since this was asked last.
    pub fn take_used(&self) -> bool {
        self.used.load(Ordering::Relaxed) && self.used.swap(false, Ordering::Relaxed)
    }
}

impl Default for Directory {
    fn default() -> Self {
        let empty: Bucket = Arc::new([]);
        Self { buckets: vec![empty; BUCKETS].into(), hasher: RandomState::new() }
    }
}

impl Directory {
    /// What the question leads to; `None`: it was not asked yet.
    pub fn get(&self, question: &Question) -> Option<&Resolution> {
        let (hash, bucket) = self.place(question);
        let entry = find(self.buckets.get(bucket)?, hash, question)?;
        if !entry.used.load(Ordering::Relaxed) {
            entry.used.store(true, Ordering::Relaxed);
        }
        Some(&entry.resolution)
    }

    /// A directory with exactly these answers; for commands that ask once, and for tests.
    pub fn of(answers: impl IntoIterator<Item = (Question, Resolution)>) -> Self {
        let changes = answers.into_iter().map(|(question, resolution)| {
            let entry = Entry::new(question, resolution);
            (question, Some(entry))
        });
        Self::default().with(changes)
    }

    /// The same with this answer; for commands.
    #[must_use]
    pub fn and(&self, question: Question, resolution: Resolution) -> Self {
        self.with([(question, Some(Entry::new(question, resolution)))])
    }

    /// With other entries in the place of those of the same questions; `None`: there is none any more.
    pub(super) fn with(&self, changes: impl IntoIterator<Item = (Question, Option<Arc<Entry>>)>) -> Self {
        let mut buckets: Vec<Bucket> = self.buckets.to_vec();
        for (question, entry) in changes {
            let (hash, bucket) = self.place(&question);
            let Some(bucket) = buckets.get_mut(bucket) else { continue };
            let others = bucket.iter().filter(|(h, e)| *h != hash || e.question != question).cloned();
            *bucket = others.chain(entry.map(|entry| (hash, entry))).collect();
        }
        Self { buckets: buckets.into(), hasher: self.hasher.clone() }
    }

    fn place(&self, question: &Question) -> (u64, usize) {
        let hash = self.hasher.hash_one(question);
        (hash, hash as usize % BUCKETS)
    }
}

fn find<'b>(bucket: &'b Bucket, hash: u64, question: &Question) -> Option<&'b Entry> {
    bucket.iter().find(|(h, entry)| *h == hash && entry.question == *question).map(|(_, entry)| &**entry)
}
