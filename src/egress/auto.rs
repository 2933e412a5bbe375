//! The automatic choice: what the kernel would choose, as far as listeners allow.
//!
//! ```text
//! for each class (mark, device) of the listeners that have the transport and the family:
//!   A  a route with any source?
//!      A.1 source     the listener on the route's source address     (ingress port, else first)
//!      A.2 on_device  the first listener that lives on its device    ┐ nearest: their bound lookup
//!      A.3 elsewhere  the only listener on loopback (or a dummy)     ┘ leaves by the same device
//!   B  bound          no such route: the first listener whose own lookup answers
//! nothing: [egress] no_listener
//! ```
//!
//! An address of one network is not shown to another: who lives on an interface that leads somewhere stands in for no
//! listener of another one (A.3), and nobody does for a listener that is down.

use super::choose::{Link, carries, class_query, confirm, link_towards, of_section};
use super::trace::{Candidate, Note, Observer};
use super::view::Class;
use super::{Egress, NoEgress, Question, Reason, Step, Unfit, View};
use crate::fib::{Answer, Fib, Route};
use crate::plan::{ListenerId, NoListener, Plan};

/// The automatic choice (design section 5, "Auto"), with `[egress] no_listener` applied.
///
/// # Errors
/// Why nothing was found, of the first class of listeners that was asked.
#[inline(never)]
pub fn auto(plan: &Plan, fib: &Fib, view: &View, question: &Question) -> Result<Egress, NoEgress> {
    auto_observed(plan, fib, view, question, &mut ())
}

/// [`auto`], and tells `observer` what was looked at on the way.
///
/// # Errors
/// As [`auto`].
pub fn auto_observed(
    plan: &Plan,
    fib: &Fib,
    view: &View,
    question: &Question,
    observer: &mut impl Observer,
) -> Result<Egress, NoEgress> {
    let chosen = if plan.egress.auto {
        let mut choice = Choice { plan, fib, view, question, observer, route: None };
        choice.all_classes().and_then(|chosen| choice.found(chosen))
    } else {
        Err(NoEgress::AutoOff)
    };
    match (chosen, plan.egress.no_listener) {
        (Err(why @ NoEgress::AskKernel(_)), _) => Err(why),
        (Err(why), NoListener::Use(section)) => {
            of_section(plan, fib, view, section, question, Reason::Fallback).map_err(|other| match other {
                NoEgress::AskKernel(_) => other,
                _ => why,
            })
        }
        (chosen, _) => chosen,
    }
}

struct Choice<'a, O> {
    plan: &'a Plan,
    fib: &'a Fib,
    view: &'a View,
    question: &'a Question,
    observer: &'a mut O,
    /// That of the last listener which can send.
    route: Option<Route>,
}

/// A listener, and the step that chose it; its route is [`Choice::route`].
type Chosen = (ListenerId, Step);

impl<'a, O: Observer> Choice<'a, O> {
    fn all_classes(&mut self) -> Result<Chosen, NoEgress> {
        let next_hop = &self.question.next_hop;
        let vrf = self.view.seat(self.question.ingress).vrf;
        let mut first_failure = None;
        for (number, class) in self.view.classes(next_hop.transport, next_hop.address.ip()).iter().enumerate()
        {
            if class.vrf != vrf || !class.members.iter().any(|&l| self.view.is_up(l)) {
                continue;
            }
            match self.class(number, class) {
                // Whoever is asked next would be one of several, too.
                Err(why @ (NoEgress::AskKernel(_) | NoEgress::Several(..))) => return Err(why),
                Err(why) => first_failure = first_failure.or(Some(why)),
                chosen => return chosen,
            }
        }
        Err(first_failure.map_or(NoEgress::NoListener, |why| self.named(why)))
    }

    fn found(&self, (listener, step): Chosen) -> Result<Egress, NoEgress> {
        let route = self.route.ok_or(NoEgress::NoListener)?;
        Ok(Egress { listener, reason: Reason::Auto(step), route })
    }

    fn class(&mut self, number: usize, class: &Class) -> Result<Chosen, NoEgress> {
        let query = class_query(self.view, class.mark, class.oif, self.question);
        let (answer, settles) = self.fib.lookup_open(&query);
        if let Some(&first) = class.members.first() {
            self.observer.note(Note::Class { number, first, query, answer });
        }
        let none = match answer {
            Answer::Route(route) if carries(route.kind) => return self.routed(class, &route, settles),
            Answer::AskKernel => return Err(NoEgress::AskKernel(query)),
            Answer::No(reason) => NoEgress::NoRoute(reason),
            Answer::Route(route) => NoEgress::Kind(route.kind),
        };
        if self.plan.egress.nearest
            && let Some(listener) = self.bound(class)?
        {
            return Ok((listener, Step::Bound));
        }
        Err(none)
    }

    /// A: there is a route with any source. `settles`: see [`Fib::lookup_open`].
    fn routed(&mut self, class: &Class, route: &Route, settles: bool) -> Result<Chosen, NoEgress> {
        if let Some(listener) = self.on_source(class, route, settles)? {
            return Ok((listener, Step::Source));
        }
        if self.plan.egress.nearest {
            if let Some(listener) = self.on_device(class, route)? {
                return Ok((listener, Step::OnDevice));
            }
            if let Some(why) = self.down(class, route) {
                class.members.iter().for_each(|&listener| self.passes_over(listener, route.dev));
                return Err(why);
            }
            if let Some(listener) = self.elsewhere(class, route)? {
                return Ok((listener, Step::Elsewhere));
            }
        }
        Err(NoEgress::SourceIsNoListener(*route))
    }

    /// A.1: listeners on the route's source address; the ingress listener's port first.
    fn on_source(
        &mut self,
        class: &Class,
        open: &Route,
        settles: bool,
    ) -> Result<Option<ListenerId>, NoEgress> {
        let port = self.plan.listener(self.question.ingress).bind.port();
        let here = class.at(open.source);
        for same_port in [true, false] {
            for listener in here.clone() {
                if (self.plan.listener(listener).bind.port() == port) == same_port
                    && self.consider_source(listener, open, settles)?
                {
                    return Ok(Some(listener));
                }
            }
        }
        Ok(None)
    }

    /// As [`Choice::consider`] a listener on the source of the route with any source: where that settles it, nothing more is
    /// asked.
    fn consider_source(
        &mut self,
        listener: ListenerId,
        open: &Route,
        settles: bool,
    ) -> Result<bool, NoEgress> {
        if !settles || !self.view.seat(listener).is_plain {
            return self.consider(listener, Step::Source, None);
        }
        self.observer.note(Note::Candidate(Candidate { listener, step: Step::Source, lost: None }));
        self.route = Some(*open);
        Ok(true)
    }

    /// A.2: listeners whose address lives on the route's device (a floating address that is not the
    /// primary one).
    fn on_device(&mut self, class: &Class, route: &Route) -> Result<Option<ListenerId>, NoEgress> {
        for &listener in &class.members {
            if self.view.seat(listener).home == route.dev
                && self.consider(listener, Step::OnDevice, Some(route.dev))?
            {
                return Ok(Some(listener));
            }
        }
        Ok(None)
    }

    /// A listener that is not up, and that the route is for.
    fn down(&self, class: &Class, route: &Route) -> Option<NoEgress> {
        let listener = self.view.missed(self.question.next_hop.transport, class.vrf, route)?;
        (!self.fib.leads_nowhere(route.dev))
            .then(|| NoEgress::SourceDown(*route, listener, self.view.state(listener)))
    }

    /// Whoever is on the kernel's source, and why it does not send.
    fn named(&self, why: NoEgress) -> NoEgress {
        let NoEgress::SourceIsNoListener(route) = why else { return why };
        let vrf = self.view.seat(self.question.ingress).vrf;
        let transport = self.question.next_hop.transport;
        if let Some(down) = self.view.missed(transport, vrf, &route) {
            return NoEgress::SourceDown(route, down, self.view.state(down));
        }
        match self.view.at(transport, route.source).find(|&l| self.view.is_up(l)) {
            Some(listener) => {
                let fit = confirm(self.plan, self.fib, self.view, listener, self.question);
                NoEgress::Unfit(listener, fit.err().unwrap_or(Unfit::Tied))
            }
            None => why,
        }
    }

    /// A.3: listeners whose address lives elsewhere (loopback, anycast); more than one is a guess.
    fn elsewhere(&mut self, class: &Class, route: &Route) -> Result<Option<ListenerId>, NoEgress> {
        let mut only = None;
        for &listener in &class.members {
            if !self.may_leave_by(listener, route.dev) {
                self.passes_over(listener, route.dev);
            } else if self.view.seat(listener).home != route.dev
                && self.consider(listener, Step::Elsewhere, Some(route.dev))?
            {
                match only {
                    Some(other) => return Err(NoEgress::Several(*route, [other, listener])),
                    None => only = Some(listener),
                }
            }
        }
        Ok(only)
    }

    /// It is not asked in A.3.
    fn passes_over(&mut self, listener: ListenerId, dev: u32) {
        if self.view.is_up(listener) && self.view.seat(listener).home != dev {
            let lost = Some(Unfit::Elsewhere);
            self.observer.note(Note::Candidate(Candidate { listener, step: Step::Elsewhere, lost }));
        }
    }

    /// Its address is of no network that another device leads to, or it is there, too; or its `device` says so.
    fn may_leave_by(&self, listener: ListenerId, dev: u32) -> bool {
        let seat = self.view.seat(listener);
        seat.roams
            || seat.oif == dev
            || self.fib.leads_nowhere(dev)
            || self.fib.homes_of(self.plan.listener(listener).bind.ip()).any(|home| home == dev)
    }

    /// B: no route with any source. A host with a routing table for each source address is like that:
    /// there an unbound `connect()` says unreachable, and the bound socket sends fine.
    fn bound(&mut self, class: &Class) -> Result<Option<ListenerId>, NoEgress> {
        for &listener in &class.members {
            if self.consider(listener, Step::Bound, None)? {
                return Ok(Some(listener));
            }
        }
        Ok(None)
    }

    /// Whether the listener can send (by the device `by`, where one is given); the bound lookup's route is kept.
    fn consider(&mut self, listener: ListenerId, step: Step, by: Option<u32>) -> Result<bool, NoEgress> {
        let fit = if step != Step::Source && self.leaves_its_link(listener) {
            Err(Unfit::Link)
        } else {
            match confirm(self.plan, self.fib, self.view, listener, self.question) {
                Ok(route) if by.is_some_and(|dev| dev != route.dev) => Err(Unfit::Device(route)),
                fit => fit,
            }
        };
        self.observer.note(Note::Candidate(Candidate { listener, step, lost: fit.err() }));
        match fit {
            Ok(route) => {
                self.route = Some(route);
                Ok(true)
            }
            Err(Unfit::AskKernel(query)) => Err(NoEgress::AskKernel(query)),
            Err(_) => Ok(false),
        }
    }

    /// A link-local source is for link-local next hops: whoever is further away cannot answer it.
    fn leaves_its_link(&self, listener: ListenerId) -> bool {
        matches!(self.plan.listener(listener).bind.ip(), std::net::IpAddr::V6(v6) if v6.is_unicast_link_local())
            && link_towards(self.view, self.question) == Link::Any
    }
}
