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

    /// Appends these bytes as `change` changes them.
    #[inline(always)]
    pub fn put_changed(&mut self, text: &[u8], change: impl FnOnce(&mut [u8])) {
        if let Some(room) = self.room(text.len()) {
            room.copy_from_slice(text);
            change(room);
        }
    }

    /// Appends up to `N` bytes: as many as `write` says that it wrote from the beginning.
    #[inline(always)]
    pub fn put_up_to<const N: usize>(&mut self, write: impl FnOnce(&mut [u8; N]) -> usize) {
        if let Some(room) = self.out.get_mut(self.written..).and_then(<[u8]>::first_chunk_mut) {
            self.written += write(room);
        } else {
            let mut room = [0; N];
            let len = write(&mut room);
            self.put(&room[..len]);
        }
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
        match ip {
            IpAddr::V4(v4) => put_v4(self, v4),
            IpAddr::V6(v6) => put_v6(self, v6),
        }
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
fn copy_few(to: &mut [u8], from: &[u8]) {
    match from.len() {
        0 => {}
        1..4 => to.iter_mut().zip(from).for_each(|(to, from)| *to = *from),
        4..8 => both_ends::<4>(to, from),
        8..16 => both_ends::<8>(to, from),
        16..32 => both_ends::<16>(to, from),
        32..=64 => both_ends::<32>(to, from),
        _ => to.copy_from_slice(from),
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
fn two_octets(first: u8, second: u8) -> ([u8; 8], usize) {
    let [first, second] = [first, second].map(|octet| OCTETS[usize::from(octet)]);
    let text = first & 0xffff_ffff | (second & 0xffff_ffff) << (first >> 32 & 63);
    (text.to_le_bytes(), ((first >> 32) + (second >> 32)) as usize / 8)
}

/// Two octets at a time, in eight bytes whatever they take; what follows begins behind their dots.
#[inline]
fn put_v4(out: &mut Output<'_>, v4: Ipv4Addr) {
    let [a, b, c, d] = v4.octets();
    let ((begin, len), (end, more)) = (two_octets(a, b), two_octets(c, d));
    out.put_up_to(|room: &mut [u8; 16]| {
        if let Some(room) = room.first_chunk_mut() {
            *room = begin;
        }
        if let Some(room) = room.get_mut(len..).and_then(<[u8]>::first_chunk_mut) {
            *room = end;
        }
        len + more - 1
    });
}

/// RFC 5952: lower case, no leading zeros, the first longest run of two or more zero groups as `::`.
fn put_v6(out: &mut Output<'_>, v6: Ipv6Addr) {
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
    out.put_text(&text[..len]);
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
