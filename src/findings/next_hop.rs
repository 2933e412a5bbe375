//! One next hop: whether it is reached, from where, and whether that is what one would think.

use super::{Code, Examiner, Finding, Found, Severity, Subject, is_private};
use crate::egress::{
    self, Egress, NoEgress, Question, Reason, Step, Unfit, any_source_query, auto, overridden,
};
use crate::fib::{Answer, NoRoute, Query, Route};
use crate::limits;
use crate::net::{ListenerId, NextHop};
use crate::rules::EgressChoice;

/// A next hop, as a rule, a name or the default route leads to it.
pub(super) struct Aim {
    pub subject: Subject,
    pub next_hop: NextHop,
    /// The listener that the request is thought to come in on.
    pub ingress: ListenerId,
    /// The next hop in words.
    pub about: String,
}

impl Aim {
    fn question(&self) -> Question {
        Question { next_hop: self.next_hop, ingress: self.ingress, flow: 0 }
    }

    fn finding(&self, code: Code, severity: Severity) -> Finding {
        Finding::new(code, severity, &self.subject, &self.about)
    }

    fn how_to_see(&self) -> String {
        format!("viaduct routes get {} --compare", self.next_hop.address.ip())
    }
}

/// What is sent there comes back, and its answers are sent to nobody.
pub(super) fn ourselves(aim: &Aim) -> Finding {
    aim.finding(Code::NextHopOurselves, Severity::Warning)
        .because(format!("its next hop {} is a listener of this proxy: requests would come back", aim.about))
        .remedy("name the element that the requests are meant for")
}

/// What to do about a next hop that is the broadcast address of a network, or a group.
const ONE_HOST: &str = "name the address of one host";

/// The automatic choice.
pub(super) fn automatic(examiner: &Examiner<'_>, aim: &Aim, found: &mut Found) {
    let Examiner { plan, fib, view, .. } = *examiner;
    found.asked += 1;
    let question = aim.question();
    let open = fib.lookup(&any_source_query(view, plan.listener(aim.ingress), &question));
    match auto(plan, fib, view, &question) {
        Ok(egress) => {
            found.findings.extend(other_source(examiner, aim, &egress, open));
            if egress.reason == Reason::Auto(Step::Source) {
                found.findings.extend(asymmetric(examiner, aim, &egress, Severity::Warning));
            }
            found.findings.extend(multipath(examiner, aim));
            found.findings.extend(shows_private(examiner, aim, egress.listener));
            found.findings.extend(trusts_nobody(examiner, aim, egress.listener));
        }
        Err(why) => found.findings.push(nothing_found(examiner, aim, why)),
    }
}

/// The route's source is no listener, but the choice found one, by another step.
fn other_source(examiner: &Examiner<'_>, aim: &Aim, egress: &Egress, open: Answer) -> Option<Finding> {
    let Answer::Route(route) = open else { return None };
    let listener = &examiner.plan.listener(egress.listener).name;
    let step = match egress.reason {
        Reason::Auto(step @ (Step::OnDevice | Step::Elsewhere)) => step,
        Reason::Fallback => {
            let finding = aim.finding(Code::NextHopFallback, Severity::Warning);
            return Some(
                finding
                    .because(format!(
                        "for {} the automatic choice finds nothing, and [egress] no_listener sends it from «{listener}»",
                        aim.about
                    ))
                    .remedy(format!("name the egress in a rule, or add a listener on {}", route.source)),
            );
        }
        _ => return None,
    };
    let why = match step {
        Step::OnDevice => "whose address lives on that interface, too",
        _ => "the only one on a loopback or dummy device whose own lookup leaves by it",
    };
    let finding = aim.finding(Code::SourceNoListener, Severity::Note);
    let cause = format!(
        "the kernel would send to {} {} from {}, which is no listener; the automatic choice takes «{listener}», {why}",
        aim.about,
        route.in_words(examiner.fib),
        route.source,
    );
    Some(finding.because(cause).remedy(format!(
        "nothing, if «{listener}» is meant; else a [[listener]] on {}, or `src` in the route",
        route.source
    )))
}

/// Why the automatic choice finds nothing.
fn nothing_found(examiner: &Examiner<'_>, aim: &Aim, why: NoEgress) -> Finding {
    let words = why.in_words(examiner.plan, examiner.fib).to_string();
    let about = &aim.about;
    let (code, remedy) = match why {
        NoEgress::SourceIsNoListener(route) => {
            let finding = aim.finding(Code::SourceNoListener, Severity::Warning);
            let cause = format!("for {about} {words}; the automatic choice finds no other, and refuses");
            return finding.because(cause).remedy(format!(
                "a [[listener]] on {}, `egress` in the rule, or [egress] no_listener = \"NAME\"",
                route.source
            ));
        }
        NoEgress::SourceDown(_, listener, _) => {
            let finding = aim.finding(Code::SourceNoListener, Severity::Warning);
            let name = &examiner.plan.listener(listener).name;
            return finding.because(format!("for {about} {words}; the automatic choice refuses until it is up")).remedy(format!(
                "bring «{name}» up: see `ip address` and `ip link`; or `egress` in the rule, or [egress] no_listener = \"NAME\""
            ));
        }
        NoEgress::Several(route, _) => {
            let finding = aim.finding(Code::SourceNoListener, Severity::Warning);
            return finding
                .because(format!("for {about} {words}; the automatic choice refuses to guess"))
                .remedy(format!(
                    "a [[listener]] on {}, `egress` in the rule, or [egress] no_listener = \"NAME\"",
                    route.source
                ));
        }
        NoEgress::Unfit(listener, why) => (Code::NextHopUnrouted, how_to_fit(examiner, aim, listener, why)),
        NoEgress::AutoOff => (Code::AutomaticOff, "name a listener: egress = \"NAME\"".to_owned()),
        NoEgress::AskKernel(_) => (Code::AskKernel, aim.how_to_see()),
        NoEgress::NoListener => return no_listener(examiner, aim),
        NoEgress::Kind(_) => (Code::NextHopUnrouted, ONE_HOST.to_owned()),
        NoEgress::NoRoute(NoRoute::Unreachable) if assumes_link(examiner, aim, None) => {
            return on_link(examiner, aim, Severity::Warning, None);
        }
        NoEgress::NoRoute(_) | NoEgress::NoAddress(_) | NoEgress::NoSuchListener(..) => {
            (Code::NextHopUnrouted, aim.how_to_see())
        }
    };
    let cause = format!("no listener reaches {about}: {words}");
    aim.finding(code, Severity::Warning).because(cause).remedy(remedy)
}

/// What to do about the listener on the kernel's source that cannot send.
fn how_to_fit(examiner: &Examiner<'_>, aim: &Aim, listener: ListenerId, why: Unfit) -> String {
    let own = examiner.plan.listener(listener);
    let name = &own.name;
    if why == Unfit::Tied {
        return format!(
            "name it in the rule: egress = \"{name}\"; or a [[listener]] on {} without the tie",
            own.bind.ip()
        );
    }
    let device = own.device.as_deref().map_or(String::new(), |device| format!(" --oif {device}"));
    let mark = own.mark.map_or(String::new(), |mark| format!(" --mark {mark}"));
    let to = aim.next_hop.address.ip();
    format!(
        "`viaduct routes get {to} --from {}{device}{mark}` shows which rule or route holds it; another listener has to be \
         named in the rule: egress = \"NAME\"",
        own.bind.ip()
    )
}

/// No listener of transport and family is up, at least none in the VRF that requests come in by.
fn no_listener(examiner: &Examiner<'_>, aim: &Aim) -> Finding {
    let across = first_fit(examiner, aim, |id| examiner.view.vrf(id) != examiner.view.vrf(aim.ingress));
    let about = &aim.about;
    match across {
        Some(other) => {
            let name = &examiner.plan.listener(other).name;
            aim.finding(Code::VrfCrossing, Severity::Warning)
                .because(format!(
                    "{about} is reached by «{name}» in another VRF, and the automatic choice never crosses VRFs"
                ))
                .remedy(format!("name it in the rule: egress = \"{name}\""))
        }
        None => {
            let family = if aim.next_hop.address.is_ipv4() { "IPv4" } else { "IPv6" };
            let wanted = format!("over {} with an {family} address", aim.next_hop.transport);
            aim.finding(Code::NoListener, Severity::Warning)
                .because(format!("no listener reaches {about}: none {wanted} is up"))
                .remedy(format!("a [[listener]] {wanted}"))
        }
    }
}

/// A rule's `egress`. `literal`: the rule itself names the address, so that a listener which cannot reach
/// it is a mistake and no mishap.
pub(super) fn by_override(
    examiner: &Examiner<'_>,
    aim: &Aim,
    choice: &EgressChoice,
    literal: bool,
    found: &mut Found,
) {
    let Examiner { plan, fib, view, .. } = *examiner;
    found.asked += 1;
    match overridden(plan, fib, view, choice, &aim.question()) {
        Ok(egress) => {
            found.findings.extend(crosses(examiner, aim, egress.listener));
            found.findings.extend(asymmetric(examiner, aim, &egress, Severity::Note));
            found.findings.extend(shows_private(examiner, aim, egress.listener));
            found.findings.extend(trusts_nobody(examiner, aim, egress.listener));
        }
        Err(why) => {
            let mistake = if literal && matches!(choice, EgressChoice::Listener(_)) {
                Severity::Error
            } else {
                Severity::Warning
            };
            found.findings.push(cannot(examiner, aim, why, mistake));
        }
    }
}

/// Without authorities no server can be verified, and to none a connection is opened. Only what a rule names says that one is to be.
fn trusts_nobody(examiner: &Examiner<'_>, aim: &Aim, listener: ListenerId) -> Option<Finding> {
    if !matches!(aim.subject, Subject::Rule(..)) {
        return None;
    }
    let listener = examiner.plan.listener(listener);
    let tls = examiner.plan.section(listener.section).tls.as_ref()?;
    let finding = tls.client.is_none().then(|| aim.finding(Code::NoAuthorities, Severity::Warning))?;
    let name = &listener.name;
    Some(
        finding
            .because(format!("«{name}» has no `ca`, so it trusts nobody and connects to nobody, {} included", aim.about))
            .remedy("name a file with the certificates of the authorities that the next hop's certificate is by: ca = \"…\""),
    )
}

/// Why an override cannot send.
fn cannot(examiner: &Examiner<'_>, aim: &Aim, why: NoEgress, mistake: Severity) -> Finding {
    let words = why.in_words(examiner.plan, examiner.fib).to_string();
    let cause = format!("its egress cannot reach {}: {words}", aim.about);
    let finding = |code, severity| aim.finding(code, severity).because(cause.clone());
    match why {
        // An address or a link that is absent now may come; a route that leads elsewhere is a mistake.
        NoEgress::Unfit(_, Unfit::Down(_)) | NoEgress::NoAddress(_) => {
            finding(Code::OverrideDown, Severity::Warning)
                .remedy("see `ip address` and `ip link`; until then requests are answered with 5xx")
        }
        NoEgress::AskKernel(_) => finding(Code::AskKernel, Severity::Warning).remedy(aim.how_to_see()),
        NoEgress::NoSuchListener(transport, socket) => finding(Code::OverrideNoSocket, Severity::Warning)
            .remedy(format!("add a [[listener]] with bind = \"{transport}:{socket}\", or name one")),
        NoEgress::Unfit(_, Unfit::Kind(_)) => finding(Code::OverrideUnreachable, mistake).remedy(ONE_HOST),
        NoEgress::Unfit(listener, Unfit::NoRoute(NoRoute::Unreachable))
            if assumes_link(examiner, aim, Some(listener)) =>
        {
            on_link(examiner, aim, mistake, Some(listener))
        }
        _ => match first_fit(examiner, aim, |_| true) {
            Some(other) => {
                let name = &examiner.plan.listener(other).name;
                let finding = aim.finding(Code::OverrideWrongListener, mistake);
                let better = format!("«{name}» can: egress = \"{name}\", or leave `egress` out");
                finding.because(cause).remedy(better)
            }
            None => finding(Code::OverrideUnreachable, mistake).remedy(aim.how_to_see()),
        },
    }
}

/// The first listener, of a bounded number, that can send to the next hop.
fn first_fit(examiner: &Examiner<'_>, aim: &Aim, fits: impl Fn(ListenerId) -> bool) -> Option<ListenerId> {
    let Examiner { plan, fib, view, .. } = *examiner;
    let question = aim.question();
    let mut some = plan.listeners.iter().take(limits::FINDING_CANDIDATES).map(|l| l.id);
    some.find(|&id| fits(id) && egress::confirm(plan, fib, view, id, &question).is_ok())
}

/// An IPv4 socket that is tied to a device, and no route: the listener given, or the one that the
/// automatic choice would ask first.
fn assumes_link(examiner: &Examiner<'_>, aim: &Aim, listener: Option<ListenerId>) -> bool {
    aim.next_hop.address.is_ipv4() && tied_to(examiner, aim, listener).is_some()
}

fn tied_to<'a>(examiner: &Examiner<'a>, aim: &Aim, listener: Option<ListenerId>) -> Option<&'a str> {
    let fits = |l: &&crate::plan::Listener| {
        (l.transport, l.bind.is_ipv4()) == (aim.next_hop.transport, aim.next_hop.address.is_ipv4())
    };
    match listener {
        Some(id) => examiner.plan.listener(id).device.as_deref(),
        None => {
            let mut all = examiner.plan.listeners.iter().filter(fits);
            let first = all.next()?.device.as_deref();
            if all.all(|l| l.device.is_some()) { first } else { None }
        }
    }
}

fn on_link(examiner: &Examiner<'_>, aim: &Aim, severity: Severity, listener: Option<ListenerId>) -> Finding {
    let device = tied_to(examiner, aim, listener).unwrap_or("its device");
    let about = &aim.about;
    let mut remedy = format!("if it is on the link: ip route add {} dev {device}", aim.next_hop.address.ip());
    if let Some(other) = first_fit(examiner, aim, |_| true) {
        remedy = format!("{remedy}; else «{}» can reach it", examiner.plan.listener(other).name);
    }
    aim.finding(Code::OnLinkAssumption, severity)
        .because(format!(
            "no route of {device} holds {about}: the kernel would assume it on the link, Viaduct takes it \
             for unreachable"
        ))
        .remedy(remedy)
}

/// The sends leave another way than the open lookup says, which is what people look at.
fn asymmetric(examiner: &Examiner<'_>, aim: &Aim, egress: &Egress, severity: Severity) -> Option<Finding> {
    let Examiner { plan, fib, view, .. } = *examiner;
    let own = plan.listener(egress.listener);
    let Answer::Route(open) = fib.lookup(&any_source_query(view, own, &aim.question())) else { return None };
    let bound = egress.route;
    if (open.dev, open.gateway) == (bound.dev, bound.gateway) || is_one_path(examiner, aim, &open) {
        return None;
    }
    let cause = format!(
        "to {} the kernel routes {} with any source, and {} from {}, which is what «{}» sends",
        aim.about,
        open.in_words(fib),
        bound.in_words(fib),
        own.bind.ip(),
        own.name
    );
    Some(aim.finding(Code::AsymmetricRoute, severity).because(cause).remedy(format!(
        "nothing, if the rules for {} are meant so; see `ip rule` and viaduct routes get {} --from {}",
        own.bind.ip(),
        aim.next_hop.address.ip(),
        own.bind.ip()
    )))
}

/// Of several paths the transaction chooses one; that is told as a finding of its own.
fn is_one_path(examiner: &Examiner<'_>, aim: &Aim, open: &Route) -> bool {
    examiner.fib.is_multipath() && paths(examiner, aim).iter().filter(|p| p.prefix == open.prefix).count() > 1
}

fn paths(examiner: &Examiner<'_>, aim: &Aim) -> Vec<Route> {
    let question = aim.question();
    let own = examiner.plan.listener(aim.ingress);
    let query: Query = any_source_query(examiner.view, own, &question);
    examiner.fib.paths(&query)
}

fn multipath(examiner: &Examiner<'_>, aim: &Aim) -> Option<Finding> {
    if !examiner.fib.is_multipath() {
        return None;
    }
    let paths = paths(examiner, aim);
    let first = paths.first()?;
    if paths.iter().all(|path| path.source == first.source) {
        return None;
    }
    let each: Vec<String> =
        paths.iter().map(|p| format!("{} from {}", p.in_words(examiner.fib), p.source)).collect();
    let cause = format!(
        "{} has {} paths with different sources, and each transaction takes one: {}",
        aim.about,
        paths.len(),
        each.join("; ")
    );
    Some(
        aim.finding(Code::MultipathSources, Severity::Warning)
            .because(cause)
            .remedy("give the route one source (`src ADDRESS`), or name the egress in a rule"),
    )
}

fn shows_private(examiner: &Examiner<'_>, aim: &Aim, listener: ListenerId) -> Option<Finding> {
    let to = aim.next_hop.address.ip();
    let own = examiner.plan.listener(listener);
    let shown = own.advertised(to).ip.filter(|ip| is_private(*ip))?;
    if is_private(to) {
        return None;
    }
    // Behind a translator with a default route everything looks like that; a next hop that somebody wrote
    // down is meant to work.
    let severity = if aim.subject == Subject::Host { Severity::Note } else { Severity::Warning };
    let cause = format!(
        "towards {}, which is public, «{}» shows the private address {shown} in Via and Record-Route",
        aim.about, own.name
    );
    Some(
        aim.finding(Code::AdvertisedPrivate, severity)
            .because(cause)
            .remedy(format!("in the listener «{}»: advertise = \"PUBLIC-ADDRESS:PORT\"", own.name)),
    )
}

fn crosses(examiner: &Examiner<'_>, aim: &Aim, listener: ListenerId) -> Option<Finding> {
    let (from, to) = (examiner.view.vrf(aim.ingress), examiner.view.vrf(listener));
    if from == to {
        return None;
    }
    let name = |index: u32| match examiner.fib.link_name(index) {
        Some(vrf) if index != 0 => format!("VRF {vrf}"),
        _ => "the default VRF".to_owned(),
    };
    let cause = format!("it takes requests from {} to {} in {}", name(from), aim.about, name(to));
    let finding = aim.finding(Code::VrfCrossing, Severity::Note);
    Some(finding.because(cause).remedy("nothing, if the rule is meant to join them"))
}
