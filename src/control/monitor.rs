//! What is known about the running process: read by the admin address and by whoever started it.

use std::collections::HashMap;
use std::fs;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::log;
use crate::limits;
use crate::metrics::exposition::{
    CertificateReading, GatewayReading, ListenerReading, ListenerStanding, ProcessReadings, Readings,
};
use crate::metrics::{Drops, SeriesId, ShardMetrics};
use crate::plan::Plan;

/// Shared by the control thread, which writes, and the admin address, which reads.
pub struct Monitor {
    shards: Vec<Arc<ShardMetrics>>,
    facts: Mutex<Facts>,
}

/// What only the control thread knows.
pub struct Facts {
    /// By shard number.
    pub shards: Vec<ShardState>,
    /// Sockets and kernel drops by listener name; listeners that are gone keep their last numbers.
    pub listeners: HashMap<Box<str>, SocketFacts>,
    /// How the listeners of the configuration in force do.
    pub standings: Vec<ListenerStanding>,
    /// How the gateways of the configuration in force do.
    pub gateways: Vec<GatewayReading>,
    /// Certificates of the configuration in force.
    pub certificates: Vec<CertificateReading>,
    /// What is wrong besides, a sentence each, by subject.
    pub troubles: HashMap<&'static str, String>,
    /// Counters and gauges.
    pub process: ProcessReadings,
    /// When the newest snapshot was published.
    pub published: Instant,
    /// The process stops.
    pub stopping: bool,
    series: HashMap<Box<str>, SeriesId>,
}

/// How a shard does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShardState {
    /// It forwards.
    Up,
    /// It has ended; why.
    Down(String),
}

/// A listener's sockets over all shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketFacts {
    /// Open now.
    pub sockets: u64,
    /// Datagrams that the kernel dropped, since the start.
    pub drops: Drops,
}

/// Whether all is well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It is.
    Well,
    /// It is not: a sentence each.
    Unwell(Vec<String>),
}

impl Monitor {
    /// For so many shards, all up.
    pub fn new(shards: usize) -> Self {
        Self {
            shards: (0..shards).map(|_| Arc::default()).collect(),
            facts: Mutex::new(Facts {
                shards: vec![ShardState::Up; shards],
                listeners: HashMap::new(),
                standings: Vec::new(),
                gateways: Vec::new(),
                certificates: Vec::new(),
                troubles: HashMap::new(),
                process: ProcessReadings { version: env!("CARGO_PKG_VERSION"), ..ProcessReadings::default() },
                published: Instant::now(),
                stopping: false,
                series: HashMap::new(),
            }),
        }
    }

    /// What each shard counts in, by shard number.
    pub fn shards(&self) -> &[Arc<ShardMetrics>] {
        &self.shards
    }

    /// The control thread's knowledge, to read or to change.
    pub fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a listener of this name is counted, from now on and for good.
    pub fn series(&self, name: &str) -> SeriesId {
        let mut facts = self.facts();
        let next = facts.series.len();
        let series = match facts.series.get(name) {
            Some(series) => *series,
            None if next < limits::LISTENERS => {
                let series = SeriesId(next as u16);
                facts.series.insert(name.into(), series);
                series
            }
            None => SeriesId::OTHER,
        };
        self.shards.iter().for_each(|s| s.traffic.open(series));
        series
    }

    /// Where each listener of a Plan is counted, in the Plan's order.
    pub fn series_of(&self, plan: &Plan) -> Vec<SeriesId> {
        plan.listeners.iter().map(|l| self.series(&l.name)).collect()
    }

    /// All numbers of this moment.
    pub fn readings(&self) -> Readings {
        let facts = self.facts();
        let up = facts.shards.iter().filter(|s| **s == ShardState::Up).count();
        let process = ProcessReadings {
            shards_up: up as u64,
            unix_time: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            snapshot_age: facts.published.elapsed(),
            log_lines_lost: log::lost(),
            resident_bytes: resident_bytes(),
            ..facts.process.clone()
        };
        let named = facts.series.iter().map(|(name, series)| (name.clone(), *series));
        let other = (facts.series.len() == limits::LISTENERS).then(|| ("(others)".into(), SeriesId::OTHER));
        let mut listeners: Vec<ListenerReading> = named
            .chain(other)
            .map(|(name, series)| {
                let SocketFacts { sockets, drops } = facts.listeners.get(&name).copied().unwrap_or_default();
                ListenerReading { name, series, drops, sockets }
            })
            .collect();
        listeners.sort_unstable_by_key(|l| l.series.0);
        let (standings, gateways) = (facts.standings.clone(), facts.gateways.clone());
        let certificates = facts.certificates.clone();
        Readings { shards: self.shards.clone(), listeners, standings, gateways, certificates, process }
    }

    /// Whether all is well, and what is not.
    pub fn health(&self) -> Health {
        let facts = self.facts();
        let mut reasons = Vec::new();
        if facts.stopping {
            reasons.push("stopping".to_owned());
        }
        for (number, shard) in facts.shards.iter().enumerate() {
            if let ShardState::Down(why) = shard {
                reasons.push(format!("shard {number} is down: {why}"));
            }
        }
        let mut troubles: Vec<_> = facts.troubles.values().cloned().collect();
        troubles.sort_unstable();
        reasons.extend(troubles);
        if reasons.is_empty() { Health::Well } else { Health::Unwell(reasons) }
    }
}

/// The second number of `/proc/self/statm` counts resident pages; 0 where there is no such file.
fn resident_bytes() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.as_deref().and_then(|s| s.split(' ').nth(1)).and_then(|s| s.parse::<u64>().ok());
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
    pages.unwrap_or(0) * page.and_then(|n| u64::try_from(n).ok()).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_keeps_its_series_over_reloads() {
        let monitor = Monitor::new(1);
        let a = monitor.series("a");
        assert_ne!(a, monitor.series("b"));
        assert_eq!(a, monitor.series("a"));
    }

    #[test]
    fn names_beyond_the_table_share_the_last_series() {
        let monitor = Monitor::new(1);
        for i in 0..limits::LISTENERS {
            assert_eq!(monitor.series(&i.to_string()), SeriesId(i as u16));
        }
        assert_eq!(monitor.series("one too many"), SeriesId::OTHER);
        assert_eq!(monitor.readings().listeners.last().map(|l| &*l.name), Some("(others)"));
    }

    #[test]
    fn health_names_what_is_wrong() {
        let monitor = Monitor::new(2);
        assert_eq!(monitor.health(), Health::Well);
        monitor.facts().shards[1] = ShardState::Down("ring lost".into());
        monitor.facts().troubles.insert("routes", "the routing snapshot is old".into());
        assert_eq!(
            monitor.health(),
            Health::Unwell(vec!["shard 1 is down: ring lost".into(), "the routing snapshot is old".into()])
        );
        assert_eq!(monitor.readings().process.shards_up, 1);
    }

    #[test]
    fn this_process_is_somewhere_in_memory() {
        assert!(resident_bytes() > 100_000);
    }
}
