//! IPv4: what `ip_route_output_key` answers for a packet of this host.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;

use super::rules::{Flow, Found, Outcome, Rules};
use super::source::Sources4;
use super::spec::{Kind, SCOPE_LINK, SCOPE_UNIVERSE, TABLE_LOCAL, TABLE_MAIN};
use super::table::{Candidate, Net, Table};
use super::trace::{Observer, SourceOrigin, Step};
use super::{Answer, Fib, LOOPBACK, NoRoute, Query, Route, RouteKind};
use crate::fib::links::Links;

/// Rules, tables and addresses of IPv4.
#[derive(Clone)]
pub(super) struct World {
    pub rules: Rules<Ipv4Net>,
    pub sources: Sources4,
    /// See [`super::Builder::local_merged_into_main`].
    pub merged: bool,
}

impl World {
    /// The device of an address that packets may come from: an assigned one, or one that table
    /// `local` claims (`ip route add local PREFIX`).
    pub fn home(&self, address: Ipv4Addr) -> Option<u32> {
        self.sources.homes(address).next().or_else(|| {
            let local = self.rules.table(TABLE_LOCAL)?;
            match self.look_into(local, &Flow::plain(address), &mut ()) {
                Outcome::Found(found) if found.alternative.kind == Kind::Local => Some(found.hop.dev),
                _ => None,
            }
        })
    }

    fn look_into<'a, O: Observer>(
        &'a self,
        table: &'a Table<Ipv4Net>,
        flow: &Flow<Ipv4Addr>,
        observer: &mut O,
    ) -> Outcome<'a, Ipv4Net> {
        if self.merged && table.id == TABLE_LOCAL {
            return look(merged(table, self.rules.table(TABLE_MAIN), flow.dst), flow, observer);
        }
        look(table.candidates(flow.dst), flow, observer)
    }
}

/// See [`Fib::lookup`].
pub(super) fn lookup<O: Observer>(
    fib: &Fib,
    query: &Query,
    dst: Ipv4Addr,
    src: Option<Ipv4Addr>,
    observer: &mut O,
) -> Answer {
    let world = &fib.v4;
    if dst.octets()[0] == 0 {
        return Answer::No(NoRoute::Unreachable);
    }
    if let Some(src) = src {
        let unfit = src.is_multicast() || src.is_broadcast() || src.octets()[0] == 0;
        let Some(home) = world.home(src).filter(|_| !unfit) else {
            return Answer::No(NoRoute::SourceNotLocal);
        };
        if query.oif == 0 && (dst.is_multicast() || dst.is_broadcast()) {
            return straight_out(fib, home, dst, Some(src));
        }
    }
    let mut preselected = None;
    if query.oif != 0 {
        if !fib.links.get(query.oif).is_some_and(|link| link.up) {
            return Answer::No(NoRoute::Unreachable);
        }
        let local_group = matches!(dst.octets(), [224, 0, 0, _]);
        if local_group || dst.is_broadcast() {
            return straight_out(fib, query.oif, dst, src);
        }
        if dst.is_multicast() {
            preselected = world.sources.select(&fib.links, query.oif, None, SCOPE_UNIVERSE);
        }
    }
    let flow = fib.flow(query, dst, src.or(preselected));
    let outcome = world.rules.walk(&flow, &fib.links, observer, |table, _, observer| {
        let end = world.look_into(table, &flow, observer);
        if let Outcome::Nothing = end {
            observer.note(|| Step::TableExhausted { table: table.id });
        }
        end
    });
    match outcome {
        Outcome::Found(found) => conclude(fib, &found, &flow, src, observer),
        Outcome::Refused(why) => Answer::No(why),
        Outcome::Nothing => Answer::No(NoRoute::Unreachable),
        Outcome::Unknown => Answer::AskKernel,
    }
}

/// The candidates of both tables, longest first; `local` wins a tie.
fn merged<'a>(
    local: &'a Table<Ipv4Net>,
    main: Option<&'a Table<Ipv4Net>>,
    dst: Ipv4Addr,
) -> impl Iterator<Item = Candidate<'a, Ipv4Net>> {
    let mut local = local.candidates(dst).peekable();
    let mut main = main.map(|main| main.candidates(dst)).into_iter().flatten().peekable();
    std::iter::from_fn(move || match (local.peek(), main.peek()) {
        (Some(l), Some(m)) if m.prefix.prefix_len() > l.prefix.prefix_len() => main.next(),
        (Some(_), _) => local.next(),
        (None, _) => main.next(),
    })
}

/// Looks for the first route, longest prefix first, that can carry or refuse the packet.
fn look<'a, O: Observer>(
    candidates: impl Iterator<Item = Candidate<'a, Ipv4Net>>,
    flow: &Flow<Ipv4Addr>,
    observer: &mut O,
) -> Outcome<'a, Ipv4Net> {
    let mut left = None;
    for Candidate { table, prefix, alternatives } in candidates {
        if left == Some(prefix.network()) {
            continue;
        }
        for alternative in alternatives {
            let kind = alternative.kind;
            if alternative.opaque {
                observer.note(|| Step::OpaqueRoute { table, prefix: prefix.either() });
                return Outcome::Unknown;
            }
            let on_device = |dev: u32| flow.oif == 0 || dev == flow.oif;
            let hop = alternative.hops.iter().find(|hop| hop.blackhole || (hop.usable && on_device(hop.dev)));
            let carries = !matches!(kind, Kind::Blackhole | Kind::Unreachable | Kind::Prohibit | Kind::Throw);
            if carries && hop.is_none() {
                // At a nexthop object without a usable path the kernel leaves this prefix, and with it
                // the shorter ones of the same network address, which share a leaf of its trie.
                if alternative.object {
                    left = Some(prefix.network());
                    break;
                }
                continue;
            }
            observer.note(|| Step::Route { table, prefix: prefix.either(), kind });
            match (kind, hop) {
                (Kind::Throw, _) => return Outcome::Nothing,
                (Kind::Blackhole, _) => return Outcome::Refused(NoRoute::Blackhole),
                (Kind::Unreachable, _) => return Outcome::Refused(NoRoute::UnreachableRoute),
                (Kind::Prohibit, _) => return Outcome::Refused(NoRoute::Prohibit),
                (_, Some(hop)) if hop.blackhole => return Outcome::Refused(NoRoute::Blackhole),
                (_, Some(hop)) => return Outcome::Found(Found { table, prefix, alternative, hop }),
                (_, None) => {}
            }
        }
        observer.note(|| Step::NoUsablePath { table, prefix: prefix.either() });
    }
    Outcome::Nothing
}

/// Chooses the path and the source of a route that was found.
fn conclude<O: Observer>(
    fib: &Fib,
    found: &Found<'_, Ipv4Net>,
    flow: &Flow<Ipv4Addr>,
    src: Option<Ipv4Addr>,
    observer: &mut O,
) -> Answer {
    let alternative = found.alternative;
    let preferred = match alternative.preferred_source {
        Some(IpAddr::V4(preferred)) => Some(preferred),
        _ => None,
    };
    let local = alternative.kind == Kind::Local;
    // With a device the kernel stays on the first path that leaves by it.
    let hop = if local || flow.oif != 0 { found.hop } else { choose_path(found, flow) };
    let dev = if local { loopback_of(&fib.links, found.hop.dev) } else { hop.dev };
    let (source, origin) = match (flow.src, preferred) {
        (Some(src), _) => (Some(src), SourceOrigin::Bound),
        (None, Some(preferred)) => (Some(preferred), SourceOrigin::Preferred),
        (None, None) if local => (Some(flow.dst), SourceOrigin::Destination),
        (None, None) => (hop.source, SourceOrigin::Selected),
    };
    let origin = if src.is_none() && flow.src.is_some() { SourceOrigin::Selected } else { origin };
    let Some(source) = source else { return Answer::No(NoRoute::NoSource) };
    observer.note(|| Step::Source { source: source.into(), origin });
    let kind = kind_of(alternative.kind, flow.dst);
    // The kernel takes the gateway of a multicast group only from a route made for it.
    let gateway = match kind {
        RouteKind::Broadcast => None,
        RouteKind::Multicast if found.prefix.prefix_len() < 4 => None,
        _ => hop.gateway,
    };
    let route = Route {
        kind,
        table: found.table,
        prefix: found.prefix.either(),
        dev,
        gateway,
        source: source.into(),
    };
    leave(fib, route, source)
}

/// Among the paths of a multipath route; a bound source prefers the path whose source it is.
fn choose_path<'a>(found: &Found<'a, Ipv4Net>, flow: &Flow<Ipv4Addr>) -> &'a super::table::Hop {
    let alternative = found.alternative;
    let own = |hop: &super::table::Hop| flow.src.is_some() && hop.source == flow.src;
    let by_source = if alternative.object { None } else { alternative.choose(flow.hash, own) };
    by_source.or_else(|| alternative.choose(flow.hash, |_| true)).unwrap_or(found.hop)
}

/// Broadcast and multicast that the kernel sends by a device without asking the tables.
fn straight_out(fib: &Fib, dev: u32, dst: Ipv4Addr, src: Option<Ipv4Addr>) -> Answer {
    let source = src.or_else(|| fib.v4.sources.select(&fib.links, dev, None, SCOPE_LINK));
    let Some(source) = source else { return Answer::No(NoRoute::NoSource) };
    let route = Route {
        kind: kind_of(Kind::Unicast, dst),
        table: 0,
        prefix: Ipv4Net::host(dst).either(),
        dev,
        gateway: None,
        source: source.into(),
    };
    leave(fib, route, source)
}

/// 127.0.0.0/8 does not leave the host unless the device's `route_localnet` says so.
fn leave(fib: &Fib, route: Route, source: Ipv4Addr) -> Answer {
    let lets_loopback_out = |dev: u32| {
        fib.links.get(dev).is_some_and(|l| l.loopback || l.conf.route_localnet || l.vrf_table.is_some())
    };
    if source.is_loopback() && !lets_loopback_out(route.dev) {
        return Answer::No(NoRoute::NoSource);
    }
    Answer::Route(route)
}

fn kind_of(kind: Kind, dst: Ipv4Addr) -> RouteKind {
    match kind {
        _ if dst.is_broadcast() => RouteKind::Broadcast,
        _ if dst.is_multicast() => RouteKind::Multicast,
        Kind::Local => RouteKind::Local,
        Kind::Broadcast => RouteKind::Broadcast,
        Kind::Multicast => RouteKind::Multicast,
        Kind::Anycast => RouteKind::Anycast,
        _ => RouteKind::Unicast,
    }
}

/// Packets to oneself pass the loopback device, within a VRF the VRF device.
pub(super) fn loopback_of(links: &Links, dev: u32) -> u32 {
    match links.l3_master(dev) {
        0 => LOOPBACK,
        master => master,
    }
}
