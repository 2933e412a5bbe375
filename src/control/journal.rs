//! The shards' records as log lines: each destination once, not each message.

use std::collections::HashSet;
use std::fmt;
use std::hash::Hash;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ipnet::IpNet;

use crate::egress::NoEgress;
use crate::fib::{Fib, Route};
use crate::limits;
use crate::metrics::StreamEnd;
use crate::net::{NextHop, Transport};
use crate::plan::{ListenerId, Plan};
use crate::shard::{Opening, Record, RecordKind, Sort};

/// Remembers what it has told.
#[derive(Default)]
pub struct Journal {
    /// Destinations without a fitting listener, by the sort of reason and the listener that it names.
    unfit: Told<(Unfitness, IpNet)>,
    /// From which listeners to whom the kernel refuses to send, and with which error number.
    refused: Told<(Box<str>, IpNet, i32)>,
    /// At which listeners whose connections have failed, and why: by the label of the cause, because its text has what
    /// peers choose.
    failures: Told<(Box<str>, IpNet, &'static str)>,
    /// Next hops that ICMP says are not reached.
    unreached: Told<IpNet>,
    /// That connections could not be accepted, and how many as they were counted last.
    unaccepted: (Told<()>, u64),
    /// The first generation of the current Plan: records of earlier ones number listeners otherwise.
    plan_since: u64,
}

impl Journal {
    /// A new Plan is in force from this generation: everything is news again.
    pub fn plan_changed(&mut self, generation: u64) {
        let unaccepted = (Told::default(), self.unaccepted.1);
        *self = Self { plan_since: generation, unaccepted, ..Self::default() };
    }

    /// From this generation listeners have other numbers; what was told is still known.
    pub fn renumbered(&mut self, generation: u64) {
        self.plan_since = generation;
    }

    /// Writes the record, unless it says nothing new.
    pub fn tell(&mut self, record: &Record, plan: &Plan, fib: &Fib, now: Instant) {
        let shard = record.shard;
        let known = record.generation >= self.plan_since;
        let listener = |id: ListenerId| plan.listeners.get(usize::from(id.0)).filter(|_| known);
        let name = |id: ListenerId| listener(id).map_or("(before the listeners changed)", |l| &l.name);
        match record.kind {
            // A reload has renumbered the listeners since; what is still wrong will be told again.
            RecordKind::NoEgress { .. } | RecordKind::Fallback { .. } | RecordKind::Elsewhere { .. }
                if !known => {}
            RecordKind::NoEgress { on, next_hop, why } => {
                let sort = Sort::of(&why);
                let named = match why {
                    NoEgress::Unfit(id, _) | NoEgress::SourceDown(_, id, _) => name(id),
                    _ => "",
                };
                if self.is_unfit((sort, named), network(next_hop.address.ip(), None), now) {
                    tell_of_no_egress(next_hop, name(on), &why.in_words(plan, fib));
                }
            }
            RecordKind::Fallback { listener, next_hop, route }
            | RecordKind::Elsewhere { listener, next_hop, route } => {
                if self.is_unfit((Sort::FITS, ""), network(next_hop.address.ip(), Some(route.prefix)), now) {
                    tell_of_stand_in(&record.kind, name(listener), (next_hop, &route), fib);
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
                if self.has_failed((name(on), peer.ip(), label), now) {
                    tracing::warn!(
                        "listener {}: the connection of {peer} failed: {}",
                        name(on),
                        cause.as_str()
                    );
                }
            }
            RecordKind::NotConnected { on, peer, why, errno, opening } => {
                if self.has_failed((name(on), peer.ip(), why.label()), now) {
                    let transport = listener(on).map(|l| l.transport);
                    let told = not_connected(peer, why, errno, opening, transport);
                    tracing::warn!("listener {}: {told}", name(on));
                }
            }
            RecordKind::Unreached { to } => {
                if self.unreached.is_new(host_of(to.ip()), "next hops that are not reached", now) {
                    tell_of_unreached(to);
                }
            }
            RecordKind::Filtered { on, begins } => tell_of_filter(shard, name(on), Ok(begins)),
            RecordKind::NoFilter { on, errno } => tell_of_filter(shard, name(on), Err(errno)),
            RecordKind::SendRefused { on, to, errno } => {
                let on = on.map_or("(before the listeners changed)", name);
                let key = (on.into(), network(to.ip(), None), errno);
                if self.refused.is_new(key, "refused sends", now) {
                    tracing::warn!("{}", send_refused(on, to, errno));
                }
            }
        }
    }

    /// So many connections could not be accepted since the start, over all shards.
    pub fn tell_accepts(&mut self, failed: u64, now: Instant) {
        let (told, counted) = &mut self.unaccepted;
        let before = std::mem::replace(counted, failed);
        if failed > before && told.is_new((), "failures to accept", now) {
            tracing::warn!(
                "connections cannot be accepted: as a rule the process has as many files open as it may \
                 (LimitNOFILE=; ls /proc/PID/fd | wc -l). Told once an hour, counted in viaduct_accepts_failed_total"
            );
        }
    }

    fn is_unfit(&mut self, (sort, named): (Sort, &str), network: IpNet, now: Instant) -> bool {
        // Listeners may be renumbered.
        let unfitness = match named {
            "" => (sort, "".into()),
            named => (Sort { named: 0, ..sort }, named.into()),
        };
        self.unfit.is_new((unfitness, network), "destinations without a fitting listener", now)
    }

    fn has_failed(&mut self, (on, peer, label): (&str, IpAddr, &'static str), now: Instant) -> bool {
        self.failures.is_new((on.into(), host_of(peer), label), "failures of connections", now)
    }
}

/// No listener fits, and this one sends in its place: by `no_listener`, or because it is of no network of its own.
fn tell_of_stand_in(kind: &RecordKind, listener: &str, (to, route): (NextHop, &Route), fib: &Fib) {
    let way = route.in_words(fib);
    match kind {
        RecordKind::Fallback { .. } => {
            tracing::warn!(
                "no listener fits {to} and its network: no_listener sends it from {listener}, {way}. Told once an hour"
            );
        }
        _ => tracing::info!(
            "no listener has the source that the kernel would choose for {to} and its network: {listener}, the only one \
             elsewhere, sends from {}, {way}. Told once an hour",
            route.source
        ),
    }
}

fn tell_of_no_egress(next_hop: NextHop, on: &str, why: &dyn fmt::Display) {
    tracing::warn!(
        "no egress for {next_hop} (the first request came in on {on}): {why}. Told once an hour for each network and cause"
    );
}

/// The sort of reason, and the name of the listener that it names.
type Unfitness = (Sort, Box<str>);

/// That the kernel has refused a send, and what to do.
fn send_refused(listener: &str, to: SocketAddr, errno: i32) -> String {
    let (ip, why) = (to.ip(), io::Error::from_raw_os_error(errno));
    let remedy = match errno {
        libc::EPERM => {
            "a firewall of this host drops it on its way out: see the output chains of `nft list ruleset`"
                .into()
        }
        libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EACCES => {
            format!(
                "the kernel finds no way for it: see `ip route get {ip}` and `viaduct routes get {ip} --compare`"
            )
        }
        libc::EINVAL | libc::EADDRNOTAVAIL => {
            format!(
                "its source or its route does not suit the kernel: see `ip address` and `ip route get {ip}`"
            )
        }
        libc::EMSGSIZE => "it is larger than the way to there takes: see the mtu of `ip link`".into(),
        libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM => {
            "more is sent than the interface takes: see `ip -s link` and `tc -s qdisc`".into()
        }
        _ => format!("see `ip route get {ip}` and `ip -s link`"),
    };
    format!(
        "listener {listener}: the kernel refuses to send to {to}: {why}; {remedy}. Told once an hour, counted in \
         viaduct_dropped_total"
    )
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

fn tell_of_unreached(to: SocketAddr) {
    tracing::warn!(
        "{to} is not reached over UDP: ICMP says that nobody listens on that port, or that there is no way there; its requests \
         go to the next hop that follows, or are answered 500. Told once an hour, counted in viaduct_requests_unreached_total"
    );
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

/// A connection that was not made, why, and what to do. `transport`: its listener's, if that is known.
fn not_connected(
    peer: SocketAddr,
    why: StreamEnd,
    errno: i32,
    opening: Opening,
    transport: Option<Transport>,
) -> String {
    let what = match opening {
        Opening::ByPeer => "no connection is taken from",
        Opening::ForRequest => "no connection to",
        Opening::ForAnswer => "the connection of a request is gone, and there is none for its answer to",
    };
    let reason = match errno {
        0 => String::new(),
        errno => format!(" ({})", io::Error::from_raw_os_error(errno)),
    };
    let (cause, remedy) = match why {
        StreamEnd::ConnectRefused => ("it is refused", when_refused(opening, transport)),
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

/// What to do where nobody takes a connection. TLS is not to be given up for plain text, and an answer has no choice.
fn when_refused(opening: Opening, transport: Option<Transport>) -> &'static str {
    match (opening, transport) {
        (Opening::ForAnswer, _) => {
            "nobody listens at the address that its Via names; the peer is to keep a connection until its requests are \
             answered"
        }
        (_, Some(Transport::Tcp)) => {
            "nobody listens there for TCP, or a firewall refuses it; ask the peer, or write ;transport=udp"
        }
        (_, Some(transport)) if transport.is_secure() => {
            "nobody listens there for TLS, or a firewall refuses it; ask the peer for the port (5061 is usual)"
        }
        _ => "nobody listens there, or a firewall refuses it; ask the peer",
    }
}

/// What was told in this hour; the same again is counted only. Senders choose what stands here, so it has an end.
struct Told<K> {
    keys: HashSet<K>,
    /// When the first of them was told.
    since: Option<Instant>,
    full: bool,
}

impl<K> Default for Told<K> {
    fn default() -> Self {
        Self { keys: HashSet::new(), since: None, full: false }
    }
}

const HOUR: Duration = Duration::from_secs(3_600);

impl<K: Hash + Eq> Told<K> {
    /// `what` they are, for when there are too many.
    fn is_new(&mut self, key: K, what: &str, now: Instant) -> bool {
        if self.since.is_some_and(|since| now.duration_since(since) >= HOUR) {
            *self = Self::default();
        }
        self.since.get_or_insert(now);
        if self.keys.len() < limits::TOLD_AN_HOUR {
            return self.keys.insert(key);
        }
        if !std::mem::replace(&mut self.full, true) {
            tracing::warn!(
                "{} {what} were told of; further ones are only counted for the rest of the hour",
                limits::TOLD_AN_HOUR
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
    use crate::egress::{ListenerState, Unfit};

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
        let refused = |opening, transport| {
            not_connected(peer, StreamEnd::ConnectRefused, libc::ECONNREFUSED, opening, transport)
        };
        assert_eq!(
            refused(Opening::ForRequest, Some(Transport::Tcp)),
            "no connection to 192.0.2.1:5060: it is refused (Connection refused (os error 111)); nobody listens there \
             for TCP, or a firewall refuses it; ask the peer, or write ;transport=udp. Told once an hour, counted in \
             viaduct_connections_failed_total"
        );
        let tls = refused(Opening::ForRequest, Some(Transport::Tls));
        assert!(tls.contains("for TLS") && !tls.contains("udp"), "{tls}");
        for transport in [Some(Transport::Tcp), Some(Transport::Tls), None] {
            let answer = refused(Opening::ForAnswer, transport);
            assert!(answer.contains("none for its answer to 192.0.2.1:5060: it is refused"), "{answer}");
            assert!(answer.contains("that its Via names") && !answer.contains("udp"), "{answer}");
        }
        let text = not_connected(peer, StreamEnd::TooManyOfPeer, 0, Opening::ByPeer, Some(Transport::Tcp));
        assert!(
            text.starts_with("no connection is taken from 192.0.2.1:5060: the peer has as many"),
            "{text}"
        );
    }

    #[test]
    fn a_network_is_told_once_an_hour_for_each_reason_or_after_a_reload() {
        let (mut journal, now) = (Journal::default(), Instant::now());
        let net = network("192.0.2.9".parse().unwrap(), None);
        let [off, none] = [NoEgress::AutoOff, NoEgress::NoListener].map(|why| (Sort::of(&why), ""));
        assert!(journal.is_unfit(off, net, now));
        assert!(!journal.is_unfit(off, net, now + HOUR - Duration::from_secs(1)));
        assert!(journal.is_unfit(none, net, now));
        let down = |id, state| Sort::of(&NoEgress::Unfit(ListenerId(id), Unfit::Down(state)));
        assert!(journal.is_unfit((down(3, ListenerState::HomeDown), "a"), net, now));
        assert!(!journal.is_unfit((down(4, ListenerState::HomeDown), "a"), net, now), "renumbered");
        assert!(journal.is_unfit((down(4, ListenerState::HomeDown), "b"), net, now));
        assert!(journal.is_unfit((down(3, ListenerState::NoSocket), "a"), net, now));
        assert!(journal.is_unfit(off, net, now + HOUR));
        journal.plan_changed(7);
        assert!(journal.is_unfit(off, net, now + HOUR));
    }

    #[test]
    fn a_refused_send_is_told_with_the_listener_and_a_remedy() {
        let told = |errno| send_refused("private", "10.0.0.100:5060".parse().unwrap(), errno);
        assert_eq!(
            told(libc::EPERM),
            "listener private: the kernel refuses to send to 10.0.0.100:5060: Operation not permitted (os error 1); a \
             firewall of this host drops it on its way out: see the output chains of `nft list ruleset`. Told once an hour, \
             counted in viaduct_dropped_total"
        );
        assert!(told(libc::ENETUNREACH).contains("see `ip route get 10.0.0.100`"));
    }

    #[test]
    fn a_failure_is_told_once_an_hour_for_each_listener_peer_and_cause() {
        let (mut journal, now) = (Journal::default(), Instant::now());
        let [a, b] = ["2001:db8::1", "2001:db8:0:1::1"].map(|ip| ip.parse::<IpAddr>().unwrap());
        assert!(journal.has_failed(("tls", a, "wrong_name"), now));
        let again = ("tls", "2001:db8::2".parse().unwrap(), "wrong_name");
        assert!(!journal.has_failed(again, now + HOUR - Duration::from_secs(1)));
        for other in [("wss", a, "wrong_name"), ("tls", b, "wrong_name"), ("tls", a, "expired")] {
            assert!(journal.has_failed(other, now) && !journal.has_failed(other, now), "{other:?}");
        }
        assert!(journal.has_failed(again, now + HOUR));
    }

    #[test]
    fn connections_that_cannot_be_accepted_are_told_once_an_hour() {
        let (mut journal, now) = (Journal::default(), Instant::now());
        let told = |journal: &Journal| journal.unaccepted.0.keys.len();
        journal.tell_accepts(0, now);
        assert_eq!(told(&journal), 0);
        journal.tell_accepts(2, now);
        assert_eq!(told(&journal), 1);
        assert!(!journal.unaccepted.0.is_new((), "", now), "it was told");
        // What was counted before is no news an hour later, nor after a reload.
        journal.tell_accepts(2, now + HOUR);
        assert!(journal.unaccepted.0.is_new((), "", now + HOUR));
        journal.plan_changed(7);
        journal.tell_accepts(2, now + HOUR);
        assert_eq!(told(&journal), 0);
        journal.tell_accepts(3, now + HOUR);
        assert_eq!(told(&journal), 1);
    }

    #[test]
    fn what_was_told_has_an_end_which_an_hour_ends() {
        let (mut told, now) = (Told::default(), Instant::now());
        assert!((0..limits::TOLD_AN_HOUR).all(|n| told.is_new(n, "things", now)));
        assert!(!told.full);
        assert!(!told.is_new(limits::TOLD_AN_HOUR, "things", now));
        assert!(told.full && told.keys.len() == limits::TOLD_AN_HOUR);
        assert!(told.is_new(limits::TOLD_AN_HOUR, "things", now + HOUR));
        assert!(!told.full);
    }
}
