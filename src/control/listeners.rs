//! Listeners that follow the host: at every change of links or addresses the configuration is expanded anew, what is
//! new is bound before the shards hear of it, what is gone is read empty before it is forgotten.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::Error;
use super::sockets::{self, Change, Sockets};
use super::supervisor::Control;
use crate::engine::socket::Socket;
use crate::fib::Fib;
use crate::plan::{ListenerId, Plan, Standing, expand};

/// What was opened, and which listeners could not be.
type Prepared = (Change<Socket>, Vec<(ListenerId, Error)>);

/// Opens what a configuration needs. Of listeners that come and go with the host's addresses, and of those for connections
/// that nobody has asked for, those that cannot be opened are marked; they are tried again.
///
/// # Errors
/// Another listener cannot be opened.
pub(super) fn prepare(sockets: &Sockets<Socket>, plan: &mut Plan) -> Result<Prepared, Error> {
    let open = |l: &_| sockets::open(l, plan);
    let prepared = sockets.prepare(&plan.listeners, plan.engine.socket_buffer_bytes, open);
    let (change, mut refused) = prepared;
    if let Some(at) = refused.iter().position(|(id, _)| plan.is_needed(plan.listener(*id))) {
        return Err(refused.swap_remove(at).1);
    }
    mark(plan, &refused);
    Ok((change, refused))
}

/// Says of a listener why it has no socket, and what follows.
pub(super) fn tell_refusal(plan: &Plan, id: ListenerId, why: &Error) {
    let listener = plan.listener(id);
    match plan.is_extra(listener) {
        true => tracing::warn!(
            "{why}; it is tried again every second, and until then «{}» serves no TCP. Write tcp = false there if that \
             is meant to be so",
            plan.section(listener.section).name
        ),
        false => tracing::error!("{why}; tried again every second"),
    }
}

/// Says that no listener is served, where it is so.
pub(super) fn tell_none(plan: &Plan) {
    if plan.listeners.is_empty() {
        tracing::error!(
            "no listener is served, so nothing is received: no bind of {} stands for an address that this host has",
            plan.origin
        );
    }
}

/// Why listeners have no socket, by their identity.
pub(super) type Refusals = HashMap<u32, Box<str>>;

/// As they are shown.
pub(super) fn refusals(plan: &Plan, refused: &[(ListenerId, Error)]) -> Refusals {
    let words = |why: &Error| match why {
        // Which listener it is, is known where this is shown.
        Error::Socket { why, .. } => why.to_string(),
        other => other.to_string(),
    };
    refused.iter().map(|(id, why)| (plan.listener(*id).identity, words(why).into())).collect()
}

fn mark(plan: &mut Plan, refused: &[(ListenerId, Error)]) {
    for (id, _) in refused {
        plan.listeners[usize::from(id.0)].standing = Standing::Refused;
    }
}

impl Control {
    /// Takes a new state of the kernel. `delay` is how old it is: since its first event.
    pub(super) fn take_fib(&mut self, fib: Arc<Fib>, delay: Duration) {
        let same = fib.has_links_and_addresses_of(&self.parts.fib);
        self.parts.fib = fib;
        let since = Instant::now().checked_sub(delay).unwrap_or_else(Instant::now);
        if same || !self.follow(since) {
            self.publish();
        }
    }

    /// Looks again after listeners whose sockets could not be opened, or that were still to be emptied.
    pub(super) fn follow_again(&mut self) {
        if self.parts.plan.listeners.iter().any(|l| l.standing != Standing::Served) {
            self.follow(Instant::now());
        }
    }

    /// Fits listeners and sockets to links and addresses. True: something has changed, and is published.
    fn follow(&mut self, since: Instant) -> bool {
        if self.parts.stopping {
            return false;
        }
        let old = Arc::clone(&self.parts.plan);
        let expansion = expand(&old.sections, &self.parts.fib);
        let here: HashSet<u32> = expansion.listeners.iter().map(|l| l.identity).collect();
        let gone = old.listeners.iter().filter(|l| !here.contains(&l.identity));
        let leaving = gone.filter(|l| l.standing == Standing::Served || self.sockets.is_closing(l.identity));
        let mut plan = old.with_listeners(expansion.with_leaving(leaving));
        let buffer_bytes = plan.engine.socket_buffer_bytes;
        let open = |l: &_| sockets::open(l, &plan);
        let (change, refused) = self.sockets.prepare(&plan.listeners, buffer_bytes, open);
        self.tell_refused(&plan, &refused);
        mark(&mut plan, &refused);
        if plan.listeners == old.listeners && plan.left_out == old.left_out {
            return false;
        }
        let named = &plan.left_out;
        if named.beyond > 0 && named.beyond != old.left_out.beyond {
            let first = named.named.join(", ");
            tracing::warn!(
                "{} addresses are not served, there are too many; the first are {first}",
                named.beyond
            );
        }
        self.sockets.read_facts(&old.listeners, &mut self.monitor.facts().listeners);
        self.sockets.apply(change);
        self.use_listeners(Arc::new(plan), since);
        let generation = self.publish_and_wake();
        self.journal.renumbered(generation);
        true
    }

    /// Puts listeners in force whose sockets are applied.
    pub(super) fn use_listeners(&mut self, plan: Arc<Plan>, since: Instant) {
        let series = self.monitor.series_of(&plan);
        self.parts.bindings = Arc::new(self.sockets.bindings(&plan.listeners, &series));
        self.use_sockets(since);
        self.parts.plan = plan;
    }

    /// What the shards shall have open, since when that is so.
    pub(super) fn use_sockets(&mut self, since: Instant) {
        self.parts.sockets = self.sockets.table();
        self.parts.sockets_since = since;
    }

    /// Once for each listener, and again when it could be opened meanwhile.
    pub(super) fn tell_refused(&mut self, plan: &Plan, refused: &[(ListenerId, Error)]) {
        const SUBJECT: &str = "listeners";
        let before = |id: ListenerId| {
            let identity = plan.listener(id).identity;
            self.parts
                .plan
                .listeners
                .iter()
                .any(|l| l.identity == identity && l.standing == Standing::Refused)
        };
        let news = refused.iter().filter(|(id, _)| !before(*id));
        news.take(crate::limits::LISTENER_CHANGES_TOLD).for_each(|(id, why)| tell_refusal(plan, *id, why));
        self.refusals = refusals(plan, refused);
        // Whoever asks for the health of the process asks whether it does what it was told to.
        let missing: Vec<&Error> = (refused.iter())
            .filter(|(id, _)| !plan.is_extra(plan.listener(*id)))
            .map(|(_, why)| why)
            .collect();
        let mut facts = self.monitor.facts();
        match missing.first() {
            Some(why) => {
                let trouble = format!("{} listeners have no socket: {why}", missing.len());
                facts.troubles.insert(SUBJECT, trouble);
            }
            None => {
                if facts.troubles.remove(SUBJECT).is_some() {
                    tracing::info!("all listeners have their sockets again");
                }
            }
        }
    }
}
