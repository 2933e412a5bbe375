//! What shards ask the control thread: questions that only the kernel can answer.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;
use tokio::sync::Notify;

use crate::fib::Query;
use crate::limits;

/// A bounded queue of questions; all clones are the same one.
#[derive(Clone)]
pub struct Questions {
    queue: Arc<ArrayQueue<Query>>,
    bell: Arc<Notify>,
}

impl Default for Questions {
    fn default() -> Self {
        Self::new()
    }
}

impl Questions {
    /// An empty queue.
    pub fn new() -> Self {
        Self { queue: Arc::new(ArrayQueue::new(limits::KERNEL_QUESTIONS)), bell: Arc::default() }
    }

    /// Asks; the answer comes with a later publication. `false`: too many questions wait.
    pub fn ask(&self, query: Query) -> bool {
        let asked = self.queue.push(query).is_ok();
        self.bell.notify_one();
        asked
    }

    /// The next question, if there is one.
    pub fn pop(&self) -> Option<Query> {
        self.queue.pop()
    }

    /// Waits for a question. Cancel-safe.
    pub async fn next(&self) -> Query {
        loop {
            if let Some(query) = self.pop() {
                return query;
            }
            self.bell.notified().await;
        }
    }
}
