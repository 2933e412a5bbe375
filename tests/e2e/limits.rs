//! What operators allow in a second is let in, and no more.

use std::time::{Duration, Instant};

use crate::metrics::Metrics;
use crate::recipes::recipe;
use crate::viaduct::Home;
use crate::world::World;

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
