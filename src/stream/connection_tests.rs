use sip_parser::{HeaderLine, parse};

use super::super::sides::sides;
use super::*;
use crate::net::Transport;
use crate::tls::Session;

fn peer() -> SocketAddr {
    "192.0.2.1:5061".parse().unwrap()
}

/// Carries what both sides have for each other until neither has anything.
fn carry(connection: &mut Connection, peer: &mut Session, mut to_connection: Vec<u8>, mut to_peer: Vec<u8>) {
    while !to_connection.is_empty() || !to_peer.is_empty() {
        let (mut scratch, mut text) = (Scratch::default(), Vec::new());
        if !to_connection.is_empty() {
            connection.receive(&std::mem::take(&mut to_connection), &mut scratch, Now(0)).1.unwrap();
        }
        to_peer.extend(&scratch.out);
        peer.receive(&std::mem::take(&mut to_peer), &mut text, &mut to_connection).unwrap();
    }
}

/// Over TLS 1.3 its tickets say nothing yet, nor does a part of a record.
#[test]
fn a_server_has_taken_what_was_sent_once_it_says_something_itself() {
    let (server, client) = sides();
    let (name, mut scratch) = (PeerName::new("a.example").unwrap(), Scratch::default());
    let layer = Layer::connect(Some(&client), &name, &mut scratch).unwrap();
    let mut ours = Connection::named(7, peer(), Some(Arc::new(name)), layer, Now(0));
    ours.opened(Now(0));
    assert_eq!(ours.unfinished(), Some(Failure::Closed));
    let mut session = Session::accept(&server).unwrap();
    carry(&mut ours, &mut session, Vec::new(), std::mem::take(&mut scratch.out));
    assert!(!ours.layer.is_handshaking() && ours.unfinished().is_none());
    let (who, invite) =
        (Waiting { shard: 0, cookie: 1 }, b"INVITE sip:b SIP/2.0\r\nVia: SIP/2.0/TLS a;branch=z9hG4bK1");
    ours.awaits(invite, who, Now(0));
    let mut record = Vec::new();
    session.send(b"SIP/2.0 100 Trying\r\n", &mut record).unwrap();
    let (part, rest) = record.split_at(record.len() / 2);
    ours.receive(part, &mut scratch, Now(0)).1.unwrap();
    assert_eq!(ours.unfinished(), Some(Failure::Unheard));
    ours.receive(rest, &mut scratch, Now(0)).1.unwrap();
    assert_eq!((ours.unfinished(), ours.is_unproven()), (None, false));
    assert_eq!(ours.take_awaited(), [who], "it is still to be answered");
}

/// Only what asks is to be answered, and only a final answer ends the wait for one.
#[test]
fn what_comes_is_noted_as_what_it_is() {
    let mut lines = [HeaderLine::EMPTY; 8];
    let headers = "Via: SIP/2.0/TCP a;branch=z9hG4bK1\r\nCSeq: 1 INFO\r\n\r\n";
    let came = |connection: &mut Connection, first_line: &str, lines: &mut [HeaderLine]| {
        connection.came(&parse(format!("{first_line}\r\n{headers}").as_bytes(), lines).unwrap(), Now(0));
    };
    let mut connection = Connection::new(7, peer(), true, Now(0));
    let request = format!("INFO sip:x SIP/2.0\r\n{headers}");
    connection.awaits(request.as_bytes(), Waiting { shard: 0, cookie: 1 }, Now(0));
    for line in ["SIP/2.0 100 Trying", "SIP/2.0 xyz", "SIP/2.0 180"] {
        came(&mut connection, line, &mut lines);
        assert!(connection.unanswered.is_empty() && !connection.awaited.is_empty(), "{line}");
    }
    came(&mut connection, "sip/2.0 486 Busy Here", &mut lines);
    assert!(connection.unanswered.is_empty() && connection.awaited.is_empty());
    for line in ["INFO sip:x SIP/2.0", "INFO sip:x SIP/3.0"] {
        came(&mut connection, line, &mut lines);
        assert!(!connection.unanswered.is_empty(), "{line}");
        connection.answered(format!("SIP/2.0 200 OK\r\n{headers}").as_bytes());
        assert!(connection.unanswered.is_empty());
    }
}

/// A connection with a browser whose handshake is over.
fn browser() -> Connection {
    let upgrade = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: sip\r\nSec-WebSocket-Version: 13\r\n\r\n";
    let mut connection = Connection::new(7, peer(), true, Now(0));
    connection.layer = Layer::accept(Transport::Ws, None).unwrap();
    connection.receive(upgrade, &mut Scratch::default(), Now(0)).1.unwrap();
    connection.spoke();
    connection
}

/// What a browser sends: a message in two parts, the rest with what follows it, and a ping.
const FIRST_PART: &[u8] = b"\x01\x83\0\0\0\0one";
const REST_AND_FIRST_PART: &[u8] = b"\x80\x83\0\0\0\0two\x01\x83\0\0\0\0one";
const PING: &[u8] = b"\x89\x80\0\0\0\0";

/// Its pings keep the connection and not the message.
#[test]
fn a_message_in_parts_has_the_time_of_a_whole_one() {
    let limits = StreamLimits::default();
    let (longest, mut scratch, mut browser) =
        (limits.header_ns + limits.body_ns, Scratch::default(), browser());
    let mut comes = |browser: &mut Connection, bytes, at| {
        browser.receive(bytes, &mut scratch, Now(at)).1.unwrap();
        scratch.clear();
        browser.heard(Now(at));
    };
    comes(&mut browser, FIRST_PART, 1);
    comes(&mut browser, PING, longest / 2);
    assert_eq!(browser.overdue(&limits, Now(longest)), None);
    assert_eq!(browser.overdue(&limits, Now(longest + 1)), Some(Overdue::Message));
    comes(&mut browser, REST_AND_FIRST_PART, longest);
    assert_eq!(browser.overdue(&limits, Now(longest + 1)), None, "another one has begun");
    assert_eq!(browser.overdue(&limits, Now(2 * longest)), Some(Overdue::Message));
    browser.waited(1);
    assert_eq!(browser.overdue(&limits, Now(2 * longest)), None, "our own time is not the peer's");
    browser.half_closed(Now(longest));
    browser.unanswered.asked(&parse(ASKS, &mut [HeaderLine::EMPTY; 2]).unwrap(), b"INVITE", Now(longest));
    assert_eq!(browser.overdue(&limits, Now(2 * longest)), None, "the rest is not waited for");
}

#[test]
fn a_part_of_a_record_has_its_time_and_counts() {
    let (limits, (server, client)) = (StreamLimits::default(), sides());
    let longest = limits.header_ns + limits.body_ns;
    let mut connection = Connection::new(7, peer(), true, Now(0));
    connection.layer = Layer::accept(Transport::Tls, Some(&server)).unwrap();
    let (mut hello, mut record) = (Vec::new(), Vec::new());
    let mut session = Session::connect(&client, &PeerName::new("a.example").unwrap(), &mut hello).unwrap();
    carry(&mut connection, &mut session, hello, Vec::new());
    connection.spoke();
    assert_eq!((connection.kept_bytes(), connection.layer.is_within()), (0, false), "it is idle");
    session.send(&[b'a'; 12_000], &mut record).unwrap();
    let (part, rest) = record.split_at(10_000);
    connection.receive(part, &mut Scratch::default(), Now(5)).1.unwrap();
    assert!(connection.kept_bytes() > 5_000, "{}", connection.kept_bytes());
    assert_eq!(connection.overdue(&limits, Now(longest + 4)), None);
    assert_eq!(connection.overdue(&limits, Now(longest + 5)), Some(Overdue::Message));
    connection.receive(rest, &mut Scratch::default(), Now(6)).1.unwrap();
    assert_eq!((connection.kept_bytes(), connection.layer.is_within()), (0, false));
}

/// A request that has an answer.
const ASKS: &[u8] = b"INVITE sip:x SIP/2.0\r\nVia: SIP/2.0/TCP a;branch=z9hG4bK1\r\n\r\n";

/// A peer that sends no more waits for no answer that nobody gives.
#[test]
fn a_half_closed_connection_ends_with_what_it_is_owed() {
    let (mut lines, limits) = ([HeaderLine::EMPTY; 8], StreamLimits::default());
    let message = parse(ASKS, &mut lines).unwrap();
    let mut connection = Connection::new(7, peer(), true, Now(0));
    connection.came(&message, Now(0));
    assert!(!connection.half_closed(Now(1)));
    connection.forget_old(Now(2));
    assert_eq!(connection.overdue(&limits, Now(2)), None);
    connection.dropped(&message);
    assert_eq!(connection.overdue(&limits, Now(2)), Some(Overdue::Idle));
}

#[test]
fn a_final_response_is_told_by_its_first_digit() {
    assert!(is_final(b"SIP/2.0 200 OK") && is_final(b"SIP/2.0 603 Decline"));
    assert!(!is_final(b"SIP/2.0 180 Ringing") && !is_final(b"BYE sip:x SIP/2.0") && !is_final(b""));
}

#[test]
fn tls_that_is_over_is_not_too_slow_whatever_is_above_it() {
    let (server, client) = sides();
    let mut theirs = Connection::new(7, peer(), true, Now(0));
    theirs.layer = Layer::accept(Transport::Wss, Some(&server)).unwrap();
    assert_eq!(theirs.too_slow(), Some(Failure::TooSlow));
    let mut hello = Vec::new();
    let mut session = Session::connect(&client, &PeerName::new("a.example").unwrap(), &mut hello).unwrap();
    carry(&mut theirs, &mut session, hello, Vec::new());
    assert!(theirs.layer.is_handshaking(), "it has not asked for a WebSocket");
    assert_eq!(theirs.too_slow(), None);
}
