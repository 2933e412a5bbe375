//! Composes snapshots and hands them to the shards.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;

use crate::dns::Directory;
use crate::fib::Fib;
use crate::group::Roster;
use crate::plan::Plan;
use crate::shard::{Bindings, Publication, Published, SocketTable};
use crate::snapshot::Snapshot;
use crate::token::Keys;

/// The generation that shards start with.
pub const FIRST: u64 = 1;

/// What a publication is made of.
pub struct Parts<S> {
    /// The configuration.
    pub plan: Arc<Plan>,
    /// The kernel's routing policy.
    pub fib: Arc<Fib>,
    /// What signs tokens.
    pub keys: Arc<Keys>,
    /// What DNS said.
    pub names: Arc<Directory>,
    /// The gateways' numbers, and how they do.
    pub roster: Arc<Roster>,
    /// Listeners and sockets.
    pub bindings: Arc<Bindings>,
    /// The sockets of each shard.
    pub sockets: Arc<SocketTable<S>>,
    /// When that was called for which made these sockets the ones to have.
    pub sockets_since: Instant,
    /// The process stops.
    pub stopping: bool,
}

impl<S> Clone for Parts<S> {
    fn clone(&self) -> Self {
        Self {
            plan: Arc::clone(&self.plan),
            fib: Arc::clone(&self.fib),
            keys: Arc::clone(&self.keys),
            names: Arc::clone(&self.names),
            roster: Arc::clone(&self.roster),
            bindings: Arc::clone(&self.bindings),
            sockets: Arc::clone(&self.sockets),
            sockets_since: self.sockets_since,
            stopping: self.stopping,
        }
    }
}

/// The one place that replaces what the shards read.
pub struct Publisher<S> {
    published: Published<S>,
    /// Replaced, but perhaps still read. A shard gives its hold up at its next batch, at most a second
    /// later, so there are at most as many as shards, and the current one.
    retired: Vec<Arc<Publication<S>>>,
}

impl<S> Publisher<S> {
    /// Publishes the first generation.
    pub fn new(parts: &Parts<S>) -> Self {
        Self { published: Arc::new(ArcSwap::from_pointee(compose(FIRST, parts))), retired: Vec::new() }
    }

    /// Where the shards read.
    pub fn published(&self) -> Published<S> {
        Arc::clone(&self.published)
    }

    /// Replaces the current publication and frees those that nobody reads any more; gives the new
    /// generation.
    pub fn publish(&mut self, parts: &Parts<S>) -> u64 {
        let generation = self.published.load().snapshot.generation + 1;
        self.replace(compose(generation, parts));
        generation
    }

    /// Replaces the names of the current publication, which is of the same generation then: nothing that is remembered
    /// of it changes with names.
    pub fn publish_names(&mut self, parts: &Parts<S>) {
        let current = self.published.load_full();
        self.replace(Publication {
            snapshot: current.snapshot.with_names(Arc::clone(&parts.names)),
            bindings: Arc::clone(&current.bindings),
            sockets: Arc::clone(&current.sockets),
            sockets_since: current.sockets_since,
            stopping: current.stopping,
        });
    }

    fn replace(&mut self, publication: Publication<S>) {
        let old = self.published.swap(Arc::new(publication));
        self.retired.push(old);
        self.reap();
    }

    /// Frees what nobody reads any more, here and not on a shard; gives how many publications are
    /// alive, the current one included.
    pub fn reap(&mut self) -> usize {
        self.retired.retain(|old| Arc::strong_count(old) > 1);
        self.retired.len() + 1
    }
}

fn compose<S>(generation: u64, parts: &Parts<S>) -> Publication<S> {
    let (plan, fib) = (Arc::clone(&parts.plan), Arc::clone(&parts.fib));
    let (keys, names, roster) =
        (Arc::clone(&parts.keys), Arc::clone(&parts.names), Arc::clone(&parts.roster));
    Publication {
        snapshot: Snapshot::watched(generation, plan, fib, keys, names, roster),
        bindings: Arc::clone(&parts.bindings),
        sockets: Arc::clone(&parts.sockets),
        sockets_since: parts.sockets_since,
        stopping: parts.stopping,
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use arc_swap::Cache;

    use super::*;
    use crate::control::samples::parts;

    #[test]
    fn generations_count_up() {
        let parts = parts();
        let mut publisher = Publisher::new(&parts);
        assert_eq!(publisher.published().load().snapshot.generation, 1);
        assert_eq!(publisher.publish(&parts), 2);
        assert_eq!(publisher.published().load().snapshot.generation, 2);
    }

    #[test]
    fn at_most_one_generation_for_each_shard_and_two_more_are_alive() {
        let parts = parts();
        let mut publisher = Publisher::new(&parts);
        let published = publisher.published();
        let mut shards: Vec<_> = (0..3).map(|_| Cache::new(Arc::clone(&published))).collect();
        for round in 0..100 {
            publisher.publish(&parts);
            // Shard 0 always reads, shard 1 sometimes, shard 2 never.
            shards[0].load();
            if round % 7 == 0 {
                shards[1].load();
            }
            assert!(publisher.reap() <= shards.len() + 2, "{}", publisher.reap());
        }
        drop(shards);
        assert_eq!(publisher.reap(), 1);
    }

    #[test]
    fn what_a_shard_still_reads_is_freed_by_the_publisher() {
        let parts = parts();
        let mut publisher = Publisher::new(&parts);
        let mut shard = Cache::new(publisher.published());
        let held = Arc::downgrade(shard.load());
        publisher.publish(&parts);
        assert_eq!(publisher.reap(), 2);
        thread::scope(|s| {
            s.spawn(move || {
                shard.load();
            });
        });
        assert!(held.upgrade().is_some(), "the shard has let go, and freed nothing");
        assert_eq!(publisher.reap(), 1);
        assert!(held.upgrade().is_none());
    }
}
