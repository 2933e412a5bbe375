//! Reads all tables on a thread of its own, while events go on.

use std::collections::HashSet;
use std::sync::Arc;

use ipnet::IpNet;
use tokio::task::JoinHandle;

use crate::control::netlink::dump::load;
use crate::control::netlink::error::Error;
use crate::control::netlink::socket::Requester;
use crate::fib::spec::Link;
use crate::fib::{Fib, Parts, Rib};

/// What a reading is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// What is known is to be replaced.
    Resync,
    /// What is known is to be checked.
    Audit,
}

/// Work under way, of which there is one at a time.
pub enum Job {
    Load(Purpose, JoinHandle<Result<Rib, Error>>),
    Compare(JoinHandle<Compared>),
}

/// How what was read differs from what was known.
pub struct Compared {
    pub read: Rib,
    /// Prefixes with their tables.
    pub prefixes: Vec<(u32, IpNet)>,
    /// What else differs.
    pub parts: Vec<&'static str>,
}

impl Job {
    /// Begins to read.
    pub fn load(purpose: Purpose) -> Result<Self, Error> {
        // Opened here: the socket belongs to the network namespace of this thread.
        let mut requester = Requester::open()?;
        Ok(Self::Load(purpose, tokio::task::spawn_blocking(move || load(&mut requester))))
    }

    /// Begins to compare what was read with what is known, but for what changed meanwhile.
    pub fn compare(mut read: Rib, known: Arc<Fib>, parts: Parts, touched: HashSet<(u32, IpNet)>) -> Self {
        Self::Compare(tokio::task::spawn_blocking(move || {
            let differ = differing(read.parts(), &parts);
            // Compiled with the same links and addresses, so that only routes can differ.
            read.set_parts(parts);
            let mut prefixes = read.fib(0).changed_prefixes(&known);
            prefixes.retain(|place| !touched.contains(place));
            Compared { read, prefixes, parts: differ }
        }))
    }
}

/// What differs of what is no route.
fn differing(read: &Parts, known: &Parts) -> Vec<&'static str> {
    // A carrier is shown at once and told of up to a second later (linkwatch).
    let links = |parts: &Parts| -> Vec<Link> {
        parts.links.iter().map(|link| Link { carrier: false, ..link.clone() }).collect()
    };
    let all = [
        ("links", links(read) == links(known)),
        ("addresses", read.addresses == known.addresses),
        ("address labels", read.labels == known.labels),
        ("rules", (&read.rules, read.merged) == (&known.rules, known.merged)),
        ("nexthop objects", read.nexthops == known.nexthops),
    ];
    all.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect()
}

/// How a job ended.
pub enum Done {
    Loaded(Purpose, Result<Rib, Error>),
    Compared(Compared),
    /// Its thread panicked.
    Lost,
}

/// Waits for the end of a job; for ever, if there is none. Cancel-safe.
pub async fn done(job: &mut Option<Job>) -> Done {
    let done = match job {
        None => std::future::pending().await,
        Some(Job::Load(purpose, handle)) => {
            let purpose = *purpose;
            handle.await.map_or(Done::Lost, |result| Done::Loaded(purpose, result))
        }
        Some(Job::Compare(handle)) => handle.await.map_or(Done::Lost, Done::Compared),
    };
    *job = None;
    done
}
