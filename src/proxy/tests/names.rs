//! Names that DNS knows, or not yet.

use std::collections::HashMap;

use super::forwarding::INVITE;
use super::world::*;
use crate::dns::{Directory, Found, HostName, Question, Resolution, Target, Unresolved};
use crate::net::{ListenerId, Transport};
use crate::proxy::{Incoming, NameCounts, Origin};

const RULES: &str = r#"
[[listener]]
name = "private"
bind = "udp:10.0.0.4:5060"

[[route]]
name = "gateways"
when = { ruri_prefix = ["33"] }
to = "sip:gw.example"
mode = "stateless"

[[route]]
name = "two"
when = { ruri_prefix = ["44"] }
to = ["sip:gw.example", "sip:10.0.0.99"]
mode = "stateless"

[[route]]
name = "anywhere"
to = "request-uri"
mode = "stateless"
"#;

fn question(name: &str) -> Question {
    let name = HostName::new(name.as_bytes()).expect("a host name");
    Question { name, port: None, transport: None, sips: false }
}

/// `(rank, weight, last octet)` of addresses in 10.0.0.0/24.
fn leads(targets: &[(u16, u16, u8)]) -> Resolution {
    let target = |&(rank, weight, last): &(u16, u16, u8)| Target {
        rank,
        weight,
        transport: Transport::Udp,
        port: 5070,
        addresses: [[10, 0, 0, last].into()].into(),
    };
    Ok(Found { targets: targets.iter().map(target).collect(), stale: false })
}

fn world(names: &[(&str, Resolution)]) -> World {
    let mut world = World::of(RULES, builder().build());
    say(&mut world, names);
    world
}

fn say(world: &mut World, names: &[(&str, Resolution)]) {
    let names = names.iter().map(|(name, resolution)| (question(name), resolution.clone()));
    world.snapshot = world.snapshot.with_names(Directory::of(names).into());
}

fn invite(uri: &str, branch: u32) -> String {
    INVITE.replacen("sip:bob@192.0.2.9", uri, 1).replacen("z9hG4bK74bf9", &format!("z9hG4bK{branch}"), 1)
}

fn next_hop(world: &mut World, text: &str) -> String {
    match world.receive("private", "10.0.0.50:5060", text) {
        Became::Forward { to, .. } => to.to_string(),
        other => panic!("not forwarded: {other:?}"),
    }
}

/// By which a shard finds the INVITE that waits for the name.
#[test]
fn an_invite_that_leads_to_an_unknown_name_and_its_cancel_stand_for_one_transaction() {
    let mut world = world(&[]);
    let mut of = |text: &str| {
        let bytes = wire(text);
        let incoming = Incoming::datagram(bytes.as_bytes(), ListenerId(0), "10.0.0.50:5060".parse().unwrap());
        let before = world.state.transaction_of(&incoming);
        world.answered("private", "10.0.0.50:5060", text, 503);
        assert_eq!(before, Some(world.state.transaction()));
        world.state.transaction()
    };
    let [one, other] = [1, 2].map(|branch| invite("sip:33123@192.0.2.9", branch));
    let cancel = one.replace("INVITE", "CANCEL");
    assert_eq!([of(&one), of(&cancel)], [of(&one); 2]);
    assert_ne!(of(&one), of(&other));
    // Of a client that knows no cookie.
    let [old, cancel] = [&one, &cancel].map(|text| text.replace("z9hG4bK", ""));
    assert_eq!(of(&old), of(&cancel));
}

#[test]
fn transactions_are_spread_as_the_weights_say_and_each_goes_one_way() {
    let mut world = world(&[("gw.example", leads(&[(0, 1, 1), (0, 9, 2), (1, 100, 3)]))]);
    let mut seen = HashMap::<String, usize>::new();
    for branch in 0..2_000 {
        let text = invite("sip:33123@192.0.2.9", branch);
        let first = next_hop(&mut world, &text);
        // RFC 3263 §4.4: "The stateless proxy MUST define a deterministic order to the records in that case".
        if branch < 50 {
            world.state = crate::proxy::State::new(0, 1, &world.snapshot);
            assert_eq!(next_hop(&mut world, &text), first, "without memory of it");
        }
        *seen.entry(first).or_default() += 1;
    }
    assert_eq!(seen.len(), 2, "{seen:?}");
    let share = seen["10.0.0.1:5070"] as f64 / 2_000.0;
    assert!((0.12..0.25).contains(&share), "two numbers of eleven: {share}");
}

#[test]
fn all_servers_of_a_name_are_candidates_in_order() {
    let mut world = world(&[("gw.example", leads(&[(0, 0, 1), (1, 0, 2), (2, 0, 3)]))]);
    assert_eq!(next_hop(&mut world, &invite("sip:44123@192.0.2.9", 1)), "10.0.0.1:5070");
    let candidates: Vec<_> = world
        .state
        .candidates()
        .iter()
        .map(|c| (c.entry, c.origin, c.next_hop.address.to_string()))
        .collect();
    let expected = [(0, "10.0.0.1:5070"), (0, "10.0.0.2:5070"), (0, "10.0.0.3:5070"), (1, "10.0.0.99:5060")];
    assert_eq!(candidates, expected.map(|(entry, hop)| (entry, Origin::Rule, hop.to_owned())));
}

/// RFC 3263 §4: "The procedures here MUST be done exactly once per transaction".
#[test]
fn an_answer_that_changes_moves_no_transaction() {
    let mut world = world(&[("b.example", leads(&[(0, 0, 1)]))]);
    let invite = invite("sip:bob@b.example", 1);
    assert_eq!(next_hop(&mut world, &invite), "10.0.0.1:5070");
    say(&mut world, &[("b.example", leads(&[(0, 0, 2)]))]);
    let cancel = invite.replace("INVITE", "CANCEL");
    assert_eq!(next_hop(&mut world, &invite), "10.0.0.1:5070");
    assert_eq!(next_hop(&mut world, &cancel), "10.0.0.1:5070");
    assert_eq!(next_hop(&mut world, &self::invite("sip:bob@b.example", 2)), "10.0.0.2:5070");
}

#[test]
fn a_name_that_nobody_has_asked_for_is_waited_for() {
    let mut world = world(&[]);
    for uri in ["sip:bob@b.example", "sip:44123@192.0.2.9"] {
        let answer = world.answered("private", "10.0.0.50:5060", &invite(uri, 1), 503);
        assert!(answer.starts_with("SIP/2.0 503 Next Hop Not Resolved In Time\n"), "{answer}");
        assert_eq!(headers(&answer, "Retry-After").count(), 0);
        assert!(matches!(world.state.nowhere(), Some((_, Unresolved::Pending))), "{uri}");
    }
    assert_eq!(world.state.nowhere().map(|(question, _)| *question), Some(question("gw.example")));
    // One that cannot wait goes elsewhere, if there is another way.
    world.state.comes(true, true);
    assert_eq!(next_hop(&mut world, &invite("sip:44123@192.0.2.9", 1)), "10.0.0.99:5060");
    world.answered("private", "10.0.0.50:5060", &invite("sip:bob@b.example", 1), 503);
}

#[test]
fn a_name_that_leads_nowhere_is_told_with_the_reason() {
    for (why, by_request, by_rule) in [
        (Unresolved::NoSuchName, 478, 500),
        (Unresolved::NoAddress, 478, 500),
        (Unresolved::NoService, 478, 500),
        (Unresolved::NoTransport, 478, 500),
        (Unresolved::Failed, 503, 503),
    ] {
        let mut world = world(&[("b.example", Err(why)), ("gw.example", Err(why))]);
        let answer = world.answered("private", "10.0.0.50:5060", &invite("sip:bob@b.example", 1), by_request);
        let warning = format!("399 10.0.0.4:5060 \"sip:b.example {}\"", why.in_words());
        assert_eq!(header(&answer, "Warning"), warning);
        let answer = world.answered("private", "10.0.0.50:5060", &invite("sip:33123@x.example", 1), by_rule);
        assert!(header(&answer, "Warning").contains("sip:gw.example "), "{answer}");
        // The next entry of the list takes over.
        assert_eq!(next_hop(&mut world, &invite("sip:44123@192.0.2.9", 1)), "10.0.0.99:5060");
    }
    let mut world = world(&[]);
    let answer = world.answered("private", "10.0.0.50:5060", &invite("sip:bob@no..name", 1), 478);
    assert!(answer.starts_with("SIP/2.0 478 Unresolvable Destination\n"), "{answer}");
}

/// A name in a message leads no further than an address would.
#[test]
fn a_name_does_not_lead_where_its_address_may_not() {
    let at = |ip: [u8; 4]| {
        let target = Target {
            rank: 0,
            weight: 0,
            transport: Transport::Udp,
            port: 5060,
            addresses: [ip.into()].into(),
        };
        Ok(Found { targets: [target].into(), stale: false })
    };
    for (ip, status) in [([127, 0, 0, 1], 403), ([10, 0, 0, 4], 404)] {
        let mut world = world(&[("b.example", at(ip))]);
        world.answered("private", "10.0.0.50:5060", &invite("sip:bob@b.example", 1), status);
    }
}

#[test]
fn what_is_used_is_counted() {
    let mut world = world(&[("b.example", leads(&[(0, 0, 1)]))]);
    next_hop(&mut world, &invite("sip:bob@b.example", 1));
    let Ok(found) = leads(&[(0, 0, 1)]) else { unreachable!("it leads somewhere") };
    say(&mut world, &[("b.example", Ok(Found { stale: true, ..found }))]);
    next_hop(&mut world, &invite("sip:bob@b.example", 2));
    assert_eq!(world.tally().names, NameCounts { found: 2, stale: 1 });
}

/// §16.6 step 6: the rewriting for a strict router is about who the request goes to, also by name.
#[test]
fn a_strict_router_is_known_by_its_name() {
    let mut world = world(&[("strict.example", leads(&[(0, 0, 1)]))]);
    let text =
        invite("sip:bob@192.0.2.9", 1).replacen("Contact:", "Route: <sip:strict.example>\nContact:", 1);
    let Became::Forward { to, text, .. } = world.receive("private", "10.0.0.50:5060", &text) else {
        panic!("not forwarded")
    };
    assert_eq!(to.to_string(), "10.0.0.1:5070");
    assert!(text.starts_with("INVITE sip:strict.example SIP/2.0\n"), "{text}");
    assert!(text.contains("Route: <sip:bob@192.0.2.9>\n"), "{text}");
}

/// What has waited was counted when it came.
#[test]
fn a_request_that_waits_for_a_name_counts_once_against_limits() {
    let rules =
        RULES.replace("to = \"request-uri\"", "to = \"request-uri\"\nlimit = { rate = 1, burst = 1 }");
    let mut world = World::of(&rules, builder().build());
    let invite = invite("sip:bob@b.example", 1);
    world.answered("private", "10.0.0.50:5060", &invite, 503);
    assert!(matches!(world.state.nowhere(), Some((_, Unresolved::Pending))));
    say(&mut world, &[("b.example", leads(&[(0, 0, 1)]))]);
    world.state.comes(true, false);
    assert_eq!(next_hop(&mut world, &invite), "10.0.0.1:5070");
    world.state.comes(false, false);
    let other = self::invite("sip:bob@b.example", 2);
    assert!(
        matches!(world.receive("private", "10.0.0.50:5060", &other), Became::Answer { .. }),
        "the limit holds"
    );
}
