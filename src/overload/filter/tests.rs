//! What a filter is said to drop, and what the kernel drops by it.

use std::io::ErrorKind;
use std::net::UdpSocket;

use proptest::prelude::*;
use socket2::{SockFilter, SockRef};

use super::{DIGITS, Filter, OWN, OWN_BYTES};
use crate::limits::PRIORITIES;
use crate::overload::{Kept, Policy};

/// As [`crate::plan::Ours`] has them.
fn own() -> Vec<Box<str>> {
    [
        "127.0.0.1",
        "127.0.0.1:5060",
        "127.0.0.2",
        "127.0.0.2:5060",
        "[2001:db8::1]:5070",
        "[::1]:5070",
        "sip.example.net",
        "sip.example.net:5060",
        "sip.example.net:5070",
        "trunk.example.com:5062",
    ]
    .map(Into::into)
    .into()
}

fn policy() -> Policy {
    let emergency = ["112", "+49112", "sos", "110"].map(Into::into).into();
    Policy { longest_wait_ns: Some(1), emergency, ..Policy::default() }
}

/// A datagram as long as requests are.
fn datagram(first_line: &str) -> Vec<u8> {
    let via = "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK776asdhds";
    format!("{first_line}\r\n{via}\r\nTo: <sip:49@x>\r\nFrom: <sip:a@b>;tag=1\r\nCall-ID: 1@b\r\n\r\n").into()
}

const DROPPED: [&str; 12] = [
    "INVITE sip:4930123456@127.0.0.1 SIP/2.0",
    "INVITE sip:+49-30.123@127.0.0.1:5060 SIP/2.0",
    "INVITE sip:1@127.0.0.1;user=phone SIP/2.0",
    "INVITE sip:+4930123456@127.0.0.1:5060;user=phone SIP/2.0",
    "INVITE sip:4930123456@127.0.0.2 SIP/2.0",
    "INVITE sip:4930123456@sip.example.net SIP/2.0",
    "INVITE sip:4930123456@sip.example.net:5070 SIP/2.0",
    "INVITE sip:4930123456@trunk.example.com:5062 SIP/2.0",
    "MESSAGE sip:4930123456@[::1]:5070 SIP/2.0",
    "SUBSCRIBE sip:123456789012345678901234@[2001:db8::1]:5070 SIP/2.0",
    "PUBLISH sip:1123@127.0.0.1 SIP/2.0",
    "INVITE sip:0112@127.0.0.1 SIP/2.0",
];

const TAKEN: [&str; 27] = [
    "INVITE sip:4930123456@sip.example.net;gr=urn:uuid:1 SIP/2.0",
    "INVITE sip:4930123456@127.0.0.1;user=phone;gr SIP/2.0",
    "INVITE sip:4930123456@127.0.0.1;lr SIP/2.0",
    "INVITE sip:112@127.0.0.1 SIP/2.0",
    "INVITE sip:+49112@127.0.0.1:5060 SIP/2.0",
    "INVITE sip:sos@127.0.0.1 SIP/2.0",
    "INVITE sip:4930123456@127.0.0.1:5061 SIP/2.0",
    "INVITE sip:4930123456@127.0.0.10 SIP/2.0",
    "INVITE sip:4930123456@127.0.0.1.example SIP/2.0",
    "INVITE sip:4930123456@trunk.example.com SIP/2.0",
    "INVITE sip:4930123456@other.example.net SIP/2.0",
    "INVITE sip:alice@127.0.0.1 SIP/2.0",
    "INVITE sip:49%31@127.0.0.1 SIP/2.0",
    "INVITE sip:49:secret@127.0.0.1 SIP/2.0",
    "INVITE sip:49;phone-context=x@127.0.0.1 SIP/2.0",
    "INVITE sip:@127.0.0.1 SIP/2.0",
    "INVITE sip:127.0.0.1 SIP/2.0",
    "INVITE sips:4930123456@127.0.0.1 SIP/2.0",
    "INVITE SIP:4930123456@127.0.0.1 SIP/2.0",
    "INVITE  sip:4930123456@127.0.0.1 SIP/2.0",
    "INVITE tel:+4930123456 SIP/2.0",
    "ACK sip:4930123456@127.0.0.1 SIP/2.0",
    "BYE sip:4930123456@127.0.0.1 SIP/2.0",
    "CANCEL sip:4930123456@127.0.0.1 SIP/2.0",
    "OPTIONS sip:4930123456@127.0.0.1 SIP/2.0",
    "INVITE sip:1234567890123456789012345@127.0.0.1 SIP/2.0",
    "SIP/2.0 200 OK",
];

/// Which of these the kernel drops by a filter that keeps nothing of what fits.
fn dropped_by_kernel(filter: &Filter<'_>, address: &str, datagrams: &[Vec<u8>]) -> Vec<bool> {
    let program = filter.program_below(0).expect("a program");
    let steps: Vec<_> = program.steps().iter().map(|s| SockFilter::new(s.code, s.jt, s.jf, s.k)).collect();
    let socket = UdpSocket::bind(address).expect("a socket");
    socket.set_nonblocking(true).expect("O_NONBLOCK");
    SockRef::from(&socket).attach_filter(&steps).expect("the kernel takes the program");
    let sender = UdpSocket::bind(address).expect("a socket");
    let to = socket.local_addr().expect("its address");
    let mut room = vec![0; 65_536];
    let mut is_dropped = |datagram: &Vec<u8>| {
        sender.send_to(datagram, to).expect("it is sent");
        match socket.recv(&mut room) {
            Ok(len) => {
                assert_eq!(&room[..len], datagram, "it comes in whole");
                false
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                true
            }
        }
    };
    datagrams.iter().map(&mut is_dropped).collect()
}

#[test]
fn what_begins_something_at_our_addresses_is_dropped_and_nothing_else() {
    let (own, policy) = (own(), policy());
    let filter = Filter::new(&own, &policy);
    for line in DROPPED {
        assert!(filter.fits(&datagram(line)), "{line}");
    }
    for line in TAKEN {
        assert!(!filter.fits(&datagram(line)), "{line}");
    }
    assert!(!filter.fits(b"INVITE sip:4930123456@127.0.0.1 SIP/2.0\r\n\r\n"), "shorter than any request");
    let keeping = Policy { priorities: vec!["esnet".into()], ..self::policy() };
    let filter = Filter::new(&own, &keeping);
    assert!(!filter.fits(&datagram(DROPPED[0])), "a priority may stand in a header");
    assert!(filter.program(Kept::LEAST).is_none());
}

#[test]
fn the_kernel_drops_the_same() {
    let (own, policy) = (own(), policy());
    let filter = Filter::new(&own, &policy);
    let mut datagrams: Vec<_> = DROPPED.iter().chain(&TAKEN).map(|line| datagram(line)).collect();
    // Whatever is cut off is never dropped because a load went beyond its end.
    let whole = datagram(DROPPED[3]);
    datagrams.extend((1..whole.len()).map(|len| whole[..len].to_vec()));
    let wanted: Vec<_> = datagrams.iter().map(|datagram| filter.fits(datagram)).collect();
    for address in ["127.0.0.1:0", "[::1]:0"] {
        assert_eq!(dropped_by_kernel(&filter, address, &datagrams), wanted, "{address}");
    }
}

#[test]
fn a_part_is_kept() {
    let (own, policy) = (own(), policy());
    let filter = Filter::new(&own, &policy);
    let datagrams = vec![datagram(DROPPED[0]); 4_000];
    let program = filter.program(Kept::ALL.times(1, 4)).expect("a program");
    let threshold = program.steps().iter().any(|step| step.k == 1 << 30);
    assert!(threshold, "what is kept stands in it");
    assert!(dropped_by_kernel(&filter, "127.0.0.1:0", &datagrams).iter().all(|dropped| *dropped));
}

#[test]
fn many_names_and_numbers_are_looked_for_as_far_as_there_is_room() {
    let names = (0..200).map(|n| format!("domain-{n}.example.net").into());
    let own: Vec<Box<str>> = ["127.0.0.1".into()].into_iter().chain(names).collect();
    let numbers = |count: u64| (0..count).map(|n| (100_000 + n).to_string().into()).collect();
    let policy = Policy { emergency: numbers(100), ..Policy::default() };
    let filter = Filter::new(&own, &policy);
    let program = filter.program(Kept::LEAST).expect("there is room");
    assert!(program.steps().len() <= 4_096);
    let datagrams =
        ["100099", "100100"].map(|number| datagram(&format!("INVITE sip:{number}@127.0.0.1 SIP/2.0")));
    assert_eq!(dropped_by_kernel(&filter, "127.0.0.1:0", &datagrams), [false, true]);
    let policy = Policy { emergency: numbers(2_000), ..Policy::default() };
    assert!(Filter::new(&own, &policy).program(Kept::LEAST).is_none(), "more than the kernel takes");
}

#[test]
fn the_most_that_a_configuration_names_has_room() {
    // What is not a multiple of four long takes more comparisons.
    for (own_bytes, digits) in (0..4).flat_map(|a| (0..4).map(move |b| (OWN_BYTES - a, DIGITS - b))) {
        let own: Vec<Box<str>> = (0..=OWN).map(|n| format!("{n:0>own_bytes$}").into()).collect();
        let emergency = (0..PRIORITIES).map(|n| format!("{n:0>digits$}").into()).collect();
        let policy = Policy { emergency, ..Policy::default() };
        assert!(Filter::new(&own, &policy).program(Kept::LEAST).is_some(), "{own_bytes}, {digits}");
    }
}

/// First lines that are nearly what fits.
fn first_lines() -> impl Strategy<Value = String> {
    let methods =
        prop_oneof![4 => Just("INVITE"), 1 => Just("MESSAGE"), 1 => Just("REGISTER"), 1 => Just("INVITES")];
    let scheme = prop_oneof![6 => Just("sip:"), 1 => Just("sips:"), 1 => Just("Sip:")];
    let usual = proptest::string::string_regex(&format!("[0-9+]{{1,{}}}", DIGITS + 2)).expect("a pattern");
    let number = prop_oneof![4 => usual, 1 => "[0-9a-z%;:+.-]{0,12}", 1 => Just("112".to_owned())];
    let host = prop_oneof![
        6 => prop::sample::select(own().iter().map(ToString::to_string).collect::<Vec<_>>()),
        1 => "[a-z0-9.:\\[\\]]{0,30}"
    ];
    let end = prop_oneof![4 => Just(" SIP/2.0"), 2 => Just(";user=phone SIP/2.0"), 1 => Just(":5060 SIP/2.0"), 1 => Just("?x SIP/2.0")];
    (methods, scheme, number, host, end)
        .prop_map(|(method, scheme, number, host, end)| format!("{method} {scheme}{number}@{host}{end}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn the_kernel_and_we_agree(lines in prop::collection::vec(first_lines(), 100)) {
        let (own, policy) = (own(), policy());
        let filter = Filter::new(&own, &policy);
        let datagrams: Vec<_> = lines.iter().map(|line| datagram(line)).collect();
        let dropped = dropped_by_kernel(&filter, "127.0.0.1:0", &datagrams);
        for (line, (datagram, dropped)) in lines.iter().zip(datagrams.iter().zip(dropped)) {
            prop_assert_eq!(filter.fits(datagram), dropped, "{}", line);
        }
    }
}
