use sip_parser::{HeaderLine, parse};

use super::super::Layer;
use super::*;
use crate::limits::{
    STREAM_AWAITED_NS, STREAM_CONNECT_NS, STREAM_IDLE_NS, STREAM_QUEUE_BYTES, STREAM_SILENT_NS,
    STREAM_STALLED_NS, STREAM_UNANSWERED_BYTES, STREAMS, STREAMS_PER_PEER, STREAMS_RESERVED,
};

const SECOND: u64 = 1_000_000_000;

fn peer(port: u16) -> SocketAddr {
    ([192, 0, 2, 1], port).into()
}

fn connections(ports: &[u16]) -> (Connections, Vec<StreamId>) {
    let mut all = Connections::default();
    let streams: Vec<StreamId> = (0..).zip(ports).map(|(place, _)| StreamId::first(place)).collect();
    for (stream, port) in streams.iter().zip(ports) {
        all.insert(*stream, Connection::new(7, peer(*port), true, Now(0)));
    }
    (all, streams)
}

#[test]
fn a_connection_is_found_by_stream_and_by_peer_until_it_is_removed() {
    let (mut all, streams) = connections(&[1, 2]);
    assert_eq!(
        (all.with(7, peer(2), None, Number::ANY), all.with(8, peer(2), None, Number::ANY), all.len()),
        (Some(streams[1]), None, 2)
    );
    all.hide(streams[1]);
    assert!(all.with(7, peer(2), None, Number::ANY).is_none() && all.get(streams[1]).is_some());
    assert!(all.remove(streams[1]).is_some() && all.remove(streams[1]).is_none());
    assert!(all.get(streams[0].next()).is_none(), "another turn of the place");
    all.remove(streams[0]);
    assert!(all.is_empty() && all.each.is_empty() && all.by_peer.is_empty());
}

#[test]
fn a_later_connection_of_the_same_peer_outlives_the_earlier_one() {
    let (mut all, streams) = connections(&[1, 1]);
    all.remove(streams[0]);
    assert_eq!(all.with(7, peer(1), None, Number::ANY), Some(streams[1]));
}

#[test]
fn who_connects_from_a_next_hops_address_gets_no_requests_to_it() {
    let (mut all, streams) = connections(&[1]);
    assert_eq!(all.with(7, peer(1), None, Number::OPENED), None, "another one is opened");
    let ours = StreamId::first(8);
    all.insert(ours, Connection::new(7, peer(1), false, Now(0)));
    let later = StreamId::first(9);
    all.insert(later, Connection::new(7, peer(1), true, Now(0)));
    for wanted in [Number::OPENED, Number::ANY] {
        assert_eq!(all.with(7, peer(1), None, wanted), Some(ours));
    }
    all.remove(streams[0]);
    all.remove(ours);
    assert_eq!(all.with(7, peer(1), None, Number::OPENED), None);
    assert_eq!(all.with(7, peer(1), None, Number::ANY), Some(later), "where the message itself leads there");
    all.remove(later);
    assert!(all.by_peer.is_empty());
}

#[test]
fn each_time_has_its_end() {
    let (mut all, streams) = connections(&[1, 2]);
    let late = Now(STREAM_IDLE_NS);
    let overdue = |all: &mut Connections, now| all.overdue(now, |_| true).first().map(|(_, why)| *why);
    all.get(streams[0]).unwrap().spoke();
    assert_eq!(overdue(&mut all, Now(STREAM_SILENT_NS - 1)), None);
    assert_eq!(all.overdue(Now(STREAM_SILENT_NS), |_| true), [(streams[1], Overdue::Idle)], "a stranger");
    all.remove(streams[1]);
    assert_eq!(overdue(&mut all, Now(STREAM_IDLE_NS - 1)), None);
    assert_eq!(overdue(&mut all, late), Some(Overdue::Idle));
    assert_eq!(all.overdue(Now(0), |_| false).len(), 1, "its listener is gone");

    let connection = all.get(streams[0]).unwrap();
    let mut input = &b"INVITE sip:b"[..];
    connection.framer.next(&mut input, &mut [sip_parser::HeaderLine::EMPTY; 9], Now(SECOND));
    let by = connection.framer.deadline(&StreamLimits::default()).unwrap();
    assert_eq!((overdue(&mut all, Now(by.0 - 1)), overdue(&mut all, by)), (None, Some(Overdue::Message)));

    all.wrote(streams[0], 9, Now(0));
    let stalled = Now(STREAM_STALLED_NS);
    assert_eq!(overdue(&mut all, stalled), Some(Overdue::Stalled));
    all.took(streams[0], 1, Now(SECOND), |_| ());
    assert_ne!(overdue(&mut all, stalled), Some(Overdue::Stalled));
    assert!(all.ends(streams[0], false) && !all.ends(streams[0], true));
    assert_eq!(overdue(&mut all, Now(u64::MAX)), None);

    let waiting = Connection::new(7, peer(3), false, Now(0));
    all.insert(StreamId::first(5), waiting);
    all.wrote(StreamId::first(5), 9, Now(STREAM_CONNECT_NS - 1));
    assert_eq!(overdue(&mut all, Now(STREAM_CONNECT_NS)), Some(Overdue::Connect));
}

#[test]
fn many_are_looked_at_a_part_at_a_time_and_each_once_a_second() {
    let mut all = Connections::default();
    for place in 0..3 * LOOK_AT as u16 {
        all.insert(StreamId::first(place), Connection::new(7, peer(1), true, Now(0)));
    }
    assert_eq!(all.look_after_ns(), ROUND_NS / 3);
    let parts: Vec<usize> = (0..3).map(|_| all.overdue(Now(u64::MAX), |_| true).len()).collect();
    assert_eq!(parts, [LOOK_AT; 3]);
    let (first, _) = all.overdue(Now(u64::MAX), |_| true)[0];
    assert_eq!(first, StreamId::first(0), "and again from the beginning");
}

#[test]
fn a_peer_that_sends_no_more_is_kept_for_its_answers() {
    let (mut all, streams) = connections(&[1]);
    let connection = all.get(streams[0]).unwrap();
    for request in
        [b"OPTIONS sip:x SIP/2.0\r\nVia: a\r\n\r\n".as_slice(), b"INVITE sip:x SIP/2.0\r\nv: a\r\n\r\n"]
    {
        connection.came(&parse(request, &mut [HeaderLine::EMPTY]).unwrap(), Now(0));
    }
    let (one, other) = (b"SIP/2.0 200 OK\r\nCSeq: 1 OPTIONS", b"SIP/2.0 200 OK\r\nCSeq: 1 INVITE");
    assert!(!connection.answered(one) && !connection.half_closed(Now(5)));
    assert!(!connection.answered(one) && connection.answered(other));
    assert!(Connection::new(7, peer(1), true, Now(0)).half_closed(Now(0)), "it waits for nothing");
}

#[test]
fn requests_without_an_answer_are_kept_and_counted() {
    let (mut all, streams) = connections(&[1, 2, 3]);
    let kept = |requests: usize| requests * STREAM_UNANSWERED_BYTES;
    for (place, many) in [(0, 2), (1, 5), (2, 1)] {
        for branch in 0..many {
            let request = format!("INVITE sip:x SIP/2.0\r\nv: SIP/2.0/TCP a;branch={branch}\r\n\r\n");
            let mut lines = [HeaderLine::EMPTY];
            let request = parse(request.as_bytes(), &mut lines).unwrap();
            all.came(streams[place], Some(&request), Now(0));
            if branch == 4 {
                all.dropped(streams[place], &request);
            }
        }
    }
    assert_eq!((all.kept_bytes(), all.most_kept().next()), (kept(7), Some(streams[1])));
    all.answered(streams[1], b"SIP/2.0 200 OK\r\nv: SIP/2.0/TCP a;branch=0\r\nCSeq: 1 INVITE\r\n\r\n");
    assert_eq!(all.kept_bytes(), kept(6));
    assert!(all.ends(streams[1], false) && all.kept_bytes() == kept(3));
    all.answered(streams[1], b"SIP/2.0 200 OK\r\nv: SIP/2.0/TCP a;branch=1\r\nCSeq: 1 INVITE\r\n\r\n");
    all.remove(streams[1]).unwrap();
    all.remove(streams[2]).unwrap();
    assert_eq!(all.kept_bytes(), kept(2));
    all.overdue(Now(STREAM_AWAITED_NS), |_| true);
    assert_eq!(all.kept_bytes(), 0, "nobody answers them any more");
}

#[test]
fn one_peer_has_no_more_than_its_share() {
    let mut all = Connections::default();
    for place in 0..STREAMS_PER_PEER as u16 {
        assert_eq!(all.admit(peer(1).ip()), Ok(()));
        all.insert(StreamId::first(place), Connection::new(7, peer(1), true, Now(0)));
    }
    assert_eq!(all.admit(peer(1).ip()), Err(Refused::TooManyOfPeer));
    assert_eq!(all.may_open(peer(1).ip()), Ok(()), "it can be connected to all the same");
    assert_eq!(all.admit("192.0.2.2".parse().unwrap()), Ok(()));
    all.remove(StreamId::first(0));
    assert_eq!(all.admit(peer(1).ip()), Ok(()));
}

#[test]
fn limits_are_those_of_the_configuration() {
    let (mut all, streams) = connections(&[1]);
    all.get(streams[0]).unwrap().spoke();
    let few =
        StreamLimits { connections: 3, per_peer: 1, idle_ns: 9, queue_bytes: 100, ..StreamLimits::default() };
    all.limit(few);
    assert_eq!(all.admit(peer(1).ip()), Err(Refused::TooManyOfPeer));
    assert_eq!(all.admit("192.0.2.2".parse().unwrap()), Ok(()));
    all.insert(StreamId::first(1), Connection::new(7, "192.0.2.2:1".parse().unwrap(), true, Now(0)));
    assert_eq!(all.admit("192.0.2.3".parse().unwrap()), Err(Refused::TooMany), "one place is for our own");
    assert_eq!(all.may_open("192.0.2.3".parse().unwrap()), Ok(()));
    assert!(
        all.may_wait(streams[0], &[b'x'; STREAM_QUEUE_BYTES]),
        "a message that is larger than all that may wait"
    );
    all.wrote(streams[0], 60, Now(0));
    assert!(all.may_wait(streams[0], &[b'x'; 40]) && !all.may_wait(streams[0], &[b'x'; 41]));
    all.took(streams[0], 60, Now(0), |_| ());
    assert_eq!(all.overdue(Now(8), |_| true), []);
    assert_eq!(all.overdue(Now(9), |_| true).len(), 2);
}

#[test]
fn strangers_leave_room_for_connections_that_are_opened() {
    let mut all = Connections::default();
    let site = |n: u32| IpAddr::from(std::net::Ipv4Addr::from_bits(n / 10_000));
    let strangers = (0..u32::MAX).take_while(|n| {
        let taken = all.admit(site(*n)).is_ok();
        if taken {
            let peer = SocketAddr::new(site(*n), 1);
            all.insert(StreamId::first(*n as u16), Connection::new(7, peer, true, Now(0)));
        }
        taken
    });
    let strangers = strangers.count();
    let other = peer(1).ip();
    assert_eq!((strangers, all.admit(other)), (STREAMS - STREAMS_RESERVED, Err(Refused::TooMany)));
    for place in strangers..STREAMS {
        assert_eq!(all.may_open(other), Ok(()));
        all.insert(StreamId::first(place as u16), Connection::new(7, peer(1), false, Now(0)));
    }
    assert_eq!(all.may_open(other), Err(Refused::TooMany));
}

#[test]
fn those_who_wait_are_told_unless_all_has_left() {
    let (mut all, streams) = connections(&[1]);
    let me = Waiting { shard: 1, cookie: 9 };
    all.wrote(streams[0], 9, Now(0));
    assert!(all.get(streams[0]).unwrap().waits(me) && all.any_undrained());
    let mut left = Vec::new();
    all.took(streams[0], 9, Now(0), |who| left.push(who));
    assert!(!all.any_undrained() && left == [me]);
    all.wrote(streams[0], 9, Now(0));
    assert!(all.get(streams[0]).unwrap().waits(me));
    assert_eq!((all.unsent_bytes(), all.remove(streams[0]).unwrap().1), (9, vec![me]));
    assert_eq!(all.unsent_bytes(), 0);
}

#[test]
fn what_was_cut_off_counts_no_more_and_what_finishes_does() {
    let (mut all, streams) = connections(&[1, 2]);
    for stream in &streams {
        all.wrote(*stream, 10, Now(0));
    }
    all.ends(streams[0], true);
    all.took(streams[0], 5, Now(0), |_| ());
    assert_eq!((all.unsent_bytes(), all.most_unsent().count()), (10, 1));
    all.ends(streams[1], false);
    all.took(streams[1], 4, Now(0), |_| ());
    assert_eq!((all.unsent_bytes(), all.most_unsent().count()), (6, 1), "it is being closed");
    assert!(!all.cut_short(streams[0]) && all.cut_short(streams[1]) && !all.cut_short(streams[1]));
    assert_eq!((all.unsent_bytes(), all.most_unsent().count()), (0, 0));
    streams.iter().for_each(|stream| drop(all.remove(*stream)));
    assert_eq!(all.unsent_bytes(), 0);
}

/// Whoever keeps much pays, not whoever comes last.
#[test]
fn a_site_that_fills_the_memory_pays_for_it() {
    let mut all = Connections::default();
    let mut lines = [sip_parser::HeaderLine::EMPTY; 9];
    let mut add = |all: &mut Connections, place: u16, peer: SocketAddr, len: usize| {
        let stream = StreamId::first(place);
        all.insert(stream, Connection::new(7, peer, true, Now(0)));
        let mut framer = all.take_framer(stream).unwrap();
        let head = format!("INVITE sip:b SIP/2.0\r\nl: 65000\r\n\r\n{}", "x".repeat(len));
        framer.next(&mut head.as_bytes(), &mut lines, Now(0));
        all.put_framer(stream, framer);
    };
    // Announcing takes nothing yet.
    for place in 0..2_000 {
        add(&mut all, place, peer(place), 0);
    }
    assert!(!all.keeps_too_much(false) && all.kept_bytes() < 1 << 20, "{}", all.kept_bytes());
    for place in 2_000..3_200 {
        add(&mut all, place, peer(place), 60_000);
    }
    let innocent = StreamId::first(3_200);
    add(&mut all, 3_200, "192.0.2.99:5060".parse().unwrap(), 64_000);
    assert!(all.keeps_too_much(false));
    for stream in all.most_kept() {
        if !all.keeps_too_much(true) {
            break;
        }
        assert_ne!(stream, innocent);
        all.ends(stream, true);
    }
    assert!(!all.keeps_too_much(true) && all.get(innocent).unwrap().framer.is_within());
}

fn name(host: &str) -> Arc<PeerName> {
    Arc::new(PeerName::new(host).expect("a name"))
}

/// RFC 5923 §8.1: "The URI used for RFC3263 server resolution matches one of the identities stored in the alias table row".
#[test]
fn a_connection_that_was_opened_for_a_name_is_for_no_other() {
    let (mut all, _) = connections(&[1]);
    let ours = StreamId::first(8);
    let named = Some(name("a.example"));
    all.insert(ours, Connection::named(7, peer(1), named, Layer::Plain, Now(0)));
    for wanted in [Number::OPENED, Number::ANY] {
        assert_eq!(all.with(7, peer(1), Some(&name("a.example")), wanted), Some(ours));
    }
    assert_eq!(all.with(7, peer(1), Some(&name("b.example")), Number::OPENED), None);
    assert_eq!(all.with(7, peer(1), None, Number::OPENED), None);
    all.remove(ours);
    assert_eq!(all.with(7, peer(1), Some(&name("a.example")), Number::OPENED), None);
}

#[test]
fn a_connection_over_tls_of_a_listener_whose_files_have_changed_leads_nowhere() {
    let (mut all, streams) = connections(&[1]);
    let places = [7, 8].map(|listener| (listener, StreamId::first(listener as u16 + 1)));
    for (listener, stream) in places {
        let named = Some(name("a.example"));
        all.insert(stream, Connection::named(listener, peer(1), named, Layer::Plain, Now(0)));
    }
    all.hide_opened(|listener| listener == 7);
    let wanted = Some(name("a.example"));
    assert_eq!(all.with(7, peer(1), wanted.as_ref(), Number::OPENED), None);
    assert_eq!(all.with(7, peer(1), None, Number::ANY), Some(streams[0]), "the peer has opened that");
    assert_eq!(all.with(8, peer(1), wanted.as_ref(), Number::OPENED), Some(places[1].1));
    assert!(all.get(places[0].1).is_some_and(|connection| connection.can_send()), "it finishes what it has");
}

#[test]
fn what_is_held_counts_as_kept_and_whoever_waits_is_told() {
    let (mut all, streams) = connections(&[1, 2]);
    let who = |cookie| Waiting { shard: 0, cookie };
    assert!(all.hold(streams[0], b"one", who(1)) && all.hold(streams[0], b"two", who(2)));
    assert!(all.hold(streams[1], b"three", who(3)));
    assert_eq!((all.kept_bytes(), all.most_kept().next()), (11, Some(streams[0])));
    assert!(all.any_undrained(), "a stop waits for it");
    let held = all.take_held(streams[0]);
    assert_eq!((all.kept_bytes(), held.each().count()), (5, 2));
    assert!(all.ends(streams[1], true) && !all.hold(streams[1], b"four", who(4)));
    assert!(all.kept_bytes() == 0 && !all.any_undrained());
    let (_, waiting) = all.remove(streams[1]).expect("a connection");
    assert_eq!(waiting, [who(3)]);
}

#[test]
fn who_waits_for_an_answer_is_forgotten_with_his_transaction() {
    let (mut all, streams) = connections(&[1]);
    let (who, invite) =
        (Waiting { shard: 0, cookie: 1 }, b"INVITE sip:b SIP/2.0\r\nVia: SIP/2.0/TCP a;branch=z9hG4bK1");
    let connection = all.get(streams[0]).unwrap();
    connection.spoke();
    connection.awaits(invite, who, Now(0));
    connection.heard(Now(STREAM_AWAITED_NS));
    all.overdue(Now(STREAM_AWAITED_NS - 1), |_| true);
    all.looked_at = 0;
    assert!(!all.get(streams[0]).unwrap().awaited.is_empty());
    all.overdue(Now(STREAM_AWAITED_NS), |_| true);
    assert_eq!(all.get(streams[0]).unwrap().take_awaited(), []);
}
