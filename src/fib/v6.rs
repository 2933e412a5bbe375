//! IPv6: what `ip6_dst_lookup` answers for a packet of this host.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::Ipv6Net;

use super::rules::{Flow, Found, Outcome, Rule, Rules};
use super::source::Sources6;
use super::spec::{Kind, TABLE_LOCAL};
use super::table::{Alternative, Candidate, Hop, Net, Table};
use super::trace::{Observer, SourceOrigin, Step};
use super::v4::loopback_of;
use super::{Answer, Fib, NoRoute, Query, Route, RouteKind};

/// Rules, tables and addresses of IPv6.
#[derive(Clone)]
pub(super) struct World {
    pub rules: Rules<Ipv6Net>,
    pub sources: Sources6,
}

impl World {
    /// A device of an address that packets may come from: an assigned one, or one that table `local`
    /// claims.
    pub fn home(&self, address: Ipv6Addr) -> Option<u32> {
        self.sources.homes(address).next().or_else(|| {
            let mut candidates = self.rules.table(TABLE_LOCAL)?.candidates(address);
            let first = candidates.next()?.alternatives.first()?;
            if first.kind == Kind::Local { first.hops.first().map(|hop| hop.dev) } else { None }
        })
    }

    /// A socket can be bound to this address and to the device (0: to none). A link-local address
    /// needs its device.
    fn may_bind(&self, address: Ipv6Addr, oif: u32) -> bool {
        if address.is_unicast_link_local() {
            return oif != 0 && self.sources.homes(address).any(|dev| dev == oif);
        }
        self.home(address).is_some()
    }
}

/// See [`Fib::lookup`].
pub(super) fn lookup<O: Observer>(
    fib: &Fib,
    query: &Query,
    dst: Ipv6Addr,
    src: Option<Ipv6Addr>,
    observer: &mut O,
) -> Answer {
    if dst.is_unspecified() {
        return Answer::No(NoRoute::Unreachable);
    }
    if query.oif == 0 && (dst.is_unicast_link_local() || is_link_multicast(dst)) {
        return Answer::No(NoRoute::NeedsDevice);
    }
    if src.is_some_and(|src| !fib.v6.may_bind(src, query.oif)) {
        return Answer::No(NoRoute::SourceNotLocal);
    }
    let flow = fib.flow(query, dst, src);
    let first = ask(fib, &flow, observer);
    // With the source open, the kernel asks again with the source that it would select without a
    // route: this is how a host with source-specific routing sends from unbound sockets.
    if let (Answer::No(why), None) = (first, src)
        && why != NoRoute::NoSource
        && let Some(source) = fib.v6.sources.select(&fib.links, dst, flow.l3mdev)
    {
        observer.note(|| Step::AskedAgain { source: source.into() });
        return ask(fib, &Flow { src: Some(source), ..flow }, observer);
    }
    first
}

/// ff01::/16 and ff02::/16 mean something on one link only.
fn is_link_multicast(dst: Ipv6Addr) -> bool {
    matches!(dst.octets(), [0xff, second, ..] if second & 0x0f <= 2)
}

fn ask<O: Observer>(fib: &Fib, flow: &Flow<Ipv6Addr>, observer: &mut O) -> Answer {
    let outcome = fib.v6.rules.walk(flow, &fib.links, observer, |table, rule, observer| {
        let end = look(table, flow, observer);
        match end {
            Outcome::Nothing => observer.note(|| Step::TableExhausted { table: table.id }),
            Outcome::Found(found) if !fits_deferred_source(fib, rule, &found, flow) => {
                return Outcome::Nothing;
            }
            // `__fib6_rule_action`, to which the kernel only comes where rules have been changed.
            Outcome::Found(Found { table, prefix, hop, .. })
                if !fib.v6.rules.are_the_kernels_own() && fib.links.lacks_ipv6(hop.dev) =>
            {
                observer.note(|| Step::NoUsablePath { table, prefix: prefix.either() });
                return Outcome::Nothing;
            }
            _ => {}
        }
        end
    });
    match outcome {
        Outcome::Found(found) => conclude(fib, &found, flow, observer),
        Outcome::Refused(why) => Answer::No(why),
        Outcome::Nothing => Answer::No(NoRoute::Unreachable),
        Outcome::Unknown => Answer::AskKernel,
    }
}

/// `FIB_RULE_FIND_SADDR`: the source that would be selected for this answer has to fit the rule's `from`.
fn fits_deferred_source(
    fib: &Fib,
    rule: &Rule<Ipv6Net>,
    found: &Found<'_, Ipv6Net>,
    flow: &Flow<Ipv6Addr>,
) -> bool {
    rule.deferred_source(flow).is_none_or(|from| {
        let source = fib.v6.sources.select(&fib.links, flow.dst, found.hop.dev);
        source.is_some_and(|source| from.contains(&source))
    })
}

/// Looks for the first route, longest prefix first, that can carry or refuse the packet.
fn look<'a, O: Observer>(
    table: &'a Table<Ipv6Net>,
    flow: &Flow<Ipv6Addr>,
    observer: &mut O,
) -> Outcome<'a, Ipv6Net> {
    let source = flow.src.unwrap_or(Ipv6Addr::UNSPECIFIED);
    let mut entered = false;
    for Candidate { table, prefix, alternatives } in table.candidates(flow.dst) {
        // Source-specific routes first, the longest source prefix first.
        for group in alternatives.chunk_by(|a, b| a.from == b.from) {
            let holds = match group.first().and_then(|a| a.from) {
                Some(from) => from.contains(&source),
                // The kernel enters the tree at the longest prefix, but not at one with source-specific
                // routes of which none is for this source, unless it is the root.
                None => entered || group.len() == alternatives.len() || prefix.prefix_len() == 0,
            };
            if !holds {
                continue;
            }
            entered = true;
            if group.iter().any(|alternative| alternative.opaque) {
                observer.note(|| Step::OpaqueRoute { table, prefix: prefix.either() });
                return Outcome::Unknown;
            }
            let Some((alternative, hop)) = best_of(group, flow) else {
                observer.note(|| Step::NoUsablePath { table, prefix: prefix.either() });
                continue;
            };
            let kind = alternative.kind;
            observer.note(|| Step::Route { table, prefix: prefix.either(), kind });
            return match kind {
                Kind::Throw => Outcome::Nothing,
                Kind::Blackhole => Outcome::Refused(NoRoute::Blackhole),
                Kind::Unreachable => Outcome::Refused(NoRoute::UnreachableRoute),
                Kind::Prohibit => Outcome::Refused(NoRoute::Prohibit),
                _ if hop.blackhole => Outcome::Refused(NoRoute::Blackhole),
                _ => Outcome::Found(Found { table, prefix, alternative, hop }),
            };
        }
    }
    Outcome::Nothing
}

/// The kernel's choice within one prefix: the best router preference among those of the lowest metric
/// that has any usable path, else among all others, whatever their metrics; then the path of that route.
fn best_of<'a>(group: &'a [Alternative], flow: &Flow<Ipv6Addr>) -> Option<(&'a Alternative, &'a Hop)> {
    let lowest = group.first()?.metric;
    let (near, far) = group.split_at(group.partition_point(|a| a.metric == lowest));
    let alternative = best_preference(near, flow).or_else(|| best_preference(far, flow))?;
    Some((alternative, choose_path(alternative, flow)?))
}

/// A blackhole nexthop object ends the kernel's search where it stands, whatever was found before it.
fn best_preference<'a>(group: &'a [Alternative], flow: &Flow<Ipv6Addr>) -> Option<&'a Alternative> {
    let is_blackhole = |alternative: &&Alternative| alternative.hops.iter().any(|hop| hop.blackhole);
    if let Some(blackhole) = group.iter().find(is_blackhole) {
        return Some(blackhole);
    }
    let usable = group.iter().filter(|alternative| choose_path(alternative, flow).is_some());
    usable.reduce(|best, next| if next.preference > best.preference { next } else { best })
}

fn choose_path<'a>(alternative: &'a Alternative, flow: &Flow<Ipv6Addr>) -> Option<&'a Hop> {
    alternative.choose(flow.hash, |hop| hop.blackhole || flow.oif == 0 || hop.dev == flow.oif)
}

/// Finds the source of a route that was found.
fn conclude<O: Observer>(
    fib: &Fib,
    found: &Found<'_, Ipv6Net>,
    flow: &Flow<Ipv6Addr>,
    observer: &mut O,
) -> Answer {
    let (alternative, hop) = (found.alternative, found.hop);
    let (source, origin) = match (flow.src, alternative.preferred_source) {
        (Some(src), _) => (Some(src), SourceOrigin::Bound),
        (None, Some(IpAddr::V6(preferred))) => (Some(preferred), SourceOrigin::Preferred),
        (None, _) => {
            // For a group of nexthop objects the kernel looks at its first member, whichever is taken.
            let first = if alternative.object { alternative.hops.first() } else { None };
            let dev = first.unwrap_or(hop).dev;
            (fib.v6.sources.select(&fib.links, flow.dst, dev), SourceOrigin::Selected)
        }
    };
    let Some(source) = source else { return Answer::No(NoRoute::NoSource) };
    observer.note(|| Step::Source { source: source.into(), origin });
    let kind = match alternative.kind {
        _ if flow.dst.is_multicast() => RouteKind::Multicast,
        Kind::Local => RouteKind::Local,
        Kind::Anycast => RouteKind::Anycast,
        _ => RouteKind::Unicast,
    };
    // Of anycast routes only those that the kernel made itself deliver here; they alone have metric 0.
    let to_self = match alternative.kind {
        Kind::Local => true,
        Kind::Anycast => alternative.metric == 0,
        _ => false,
    };
    Answer::Route(Route {
        kind,
        table: found.table,
        prefix: found.prefix.either(),
        dev: if to_self { loopback_of(&fib.links, hop.dev) } else { hop.dev },
        gateway: hop.gateway,
        source: source.into(),
    })
}
