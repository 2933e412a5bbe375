//! Single pieces of the forwarder's work, each ready to be timed or counted.
//!
//! One list for all who measure them: `micro`, `tests/instructions/run`, and the benches under criterion.

pub mod fib;
pub mod message;
pub mod rules;
pub mod stream;

#[path = "../../../tests/support/mixed_rules.rs"]
pub mod mixed_rules;
#[path = "../../../tests/support/mod.rs"]
pub mod support;
#[path = "../../../tests/support/traffic.rs"]
pub mod traffic;
#[path = "../../../tests/support/wire.rs"]
pub mod wire;

/// A piece of work that can be done again and again.
pub trait Case {
    /// Makes ready so many calls, none of which was made before where that makes a difference.
    fn prepare(&mut self, calls: usize);

    /// Makes the calls that were made ready; only this is measured.
    fn run(&mut self);
}

/// Sizes of rule tables.
const RULES: [usize; 5] = [1, 10, 100, 1_000, 10_000];
/// Sizes of routing tables; a sixth of the routes is IPv6, as in the default-free zone.
const ROUTES: [usize; 4] = [1, 1_000, 100_000, 1_200_000];

/// The whole way of the parts of a call.
const PARTS: [(&str, message::Part); 4] = [
    ("pipeline", message::Part::Invite),
    ("pipeline_retransmission", message::Part::Retransmission),
    ("pipeline_response", message::Part::Response),
    ("pipeline_bye", message::Part::Bye),
];

/// Name of each case, cheapest to build first.
pub fn names() -> Vec<String> {
    let rules = RULES.iter().map(|size| format!("rules_match_{size}"));
    let among = RULES.iter().map(|size| format!("pipeline_rules_{size}"));
    let routes = ROUTES.iter().flat_map(|size| fib::DRAWS.map(|draw| format!("fib_lookup_{draw}_{size}")));
    ["parse", "decide", "rewrite"]
        .into_iter()
        .chain(PARTS.map(|(name, _)| name))
        .chain(["pipeline_stateful", "pipeline_stream_udp", "pipeline_stream_tcp"])
        .map(str::to_owned)
        .chain(rules)
        .chain(among)
        .chain(routes)
        .collect()
}

/// Builds the case of this name; `None`: there is none.
pub fn build(name: &str) -> Option<Box<dyn Case>> {
    if let Some((_, part)) = PARTS.iter().find(|(part, _)| *part == name) {
        return Some(Box::new(message::Pipeline::new(*part)));
    }
    let size = |prefix: &str| name.strip_prefix(prefix)?.parse::<usize>().ok();
    Some(match name {
        "parse" => Box::new(message::Parse::default()),
        "decide" => Box::new(message::Decide::new()),
        "rewrite" => Box::new(message::Rewrite::new()),
        "pipeline_stateful" => Box::new(message::Stateful::new()),
        "pipeline_stream_udp" => Box::new(stream::Stream::new("udp")),
        "pipeline_stream_tcp" => Box::new(stream::Stream::new("tcp")),
        _ if size("pipeline_rules_").is_some() => {
            Box::new(message::Pipeline::among(size("pipeline_rules_")?))
        }
        _ if size("rules_match_").is_some() => Box::new(rules::Match::new(size("rules_match_")?)),
        _ => Box::new(fib::Lookup::named(name.strip_prefix("fib_lookup_")?)?),
    })
}
