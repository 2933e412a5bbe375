//! Host names that rules name as next hop: resolved at load and again, never by a shard.

use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::limits;
use crate::net::canonical;
use crate::plan::Plan;
use crate::snapshot::Names;

/// How often names are resolved again.
pub const AGAIN: Duration = Duration::from_secs(60);

/// How long one name may take in the background.
const PATIENCE: Duration = Duration::from_secs(10);

/// Keeps the addresses of the names that rules' `to` holds and `[hosts]` does not answer.
#[derive(Default)]
pub struct Resolver {
    known: Names,
    wanted: BTreeSet<Box<str>>,
    /// Names that have no address now and have been told of.
    failing: BTreeSet<Box<str>>,
}

/// What the system's resolver said.
pub type Answers = Vec<(Box<str>, io::Result<Vec<IpAddr>>)>;

impl Resolver {
    /// The names that have an address now.
    pub fn known(&self) -> BTreeSet<Box<str>> {
        self.known.keys().cloned().collect()
    }

    /// Takes over the names of a Plan that takes effect, with the answers for those that are new.
    pub fn adopt(&mut self, plan: &Plan, answers: Answers) {
        self.wanted = wanted(plan);
        self.known.retain(|host, _| self.wanted.contains(host));
        self.failing.retain(|host| self.wanted.contains(host));
        self.take(answers);
    }

    /// A lookup of all names, to be run beside the control thread's other work; `None`: no names.
    pub fn ask_again(&self) -> Option<impl Future<Output = Answers> + 'static> {
        (!self.wanted.is_empty()).then(|| ask(self.wanted.clone(), PATIENCE))
    }

    /// Takes answers over; says whether anything has changed.
    ///
    /// A name that fails keeps its earlier addresses: a resolver that is out of order for a minute must
    /// not stop calls.
    pub fn take(&mut self, answers: Answers) -> bool {
        let mut changed = false;
        for (host, answer) in answers.into_iter().filter(|(host, _)| self.wanted.contains(host)) {
            match answer {
                Ok(addresses) => {
                    if self.failing.remove(&host) {
                        tracing::info!("{host} has an address again");
                    }
                    changed |= self.known.get(&host) != Some(&addresses);
                    self.known.insert(host, addresses);
                }
                Err(why) if self.failing.insert(host.clone()) => match self.known.get(&host) {
                    Some(_) => {
                        tracing::warn!("cannot resolve {host}: {why}; its earlier addresses stay in use")
                    }
                    None => {
                        tracing::warn!("cannot resolve {host}: {why}; requests for it are answered with 5xx")
                    }
                },
                Err(_) => {}
            }
        }
        changed
    }

    /// All names and addresses: those of `[hosts]` and those that were resolved.
    pub fn names(&self, plan: &Plan) -> Names {
        plan.hosts.iter().chain(&self.known).map(|(host, ips)| (host.clone(), ips.clone())).collect()
    }

    /// How many names have no address now.
    pub fn unresolved(&self) -> u64 {
        self.wanted.iter().filter(|host| !self.known.contains_key(*host)).count() as u64
    }
}

/// Asks for the names of a Plan that are not among the known ones.
pub async fn ask_new(plan: &Plan, known: &BTreeSet<Box<str>>, patience: Duration) -> Answers {
    ask(wanted(plan).difference(known).cloned().collect(), patience).await
}

/// All names of a Plan with their addresses, asked now: for commands that answer once. Blocks for at
/// most `patience`; a name without an answer by then has no address.
///
/// # Errors
/// The system has no room for a runtime.
pub fn resolve_now(plan: &Plan, patience: Duration) -> io::Result<Names> {
    let mut resolver = Resolver::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answers = runtime.block_on(ask_new(plan, &BTreeSet::new(), patience));
    // A lookup that hangs in the system's resolver must not hold up the answer.
    runtime.shutdown_background();
    resolver.adopt(plan, answers);
    Ok(resolver.names(plan))
}

fn wanted(plan: &Plan) -> BTreeSet<Box<str>> {
    plan.names().filter(|host| !plan.hosts.contains_key(*host)).cloned().collect()
}

/// Asks the system's resolver, for [`limits::LOOKUPS`] names at a time.
async fn ask(hosts: BTreeSet<Box<str>>, patience: Duration) -> Answers {
    let deadline = Instant::now() + patience;
    let lookups = hosts.into_iter().map(|host| async move {
        let answer = tokio::time::timeout_at(deadline, lookup(&host, deadline)).await;
        (host, answer.unwrap_or_else(|_| Err(late())))
    });
    stream::iter(lookups).buffer_unordered(limits::LOOKUPS).collect().await
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no answer in time")
}

/// Lookups that wait in the system's resolver, also those that nobody waits for any more: it cannot be told to
/// stop, and readings of routes and configurations need threads, too.
static UNDER_WAY: Semaphore = Semaphore::const_new(limits::LOOKUPS);

async fn lookup(host: &str, deadline: Instant) -> io::Result<Vec<IpAddr>> {
    let place = UNDER_WAY.acquire().await.map_err(io::Error::other)?;
    if Instant::now() >= deadline {
        return Err(late());
    }
    let name = host.to_owned();
    let found = tokio::task::spawn_blocking(move || {
        let _place = place;
        (name.as_str(), 0).to_socket_addrs().map(Iterator::collect::<Vec<_>>)
    });
    let mut addresses: Vec<IpAddr> = Vec::new();
    for ip in found.await.map_err(io::Error::other)??.into_iter().map(|a| canonical(a.ip())) {
        if !ip.is_unspecified() && !ip.is_multicast() && !addresses.contains(&ip) {
            addresses.push(ip);
        }
    }
    // The resolver may turn its list at each answer; a next hop must not wander with it.
    addresses.sort_unstable();
    addresses.truncate(limits::ADDRESSES_PER_NAME);
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "no address that a message can be sent to"));
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolver(wanted: &[&str], known: &[(&str, &str)]) -> Resolver {
        Resolver {
            wanted: wanted.iter().map(|n| (*n).into()).collect(),
            known: known.iter().map(|(n, ip)| ((*n).into(), vec![ip.parse().unwrap()])).collect(),
            failing: BTreeSet::new(),
        }
    }

    #[tokio::test]
    async fn a_name_that_fails_keeps_its_earlier_addresses() {
        let mut resolver =
            resolver(&["stale.invalid", "never.invalid", "localhost"], &[("stale.invalid", "192.0.2.1")]);
        let answers = resolver.ask_again().unwrap().await;
        assert!(resolver.take(answers));
        assert_eq!(resolver.known["stale.invalid"], ["192.0.2.1".parse::<IpAddr>().unwrap()]);
        assert!(resolver.known["localhost"].iter().all(IpAddr::is_loopback));
        assert_eq!(resolver.unresolved(), 1);
    }

    #[test]
    fn the_same_answer_changes_nothing() {
        let mut resolver = resolver(&["a.example"], &[]);
        let answer = || vec![("a.example".into(), Ok(vec!["192.0.2.1".parse().unwrap()]))];
        assert!(resolver.take(answer()));
        assert!(!resolver.take(answer()));
        let other = vec![("b.example".into(), Ok(vec!["192.0.2.1".parse().unwrap()]))];
        assert!(!resolver.take(other), "a name that no rule wants any more");
    }

    /// Lookups that hang keep their threads, and no others.
    #[tokio::test]
    async fn hanging_lookups_leave_threads_for_others() {
        let places = UNDER_WAY.acquire_many(limits::LOOKUPS as u32).await.unwrap();
        let hosts = (0..50).map(|n| format!("{n}.invalid").into()).collect();
        let answers = ask(hosts, Duration::from_millis(50)).await;
        assert_eq!(answers.len(), 50);
        let late =
            |answer: &io::Result<_>| answer.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::TimedOut);
        assert!(answers.iter().all(|(_, answer)| late(answer)), "{answers:?}");
        drop(places);
        let answers = ask(BTreeSet::from(["localhost".into()]), Duration::from_secs(10)).await;
        assert!(answers[0].1.is_ok(), "{answers:?}");
    }

    #[tokio::test]
    async fn nobody_waits_for_a_resolver_that_does_not_answer() {
        let answers = ask(BTreeSet::from(["localhost".into()]), Duration::ZERO).await;
        let mut resolver = resolver(&["localhost"], &[]);
        // The system may be quicker than no time at all; late or not, there is one answer.
        assert_eq!(answers.len(), 1);
        resolver.take(answers);
        assert_eq!(resolver.known.len() as u64 + resolver.unresolved(), 1);
    }
}
