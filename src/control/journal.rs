//! The shards' records as log lines: each destination once, not each message.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ipnet::IpNet;

use crate::fib::Fib;
use crate::limits;
use crate::metrics::StreamEnd;
use crate::plan::{ListenerId, Plan};
use crate::shard::{Record, RecordKind};

/// Remembers what it has told.
#[derive(Default)]
pub struct Journal {
    told: HashSet<(bool, IpNet)>,
    full: bool,
    failures: Failures,
    /// The first generation of the current Plan: records of earlier ones number listeners otherwise.
    plan_since: u64,
}

impl Journal {
    /// A new Plan is in force from this generation: everything is news again.
    pub fn plan_changed(&mut self, generation: u64) {
        *self = Self { plan_since: generation, ..Self::default() };
    }

    /// From this generation listeners have other numbers; what was told is still known.
    pub fn renumbered(&mut self, generation: u64) {
        self.plan_since = generation;
    }

    /// Writes the record, unless it says nothing new.
    pub fn tell(&mut self, record: &Record, plan: &Plan, fib: &Fib, now: Instant) {
        let shard = record.shard;
        let known = record.generation >= self.plan_since;
        let name = |id: ListenerId| {
            plan.listeners
                .get(usize::from(id.0))
                .filter(|_| known)
                .map_or("(before the listeners changed)", |l| &l.name)
        };
        match record.kind {
            // A reload has renumbered the listeners since; what is still wrong will be told again.
            RecordKind::NoEgress { .. } | RecordKind::Fallback { .. } if !known => {}
            RecordKind::NoEgress { on, next_hop, why } => {
                if self.is_new(true, network(next_hop.address.ip(), None)) {
                    let (on, why) = (name(on), why.in_words(plan, fib));
                    tracing::warn!("no egress for {next_hop} (the first request came in on {on}): {why}");
                }
            }
            RecordKind::Fallback { listener, next_hop, route } => {
                if self.is_new(false, network(next_hop.address.ip(), Some(route.prefix))) {
                    let (listener, route) = (name(listener), route.in_words(fib));
                    tracing::warn!(
                        "no listener fits {next_hop} and its network: no_listener sends it from {listener}, {route}"
                    );
                }
            }
            RecordKind::Panic { cause, message, place } => {
                let cause = cause.map(|(on, from)| (name(on), from));
                tell_of_panic(shard, cause, message.as_str(), place.as_str());
            }
            RecordKind::TooManyPanics => {
                tracing::error!(
                    "shard {shard} stops: more than {} panics in a second",
                    limits::PANICS_PER_SECOND
                );
            }
            RecordKind::SocketLost { socket } => {
                tracing::error!("shard {shard}: socket {} failed for good and is closed", socket.0);
            }
            RecordKind::ConnectionFailed { on, peer, label, cause } => {
                if self.failures.is_new((name(on), peer.ip(), label), now) {
                    tracing::warn!(
                        "listener {}: the connection of {peer} failed: {}",
                        name(on),
                        cause.as_str()
                    );
                }
            }
            RecordKind::NotConnected { on, peer, why, errno, is_ours } => {
                if self.failures.is_new((name(on), peer.ip(), why.label()), now) {
                    tracing::warn!("listener {}: {}", name(on), not_connected(peer, why, errno, is_ours));
                }
            }
            RecordKind::Filtered { on, begins } => tell_of_filter(shard, name(on), Ok(begins)),
            RecordKind::NoFilter { on, errno } => tell_of_filter(shard, name(on), Err(errno)),
            RecordKind::SendRefused { socket, to, errno } => {
                let why = io::Error::from_raw_os_error(errno);
                tracing::warn!(
                    "shard {shard}: the kernel refused a send to {to} from socket {}: {why}",
                    socket.0
                );
            }
        }
    }

    fn is_new(&mut self, refused: bool, network: IpNet) -> bool {
        if self.told.len() < limits::NOTED_DESTINATIONS {
            return self.told.insert((refused, network));
        }
        if !std::mem::replace(&mut self.full, true) {
            tracing::warn!(
                "{} destinations without a fitting listener were named; further ones are only counted \
                 until the next reload",
                limits::NOTED_DESTINATIONS
            );
        }
        false
    }
}

/// `cause`: at which listener the message came in, and who sent it; none: it was a timer.
fn tell_of_panic(shard: u16, cause: Option<(&str, SocketAddr)>, message: &str, place: &str) {
    match cause {
        Some((on, from)) => tracing::error!(
            "shard {shard}: handling a message from {from} on {on} panicked at {place}: {message}; the message is lost. \
             This is a defect of Viaduct: please report it with the message"
        ),
        None => tracing::error!(
            "shard {shard}: a transaction's timer panicked at {place}: {message}. This is a defect of Viaduct: please \
             report it"
        ),
    }
}

/// `begins`: a filter drops a part of what comes, or none does any more; or the error number of one that could not be had.
fn tell_of_filter(shard: u16, listener: &str, begins: Result<bool, i32>) {
    match begins {
        Ok(true) => tracing::warn!(
            "shard {shard}: listener {listener}: more comes than can be handled: the kernel drops a part of what begins \
             something before it is read, see viaduct_filtered_requests_total"
        ),
        Ok(false) => tracing::info!("shard {shard}: listener {listener}: everything is read again"),
        Err(errno) => {
            let why = io::Error::from_raw_os_error(errno);
            let remedy = if errno == libc::ENOMEM { "; see: sysctl net.core.optmem_max" } else { "" };
            tracing::warn!(
                "shard {shard}: listener {listener}: its socket takes no filter, so that what has to go is dropped at a \
                 higher price: {why}{remedy}"
            );
        }
    }
}

/// A connection that was not made, why, and what to do.
fn not_connected(peer: SocketAddr, why: StreamEnd, errno: i32, is_ours: bool) -> String {
    let what = if is_ours { "no connection to" } else { "no connection is taken from" };
    let reason = match errno {
        0 => String::new(),
        errno => format!(" ({})", io::Error::from_raw_os_error(errno)),
    };
    let (cause, remedy) = match why {
        StreamEnd::ConnectRefused => (
            "it is refused",
            "nobody listens there for TCP, or a firewall refuses it; ask the peer, or write ;transport=udp",
        ),
        StreamEnd::ConnectUnreachable => {
            ("there is no way there", "see ip route get, and firewalls on the way")
        }
        StreamEnd::ConnectTimeout => (
            "nothing came back in time",
            "the host is down, or a firewall on the way drops it; [tcp] connect says how long is waited",
        ),
        StreamEnd::TooMany => (
            "a core has as many as it may",
            "see ss -tn for who has them; [tcp] connections is the limit, and LimitNOFILE= another one",
        ),
        StreamEnd::TooManyOfPeer => {
            ("the peer has as many as it may", "see ss -tn; [tcp] per_peer is the limit")
        }
        _ => (
            "the system refuses it",
            "see the open files (LimitNOFILE=) and net.ipv4.ip_local_port_range; `viaduct doctor` looks at both",
        ),
    };
    format!(
        "{what} {peer}: {cause}{reason}; {remedy}. Told once an hour, counted in viaduct_connections_failed_total"
    )
}

/// At which listeners whose connections have failed, and why: by the label of the cause, because its text has what peers choose.
/// Whoever fails again in the same way is counted only, for an hour.
#[derive(Default)]
struct Failures {
    told: HashSet<(Box<str>, IpNet, &'static str)>,
    /// When the first of them was told.
    since: Option<Instant>,
    full: bool,
}

const HOUR: Duration = Duration::from_secs(3_600);

impl Failures {
    fn is_new(&mut self, (on, peer, label): (&str, IpAddr, &'static str), now: Instant) -> bool {
        if self.since.is_some_and(|since| now.duration_since(since) >= HOUR) {
            *self = Self::default();
        }
        self.since.get_or_insert(now);
        if self.told.len() < limits::NOTED_DESTINATIONS {
            return self.told.insert((on.into(), host_of(peer), label));
        }
        if !std::mem::replace(&mut self.full, true) {
            tracing::warn!(
                "{} failures of connections were told of; further ones are only counted for the rest of the hour",
                limits::NOTED_DESTINATIONS
            );
        }
        false
    }
}

/// Whoever has an address: of IPv6 he has a network of them.
fn host_of(ip: IpAddr) -> IpNet {
    let length = if ip.is_ipv4() { 32 } else { 64 };
    IpNet::new(ip, length).map_or_else(|_| IpNet::from(ip), |net| net.trunc())
}

/// The network that a destination is told by: its route's, but not wider than /24 and /64.
fn network(ip: IpAddr, route: Option<IpNet>) -> IpNet {
    let usual = if ip.is_ipv4() { 24 } else { 64 };
    let length = route.filter(|r| r.contains(&ip)).map_or(usual, |r| r.prefix_len().max(usual));
    IpNet::new(ip, length).map_or_else(|_| IpNet::from(ip), |net| net.trunc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_told_by_its_network() {
        let told = |ip: &str, route: Option<&str>| {
            network(ip.parse().unwrap(), route.map(|r| r.parse().unwrap())).to_string()
        };
        assert_eq!(told("192.0.2.9", None), "192.0.2.0/24");
        assert_eq!(told("192.0.2.9", Some("0.0.0.0/0")), "192.0.2.0/24");
        assert_eq!(told("192.0.2.9", Some("192.0.2.8/30")), "192.0.2.8/30");
        assert_eq!(told("2001:db8::9", Some("2000::/3")), "2001:db8::/64");
        assert_eq!(told("192.0.2.9", Some("2000::/3")), "192.0.2.0/24");
    }

    #[test]
    fn a_connection_that_was_not_made_is_told_with_its_reason_and_a_remedy() {
        let peer = "192.0.2.1:5060".parse().unwrap();
        assert_eq!(
            not_connected(peer, StreamEnd::ConnectRefused, libc::ECONNREFUSED, true),
            "no connection to 192.0.2.1:5060: it is refused (Connection refused (os error 111)); nobody listens there \
             for TCP, or a firewall refuses it; ask the peer, or write ;transport=udp. Told once an hour, counted in \
             viaduct_connections_failed_total"
        );
        let text = not_connected(peer, StreamEnd::TooManyOfPeer, 0, false);
        assert!(
            text.starts_with("no connection is taken from 192.0.2.1:5060: the peer has as many"),
            "{text}"
        );
    }

    #[test]
    fn a_network_is_told_once_for_each_reason_until_a_reload() {
        let mut journal = Journal::default();
        let net = network("192.0.2.9".parse().unwrap(), None);
        assert!(journal.is_new(true, net));
        assert!(!journal.is_new(true, net));
        assert!(journal.is_new(false, net));
        journal.plan_changed(7);
        assert!(journal.is_new(true, net));
    }

    #[test]
    fn a_failure_is_told_once_an_hour_for_each_listener_peer_and_cause() {
        let (mut failures, now) = (Failures::default(), Instant::now());
        let [a, b] = ["2001:db8::1", "2001:db8:0:1::1"].map(|ip| ip.parse::<IpAddr>().unwrap());
        assert!(failures.is_new(("tls", a, "wrong_name"), now));
        let again = ("tls", "2001:db8::2".parse().unwrap(), "wrong_name");
        assert!(!failures.is_new(again, now + HOUR - Duration::from_secs(1)));
        for other in [("wss", a, "wrong_name"), ("tls", b, "wrong_name"), ("tls", a, "expired")] {
            assert!(failures.is_new(other, now) && !failures.is_new(other, now), "{other:?}");
        }
        assert!(failures.is_new(again, now + HOUR));
    }

    #[test]
    fn failures_are_told_again_an_hour_after_their_memory_was_full() {
        let (mut failures, now) = (Failures::default(), Instant::now());
        let nth = |n: usize| IpAddr::from((n as u32).to_be_bytes());
        assert!((0..limits::NOTED_DESTINATIONS).all(|n| failures.is_new(("tls", nth(n), "not_tls"), now)));
        let other = ("tls", nth(limits::NOTED_DESTINATIONS), "not_tls");
        assert!(!failures.full);
        assert!(!failures.is_new(other, now));
        assert!(failures.full);
        assert!(failures.is_new(other, now + HOUR));
        assert!(!failures.full);
    }

    #[test]
    fn the_memory_of_what_was_told_has_an_end() {
        let mut journal = Journal::default();
        let nth = |n: usize| network(IpAddr::from((n as u32 * 256).to_be_bytes()), None);
        assert!((0..limits::NOTED_DESTINATIONS).all(|n| journal.is_new(true, nth(n))));
        assert!(!journal.is_new(true, nth(limits::NOTED_DESTINATIONS)));
        assert!(journal.full && journal.told.len() == limits::NOTED_DESTINATIONS);
    }
}
