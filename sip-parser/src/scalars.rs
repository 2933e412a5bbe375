//! Headers whose value is a number or a word.

use std::fmt;

use crate::block::{Block, Set};
use crate::chars::{self, TOKEN, WORD, after_white, number, offset, trim};
use crate::error::{Error, Rule};
use crate::grammar::Text;
use crate::scan::chunk;
use crate::span::Span;

/// CSeq (RFC 3261 §20.16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CSeq<'a> {
    /// Below 2**31 (RFC 3261 §8.1.1.5).
    pub number: u32,
    /// The method; compared with case.
    pub method: &'a [u8],
}

impl<'a> CSeq<'a> {
    /// `1*DIGIT LWS Method`
    ///
    /// RFC 3261 §8.1.1.5: "The sequence number value MUST be expressible as a 32-bit unsigned integer and
    /// MUST be less than 2**31."
    ///
    /// # Errors
    /// [`Rule::CSeq`]
    pub fn parse(text: &'a [u8]) -> Result<Self, Error> {
        Self::any(text)
    }

    /// [`CSeq::parse`] of what stands there in a message.
    #[inline(always)]
    pub(crate) fn of(bytes: &'a [u8], span: Span) -> Result<Self, Error> {
        match Self::usual(bytes, span) {
            Some(usual) => Ok(usual),
            None => Self::any(span.of(bytes)),
        }
    }

    /// The same, if it is one to eight digits, which are less than 2**31, one space and at most fourteen letters from A to Z,
    /// with sixteen bytes from its beginning on.
    #[inline(always)]
    fn usual(bytes: &'a [u8], span: Span) -> Option<Self> {
        let bytes: &[u8; 16] = chunk(bytes, span.start.into())?;
        let block = Block::of(bytes);
        let len = (!block.within(b'0', b'9').bits()).trailing_zeros();
        let method = len + 1;
        let letters = (!block.within(b'A', b'Z').bits() >> method).trailing_zeros();
        let end = method + letters;
        let is_usual = (1..=8).contains(&len)
            && bytes[len as usize & 15] == b' '
            && letters > 0
            && u32::from(span.start) + end == span.end.into();
        if !is_usual {
            return None;
        }
        let number = chars::number_of_digits(*bytes.first_chunk()?, len);
        Some(Self { number, method: bytes.get(method as usize..end as usize)? })
    }

    /// The number alone of [`CSeq::parse`], if it has one to eight digits, and behind one space the method that stands there, of
    /// at most seven characters.
    #[inline(always)]
    pub(crate) fn simple_number(bytes: &[u8], span: Span, method: Span) -> Option<u32> {
        let text: &[u8; 16] = chunk(bytes, span.start.into())?;
        let method_len = u32::from(method.end).wrapping_sub(method.start.into());
        let len = u32::from(span.end).wrapping_sub(span.start.into());
        let digits = len.wrapping_sub(method_len).wrapping_sub(1);
        if method_len.wrapping_sub(1) >= 7 || digits.wrapping_sub(1) >= 8 {
            return None;
        }
        let wanted = u64::from_le_bytes(*chunk(bytes, method.start.into())?) << 8 | u64::from(b' ');
        let behind = u64::from_le_bytes(*text[digits as usize..].first_chunk()?);
        if (wanted ^ behind) << (56 - 8 * method_len) != 0 {
            return None;
        }
        if digits <= 4 {
            return chars::short_number(*text.first_chunk()?, digits);
        }
        let begin = *text.first_chunk()?;
        chars::are_digits(begin, digits).then(|| chars::number_of_digits(begin, digits))
    }

    #[inline(never)]
    fn any(text: &'a [u8]) -> Result<Self, Error> {
        let mut number = 0u64;
        let mut end = 0;
        while let Some(c @ b'0'..=b'9') = text.get(end) {
            number = number * 10 + u64::from(c - b'0');
            if number >= 1 << 31 {
                return Err(Error::new(Rule::CSeq, 0));
            }
            end += 1;
        }
        if end == 0 {
            return Err(Error::new(Rule::CSeq, 0));
        }
        let method = after_white(text, end);
        let method_end = chars::run(TOKEN, text, method);
        if method == end || method == method_end || after_white(text, method_end) < text.len() {
            return Err(Error::new(Rule::CSeq, end));
        }
        Ok(Self { number: number as u32, method: &text[method..method_end] })
    }
}

impl fmt::Display for CSeq<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number, Text(self.method))
    }
}

/// Max-Forwards: 0 to 255 (RFC 3261 §20.22).
///
/// # Errors
/// [`Rule::MaxForwards`]
#[inline]
pub fn max_forwards(text: &[u8]) -> Result<u8, Error> {
    // As nearly all have it.
    if let [tens @ b'0'..=b'9', ones @ b'0'..=b'9'] = *text {
        return Ok((tens - b'0') * 10 + (ones - b'0'));
    }
    number(text).and_then(|n| n.try_into().ok()).ok_or(Error::new(Rule::MaxForwards, 0))
}

/// [`max_forwards`] of what stands there in a message, if it has two digits, as nearly all have.
#[inline(always)]
pub(crate) fn simple_max_forwards(bytes: &[u8], span: Span) -> Option<u8> {
    let [tens @ b'0'..=b'9', ones @ b'0'..=b'9'] = *chunk(bytes, span.start.into())? else { return None };
    (span.end == span.start.wrapping_add(2)).then_some((tens - b'0') * 10 + (ones - b'0'))
}

/// Content-Length: any number that fits 64 bits; whoever asks holds it against the bytes that there are
/// (RFC 3261 §20.14).
///
/// # Errors
/// [`Rule::ContentLength`]
pub fn content_length(text: &[u8]) -> Result<u64, Error> {
    number(text).ok_or(Error::new(Rule::ContentLength, 0))
}

/// [`content_length`] of what stands in a message.
#[inline(always)]
pub(crate) fn content_length_of(bytes: &[u8], span: Span) -> Result<u64, Error> {
    let len = u32::from(span.end).wrapping_sub(span.start.into());
    match chunk(bytes, span.start.into()) {
        _ if len == 1 => match bytes.get(usize::from(span.start)) {
            Some(digit @ b'0'..=b'9') => Ok((digit - b'0').into()),
            _ => Err(Error::new(Rule::ContentLength, 0)),
        },
        // Two to four.
        Some(&four) if len.wrapping_sub(2) < 3 => match chars::short_number(four, len) {
            Some(length) => Ok(length.into()),
            None => Err(Error::new(Rule::ContentLength, 0)),
        },
        _ => content_length(span.of(bytes)),
    }
}

/// Expires in seconds; larger numbers are the largest (RFC 3261 §20.19: "an integer number of seconds (in
/// decimal) between 0 and (2**32)-1").
///
/// # Errors
/// [`Rule::Expires`]
pub fn expires(text: &[u8]) -> Result<u32, Error> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return Err(Error::new(Rule::Expires, 0));
    }
    Ok(number(text).and_then(|n| n.try_into().ok()).unwrap_or(u32::MAX))
}

/// Call-ID: `callid = word [ "@" word ]` (RFC 3261 §20.8). Compared with case, byte by byte.
///
/// # Errors
/// [`Rule::CallId`]
pub fn call_id(text: &[u8]) -> Result<&[u8], Error> {
    let first = chars::run(WORD, text, 0);
    let end = match text.get(first) {
        Some(b'@') => chars::run(WORD, text, first + 1),
        _ => first,
    };
    if first == 0 || end < text.len() || text.ends_with(b"@") {
        return Err(Error::new(Rule::CallId, end));
    }
    Ok(text)
}

/// [`call_id`] of what stands there in a message, if it is one plain word or two, of less than 64 bytes together.
#[inline(always)]
pub(crate) fn simple_call_id<S: Set>(bytes: &[u8], span: Span) -> Option<&[u8]> {
    let near: &[u8; 64] = chunk(bytes, span.start.into())?;
    let len = usize::from(span.end).wrapping_sub(span.start.into());
    let text = near[..63].get(..len)?;
    let mut stops = u64::from(S::stops(near.first_chunk()?));
    if len > 32 {
        stops |= u64::from(S::stops(near.last_chunk()?)) << 32;
    }
    // Those in it.
    stops &= !(u64::MAX << len);
    if stops == 0 {
        return (len > 0).then_some(text);
    }
    let at = stops.trailing_zeros() as usize;
    let is_alone = stops & (stops - 1) == 0 && near[at & 63] == b'@';
    // Neither the first nor the last.
    (is_alone && at.wrapping_sub(1) < len.wrapping_sub(2)).then_some(text)
}

/// The option tags of one line of Require, Proxy-Require, Supported or Unsupported:
/// `option-tag *(COMMA option-tag)` (RFC 3261 §20.29, §20.32). A line without any has none: Supported may
/// be empty (§20.37).
///
/// # Errors
/// [`Rule::OptionTag`] for each element that is not a token.
pub fn option_tags(text: &[u8]) -> impl Iterator<Item = Result<&[u8], Error>> {
    let empty = trim(text).is_empty();
    text.split(|&c| c == b',').filter(move |_| !empty).map(move |element| {
        let tag = trim(element);
        if chars::all(TOKEN, tag) { Ok(tag) } else { Err(Error::new(Rule::OptionTag, offset(text, tag))) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::Plain;

    #[test]
    fn a_cseq_is_a_number_below_two_to_the_31_and_a_method() {
        let cseq = |text: &'static str| CSeq::parse(text.as_bytes());
        assert_eq!(cseq("0009\r\n  INVITE"), Ok(CSeq { number: 9, method: b"INVITE" }));
        assert_eq!(cseq("2147483647 A").map(|c| c.number), Ok((1 << 31) - 1));
        for (text, at) in [
            ("", 0),
            ("INVITE", 0),
            ("2147483648 INVITE", 0),
            ("36893488147419103232 REGISTER", 0),
            ("-1 INVITE", 0),
            ("1", 1),
            ("1 ", 1),
            ("1INVITE", 1),
            ("1 INVITE x", 1),
            ("1 IN\0VITE", 1),
        ] {
            assert_eq!(cseq(text), Err(Error::new(Rule::CSeq, at)), "{text}");
        }
    }

    /// What the short way reads, the long way reads alike.
    #[test]
    fn a_usual_cseq_is_read_like_any_other() {
        for form in ["1 INVITE", "70 BYE", "31415926 OPTIONS", "123456789 ACK", "7 SUBSCRIBENOTIFY"] {
            let mut usual = 0;
            for (at, c) in (0..form.len()).flat_map(|at| (0..=u8::MAX).map(move |c| (at, c))) {
                let mut text = form.as_bytes().to_vec();
                text[at] = c;
                for behind in ["\r\nMax-Forwards: 70", "0123456789abcdef", "ABCDEFGHIJKLMNOP"] {
                    let rest = [&text, behind.as_bytes()].concat();
                    if let Some(read) = CSeq::usual(&rest, Span::new(0, text.len())) {
                        assert_eq!(CSeq::any(&text), Ok(read), "{}", text.escape_ascii());
                        usual += 1;
                    }
                }
            }
            assert_eq!(usual > 100, form.len() <= 16 && !form.starts_with("123456789"), "{form}: {usual}");
        }
    }

    #[test]
    fn a_content_length_is_read_wherever_it_stands() {
        for text in ["0", "349", "12345678", "123456789", "", "5,5", "-1", "1e3", "0x5"] {
            for behind in ["\r\n\r\n", "0123456789", ""] {
                let rest = [text, behind].concat();
                let read = content_length_of(rest.as_bytes(), Span::new(0, text.len()));
                assert_eq!(read, content_length(text.as_bytes()), "{rest}");
            }
        }
    }

    #[test]
    fn max_forwards_fits_a_byte() {
        assert_eq!(max_forwards(b"0068"), Ok(68));
        assert_eq!(max_forwards(b"0"), Ok(0));
        assert_eq!(max_forwards(b"255"), Ok(255));
        for text in ["", "256", "300", "-1", "+7", "7 0", "0x7"] {
            assert_eq!(max_forwards(text.as_bytes()), Err(Error::new(Rule::MaxForwards, 0)), "{text}");
        }
    }

    #[test]
    fn content_length_and_expires_are_checked_numbers() {
        assert_eq!(content_length(b"0"), Ok(0));
        assert_eq!(content_length(b"18446744073709551615"), Ok(u64::MAX));
        for text in ["", "-999", "5,5", "1e3", "18446744073709551616"] {
            assert_eq!(content_length(text.as_bytes()), Err(Error::new(Rule::ContentLength, 0)), "{text}");
        }
        assert_eq!(expires(b"3600"), Ok(3600));
        assert_eq!(expires(&[b'9'; 100]), Ok(u32::MAX));
        assert_eq!(expires(b"-1"), Err(Error::new(Rule::Expires, 0)));
        assert_eq!(expires(b""), Err(Error::new(Rule::Expires, 0)));
    }

    #[test]
    fn a_call_id_is_one_or_two_words() {
        for text in ["a", "a@b", "intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{"] {
            assert_eq!(call_id(text.as_bytes()), Ok(text.as_bytes()));
        }
        let mut usual = 0;
        for len in 1..70 {
            for at in 0..len {
                for c in [b'x', b'@', b'%', b',', b' ', 0xe9] {
                    let mut text = vec![b'x'; len];
                    text[at] = c;
                    text[len / 2] = b'@';
                    for behind in ["\r\nCSeq: 1 BYE", "abc@defg", "@", ""] {
                        let rest = [&text, behind.as_bytes()].concat();
                        let Some(read) = simple_call_id::<Plain>(&rest, Span::new(0, len)) else { continue };
                        assert_eq!(call_id(&text), Ok(read), "{}", rest.escape_ascii());
                        usual += 1;
                    }
                }
            }
        }
        assert!(usual > 1000, "{usual}");
        for (text, at) in
            [("", 0), ("@", 1), ("a@", 2), ("@b", 2), ("a@b@c", 3), ("a b", 1), ("a\0", 1), ("a,b", 1)]
        {
            assert_eq!(call_id(text.as_bytes()), Err(Error::new(Rule::CallId, at)), "{text}");
        }
    }

    #[test]
    fn option_tags_are_tokens() {
        let tags = |text: &'static str| option_tags(text.as_bytes()).collect::<Vec<_>>();
        assert_eq!(tags("100rel ,\r\n timer"), [Ok(&b"100rel"[..]), Ok(b"timer")]);
        assert_eq!(tags(""), []);
        assert_eq!(tags("a,,b"), [Ok(&b"a"[..]), Err(Error::new(Rule::OptionTag, 2)), Ok(b"b")]);
        assert_eq!(tags("a b"), [Err(Error::new(Rule::OptionTag, 0))]);
    }
}
