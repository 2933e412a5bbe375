//! Policy rules, compiled: selectors with names and tables resolved, walked in order.

use std::sync::Arc;

use super::spec::{self, Action, Masked, Ports, TABLE_LOCAL, TABLE_MAIN};
use super::table::{Alternative, Hop, Net, Table};
use super::trace::{Observer, Step};
use super::{LOOPBACK, NoRoute};
use crate::fib::links::Links;

/// What rules and tables see of a packet.
#[derive(Clone, Copy)]
pub(super) struct Flow<A> {
    pub dst: A,
    pub src: Option<A>,
    pub mark: u32,
    /// The device that the packet has to leave by; 0 for any, and for a VRF, whose table does it.
    pub oif: u32,
    /// The VRF that the packet belongs to; 0 for none.
    pub l3mdev: u32,
    pub uid: u32,
    pub protocol: u8,
    pub sport: u16,
    pub dport: u16,
    /// Chooses among the paths of a multipath route.
    pub hash: u64,
}

impl<A> Flow<A> {
    /// To a destination, with nothing else said.
    pub fn plain(dst: A) -> Self {
        Self { dst, src: None, mark: 0, oif: 0, l3mdev: 0, uid: 0, protocol: 0, sport: 0, dport: 0, hash: 0 }
    }
}

/// A route and the path of it that was chosen.
#[derive(Clone, Copy)]
pub(super) struct Found<'a, P> {
    pub table: u32,
    pub prefix: P,
    pub alternative: &'a Alternative,
    pub hop: &'a Hop,
}

/// What a look into a table, or the walk over all rules, comes to.
pub(super) enum Outcome<'a, P> {
    /// A route.
    Found(Found<'a, P>),
    /// A rule or a route says no.
    Refused(NoRoute),
    /// Nothing here: go on.
    Nothing,
    /// Something in the way is not understood.
    Unknown,
}

/// The rules of one family in their order, with the tables that they name.
#[derive(Clone)]
pub(super) struct Rules<P: Net> {
    rules: Vec<Rule<P>>,
    usual: Vec<UsualStep>,
    tables: Vec<Arc<Table<P>>>,
}

/// A rule, for a packet that asks for no device.
#[derive(Clone, Copy)]
pub(super) enum UsualStep {
    /// Look into the table at this place; any answer counts.
    Table(usize),
    /// The same, if the rule at this place matches.
    TableFor { rule: usize, table: usize },
    /// Something else.
    Other,
}

/// One rule, compiled.
#[derive(Clone)]
pub(super) struct Rule<P> {
    priority: u32,
    /// It has no selector: every packet is meant.
    plain: bool,
    spec_action: Action,
    not: bool,
    opaque: bool,
    from: Option<P>,
    to: Option<P>,
    /// Packets of this host come in by `lo`; a rule for another device is not for them.
    foreign_iif: bool,
    oif: Option<u32>,
    mark: Option<Masked>,
    uids: Option<(u32, u32)>,
    protocol: u8,
    sport: Option<Ports>,
    dport: Option<Ports>,
    /// DSCP, flow label or tunnel key that the packets of Viaduct's sockets do not have.
    foreign_marking: bool,
    l3mdev: bool,
    find_source: bool,
    suppress_prefix_len: Option<u8>,
    suppress_group: Option<u32>,
    target: Target,
}

/// A rule's action, resolved.
#[derive(Clone, Copy)]
enum Target {
    /// Place in `Rules::tables`; `None`: there is no such table, so nothing is found there.
    Table(Option<usize>),
    /// The table of the packet's VRF.
    VrfTable,
    /// Place in `Rules::rules`.
    Jump(usize),
    Nothing,
    Refuse(NoRoute),
}

impl<P: Net> Rule<P> {
    /// `from` for a packet whose source is still open (IPv6 `FIB_RULE_FIND_SADDR`).
    pub fn deferred_source(&self, flow: &Flow<P::Address>) -> Option<P> {
        if self.find_source && flow.src.is_none() { self.from } else { None }
    }

    /// `None`: it cannot be said, because the rule has an attribute that is not understood.
    fn matches(&self, flow: &Flow<P::Address>, links: &Links) -> Option<bool> {
        if self.plain {
            return Some(true);
        }
        let described = self.describes(flow, links);
        if self.opaque && (described || self.not) {
            return None;
        }
        Some(described != self.not)
    }

    fn describes(&self, flow: &Flow<P::Address>, links: &Links) -> bool {
        !self.foreign_iif
            && !self.foreign_marking
            && self.oif.is_none_or(|oif| oif == flow.oif || (oif == flow.l3mdev && links.is_vrf(oif)))
            && self.mark.is_none_or(|mark| mark.matches(flow.mark))
            && (!self.l3mdev || flow.l3mdev != 0)
            && self.uids.is_none_or(|(first, last)| (first..=last).contains(&flow.uid))
            && self.to.is_none_or(|net| net.holds(flow.dst))
            && self.describes_source(flow)
            && (self.protocol == 0 || self.protocol == flow.protocol)
            && self.sport.is_none_or(|ports| holds_port(ports, flow.sport))
            && self.dport.is_none_or(|ports| holds_port(ports, flow.dport))
    }

    fn describes_source(&self, flow: &Flow<P::Address>) -> bool {
        self.from.is_none_or(|net| match flow.src.or(P::OPEN_SOURCE) {
            Some(source) => net.holds(source),
            None => self.find_source,
        })
    }

    fn suppresses(&self, found: &Found<'_, P>, links: &Links) -> bool {
        let short = self.suppress_prefix_len.is_some_and(|len| found.prefix.prefix_len() <= len);
        short || self.suppress_group.is_some_and(|group| links.group(found.hop.dev) == Some(group))
    }
}

fn holds_port(ports: Ports, port: u16) -> bool {
    if ports.mask != 0 {
        return (ports.first ^ port) & ports.mask == 0;
    }
    (ports.first..=ports.last).contains(&port)
}

impl<P: Net> Rules<P> {
    /// Some rule is for some users only.
    pub fn go_by_user(&self) -> bool {
        self.rules.iter().any(|rule| rule.uids.is_some())
    }

    /// Compiles the rules of one family; they must be in the kernel's order.
    pub fn new<'s>(
        specs: impl Iterator<Item = &'s spec::Rule>,
        tables: Vec<Arc<Table<P>>>,
        links: &Links,
    ) -> Self {
        let specs: Vec<&spec::Rule> = specs.collect();
        let table_place = |id: u32| tables.iter().position(|table| table.id == id);
        let rules: Vec<Rule<P>> = specs
            .iter()
            .map(|spec| {
                let target = match spec.action {
                    _ if spec.l3mdev && matches!(spec.action, Action::Table(0)) => Target::VrfTable,
                    Action::Table(id) => Target::Table(table_place(id)),
                    Action::Goto(priority) => {
                        // A rule without its target is passed over, as the kernel does.
                        let place = specs.iter().position(|other| other.priority == priority);
                        place.map_or(Target::Nothing, Target::Jump)
                    }
                    Action::Nop => Target::Nothing,
                    Action::Blackhole => Target::Refuse(NoRoute::Blackhole),
                    Action::Unreachable => Target::Refuse(NoRoute::Unreachable),
                    Action::Prohibit => Target::Refuse(NoRoute::Prohibit),
                };
                compile(spec, target, links)
            })
            .collect();
        let usual = usual_steps(&rules);
        Self { rules, usual, tables }
    }

    /// The table with this id.
    pub fn table(&self, id: u32) -> Option<&Table<P>> {
        self.tables.iter().find(|table| table.id == id).map(|table| &**table)
    }

    /// Of IPv6: as they are when nobody has changed them. (The kernel remembers a change that was taken back.)
    pub fn are_the_kernels_own(&self) -> bool {
        let tables = self.rules.iter().map(|rule| (rule.priority, rule.plain, rule.spec_action));
        let own = [(0, TABLE_LOCAL), (32766, TABLE_MAIN)];
        tables.eq(own.map(|(priority, table)| (priority, true, Action::Table(table))))
    }

    /// What [usual](super::usual) packets go through.
    pub fn usual(&self) -> &[UsualStep] {
        &self.usual
    }

    /// The rule at this place matches; `None`: it cannot be said.
    pub fn matches(&self, rule: usize, flow: &Flow<P::Address>, links: &Links) -> Option<bool> {
        self.rules.get(rule)?.matches(flow, links)
    }

    /// All tables, by number.
    pub fn tables(&self) -> &[Arc<Table<P>>] {
        &self.tables
    }

    /// Asks the rules in order until one comes to an end; `look` looks into a table for a rule.
    pub fn walk<'a, O: Observer>(
        &'a self,
        flow: &Flow<P::Address>,
        links: &Links,
        observer: &mut O,
        mut look: impl FnMut(&'a Table<P>, &Rule<P>, &mut O) -> Outcome<'a, P>,
    ) -> Outcome<'a, P> {
        let mut place = 0;
        while let Some(rule) = self.rules.get(place) {
            place += 1;
            match rule.matches(flow, links) {
                Some(false) => continue,
                Some(true) => {}
                None => {
                    observer.note(|| Step::OpaqueRule { priority: rule.priority });
                    return Outcome::Unknown;
                }
            }
            observer.note(|| Step::Rule { priority: rule.priority, action: rule.spec_action });
            let table = match rule.target {
                Target::Nothing => continue,
                Target::Refuse(why) => return Outcome::Refused(why),
                Target::Jump(target) => {
                    // Forward only, so the walk ends; the kernel refuses to make others.
                    place = place.max(target);
                    continue;
                }
                Target::Table(place) => place.and_then(|place| self.tables.get(place)).map(|table| &**table),
                // Outside of any VRF only a rule with `not` comes here; then the kernel takes main.
                Target::VrfTable => self.table(links.vrf_table(flow.l3mdev).unwrap_or(TABLE_MAIN)),
            };
            let Some(table) = table else { continue };
            match look(table, rule, observer) {
                Outcome::Nothing => {}
                Outcome::Found(found) if rule.suppresses(&found, links) => {
                    let (priority, prefix) = (rule.priority, found.prefix.either());
                    observer.note(|| Step::Suppressed { priority, prefix });
                }
                end => return end,
            }
        }
        Outcome::Nothing
    }
}

fn usual_steps<P>(rules: &[Rule<P>]) -> Vec<UsualStep> {
    let step = |(place, rule): (usize, &Rule<P>)| {
        let picky = rule.suppress_prefix_len.is_some() || rule.suppress_group.is_some() || rule.find_source;
        match rule.target {
            // Nothing is found in a table that is not there.
            Target::Table(None) if rule.plain => None,
            Target::Table(Some(table)) if !picky && rule.plain => Some(UsualStep::Table(table)),
            Target::Table(Some(table)) if !picky => Some(UsualStep::TableFor { rule: place, table }),
            _ => Some(UsualStep::Other),
        }
    };
    rules.iter().enumerate().filter_map(step).collect()
}

fn compile<P: Net>(spec: &spec::Rule, target: Target, links: &Links) -> Rule<P> {
    let net = |net: Option<ipnet::IpNet>| net.filter(|net| net.prefix_len() > 0).and_then(P::of);
    let not_zero = |masked: Option<Masked>| masked.is_some_and(|masked| !masked.matches(0));
    let selectors =
        spec::Rule { suppress_prefix_len: None, suppress_group: None, find_source: false, ..spec.clone() };
    Rule {
        priority: spec.priority,
        plain: selectors == spec::Rule::new(spec.family, spec.priority, spec.action),
        spec_action: spec.action,
        not: spec.not,
        opaque: spec.opaque,
        from: net(spec.from),
        to: net(spec.to),
        foreign_iif: spec.iif.as_ref().is_some_and(|name| links.by_name(name) != Some(LOOPBACK)),
        oif: spec.oif.as_ref().map(|name| links.by_name(name).unwrap_or(u32::MAX)),
        mark: spec.mark,
        uids: spec.uids.as_ref().map(|uids| (*uids.start(), *uids.end())),
        protocol: spec.protocol,
        sport: spec.sport,
        dport: spec.dport,
        foreign_marking: not_zero(spec.dscp) || not_zero(spec.flow_label) || spec.tun_id != 0,
        l3mdev: spec.l3mdev,
        find_source: spec.find_source,
        suppress_prefix_len: spec.suppress_prefix_len,
        suppress_group: spec.suppress_group,
        target,
    }
}
