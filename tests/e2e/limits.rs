//! What operators allow in a second is let in, and no more.

use std::time::{Duration, Instant};

use crate::endpoint::{Party, Received};
use crate::metrics::Metrics;
use crate::recipes::recipe;
use crate::sip::response;
use crate::viaduct::{Home, LISTENERS};
use crate::world::{World, edge};

/// What the recipe lets its carrier begin in a second, and at once.
const RATE: u64 = 50;
const BURST: u64 = 100;

#[test]
fn recipe_l_as_many_requests_as_agreed() {
    let world = World::new();
    let addresses =
        [("203.0.113.10", "1.2.3.4"), ("192.0.2.0/24", "1.2.3.100"), ("198.51.100.7", "10.0.0.100")];
    let text = addresses.iter().fold(recipe("# Recipe L"), |text, (from, to)| text.replace(from, to));
    // All of rate and burst is one shard's.
    let core = core_affinity::get_core_ids().expect("cores")[0].id;
    let home = Home::new(&format!("{text}[engine]\ncores = [{core}]\n"));
    let viaduct = home.start(&world);
    let carrier = world.public.party("carrier", "1.2.3.100:5060");
    let switch = world.private.party("switch", "10.0.0.100:5060");
    let edge = "1.2.3.4:5060".parse().unwrap();

    let begun = Instant::now();
    let mut sent = 0;
    while begun.elapsed() < Duration::from_secs(2) {
        for _ in 0..10 {
            carrier.send(&carrier.request("MESSAGE", "sip:anna@1.2.3.4"), edge);
            sent += 1;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let metrics = loop {
        let metrics = Metrics::scrape(&world).expect("metrics");
        if metrics.messages("in") >= sent {
            break metrics;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let lasted = begun.elapsed();
    let refused = metrics.sum("viaduct_requests_refused_total", &[("reason", "peer_limit")]);
    let (admitted, allowed) = (sent - refused, BURST + RATE * lasted.as_millis() as u64 / 1_000);
    assert!(admitted <= allowed + 1, "{admitted} of {sent} in {lasted:?}, {allowed} are allowed");
    assert!(admitted >= BURST + RATE, "{admitted} of {sent} in {lasted:?}");
    for _ in 0..20 {
        let answer = carrier.receive_response(503).message;
        assert_eq!(answer.start, "SIP/2.0 503 Too Many Requests");
        assert_eq!(answer.value("Retry-After"), "1");
    }
    // Another peer has a limit of its own.
    let other = world.private.party("other", "10.0.0.100:5070");
    other.send(&other.request("MESSAGE", "sip:other@10.0.0.4"), "10.0.0.4:5060".parse().unwrap());
    let mut came = std::iter::repeat_with(|| switch.receive().message.start);
    assert!(came.any(|start| start == "MESSAGE sip:other@10.0.0.4 SIP/2.0"));
    viaduct.stop();
}

/// Answers a request, and asks in the Via that was written for that.
fn ask(switch: &Party, request: &Received, status: &str, asks: &str) {
    let mut answer = response(&request.message, status);
    let via = answer.value("Via").to_owned();
    let offer = ";oc;oc-algo=\"loss,rate\"";
    assert!(via.ends_with(offer), "{via}");
    answer.set("Via", &via.replace(offer, asks));
    answer.set("To", &format!("{};tag=switch", request.message.value("To")));
    answer.add("Content-Length", "0");
    switch.send(&answer, request.from);
}

/// RFC 7339 towards a next hop, on all cores: what answers ask for counts wherever requests come in.
#[test]
fn a_next_hop_is_spared_what_it_asks_for() {
    let world = World::new();
    let route = "[[route]]\nname = \"in\"\nmode = \"stateless\"\nto = \"sip:10.0.0.100\"\n\
                 [[peer]]\nname = \"switch\"\nnetworks = [\"10.0.0.100\"]\noc = true\n";
    let home = Home::new(&format!("{LISTENERS}{route}"));
    let viaduct = home.start(&world);
    let switch = world.private.party("switch", "10.0.0.100:5060");
    let callers: Vec<Party> = (0..20)
        .map(|number| {
            world.public.party(&format!("caller{number}"), &format!("1.2.3.100:{}", 5_060 + number))
        })
        .collect();
    let message = |caller: &Party| caller.send(&caller.request("MESSAGE", "sip:anna@example.net"), edge());
    message(&callers[0]);
    let request = switch.receive_request("MESSAGE");
    ask(&switch, &request, "200 OK", ";oc=100;oc-algo=\"loss\";oc-validity=3000;oc-seq=1.0");
    let ok = callers[0].receive_response(200).message;
    assert!(!ok.to_string().contains(";oc"), "{ok}");
    let asked = Instant::now();
    for caller in &callers {
        message(caller);
        let refused = caller.receive_response(503).message;
        assert_eq!(refused.start, "SIP/2.0 503 Next Hop Overloaded");
        assert!(refused.values("Retry-After").is_empty());
    }
    switch.received_nothing();
    let metrics = viaduct.accounted(22);
    assert_eq!(metrics.sum("viaduct_requests_refused_total", &[("reason", "next_hop")]), 20);
    assert_eq!(metrics.sum("viaduct_next_hops_spared_total", &[]), 20);
    assert_eq!(metrics.sum("viaduct_next_hop_pleas_total", &[]), 1);
    message_after(&asked, Duration::from_secs(3), &callers[1], &switch);
    viaduct.stop();
}

/// Once the time is over, requests pass again.
fn message_after(asked: &Instant, time: Duration, caller: &Party, switch: &Party) {
    std::thread::sleep((time + Duration::from_millis(50)).saturating_sub(asked.elapsed()));
    caller.send(&caller.request("MESSAGE", "sip:anna@example.net"), edge());
    let request = switch.receive_request("MESSAGE");
    ask(switch, &request, "200 OK", ";oc=0;oc-algo=\"loss\";oc-validity=0;oc-seq=2.0");
    caller.receive_response(200);
}
