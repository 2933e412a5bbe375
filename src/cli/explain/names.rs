//! The names that a request leads to: what DNS was asked, what it said, and what follows.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::control::{self, Asked, Resolved};
use crate::dns::{Answer, Directory, Question, Unresolved};
use crate::limits;
use crate::net::Now;
use crate::plan::Plan;
use crate::proxy::{self, Incoming, State};
use crate::snapshot::Snapshot;

/// How long one name may take.
const WITHIN: Duration = Duration::from_secs(5);

/// A name, and where it leads to.
#[derive(Debug, Serialize)]
pub struct Name {
    /// As a URI would ask for it.
    pub question: String,
    /// What was asked, in order.
    pub queries: Vec<QueryFacts>,
    /// The servers, in the order of their ranks; what a request is sent to stands among its next hops.
    pub servers: Vec<Server>,
    /// Why there are none.
    pub unresolved: Option<&'static str>,
    /// The same in words.
    #[serde(skip)]
    pub why: Option<&'static str>,
    /// How long that holds, in seconds, before the bounds of `[dns]`.
    pub ttl: u32,
}

/// One query.
#[derive(Debug, Serialize)]
pub struct QueryFacts {
    /// The name that was asked for.
    pub name: String,
    /// `NAPTR`, `SRV`, `A`, `AAAA`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The records, as in a zone file.
    pub records: Vec<String>,
    /// Their TTL in seconds.
    pub ttl: Option<u32>,
    /// Why there are none.
    pub none: Option<String>,
    /// How long the answer took, in milliseconds.
    pub took_ms: f64,
}

/// A server.
#[derive(Debug, Serialize)]
pub struct Server {
    /// Those of a lower one are tried first.
    pub rank: u16,
    /// The share among those of the same rank.
    pub weight: u16,
    /// Transport, address and port of each of its addresses, in order.
    pub next_hops: Vec<String>,
}

/// Asks for names as messages lead to them, each once, and keeps what was said.
pub struct Lookups<'a> {
    ask: Box<Ask<'a>>,
    known: Arc<Directory>,
    /// Some were not asked for: there is no time left, or no room.
    pub gave_up: bool,
}

/// Asks for one name; none: it cannot be asked for now.
type Ask<'a> = dyn FnMut(&Plan, Question) -> Option<Resolved> + 'a;

impl<'a> Lookups<'a> {
    /// Asks DNS, as long as all of it takes no longer than this.
    pub fn of_dns(known: &Arc<Directory>, mut patience: Duration) -> Self {
        let mut left = limits::DNS_NAMES;
        Self::by(known, move |plan, question| {
            left = left.checked_sub(1)?;
            let begin = Instant::now();
            let within = WITHIN.min(patience);
            let found =
                if within.is_zero() { None } else { control::resolve_now(plan, &[question], within).ok() };
            patience = patience.saturating_sub(begin.elapsed());
            found?.pop()
        })
    }

    /// Asks by `ask`.
    pub fn by(known: &Arc<Directory>, ask: impl FnMut(&Plan, Question) -> Option<Resolved> + 'a) -> Self {
        Self { ask: Box::new(ask), known: Arc::clone(known), gave_up: false }
    }

    /// What is known by now.
    pub fn known(&self) -> Arc<Directory> {
        Arc::clone(&self.known)
    }

    /// Asks for the name that a message has led to; none: that is no use.
    pub fn learn(&mut self, plan: &Plan, question: Question) -> Option<Name> {
        // Another message, or the other side, has asked for it.
        if self.known.get(&question).is_some() {
            return None;
        }
        let Some(resolved) = (self.ask)(plan, question) else {
            self.gave_up = true;
            return None;
        };
        self.known = Arc::new(self.known.and(question, resolved.outcome.resolution.clone()));
        Some(Name::new(&resolved))
    }
}

/// Most names of one message: each entry of `to` may be a name, or a group of some.
pub const OF_MESSAGE: usize = limits::CANDIDATES * limits::CANDIDATES;

/// The snapshot with what DNS says of the names that this message leads to, asked one after the other as it comes to
/// them; and what was asked.
pub fn named(snapshot: &Snapshot, incoming: &Incoming<'_>) -> (Snapshot, Vec<Name>) {
    let mut lookups = Lookups::of_dns(&snapshot.names, WITHIN * OF_MESSAGE as u32);
    let mut known = snapshot.with_names(lookups.known());
    let (mut names, mut out) = (Vec::new(), vec![0; limits::MESSAGE_BYTES]);
    while names.len() < OF_MESSAGE {
        let mut state = State::with_pins(1, &known, 1);
        proxy::handle(&mut state, &known, incoming, Now(0), &mut out);
        let Some(&(question, Unresolved::Pending)) = state.nowhere() else { break };
        let Some(name) = lookups.learn(&known.plan, question) else { break };
        names.push(name);
        known = known.with_names(lookups.known());
    }
    (known, names)
}

impl Name {
    fn new(resolved: &Resolved) -> Self {
        let (servers, why) = match &resolved.outcome.resolution {
            Ok(found) => (found.targets.iter().map(server).collect(), None),
            Err(why) => (Vec::new(), Some(*why)),
        };
        Self {
            question: resolved.question.to_string(),
            queries: resolved.asked.iter().map(QueryFacts::new).collect(),
            servers,
            unresolved: why.map(Unresolved::label),
            why: why.map(Unresolved::in_words),
            ttl: resolved.outcome.ttl_s,
        }
    }
}

fn server(target: &crate::dns::Target) -> Server {
    let hop = |ip: &std::net::IpAddr| {
        format!("{}:{}", target.transport, std::net::SocketAddr::new(*ip, target.port))
    };
    let next_hops = target.addresses.iter().map(hop).collect();
    Server { rank: target.rank, weight: target.weight, next_hops }
}

impl QueryFacts {
    fn new(asked: &Asked) -> Self {
        let (records, ttl, none) = match &asked.answer {
            Answer::Records { records, ttl_s } => {
                (records.iter().map(ToString::to_string).collect(), Some(*ttl_s), None)
            }
            Answer::Nothing { exists: true, ttl_s } => {
                (Vec::new(), *ttl_s, Some("no such records".to_owned()))
            }
            Answer::Nothing { exists: false, ttl_s } => {
                (Vec::new(), *ttl_s, Some("the name does not exist".to_owned()))
            }
            Answer::Failed(why) => (Vec::new(), None, Some(format!("failed: {why}"))),
        };
        Self {
            name: asked.query.name.to_string(),
            kind: asked.query.kind.as_str(),
            records,
            ttl,
            none,
            took_ms: asked.took.as_secs_f64() * 1e3,
        }
    }
}

/// A line for the name, one for each query and one for each server.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.question)?;
        match self.why {
            Some(why) => write!(f, " {why}")?,
            None => write!(f, ", TTL {} s", self.ttl)?,
        }
        for QueryFacts { name, kind, records, ttl, none, took_ms } in &self.queries {
            write!(f, "\n             {name} {kind}: ")?;
            match none {
                Some(none) => write!(f, "{none}")?,
                None => write!(f, "{}", records.join(" | "))?,
            }
            match ttl {
                Some(ttl) => write!(f, " (TTL {ttl} s, {took_ms:.1} ms)")?,
                None => write!(f, " ({took_ms:.1} ms)")?,
            }
        }
        for Server { rank, weight, next_hops } in &self.servers {
            write!(f, "\n             rank {rank}, weight {weight}: {}", next_hops.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::{Found, HostName, Kind, Outcome, Query, Record, Target};
    use crate::net::Transport;

    #[test]
    fn queries_and_servers_are_told_in_order() {
        let name = HostName::new(b"example.com").unwrap();
        let question = Question { name, port: None, transport: Some(Transport::Udp), sips: false };
        let query = |name: &str, kind| Query { name: name.into(), kind };
        let took = Duration::from_micros(1_500);
        let srv = Record::Srv { priority: 10, weight: 5, port: 5070, target: "gw.example.com".into() };
        let asked = vec![
            Asked {
                query: query("_sip._udp.example.com", Kind::Srv),
                answer: Answer::Records { records: vec![srv], ttl_s: 60 },
                took,
            },
            Asked {
                query: query("gw.example.com", Kind::Aaaa),
                answer: Answer::Nothing { exists: true, ttl_s: None },
                took,
            },
        ];
        let addresses = [[192, 0, 2, 1].into()].into();
        let target = Target { rank: 0, weight: 5, transport: Transport::Udp, port: 5070, addresses };
        let resolution = Ok(Found { targets: [target].into(), stale: false });
        let resolved =
            Resolved { question, outcome: Outcome { resolution, ttl_s: 60, partial: false }, asked };
        let told = Name::new(&resolved);
        assert_eq!(
            told.to_string(),
            "sip:example.com;transport=udp, TTL 60 s\n             \
             _sip._udp.example.com SRV: 10 5 5070 gw.example.com. (TTL 60 s, 1.5 ms)\n             \
             gw.example.com AAAA: no such records (1.5 ms)\n             \
             rank 0, weight 5: udp:192.0.2.1:5070"
        );
        let json = serde_json::to_value(&told).unwrap();
        assert_eq!(json["queries"][0]["type"], "SRV");
        assert_eq!(json["servers"][0]["next_hops"][0], "udp:192.0.2.1:5070");
        let outcome = Outcome { resolution: Err(Unresolved::NoSuchName), ttl_s: 5, partial: false };
        let absent = Name::new(&Resolved { outcome, asked: Vec::new(), ..resolved });
        assert_eq!(absent.to_string(), "sip:example.com;transport=udp does not exist");
        assert_eq!(absent.unresolved, Some("no_such_name"));
    }
}
