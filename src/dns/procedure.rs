//! RFC 3263 §4: the next question to DNS, or the servers.

use super::address::sorted;
use super::answer::{Answer, Kind, Query, Record};
use super::question::Question;
use super::resolution::{Found, Resolution, Target, Unresolved};
use crate::limits;
use crate::net::Transport;

/// What there are listeners for: transports and address families.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served(u16);

impl Served {
    /// With this transport over this family, too.
    #[must_use]
    pub const fn and(self, transport: Transport, kind: Kind) -> Self {
        Self(self.0 | Self::bit(transport, kind))
    }

    /// Whether there is a listener of this transport that reaches addresses of this type of record.
    const fn reaches(self, transport: Transport, kind: Kind) -> bool {
        self.0 & Self::bit(transport, kind) != 0
    }

    /// Whether there is a listener of this transport.
    pub const fn has(self, transport: Transport) -> bool {
        self.reaches(transport, Kind::A) || self.reaches(transport, Kind::Aaaa)
    }

    const fn bit(transport: Transport, kind: Kind) -> u16 {
        let family = matches!(kind, Kind::Aaaa) as u16;
        1 << (transport as u16 * 2 + family)
    }
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// DNS has to be asked all of this, at once.
    Ask(Vec<Query>),
    /// That is it.
    Done(Outcome),
}

/// Where a question leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Servers in the order of their ranks, or why there are none.
    pub resolution: Resolution,
    /// How long that holds, in seconds: the least of all answers that it is made of.
    pub ttl_s: u32,
    /// There are servers, and no server could tell of a part of what was asked: there may be more.
    pub partial: bool,
}

/// The step after these answers. Always comes to an end when what is asked is answered.
pub fn next(question: &Question, served: Served, answers: &[(Query, Answer)]) -> Step {
    let mut walk = Walk { question, served, answers, missing: Vec::new(), ttl_s: u32::MAX, failed: false };
    let result = walk.servers();
    if !walk.missing.is_empty() {
        return Step::Ask(walk.missing);
    }
    let resolution = match result {
        Ok(targets) => Ok(Found { targets: targets.into(), stale: false }),
        Err(Stop::Because(why)) => Err(why),
        Err(Stop::Missing) => Err(Unresolved::Failed),
    };
    let partial = walk.failed && resolution.is_ok();
    Step::Done(Outcome { resolution, ttl_s: walk.ttl_s, partial })
}

/// Why a walk does not lead to servers.
enum Stop {
    /// Something is not answered yet.
    Missing,
    Because(Unresolved),
}

/// Goes through the procedure with the answers that there are.
struct Walk<'a> {
    question: &'a Question,
    served: Served,
    answers: &'a [(Query, Answer)],
    missing: Vec<Query>,
    ttl_s: u32,
    /// Something that it came by has no answer.
    failed: bool,
}

/// The name of SRV records, with the transport that they are for.
type Service = (Transport, Box<str>);

/// An SRV record: place of its service, priority, target, port, weight; in the order in which they are sorted.
type Server<'a> = (usize, u16, &'a str, u16, u16);

impl<'a> Walk<'a> {
    fn servers(&mut self) -> Result<Vec<Target>, Stop> {
        let Question { name, port, transport, sips } = *self.question;
        // "if no transport protocol is specified […] the client SHOULD use UDP for a SIP URI, and TCP for a SIPS URI"
        let transport = transport.map(|transport| if sips { secured(transport) } else { transport });
        // RFC 3261 §26.2.2: a SIPS URI is reached by TLS, hop by hop, or not at all.
        if sips && transport.is_some_and(|transport| !transport.is_secure()) {
            return Err(Stop::Because(Unresolved::NoTransport));
        }
        let usual = if sips { Transport::Tls } else { Transport::Udp };
        if let Some(port) = port {
            // "a port is present in the URI, the client performs an A or AAAA record lookup of the domain name."
            return self.host(name.as_str(), transport.unwrap_or(usual), port);
        }
        let Some(transport) = transport else { return self.any_transport(usual) };
        // "because a transport was specified explicitly, the client performs an SRV query for that specific transport"
        self.check(transport)?;
        match service(transport, name.as_str()) {
            Some(service) => self.services(&[service], transport),
            None => self.host(name.as_str(), transport, transport.default_port()),
        }
    }

    /// "if no transport protocol or port is specified, and the target is not a numeric IP address, the client SHOULD
    /// perform a NAPTR query for the domain in the URI."
    fn any_transport(&mut self, usual: Transport) -> Result<Vec<Target>, Stop> {
        let name = self.question.name;
        match self.look(name.as_str(), Kind::Naptr) {
            None => Err(Stop::Missing),
            Some(Answer::Failed(_)) => Err(Stop::Because(Unresolved::Failed)),
            // RFC 8020: there is nothing below a name that does not exist, its SRV records neither.
            Some(Answer::Nothing { exists: false, .. }) => Err(Stop::Because(Unresolved::NoSuchName)),
            Some(Answer::Records { records, .. }) if records.iter().any(|r| naptr(r).is_some()) => {
                let services = self.chosen(records);
                let (first, _) = services.first().ok_or(Stop::Because(Unresolved::NoTransport))?;
                self.services(&services, *first)
            }
            // "If no NAPTR records are found, the client constructs SRV queries for those transport protocols it
            // supports, and does a query for each."
            Some(Answer::Nothing { .. } | Answer::Records { .. }) => {
                let sips = self.question.sips;
                let wanted = |t: &Transport| self.served.has(*t) && (!sips || t.is_secure());
                let services = TRANSPORTS.iter().filter(|t| wanted(t));
                let services: Vec<Service> = services.filter_map(|t| service(*t, name.as_str())).collect();
                self.services(&services, usual)
            }
        }
    }

    /// "a client resolving a SIPS URI MUST discard any services that do not contain "SIPS" as the protocol in the
    /// service field. […] Second, a client MUST discard any service fields that identify a resolution service whose
    /// value is not "D2X", for values of X that indicate transport protocols supported by the client."
    ///
    /// Of what is left, the lowest order counts (RFC 3403 §4.1), in the order of preference.
    fn chosen(&self, records: &[Record]) -> Vec<Service> {
        let sips = self.question.sips;
        let fits = |t: Transport| self.served.has(t) && (!sips || t.is_secure());
        let mut fitting: Vec<_> = records.iter().filter_map(naptr).filter(|n| fits(n.2)).collect();
        fitting.sort_unstable();
        let order = fitting.first().map(|first| first.0);
        fitting.retain(|n| Some(n.0) == order);
        fitting.truncate(limits::DNS_SERVICES);
        fitting.into_iter().map(|(_, _, transport, name)| (transport, name.into())).collect()
    }

    /// The servers that SRV records name; where there are none, the host itself.
    fn services(&mut self, services: &[Service], usual: Transport) -> Result<Vec<Target>, Stop> {
        let mut servers: Vec<Server<'a>> = Vec::new();
        let (mut failed, mut denied, mut missing) = (false, false, false);
        for (at, (_, name)) in services.iter().enumerate() {
            match self.look(name, Kind::Srv) {
                None => missing = true,
                Some(Answer::Failed(_)) => failed = true,
                Some(Answer::Nothing { .. }) => {}
                Some(Answer::Records { records, .. }) => {
                    servers.extend(records.iter().filter_map(|record| server(at, record)));
                    denied |= records.iter().any(is_denial);
                }
            }
        }
        match servers.is_empty() {
            _ if missing => Err(Stop::Missing),
            true if failed => Err(Stop::Because(Unresolved::Failed)),
            true if denied => Err(Stop::Because(Unresolved::NoService)),
            // "If no SRV records were found, the client performs an A or AAAA record lookup of the domain name."
            true => self.host(self.question.name.as_str(), usual, usual.default_port()),
            false => self.targets(services, servers),
        }
    }

    /// Looks up the hosts of all servers, for all at once.
    fn targets(&mut self, services: &[Service], mut servers: Vec<Server<'a>>) -> Result<Vec<Target>, Stop> {
        // What has the same priority is sorted by name, so that chance is the only thing that decides between them.
        servers.sort_unstable();
        servers.dedup();
        servers.truncate(limits::DNS_TARGETS);
        let mut targets: Vec<Target> = Vec::new();
        let mut why = None;
        let (mut rank, mut level) = (0, None);
        for (at, priority, target, port, weight) in servers {
            let Some((transport, _)) = services.get(at) else { continue };
            let next = Some((at, priority));
            rank += u16::from(level.is_some() && level != next);
            level = next;
            match self.host(target, *transport, port) {
                Ok(hosts) => targets.extend(hosts.into_iter().map(|host| Target { rank, weight, ..host })),
                // One that could not be asked for may be there: that says more than that another is not.
                Err(Stop::Because(Unresolved::Failed)) => why = Some(Unresolved::Failed),
                Err(_) => why = why.or(Some(Unresolved::NoAddress)),
            }
        }
        match why {
            Some(why) if targets.is_empty() => Err(Stop::Because(why)),
            _ => Ok(targets),
        }
    }

    /// RFC 7984 §3.1: "The dual-stack client SHOULD look up address records for all address families that it supports
    /// for the domain name and add the resulting addresses to the list of IP addresses to be contacted."
    fn host(&mut self, name: &str, transport: Transport, port: u16) -> Result<Vec<Target>, Stop> {
        self.check(transport)?;
        let mut addresses = Vec::new();
        let (mut failed, mut missing, mut exists) = (false, false, false);
        for kind in [Kind::A, Kind::Aaaa] {
            if !self.served.reaches(transport, kind) {
                continue;
            }
            match self.look(name, kind) {
                None => missing = true,
                Some(Answer::Failed(_)) => failed = true,
                Some(Answer::Nothing { exists: other, .. }) => exists |= *other,
                Some(Answer::Records { records, .. }) => {
                    exists = true;
                    addresses.extend(records.iter().filter_map(address));
                }
            }
        }
        let addresses = sorted(addresses.into_iter());
        match addresses.is_empty() {
            _ if missing => Err(Stop::Missing),
            true if failed => Err(Stop::Because(Unresolved::Failed)),
            true if exists => Err(Stop::Because(Unresolved::NoAddress)),
            true => Err(Stop::Because(Unresolved::NoSuchName)),
            false => Ok(vec![Target { rank: 0, weight: 0, transport, port, addresses }]),
        }
    }

    fn check(&self, transport: Transport) -> Result<(), Stop> {
        if self.served.has(transport) { Ok(()) } else { Err(Stop::Because(Unresolved::NoTransport)) }
    }

    /// The answer to a query; one that there is not yet is noted as missing.
    fn look(&mut self, name: &str, kind: Kind) -> Option<&'a Answer> {
        let known = self.answers.iter().find(|(query, _)| query.kind == kind && *query.name == *name);
        let Some((_, answer)) = known else {
            let query = Query { name: name.into(), kind };
            if !self.missing.contains(&query) {
                self.missing.push(query);
            }
            return None;
        };
        let ttl_s = match answer {
            Answer::Records { ttl_s, .. } => *ttl_s,
            Answer::Nothing { ttl_s, .. } => ttl_s.unwrap_or(limits::DNS_NEGATIVE_S),
            Answer::Failed(_) => limits::DNS_FAILURE_S,
        };
        self.ttl_s = self.ttl_s.min(ttl_s);
        self.failed |= matches!(answer, Answer::Failed(_));
        Some(answer)
    }
}

const TRANSPORTS: [Transport; 5] =
    [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Ws, Transport::Wss];

/// What a transport becomes where the URI is `sips`; UDP has no such form.
const fn secured(transport: Transport) -> Transport {
    match transport {
        Transport::Tcp => Transport::Tls,
        Transport::Ws => Transport::Wss,
        other => other,
    }
}

/// The name of the SRV records for a transport; RFC 7118 has none for WebSocket.
fn service(transport: Transport, name: &str) -> Option<Service> {
    let prefix = match transport {
        Transport::Udp => "_sip._udp",
        Transport::Tcp => "_sip._tcp",
        Transport::Tls => "_sips._tcp",
        Transport::Ws | Transport::Wss => return None,
    };
    Some((transport, format!("{prefix}.{name}").into()))
}

/// A NAPTR record of SIP: order, preference, transport, replacement. "The resource record will contain an empty regular
/// expression and a replacement value, which is the SRV record for that particular transport protocol."
fn naptr(record: &Record) -> Option<(u16, u16, Transport, &str)> {
    let Record::Naptr { order, preference, flags, service, has_regexp, replacement } = record else {
        return None;
    };
    if *has_regexp || !flags.eq_ignore_ascii_case("s") || replacement.is_empty() {
        return None;
    }
    let transport = match service.to_ascii_uppercase().as_str() {
        "SIP+D2U" => Transport::Udp,
        "SIP+D2T" => Transport::Tcp,
        "SIPS+D2T" => Transport::Tls,
        "SIP+D2W" => Transport::Ws,
        "SIPS+D2W" => Transport::Wss,
        _ => return None,
    };
    Some((*order, *preference, transport, replacement))
}

fn server(service: usize, record: &Record) -> Option<Server<'_>> {
    match record {
        Record::Srv { priority, weight, port, target } if !target.is_empty() && *port > 0 => {
            Some((service, *priority, target, *port, *weight))
        }
        _ => None,
    }
}

/// `.` as target.
fn is_denial(record: &Record) -> bool {
    matches!(record, Record::Srv { target, .. } if target.is_empty())
}

fn address(record: &Record) -> Option<std::net::IpAddr> {
    if let Record::Address(ip) = record { Some(*ip) } else { None }
}
