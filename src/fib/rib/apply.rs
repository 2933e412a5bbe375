//! Route events: what the kernel says that it has done to one prefix.

use ipnet::IpNet;

use super::table::RibTable;
use super::{Rib, Variant, arrange, by_family, is_foreign};
use crate::fib::spec::{Nexthop, Nexthops, Route};

/// A route event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// `RTM_NEWROUTE`
    Add(Route, Place),
    /// `RTM_DELROUTE`
    Remove(Route),
}

/// Where a new route stands among those to its prefix with its metric: the flags of `RTM_NEWROUTE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Before them (`NLM_F_CREATE`); IPv6: behind them.
    First,
    /// Behind them (`NLM_F_APPEND`).
    Last,
    /// Instead of the first (`NLM_F_REPLACE`).
    Instead,
    /// Where it stands already: only flags have changed.
    Same,
}

impl Rib {
    /// Does what the kernel has done. `again`: the routes may have been loaded after the event.
    ///
    /// `false`: the event does not fit to what is here, so an event was missed or is not understood; the
    /// routes should be loaded anew.
    pub fn apply(&mut self, change: Change, again: bool) -> bool {
        let (Change::Add(route, _) | Change::Remove(route)) = &change;
        if is_foreign(route) {
            return true;
        }
        let (id, prefix) = (route.table, route.prefix);
        let again = again || matches!(&change, Change::Remove(route) if self.is_cut_off(route));
        by_family!(self, prefix, |tables, net| {
            let table = tables.entry(id).or_insert_with(|| RibTable::new(id));
            let mut list = table.list(net).to_vec();
            let tangled = |list: &[Variant]| prefix.addr().is_ipv6() && is_tangled(list);
            let before = tangled(&list);
            let fits = change_list(&mut list, change, again) && !before && !tangled(&list);
            if *list != *table.list(net) {
                table.put(net, list);
            }
            fits
        })
    }

    /// All its paths are by links that are down: it went with the link, whose event comes first.
    fn is_cut_off(&self, route: &Route) -> bool {
        let links = self.parts.sorted_links();
        let is_down = |dev: u32| !links.get(dev).is_some_and(|link| link.up);
        match &route.nexthops {
            Nexthops::Own(own) => !own.is_empty() && own.iter().all(|path| is_down(path.dev)),
            Nexthops::Object(_) => false,
        }
    }
}

fn change_list(list: &mut Vec<Variant>, change: Change, again: bool) -> bool {
    match change {
        Change::Add(route, place) if route.prefix.addr().is_ipv4() => {
            add_v4(list, route.into(), place, again)
        }
        Change::Add(route, place) => add_v6(list, route.into(), place),
        Change::Remove(route) => {
            let v4 = matches!(route.prefix, IpNet::V4(_));
            let gone: Variant = route.into();
            let told_all = if v4 { remove_v4(list, &gone) } else { remove_v6(list, &gone) };
            // What is gone without a word may be told of all the same, depending on the kernel.
            let is_gone = || again || !list.iter().any(|v| (v.from, v.metric) == (gone.from, gone.metric));
            told_all.unwrap_or_else(is_gone)
        }
    }
}

/// `fib_table_insert`
fn add_v4(list: &mut Vec<Variant>, new: Variant, place: Place, again: bool) -> bool {
    let first = list.iter().position(|v| v.metric >= new.metric).unwrap_or(list.len());
    let behind = list.iter().position(|v| v.metric > new.metric).unwrap_or(list.len());
    let same = (first..behind).find(|at| is_same(&list[*at], &new));
    match (place, same) {
        // Also what follows a nexthop object that is replaced, for each of its routes.
        (Place::Instead | Place::Same, Some(at)) => list[at] = new,
        // Two that differ in what is not kept here (who made them, realms) are two for the kernel.
        (_, Some(at)) if again => list[at] = new,
        (Place::Instead, None) if first < behind => list[first] = new,
        (Place::Same, None) => return false,
        (Place::Last, _) => list.insert(behind, new),
        (Place::First | Place::Instead, _) => list.insert(first, new),
    }
    true
}

/// `fib_table_delete`; `None`: it was not there.
fn remove_v4(list: &mut Vec<Variant>, gone: &Variant) -> Option<bool> {
    let at = list.iter().position(|v| v.metric == gone.metric && is_same(v, gone));
    at.map(|at| list.remove(at)).map(|_| true)
}

/// The same route, whatever has become of its paths meanwhile.
fn is_same(a: &Variant, b: &Variant) -> bool {
    let nexthops = match (&a.nexthops, &b.nexthops) {
        (Nexthops::Own(a), Nexthops::Own(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same_path(a, b) && a.weight == b.weight)
        }
        (Nexthops::Object(a), Nexthops::Object(b)) => a == b,
        _ => false,
    };
    nexthops
        && (a.from, a.kind, a.scope, a.metric) == (b.from, b.kind, b.scope, b.metric)
        && a.preferred_source == b.preferred_source
}

fn is_same_path(a: &Nexthop, b: &Nexthop) -> bool {
    (a.dev, a.gateway) == (b.dev, b.gateway)
}

/// `fib6_add_rt2node`: routes through gateways of the same metric are paths of one route, of which an event
/// names all.
fn add_v6(list: &mut Vec<Variant>, new: Variant, place: Place) -> bool {
    let is_peer = |v: &Variant| v.from == new.from && v.metric == new.metric;
    let peers: Vec<usize> = (0..list.len()).filter(|at| is_peer(&list[*at])).collect();
    // `ip route replace` replaces the first of its sort, though another be the same already; what follows a nexthop
    // object that is replaced is told of for each of its routes.
    let replaces = place == Place::Instead && matches!(new.nexthops, Nexthops::Own(_));
    if let Some(&at) = peers.iter().find(|at| !replaces && is_same(&list[**at], &new)) {
        list[at] = new;
        return true;
    }
    let alike = peers.iter().copied().find(|at| can_join(&list[*at]) == can_join(&new));
    // Had it become a path of what is there, the event would name the others: those from router advertisements
    // stand alone.
    let joins = can_join(&new) && new.own().len() > 1;
    match place {
        Place::Same => return false,
        Place::Instead => match alike.or(peers.first().copied()) {
            Some(at) => list[at] = new,
            None => list.push(new),
        },
        Place::First | Place::Last => match alike.filter(|_| joins) {
            Some(at) => join(&mut list[at], new),
            None => list.push(new),
        },
    }
    arrange(list);
    true
}

/// `rt6_qualify_for_ecmp`
fn can_join(variant: &Variant) -> bool {
    variant.own().iter().any(|nexthop| nexthop.gateway.is_some())
}

/// The paths that were there keep their places; those that the event does not name are gone.
fn join(known: &mut Variant, new: Variant) {
    let named = new.own();
    let mut paths: Vec<Nexthop> = Vec::with_capacity(named.len());
    for path in known.own() {
        paths.extend(named.iter().find(|n| is_same_path(n, path)).copied());
    }
    let added: Vec<Nexthop> =
        named.iter().filter(|n| !paths.iter().any(|known| is_same_path(known, n))).copied().collect();
    paths.extend(added);
    let kept = |v: &Variant| (v.kind, v.preferred_source, v.preference);
    known.uneven |= kept(known) != kept(&new);
    known.opaque |= new.opaque;
    known.nexthops = Nexthops::Own(paths);
}

/// IPv6 routes of one metric of which one has several paths: others may stand between those for the kernel, and
/// what comes first when a path goes cannot be told here.
fn is_tangled(list: &[Variant]) -> bool {
    list.iter().enumerate().any(|(at, several)| {
        let beside = |(other, v): (usize, &Variant)| {
            other != at && (v.from, v.metric) == (several.from, several.metric)
        };
        several.own().len() > 1 && list.iter().enumerate().any(beside)
    })
}

/// `fib6_del_route`: of a route with several paths the event names those that go. Whether what is left is known; `None`: it was
/// not there.
fn remove_v6(list: &mut Vec<Variant>, gone: &Variant) -> Option<bool> {
    let is_meant = |v: &Variant| (v.from, v.metric, v.kind) == (gone.from, gone.metric, gone.kind);
    if let Some(at) = list.iter().position(|v| is_meant(v) && is_same(v, gone)) {
        list.remove(at);
        return Some(true);
    }
    let holds = |v: &Variant| {
        !gone.own().is_empty()
            && gone.own().iter().all(|path| v.own().iter().any(|known| is_same_path(known, path)))
    };
    let at = list.iter().position(|v| is_meant(v) && holds(v))?;
    // What the first of the others prefers, and whether it is as opaque, no event has told.
    let told_all = !list[at].uneven && !list[at].opaque;
    let left: Vec<Nexthop> = (list[at].own().iter())
        .filter(|path| !gone.own().iter().any(|gone| is_same_path(gone, path)))
        .copied()
        .collect();
    if left.is_empty() {
        list.remove(at);
    } else {
        list[at].nexthops = Nexthops::Own(left);
    }
    Some(told_all)
}
