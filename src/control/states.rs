//! How the listeners do: what changes is told in the log, in words that name the cause, and counted.
//!
//! A host whose addresses flap may change a thousand listeners a second. So many lines of a window are told, the
//! rest is one line at its end.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::listeners::Refusals;
use crate::egress::{ListenerState, View};
use crate::fib::Fib;
use crate::fib::spec::Link;
use crate::limits::LISTENER_CHANGES_TOLD;
use crate::metrics::exposition::{ListenerChanges, ListenerStanding};
use crate::plan::{Listener, Plan, Standing};

/// How long [`LISTENER_CHANGES_TOLD`] lines last.
const WINDOW: Duration = Duration::from_secs(10);

/// The listeners as they were when they were looked at last.
#[derive(Default)]
pub struct States {
    plan: Option<Arc<Plan>>,
    states: Vec<How>,
    counts: ListenerChanges,
    budget: Budget,
}

/// A listener's state, and whether its cause is the rarer one of those that the state has: a duplicate address, a carrier that is
/// not there.
type How = (ListenerState, bool);

/// Something that an operator wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    kind: Kind,
    line: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Appeared,
    Gone,
    /// Whether for the better.
    State(bool),
}

#[derive(Default)]
struct Budget {
    began: Option<Instant>,
    told: usize,
    kept_back: usize,
}

impl States {
    /// Nobody looked at yet, for a new configuration; counts go on.
    pub fn of(counts: ListenerChanges) -> Self {
        Self { counts, ..Self::default() }
    }

    /// Another configuration: who is there and how it does is no news.
    pub fn adopt(&mut self, plan: &Arc<Plan>, view: &View, fib: &Fib) {
        self.states = states(plan, view, fib);
        self.plan = Some(Arc::clone(plan));
    }

    /// What has changed since the last look, counted.
    pub fn look(&mut self, plan: &Arc<Plan>, view: &View, fib: &Fib) -> Vec<Change> {
        let now = states(plan, view, fib);
        let Some(old) = self.plan.take_if(|old| !Arc::ptr_eq(old, plan) || self.states != now) else {
            if self.plan.is_none() {
                self.adopt(plan, view, fib);
            }
            return Vec::new();
        };
        let before: HashMap<u32, How> =
            of_served(&old, &self.states).map(|(l, how)| (l.identity, *how)).collect();
        let mut changes = Vec::new();
        for (listener, how) in plan.listeners.iter().zip(&now) {
            let (state, was) = (how.0, before.get(&listener.identity));
            // What is so of its address and device is told of the one that it stands beside.
            let own = [Some(state), was.map(|was| was.0)].contains(&Some(ListenerState::NoSocket));
            let served = listener.standing != Standing::Leaving && (own || !plan.is_sibling(listener));
            match was {
                None if served => changes.push(Change::appeared(listener, state, view, fib)),
                Some(was) if was != how && served => changes.push(Change::state(listener, state, view, fib)),
                _ => {}
            }
        }
        let here: HashSet<u32> = of_served(plan, &now).map(|(l, _)| l.identity).collect();
        let gone = old.listeners.iter().filter(|l| l.standing != Standing::Leaving && !old.is_sibling(l));
        changes.extend(gone.filter(|l| !here.contains(&l.identity)).map(|l| Change::gone(l, fib)));
        for change in &changes {
            match change.kind {
                Kind::Appeared => self.counts.appeared += 1,
                Kind::Gone => self.counts.gone += 1,
                Kind::State(_) => self.counts.states += 1,
            }
        }
        self.adopt(plan, view, fib);
        changes
    }

    /// How often something has changed since the start.
    pub fn counts(&self) -> ListenerChanges {
        self.counts
    }

    /// Every listener, for the metrics and the admin address.
    /// `refusals` tells why some have no socket.
    pub(super) fn standings(&self, view: &View, fib: &Fib, refusals: &Refusals) -> Vec<ListenerStanding> {
        let Some(plan) = &self.plan else { return Vec::new() };
        let standing = |(listener, (state, _)): (&Listener, &How)| ListenerStanding {
            name: listener.name.clone(),
            bound: format!("{}:{}", listener.transport, listener.bind).into(),
            state: *state,
            cause: match refusals.get(&listener.identity).filter(|_| *state == ListenerState::NoSocket) {
                Some(why) => why.clone(),
                None => (cause(listener, *state, view, fib) + &tie(listener)).into(),
            },
        };
        of_served(plan, &self.states).map(standing).collect()
    }

    /// Writes changes to the log, as many as the window has left.
    pub fn tell(&mut self, changes: &[Change], now: Instant) {
        for change in changes {
            if !self.budget.allows(now) {
                continue;
            }
            match change.kind {
                Kind::Appeared | Kind::Gone | Kind::State(true) => tracing::info!("{}", change.line),
                Kind::State(false) => tracing::warn!("{}", change.line),
            }
        }
    }

    /// The summary of a window that is over and could not tell all; to be asked now and then.
    pub fn summary(&mut self, now: Instant) -> Option<String> {
        let kept_back = self.budget.over(now)?;
        let ListenerChanges { appeared, gone, states } = self.counts;
        Some(format!(
            "{kept_back} further changes of listeners in the last {} s were not told one by one; since the start {appeared} \
             appeared, {gone} went and {states} changed their state: addresses or links of this host flap, see \
             `ip monitor address link`",
            WINDOW.as_secs()
        ))
    }
}

impl Budget {
    fn allows(&mut self, now: Instant) -> bool {
        let began = *self.began.get_or_insert(now);
        // A summary that is due is told first, by whoever asks for it.
        if now.duration_since(began) >= WINDOW && self.kept_back == 0 {
            *self = Self { began: Some(now), ..Self::default() };
        }
        if self.told < LISTENER_CHANGES_TOLD {
            self.told += 1;
            return true;
        }
        self.kept_back += 1;
        false
    }

    fn over(&mut self, now: Instant) -> Option<usize> {
        self.began.filter(|began| now.duration_since(*began) >= WINDOW)?;
        let kept_back = std::mem::take(self).kept_back;
        (kept_back > 0).then_some(kept_back)
    }
}

impl Change {
    fn appeared(listener: &Listener, state: ListenerState, view: &View, fib: &Fib) -> Self {
        let cause = cause(listener, state, view, fib);
        let (name, transport, bind) = (&listener.name, listener.transport, listener.bind);
        Self { kind: Kind::Appeared, line: format!("listener {name} is new: {transport}:{bind}; {cause}") }
    }

    fn gone(listener: &Listener, fib: &Fib) -> Self {
        let (name, ip) = (&listener.name, listener.bind.ip());
        let cause = match fib.assigned().find(|a| a.address == ip) {
            Some(_) => format!("{ip} is none of those that it serves now"),
            None => format!("no interface has {ip} any more"),
        };
        let line = format!("listener {name} goes: {cause}; what it has received is still handled");
        Self { kind: Kind::Gone, line }
    }

    fn state(listener: &Listener, state: ListenerState, view: &View, fib: &Fib) -> Self {
        let cause = cause(listener, state, view, fib);
        let up = state == ListenerState::Up;
        let line = match up {
            true => format!("listener {} is up: {cause}", listener.name),
            false => format!("listener {} is DOWN ({}): {cause}", listener.name, state.label()),
        };
        Self { kind: Kind::State(up), line }
    }
}

fn states(plan: &Plan, view: &View, fib: &Fib) -> Vec<How> {
    let has_no_carrier = |dev: Option<u32>| dev.and_then(|dev| fib.link(dev)).is_some_and(|link| link.up);
    let how = |listener: &Listener| {
        let state = view.state(listener.id);
        let is_rare = match state {
            ListenerState::AddressAbsent => fib.unusable(listener.bind.ip()).is_some_and(|own| own.duplicate),
            ListenerState::HomeDown => has_no_carrier(view.home(listener.id)),
            ListenerState::DeviceDown => has_no_carrier(device(listener, fib)),
            _ => false,
        };
        (state, is_rare)
    };
    plan.listeners.iter().map(how).collect()
}

/// What its socket is tied to.
fn device(listener: &Listener, fib: &Fib) -> Option<u32> {
    fib.link_index(listener.device.as_deref().or(listener.link.as_deref())?)
}

/// Those that do not leave, with the states of all. Leaving ones were told of when they went.
fn of_served<'a>(plan: &'a Plan, states: &'a [How]) -> impl Iterator<Item = (&'a Listener, &'a How)> {
    plan.listeners.iter().zip(states).filter(|(l, _)| l.standing != Standing::Leaving)
}

/// What its socket is tied to.
fn tie(listener: &Listener) -> String {
    let device = listener.device.as_deref().map_or(String::new(), |device| format!("; device {device}"));
    let mark = listener.mark.map_or(String::new(), |mark| format!("; mark {mark}"));
    device + &mark
}

/// Why a listener does as it does.
fn cause(listener: &Listener, state: ListenerState, view: &View, fib: &Fib) -> String {
    let ip = listener.bind.ip();
    let home = view.home(listener.id).and_then(|dev| fib.link_name(dev)).unwrap_or("an interface");
    let device = listener.device.as_deref().or(listener.link.as_deref()).unwrap_or_default();
    let down = |dev: Option<u32>| dev.and_then(|dev| fib.link(dev)).map_or("is down", Link::down_in_words);
    match state {
        ListenerState::Up => format!("{home} has {ip}"),
        ListenerState::AddressAbsent => match fib.unusable(ip) {
            Some(own) => {
                let name = fib.link_name(own.dev).unwrap_or("an interface");
                if own.duplicate {
                    format!("another host on {name} has {ip} (duplicate address detection has failed)")
                } else {
                    format!("{ip} on {name} is tentative (duplicate address detection is not over)")
                }
            }
            None => format!("no interface has {ip}"),
        },
        ListenerState::HomeDown => format!("{home}, which has {ip}, {}", down(view.home(listener.id))),
        ListenerState::DeviceAbsent => format!("there is no interface {device}"),
        ListenerState::DeviceDown => {
            format!("its device {device} {}", down(self::device(listener, fib)))
        }
        ListenerState::NoSocket => format!("no socket can be opened on {ip}"),
    }
}

#[cfg(test)]
#[path = "states_tests.rs"]
mod tests;
