//! Reads all tables on a thread of its own, while events go on.

use std::collections::HashSet;
use std::sync::Arc;

use ipnet::IpNet;
use tokio::task::JoinHandle;

use crate::control::netlink::dump::load;
use crate::control::netlink::error::Error;
use crate::control::netlink::socket::Requester;
use crate::fib::spec::Link;
use crate::fib::{Fib, Parts, Rib};

/// What a reading is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// What is known is to be replaced.
    Resync,
    /// The same, by a second reading: IPv6 routes changed while the first went on, so that it may lack others.
    SecondResync,
    /// What is known is to be checked.
    Audit,
}

/// Work under way, of which there is one at a time.
pub enum Job {
    Load(Purpose, JoinHandle<Result<Rib, Error>>),
    Compare(JoinHandle<Compared>),
}

/// How what was read differs from what was known.
pub struct Compared {
    pub read: Rib,
    /// Prefixes with their tables.
    pub prefixes: Vec<(u32, IpNet)>,
    /// What else differs.
    pub parts: Vec<&'static str>,
    /// IPv6 routes changed while it was read, so that some may have been passed over.
    pub moves_ipv6: bool,
}

impl Job {
    /// Begins to read.
    pub fn load(purpose: Purpose) -> Result<Self, Error> {
        // Opened here: the socket belongs to the network namespace of this thread.
        let mut requester = Requester::open()?;
        Ok(Self::Load(purpose, tokio::task::spawn_blocking(move || load(&mut requester))))
    }

    /// Begins to read once more, and adds what only the first reading has seen: what came and went is in the log.
    pub fn load_again(first: Rib) -> Result<Self, Error> {
        let mut requester = Requester::open()?;
        let read = move || {
            let mut read = load(&mut requester)?;
            read.add_ipv6_passed_over(&first);
            Ok(read)
        };
        Ok(Self::Load(Purpose::SecondResync, tokio::task::spawn_blocking(read)))
    }

    /// Begins to compare what was read with what is known, but for what changed meanwhile.
    pub fn compare(read: Rib, known: Arc<Fib>, parts: Parts, meanwhile: Meanwhile) -> Self {
        Self::Compare(tokio::task::spawn_blocking(move || Compared::of(read, &known, parts, &meanwhile)))
    }
}

/// What changed while tables were read.
#[derive(Default)]
pub struct Meanwhile {
    /// Prefixes with their tables.
    pub touched: HashSet<(u32, IpNet)>,
    /// IPv6 routes did: what was read may lack others of them (see [`super::state::Unsure`]).
    pub moves_ipv6: bool,
}

impl Compared {
    /// Compares what was read with what is known, but for what changed meanwhile.
    pub fn of(mut read: Rib, known: &Fib, parts: Parts, meanwhile: &Meanwhile) -> Self {
        let differ = differing(read.parts(), &parts);
        // Compiled with the same links and addresses, so that only routes can differ.
        read.set_parts(parts);
        let fib = read.fib(0);
        let mut prefixes = fib.changed_prefixes(known);
        let may_be_passed_over = |table: u32, prefix: IpNet| match prefix {
            IpNet::V6(net) => meanwhile.moves_ipv6 && fib.has_no_other_v6(known, table, net),
            IpNet::V4(_) => false,
        };
        prefixes.retain(|place| !meanwhile.touched.contains(place) && !may_be_passed_over(place.0, place.1));
        Self { read, prefixes, parts: differ, moves_ipv6: meanwhile.moves_ipv6 }
    }

    /// Nothing differs.
    pub fn is_same(&self) -> bool {
        self.prefixes.is_empty() && self.parts.is_empty()
    }

    /// What differs are things that the kernel tells nobody of.
    pub fn is_untold(&self) -> bool {
        self.prefixes.is_empty() && self.parts == [LABELS]
    }
}

const LABELS: &str = "address labels";

/// What differs of what is no route.
fn differing(read: &Parts, known: &Parts) -> Vec<&'static str> {
    // A carrier is shown at once and told of up to a second later (linkwatch).
    let links = |parts: &Parts| -> Vec<Link> {
        parts.links.iter().map(|link| Link { carrier: false, ..link.clone() }).collect()
    };
    let all = [
        ("links", links(read) == links(known)),
        ("addresses", read.addresses == known.addresses),
        (LABELS, read.labels == known.labels),
        ("rules", (&read.rules, read.merged) == (&known.rules, known.merged)),
        ("nexthop objects", read.nexthops == known.nexthops),
    ];
    all.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect()
}

/// How a job ended.
pub enum Done {
    Loaded(Purpose, Result<Rib, Error>),
    Compared(Compared),
    /// Its thread panicked.
    Lost,
}

/// Waits for the end of a job; for ever, if there is none. Cancel-safe.
pub async fn done(job: &mut Option<Job>) -> Done {
    let done = match job {
        None => std::future::pending().await,
        Some(Job::Load(purpose, handle)) => {
            let purpose = *purpose;
            handle.await.map_or(Done::Lost, |result| Done::Loaded(purpose, result))
        }
        Some(Job::Compare(handle)) => handle.await.map_or(Done::Lost, Done::Compared),
    };
    *job = None;
    done
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fib::Builder;
    use crate::fib::spec::Route;

    fn host() -> Builder {
        host_by(Link::up(2, "eth0"))
    }

    fn host_by(link: Link) -> Builder {
        Builder::host().link(link).assign(2, "192.0.2.1/24".parse().expect("an address"))
    }

    fn route(prefix: &str) -> Route {
        Route::new(prefix.parse().expect("a prefix"), 2, "192.0.2.2".parse().ok())
    }

    fn compared(read: Builder, known: Builder, touched: &[(u32, &str)]) -> Compared {
        let touched = touched.iter().map(|(table, net)| (*table, net.parse().expect("a prefix"))).collect();
        compared_while(read, known, &Meanwhile { touched, moves_ipv6: false })
    }

    fn compared_while(read: Builder, known: Builder, meanwhile: &Meanwhile) -> Compared {
        let mut known = known.rib();
        Compared::of(read.rib(), &known.fib(1), known.parts().clone(), meanwhile)
    }

    #[test]
    fn what_was_missed_is_named() {
        assert!(compared(host(), host(), &[]).is_same());
        let more = host().route(route("10.0.0.0/8"));
        for (read, known) in [(more.clone(), host()), (host(), more.clone())] {
            let found = compared(read, known, &[]);
            assert_eq!(found.prefixes, [(254, "10.0.0.0/8".parse().expect("a prefix"))]);
            assert!(!found.is_same() && !found.is_untold() && found.parts.is_empty());
        }
        assert!(compared(more, host(), &[(254, "10.0.0.0/8")]).is_same(), "it changed meanwhile");
    }

    #[test]
    fn ipv6_routes_that_a_moving_list_passes_over_are_no_difference() {
        let v6 = |metric| Route {
            metric,
            ..Route::new("2001:db8:7::/48".parse().expect("a prefix"), 2, "fe80::2".parse().ok())
        };
        let one = || host().route(v6(1024));
        let both = || one().route(v6(2048));
        let moving = Meanwhile { moves_ipv6: true, ..Meanwhile::default() };
        for (read, known) in [(host(), one()), (one(), both()), (host(), both())] {
            assert_eq!(compared(read.clone(), known.clone(), &[]).prefixes.len(), 1, "the list stood still");
            assert!(compared_while(read, known, &moving).is_same());
        }
        for (read, known) in [(one(), host()), (both(), one()), (host().route(v6(2048)), one())] {
            assert_eq!(
                compared_while(read, known, &moving).prefixes.len(),
                1,
                "nothing is listed that is not there"
            );
        }
        let v4 = || host().route(route("10.0.0.0/8"));
        assert_eq!(compared_while(host(), v4(), &moving).prefixes.len(), 1, "IPv4 lists pass over nothing");
        // The same route twice is one.
        assert!(compared(one().route(v6(1024)), one(), &[]).is_same());
    }

    #[test]
    fn what_is_no_route_is_named_by_its_sort() {
        let parts = |read| compared(read, host(), &[]).parts;
        assert_eq!(parts(host().link(Link::up(3, "eth1"))), ["links"]);
        assert_eq!(parts(host().assign(2, "192.0.2.9/24".parse().expect("an address")))[0], "addresses");
        let no_carrier = Link { carrier: false, ..Link::up(2, "eth0") };
        assert!(parts(host_by(no_carrier)).is_empty(), "told of later");
        assert_eq!(parts(host_by(Link { up: false, ..Link::up(2, "eth0") })), ["links"]);
    }
}
