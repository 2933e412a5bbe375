//! Variants → alternatives: nexthop objects resolved, usable paths told from others, sources selected.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::Variant;
use crate::fib::LOOPBACK;
use crate::fib::links::Links;
use crate::fib::source::{Sources4, Sources6};
use crate::fib::spec::{Family, Kind, Nexthop, NexthopBody, Nexthops, SCOPE_HOST};
use crate::fib::table::{Alternative, Hop, List};
use crate::fib::usual::Usual;

/// What variants are compiled with.
pub(super) struct Compiler<'a> {
    pub links: &'a Links,
    pub sources4: &'a Sources4,
    pub sources6: &'a Sources6,
    pub nexthops: &'a HashMap<u32, NexthopBody>,
}

impl Compiler<'_> {
    /// The routes to one prefix.
    pub fn list(&self, variants: &[Variant], v4: bool) -> List {
        let alternatives: Arc<[Alternative]> =
            variants.iter().map(|variant| self.alternative(variant, v4)).collect();
        let usual = Usual::of(&alternatives, v4, |dev| self.sources6.only(dev));
        List { alternatives, usual: usual.filter(|usual| v4 || !self.links.lacks_ipv6(usual.dev)) }
    }

    fn alternative(&self, variant: &Variant, v4: bool) -> Alternative {
        let mut opaque = variant.opaque;
        let mut hops = Vec::new();
        let object = match &variant.nexthops {
            Nexthops::Own(own) => {
                hops.extend(own.iter().map(|nexthop| self.hop(nexthop, variant, v4, None)));
                false
            }
            Nexthops::Object(id) => {
                opaque |= self.add_object(*id, 1, variant, v4, &mut hops).is_none();
                true
            }
        };
        if hops.is_empty() && !v4 {
            // IPv6 hangs routes that refuse on the loopback device.
            hops.push(self.hop(&Nexthop::new(LOOPBACK, None), variant, v4, None));
        }
        Alternative {
            kind: variant.kind,
            opaque,
            from: variant.from.filter(|from| from.prefix_len() > 0),
            metric: variant.metric,
            preference: variant.preference,
            preferred_source: variant.preferred_source,
            object,
            hops: hops.into(),
        }
    }

    fn hop(&self, nexthop: &Nexthop, variant: &Variant, v4: bool, object: Option<Family>) -> Hop {
        let towards = match nexthop.gateway {
            Some(IpAddr::V4(gateway)) => Some(gateway),
            // The kernel compares subnets with the first bytes of an IPv6 gateway of a route's own.
            Some(IpAddr::V6(gateway)) if object.is_none() => {
                let [a, b, c, d, ..] = gateway.octets();
                Some(Ipv4Addr::new(a, b, c, d))
            }
            _ => None,
        };
        let select = || self.sources4.select(self.links, nexthop.dev, towards, variant.scope);
        Hop {
            dev: nexthop.dev,
            gateway: nexthop.gateway,
            weight: nexthop.weight,
            usable: self.is_usable(nexthop, variant, v4),
            blackhole: false,
            source: if v4 { select() } else { None },
        }
    }

    /// Not dead. Where routes without a carrier are ignored, the link is asked for it besides: of routes the kernel
    /// tells nobody when it comes or goes. It does not ask so for the host's own addresses.
    fn is_usable(&self, nexthop: &Nexthop, variant: &Variant, v4: bool) -> bool {
        let ignored = self.links.get(nexthop.dev).is_some_and(|link| {
            let ignores = if v4 { link.conf.ignore_linkdown_v4 } else { link.conf.ignore_linkdown_v6 };
            ignores && link.up && !link.carrier
        });
        !nexthop.dead && (!ignored || is_own_address(variant, v4))
    }

    /// `None`: the object, or a member of the group, is unknown.
    fn add_object(
        &self,
        id: u32,
        weight: u32,
        variant: &Variant,
        v4: bool,
        hops: &mut Vec<Hop>,
    ) -> Option<()> {
        match self.nexthops.get(&id)? {
            NexthopBody::Single(family, nexthop) => {
                hops.push(Hop { weight, ..self.hop(nexthop, variant, v4, Some(*family)) });
            }
            NexthopBody::Blackhole => {
                let nowhere = self.hop(&Nexthop::new(LOOPBACK, None), variant, v4, None);
                hops.push(Hop { weight, blackhole: true, ..nowhere });
            }
            NexthopBody::Group(members) => {
                for (member, weight) in members {
                    // Groups have no groups as members; the kernel refuses them.
                    if matches!(self.nexthops.get(member), Some(NexthopBody::Group(_))) {
                        return None;
                    }
                    self.add_object(*member, *weight, variant, v4, hops)?;
                }
            }
            NexthopBody::Opaque => return None,
        }
        Some(())
    }
}

/// Leads to an address of the host. Of IPv6 anycast routes only those that the kernel made itself do; they
/// alone have metric 0.
fn is_own_address(variant: &Variant, v4: bool) -> bool {
    match (v4, variant.kind) {
        (true, _) => variant.scope == SCOPE_HOST,
        (false, Kind::Local) => true,
        (false, Kind::Anycast) => variant.metric == 0,
        _ => false,
    }
}
