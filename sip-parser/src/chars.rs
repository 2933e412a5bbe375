//! Classes of characters (RFC 3261 §25.1), one bit each in one table.

use crate::block::Block;
use crate::scan::{block_at, chunk};

/// A class of characters: a bit of the table, and the range of its common members besides letters.
#[derive(Clone, Copy)]
pub struct Class {
    bit: u16,
    low: u8,
    high: u8,
}

impl Class {
    const fn new(number: u16, low: u8, high: u8) -> Self {
        Self { bit: 1 << number, low, high }
    }

    /// Bit n: byte n is no letter and none of what is common of the class. All bits behind the sixteenth.
    #[inline(always)]
    fn others(self, block: Block) -> u32 {
        let small = block.or(Block::all(0x20));
        !small.within(b'a', b'z').or(block.within(self.low, self.high)).bits()
    }

    /// The same of the less than sixteen bytes that the text has from `at` on. `None`: it is shorter as a whole.
    #[inline(always)]
    fn last_others(self, text: &[u8], at: usize) -> Option<u32> {
        let others = self.others(Block::of(text.last_chunk()?));
        Some(others.unbounded_shr((at + 16 - text.len()) as u32))
    }
}

/// `token = 1*(alphanum / "-" / "." / "!" / "%" / "*" / "_" / "+" / "`" / "'" / "~" )`
pub const TOKEN: Class = Class::new(0, b'0', b'9');
/// `user = 1*( unreserved / escaped / user-unreserved )` without `escaped`, which takes more than one
/// look, and what a password may have. Lenient: `#`, which feature codes have, and bytes of UTF-8.
pub const USER: Class = Class::new(1, b'&', b'9');
/// `hostname` and `IPv4address`. Lenient: `_`, which names of services have.
pub const HOST: Class = Class::new(2, b'0', b'9');
/// `paramchar = param-unreserved / unreserved / escaped` without `escaped`. Lenient: `=` and `|` within a
/// value, and bytes of UTF-8.
pub const URI_PARAM: Class = Class::new(3, b'-', b':');
/// The same in the name of a parameter, which `=` ends.
pub const URI_PARAM_NAME: Class = Class::new(4, b'-', b':');
/// `gen-value = token / host / quoted-string` without the quoted string. Lenient: every other visible
/// character that separates nothing, because clients write Base64 and addresses there.
pub const VALUE: Class = Class::new(5, b'-', b':');
/// `word = 1*(alphanum / "-" / "." / "!" / "%" / "*" / "_" / "+" / "`" / "'" / "~" / "(" / ")" / "<" /
/// ">" / ":" / "\" / DQUOTE / "/" / "[" / "]" / "?" / "{" / "}" )`
pub const WORD: Class = Class::new(6, b'-', b':');
/// `display-name = *(token LWS)`. Lenient: bytes of UTF-8.
pub const DISPLAY: Class = Class::new(7, b'0', b'9');
/// What may stand in any URI, `%` aside: visible, and not one of `<`, `>`, `"`.
pub const URI: Class = Class::new(8, b'&', b';');

static CLASSES: [u16; 256] = classes();

const fn classes() -> [u16; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let c = byte as u8;
        let alphanum = c.is_ascii_alphanumeric();
        let unreserved = alphanum || has(b"-_.!~*'()", c);
        let utf8 = c >= 0x80;
        let visible = c.is_ascii_graphic() || utf8;
        let token = alphanum || has(b"-.!%*_+`'~", c);
        table[byte] = bit(TOKEN, token)
            | bit(USER, unreserved || utf8 || has(b"&=+$,;?/#", c))
            | bit(HOST, alphanum || has(b"-._", c))
            | bit(URI_PARAM, unreserved || utf8 || has(b"[]/:&+$=|`", c))
            | bit(URI_PARAM_NAME, unreserved || utf8 || has(b"[]/:&+$|`", c))
            | bit(VALUE, visible && !has(b";,\"<>\\", c))
            | bit(WORD, token || has(b"()<>:\\\"/[]?{}", c))
            | bit(DISPLAY, token || utf8 || has(b" \t\r\n", c))
            | bit(URI, visible && !has(b"<>\"%", c));
        byte += 1;
    }
    table
}

const fn bit(class: Class, holds: bool) -> u16 {
    if holds { class.bit } else { 0 }
}

const fn has(set: &[u8], c: u8) -> bool {
    let mut i = 0;
    while i < set.len() {
        if set[i] == c {
            return true;
        }
        i += 1;
    }
    false
}

/// The character is of this class.
#[inline]
pub fn is(class: Class, c: u8) -> bool {
    CLASSES[usize::from(c)] & class.bit != 0
}

/// Where the characters of this class end that stand at `from` and behind it; `from` lies in the text or at
/// its end.
///
/// Sixteen at a time: letters and what is common of the class are told by two comparisons, and each of the
/// others by the table. Nearly all end within the first sixteen.
#[inline(always)]
pub fn run(class: Class, text: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(bytes) = chunk::<16>(text, at as u32) {
        let len = class.others(Block::of(bytes)).trailing_zeros() as usize;
        if len < 16 {
            return if is(class, bytes[len]) { long_run(class, text, at) } else { at + len };
        }
        at += 16;
    }
    let Some(others) = class.last_others(text, at) else { return long_run(class, text, at) };
    let end = at + others.trailing_zeros() as usize;
    match text.get(end) {
        Some(&c) if is(class, c) => long_run(class, text, at),
        _ => end,
    }
}

/// The same with unusual ones among them, or in a short text.
#[inline(never)]
fn long_run(class: Class, text: &[u8], from: usize) -> usize {
    let mut at = from;
    loop {
        // NUL is of no class.
        let (block, shift) = block_at(text, at);
        // What stands behind the sixteen is looked at as well.
        let mut others = class.others(block) >> shift;
        let end = at + 16 - shift;
        loop {
            let other = at + others.trailing_zeros() as usize;
            match text.get(other) {
                Some(&c) if is(class, c) => {}
                _ => return other,
            }
            if other == end {
                break;
            }
            others &= others - 1;
        }
        at = end;
    }
}

/// A name of letters and what is common of the class, `=`, and a value of the same, both within sixteen bytes: where
/// each ends. `None`: it is something else, or a character of the class `value` or a `%` follows.
#[inline(always)]
pub fn short_pair(class: Class, value: Class, text: &[u8], from: usize) -> Option<(usize, usize)> {
    let others = match chunk::<16>(text, from as u32) {
        Some(bytes) => class.others(Block::of(bytes)),
        None => class.last_others(text, from)?,
    };
    let name_end = from + others.trailing_zeros() as usize;
    let end = from + (others & others.wrapping_sub(1)).trailing_zeros() as usize;
    let is_pair = name_end > from && text.get(name_end) == Some(&b'=') && end > name_end + 1;
    let goes_on = text.get(end).is_some_and(|&c| c == b'%' || is(value, c));
    (is_pair && !goes_on).then_some((name_end, end))
}

/// Begins with so many characters, one to fifteen, that are letters or common of the class.
#[inline(always)]
pub fn begins_plainly(class: Class, bytes: &[u8; 16], len: usize) -> bool {
    len > 0 && class.others(Block::of(bytes)).trailing_zeros() as usize >= len
}

/// One or more characters of this class and nothing else.
#[inline]
pub fn all(class: Class, text: &[u8]) -> bool {
    !text.is_empty() && run(class, text, 0) == text.len()
}

/// White space within a header value: folding leaves CR and LF in it.
#[inline(always)]
pub fn white(c: u8) -> bool {
    c <= b' ' && matches!(c, b' ' | b'\t' | b'\r' | b'\n')
}

/// The first place at `from` or behind it without white space.
#[inline(always)]
pub fn after_white(text: &[u8], from: usize) -> usize {
    match text.get(from) {
        Some(&c) if white(c) => after_some_white(text, from),
        _ => from,
    }
}

#[cold]
fn after_some_white(text: &[u8], from: usize) -> usize {
    let len = text[from..].iter().take_while(|&&c| white(c)).count();
    from + len
}

/// The text without white space around it.
#[inline(always)]
pub fn trim(text: &[u8]) -> &[u8] {
    match text {
        [first, .., last] if !white(*first) && !white(*last) => text,
        _ => trim_some(text),
    }
}

#[cold]
fn trim_some(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text
        && white(*first)
    {
        text = rest;
    }
    while let [rest @ .., last] = text
        && white(*last)
    {
        text = rest;
    }
    text
}

/// A decimal number; `None` for anything else or one that does not fit.
pub fn number(text: &[u8]) -> Option<u64> {
    let digit = |c: u8| Some(u64::from(c.wrapping_sub(b'0'))).filter(|digit| *digit <= 9);
    match text.len() {
        0 => None,
        // All of so many digits fit.
        1..20 => text.iter().try_fold(0, |n, &c| Some(n * 10 + digit(c)?)),
        _ => text.iter().try_fold(0u64, |n, &c| n.checked_mul(10)?.checked_add(digit(c)?)),
    }
}

/// The number that the first `len` of four bytes are: one to four. `None`: they are not all digits.
#[inline(always)]
pub fn short_number(four: [u8; 4], len: u32) -> Option<u32> {
    // Zeros stand before those that there are.
    let digits = (u32::from_le_bytes(four) ^ u32::from_le_bytes([b'0'; 4])) << (32 - 8 * len);
    // A digit and 0x76 are less than 0x80.
    if (digits | digits.wrapping_add(0x7676_7676)) & 0x8080_8080 != 0 {
        return None;
    }
    // The first of each pair counts ten times the second, the first pair a hundred times.
    let pairs = digits.wrapping_mul(1 + (10 << 8)) >> 8 & 0x00ff_00ff;
    Some(pairs.wrapping_mul(1 + (100 << 16)) >> 16)
}

/// The first `len` of eight bytes are digits: one to eight.
#[inline(always)]
pub fn are_digits(eight: [u8; 8], len: u32) -> bool {
    let digits = (u64::from_le_bytes(eight) ^ u64::from_le_bytes([b'0'; 8])) << (64 - 8 * len);
    // A digit and 0x76 are less than 0x80.
    (digits | digits.wrapping_add(u64::from_le_bytes([0x76; 8]))) & u64::from_le_bytes([0x80; 8]) == 0
}

/// The number that the first `len` of eight bytes are, which are digits: one to eight.
#[inline(always)]
pub fn number_of_digits(eight: [u8; 8], len: u32) -> u32 {
    // Zeros stand before those that there are.
    let digits = (u64::from_le_bytes(eight) ^ u64::from_le_bytes([b'0'; 8])) << (64 - 8 * len);
    // The first of each pair counts ten times the second, the first pair of two a hundred times, and so on.
    let pairs = digits.wrapping_mul(1 + (10 << 8)) >> 8 & 0x00ff_00ff_00ff_00ff;
    let fours = pairs.wrapping_mul(1 + (100 << 16)) >> 16 & 0x0000_ffff_0000_ffff;
    (fours.wrapping_mul(1 + (10_000 << 32)) >> 32) as u32
}

/// Where `part`, a slice of `whole`, begins in it.
pub fn offset(whole: &[u8], part: &[u8]) -> usize {
    (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(class: Class) -> String {
        (0..0x80).filter(|&c| is(class, c)).map(char::from).filter(|c| !c.is_ascii_alphanumeric()).collect()
    }

    #[test]
    fn classes_hold_what_the_grammar_says() {
        assert_eq!(members(TOKEN), "!%'*+-._`~");
        assert_eq!(members(USER), "!#$&'()*+,-./;=?_~");
        assert_eq!(members(HOST), "-._");
        assert_eq!(members(URI_PARAM), "!$&'()*+-./:=[]_`|~");
        assert_eq!(members(URI_PARAM_NAME), "!$&'()*+-./:[]_`|~");
        assert_eq!(members(VALUE), "!#$%&'()*+-./:=?@[]^_`{|}~");
        assert_eq!(members(WORD), "!\"%'()*+-./:<>?[\\]_`{}~");
        assert_eq!(members(DISPLAY), "\t\n\r !%'*+-._`~");
        for c in (b'0'..=b'9').chain(b'a'..=b'z').chain(b'A'..=b'Z') {
            assert_eq!(CLASSES[usize::from(c)], 0x1ff, "{c}");
        }
        assert_eq!(CLASSES[0], 0);
        for c in (0..=0x20u8).chain([0x7f]) {
            assert_eq!(CLASSES[usize::from(c)] & !DISPLAY.bit, 0, "{c}");
        }
    }

    const ALL: [Class; 9] = [TOKEN, USER, HOST, URI_PARAM, URI_PARAM_NAME, VALUE, WORD, DISPLAY, URI];

    /// What is common needs no look at the table, so it has to stand in it.
    #[test]
    fn common_members_are_members() {
        for class in ALL {
            assert!((class.low..=class.high).all(|c| is(class, c)), "{:?}", members(class));
        }
    }

    #[test]
    fn a_run_ends_where_its_class_does() {
        for class in ALL {
            for len in [0, 1, 15, 16, 17, 33] {
                for (at, c) in (0..len).flat_map(|at| (0..=u8::MAX).map(move |c| (at, c))) {
                    // Letters, and one of the others of the class.
                    let mut text: Vec<_> = (0..len).map(|n| if n % 5 == 3 { b'-' } else { b'x' }).collect();
                    text[at] = c;
                    let plain = |from: usize| {
                        text[from..].iter().position(|&c| !is(class, c)).map_or(len, |found| from + found)
                    };
                    for from in [0, at, at.min(3), len] {
                        assert_eq!(
                            run(class, &text, from),
                            plain(from),
                            "{} from {from}",
                            text.escape_ascii()
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn numbers_fit_or_are_none() {
        assert_eq!(number(b"0068"), Some(68));
        assert_eq!(number(b"18446744073709551615"), Some(u64::MAX));
        for text in ["", "-1", "+1", "1 ", "18446744073709551616", "1a", "\u{0661}"] {
            assert_eq!(number(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn short_numbers_are_numbers() {
        for text in
            ["0", "7", "09", "70", "123", "1000", "31415", "314159", "2718281", "99999999", "00000000"]
        {
            for behind in ["        ", "a       ", "/0123456", ":0123456", "\r\n", "\u{7f}\u{ff}", ""] {
                let mut eight = [0; 8];
                let both = [text, behind].concat();
                let len = both.len().min(8);
                eight[..len].copy_from_slice(&both.as_bytes()[..len]);
                let read = number_of_digits(eight, text.len() as u32);
                assert_eq!(Some(read.into()), number(text.as_bytes()), "{both}");
                let four = *eight.first_chunk().expect("four of eight");
                if text.len() <= 4 {
                    assert_eq!(short_number(four, text.len() as u32), Some(read), "{both}");
                }
            }
        }
        for c in 0..=u8::MAX {
            for at in 0..4 {
                let mut four = *b"1234";
                four[at] = c;
                for len in 1..=4 {
                    let read = short_number(four, len).map(u64::from);
                    assert_eq!(read, number(&four[..len as usize]), "{c} {at} {len}");
                }
            }
        }
    }

    #[test]
    fn trim_takes_folds_too() {
        assert_eq!(trim(b" \r\n\t a b \r\n "), b"a b");
        assert_eq!(trim(b" \r\n "), b"");
    }
}
