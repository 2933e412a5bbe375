//! Ciphertext cut anywhere, broken anywhere, and more of it than fits.

use super::*;
use crate::limits::{MESSAGE_BYTES, TLS_RECEIVE_BYTES};

fn line() -> Line {
    let authority = Authority::new("A");
    Line::new(&client(&authority), "a.example", &server(&authority.issue(&["a.example"])))
}

#[test]
fn ciphertext_may_be_cut_at_every_byte() {
    for piece in [1, 2, 3, 5, 64, 1_000] {
        let mut line = line();
        line.carry(piece).expect("a handshake");
        let message: Vec<u8> = (0..MESSAGE_BYTES).map(|n| n as u8).collect();
        line.client.send(&message, &mut line.to_server).expect("sent");
        line.server.send(&message, &mut line.to_client).expect("sent");
        line.carry(piece).expect("carried");
        assert!(line.at_server == message && line.at_client == message, "pieces of {piece}");
    }
}

#[test]
fn ciphertext_cut_once_at_each_place_arrives() {
    let mut line = line();
    line.carry(usize::MAX).expect("a handshake");
    for cut in 0..80 {
        line.client.send(b"OPTIONS sip:a SIP/2.0\r\n", &mut line.to_server).expect("sent");
        let record = std::mem::take(&mut line.to_server);
        let (first, second) = record.split_at(cut.min(record.len()));
        let mut plain = Vec::new();
        for part in [first, second] {
            line.server.receive(part, &mut plain, &mut line.to_client).expect("received");
        }
        assert_eq!(plain, b"OPTIONS sip:a SIP/2.0\r\n", "cut at {cut}");
    }
}

#[test]
fn a_changed_byte_ends_the_connection() {
    let mut line = line();
    line.carry(usize::MAX).expect("a handshake");
    line.client.send(b"INVITE", &mut line.to_server).expect("sent");
    let at = line.to_server.len() - 3;
    line.to_server[at] ^= 1;
    let (side, failure) = line.carry(usize::MAX).expect_err("a failure");
    assert_eq!((side, failure.label()), ("server", "protocol"));
    assert!(line.at_server.is_empty());
}

/// A handshake message may be as long as it says, and it may say 16 MiB; a record may say 64 KiB.
#[test]
fn no_more_is_taken_than_the_limit() {
    let pair = Authority::new("A").issue(&["a.example"]);
    let endless_handshake = |first: bool| {
        let mut record = vec![22, 3, 1, 0x40, 0];
        let header: &[u8] = if first { &[1, 0xff, 0xff, 0xff] } else { &[0; 4] };
        record.extend_from_slice(header);
        record.resize(5 + 0x4000, 0);
        record
    };
    let mut session = Session::accept(&server(&pair)).expect("a server");
    let (mut plain, mut out) = (Vec::new(), Vec::new());
    let mut taken = 0;
    let failure = loop {
        let record = endless_handshake(taken == 0);
        match session.receive(&record, &mut plain, &mut out) {
            Ok(state) => assert_eq!(state, State::Handshaking),
            Err(failure) => break failure,
        }
        taken += record.len();
        assert!(taken <= TLS_RECEIVE_BYTES, "it has taken {taken} bytes");
    };
    assert!(matches!(failure, Failure::Protocol(_)), "{failure:?}");

    let mut session = Session::accept(&server(&pair)).expect("a server");
    let long = [&[22, 3, 1, 0xff, 0xff][..], &[0; 65_535]].concat();
    assert!(session.receive(&long, &mut plain, &mut out).is_err());
    assert!(plain.is_empty());
}
