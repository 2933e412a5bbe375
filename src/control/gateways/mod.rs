//! Gateways of groups, looked after beside the shards: their numbers, OPTIONS to them, and what becomes of them.
//!
//! OPTIONS leave from the listeners' own sockets and connections, so that the answer comes back to where requests' answers do;
//! whichever shard receives it notes it in [`Health`], where the next look finds it.

mod known;
mod options;
mod ways;

use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::shards::ShardThread;
use super::supervisor::Control;
use crate::dns::Directory;
use crate::group::{Health, ROUND, Roster, Schedule, Send};
use crate::limits::GATEWAYS;
use crate::metrics::exposition::GatewayReading;
use crate::net::{GatewayId, NextHop, Now, Transport};
use crate::plan::{Gateway, Group, Plan};
use crate::snapshot::Snapshot;
use crate::token::PingBranch;
use known::{Known, Told};
use options::Leaving;
use ways::{Asked, Reached};

/// How often it is found out anew, at most, from which listeners requests leave to a gateway.
const WAYS_EVERY_NS: u64 = 1_000_000_000;

/// All gateways of the process.
pub struct Gateways {
    health: Arc<Health>,
    /// By number; none: it is free.
    known: Vec<Option<Known>>,
    /// By group of the configuration in force.
    asked: Vec<Asked>,
    began: Instant,
    /// Tells this process's OPTIONS from those of others.
    instance: u32,
    next_number: u32,
    /// Of the snapshot that ways were found by, with its names, which change without it; and when.
    ways_of: Option<(u64, Arc<Directory>, Now)>,
}

/// More gateways than can be numbered: many reloads with many changes in a short time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many gateways of former configurations are still in use; reload again in five minutes")]
pub struct OutOfNumbers;

/// The number of each gateway of a configuration, by group and place.
pub type Numbers = Vec<Box<[GatewayId]>>;

/// Has an OPTIONS leave.
pub type Leave<'a> = dyn FnMut(&Leaving) -> io::Result<()> + 'a;

impl Gateways {
    /// None yet. `random` tells this process from others.
    pub fn new(random: u64) -> Self {
        Self {
            health: Arc::new(Health::new(GATEWAYS)),
            known: (0..GATEWAYS).map(|_| None).collect(),
            asked: Vec::new(),
            began: Instant::now(),
            instance: random as u32,
            next_number: (random >> 32) as u32,
            ways_of: None,
        }
    }

    /// The instant, as gateways count time.
    pub fn now(&self) -> Now {
        Now(u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// There are gateways to be looked after.
    pub fn any(&self) -> bool {
        self.known.iter().any(Option::is_some)
    }

    /// Numbers the gateways of a configuration: those that are known, by group and place in the world, keep theirs.
    /// Changes nothing.
    ///
    /// # Errors
    /// There are not enough numbers.
    pub fn number(&self, plan: &Plan, now: Now) -> Result<Numbers, OutOfNumbers> {
        let is_free = |seat: &Option<Known>| seat.as_ref().is_none_or(|known| known.is_forgotten(now));
        let mut free =
            (0..).map(GatewayId).zip(&self.known).filter(|(_, seat)| is_free(seat)).map(|(id, _)| id);
        let mut number = |group: &Group, identity: u32| {
            let same = |seat: &Option<Known>| {
                seat.as_ref().is_some_and(|known| known.is(group, identity) && !known.is_forgotten(now))
            };
            let kept = self.known.iter().position(same).map(|at| GatewayId(at as u16));
            kept.or_else(|| free.next()).ok_or(OutOfNumbers)
        };
        let of_group =
            |group: &Group| group.members.iter().map(|member| number(group, member.identity)).collect();
        plan.groups.iter().map(of_group).collect()
    }

    /// Puts a configuration's gateways in force; how those that stay do is kept.
    pub fn put_in_force(&mut self, plan: &Plan, numbers: Numbers, now: Now) -> Arc<Roster> {
        for known in self.known.iter_mut().flatten() {
            known.leave(now);
        }
        for (group, ids) in plan.groups.iter().zip(&numbers) {
            for (place, id) in ids.iter().enumerate() {
                let (gateway, identity) = (&group.gateways[place], group.members[place].identity);
                let seat = &mut self.known[usize::from(id.0)];
                let stays = seat.as_ref().is_some_and(|known| known.is(group, identity));
                if !stays {
                    self.health.keep_ways(*id, |_| false);
                    *seat = Some(Known::new(group, gateway, identity));
                }
                if let Some(known) = seat {
                    known.stay(gateway);
                    if group.pinging.is_none() {
                        known.schedules.clear();
                        let ways: Vec<u32> = self.health.ways(*id).map(|(listener, _)| listener).collect();
                        ways.into_iter().for_each(|listener| self.health.set_fault(*id, listener, None));
                    }
                }
                self.health.set_down_after(*id, group.settings.down_after);
            }
        }
        self.asked = ways::asked(plan);
        self.ways_of = None;
        Arc::new(Roster::new(Arc::clone(&self.health), numbers))
    }

    /// Does what is due: OPTIONS, and what follows from time and reports. Tells what has changed.
    pub fn look(&mut self, snapshot: &Snapshot, now: Now, leave: &mut Leave<'_>) -> Vec<Told> {
        let finds_ways = self.ways_of.as_ref().is_none_or(|(generation, names, at)| {
            let other = *generation != snapshot.generation || !Arc::ptr_eq(names, &snapshot.names);
            other && now >= at.plus_ns(WAYS_EVERY_NS)
        });
        if finds_ways {
            self.ways_of = Some((snapshot.generation, Arc::clone(&snapshot.names), now));
        }
        let mut told = Vec::new();
        for (group, gateway, id) in all(snapshot) {
            if finds_ways {
                self.find_ways(snapshot, group, gateway, id);
            }
            self.ping(snapshot, (group, gateway, id), now, leave);
            if let Some(known) = &mut self.known[usize::from(id.0)] {
                known.look(&self.health, id, group, now, &mut told);
            }
        }
        told
    }

    /// Forgets the ways from listeners that are gone, and knows those that requests would take.
    fn find_ways(&mut self, snapshot: &Snapshot, group: &Group, gateway: &Gateway, id: GatewayId) {
        self.health.keep_ways(id, |listener| snapshot.view.by_identity(listener).is_some());
        let asked = self.asked.get(usize::from(group.id.0)).filter(|_| group.pinging.is_some());
        let found = asked.map(|asked| asked.listeners(snapshot, gateway)).unwrap_or_default();
        for reached in &found {
            // Where there is no room, the way counts as up.
            self.health.know(id, reached.listener);
        }
        if let Some(known) = &mut self.known[usize::from(id.0)] {
            known.reached = found;
        }
    }

    /// Asks one gateway by each of its ways what is due there.
    fn ping(
        &mut self,
        snapshot: &Snapshot,
        (group, gateway, id): (&Group, &Gateway, GatewayId),
        now: Now,
        leave: &mut Leave<'_>,
    ) {
        let Some(pinging) = &group.pinging else { return };
        let Self { health, known, next_number, instance, .. } = self;
        let Some(known) = &mut known[usize::from(id.0)] else { return };
        let ways: Vec<u32> = health.ways(id).map(|(listener, _)| listener).collect();
        known.schedules.retain(|(listener, _)| ways.contains(listener));
        for listener in ways {
            let at = known.schedules.iter().position(|(of, _)| *of == listener).unwrap_or_else(|| {
                let spread = known.identity.wrapping_mul(0x9e37_79b9) ^ listener;
                known.schedules.push((listener, Schedule::new(now, spread, pinging)));
                known.schedules.len() - 1
            });
            let due = known.schedules[at].1.look(pinging, &health.take_answers(id, listener), now, || {
                *next_number = (*next_number - *next_number % ROUND).wrapping_add(ROUND);
                *next_number
            });
            if let Some(over) = due.over {
                known.over(health, id, listener, over);
            }
            let Some(send) = due.send else { continue };
            let (hops, reached) = match known.reached.iter().find(|reached| reached.listener == listener) {
                Some(Reached { hops, to, .. }) => (hops.clone(), *to),
                // By ways that no rule takes any more, whatever can be reached.
                None => (ways::hops(snapshot, gateway, gateway.egress.as_ref()), u8::MAX),
            };
            let send = Send { to: send.to & reached, ..send };
            let branch = PingBranch { gateway: id, listener, number: send.number };
            let mut leave = |hop, branch| {
                options::written(snapshot, gateway, hop, branch, *instance).map(|options| leave(&options))
            };
            let asked = ask(&hops, branch, send, &mut leave);
            known.asked(at, send, asked);
        }
    }

    /// All gateways in force, for the metrics and the admin address.
    pub fn readings(&self, snapshot: &Snapshot) -> Vec<GatewayReading> {
        let reading = |(group, gateway, id): (&Group, &Gateway, GatewayId)| {
            let known = self.known[usize::from(id.0)].as_ref()?;
            Some(known.reading(&self.health, snapshot, group, gateway, id))
        };
        all(snapshot).filter_map(reading).collect()
    }
}

/// Every gateway of a snapshot with its group and its number.
fn all(snapshot: &Snapshot) -> impl Iterator<Item = (&Group, &Gateway, GatewayId)> {
    snapshot.plan.groups.iter().flat_map(|group| {
        let ids = snapshot.roster.ids(group.id);
        group.gateways.iter().zip(ids).map(move |(gateway, id)| (group, gateway, *id))
    })
}

/// Which of a round's addresses a number is for.
fn bit(number: u32) -> u8 {
    1 << (number % ROUND)
}

/// Asks a gateway's addresses; `branch` is that of the first, `leave` gives none where requests would not leave either. Those
/// that are asked, a bit each.
fn ask(
    hops: &[NextHop],
    branch: PingBranch,
    send: Send,
    leave: &mut dyn FnMut(NextHop, PingBranch) -> Option<io::Result<()>>,
) -> u8 {
    let mut asked = 0;
    for (number, hop) in (send.number..).zip(hops).filter(|(number, _)| send.to & bit(*number) != 0) {
        // RFC 3261 §17.1.2.2: "If an unreliable transport is in use, the client transaction MUST set timer E".
        if send.is_again && hop.transport != Transport::Udp {
            asked |= bit(number);
            continue;
        }
        let is_asked = match leave(*hop, PingBranch { number, ..branch }) {
            Some(Ok(())) => true,
            // A lost datagram is sent again.
            Some(Err(error)) => error.kind() == io::ErrorKind::WouldBlock,
            None => false,
        };
        asked |= if is_asked { bit(number) } else { 0 };
    }
    asked
}

impl Control {
    /// Looks after all gateways. Shards act at once on what they hear; answers to OPTIONS, and time, wait for the next
    /// look.
    pub(super) fn look_after_gateways(&mut self) {
        if self.parts.stopping || !self.gateways.any() {
            return;
        }
        let published = self.publisher.published();
        let published = published.load();
        let snapshot = &published.snapshot;
        let now = self.gateways.now();
        let Self { gateways, sockets, post, shards, .. } = self;
        let mut rung = Vec::new();
        let mut leave = |options: &Leaving| options.leave(sockets, post, &mut rung);
        let told = gateways.look(snapshot, now, &mut leave);
        let threads = rung.into_iter().filter_map(|shard| shards.get(usize::from(shard))?.as_ref());
        threads.for_each(ShardThread::wake);
        for told in &told {
            let on = snapshot.view.by_identity(told.change.listener);
            told.log(on.map_or("(gone)", |on| &snapshot.plan.listener(on).name));
        }
        if !told.is_empty() {
            self.show_gateways();
        }
    }

    /// Shows the metrics and the admin address how the gateways do.
    pub(super) fn show_gateways(&self) {
        let published = self.publisher.published();
        let readings = self.gateways.readings(&published.load().snapshot);
        self.monitor.facts().gateways = readings;
    }
}

#[cfg(test)]
mod tests;
