//! Calls by SIPp between all pairs of address families, each crossing two of three networks.

use crate::metrics::Metrics;
use crate::sipp::{self, End};
use crate::viaduct::{Home, LISTENERS, RELAY};
use crate::world::World;

/// Makes calls over all pairs of families; `messages` is how many a call puts through Viaduct at least.
fn across_all_families(scenario: &str, calls: u32, messages: u32) {
    let world = World::new();
    let home = Home::new(&format!("{LISTENERS}{RELAY}"));
    let viaduct = home.start(&world);
    let public4 = End { host: &world.public, address: "1.2.3.100" };
    let public6 = End { host: &world.public, address: "[2001:db8:1::100]" };
    let private4 = End { host: &world.private, address: "10.0.0.100" };
    let six = End { host: &world.six, address: "[fd00:6::100]" };

    sipp::calls(scenario, calls, &public4, "1.2.3.4", &private4);
    sipp::calls(scenario, calls, &public4, "1.2.3.4", &six);
    sipp::calls(scenario, calls, &six, "[fd00:6::4]", &private4);
    sipp::calls(scenario, calls, &public6, "[2001:db8:1::4]", &six);

    let metrics = viaduct.accounted(u64::from(4 * calls * messages));
    assert_eq!(metrics.sum("viaduct_answers_total", &[]), 0, "Viaduct answered itself");
    assert_eq!(metrics.sum("viaduct_dropped_total", &[]), 0, "Viaduct dropped something");
    viaduct.stop();
}

#[test]
fn invite_180_200_ack_bye_200() {
    across_all_families("call", 50, 6);
}

#[test]
fn re_invite_from_both_sides() {
    across_all_families("reinvite", 20, 12);
}

#[test]
fn cancel_while_ringing() {
    across_all_families("cancel", 20, 6);
}

#[test]
fn busy() {
    across_all_families("busy", 20, 3);
}

#[test]
fn the_ack_to_our_own_answer_ends_here() {
    let world = World::new();
    // No rule: nothing relays by accident.
    let home = Home::new(LISTENERS);
    let viaduct = home.start(&world);
    let mut private = world.private.tap();
    let public = End { host: &world.public, address: "1.2.3.100" };
    const CALLS: u32 = 20;
    sipp::caller_alone("own-error", CALLS, &public, "1.2.3.4", "10.0.0.100");

    let calls = u64::from(CALLS);
    let metrics: Metrics = viaduct.accounted(2 * calls);
    assert!(metrics.sum("viaduct_answers_total", &[("status", "403")]) >= calls);
    assert!(metrics.dropped("ack_absorbed") >= calls);
    assert_eq!(metrics.messages("out"), 0);
    private.saw_nothing();
    viaduct.stop();
}
