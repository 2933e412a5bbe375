//! What shards ask the control thread: questions that only the kernel can answer, and names.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;
use tokio::sync::Notify;

/// A bounded queue of questions; all clones are the same one.
pub struct Questions<Q> {
    queue: Arc<ArrayQueue<Q>>,
    bell: Arc<Notify>,
}

impl<Q> Clone for Questions<Q> {
    fn clone(&self) -> Self {
        Self { queue: Arc::clone(&self.queue), bell: Arc::clone(&self.bell) }
    }
}

impl<Q> Questions<Q> {
    /// An empty queue for so many.
    pub fn new(capacity: usize) -> Self {
        Self { queue: Arc::new(ArrayQueue::new(capacity)), bell: Arc::default() }
    }

    /// Asks; the answer comes with a later publication. `false`: too many questions wait.
    pub fn ask(&self, query: Q) -> bool {
        let asked = self.queue.push(query).is_ok();
        self.bell.notify_one();
        asked
    }

    /// The next question, if there is one.
    pub fn pop(&self) -> Option<Q> {
        self.queue.pop()
    }

    /// How many questions wait.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// None does.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Waits for a question. Cancel-safe.
    pub async fn next(&self) -> Q {
        loop {
            if let Some(query) = self.pop() {
                return query;
            }
            self.bell.notified().await;
        }
    }
}
