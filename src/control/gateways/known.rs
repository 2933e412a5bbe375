//! What is known of one gateway over its life.

use crate::group::{Change, Health, Life, Schedule, Watch};
use crate::limits::GATEWAY_REUSE_NS;
use crate::metrics::exposition::{GatewayReading, PingCounts, WayReading};
use crate::net::{GatewayId, Now};
use crate::plan::{Gateway, Group};
use crate::snapshot::Snapshot;

/// A gateway of this or a former configuration.
pub struct Known {
    group: Box<str>,
    uri: Box<str>,
    pub identity: u32,
    /// Since when no configuration in force has it.
    gone: Option<Now>,
    pub watch: Watch,
    /// By the identity of the listener that is asked from.
    pub schedules: Vec<(u32, Schedule)>,
    /// From which listeners requests leave to which of its addresses.
    pub reached: Vec<(u32, u8)>,
    pub pings: PingCounts,
}

/// A change, for the log.
pub struct Told {
    pub group: Box<str>,
    pub uri: Box<str>,
    pub change: Change,
    pub down_after: u8,
    pub slow_return_s: u64,
}

impl Known {
    pub fn new(group: &Group, gateway: &Gateway, identity: u32) -> Self {
        Self {
            group: group.name.clone(),
            uri: gateway.uri.clone(),
            identity,
            gone: None,
            watch: Watch::default(),
            schedules: Vec::new(),
            reached: Vec::new(),
            pings: PingCounts::default(),
        }
    }

    /// It is this gateway of that group.
    pub fn is(&self, group: &Group, identity: u32) -> bool {
        self.identity == identity && self.group == group.name
    }

    /// No transaction names it any more.
    pub fn is_forgotten(&self, now: Now) -> bool {
        self.gone.is_some_and(|gone| now >= gone.plus_ns(GATEWAY_REUSE_NS))
    }

    /// Another configuration comes, which may not have it.
    pub fn leave(&mut self, now: Now) {
        self.gone.get_or_insert(now);
    }

    /// The configuration has it.
    pub fn stay(&mut self, gateway: &Gateway) {
        self.gone = None;
        self.uri = gateway.uri.clone();
    }

    /// Takes what was reported, and looks at the time.
    pub fn look(&mut self, health: &Health, id: GatewayId, group: &Group, now: Now, told: &mut Vec<Told>) {
        let Self { watch, uri, .. } = self;
        watch.look(health, id, &group.settings, now, |change| {
            told.push(Told {
                group: group.name.clone(),
                uri: uri.clone(),
                change,
                down_after: group.settings.down_after,
                slow_return_s: group.settings.slow_return_ns / 1_000_000_000,
            });
        });
    }

    pub fn reading(
        &self,
        health: &Health,
        snapshot: &Snapshot,
        group: &Group,
        gateway: &Gateway,
        id: GatewayId,
    ) -> GatewayReading {
        let way = |(listener, life): (u32, Life)| {
            let own = snapshot.view.by_identity(listener)?;
            let share = health.way(id, listener).share;
            Some(WayReading { listener: snapshot.plan.listener(own).name.clone(), life, share })
        };
        GatewayReading {
            id,
            group: group.name.clone(),
            uri: gateway.uri.clone(),
            ways: self.watch.lives().filter_map(way).collect(),
            pings: self.pings,
            watched: self.watch.counts(),
        }
    }
}

impl Told {
    /// Writes it to the log; the listener is named by `name`.
    pub fn log(&self, listener: &str) {
        let Self { group, uri, change, down_after, slow_return_s } = self;
        let about = format!("gateway {uri} of group {group}, from listener {listener}");
        match (change.to, change.from) {
            (Life::Down, _) => {
                tracing::warn!("{about}, is DOWN: it did not answer {down_after} times in a row")
            }
            (Life::Aside, _) => {
                let seconds = change.aside_s;
                tracing::warn!("{about}, is put aside for {seconds} s: it answered 503 with Retry-After");
            }
            (Life::Returning, _) => {
                tracing::info!("{about}, is back: its share grows for {slow_return_s} s");
            }
            (Life::Up, Life::Returning) => tracing::info!("{about}, gets its whole share again"),
            (Life::Up, _) => tracing::info!("{about}, is back"),
        }
    }
}
