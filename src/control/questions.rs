//! Questions that only the kernel can answer: a route or a rule has something that this version does not know.

use std::sync::Arc;

use super::netlink;
use super::supervisor::Control;
use crate::fib::{Answer, NoRoute, Query};

/// Most questions that are answered before other work has its turn.
const AT_ONCE: usize = 64;

impl Control {
    /// Asks the kernel what a shard wants to know, and publishes the answers: the messages that wait for them go on
    /// at once.
    pub(super) fn on_question(&mut self, first: Query) {
        let mut learned = false;
        let mut next = Some(first);
        for _ in 0..AT_ONCE {
            let Some(query) = next else { break };
            learned |= self.learn(&query);
            next = self.questions.pop();
        }
        if learned {
            self.publish_and_wake();
        }
    }

    /// Whether there is something to publish.
    fn learn(&mut self, query: &Query) -> bool {
        if self.parts.fib.lookup(query) != Answer::AskKernel {
            // Another message has asked the same, and the answer is out.
            return false;
        }
        let answer = match netlink::ask(query, self.parts.fib.uid()) {
            // The snapshot would have the message wait for ever.
            Ok(Answer::AskKernel) => Answer::No(NoRoute::Unreachable),
            Ok(answer) => answer,
            Err(error) => {
                tracing::warn!("the kernel cannot be asked for the route to {}: {error}", query.dst);
                return false;
            }
        };
        let Some(fib) = self.parts.fib.with_answer(query, answer) else { return false };
        self.parts.fib = Arc::new(fib);
        true
    }
}
