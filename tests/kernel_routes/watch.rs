//! Followers under test, held against fresh dumps.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use ipnet::{IpNet, Ipv6Net};
use viaduct::control::netlink::{self, FollowOptions, Follower};
use viaduct::fib::{Entry, Fib, RouteEntry};

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
    pub fn start(how: &'static str, redump_below: usize) -> Self {
        // No audit may heal what the events have made of the routes.
        const NEVER: Duration = Duration::from_secs(24 * 60 * 60);
        let options = FollowOptions { redump_below, audit_every: NEVER, audit_doubts_after: NEVER };
        let (follower, fib) = Follower::start_with(options).unwrap_or_else(|error| panic!("{error}"));
        Self { how, follower, fib, publications: 0 }
    }

    /// Waits for a publication; whether there was one.
    async fn wait(&mut self, patience: Duration) -> bool {
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
    async fn catch_up(&mut self) -> Result<(), String> {
        loop {
            let fresh = netlink::dump(0).unwrap_or_else(|error| panic!("{error}"));
            let Some(difference) = difference(&self.fib, &fresh) else { return Ok(()) };
            if !self.wait(PATIENCE).await {
                return Err(format!("{}, and nothing more is published:\n{difference}", self.how));
            }
        }
    }
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
    let (mut ours, mut kernels) = (followed.entries(), fresh.entries());
    if ours != kernels {
        // Events tell of routes that dumps pass over.
        let veiled = veiled(&ours);
        ours = without(ours, &veiled);
        kernels = without(kernels, &veiled);
    }
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

/// What the kernel takes for one route with several paths.
type Several = (u32, IpNet, Option<Ipv6Net>, u32);

fn several(route: &RouteEntry) -> Several {
    (route.table, route.prefix, route.from, route.metric)
}

/// The IPv6 routes of several paths: the kernel's dump goes from the first path to the last one, and so passes
/// over routes without a gateway, of the same metric, that were made in between.
fn veiled(entries: &[Entry]) -> HashSet<Several> {
    let paths = |entry: &Entry| match entry {
        Entry::Route(route) if route.prefix.addr().is_ipv6() && route.hops.len() > 1 => Some(several(route)),
        _ => None,
    };
    entries.iter().filter_map(paths).collect()
}

/// The kernel's dump may pass over routes to this prefix.
pub fn veils(fib: &Fib, table: u32, prefix: IpNet) -> bool {
    veiled(&fib.entries()).iter().any(|several| (several.0, several.1) == (table, prefix))
}

/// Without routes of one path beside one of several.
fn without(entries: Vec<Entry>, veiled: &HashSet<Several>) -> Vec<Entry> {
    let seen = |entry: &Entry| match entry {
        Entry::Route(route) => route.hops.len() > 1 || !veiled.contains(&several(route)),
        _ => true,
    };
    let unnumbered = |entry| match entry {
        Entry::Route(route) => Entry::Route(RouteEntry { place: 0, ..route }),
        other => other,
    };
    entries.into_iter().filter(seen).map(unnumbered).collect()
}
