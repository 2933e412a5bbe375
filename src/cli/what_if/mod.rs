//! `--what-if`: a change of the host that is only thought of.
//!
//! The words are those of `ip`; the effect is the kernel's, with all that it does besides: an address takes
//! its routes along, a link that goes down takes more. What the kernel would refuse is refused.

mod address;
mod link;
mod route;
mod rule;
#[cfg(test)]
mod tests;
mod words;

pub use words::Misread;

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::fib::spec::{Family, Route};
use crate::fib::{Change as Event, Place, Rib};
use words::Words;

/// `route`, `addr`, `link` or `rule` with what follows, in the words of iproute2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    text: String,
    what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Route(route::Change),
    Address(address::Change),
    Link(link::Change),
    Rule(Box<rule::Change>),
}

/// What the kernel does with a change depends on these.
pub trait Sysctls {
    /// The file below `/proc/sys` holds something else than 0.
    fn is_set(&self, name: &str) -> bool;
}

/// The host's own, in the network namespace of the calling thread.
pub struct OfThisHost;

impl Sysctls for OfThisHost {
    fn is_set(&self, name: &str) -> bool {
        std::fs::read_to_string(format!("/proc/sys/{name}")).is_ok_and(|text| text.trim() != "0")
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Change {
    type Err = Misread;

    fn from_str(text: &str) -> Result<Self, Misread> {
        let mut words = Words::new(text);
        // As people copy them.
        words.skip("ip");
        let family = match () {
            () if words.skip("-4") => Some(Family::V4),
            () if words.skip("-6") => Some(Family::V6),
            () => None,
        };
        let what = match words.next() {
            Some("route" | "r") => What::Route(route::Change::read(&mut words, family)?),
            Some("addr" | "address" | "a") => What::Address(address::Change::read(&mut words)?),
            Some("link" | "l") => What::Link(link::Change::read(&mut words)?),
            Some("rule" | "ru") => What::Rule(Box::new(rule::Change::read(&mut words, family)?)),
            _ => return Err(words.misread("a change begins with `route`, `addr`, `link` or `rule`")),
        };
        Ok(Self { text: text.trim().into(), what })
    }
}

impl Change {
    /// Does to `host` what the kernel would do.
    ///
    /// # Errors
    /// Why the kernel would refuse it, with a hint.
    pub fn apply(&self, host: &mut Rib, sysctls: &impl Sysctls) -> Result<(), String> {
        let done = match &self.what {
            What::Route(change) => change.apply(host),
            What::Address(change) => change.apply(host, sysctls),
            What::Link(change) => change.apply(host, sysctls),
            What::Rule(change) => change.apply(host),
        };
        done.map_err(|why| format!("{self}: {why}"))
    }
}

/// The index of an interface.
fn device(host: &Rib, name: &str) -> Result<u32, String> {
    let links = &host.parts().links;
    let found = links.iter().find(|link| &*link.name == name).map(|link| link.index);
    found.ok_or_else(|| {
        let known: Vec<&str> = links.iter().map(|link| &*link.name).collect();
        format!("there is no interface {name}; there are {}", known.join(", "))
    })
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

/// Adds a route, unless it is there already, as the kernel does with those that it makes itself.
fn add(host: &mut Rib, route: Route) {
    let known = host.routes().any(|known| {
        (known.table, known.prefix, known.metric, known.kind)
            == (route.table, route.prefix, route.metric, route.kind)
            && known.nexthops == route.nexthops
            && known.preferred_source == route.preferred_source
    });
    if !known {
        host.apply(Event::Add(route, Place::Last), false);
    }
}

/// Removes the routes that `gone` says yes to.
fn remove(host: &mut Rib, gone: impl Fn(&Route) -> bool) {
    let all: Vec<Route> = host.routes().filter(|route| gone(route)).collect();
    for route in all {
        host.apply(Event::Remove(route), false);
    }
}
