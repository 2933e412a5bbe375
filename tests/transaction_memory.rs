//! One shard's transactions at their largest: 200,000 at a time, in the memory that is stated, and none left.

use std::fs;
use std::net::SocketAddr;

use viaduct::net::Now;
use viaduct::stream::Number;
use viaduct::token::TO_TAG_LEN;
use viaduct::transaction::{
    BLOCK_BYTES, Due, Handle, Heard, Opening, Place, SIXTY_FOUR_T1_NS, Size, TRANSACTION_BYTES, Transactions,
};

const OPEN: u64 = 200_000;
const SECOND: u64 = 1_000_000_000;

/// Of this process, in bytes.
fn resident() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").expect("a Linux host");
    let pages: usize = statm.split(' ').nth(1).expect("the second number").parse().expect("a number");
    pages * 4_096
}

fn invite() -> Vec<u8> {
    let head = "INVITE sip:+33123456789@10.0.0.100:5060;user=phone SIP/2.0\r\n\
        Via: SIP/2.0/UDP 10.0.0.4:5060;rport;branch=z9hG4bKours\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1\r\n\
        Max-Forwards: 69\r\nFrom: <sip:a@192.0.2.1>;tag=a\r\nTo: <sip:b@10.0.0.100>\r\nCall-ID: c\r\n\
        CSeq: 1 INVITE\r\nContent-Type: application/sdp\r\nContent-Length: 400\r\n\r\n";
    [head.as_bytes(), &[b'x'; 400]].concat()
}

struct Shard {
    transactions: Transactions,
    now: Now,
    out: Vec<u8>,
}

impl Shard {
    fn send_due(&mut self) -> usize {
        let tag = |_: u128| [b't'; TO_TAG_LEN];
        let mut sent = 0;
        while let Some(due) = self.transactions.next(self.now, &tag, &mut self.out) {
            assert!(matches!(due, Due::Send(_)));
            sent += 1;
        }
        sent
    }

    fn open(&mut self, key: u128, bytes: &[u8]) -> Handle {
        let address: SocketAddr = ([192, 0, 2, 1], 5060).into();
        let opening = Opening {
            key,
            method: b"INVITE",
            back: Place { listener: 1, address, stream: Number::NONE },
            onward: Place { listener: 2, address, stream: Number::NONE },
            branch: key as u64,
            bytes,
            patience_ns: SIXTY_FOUR_T1_NS,
            has_waited: false,
            gateway: None,
            search: None,
        };
        self.transactions.open(&opening, self.now).expect("there is room")
    }

    fn answer(&mut self, key: u128, status: u16, text: &[u8]) {
        let to = b"<sip:b@10.0.0.100>;tag=b";
        match self.transactions.on_response(key as u64, b"INVITE", status, to, self.now) {
            Heard::Forward { server, status } => self.transactions.forwarded(server, status, text, self.now),
            heard => panic!("{heard:?}"),
        }
    }

    /// Calls that all ring at a time, are taken, and forgotten. Gives the memory while they rang.
    fn wave(&mut self, invite: &[u8]) -> usize {
        let ringing = vec![b'r'; 400];
        // The key is a hash in practice.
        let keys = || (0..OPEN).map(|n| u128::from(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        for key in keys() {
            self.open(key, invite);
        }
        let counts = self.transactions.counts();
        assert_eq!((counts.open, counts.refused), ([OPEN, 0, OPEN, 0], [0, 0]));
        keys().for_each(|key| self.answer(key, 180, &ringing));
        assert_eq!(self.transactions.counts().blocks, 3 * OPEN);
        let most = resident();
        keys().for_each(|key| self.answer(key, 200, &ringing));
        self.now = self.now.plus_ns(33 * SECOND);
        assert_eq!(self.send_due(), 0);
        let counts = self.transactions.counts();
        assert_eq!((counts.open, counts.blocks), ([0; 4], 0), "back to where it began");
        most
    }
}

#[test]
fn two_hundred_thousand_at_a_time_in_the_stated_memory() {
    let before = resident();
    let transactions = Transactions::new(Size::SHARD);
    let mut shard = Shard { transactions, now: Now(SECOND), out: vec![0; 65_535] };
    let invite = invite();
    assert!(resident() - before < 8 << 20, "memory is taken as it is used");
    let first = shard.wave(&invite) - before;
    let stated = OPEN as usize * (TRANSACTION_BYTES + 3 * BLOCK_BYTES);
    // What finds them is spread over all of its places.
    assert!(first < stated + (16 << 20), "{} MiB, {} MiB are stated", first >> 20, stated >> 20);
    let second = shard.wave(&invite) - before;
    println!("{OPEN} transactions: {} MiB, of {} MiB that are stated", first >> 20, stated >> 20);
    assert!(second <= first + (4 << 20), "{} MiB, then {} MiB", first >> 20, second >> 20);
}
