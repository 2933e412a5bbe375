//! What every decision is made against: immutable, replaced as a whole, read without locks.

use std::sync::Arc;

use crate::dns::{Directory, Question};
use crate::egress::View;
use crate::fib::Fib;
use crate::group::Roster;
use crate::limits::CANDIDATES;
use crate::net::NextHop;
use crate::plan::{Ours, Plan};
use crate::token::Keys;

/// One consistent state of configuration and kernel.
pub struct Snapshot {
    /// Counts publications; strictly increasing.
    pub generation: u64,
    /// The configuration, compiled.
    pub plan: Arc<Plan>,
    /// The kernel's routing policy.
    pub fib: Arc<Fib>,
    /// What signs and verifies tokens.
    pub keys: Arc<Keys>,
    /// What DNS said.
    pub names: Arc<Directory>,
    /// The listeners as the Fib sees them: derived from `plan` and `fib`.
    pub view: Arc<View>,
    /// What means us: derived from `plan`.
    pub ours: Arc<Ours>,
    /// The gateways' numbers, and how they do.
    pub roster: Arc<Roster>,
}

impl Snapshot {
    /// Derives what follows from plan and Fib. Nobody watches the gateways: all are up.
    pub fn new(
        generation: u64,
        plan: Arc<Plan>,
        fib: Arc<Fib>,
        keys: Arc<Keys>,
        names: Arc<Directory>,
    ) -> Self {
        let roster = Roster::unwatched(plan.groups.iter().map(|group| group.gateways.len()));
        Self::watched(generation, plan, fib, keys, names, Arc::new(roster))
    }

    /// The same where somebody watches the gateways, which `roster` numbers.
    pub fn watched(
        generation: u64,
        plan: Arc<Plan>,
        fib: Arc<Fib>,
        keys: Arc<Keys>,
        names: Arc<Directory>,
        roster: Arc<Roster>,
    ) -> Self {
        let (view, ours) = (View::new(&plan, &fib).into(), Ours::new(&plan).into());
        Self { generation, plan, fib, keys, names, view, ours, roster }
    }

    /// The servers that a name leads to, by `[hosts]` or DNS, as many as are tried; always in the same order.
    pub fn hops(&self, question: &Question) -> Vec<NextHop> {
        if let Some(hosts) = self.plan.hosts_of(question) {
            return hosts.take(CANDIDATES).collect();
        }
        let found = self.names.get(question).and_then(|resolution| resolution.as_ref().ok());
        found.map(|found| found.ordered(0).take(CANDIDATES).collect()).unwrap_or_default()
    }

    /// The same with other names: of the same generation, because what is remembered of it still holds.
    #[must_use]
    pub fn with_names(&self, names: Arc<Directory>) -> Self {
        Self {
            generation: self.generation,
            plan: Arc::clone(&self.plan),
            fib: Arc::clone(&self.fib),
            keys: Arc::clone(&self.keys),
            names,
            view: Arc::clone(&self.view),
            ours: Arc::clone(&self.ours),
            roster: Arc::clone(&self.roster),
        }
    }
}
