//! `[[group]]`: calls move away from a gateway that dies, and come back slowly.

use crate::endpoint::Party;
use crate::gateway::Gateway;
use crate::viaduct::{Home, LISTENERS, Viaduct};
use crate::world::{World, edge, eventually};

const ONE: &str = "10.0.0.101";
const TWO: &str = "10.0.0.102";
const BOTH: [&str; 2] = ["sip:10.0.0.101", "sip:10.0.0.102"];

/// All requests go to the group.
const OUT: &str = "\n[[route]]\nname = \"out\"\nto = \"group:trunks\"\n";

/// Two gateways alike, asked once a second; who lives again has all of its share after that long.
pub fn group([one, two]: [&str; 2], slow_return: &str) -> String {
    format!(
        r#"
[[group]]
name = "trunks"
gateways = [{{ to = "{one}" }}, {{ to = "{two}" }}]
ping = {{ every = "1s", timeout = "400ms", down_after = 2, up_after = 2, slow_return = "{slow_return}" }}
"#
    )
}

/// That group, and requests that go there.
pub fn routed(gateways: [&str; 2], slow_return: &str) -> String {
    group(gateways, slow_return) + OUT
}

fn configuration(gateways: [&str; 2]) -> String {
    LISTENERS.to_owned() + &routed(gateways, "4s")
}

fn home() -> Home {
    Home::new(&configuration(BOTH))
}

/// Sends so many MESSAGEs, each of which is answered.
pub fn messages(caller: &Party, count: usize, status: u16) {
    for _ in 0..count {
        caller.send(&caller.request("MESSAGE", "sip:somebody@example.net"), edge());
        caller.receive_response(status);
    }
}

/// The gateway is in this state from that listener.
fn is_in(viaduct: &Viaduct<'_>, (uri, listener): (&str, &str), state: &str) -> bool {
    let labels = [("group", "trunks"), ("gateway", uri), ("listener", listener), ("state", state)];
    viaduct.metrics().sum("viaduct_gateway_state", &labels) == 1
}

pub fn reaches_from(viaduct: &Viaduct<'_>, gateway: (&str, &str), wanted: &str) {
    let (uri, listener) = gateway;
    eventually(&format!("{uri} is {wanted} from {listener}"), || {
        is_in(viaduct, gateway, wanted).then_some(())
    });
}

fn reaches(viaduct: &Viaduct<'_>, uri: &str, wanted: &str) {
    reaches_from(viaduct, (uri, "private"), wanted);
}

pub fn explained(home: &Home, world: &World) -> String {
    let words =
        ["explain", "--ruri", "sip:a@example.net", "--source", "1.2.3.100:5060", "--listener", "public"];
    let output = home.command(world, &words);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn calls_leave_a_gateway_that_dies_and_come_back() {
    let world = World::new();
    let (one, two) = (Gateway::new(&world.private, ONE), Gateway::new(&world.private, TWO));
    let caller = world.public.party("caller", "1.2.3.100:5060");
    let (mut public, mut spare) = (world.public.tap(), world.spare.tap());
    let home = home();
    let viaduct = home.start(&world);
    eventually("both are asked", || (one.options() > 0 && two.options() > 0).then_some(()));
    public.saw_nothing();
    spare.saw_nothing();
    messages(&caller, 60, 200);
    let (first, second) = (one.requests(), two.requests());
    assert!(first >= 12 && second >= 12 && first + second == 60, "{first} and {second}");

    two.dies();
    reaches(&viaduct, "sip:10.0.0.102", "down");
    two.requests();
    messages(&caller, 30, 200);
    assert_eq!((one.requests(), two.requests()), (30, 0));
    let told = explained(&home, &world);
    assert!(
        told.contains("✗ sip:10.0.0.102") && told.contains("does not answer, asked from private"),
        "{told}"
    );

    two.answers("200 OK", &[]);
    reaches(&viaduct, "sip:10.0.0.102", "returning");
    let told = explained(&home, &world);
    assert!(told.contains("✓ sip:10.0.0.102") && told.contains("returning, "), "{told}");
    reaches(&viaduct, "sip:10.0.0.102", "up");
    messages(&caller, 60, 200);
    assert!(two.requests() >= 12);
    let metrics = viaduct.metrics();
    let two = ("gateway", "sip:10.0.0.102");
    assert_eq!(metrics.sum("viaduct_gateway_changes_total", &[two, ("to", "down")]), 1);
    assert_eq!(metrics.sum("viaduct_gateway_changes_total", &[two, ("to", "back")]), 1);
    assert!(metrics.sum("viaduct_gateway_pings_total", &[two, ("result", "failed")]) >= 2);
    assert_eq!(metrics.sum("viaduct_gateway_selections_total", &[]), 150);
    assert!(metrics.dropped("ping_answer") > 0 && metrics.dropped("foreign_response") == 0);
    let log = viaduct.log();
    assert_eq!(
        log.matches("gateway sip:10.0.0.102 of group trunks, from listener private, is DOWN").count(),
        1
    );
    assert_eq!(log.matches("gateway sip:10.0.0.101").count(), 0, "{log}");
    viaduct.stop();
}

#[test]
fn check_shows_groups() {
    let (world, home) = (World::new(), home());
    let output = home.command(&world, &["check", "--json"]);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let group = &told["groups"][0];
    assert_eq!(
        (&group["name"], &group["select"], &group["ping_every_s"]),
        (&"trunks".into(), &"weighted".into(), &1.into())
    );
    assert_eq!(group["gateways"][1]["to"], "sip:10.0.0.102");
    let text = home.command(&world, &["check"]).stdout;
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(
        text.contains("to the group trunks") && text.contains("select weighted, asked every 1 s"),
        "{text}"
    );
}

#[test]
fn how_a_gateway_does_outlives_a_reload() {
    let world = World::new();
    let (one, two) = (Gateway::new(&world.private, ONE), Gateway::new(&world.private, TWO));
    let third = Gateway::new(&world.private, "10.0.0.103");
    let caller = world.public.party("caller", "1.2.3.100:5060");
    let home = home();
    let viaduct = home.start(&world);
    two.dies();
    reaches(&viaduct, "sip:10.0.0.102", "down");
    home.write(&configuration(["sip:10.0.0.103", "sip:10.0.0.102"]));
    viaduct.reload(1);
    two.requests();
    messages(&caller, 20, 200);
    assert_eq!((one.requests(), two.requests(), third.requests()), (0, 0, 20));
    assert_eq!(viaduct.log().matches("is DOWN").count(), 1);
    viaduct.stop();
}

#[test]
fn where_no_gateway_answers_calls_are_tried_all_the_same() {
    let world = World::new();
    let (one, two) = (Gateway::new(&world.private, ONE), Gateway::new(&world.private, TWO));
    let caller = world.public.party("caller", "1.2.3.100:5060");
    let home = home();
    let viaduct = home.start(&world);
    one.dies();
    two.dies();
    reaches(&viaduct, "sip:10.0.0.101", "down");
    reaches(&viaduct, "sip:10.0.0.102", "down");
    // They are back before the next OPTIONS says so.
    one.answers("200 OK", &[]);
    two.answers("200 OK", &[]);
    messages(&caller, 1, 200);
    assert_eq!(one.requests() + two.requests(), 1);
    assert_eq!(viaduct.metrics().sum("viaduct_group_last_resorts_total", &[]), 1);
    viaduct.stop();
}

/// One before two, not asked: traffic alone tells.
const BY_TRAFFIC: &str = r#"
[[group]]
name = "trunks"
gateways = [{ to = "sip:10.0.0.101" }, { to = "sip:10.0.0.102", priority = 2 }]

[[route]]
name = "out"
to = "group:trunks"
timeout = "1s"
mode = "stateful"
"#;

#[test]
fn a_503_with_retry_after_leaves_a_gateway_alone_for_that_long() {
    let world = World::new();
    let (one, two) = (Gateway::new(&world.private, ONE), Gateway::new(&world.private, TWO));
    let caller = world.public.party("caller", "1.2.3.100:5060");
    let home = Home::new(&format!("{LISTENERS}{BY_TRAFFIC}"));
    let viaduct = home.start(&world);
    messages(&caller, 5, 200);
    assert_eq!((one.requests(), two.requests()), (5, 0));
    // Without Retry-After each request asks it first.
    one.answers("503 Service Unavailable", &[]);
    messages(&caller, 3, 200);
    assert_eq!((one.requests(), two.requests()), (3, 3));
    one.answers("503 Service Unavailable", &[("Retry-After", "3")]);
    messages(&caller, 10, 200);
    assert_eq!((one.requests(), two.requests()), (1, 10));
    reaches(&viaduct, "sip:10.0.0.101", "aside");
    one.answers("200 OK", &[]);
    reaches(&viaduct, "sip:10.0.0.101", "returning");
    messages(&caller, 5, 200);
    assert_eq!(
        (one.requests(), two.requests()),
        (5, 0),
        "alone of its priority it gets all, whatever its share"
    );
    assert_eq!((one.options(), two.options()), (0, 0));
    let labels = [("gateway", "sip:10.0.0.101"), ("to", "aside")];
    assert_eq!(viaduct.metrics().sum("viaduct_gateway_changes_total", &labels), 1);
    // Further attempts are counted as what they are.
    let labels = [("gateway", "sip:10.0.0.102")];
    assert_eq!(viaduct.metrics().sum("viaduct_gateway_selections_total", &labels), 13);
    viaduct.stop();
}

#[test]
fn requests_that_are_not_answered_put_a_gateway_down() {
    let world = World::new();
    let (one, two) = (Gateway::new(&world.private, ONE), Gateway::new(&world.private, TWO));
    let caller = world.public.party("caller", "1.2.3.100:5060");
    // RFC 4320 §4.1 keeps a gateway from answering sooner.
    let home = Home::new(&format!("{LISTENERS}{}", BY_TRAFFIC.replace("1s", "4s")));
    let viaduct = home.start(&world);
    one.dies();
    // Each waits so long, and is answered all the same; by then the caller would have sent again.
    for _ in 0..3 {
        caller.send(&caller.request("MESSAGE", "sip:somebody@example.net"), edge());
        caller.receive_response(100);
        caller.receive_response(200);
    }
    reaches(&viaduct, "sip:10.0.0.101", "down");
    one.requests();
    messages(&caller, 10, 200);
    assert_eq!((one.requests(), two.requests()), (0, 13));
    assert_eq!(viaduct.log().matches("is DOWN").count(), 1);
    viaduct.stop();
}

/// The same gateways from two listeners, by what is called.
const BY_TWO: &str = r#"
[[route]]
name = "by-spare"
when = { ruri_user = "^spare$" }
to = "group:trunks"
egress = "spare"

[[route]]
name = "by-private"
to = "group:trunks"
egress = "private"
"#;

#[test]
fn a_gateway_may_be_down_from_one_listener_alone() {
    let world = World::new();
    let (one, two) = (Gateway::new(&world.private, ONE), Gateway::new(&world.private, TWO));
    let caller = world.public.party("caller", "1.2.3.100:5060");
    let home = Home::new(&format!("{LISTENERS}{}{BY_TWO}", group(BOTH, "4s")));
    let viaduct = home.start(&world);
    one.is_deaf_to("10.9.0.4");
    reaches_from(&viaduct, ("sip:10.0.0.101", "spare"), "down");
    assert!(is_in(&viaduct, ("sip:10.0.0.101", "private"), "up"));
    one.requests();
    two.requests();
    for _ in 0..20 {
        caller.send(&caller.request("MESSAGE", "sip:spare@example.net"), edge());
        caller.receive_response(200);
    }
    assert_eq!((one.requests(), two.requests()), (0, 20));
    messages(&caller, 40, 200);
    assert!(one.requests() >= 8);
    viaduct.stop();
}
