//! The snapshot's answer beside the kernel's.

use crate::fib::spec::{TABLE_LOCAL, TABLE_MAIN};
use crate::fib::{Answer, Fib, NoRoute, Query, Route, RouteKind, Step};

/// What comparing the answer of a [`Fib`] with the kernel's ([`super::ask`]) comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Comparison {
    /// They are the same; of a multipath route the kernel may take another path.
    Agree,
    /// They differ, and are meant to.
    Known(Difference),
    /// They differ.
    Disagree,
}

/// Why an answer differs from that of `RTM_GETROUTE` on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Difference {
    /// IPv4 with a device and no route.
    OnLink,
    /// IPv6 with a device and a group of nexthop objects.
    GroupIgnoresDevice,
    /// IPv6 with a source that is no address of the host.
    SourceUnchecked,
    /// IPv6 with a source and a device.
    DeviceUnheeded,
    /// An IPv6 link-local destination without a device.
    NeedsDevice,
    /// Gateways of which the kernel knows that they do not answer.
    Neighbours,
    /// The snapshot has no answer of its own.
    Asked,
}

impl Difference {
    /// The reason, as a sentence without a full stop.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::OnLink => {
                "with a device and no IPv4 route the kernel assumes that the destination is on the link; \
                 Viaduct treats it as unreachable"
            }
            Self::GroupIgnoresDevice => {
                "of a group of IPv6 nexthop objects the kernel takes any member, whatever its device; \
                 Viaduct keeps to the device"
            }
            Self::SourceUnchecked => {
                "the kernel's RTM_GETROUTE does not ask whether an IPv6 source is an address of the host"
            }
            Self::DeviceUnheeded => {
                "the kernel's RTM_GETROUTE only prefers the device of an IPv6 question with a source; a \
                 socket bound to the device insists on it, and so does Viaduct"
            }
            Self::NeedsDevice => {
                "the kernel's RTM_GETROUTE takes any device for a link-local destination, a socket is refused"
            }
            Self::Neighbours => {
                "the kernel passes over a gateway that does not answer (`ip neigh show nud failed`); Viaduct does not \
                 know neighbours, and stays with the first: name the listener in a rule, or have a routing daemon \
                 (BFD) withdraw the route"
            }
            Self::Asked => {
                "Viaduct asks the kernel for what it does not understand, and does as it is answered"
            }
        }
    }
}

/// Compares the answer of `fib` with the kernel's.
pub fn compare(fib: &Fib, query: &Query, kernels: Answer) -> Comparison {
    // The choice among the paths of a multipath route is the snapshot's own, its members are not.
    let ours = fib.lookup(query);
    let same = |ours| is_same(query, ours, kernels);
    if same(ours) || (0..256_u64).any(|flow| same(fib.lookup(&Query { flow, ..*query }))) {
        return Comparison::Agree;
    }
    difference(fib, query, ours, kernels).map_or(Comparison::Disagree, Comparison::Known)
}

fn is_same(query: &Query, ours: Answer, kernels: Answer) -> bool {
    match (ours, kernels) {
        // The kernel has one error number for several of these.
        (Answer::No(NoRoute::SourceNotLocal | NoRoute::NeedsDevice), Answer::No(_)) => true,
        // An IPv6 socket is told of the second lookup's refusal, RTM_GETROUTE makes the first one only.
        (Answer::No(_), Answer::No(_)) if query.dst.is_ipv6() && query.src.is_none() => true,
        // The kernel names the kind of the IPv6 route, also where the destination is a group.
        (Answer::Route(ours), Answer::Route(kernels))
            if query.dst.is_ipv6() && ours.kind == RouteKind::Multicast && kernels.kind != ours.kind =>
        {
            is_same(query, Answer::Route(Route { kind: kernels.kind, ..ours }), Answer::Route(kernels))
        }
        // Until the first rule is added, tables local and main are one to the kernel, called main.
        (Answer::Route(ours), Answer::Route(kernels)) if ours.table == TABLE_LOCAL => {
            kernels == Route { table: kernels.table, ..ours }
                && matches!(kernels.table, TABLE_LOCAL | TABLE_MAIN)
        }
        (ours, kernels) => ours == kernels,
    }
}

fn difference(fib: &Fib, query: &Query, ours: Answer, kernels: Answer) -> Option<Difference> {
    if ours == Answer::AskKernel {
        return Some(Difference::Asked);
    }
    if let (Answer::Route(ours), Answer::Route(kernels)) = (ours, kernels)
        && fib.may_pass_over(&ours, &kernels)
    {
        return Some(Difference::Neighbours);
    }
    let with_device = query.oif != 0;
    if query.dst.is_ipv4() {
        let on_link = match (ours, kernels) {
            (Answer::No(_), Answer::Route(route)) => {
                route.table == 0 && route.dev == query.oif && route.gateway.is_none()
            }
            (Answer::No(_), Answer::No(NoRoute::NoSource)) => true,
            _ => false,
        };
        return (with_device && on_link).then_some(Difference::OnLink);
    }
    let asked_again = |step: &Step| matches!(step, Step::AskedAgain { .. });
    let with_source = query.src.is_some() || fib.lookup_traced(query).1.iter().any(asked_again);
    match (ours, kernels) {
        (Answer::No(NoRoute::SourceNotLocal), Answer::Route(_)) => Some(Difference::SourceUnchecked),
        (Answer::No(NoRoute::NeedsDevice), _) => Some(Difference::NeedsDevice),
        _ if with_device && with_source => Some(Difference::DeviceUnheeded),
        (_, Answer::Route(route)) if with_device && route.dev != query.oif => {
            (route.kind == RouteKind::Unicast).then_some(Difference::GroupIgnoresDevice)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fib::Builder;
    use crate::fib::spec::{Link, Route as Spec};

    #[test]
    fn what_is_not_understood_is_no_disagreement() {
        let route = Spec::new("192.0.2.0/24".parse().unwrap(), 2, "10.0.0.9".parse().ok());
        let host = |opaque| {
            let host = Builder::host().link(Link::up(2, "eth0")).assign(2, "10.0.0.4/24".parse().unwrap());
            host.route(Spec { opaque, ..route.clone() }).build()
        };
        let query = Query::to("192.0.2.1".parse().unwrap());
        let kernels = host(false).lookup(&query);
        assert_eq!(compare(&host(false), &query, kernels), Comparison::Agree);
        for kernels in [kernels, Answer::No(NoRoute::Unreachable)] {
            assert_eq!(compare(&host(true), &query, kernels), Comparison::Known(Difference::Asked));
        }
    }
}
