use std::sync::Arc;
use std::time::Duration;

use super::exposition::{
    CertificateReading, GatewayReading, ListenerChanges, ListenerReading, ListenerStanding, PingCounts,
    ProcessReadings, Readings, WayReading, render,
};
use super::{Class, Drops, RoutingCounts, SeriesId, ShardMetrics};
use crate::drop_reason::DropReason;
use crate::egress::{ListenerState, Reason, Step};
use crate::group::{Life, WatchCounts};
use crate::net::GatewayId;

#[test]
fn the_class_is_told_by_the_first_bytes() {
    for (bytes, class) in [
        (&b"INVITE sip:a@b SIP/2.0\r\n"[..], Class::Invite),
        (b"\r\n\r\nBYE sip:a@b SIP/2.0\r\n", Class::Bye),
        (b"SIP/2.0 180 Ringing\r\n", Class::Status1xx),
        (b"SIP/2.0 603 Decline\r\n", Class::Status6xx),
        (b"SIP/2.0 999 ?\r\n", Class::NotSip),
        (b"SPLICE sip:a@b SIP/2.0\r\n", Class::OtherMethod),
        (b"invite sip:a@b SIP/2.0\r\n", Class::OtherMethod),
        // RFC 4475 §3.1.1.2: "a method name that, though unusual, is legal".
        (b"!interesting-Method0123456789_*+`.%indeed'~ sip:a@b SIP/2.0\r\n", Class::OtherMethod),
        (b"INVITE\tsip:a@b SIP/2.0\r\n", Class::NotSip),
        (b"INVITE\r\nVia: a b", Class::NotSip),
        (b"\x16\x03\x01 ", Class::NotSip),
        (b"", Class::NotSip),
        (b"\r\n\r\n", Class::NotSip),
        (b" INVITE", Class::NotSip),
        (b"INVITE", Class::NotSip),
    ] {
        assert_eq!(Class::of(bytes), class, "{}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn tables_and_numbers_agree() {
    for (i, class) in Class::ALL.iter().enumerate() {
        assert_eq!(*class as usize, i);
    }
    for (i, reason) in DropReason::ALL.iter().enumerate() {
        assert_eq!(*reason as usize, i);
    }
    for (i, reason) in Reason::ALL.iter().enumerate() {
        assert_eq!(reason.index(), i);
    }
}

#[test]
fn a_listener_without_a_row_counts_nowhere_and_harms_nothing() {
    let shard = ShardMetrics::default();
    shard.traffic.received(SeriesId(3), Class::Invite);
    shard.traffic.received(SeriesId(u16::MAX), Class::Invite);
    shard.traffic.received(SeriesId::OTHER, Class::Invite);
    assert_eq!(shard.traffic.received_count(SeriesId(3), Class::Invite), 0);
    assert_eq!(shard.traffic.received_count(SeriesId::OTHER, Class::Invite), 1);
}

#[test]
fn statuses_outside_the_table_are_counted_at_its_ends() {
    let shard = ShardMetrics::default();
    for status in [0, 404, 404, 700] {
        shard.answered(status);
    }
    assert_eq!(shard.answers().collect::<Vec<_>>(), [(100, 1), (404, 2), (699, 1)]);
}

/// Two shards that have seen one call between two listeners, told as text.
fn example() -> Readings {
    let shards: Vec<Arc<ShardMetrics>> = (0..2).map(|_| Arc::default()).collect();
    let (public, private) = (SeriesId(0), SeriesId(1));
    for shard in &shards {
        shard.traffic.open(public);
        shard.traffic.open(private);
        shard.traffic.received(public, Class::Invite);
        shard.traffic.sent(private, Class::Invite, Reason::Auto(Step::Source));
        shard.traffic.received(private, Class::Status2xx);
        shard.traffic.sent(public, Class::Status2xx, Reason::Response);
        shard.dropped(DropReason::NotSip);
        shard.answered(403);
        shard.selected(GatewayId(3)).unwrap().count();
        shard.last_resorts.set(4);
        shard.busy_ns.set(1_500_000_000);
        shard.worst_batch_ns.set(250_000);
        shard.long_batches.set(2);
        shard.long_batches_ns.set(12_500_000);
        shard.generation.set(7);
        shard.sockets_delay_ns.set(1_250_000);
        shard.pins.set(2);
        shard.engine.send_buffers.set(512);
    }
    let listener = |name: &str, series| ListenerReading {
        name: name.into(),
        series,
        drops: Drops { full: 5, filtered: 8 },
        sockets: 2,
    };
    Readings {
        shards,
        listeners: vec![listener("public", public), listener("a \"quoted\" name", private)],
        standings: vec![ListenerStanding {
            name: "public".into(),
            bound: "udp:192.0.2.1:5060".into(),
            state: ListenerState::HomeDown,
            cause: "eth0, which has 192.0.2.1, is down".into(),
        }],
        gateways: vec![GatewayReading {
            id: GatewayId(3),
            group: "carriers".into(),
            uri: "sip:192.0.2.7:5060".into(),
            ways: vec![WayReading {
                listener: "public".into(),
                life: Life::Returning,
                share: 51,
                fault: None,
            }],
            pings: PingCounts { alive: 5, failed: [2, 0, 1, 0], unsent: 1 },
            watched: WatchCounts { down: 2, aside: 1, back: 3 },
        }],
        certificates: vec![CertificateReading {
            listener: "public".into(),
            file: "/etc/viaduct/a.crt".into(),
            not_after: 1_795_867_200,
        }],
        process: ProcessReadings {
            unix_time: 1_795_780_800,
            certificates_failed: 4,
            listener_changes: ListenerChanges { appeared: 3, gone: 2, states: 5 },
            version: "0.0.0",
            shards_up: 2,
            generation: 7,
            snapshot_age: Duration::from_millis(12_500),
            snapshots_alive: 1,
            publications: 6,
            routing: RoutingCounts {
                generation: 7,
                routes: 1_200_000,
                events: 40_000,
                overruns: 1,
                resyncs: 2,
                audits: 12,
                mismatches: 3,
                delay: Duration::from_millis(4),
            },
            reloads: 1,
            resident_bytes: 64 << 20,
            ..ProcessReadings::default()
        },
    }
}

#[test]
fn the_text_is_what_operators_alert_on() {
    insta::assert_snapshot!(render(example()).unwrap());
}

#[test]
fn every_metric_has_a_help_text_and_a_value_that_parses() {
    let text = render(example()).unwrap();
    let mut helped = std::collections::BTreeSet::new();
    for line in text.lines().filter(|l| *l != "# EOF") {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(help.len() > 10, "{line}");
            helped.insert(name.to_owned());
        } else if !line.starts_with('#') {
            let name = line.split(['{', ' ']).next().unwrap();
            let name = name.strip_suffix("_total").unwrap_or(name);
            assert!(helped.contains(name), "no help: {line}");
            line.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
        }
    }
    assert!(text.ends_with("# EOF\n"));
}
