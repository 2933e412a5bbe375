//! Design of anchoring: the requests of a dialog leave by the listener that faces the other side.

use super::forwarding::INVITE;
use super::world::{Became, CONFIGURATION, World, builder, fib, header, headers, response};
use crate::drop_reason::DropReason;
use crate::egress::Reason;
use crate::fib::spec::Route;

/// A dialog as its two ends see it.
pub struct Dialog {
    call_id: String,
    /// Contact and tag of who sent the INVITE, and of who answered it.
    ends: [(String, String); 2],
    /// The route sets of both ends.
    routes: [Vec<String>; 2],
}

pub const CALLER: usize = 0;
const CALLEE: usize = 1;

impl Dialog {
    /// Sets up a dialog through the proxy; gives it with the INVITE as the callee received it.
    #[track_caller]
    pub fn begin(
        world: &mut World,
        (on, caller): (&str, &str),
        callee: &str,
        (by, next_hop): (&str, &str),
    ) -> (Self, String) {
        let invite = INVITE.replace("10.0.0.50:5060", caller).replacen("sip:bob@192.0.2.9", callee, 1);
        let sent = world.forwarded(on, caller, &invite, by, next_hop);
        let ok = response(&sent, "200 OK", "b1");
        let got = world.relayed(by, next_hop, &ok, on, caller);
        assert_eq!(headers(&got, "Via").count(), 1);
        let recorded: Vec<String> = headers(&got, "Record-Route").map(str::to_owned).collect();
        let this = Self {
            call_id: header(&got, "Call-ID").to_owned(),
            ends: [
                (format!("sip:alice@{caller}"), header(&got, "From").to_owned()),
                (callee.to_owned(), header(&got, "To").to_owned()),
            ],
            // RFC 3261 §12.1.1, §12.1.2
            routes: [recorded.iter().rev().cloned().collect(), recorded],
        };
        (this, sent)
    }

    /// A request of one end.
    pub fn request(&self, end: usize, method: &str, cseq: u32) -> String {
        let sender = &self.ends[end].0;
        let host = sender.split('@').nth(1).unwrap();
        let mut text = format!(
            "{method} {} SIP/2.0\nVia: SIP/2.0/UDP {host};branch=z9hG4bK{method}{end}{cseq}\n",
            self.ends[1 - end].0
        );
        for route in &self.routes[end] {
            text += &format!("Route: {route}\n");
        }
        text + &format!(
            "Max-Forwards: 70\nFrom: {}\nTo: {}\nCall-ID: {}\nCSeq: {cseq} {method}\nContact: <{sender}>\n\
             Content-Length: 0\n\n",
            self.ends[end].1,
            self.ends[1 - end].1,
            self.call_id
        )
    }

    /// The same as a strict router in between sends it, with these parameters of our Record-Route.
    pub fn by_strict_router(&self, end: usize, method: &str, cseq: u32, parameters: &str) -> String {
        let ours = self.routes[end][0].trim_matches(['<', '>']).replace(";lr", parameters);
        let target = &self.ends[1 - end].0;
        self.request(end, method, cseq)
            .replacen(&format!("{method} {target} "), &format!("{method} {ours} "), 1)
            .replacen(&format!("Route: {}\n", self.routes[end][0]), "", 1)
            .replacen("Max-Forwards", &format!("Route: <{target}>\nMax-Forwards"), 1)
    }
}

/// A listener, and whom it faces.
type Side = (&'static str, &'static str);

/// All pairs of networks: the caller's side, the callee's URI, its side.
const PAIRS: [(Side, &str, Side); 6] = [
    (("private", "10.0.0.50:5060"), "sip:bob@192.0.2.9:5060", ("public", "192.0.2.9:5060")),
    (("private", "10.0.0.50:5060"), "sip:bob@10.0.0.60:5060", ("private", "10.0.0.60:5060")),
    (("private", "10.0.0.50:5060"), "sip:bob@[2001:db8:7::9]:5060", ("six", "[2001:db8:7::9]:5060")),
    (("six", "[2001:db8:1::50]:5060"), "sip:bob@192.0.2.9:5060", ("public", "192.0.2.9:5060")),
    (("six", "[2001:db8:1::50]:5060"), "sip:bob@10.0.1.60:5060", ("natted", "10.0.1.60:5060")),
    (("public", "192.0.2.50:5060"), "sip:*33123@10.0.0.100:5060", ("private", "10.0.0.100:5060")),
];

#[test]
fn a_dialog_across_all_pairs_of_networks() {
    for restart in [false, true] {
        for (caller, callee, next_hop) in PAIRS {
            let mut world = World::new();
            let (dialog, _) = Dialog::begin(&mut world, caller, callee, next_hop);
            let mut cseq = 10;
            for method in ["ACK", "INVITE", "INFO", "BYE"] {
                for end in [CALLER, CALLEE] {
                    cseq += 1;
                    if restart {
                        world.restart();
                    }
                    in_dialog(&mut world, &dialog, end, method, cseq, [caller, next_hop]);
                }
            }
        }
    }
}

/// One request of one end, and its response.
#[track_caller]
fn in_dialog(
    world: &mut World,
    dialog: &Dialog,
    end: usize,
    method: &str,
    cseq: u32,
    sides: [(&str, &str); 2],
) {
    let request = dialog.request(end, method, cseq);
    let ((on, from), (by, to)) = (sides[end], sides[1 - end]);
    let Became::Forward { from: left, to: hop, decision, text, .. } = world.receive(on, from, &request)
    else {
        panic!("{request}")
    };
    assert_eq!((left.as_str(), hop.to_string().as_str()), (by, to), "{text}");
    assert_eq!((decision.egress.reason, decision.rule), (Reason::Dialog, None));
    assert_eq!(headers(&text, "Route").count(), 0, "both values go: {text}");
    assert!(text.starts_with(&format!("{method} {} SIP/2.0\n", dialog.ends[1 - end].0)), "{text}");
    // §16.6 step 4: "If this request is already part of a dialog, the proxy SHOULD insert a Record-Route
    // header field value if it wishes to remain on the path of future requests in the dialog."
    assert_eq!(headers(&text, "Record-Route").count() > 0, method == "INVITE");
    if method != "ACK" {
        world.relayed(by, to, &response(&text, "200 OK", "x"), on, from);
    }
}

#[test]
fn a_route_set_refreshed_by_either_side_still_works() {
    let mut world = World::new();
    let (caller, callee, next_hop) = PAIRS[2];
    let (mut dialog, _) = Dialog::begin(&mut world, caller, callee, next_hop);
    // The callee sends a re-INVITE; what we record then is bound to *its* tag.
    let again = dialog.request(CALLEE, "INVITE", 20);
    let text = world.forwarded(next_hop.0, next_hop.1, &again, caller.0, caller.1);
    let recorded: Vec<String> = headers(&text, "Record-Route").map(str::to_owned).collect();
    dialog.routes = [recorded.clone(), recorded.into_iter().rev().collect()];
    for (end, cseq) in [(CALLER, 21), (CALLEE, 22)] {
        in_dialog(&mut world, &dialog, end, "BYE", cseq, [caller, next_hop]);
    }
}

#[test]
fn it_leaves_by_its_side_whichever_socket_it_came_in_on() {
    let mut world = World::new();
    let (caller, callee, next_hop) = PAIRS[0];
    let (dialog, _) = Dialog::begin(&mut world, caller, callee, next_hop);
    for on in ["public", "public-5080", "natted", "loopback", "six"] {
        world.forwarded(on, caller.1, &dialog.request(CALLER, "BYE", 30), next_hop.0, next_hop.1);
    }
}

#[test]
fn a_dialog_stays_on_its_listener_when_the_routes_change() {
    let mut world = World::new();
    let (caller, callee, next_hop) = PAIRS[0];
    let (dialog, _) = Dialog::begin(&mut world, caller, callee, next_hop);
    let private = Route::new("192.0.2.0/24".parse().unwrap(), 3, Some("10.0.0.1".parse().unwrap()));
    world.reroute(builder().route(private).build());
    world.forwarded(caller.0, caller.1, &dialog.request(CALLER, "BYE", 2), "public", next_hop.1);
    // A new dialog takes the new route.
    let other = INVITE.replace("74bf9", "other");
    world.forwarded(caller.0, caller.1, &other, "private", next_hop.1);
}

#[test]
fn one_survivor_of_the_two_values_suffices() {
    let (caller, callee, next_hop) = PAIRS[0];
    for end in [CALLER, CALLEE] {
        for lost in [0, 1] {
            let mut world = World::new();
            let (mut dialog, _) = Dialog::begin(&mut world, caller, callee, next_hop);
            dialog.routes[end].remove(lost);
            in_dialog(&mut world, &dialog, end, "BYE", 2, [caller, next_hop]);
        }
    }
}

#[test]
fn a_neighbours_routes_stay() {
    let mut world = World::new();
    let (caller, callee, next_hop) = PAIRS[0];
    let (mut dialog, _) = Dialog::begin(&mut world, caller, callee, next_hop);
    dialog.routes[CALLER].push("<sip:192.0.2.200;lr;r2=on>".to_owned());
    dialog.routes[CALLER].push("<sip:203.0.113.10;lr;r2=on>".to_owned());
    let text =
        world.forwarded(caller.0, caller.1, &dialog.request(CALLER, "BYE", 2), "public", "192.0.2.200:5060");
    assert_eq!(
        headers(&text, "Route").collect::<Vec<_>>(),
        ["<sip:192.0.2.200;lr;r2=on>", "<sip:203.0.113.10;lr;r2=on>"]
    );
}

#[test]
fn a_token_is_good_for_its_dialog_only() {
    let mut world = World::new();
    let (caller, callee, next_hop) = PAIRS[5];
    let (mut dialog, _) = Dialog::begin(&mut world, caller, callee, next_hop);
    dialog.ends[CALLEE].0 = "sip:contact@10.0.0.100:5060".to_owned();
    let good = dialog.request(CALLER, "INFO", 2);
    world.forwarded(caller.0, caller.1, &good, next_hop.0, next_hop.1);
    // From the outside nothing but the token lets it through. Each is a transaction of its own.
    let other = |branch: &str| good.replace("z9hG4bKINFO", &format!("z9hG4bK{branch}"));
    world.answered(caller.0, caller.1, &other("1").replace(";tag=b1", ""), 403);
    for (branch, before, after) in
        [("2", dialog.call_id.as_str(), "another-call"), ("3", "tag=9fxced76sl", "tag=another")]
    {
        let changed = other(branch).replace(before, after);
        world.answered(caller.0, caller.1, &changed, 481);
        world.dropped(caller.0, caller.1, &changed.replace("INFO", "ACK"), DropReason::AckRefused);
    }
    assert_eq!(world.tally().bad_tokens, 10, "both values of five requests");
    // Two values of one form: with a MAC that is not ours, and with another dialog's.
    let token = good.split("Route: <sip:").nth(1).unwrap().split('@').next().unwrap();
    let forged = other("4").replace(token, &format!("{}aaaa", &token[..28]));
    let text = world.forwarded(caller.0, caller.1, &forged, next_hop.0, next_hop.1);
    assert_eq!(headers(&text, "Route").count(), 0, "its mate is good");
    assert_eq!(world.tally().bad_tokens, 11);
}

#[test]
fn a_token_is_no_licence_to_send_anywhere() {
    let mut world = World::new();
    let (caller, callee, next_hop) = PAIRS[5];
    let (dialog, _) = Dialog::begin(&mut world, caller, callee, next_hop);
    let good = dialog.request(CALLER, "BYE", 2);
    for target in ["224.0.1.75", "255.255.255.255", "0.0.0.0", "127.0.0.1:5099", "[::]", "[ff02::1]"] {
        let bad = good.replacen("10.0.0.100:5060", target, 1);
        world.answered(caller.0, caller.1, &bad, 403);
    }
    let ourselves = good.replacen("10.0.0.100:5060", "10.0.0.4:5060", 1);
    world.answered(caller.0, caller.1, &ourselves, 404);
}

#[test]
fn dialog_to_narrows_it_further() {
    let narrowed = CONFIGURATION.replace(
        "bind = \"udp:10.0.0.4:5060\"",
        "bind = \"udp:10.0.0.4:5060\"\ndialog_to = [\"10.0.0.96/28\"]",
    );
    let mut world = World::of(&narrowed, fib());
    let (caller, callee, next_hop) = PAIRS[5];
    let (dialog, _) = Dialog::begin(&mut world, caller, callee, next_hop);
    let good = dialog.request(CALLER, "BYE", 2);
    let moved = good.replacen("10.0.0.100:5060", "10.0.0.200:5060", 1);
    let answer = world.answered(caller.0, caller.1, &moved, 403);
    assert!(answer.starts_with("SIP/2.0 403 Forbidden: Next Hop Outside dialog_to\n"), "{answer}");
    world.forwarded(caller.0, caller.1, &good, next_hop.0, next_hop.1);
}

/// Whoever asked for a next hop before, in a dialog or in none, and by whatever listener.
#[test]
fn what_is_remembered_of_next_hops_changes_no_outcome() {
    let narrowed = CONFIGURATION.replace(
        "bind = \"udp:10.0.0.4:5060\"",
        "bind = \"udp:10.0.0.4:5060\"\ndialog_to = [\"10.0.0.96/28\"]",
    );
    let fresh = || World::of(&narrowed, fib());
    let mut world = fresh();
    let (caller, callee, next_hop) = PAIRS[5];
    let (inwards, _) = Dialog::begin(&mut fresh(), caller, callee, next_hop);
    let (inside, outside, public) = PAIRS[0];
    let (outwards, _) = Dialog::begin(&mut fresh(), inside, outside, public);
    let targets = [
        "10.0.0.100:5060",
        "10.0.0.100",
        "10.0.0.101:5061",
        "10.0.0.200:5060",
        "10.0.0.4:5060",
        "192.0.2.9:5060",
        "192.0.2.9;transport=udp",
        "192.0.2.9;transport=tcp",
        "192.0.2.9;maddr=10.0.0.100",
        "192.0.2.9;maddr=224.0.1.75",
        "224.0.1.75",
        "127.0.0.1:5099",
        "media.example.net",
        "[2001:db8:7::9]",
    ];
    for round in 0..3 {
        for (number, target) in targets.iter().enumerate() {
            let of_dialog = |dialog: &Dialog, old: &str| {
                let text = dialog.request(CALLER, "INFO", 2).replacen(old, target, 1);
                text.replace("z9hG4bKINFO", &format!("z9hG4bK{round}-{number}-"))
            };
            let alone = INVITE
                .replacen("bob@192.0.2.9", &format!("bob@{target}"), 1)
                .replace("branch=z9hG4bK", &format!("branch=z9hG4bK{round}-{number}-"));
            for ((on, from), text) in [
                (caller, of_dialog(&inwards, "10.0.0.100:5060")),
                (inside, of_dialog(&outwards, "192.0.2.9:5060")),
                (inside, alone),
            ] {
                let (remembering, not) = (world.receive(on, from, &text), fresh().receive(on, from, &text));
                assert_eq!(format!("{remembering:?}"), format!("{not:?}"), "{round} {target}");
            }
        }
    }
}

#[test]
fn a_next_hop_that_becomes_ours_is_allowed_no_more() {
    let mut world = World::new();
    let ask = |number: u8| INVITE.replace("z9hG4bK", &format!("z9hG4bK{number}-"));
    for number in [1, 2] {
        world.forwarded("private", "10.0.0.50:5060", &ask(number), "public", "192.0.2.9:5060");
    }
    let ours = "[[listener]]\nname = \"new\"\nbind = \"udp:192.0.2.9:5060\"\n\n[hosts]";
    world.reconfigure(&CONFIGURATION.replace("[hosts]", ours), fib());
    world.answered("private", "10.0.0.50:5060", &ask(3), 404);
}

#[test]
fn a_listener_that_no_longer_exists_is_replaced_and_counted() {
    let (caller, callee, next_hop) = PAIRS[0];
    let (dialog, _) = Dialog::begin(&mut World::new(), caller, callee, next_hop);
    let renamed = CONFIGURATION.replace("name = \"public\"", "name = \"outside\"");
    let mut world = World::of(&renamed, fib());
    world.forwarded(caller.0, caller.1, &dialog.request(CALLER, "BYE", 2), "outside", next_hop.1);
    assert_eq!(world.tally().egress_moved, 1);
    world.forwarded(caller.0, caller.1, &dialog.request(CALLER, "BYE", 3), "outside", next_hop.1);
    assert_eq!(world.tally().egress_moved, 2, "also where the next hop is remembered");
    let known = renamed.replace("name = \"outside\"", "name = \"outside\"\nformerly = [\"public\"]");
    let mut world = World::of(&known, fib());
    world.forwarded(caller.0, caller.1, &dialog.request(CALLER, "BYE", 2), "outside", next_hop.1);
    assert_eq!(world.tally().egress_moved, 0);
}

#[test]
fn strict_router_neighbours_on_both_sides() {
    // §16.4: "If the Request-URI of the request contains a value this proxy previously placed into a
    // Record-Route header field (see Section 16.6 item 4), the proxy MUST replace the Request-URI in the
    // request with the last value from the Route header field, and remove that value from the Route header
    // field."
    let (caller, callee, next_hop) = PAIRS[0];
    for (end, parameters) in [(CALLER, ";lr"), (CALLEE, ";lr"), (CALLER, ""), (CALLEE, "")] {
        let mut world = World::new();
        let (dialog, _) = Dialog::begin(&mut world, caller, callee, next_hop);
        let sides = [caller, next_hop];
        // Some strict routers drop the parameters that they do not know.
        let strict = dialog.by_strict_router(end, "BYE", 2, parameters);
        let target = &dialog.ends[1 - end].0;
        let ((on, from), (by, to)) = (sides[end], sides[1 - end]);
        let text = world.forwarded(on, from, &strict, by, to);
        assert!(text.starts_with(&format!("BYE {target} SIP/2.0\n")), "{text}");
        assert_eq!(headers(&text, "Route").count(), 0, "{text}");
    }
}

#[test]
fn a_spiral_through_us_is_gone_through_at_once() {
    // The INVITE passes us twice, by way of a neighbour that does not record itself.
    let mut world = World::new();
    let first = world.forwarded(
        "private",
        "10.0.0.50:5060",
        &INVITE.replacen("sip:bob@192.0.2.9", "sip:4930@x.example", 1),
        "private",
        "10.0.0.100:5062",
    );
    let (start, rest) = first.split_once('\n').unwrap();
    let back = format!("{start}\nVia: SIP/2.0/UDP 10.0.0.100:5062;branch=z9hG4bKx\n{rest}").replacen(
        "sip:4930@x.example",
        "sip:bob@192.0.2.9",
        1,
    );
    let second = world.forwarded("private", "10.0.0.100:5062", &back, "public", "192.0.2.9:5060");
    let ok = response(&second, "200 OK", "b1");
    let got = world.relayed("public", "192.0.2.9:5060", &ok, "private", "10.0.0.100:5062");
    let recorded: Vec<String> = headers(&got, "Record-Route").map(str::to_owned).collect();
    assert_eq!(recorded.len(), 3);
    let dialog = Dialog {
        call_id: header(&got, "Call-ID").to_owned(),
        ends: [
            ("sip:alice@10.0.0.50:5060".to_owned(), header(&got, "From").to_owned()),
            ("sip:bob@192.0.2.9:5060".to_owned(), header(&got, "To").to_owned()),
        ],
        routes: [recorded.iter().rev().cloned().collect(), recorded],
    };
    let sides = [("private", "10.0.0.50:5060"), ("public", "192.0.2.9:5060")];
    for end in [CALLER, CALLEE] {
        in_dialog(&mut world, &dialog, end, "BYE", 2, sides);
    }
}

#[test]
fn the_remote_target_may_ask_for_another_transport() {
    // There is no sibling for TCP here: nothing is sent by a socket of another transport.
    let alone = CONFIGURATION.replace("\nbind = \"udp:", "\ntcp = false\nbind = \"udp:");
    let mut world = World::of(&alone, fib());
    let (caller, callee, next_hop) = PAIRS[0];
    let (dialog, _) = Dialog::begin(&mut world, caller, callee, next_hop);
    let text = dialog.request(CALLER, "BYE", 2).replacen("192.0.2.9:5060", "192.0.2.9:5060;transport=tcp", 1);
    world.answered(caller.0, caller.1, &text, 500);
}
