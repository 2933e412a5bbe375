//! OPTIONS to gateways over TCP and TLS: by the connections that requests take, and what becomes of those tells.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::groups::{explained, messages, reaches_from, routed};
use crate::phone::{ByStreams, Phone, Secrets};
use crate::tls::{PRIVATE, Trust};
use crate::viaduct::Viaduct;
use crate::world::World;

const BY_TCP: &str = "sip:10.0.0.100:5080;transport=tcp";
const BY_TLS: &str = "sip:bob.example;transport=tls";

fn reach(viaduct: &Viaduct<'_>, wanted: &str) {
    for gateway in [(BY_TCP, "private/tcp"), (BY_TLS, "private-tls")] {
        reaches_from(viaduct, gateway, wanted);
    }
}

fn gateway<'w>(world: &'w World, name: &str, address: &str, secrets: Option<&Secrets>) -> ByStreams<'w> {
    ByStreams::new(&world.private, "gateway", name, address, PRIVATE, secrets)
}

/// Does something while these answer whatever comes.
fn answered_by<R>(gateways: [&ByStreams<'_>; 2], work: impl FnOnce() -> R) -> R {
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for gateway in gateways {
            let ends = &ends;
            scope.spawn(move || {
                while !ends.load(Ordering::Relaxed) {
                    if let Some(request) = gateway.try_take(Duration::from_millis(100)) {
                        gateway.answer(&request, "200 OK");
                    }
                }
            });
        }
        let result = catch_unwind(AssertUnwindSafe(work));
        ends.store(true, Ordering::Relaxed);
        result.unwrap_or_else(|panic| resume_unwind(panic))
    })
}

#[test]
fn gateways_over_tcp_and_tls_are_down_where_requests_would_fail_and_come_back() {
    let world = World::new();
    let trust = Trust::new(&routed([BY_TCP, BY_TLS], "0s"));
    // Over TCP nobody is there, over TLS somebody else.
    let (wrong, right) = (trust.secrets(&["carol.example"]), trust.secrets(&["bob.example"]));
    let stranger = gateway(&world, "carol.example", "10.0.0.100:5061", Some(&wrong));
    let caller = world.public.party("caller", "1.2.3.100:5060");
    let viaduct = trust.home.start(&world);
    reach(&viaduct, "down");
    let metrics = viaduct.metrics();
    for (uri, cause) in [(BY_TCP, "connection"), (BY_TLS, "tls")] {
        let of = |labels: &[(&str, &str)]| metrics.sum("viaduct_gateway_ping_failures_total", labels);
        let (all, so) = (of(&[("gateway", uri)]), of(&[("gateway", uri), ("cause", cause)]));
        assert!(all >= 2 && all == so, "{uri}: {so} of {all} because of {cause}");
    }
    // Where no other is left, they are tried all the same.
    let told = explained(&trust.home, &world);
    let other = "fails in TLS: its certificate is for another name (wrong_name), asked from private-tls";
    let none = "cannot be connected to, or breaks the connection, asked from private/tcp";
    for (uri, why) in [(BY_TCP, none), (BY_TLS, other)] {
        let is_it = |line: &str| line.contains(uri) && line.ends_with(&format!(", though it {why}"));
        assert!(told.lines().any(is_it), "{uri} {why}:\n{told}");
    }
    let log = viaduct.log();
    assert!(log.contains("is DOWN after 2 failures in a row: it cannot be connected to"), "{log}");
    assert!(log.contains("is DOWN after 2 failures in a row: it fails in TLS: "), "{log}");

    drop(stranger);
    let opened = || viaduct.metrics().sum("viaduct_connections_opened_total", &[]);
    let before = opened();
    let gateways = [
        gateway(&world, "10.0.0.100", "10.0.0.100:5080", None),
        gateway(&world, "bob.example", "10.0.0.100:5061", Some(&right)),
    ];
    answered_by([&gateways[0], &gateways[1]], || {
        reach(&viaduct, "up");
        messages(&caller, 40, 200);
    });
    assert_eq!(opened() - before, 2, "requests and OPTIONS share a connection");
    for uri in [BY_TCP, BY_TLS] {
        let labels = [("gateway", uri)];
        assert!(viaduct.metrics().sum("viaduct_gateway_selections_total", &labels) >= 8, "{uri}");
    }
    viaduct.stop();
}
