//! A rule's next hops, in order: the first that can be sent to.

use super::forwarding::INVITE;
use super::world::{Became, CONFIGURATION, World, builder, fib};
use crate::fib::Fib;
use crate::fib::spec::Route;
use crate::proxy::Origin;

const ALICE: &str = "10.0.0.50:5060";

/// The world with this list for numbers that begin with 77.
fn world(to: &str, egress: &str, fib: Fib) -> World {
    let rule = format!(
        "[[route]]\nname = \"list\"\nwhen = {{ ruri_prefix = [\"77\"] }}\nto = {to}\nmode = \"stateless\"\n{egress}\n"
    );
    World::of(&CONFIGURATION.replacen("[[route]]", &format!("{rule}\n[[route]]"), 1), fib)
}

fn invite() -> String {
    INVITE.replacen("sip:bob@", "sip:77@", 1)
}

#[track_caller]
fn goes(world: &mut World, by: &str, to: &str) {
    world.forwarded("private", ALICE, &invite(), by, to);
}

#[test]
fn the_first_that_can_be_sent_to_is_taken() {
    // There is no route to 2001:dead::1, and no listener's address fits it but `six`.
    let list = r#"["sip:[2001:dead::1]", "sip:192.0.2.77:5070", "sip:10.0.0.102"]"#;
    let mut unrouted = world(list, "", fib());
    goes(&mut unrouted, "public", "192.0.2.77:5070");
    let seen: Vec<_> =
        unrouted.state.candidates().iter().map(|c| (c.entry, c.next_hop.to_string())).collect();
    let hop = |entry, text: &str| (entry, format!("udp:{text}"));
    assert_eq!(seen, [hop(0, "[2001:dead::1]:5060"), hop(1, "192.0.2.77:5070"), hop(2, "10.0.0.102:5060")]);
    // Statelessly it is the same one each time.
    goes(&mut unrouted, "public", "192.0.2.77:5070");
}

#[test]
fn a_name_is_all_of_its_addresses_and_the_message_may_be_asked_last() {
    let mut world = world(r#"["sip:both.example.net", "sip:10.0.0.101", "request-uri"]"#, "", fib());
    goes(&mut world, "six", "[2001:db8:9::9]:5060");
    let seen: Vec<_> = world
        .state
        .candidates()
        .iter()
        .map(|c| (c.entry, c.origin, c.next_hop.address.to_string()))
        .collect();
    assert_eq!(
        seen,
        [
            (0, Origin::Rule, "[2001:db8:9::9]:5060".to_owned()),
            (0, Origin::Rule, "10.0.0.101:5060".to_owned()),
            (2, Origin::RequestUri, "192.0.2.9:5060".to_owned()),
        ],
        "an address that two entries come to is tried once"
    );
}

#[test]
fn what_a_message_names_is_checked_in_a_list_too() {
    let list = r#"["sip:[2001:dead::1]", "request-uri"]"#;
    let ours = invite().replacen("@192.0.2.9", "@203.0.113.10", 1);
    let mut world = world(list, "", fib());
    world.answered("private", ALICE, &ours, 404);
    let multicast = invite().replacen("@192.0.2.9", "@224.0.1.75", 1);
    world.answered("private", ALICE, &multicast, 403);
    goes(&mut world, "public", "192.0.2.9:5060");
}

#[test]
fn an_egress_goes_for_all_of_them() {
    // `natted` has no IPv6, which the first address is.
    let list = r#"["sip:both.example.net", "sip:10.9.0.9"]"#;
    let mut world = world(list, "egress = \"natted\"", fib());
    goes(&mut world, "natted", "10.0.0.101:5060");
    assert_eq!(world.state.candidates().len(), 3);
}

#[test]
fn a_routing_change_moves_no_transaction_to_another_entry() {
    let list = r#"["sip:[2001:dead::1]", "sip:192.0.2.77"]"#;
    let mut world = world(list, "", fib());
    goes(&mut world, "public", "192.0.2.77:5060");
    let route = Route::new("2001:dead::/32".parse().unwrap(), 4, Some("2001:db8:1::1".parse().unwrap()));
    world.reroute(builder().route(route).build());
    goes(&mut world, "public", "192.0.2.77:5060");
    let Became::Forward { to, .. } = world.receive("private", ALICE, &invite().replace("74bf9", "new"))
    else {
        panic!()
    };
    assert_eq!(to.to_string(), "[2001:dead::1]:5060", "a new transaction takes the first one");
}
