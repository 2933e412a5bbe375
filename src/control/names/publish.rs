//! Hands what DNS says to the shards.

use super::{Event, Names};
use crate::control::supervisor::Control;

/// Most lookups that are taken over before other work has its turn.
const AT_ONCE: usize = 64;

impl Control {
    /// Takes over what was resolved, with all else that is done by now, and publishes it once. The messages that wait
    /// for it go on at once.
    pub(in crate::control) fn on_names(&mut self, event: Event) {
        let mut answered = self.names.handle(event);
        for _ in 0..AT_ONCE {
            let Some(event) = self.names.ready() else { break };
            answered |= self.names.handle(event);
        }
        self.publish_names(answered);
    }

    /// Asks again for what is to be asked again.
    pub(in crate::control) fn care_for_names(&mut self) {
        self.names.care();
        self.publish_names(false);
    }

    /// Publishes what has changed, and tells the metrics.
    fn publish_names(&mut self, answered: bool) {
        if let Some(names) = self.names.publish() {
            self.parts.names = names;
            self.publisher.publish_names(&self.parts);
        }
        // Also where nothing has changed: a message may have come to wait just before the last change.
        if answered {
            self.wake();
        }
        self.show_names();
    }

    /// Shows the metrics and the health what is known of names.
    pub(in crate::control) fn show_names(&self) {
        let mut facts = self.monitor.facts();
        facts.process.names_unresolved = self.names.unresolved();
        facts.process.dns = self.names.readings();
        match self.names.trouble() {
            Some(why) => {
                let trouble =
                    format!("no name server can be asked: {why}; see [dns] servers and /etc/resolv.conf");
                facts.troubles.insert("names", trouble);
            }
            None => {
                facts.troubles.remove("names");
            }
        }
    }
}

impl Names {
    /// The next thing that there is to do without waiting.
    fn ready(&mut self) -> Option<Event> {
        let done = self.lookups.try_join_next()?;
        Some(super::resolved(done))
    }
}
