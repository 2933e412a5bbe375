//! Messages made of others by a seed: the same seed, the same message.

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        viaduct::random::next(&mut self.0)
    }

    /// 0 to `end`, which is not among them.
    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// What means something somewhere in a message.
const PIECES: &[&[u8]] = &[
    b"\r\n",
    b"\r",
    b"\n",
    b"\0",
    b" ",
    b"\t",
    b"\r\n ",
    b":",
    b";",
    b",",
    b"\"",
    b"\\",
    b"<",
    b">",
    b"@",
    b"%",
    b"%00",
    b"?",
    b"=",
    b"[",
    b"]",
    b"::",
    b"/",
    b".",
    b"-",
    b"0",
    b"9999999999",
    b"sip:",
    b"sips:",
    b"tel:",
    b"SIP/",
    b"\xff",
    b"\xc3\xa4",
    b"v:",
    b"l: 0\r\n",
    b"Content-Length: 1\r\n",
    b"Max-Forwards: 1\r\n",
    b"Proxy-Require: x\r\n",
    b"Route: <sip:192.0.2.1;lr>, <sip:203.0.113.10>\r\n",
    b";tag=",
    b";branch=z9hG4bK",
    b";rport",
    b";received=192.0.2.66",
    b";maddr=10.0.0.4",
    b";transport=tcp",
    b";lr",
    b"\r\n\r\n",
];

/// One of `corpus`, changed in one to eight ways that `seed` says; now and then, bytes of any kind.
pub fn mutated(corpus: &[Vec<u8>], seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    if random.below(50) == 0 {
        return (0..random.below(300)).map(|_| random.next() as u8).collect();
    }
    let mut message = corpus[random.below(corpus.len())].clone();
    for _ in 0..=random.below(8) {
        let other = &corpus[random.below(corpus.len())];
        if random.below(3) == 0 {
            change_lines(&mut message, other, &mut random);
        } else {
            change_bytes(&mut message, other, &mut random);
        }
    }
    message
}

fn change_bytes(message: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let at = random.below(message.len() + 1);
    let until = |len: usize| (at + len).min(message.len());
    match random.below(10) {
        0..4 => {
            let piece = PIECES[random.below(PIECES.len())];
            message.splice(at..at, piece.iter().copied());
        }
        4..6 => drop(message.drain(at..until(1 + random.below(20)))),
        6..8 => {
            let byte = random.next() as u8;
            message.iter_mut().skip(at).take(1).for_each(|place| *place = byte);
        }
        8 => {
            let part = message[at..until(1 + random.below(60))].to_vec();
            message.splice(at..at, part);
        }
        _ => {
            message.truncate(at);
            message.extend_from_slice(other.get(at..).unwrap_or_default());
        }
    }
}

/// Removes or repeats a line, or takes one over from another message.
fn change_lines(message: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let lines = |text: &[u8]| text.split_inclusive(|&c| c == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>();
    let (mut own, theirs) = (lines(message), lines(other));
    if own.is_empty() || theirs.is_empty() {
        return;
    }
    let at = random.below(own.len());
    match random.below(4) {
        0 => drop(own.remove(at)),
        1 => own.insert(at, own[random.below(own.len())].clone()),
        2 => own.insert(at, theirs[random.below(theirs.len())].clone()),
        _ => own[at] = theirs[random.below(theirs.len())].clone(),
    }
    *message = own.concat();
}
