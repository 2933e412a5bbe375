//! What every decision is made against: immutable, replaced as a whole, read without locks.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::egress::View;
use crate::fib::Fib;
use crate::group::Roster;
use crate::plan::{Ours, Plan};
use crate::token::Keys;

/// Addresses of the host names that rules name as next hop, from `[hosts]` and the resolver.
pub type Names = HashMap<Box<str>, Vec<IpAddr>>;

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
    /// Resolved names; lower case.
    pub names: Arc<Names>,
    /// The listeners as the Fib sees them: derived from `plan` and `fib`.
    pub view: View,
    /// What means us: derived from `plan`.
    pub ours: Ours,
    /// The gateways' numbers, and how they do.
    pub roster: Arc<Roster>,
}

impl Snapshot {
    /// Derives what follows from plan and Fib. Nobody watches the gateways: all are up.
    pub fn new(generation: u64, plan: Arc<Plan>, fib: Arc<Fib>, keys: Arc<Keys>, names: Arc<Names>) -> Self {
        let roster = Roster::unwatched(plan.groups.iter().map(|group| group.gateways.len()));
        Self::watched(generation, plan, fib, keys, names, Arc::new(roster))
    }

    /// The same where somebody watches the gateways, which `roster` numbers.
    pub fn watched(
        generation: u64,
        plan: Arc<Plan>,
        fib: Arc<Fib>,
        keys: Arc<Keys>,
        names: Arc<Names>,
        roster: Arc<Roster>,
    ) -> Self {
        let (view, ours) = (View::new(&plan, &fib), Ours::new(&plan));
        Self { generation, plan, fib, keys, names, view, ours, roster }
    }
}
