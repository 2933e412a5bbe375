use std::net::{IpAddr, SocketAddr};

use proptest::prelude::*;

use super::{Edits, Output, PutShort, Short, TooLarge};
use crate::limits::EDITS;

/// Edits whose texts are themselves.
type Literal<'t> = Edits<&'t [u8]>;

fn put(text: &[u8], out: &mut Output<'_>) {
    out.put_text(text);
}

fn applied(edits: &Literal<'_>, received: &str) -> String {
    let mut out = [0; 256];
    let len = edits.apply(received.as_bytes(), &mut out, put).unwrap();
    String::from_utf8(out[..len].to_vec()).unwrap()
}

#[test]
fn without_edits_nothing_changes() {
    assert_eq!(applied(&Literal::new(), "Subject  :\tI am\r\n\there\r\n"), "Subject  :\tI am\r\n\there\r\n");
}

#[test]
fn edits_go_by_the_offsets_of_the_received_bytes_in_any_order() {
    let mut edits = Literal::new();
    edits.replace(8..10, b"69");
    edits.insert(0, b"<");
    edits.delete(3..5);
    edits.insert(10, b">");
    assert_eq!(applied(&edits, "0123456770"), "<01256769>");
}

#[test]
fn edits_at_one_place_stay_in_order() {
    let mut edits = Literal::new();
    edits.insert(2, b"one ");
    edits.insert(2, b"two 3");
    edits.replace_by_received(2..3, 0..2);
    assert_eq!(applied(&edits, "abcd"), "abone two 3abd");
}

#[test]
fn overlapping_deletions_take_each_byte_once() {
    let mut edits = Literal::new();
    edits.delete(2..6);
    edits.delete(4..8);
    edits.delete(4..5);
    edits.insert(5, b"!");
    assert_eq!(applied(&edits, "0123456789"), "01!89");
}

#[test]
fn what_is_outside_the_message_does_not_go_out() {
    let mut edits = Literal::new();
    edits.insert(6, b".");
    edits.frame(2..6);
    assert_eq!(applied(&edits, "--body trailing octets"), "body.");
    edits.clear();
    assert_eq!(applied(&edits, "--body"), "--body");
}

#[test]
fn what_does_not_fit_is_too_large() {
    let mut edits = Literal::new();
    edits.insert(0, b"12345");
    assert_eq!(edits.apply(b"6789", &mut [0; 8], put), Err(TooLarge));
    assert_eq!(edits.apply(b"6789", &mut [0; 9], put), Ok(9));

    edits.clear();
    for _ in 0..EDITS {
        edits.delete(0..1);
    }
    assert_eq!(edits.apply(b"x", &mut [0; 9], put), Ok(0));
    edits.insert(0, b"one more");
    assert_eq!(edits.apply(b"x", &mut [0; 99], put), Err(TooLarge));
}

struct Number(u16);

impl PutShort for Number {
    fn put(&self, short: &mut Short<'_>) {
        short.number(self.0);
    }
}

#[test]
fn numbers_and_sockets() {
    for number in (0..70_000).chain([u64::MAX - 1, u64::MAX]) {
        assert_eq!(written(|w| w.put_number(number)), number.to_string());
    }
    for number in 0..=u16::MAX {
        assert_eq!(written(|w| w.put_short(&Number(number))), number.to_string());
    }
    for text in ["192.0.2.1:5060", "[2001:db8::1]:5061"] {
        assert_eq!(written(|w| w.put_socket(text.parse().unwrap())), text);
    }
    let link_local = SocketAddr::V6("[fe80::1%3]:5060".parse().unwrap());
    assert_eq!(written(|w| w.put_socket(link_local)), "[fe80::1]:5060", "a scope means nothing to others");
}

#[test]
fn an_output_that_is_full_says_so() {
    let mut room = [0; 3];
    let mut out = Output::new(&mut room);
    out.put(b"abc");
    assert_eq!(out.finish(), Some(3));
    let mut out = Output::new(&mut room);
    out.put(b"abcd");
    out.put(b"e");
    assert_eq!(out.finish(), None);
}

/// Whether there is room for the longest address or just for this one.
#[test]
fn an_address_fits_where_it_fits() {
    for (text, more) in
        ["0.0.0.0", "192.0.2.1", "255.255.255.255"].iter().flat_map(|t| (0..20).map(move |m| (t, m)))
    {
        let mut room = [0xff; 40];
        let mut out = Output::new(&mut room[..text.len() + more]);
        out.put_ip(text.parse().unwrap());
        assert_eq!(out.finish(), Some(text.len()));
        assert_eq!((&room[..text.len()], room[text.len() + more]), (text.as_bytes(), 0xff));
        let mut out = Output::new(&mut room[..text.len() - 1]);
        out.put_ip(text.parse().unwrap());
        assert_eq!(out.finish(), None);
    }
}

#[test]
fn texts_are_put_together_or_not_at_all() {
    let mut room = [0; 5];
    let mut out = Output::new(&mut room);
    out.put_all([b"ab", b"", b"cde"]);
    assert_eq!(out.finish(), Some(5));
    assert_eq!(&room, b"abcde");
    let mut out = Output::new(&mut room);
    out.put_all([b"abc", b"def"]);
    assert_eq!(out.finish(), None);
}

/// By both ways to put it, in a room that has just enough.
#[test]
fn a_text_of_any_length_is_copied_whole() {
    let text: Vec<u8> = (0..200).collect();
    for len in 0..text.len() {
        let mut room = vec![0xff; len + 2];
        let mut out = Output::new(&mut room[..len + 1]);
        out.put(b"<");
        out.put_text(&text[..len]);
        assert_eq!(out.finish(), Some(len + 1));
        assert_eq!((&room[1..=len], room[len + 1]), (&text[..len], 0xff));
        let mut out = Output::new(&mut room[..len]);
        out.put_text(&text[..len + 1]);
        assert_eq!(out.finish(), None);
    }
}

fn written(write: impl FnOnce(&mut Output<'_>)) -> String {
    let mut room = [0; 64];
    let mut out = Output::new(&mut room);
    write(&mut out);
    let len = out.finish().unwrap();
    String::from_utf8(room[..len].to_vec()).unwrap()
}

/// Edits that do not overlap, as (offset, delete, insert), and what they make of a text.
fn model(received: &[u8], edits: &[(usize, usize, Vec<u8>)]) -> Vec<u8> {
    let mut out = received.to_vec();
    for (at, delete, insert) in edits.iter().rev() {
        out.splice(at..&(at + delete), insert.iter().copied());
    }
    out
}

proptest! {
    #[test]
    fn addresses_read_as_the_standard_library_prints_them(v4: [u8; 4], v6: [u16; 8], zeros: u8) {
        let mut v6 = v6;
        for (i, group) in v6.iter_mut().enumerate() {
            if zeros >> i & 1 == 1 {
                *group = 0;
            }
        }
        let v6 = std::net::Ipv6Addr::from(v6);
        prop_assume!(v6.to_ipv4_mapped().is_none());
        for ip in [IpAddr::from(v4), IpAddr::from(v6)] {
            prop_assert_eq!(written(|w| w.put_ip(ip)), ip.to_string());
        }
    }

    #[test]
    fn applies_like_splicing_from_the_end(
        received in proptest::collection::vec(any::<u8>(), 0..200),
        steps in proptest::collection::vec(
            (0usize..20, 0usize..10, proptest::collection::vec(any::<u8>(), 0..10)), 0..12),
        seed: u64,
    ) {
        let mut at = 0;
        let mut list = Vec::new();
        for (gap, delete, insert) in steps {
            let from = at + gap;
            if from + delete > received.len() {
                break;
            }
            list.push((from, delete, insert));
            at = from + delete.max(1);
        }
        let mut order: Vec<usize> = (0..list.len()).collect();
        order.sort_by_key(|i| seed.rotate_left(*i as u32 * 7) ^ *i as u64);
        let mut edits = Literal::new();
        for i in order {
            let (from, delete, insert) = &list[i];
            edits.replace(*from..from + delete, insert);
        }
        let mut out = vec![0; 512];
        let len = edits.apply(&received, &mut out, put).unwrap();
        prop_assert_eq!(&out[..len], &model(&received, &list)[..]);
    }
}
