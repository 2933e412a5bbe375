//! What is known of one gateway over its life.

use crate::group::{Change, Fault, Health, Life, Over, Report, Schedule, Send, Watch};
use crate::limits::GATEWAY_REUSE_NS;
use crate::metrics::exposition::{GatewayReading, PingCounts, WayReading};
use crate::net::{GatewayId, Now};
use crate::plan::{Gateway, Group};
use crate::snapshot::Snapshot;

use super::ways::Reached;

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
    pub reached: Vec<Reached>,
    pub pings: PingCounts,
}

/// A change, for the log.
pub struct Told {
    pub group: Box<str>,
    pub uri: Box<str>,
    pub change: Change,
    /// Why OPTIONS failed last, if they did.
    pub fault: Option<Fault>,
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

    /// A round of OPTIONS from this listener is over.
    pub fn over(&mut self, health: &Health, id: GatewayId, listener: u32, over: Over) {
        self.pings.ended(over);
        let (report, fault) = match over {
            Over::Lives => (Report::Answered, None),
            Over::Fails(fault) => (Report::Failed, Some(fault)),
            Over::Unsent => return,
        };
        health.report(id, listener, report);
        health.set_fault(id, listener, fault);
    }

    /// What was due of the schedule at this place was sent to these addresses, a bit each. What leaves by a connection may
    /// yet turn out not to: it counts when its round is over.
    pub fn asked(&mut self, schedule: usize, send: Send, addresses: u8) {
        let Some((_, schedule)) = self.schedules.get_mut(schedule) else { return };
        if addresses == 0 {
            self.pings.unsent += 1;
            schedule.unsent();
        } else if !send.is_again {
            schedule.asked(addresses);
        }
    }

    /// Takes what was reported, and looks at the time.
    pub fn look(&mut self, health: &Health, id: GatewayId, group: &Group, now: Now, told: &mut Vec<Told>) {
        let Self { watch, uri, .. } = self;
        watch.look(health, id, &group.settings, now, |change| {
            told.push(Told {
                group: group.name.clone(),
                uri: uri.clone(),
                change,
                fault: health.fault(id, change.listener),
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
            let (share, fault) = (health.way(id, listener).share, health.fault(id, listener));
            Some(WayReading { listener: snapshot.plan.listener(own).name.clone(), life, share, fault })
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
        let Self { group, uri, change, fault, down_after, slow_return_s } = self;
        let about = format!("gateway {uri} of group {group}, from listener {listener}");
        match (change.to, change.from) {
            (Life::Down, _) => match fault {
                None | Some(Fault::Silent) => {
                    tracing::warn!("{about}, is DOWN: it did not answer {down_after} times in a row")
                }
                Some(fault) => {
                    tracing::warn!("{about}, is DOWN after {down_after} failures in a row: it {fault}")
                }
            },
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
