//! Followers under test, held against fresh dumps.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use viaduct::control::netlink::{self, FollowOptions, Follower};
use viaduct::fib::Fib;

/// A change that is not published within this time is lost.
const PATIENCE: Duration = Duration::from_secs(3);

/// So long without a publication, and there is none under way.
const QUIET: Duration = Duration::from_millis(15);

/// A follower and what it published last.
pub struct Watch {
    pub how: &'static str,
    pub follower: Follower,
    pub fib: Arc<Fib>,
    pub publications: usize,
}

impl Watch {
    /// Starts one that never compares: no audit may heal what the events have made of the routes.
    pub fn start(how: &'static str, redump_below: usize) -> Self {
        const NEVER: Duration = Duration::from_secs(24 * 60 * 60);
        Self::with(how, FollowOptions { redump_below, audit_every: NEVER, audit_doubts_after: NEVER })
    }

    pub fn with(how: &'static str, options: FollowOptions) -> Self {
        let (follower, fib) = Follower::start_with(options).unwrap_or_else(|error| panic!("{error}"));
        Self { how, follower, fib, publications: 0 }
    }

    /// Waits for a publication; whether there was one.
    pub async fn wait(&mut self, patience: Duration) -> bool {
        let Ok(published) = tokio::time::timeout(patience, self.follower.next()).await else { return false };
        let fib = published.unwrap_or_else(|error| panic!("{}: {error}", self.how));
        assert!(fib.generation() > self.fib.generation(), "{}: generations grow", self.how);
        self.publications += 1;
        self.fib = fib;
        true
    }

    /// Waits until it has published what a fresh dump has.
    ///
    /// # Errors
    /// What differs in the end.
    pub async fn catch_up(&mut self) -> Result<(), String> {
        loop {
            let fresh = netlink::dump(0).unwrap_or_else(|error| panic!("{error}"));
            let Some(difference) = difference(&self.fib, &fresh) else { return Ok(()) };
            if !self.wait(PATIENCE).await {
                return Err(format!("{}, and nothing more is published:\n{difference}", self.how));
            }
        }
    }
}

/// Both ways to follow.
pub fn both() -> [Watch; 2] {
    [Watch::start("read anew after any event", usize::MAX), Watch::start("followed event by event", 0)]
}

/// Both followers catch up.
///
/// # Errors
/// What differs in the end.
pub async fn catch_up([first, second]: &mut [Watch; 2]) -> Result<(), String> {
    let (first, second) = tokio::join!(first.catch_up(), second.catch_up());
    first.and(second)
}

/// Waits until nothing more comes, then until both have caught up.
///
/// # Errors
/// What differs in the end.
pub async fn settle(watches: &mut [Watch; 2]) -> Result<(), String> {
    let [first, second] = &mut *watches;
    let until_quiet = async |watch: &mut Watch| while watch.wait(QUIET).await {};
    tokio::join!(until_quiet(first), until_quiet(second));
    catch_up(watches).await
}

/// What one snapshot has and the other has not, a line each.
fn difference(followed: &Fib, fresh: &Fib) -> Option<String> {
    let (ours, kernels) = (followed.entries(), fresh.entries());
    if ours == kernels {
        return None;
    }
    let (our_set, kernels_set): (HashSet<_>, HashSet<_>) = (ours.iter().collect(), kernels.iter().collect());
    let mut text = String::new();
    for (name, entries, others) in [("followed", &ours, &kernels_set), ("dumped", &kernels, &our_set)] {
        for entry in entries.iter().filter(|entry| !others.contains(entry)) {
            text.push_str(&format!("only {name}: {entry}\n    {entry:?}\n"));
        }
    }
    if text.is_empty() {
        text = format!("the order differs:\nfollowed: {ours:#?}\ndumped: {kernels:#?}\n");
    }
    Some(text)
}
