//! Captures written down byte by byte, and what is read of them.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::net::SocketAddr;
use std::sync::Arc;

use etherparse::{EtherType, IpFragOffset, Ipv4Header, PacketBuilder, PacketBuilderStep, VlanId};
use pcap_parser::Linktype;
use proptest::prelude::*;

use super::datagram::{self, Datagram, Skip};
use super::frames::{self, End, Error, Frame};
use super::totals::Totals;
use super::{Lookups, Run, Side};
use crate::config;
use crate::control::Resolved;
use crate::dns::{Found, Outcome, Question, Target, Unresolved};
use crate::fib::spec::{Link, Route};
use crate::fib::{Builder, Fib};
use crate::net::Transport;
use crate::plan::Plan;
use crate::snapshot::Snapshot;
use crate::token::Keys;

const INVITE: &str = "INVITE sip:bob@10.0.0.100 SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.9:5060;branch=z9hG4bK1\r\n\
    Max-Forwards: 70\r\nFrom: <sip:a@x>;tag=1\r\nTo: <sip:bob@10.0.0.100>\r\nCall-ID: 1@x\r\nCSeq: 1 INVITE\r\n\
    Content-Length: 0\r\n\r\n";

fn finish<T>(
    builder: PacketBuilderStep<T>,
    payload: &str,
    write: impl FnOnce(PacketBuilderStep<T>, &mut Vec<u8>, &[u8]),
) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(builder, &mut bytes, payload.as_bytes());
    bytes
}

/// An IPv4 packet over UDP from 203.0.113.9:5060.
fn udp(to: [u8; 4], port: u16, payload: &str) -> Vec<u8> {
    let builder = PacketBuilder::ipv4([203, 0, 113, 9], to, 64).udp(5060, port);
    finish(builder, payload, |b, bytes, payload| b.write(bytes, payload).unwrap())
}

fn to_public(payload: &str) -> Vec<u8> {
    udp([203, 0, 113, 10], 5060, payload)
}

fn ethernet(ip: &[u8]) -> Vec<u8> {
    [&[2; 6][..], &[4; 6], &[8, 0], ip].concat()
}

fn frame(link: Linktype, bytes: &[u8]) -> Frame<'_> {
    Frame { link: Some(link), time_ns: None, bytes, cut: false }
}

/// A classic file of little-endian microseconds.
fn classic(link: i32, packets: &[Vec<u8>]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, link as u32] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    for (at, packet) in packets.iter().enumerate() {
        for word in [100 + at as u32, 250_000, packet.len() as u32, packet.len() as u32] {
            file.extend_from_slice(&word.to_le_bytes());
        }
        file.extend_from_slice(packet);
    }
    file
}

fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let padded = body.len().div_ceil(4) * 4;
    let len = (padded as u32 + 12).to_le_bytes();
    let mut bytes = [&kind.to_le_bytes()[..], &len, body].concat();
    bytes.resize(8 + padded, 0);
    bytes.extend_from_slice(&len);
    bytes
}

/// A pcapng file with an Ethernet interface of microseconds and a raw one of nanoseconds; each packet
/// names its interface.
fn ng(packets: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let section = [&0x1a2b_3c4d_u32.to_le_bytes()[..], &[1, 0, 0, 0], &u64::MAX.to_le_bytes()].concat();
    let mut file = block(0x0a0d_0d0a, &section);
    file.extend(block(1, &[1, 0, 0, 0, 0, 0, 4, 0]));
    // if_tsresol (9), one byte: 9; the end of options.
    file.extend(block(1, &[101, 0, 0, 0, 0, 0, 4, 0, 9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0]));
    for (interface, packet) in packets {
        let len = packet.len() as u32;
        let words = [*interface, 0, 2_000_000_000, len, len];
        let head: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        file.extend(block(6, &[head, packet.clone()].concat()));
    }
    file
}

/// Number, time, bytes.
type Seen = (u64, Option<u64>, Vec<u8>);

/// What is in a file.
fn all(file: &[u8]) -> (Vec<Seen>, Result<End, Error>) {
    let mut seen = Vec::new();
    let end = frames::read_from(Cursor::new(file.to_vec()), |number, frame| {
        seen.push((number, frame.time_ns, frame.bytes.to_vec()));
        true
    });
    (seen, end)
}

#[test]
fn both_kinds_of_files_are_read_to_their_end() {
    let (a, b) = (to_public(INVITE), to_public("x"));
    let (seen, end) = all(&classic(101, &[a.clone(), b.clone()]));
    assert_eq!(seen, [(1, Some(100_250_000_000), a.clone()), (2, Some(101_250_000_000), b.clone())]);
    assert!(matches!(end, Ok(End::Whole)), "{end:?}");
    let (seen, end) = all(&ng(&[(0, ethernet(&a)), (1, b.clone())]));
    assert_eq!(seen, [(1, Some(2_000_000_000_000), ethernet(&a)), (2, Some(2_000_000_000), b)]);
    assert!(matches!(end, Ok(End::Whole)), "{end:?}");
}

/// A pipe gives what it has, and may wait long for more.
#[test]
fn a_packet_is_read_as_soon_as_it_is_there() {
    struct Drip(Cursor<Vec<u8>>, usize);
    impl std::io::Read for Drip {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let len = buffer.len().min(self.1);
            std::io::Read::read(&mut self.0, &mut buffer[..len])
        }
    }
    for file in [classic(101, &vec![to_public(INVITE); 3]), ng(&vec![(1, to_public(INVITE)); 3])] {
        for bytes_at_a_time in [1, 7, 100] {
            let (mut seen, mut drip) = (0, Drip(Cursor::new(file.clone()), bytes_at_a_time));
            let end = frames::read_from(&mut drip, |_, _| {
                seen += 1;
                false
            });
            assert!(matches!(end, Ok(End::Whole)), "{end:?}");
            let read = usize::try_from(drip.0.position()).unwrap();
            assert!(
                seen == 1 && read < file.len() / 2,
                "{read} bytes of {} for the first packet",
                file.len()
            );
        }
    }
}

#[test]
fn a_file_that_ends_early_or_is_none_is_told() {
    let whole = classic(101, &[to_public(INVITE), to_public(INVITE)]);
    let (seen, end) = all(&whole[..whole.len() - 7]);
    assert_eq!((seen.len(), matches!(end, Ok(End::Short))), (1, true));
    assert!(matches!(all(b"").1, Err(Error::Empty)));
    let no_capture = all(b"\x1f\x8b\x08compressed bytes of some length").1.unwrap_err();
    assert!(no_capture.to_string().contains("zcat FILE"), "{no_capture}");
    let mut large = classic(101, &[]);
    for word in [1_u32, 1, 50 << 20, 50 << 20] {
        large.extend_from_slice(&word.to_le_bytes());
    }
    large.resize(4 << 20, 0);
    assert!(matches!(all(&large).1, Err(Error::TooLarge | Error::Damaged(0)) | Ok(End::Short)));
}

#[test]
fn whoever_has_seen_enough_is_left_alone() {
    let file = classic(101, &vec![to_public(INVITE); 9]);
    let mut seen = 0;
    let end = frames::read_from(Cursor::new(file), |_, _| {
        seen += 1;
        seen < 3
    });
    assert!(matches!(end, Ok(End::Whole)) && seen == 3);
}

#[test]
fn a_message_is_found_below_any_link() {
    let ip = to_public(INVITE);
    let from: SocketAddr = "203.0.113.9:5060".parse().unwrap();
    let expected = Ok(Datagram { from, to: "203.0.113.10:5060".parse().unwrap(), bytes: INVITE.as_bytes() });
    let vlan = PacketBuilder::ethernet2([2; 6], [4; 6])
        .single_vlan(VlanId::try_new(7).unwrap())
        .ipv4([203, 0, 113, 9], [203, 0, 113, 10], 64)
        .udp(5060, 5060);
    let vlan = finish(vlan, INVITE, |b, bytes, payload| b.write(bytes, payload).unwrap());
    let sll = [&[0, 0, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0, 8, 0][..], &ip].concat();
    let sll2 = [&EtherType::IPV4.0.to_be_bytes()[..], &[0; 18], &ip].concat();
    for (link, bytes) in [
        (Linktype::RAW, ip.clone()),
        (Linktype(12), ip.clone()),
        (Linktype::IPV4, ip.clone()),
        (Linktype::ETHERNET, ethernet(&ip)),
        (Linktype::ETHERNET, [ethernet(&ip), vec![0; 10]].concat()),
        (Linktype::ETHERNET, vlan),
        (Linktype::LINUX_SLL, sll),
        (Linktype::LINUX_SLL2, sll2),
        (Linktype::NULL, [&[2, 0, 0, 0][..], &ip].concat()),
    ] {
        assert_eq!(datagram::of(&frame(link, &bytes)), expected, "{link}");
    }
    let six = PacketBuilder::ipv6([0x20; 16], [0x21; 16], 64).udp(5070, 5060);
    let six = finish(six, INVITE, |b, bytes, payload| b.write(bytes, payload).unwrap());
    let found = datagram::of(&frame(Linktype::RAW, &six)).unwrap();
    assert_eq!(
        (found.from.port(), found.to.ip().to_string()),
        (5070, "2121:2121:2121:2121:2121:2121:2121:2121".into())
    );
}

#[test]
fn what_holds_no_message_has_its_reason() {
    let of = |bytes: &[u8]| datagram::of(&frame(Linktype::RAW, bytes)).unwrap_err();
    assert_eq!(of(&to_public("\0\x01rtp")), Skip::NotSip);
    assert_eq!(of(&to_public("")), Skip::NotSip);
    assert_eq!(of(b"no packet"), Skip::NotIp);
    let tcp = |payload: &str| {
        let tcp = PacketBuilder::ipv4([203, 0, 113, 9], [203, 0, 113, 10], 64).tcp(5060, 5060, 1, 1024);
        finish(tcp, payload, |b, bytes, payload| b.write(bytes, payload).unwrap())
    };
    assert_eq!((of(&tcp(INVITE)), of(&tcp("GET / HTTP/1.1"))), (Skip::SipOverTcp, Skip::NotUdp));
    let fragment = Ipv4Header {
        more_fragments: true,
        fragment_offset: IpFragOffset::ZERO,
        ..Ipv4Header::new(4, 64, etherparse::IpNumber::UDP, [1, 2, 3, 4], [5, 6, 7, 8]).unwrap()
    };
    let mut bytes = Vec::new();
    fragment.write(&mut bytes).unwrap();
    bytes.extend_from_slice(b"SIP/");
    assert_eq!(of(&bytes), Skip::Fragment);
    let whole = to_public(INVITE);
    let cut = Frame { cut: true, ..frame(Linktype::RAW, &whole[..100]) };
    assert_eq!(datagram::of(&cut), Err(Skip::Cut));
    assert_eq!(datagram::of(&frame(Linktype(147), &whole)), Err(Skip::Link));
    assert_eq!(datagram::of(&Frame { link: None, ..frame(Linktype::RAW, &whole) }), Err(Skip::Link));
}

proptest! {
    /// A capture is made of what strangers sent.
    #[test]
    fn no_bytes_make_it_panic(link in 0..300_i32, bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0..400_usize, value: u8) {
        let _ = datagram::of(&frame(Linktype(link), &bytes));
        let mut file = ng(&[(0, ethernet(&to_public(INVITE))), (1, bytes)]);
        let at = at % file.len();
        file[at] = value;
        let (seen, _) = all(&file);
        prop_assert!(seen.len() <= 2 + file.len() / 12);
    }
}

const CONFIG: &str = r#"
[[listener]]
name = "public"
bind = "udp:203.0.113.10:5060"

[[listener]]
name = "private"
bind = "udp:10.0.0.4:5060"

[[route]]
name = "out"
when = { method = ["INVITE"] }
to = "request-uri"
mode = "stateless"
"#;

fn host(moved: bool) -> Fib {
    let host = Builder::host()
        .link(Link::up(2, "wan"))
        .link(Link::up(3, "lan"))
        .assign(2, "203.0.113.10/24".parse().unwrap())
        .assign(3, "10.0.0.4/24".parse().unwrap());
    let detour = Route::new("10.0.0.100/32".parse().unwrap(), 2, Some("203.0.113.1".parse().unwrap()));
    if moved { host.route(detour).build() } else { host.build() }
}

fn snapshot(config: &str, fib: Fib) -> Snapshot {
    let plan = config::from_str("test.toml", config, &fib).unwrap_or_else(|e| panic!("{e}")).plan;
    let keys = Arc::new(Keys::from_secret(b"sixteen bytes..."));
    Snapshot::new(1, Arc::new(plan), Arc::new(fib), keys, Arc::default())
}

/// What is printed of a capture of raw packets.
fn printed(packets: &[Vec<u8>], json: bool, what_if: bool) -> String {
    printed_if(packets, json, what_if.then(|| host(true)))
}

fn printed_if(packets: &[Vec<u8>], json: bool, then: Option<Fib>) -> String {
    printed_with(CONFIG, packets, json, host(false), then)
}

fn printed_with(config: &str, packets: &[Vec<u8>], json: bool, now: Fib, then: Option<Fib>) -> String {
    printed_asking(config, packets, json, (now, then), &mut |_, question| panic!("{question} is asked for"))
}

fn printed_asking(
    config: &str,
    packets: &[Vec<u8>],
    json: bool,
    (now, then): (Fib, Option<Fib>),
    ask: &mut dyn FnMut(&Plan, Question) -> Option<Resolved>,
) -> String {
    let (now, then) = (snapshot(config, now), then.map(|fib| snapshot(config, fib)));
    let mut run = Run {
        json,
        elsewhere: None,
        now: Side { snapshot: &now, thinker: super::Thinker::new(&now, 64) },
        lookups: Lookups::by(&now.names, ask),
        then: then.as_ref().map(|then| Side { snapshot: then, thinker: super::Thinker::new(then, 64) }),
        totals: Totals::default(),
        not_up: BTreeMap::new(),
        began_ns: None,
        failed: None,
    };
    let mut out = Vec::new();
    let file = classic(101, packets);
    frames::read_from(Cursor::new(file), |number, frame| run.frame(number, &frame, &mut out)).unwrap();
    run.totals.finish(&mut out, json, None, Vec::new()).unwrap();
    anstream::adapter::strip_str(&String::from_utf8(out).unwrap()).to_string()
}

fn packets() -> Vec<Vec<u8>> {
    let cancel = INVITE.replace("INVITE", "CANCEL");
    let ours = PacketBuilder::ipv4([10, 0, 0, 4], [10, 0, 0, 100], 64).udp(5060, 5060);
    let response = INVITE
        .replacen("INVITE sip:bob@10.0.0.100 SIP/2.0", "SIP/2.0 200 OK", 1)
        .replace("Via: ", "Via: SIP/2.0/UDP 203.0.113.10:5060;branch=z9hG4bKother\r\nVia: ");
    vec![
        to_public(INVITE),
        to_public(&cancel),
        finish(ours, INVITE, |b, bytes, payload| b.write(bytes, payload).unwrap()),
        udp([192, 0, 2, 1], 5060, INVITE),
        to_public(&response),
        to_public(&INVITE.replace("INVITE", "OPTIONS").replace("branch=z9hG4bK1", "branch=z9hG4bK2")),
        to_public("rtp"),
        udp([203, 0, 113, 10], 5070, INVITE),
    ]
}

#[test]
fn every_message_has_a_line_and_all_are_summed_up() {
    assert_eq!(
        printed(&packets(), false, false),
        "      1     0.000000  INVITE sip:bob@10.0.0.100 from 203.0.113.9:5060 on public\n        \
         → udp:10.0.0.100:5060 from private by lan (auto source, rule out)\n      \
         2     1.000000  CANCEL sip:bob@10.0.0.100 from 203.0.113.9:5060 on public\n        \
         → udp:10.0.0.100:5060 from private by lan (pinned)\n      \
         5     4.000000  200 OK (INVITE) from 203.0.113.9:5060 on public\n        \
         × drop foreign_response; by its second Via it would go to 203.0.113.9:5060\n      \
         6     5.000000  OPTIONS sip:bob@10.0.0.100 from 203.0.113.9:5060 on public\n        \
         × reject: 403 Forbidden: No Rule Matches\n\n\
         4 messages came in, in 8 packets\n       \
         1  drop foreign_response\n       \
         1  forward from private (auto)\n       \
         1  forward from private (pinned)\n       \
         1  reject: 403 Forbidden: No Rule Matches\n       \
         1  sent by this host, not explained\n       \
         1  to addresses of this host, at ports that no listener has, not explained; --listener NAME takes them as if \
         they were for it\n       \
         1  SIP between others, not explained; --listener NAME takes them as if they were for it\n       \
         1  skipped: UDP that is not SIP\n"
    );
}

#[test]
fn a_change_says_how_many_move_from_where_to_where() {
    let text = printed(&packets(), false, true);
    assert!(
        text.contains(
            "2 of 4 messages would move\n       2  private by lan → public by wan via 203.0.113.1\n"
        ),
        "{text}"
    );
    assert!(text.contains("then → udp:10.0.0.100:5060 from public by wan (auto source, rule out)"), "{text}");
}

/// What was sent to a listener that is down or gone then is lost, and not taken in by another one.
#[test]
fn what_is_received_no_longer_moves() {
    let down = Builder::host()
        .link(Link { up: false, ..Link::up(2, "wan") })
        .link(Link::up(3, "lan"))
        .assign(2, "203.0.113.10/24".parse().unwrap())
        .assign(3, "10.0.0.4/24".parse().unwrap());
    let absent = Builder::host().link(Link::up(3, "lan")).assign(3, "10.0.0.4/24".parse().unwrap());
    for (then, why) in [
        (down, "the interface that carries its address is down or has no carrier"),
        (absent, "its address is on no interface of this host"),
    ] {
        let text = printed_if(&packets(), false, Some(then.clone().build()));
        assert!(text.contains("4 of 4 messages would move\n"), "{text}");
        assert!(text.contains("       2  private by lan → not received\n"), "{text}");
        assert!(text.contains("       1  reject: 403 Forbidden: No Rule Matches → not received\n"), "{text}");
        assert_eq!(text.matches(&format!("then × not received: {why}\n")).count(), 4, "{text}");
        let lines = printed_if(&packets(), true, Some(then.build()));
        let line: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
        assert_eq!((&line["moves"], &line["then_not_received"]), (&true.into(), &why.into()));
        assert!(line["then"].is_null(), "{line}");
    }
}

/// A listener that follows its interface comes with an address, and with it what was sent there.
#[test]
fn what_is_received_only_then_moves() {
    let follows = CONFIG.replace("udp:203.0.113.10:5060", "udp:wan:5060");
    let without = Builder::host()
        .link(Link::up(2, "wan"))
        .link(Link::up(3, "lan"))
        .assign(3, "10.0.0.4/24".parse().unwrap());
    let text = |json| printed_with(&follows, &packets(), json, without.clone().build(), Some(host(false)));
    let lines = text(false);
    assert!(
        lines.contains(
            "      1     0.000000  INVITE sip:bob@10.0.0.100 from 203.0.113.9:5060 on public/203.0.113.10\n        \
             × not received: there is no such listener\n        \
             then → udp:10.0.0.100:5060 from private by lan (auto source, rule out)\n"
        ),
        "{lines}"
    );
    assert!(
        lines.contains("4 messages came in, in 8 packets\n       4  not received: there is no"),
        "{lines}"
    );
    assert!(
        lines.contains("4 of 4 messages would move\n       2  not received → private by lan\n"),
        "{lines}"
    );
    let line: serde_json::Value = serde_json::from_str(text(true).lines().next().unwrap()).unwrap();
    assert_eq!((&line["moves"], &line["decision"]), (&true.into(), &serde_json::Value::Null));
    assert_eq!(line["now_not_received"], "there is no such listener");
    assert_eq!(line["then"]["egress"]["listener"], "private");
    // Without the change it is no message to this host.
    let now = printed_with(&follows, &packets(), false, without.build(), None);
    assert!(now.contains("0 messages came in"), "{now}");
}

#[test]
fn json_is_an_object_a_line_and_the_sums() {
    let text = printed(&packets(), true, true);
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 5);
    assert_eq!((&lines[0]["packet"], &lines[0]["decision"]), (&1.into(), &"forward".into()));
    assert_eq!(
        (&lines[0]["moves"], &lines[0]["then"]["egress"]["listener"]),
        (&true.into(), &"public".into())
    );
    assert_eq!(lines[0]["time"], 100.25);
    assert_eq!(lines[1]["steps"][0]["verdict"], "decides", "{}", lines[1]);
    let totals = &lines[4]["totals"];
    assert_eq!((&totals["messages"], &totals["moving"]), (&4.into(), &2.into()));
    assert_eq!((&totals["sent_by_us"], &totals["for_others"]), (&1.into(), &1.into()));
    assert_eq!(totals["no_listener"], 1);
    assert_eq!(totals["skipped"]["not_sip"], 1);
    assert_eq!(totals["sums"][0]["count"], 2);
}

#[test]
fn names_that_requests_lead_to_are_asked_for_once() {
    let to = |name: &str, branch: &str| {
        let text = INVITE.replacen("bob@10.0.0.100", &format!("bob@{name}"), 1);
        to_public(&text.replacen("z9hG4bK1", branch, 1))
    };
    let packets = [
        to("gw.example", "z9hG4bK1"),
        to("gw.example", "z9hG4bK1"),
        to("gw.example", "z9hG4bK2"),
        to("absent.example", "z9hG4bK3"),
        to("absent.example", "z9hG4bK4"),
        to("late.example", "z9hG4bK5"),
    ];
    let mut asked = Vec::new();
    let mut ask = |_: &Plan, question: Question| {
        asked.push(question.name.as_str().to_owned());
        let addresses = [[10, 0, 0, 100].into()].into();
        let target = Target { rank: 0, weight: 0, transport: Transport::Udp, port: 5070, addresses };
        let resolution = match question.name.as_str() {
            "gw.example" => Ok(Found { targets: [target].into(), stale: false }),
            "late.example" => return None,
            _ => Err(Unresolved::NoSuchName),
        };
        let outcome = Outcome { resolution, ttl_s: 60, partial: false };
        Some(Resolved { question, outcome, asked: Vec::new() })
    };
    let told = printed_asking(CONFIG, &packets, true, (host(false), Some(host(true))), &mut ask);
    assert_eq!(
        asked,
        ["gw.example", "absent.example", "late.example", "late.example"],
        "the last one by both sides"
    );
    let lines: Vec<serde_json::Value> =
        told.lines().map(|line| serde_json::from_str(line).unwrap()).take(packets.len()).collect();
    for line in &lines[..3] {
        assert_eq!(line["next_hop"]["address"], "10.0.0.100");
        // A retransmission goes the way of the first one.
        assert_eq!((&line["next_hop"]["port"], &line["moves"]), (&5070.into(), &true.into()));
    }
    let names = |line: &serde_json::Value| line["names"].as_array().unwrap().len();
    assert_eq!(lines.iter().map(names).collect::<Vec<_>>(), [1, 0, 0, 1, 0, 0]);
    let statuses: Vec<_> = lines[3..].iter().map(|line| line["status"].as_u64()).collect();
    assert_eq!(statuses, [Some(478), Some(478), Some(503)]);
}
