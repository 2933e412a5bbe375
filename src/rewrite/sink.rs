//! What text is written to, and how numbers and addresses are written.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Takes text. What does not fit is noted by the sink and reported when it is finished.
pub trait Sink {
    /// Appends these bytes.
    fn put(&mut self, text: &[u8]);

    /// Appends a number in decimal digits.
    fn put_number(&mut self, number: u64) {
        let mut digits = [0; 20];
        let mut from = digits.len();
        let mut rest = number;
        loop {
            from -= 1;
            digits[from] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.put(&digits[from..]);
    }

    /// Appends an address, an IPv6 address without brackets: as `received` has it (RFC 3261 §25.1,
    /// RFC 5118 §4.5).
    fn put_ip(&mut self, ip: IpAddr) {
        match ip {
            IpAddr::V4(v4) => {
                let [a, b, c, d] = v4.octets();
                let mut text = [0; 15];
                let mut len = 0;
                for (octet, dot) in [(a, true), (b, true), (c, true), (d, false)] {
                    if octet >= 100 {
                        text[len] = b'0' + octet / 100;
                        len += 1;
                    }
                    if octet >= 10 {
                        text[len] = b'0' + octet / 10 % 10;
                        len += 1;
                    }
                    text[len] = b'0' + octet % 10;
                    len += 1;
                    if dot {
                        text[len] = b'.';
                        len += 1;
                    }
                }
                self.put(&text[..len]);
            }
            IpAddr::V6(v6) => put_v6(self, v6),
        }
    }

    /// Appends `address:port`, an IPv6 address in brackets, never its scope.
    fn put_socket(&mut self, address: SocketAddr) {
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

/// RFC 5952: lower case, no leading zeros, the first longest run of two or more zero groups as `::`.
fn put_v6<S: Sink + ?Sized>(sink: &mut S, v6: Ipv6Addr) {
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
    sink.put(&text[..len]);
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

/// A message that is written from its beginning.
pub struct Output<'a> {
    out: &'a mut [u8],
    len: usize,
    overflow: bool,
}

impl<'a> Output<'a> {
    /// Writes into `out` from its first byte.
    pub fn new(out: &'a mut [u8]) -> Self {
        Self { out, len: 0, overflow: false }
    }

    /// How many bytes were written; `None`: not all of them fitted.
    pub fn finish(self) -> Option<usize> {
        (!self.overflow).then_some(self.len)
    }
}

impl Sink for Output<'_> {
    #[inline]
    fn put(&mut self, text: &[u8]) {
        let end = self.len.saturating_add(text.len());
        match self.out.get_mut(self.len..end) {
            Some(room) => {
                room.copy_from_slice(text);
                self.len = end;
            }
            None => self.overflow = true,
        }
    }
}
