//! Classes of characters (RFC 3261 §25.1), one bit each in one table.

/// `token = 1*(alphanum / "-" / "." / "!" / "%" / "*" / "_" / "+" / "`" / "'" / "~" )`
pub const TOKEN: u8 = 1;
/// `user = 1*( unreserved / escaped / user-unreserved )` without `escaped`, which takes more than one
/// look, and what a password may have. Lenient: `#`, which feature codes have, and bytes of UTF-8.
pub const USER: u8 = 2;
/// `hostname` and `IPv4address`. Lenient: `_`, which names of services have.
pub const HOST: u8 = 4;
/// `paramchar = param-unreserved / unreserved / escaped` without `escaped`. Lenient: `=` and `|` within a
/// value, and bytes of UTF-8.
pub const URI_PARAM: u8 = 8;
/// `gen-value = token / host / quoted-string` without the quoted string. Lenient: every other visible
/// character that separates nothing, because clients write Base64 and addresses there.
pub const VALUE: u8 = 16;
/// `word = 1*(alphanum / "-" / "." / "!" / "%" / "*" / "_" / "+" / "`" / "'" / "~" / "(" / ")" / "<" /
/// ">" / ":" / "\" / DQUOTE / "/" / "[" / "]" / "?" / "{" / "}" )`
pub const WORD: u8 = 32;
/// `display-name = *(token LWS)`. Lenient: bytes of UTF-8.
pub const DISPLAY: u8 = 64;
/// What may stand in any URI, `%` aside: visible, and not one of `<`, `>`, `"`.
pub const URI: u8 = 128;

static CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
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
            | bit(VALUE, visible && !has(b";,\"<>\\", c))
            | bit(WORD, token || has(b"()<>:\\\"/[]?{}", c))
            | bit(DISPLAY, token || utf8 || has(b" \t\r\n", c))
            | bit(URI, visible && !has(b"<>\"%", c));
        byte += 1;
    }
    table
}

const fn bit(class: u8, holds: bool) -> u8 {
    if holds { class } else { 0 }
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
pub fn is(class: u8, c: u8) -> bool {
    CLASSES[usize::from(c)] & class != 0
}

/// How many characters of this class `text` begins with.
///
/// Looks at eight at a time, without a check of the end between them.
#[inline]
pub fn run(class: u8, text: &[u8]) -> usize {
    let (chunks, rest) = text.as_chunks::<8>();
    for (number, chunk) in chunks.iter().enumerate() {
        for (at, &c) in chunk.iter().enumerate() {
            if !is(class, c) {
                return number * 8 + at;
            }
        }
    }
    let len = rest.iter().position(|&c| !is(class, c)).unwrap_or(rest.len());
    text.len() - rest.len() + len
}

/// One or more characters of this class and nothing else.
#[inline]
pub fn all(class: u8, text: &[u8]) -> bool {
    !text.is_empty() && run(class, text) == text.len()
}

/// White space within a header value: folding leaves CR and LF in it.
#[inline]
pub fn white(c: u8) -> bool {
    matches!(c, b' ' | b'\t' | b'\r' | b'\n')
}

/// The text without white space around it.
pub fn trim(mut text: &[u8]) -> &[u8] {
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
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |n, &c| {
        let digit = c.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        n.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// Where `part`, a slice of `whole`, begins in it.
pub fn offset(whole: &[u8], part: &[u8]) -> usize {
    (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(class: u8) -> String {
        (0..0x80).filter(|&c| is(class, c)).map(char::from).filter(|c| !c.is_ascii_alphanumeric()).collect()
    }

    #[test]
    fn classes_hold_what_the_grammar_says() {
        assert_eq!(members(TOKEN), "!%'*+-._`~");
        assert_eq!(members(USER), "!#$&'()*+,-./;=?_~");
        assert_eq!(members(HOST), "-._");
        assert_eq!(members(URI_PARAM), "!$&'()*+-./:=[]_`|~");
        assert_eq!(members(VALUE), "!#$%&'()*+-./:=?@[]^_`{|}~");
        assert_eq!(members(WORD), "!\"%'()*+-./:<>?[\\]_`{}~");
        assert_eq!(members(DISPLAY), "\t\n\r !%'*+-._`~");
        for c in (b'0'..=b'9').chain(b'a'..=b'z').chain(b'A'..=b'Z') {
            assert_eq!(CLASSES[usize::from(c)], u8::MAX, "{c}");
        }
        for c in (0..=0x20u8).chain([0x7f]) {
            assert_eq!(CLASSES[usize::from(c)] & !DISPLAY, 0, "{c}");
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
    fn trim_takes_folds_too() {
        assert_eq!(trim(b" \r\n\t a b \r\n "), b"a b");
        assert_eq!(trim(b" \r\n "), b"");
    }
}
