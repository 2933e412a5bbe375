//! Why no listener was found, in words: for the Warning of an answer, for the log, for `explain`.

use std::fmt;

use super::{NoEgress, Unfit};
use crate::fib::{Fib, RouteKind, Words};
use crate::plan::{Listener, Plan};

impl NoEgress {
    /// One clause, without a full stop; allocates nothing.
    pub fn in_words<'a>(&'a self, plan: &'a Plan, fib: &'a Fib) -> impl fmt::Display + 'a {
        Words(move |f: &mut fmt::Formatter<'_>| match self {
            Self::AutoOff => f.write_str("the automatic choice is off ([egress] auto = false)"),
            Self::NoListener => f.write_str("no listener of this transport and address family is up"),
            Self::SourceIsNoListener(route) => write!(
                f,
                "the kernel would send it {} from {}, which is no listener",
                route.in_words(fib),
                route.source
            ),
            Self::SourceDown(route, listener, state) => {
                let own = plan.listener(*listener);
                let (name, address, by) = (&own.name, own.bind.ip(), route.in_words(fib));
                write!(f, "the kernel would send it {by} from {}, ", route.source)?;
                match address == route.source {
                    true => write!(f, "and listener {name}, which has it, is down: ")?,
                    false => {
                        write!(f, "and listener {name}, which is to have {address} there, is down: ")?;
                    }
                }
                f.write_str(state.in_words())
            }
            Self::Several(route, [one, other]) => write!(
                f,
                "the kernel would send it {} from {}, which is no listener, and several could: {}, {}",
                route.in_words(fib),
                route.source,
                plan.listener(*one).name,
                plan.listener(*other).name
            ),
            Self::NoRoute(why) => f.write_str(why.in_words()),
            Self::Kind(kind) => no_host(*kind, f),
            Self::Unfit(listener, why) => {
                let own = plan.listener(*listener);
                write!(f, "listener {}: {}", own.name, why.in_words(own, fib))
            }
            Self::NoAddress(section) => {
                write!(f, "listener {}: the host has no address for it now", plan.section(*section).name)
            }
            Self::NoSuchListener(transport, socket) => {
                write!(f, "no listener is bound to {transport}:{socket}")
            }
            Self::AskKernel(_) => f.write_str(UNKNOWN),
        })
    }
}

impl Unfit {
    /// One clause about the listener `own`, without a full stop; allocates nothing.
    pub fn in_words<'a>(&'a self, own: &'a Listener, fib: &'a Fib) -> impl fmt::Display + 'a {
        Words(move |f: &mut fmt::Formatter<'_>| match self {
            Self::Family => f.write_str("its address is of the other family"),
            Self::Transport => f.write_str("it speaks another transport"),
            Self::Down(state) => f.write_str(state.in_words()),
            Self::Link => f.write_str("link-local addresses do not leave their link"),
            Self::NoRoute(why) => write!(f, "{}: {}", by(own), why.in_words()),
            Self::Kind(kind) => {
                write!(f, "{}: ", by(own))?;
                no_host(*kind, f)
            }
            Self::Device(route) => write!(f, "from its address it would go {}", route.in_words(fib)),
            Self::Elsewhere => f.write_str("its address lives on another interface than the route's"),
            Self::Tied => tied(own, f),
            Self::AskKernel(_) => f.write_str(UNKNOWN),
        })
    }
}

/// What of a socket decides where its sends go.
fn by(own: &Listener) -> impl fmt::Display + '_ {
    Words(move |f: &mut fmt::Formatter<'_>| match (own.device.as_deref(), own.mark) {
        (None, None) => f.write_str("from its address"),
        (Some(device), None) => write!(f, "by its device {device}"),
        (None, Some(mark)) => write!(f, "with its mark {mark}"),
        (Some(device), Some(mark)) => write!(f, "by its device {device} (mark {mark})"),
    })
}

fn tied(own: &Listener, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match (own.device.as_deref(), own.mark) {
        (None, None) => f.write_str("it is not tied to the VRF that the request came in by"),
        (Some(device), None) => write!(f, "it has the kernel's source, but is tied to the device {device}"),
        (None, Some(mark)) => write!(f, "it has the kernel's source, but its mark {mark} leads elsewhere"),
        (Some(device), Some(mark)) => {
            write!(f, "it has the kernel's source, but is tied to the device {device} (mark {mark})")
        }
    }
}

fn no_host(kind: RouteKind, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "it is a {} address, and SIP is sent to one host", kind.as_str())
}

const UNKNOWN: &str = "the routing policy holds something that this version does not understand";

#[cfg(test)]
mod tests {
    use crate::egress::tests::world::{World, two_sided};
    use crate::egress::{NoEgress, Unfit};
    use crate::fib::{NoRoute, RouteKind};
    use crate::net::Transport;
    use crate::plan::ListenerId;

    #[test]
    fn reasons_name_route_source_and_listener() {
        let world = World::new(two_sided(), &["udp:203.0.113.20:5060", "udp:203.0.113.10:5060"]);
        let route = world.auto("udp:192.0.2.7:5060").unwrap().route;
        let words = |why: NoEgress| why.in_words(&world.plan, &world.fib).to_string();
        assert_eq!(
            words(NoEgress::SourceIsNoListener(route)),
            "the kernel would send it by public via 203.0.113.1 (0.0.0.0/0, table main) from 203.0.113.10, \
             which is no listener"
        );
        assert_eq!(
            words(NoEgress::Unfit(ListenerId(0), Unfit::NoRoute(NoRoute::Prohibit))),
            "listener udp:203.0.113.20:5060: from its address: a prohibit route or rule holds it"
        );
        assert_eq!(
            words(NoEgress::Unfit(ListenerId(0), Unfit::Kind(RouteKind::Multicast))),
            "listener udp:203.0.113.20:5060: from its address: it is a multicast address, and SIP is sent to one host"
        );
        assert_eq!(
            words(NoEgress::NoSuchListener(Transport::Udp, "[2001:db8::1]:5070".parse().unwrap())),
            "no listener is bound to udp:[2001:db8::1]:5070"
        );
        let route = crate::fib::Route { dev: 99, gateway: None, table: 7, ..route };
        assert_eq!(
            Unfit::Device(route).in_words(world.plan.listener(ListenerId(0)), &world.fib).to_string(),
            "from its address it would go by an interface that is gone (0.0.0.0/0, table 7)"
        );
    }
}
