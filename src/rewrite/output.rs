//! What is written to, and how numbers and addresses are written.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A message that is written from its beginning. What does not fit is noted and reported at the end.
pub struct Output<'a> {
    out: &'a mut [u8],
    /// How much of it is written.
    written: usize,
    overflow: bool,
}

impl<'a> Output<'a> {
    /// Writes into `out` from its first byte.
    pub fn new(out: &'a mut [u8]) -> Self {
        Self { out, written: 0, overflow: false }
    }

    /// How many bytes were written; `None`: not all of them fitted.
    pub fn finish(self) -> Option<usize> {
        (!self.overflow).then_some(self.written)
    }

    /// How many bytes were written so far; all that there is room for, where something did not fit.
    pub fn written(&self) -> usize {
        self.written
    }

    /// Appends these bytes: a text of a length that the compiler knows, or a long one.
    #[inline(always)]
    pub fn put(&mut self, text: &[u8]) {
        if let Some(room) = self.room(text.len()) {
            room.copy_from_slice(text);
        }
    }

    /// Appends these bytes, of which there are few as a rule: then they are not worth a call.
    #[inline(always)]
    pub fn put_text(&mut self, text: &[u8]) {
        if let Some(room) = self.room(text.len()) {
            copy_few(room, text);
        }
    }

    /// Appends these texts one behind the other: for lengths that the compiler knows, and room is made once.
    #[inline(always)]
    pub fn put_all<const N: usize>(&mut self, texts: [&[u8]; N]) {
        if let Some(mut room) = self.room(texts.iter().map(|text| text.len()).sum()) {
            for text in texts {
                let (to, rest) = room.split_at_mut(text.len());
                to.copy_from_slice(text);
                room = rest;
            }
        }
    }

    /// Appends these bytes; gives where they stand now, to be changed there. Nothing, where they did not fit.
    #[inline(always)]
    pub fn put_to_be_changed(&mut self, text: &[u8]) -> &mut [u8] {
        let Some(room) = self.room(text.len()) else { return &mut [] };
        room.copy_from_slice(text);
        room
    }

    /// Appends a short text.
    #[inline(always)]
    pub fn put_short(&mut self, text: &impl PutShort) {
        if let Some(room) = self.out.get_mut(self.written..).and_then(<[u8]>::first_chunk_mut) {
            self.written += Short::put(room, text);
        } else {
            self.put_short_at_end(text);
        }
    }

    /// The same where there may be too little room for it.
    #[cold]
    #[inline(never)]
    fn put_short_at_end(&mut self, text: &impl PutShort) {
        let mut room = [0; SHORT_BYTES];
        let len = Short::put(&mut room, text);
        self.put(&room[..len]);
    }

    #[inline(always)]
    fn room(&mut self, len: usize) -> Option<&mut [u8]> {
        let size = self.out.len();
        let room = self.out.get_mut(self.written..).and_then(|rest| rest.get_mut(..len));
        match room {
            Some(_) => self.written += len,
            None => (self.written, self.overflow) = (size, true),
        }
        room
    }

    /// Appends a number in decimal digits.
    #[inline]
    pub fn put_number(&mut self, number: u64) {
        match number {
            0..10 => self.put(&[b'0' + number as u8]),
            10..100 => self.put(&PAIRS[number as usize]),
            1_000..10_000 => self.put_all([&PAIRS[number as usize / 100], &PAIRS[number as usize % 100]]),
            10_000..100_000 => {
                let (first, number) = (b'0' + (number / 10_000) as u8, number as usize % 10_000);
                self.put_all([&[first], &PAIRS[number / 100], &PAIRS[number % 100]]);
            }
            _ => self.put_digits(number),
        }
    }

    fn put_digits(&mut self, number: u64) {
        let mut digits = [0; 20];
        let mut from = digits.len();
        let mut rest = number;
        while rest > 0 {
            from -= 1;
            digits[from] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        self.put(&digits[from..]);
    }

    /// Appends an address, an IPv6 address without brackets: as `received` has it (RFC 3261 §25.1,
    /// RFC 5118 §4.5).
    #[inline]
    pub fn put_ip(&mut self, ip: IpAddr) {
        self.put_short(&ip);
    }

    /// Appends `address:port`, an IPv6 address in brackets, never its scope.
    pub fn put_socket(&mut self, address: SocketAddr) {
        if address.is_ipv6() {
            self.put(b"[");
            self.put_ip(address.ip());
            self.put(b"]:");
        } else {
            self.put_ip(address.ip());
            self.put(b":");
        }
        self.put_number(u64::from(address.port()));
    }
}

/// Copies a text; one of up to 64 bytes by its beginning and its end, which overlap.
#[inline(always)]
pub fn copy_few(to: &mut [u8], from: &[u8]) {
    match from.len() {
        65.. => to.copy_from_slice(from),
        32.. => both_ends::<32>(to, from),
        16.. => both_ends::<16>(to, from),
        8.. => both_ends::<8>(to, from),
        4.. => both_ends::<4>(to, from),
        1.. => to.iter_mut().zip(from).for_each(|(to, from)| *to = *from),
        0 => {}
    }
}

#[inline(always)]
fn both_ends<const N: usize>(to: &mut [u8], from: &[u8]) {
    if let (Some(begin), Some(end)) = (from.first_chunk::<N>(), from.last_chunk::<N>()) {
        if let Some(to) = to.first_chunk_mut::<N>() {
            *to = *begin;
        }
        if let Some(to) = to.last_chunk_mut::<N>() {
            *to = *end;
        }
    }
}

/// The numbers below a hundred in two digits.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut number = 0;
    while number < 100 {
        pairs[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        number += 1;
    }
    pairs
};

/// A number in two digits; `None`: it has one or three.
#[inline(always)]
pub fn two_digits(number: u8) -> Option<[u8; 2]> {
    PAIRS.get(usize::from(number)).copied().filter(|_| number >= 10)
}

/// Each octet in digits, a dot behind it, the first one lowest; above these 32 bits how many bits they take.
const OCTETS: [u64; 256] = {
    let mut texts = [0; 256];
    let mut octet = 0;
    while octet < 256 {
        let digits = [octet / 100, octet / 10 % 10, octet % 10];
        let mut from = if octet >= 100 { 0 } else { 2 - (octet >= 10) as usize };
        let (mut text, mut bits) = (0, 0);
        while from < digits.len() {
            text |= (b'0' as u64 + digits[from] as u64) << bits;
            (from, bits) = (from + 1, bits + 8);
        }
        texts[octet] = text | (b'.' as u64) << bits | (bits as u64 + 8) << 32;
        octet += 1;
    }
    texts
};

/// Two octets in digits, a dot behind each, the first one lowest; and how many bytes they take.
#[inline(always)]
fn two_octets(first: u8, second: u8) -> (u64, usize) {
    let [first, second] = [first, second].map(|octet| OCTETS[usize::from(octet)]);
    let text = first & 0xffff_ffff | (second & 0xffff_ffff) << (first >> 32 & 63);
    (text, ((first >> 32) + (second >> 32)) as usize / 8)
}

/// The digits of a number that has four or five, the first one lowest, and how many they are.
#[inline(always)]
fn four_or_five(number: u16) -> Option<(u64, usize)> {
    let pair = |of: u16| u64::from(u16::from_le_bytes(PAIRS[usize::from(of) % PAIRS.len()]));
    let four = |of: u16| pair(of / 100) | pair(of % 100) << 16;
    match number {
        ..1_000 => None,
        1_000..10_000 => Some((four(number), 4)),
        10_000.. => {
            let first = u64::from(b'0') + u64::from(number / 10_000);
            Some((first | four(number % 10_000) << 8, 5))
        }
    }
}

/// Puts a text, a port, a text and an address together as [`Short`] does; gives their length. `None`: the port has fewer than four
/// digits. All places are known to lie in `room`, so that none is looked at.
#[inline(always)]
pub fn put_port_and_v4<const A: usize, const B: usize>(
    room: &mut [u8; SHORT_BYTES],
    before: &[u8; A],
    port: u16,
    between: &[u8; B],
    v4: Ipv4Addr,
) -> Option<usize> {
    const { assert!(A + 5 + B + 16 + 8 <= SHORT_BYTES) }
    let (digits, len) = four_or_five(port)?;
    room[..A].copy_from_slice(before);
    room[A..][..8].copy_from_slice(&digits.to_le_bytes());
    room[A + len..][..B].copy_from_slice(between);
    let [a, b, c, d] = v4.octets();
    let ((begin, some), (end, more)) = (two_octets(a, b), two_octets(c, d));
    let at = A + len + B;
    room[at..][..8].copy_from_slice(&begin.to_le_bytes());
    // No more than eight.
    let at = at + some % 16;
    room[at..][..8].copy_from_slice(&end.to_le_bytes());
    Some(at + more - 1)
}

/// The longest text that is put together at once, in bytes: an IPv6 address, a port and 52 more.
pub const SHORT_BYTES: usize = 96;

/// What a short text is made of.
pub trait PutShort {
    /// Puts it together. To be inlined: a call costs as much as the text.
    fn put(&self, short: &mut Short<'_>);
}

impl PutShort for IpAddr {
    #[inline(always)]
    fn put(&self, short: &mut Short<'_>) {
        short.ip(*self);
    }
}

/// A short text that is put together without asking each time whether there is room in the output. What is more than
/// it may have is left out.
pub struct Short<'a> {
    room: &'a mut [u8; SHORT_BYTES],
    len: usize,
}

impl Short<'_> {
    /// Puts a text together; gives its length.
    #[inline(always)]
    pub fn put(room: &mut [u8; SHORT_BYTES], text: &impl PutShort) -> usize {
        let mut short = Short { room, len: 0 };
        text.put(&mut short);
        short.len
    }

    /// Appends these bytes.
    #[inline(always)]
    pub fn text(&mut self, text: &[u8]) {
        if let Some(room) = self.room.get_mut(self.len..).and_then(|rest| rest.get_mut(..text.len())) {
            room.copy_from_slice(text);
            self.len += text.len();
        }
    }

    /// Appends a number in decimal digits.
    #[inline(always)]
    pub fn number(&mut self, number: u16) {
        match four_or_five(number) {
            Some((digits, len)) => self.eight(digits, len),
            None => self.small(number),
        }
    }

    /// Appends an address as [`Output::put_ip`] does.
    #[inline(always)]
    pub fn ip(&mut self, ip: IpAddr) {
        match ip {
            IpAddr::V4(v4) => self.v4(v4),
            IpAddr::V6(v6) => self.v6(v6),
        }
    }

    /// Two octets at a time, in eight bytes whatever they take; what follows begins behind their dots.
    #[inline(always)]
    fn v4(&mut self, v4: Ipv4Addr) {
        let [a, b, c, d] = v4.octets();
        let ((begin, len), (end, more)) = (two_octets(a, b), two_octets(c, d));
        self.eight(begin, len);
        self.eight(end, more - 1);
    }

    #[inline(never)]
    fn v6(&mut self, v6: Ipv6Addr) {
        let (text, len) = v6_text(v6);
        self.text(&text[..len]);
    }

    /// A number below a thousand.
    #[inline(never)]
    fn small(&mut self, number: u16) {
        let digits = [number / 100, number / 10 % 10, number % 10].map(|digit| b'0' + digit as u8);
        let from = if number >= 100 { 0 } else { 2 - usize::from(number >= 10) };
        self.text(&digits[from..]);
    }

    /// Appends so many of these eight bytes, the lowest one first.
    #[inline(always)]
    fn eight(&mut self, bytes: u64, len: usize) {
        if let Some(room) = self.room.get_mut(self.len..).and_then(<[u8]>::first_chunk_mut) {
            *room = bytes.to_le_bytes();
            self.len += len;
        }
    }
}

/// RFC 5952: lower case, no leading zeros, the first longest run of two or more zero groups as `::`. The text, and how
/// long it is.
fn v6_text(v6: Ipv6Addr) -> ([u8; 39], usize) {
    let groups = v6.segments();
    let (gap, gap_len) = longest_zeros(&groups);
    let mut text = [0; 39];
    let mut len = 0;
    let mut at = 0;
    while at < groups.len() {
        if gap_len > 1 && at == gap {
            text[len] = b':';
            len += 1;
            at += gap_len;
            if at == groups.len() {
                text[len] = b':';
                len += 1;
            }
            continue;
        }
        if at > 0 {
            text[len] = b':';
            len += 1;
        }
        let mut begun = false;
        for shift in [12, 8, 4, 0] {
            let digit = (groups[at] >> shift & 15) as usize;
            if digit != 0 || begun || shift == 0 {
                begun = true;
                text[len] = b"0123456789abcdef"[digit];
                len += 1;
            }
        }
        at += 1;
    }
    (text, len)
}

/// Where the first longest run of zero groups begins, and how long it is.
fn longest_zeros(groups: &[u16; 8]) -> (usize, usize) {
    let (mut best, mut best_len, mut run) = (0, 0, 0);
    for (at, &group) in groups.iter().enumerate() {
        run = if group == 0 { run + 1 } else { 0 };
        if run > best_len {
            (best, best_len) = (at + 1 - run, run);
        }
    }
    (best, best_len)
}
