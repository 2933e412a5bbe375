//! What DNS says as literals, and what follows.

mod directory;
mod keeper;
mod order;
mod procedure;

use super::*;
use crate::net::Transport;

/// UDP over both families.
pub(super) fn udp() -> Served {
    Served::default().and(Transport::Udp, Kind::A).and(Transport::Udp, Kind::Aaaa)
}

/// `example.com`, `example.com:5070`, `example.com;tcp`, `sips:example.com`.
pub(super) fn question(text: &str) -> Question {
    let (sips, text) = match text.strip_prefix("sips:") {
        Some(text) => (true, text),
        None => (false, text),
    };
    let (text, transport) = match text.split_once(';') {
        Some((text, transport)) => (text, Transport::from_token(transport.as_bytes())),
        None => (text, None),
    };
    let (name, port) = match text.split_once(':') {
        Some((name, port)) => (name, port.parse().ok()),
        None => (text, None),
    };
    Question { name: HostName::new(name.as_bytes()).expect("a host name"), port, transport, sips }
}

/// A zone: `NAME TYPE DATA`, a record a line; what is not in it does not exist.
#[derive(Default)]
pub(super) struct Zone(Vec<(Query, Record, u32)>);

impl Zone {
    pub fn new(text: &str) -> Self {
        Self(text.lines().map(str::trim).filter(|l| !l.is_empty()).map(line).collect())
    }

    pub fn ask(&self, query: &Query) -> Answer {
        let found: Vec<_> = self.0.iter().filter(|(q, ..)| q == query).collect();
        let ttl_s = found.iter().map(|(_, _, ttl)| *ttl).min();
        match ttl_s {
            Some(ttl_s) => {
                Answer::Records { records: found.iter().map(|(_, r, _)| r.clone()).collect(), ttl_s }
            }
            None => {
                let below = format!(".{}", query.name);
                let exists = self.0.iter().any(|(q, ..)| q.name == query.name || q.name.ends_with(&below));
                Answer::Nothing { exists, ttl_s: Some(60) }
            }
        }
    }
}

fn line(text: &str) -> (Query, Record, u32) {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (name, ttl, words) = match words[1].parse() {
        Ok(ttl) => (words[0], ttl, &words[2..]),
        Err(_) => (words[0], 300, &words[1..]),
    };
    let dotless = |name: &str| name.trim_end_matches('.').into();
    let number = |at: usize| words[at].parse().expect("a number");
    let (kind, record) = match words[0] {
        "NAPTR" => {
            let text = |at: usize| words[at].trim_matches('"').into();
            let record = Record::Naptr {
                order: number(1),
                preference: number(2),
                flags: text(3),
                service: text(4),
                has_regexp: words[5] != "\"\"",
                replacement: dotless(words[6]),
            };
            (Kind::Naptr, record)
        }
        "SRV" => {
            let target = dotless(words[4]);
            (Kind::Srv, Record::Srv { priority: number(1), weight: number(2), port: number(3), target })
        }
        "A" => (Kind::A, Record::Address(words[1].parse().expect("an address"))),
        _ => (Kind::Aaaa, Record::Address(words[1].parse().expect("an address"))),
    };
    (Query { name: name.trim_end_matches('.').into(), kind }, record, ttl)
}

/// Asks until it is done: what was asked, in rounds, and what came of it.
pub(super) fn walk(
    question: &Question,
    served: Served,
    ask: impl Fn(&Query) -> Answer,
) -> (Vec<Vec<String>>, Outcome) {
    let (mut answers, mut rounds) = (Vec::new(), Vec::new());
    loop {
        match next(question, served, &answers) {
            Step::Ask(queries) => {
                assert!(rounds.len() < 5 && !queries.is_empty(), "it comes to no end: {rounds:?}");
                rounds.push(queries.iter().map(ToString::to_string).collect());
                answers.extend(queries.into_iter().map(|query| {
                    let answer = ask(&query);
                    (query, answer)
                }));
                assert!(answers.len() <= crate::limits::DNS_QUERIES, "{}", answers.len());
            }
            Step::Done(outcome) => return (rounds, outcome),
        }
    }
}
