//! Classes of characters (RFC 3261 §25.1), as one table of bits.

const TOKEN: u8 = 1;
const USER: u8 = 2;
const HOST: u8 = 4;
const PARAM: u8 = 8;
const WORD: u8 = 16;
const HEX: u8 = 32;

const fn table() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let c = byte as u8;
        let alphanumeric = c.is_ascii_alphanumeric();
        let mark = has(b"-_.!~*'()", c);
        let mut class = 0;
        // token = 1*(alphanum / "-" / "." / "!" / "%" / "*" / "_" / "+" / "`" / "'" / "~" )
        if alphanumeric || has(b"-.!%*_+`'~", c) {
            class |= TOKEN;
        }
        // user = 1*( unreserved / escaped / user-unreserved ), password besides; "#" and "[" appear in
        // the wild (RFC 3966 §3 names "#" as a visual separator's neighbour) and harm nobody.
        if alphanumeric || mark || has(b"&=+$,;?/%:#[]", c) || c >= 0x80 {
            class |= USER;
        }
        // hostname, and "_" which SRV-like names have
        if alphanumeric || has(b"-._", c) {
            class |= HOST;
        }
        // paramchar = param-unreserved / unreserved / escaped; token characters besides
        if alphanumeric || mark || has(b"[]/:&+$%`", c) || c >= 0x80 {
            class |= PARAM;
        }
        // word = 1*(alphanum / "-" / "." / … )
        if alphanumeric || has(b"-.!%*_+`'~()<>:\\\"/[]?{}", c) {
            class |= WORD;
        }
        if c.is_ascii_hexdigit() {
            class |= HEX;
        }
        table[byte] = class;
        byte += 1;
    }
    table
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

static TABLE: [u8; 256] = table();

fn is(class: u8, c: u8) -> bool {
    TABLE[usize::from(c)] & class != 0
}

/// A character of a token.
pub fn token(c: u8) -> bool {
    is(TOKEN, c)
}

/// A character of a user part or password.
pub fn user(c: u8) -> bool {
    is(USER, c)
}

/// A character of a host name.
pub fn host(c: u8) -> bool {
    is(HOST, c)
}

/// A character of a parameter's name or unquoted value.
pub fn param(c: u8) -> bool {
    is(PARAM, c)
}

/// A character of a word (Call-ID).
pub fn word(c: u8) -> bool {
    is(WORD, c)
}

/// A hexadecimal digit.
pub fn hex(c: u8) -> bool {
    is(HEX, c)
}

/// White space within a header value: folding leaves CR and LF in it.
pub fn white(c: u8) -> bool {
    matches!(c, b' ' | b'\t' | b'\r' | b'\n')
}

/// The value without white space around it.
pub fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes
        && white(*first)
    {
        bytes = rest;
    }
    while let [rest @ .., last] = bytes
        && white(*last)
    {
        bytes = rest;
    }
    bytes
}

/// A non-empty token.
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&c| token(c))
}

/// A decimal number; `None` for anything else or one that does not fit.
pub fn number(bytes: &[u8]) -> Option<u64> {
    if bytes.is_empty() {
        return None;
    }
    bytes.iter().try_fold(0u64, |n, &c| {
        if !c.is_ascii_digit() {
            return None;
        }
        n.checked_mul(10)?.checked_add(u64::from(c - b'0'))
    })
}

/// Where `part`, a slice of `whole`, begins in it.
pub fn offset(whole: &[u8], part: &[u8]) -> usize {
    (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize)
}
