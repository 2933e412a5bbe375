//! What lines look like that begin with a name that is looked for.

use super::HeaderName;
use super::names::NAMED;
use crate::block::{Plain, Set};
use crate::message::HeaderLine;
use crate::scan::FRAME;
use crate::span::Span;

/// Longest name that is looked for.
pub(super) const MAX_NAME: usize = 26;

/// What the bytes are where a line begins with a name, from the one before its line break on: [`FRAME`] of them,
/// with a name of [`MAX_NAME`]. In a line that is written as nearly all are, one space stands before the value, and
/// neither it nor the value before ends or begins with white space.
///
/// None of them greater than in `most`, they are `text` in the bits of `mask`: letters are compared without case, the
/// value's first byte and the last one of the line before have to be visible, all else is as it is.
#[derive(Clone, Copy)]
#[repr(C, align(128))]
pub(crate) struct Form {
    most: [u8; FRAME],
    text: [u8; FRAME],
    mask: [u8; FRAME],
    /// Such a line, with what is to be added to its places: see [`Set::place`].
    line: HeaderLine,
    /// Those that begin alike and come less often.
    others: &'static [Form],
}

const _: () = assert!(size_of::<Form>() == 128);

/// The first form of those that begin alike, in its place.
static PLACES: [Form; 256] = {
    let mut places = [Form::NONE; 256];
    let (mut number, mut placed) = (0, 0);
    while number < NAMED.len() {
        let (name, means) = NAMED[number];
        if is_first(number) {
            let (_, rest) = OTHERS.split_at(placed);
            let (others, _) = rest.split_at(others(number));
            let slot = &mut places[place_of(name.as_bytes())];
            assert!(slot.line.key_len == 0, "two beginnings in one place");
            *slot = Form { others, ..Form::new(name.as_bytes(), means) };
            placed += others.len();
        }
        number += 1;
    }
    places
};

/// The others, those that begin alike together.
static OTHERS: [Form; 22] = {
    let mut forms = [Form::NONE; 22];
    let (mut number, mut placed) = (0, 0);
    while number < NAMED.len() {
        let mut other = number + 1;
        while is_first(number) && other < NAMED.len() {
            let (name, means) = NAMED[other];
            if begin_alike(number, other) {
                forms[placed] = Form::new(name.as_bytes(), means);
                placed += 1;
            }
            other += 1;
        }
        number += 1;
    }
    assert!(placed == forms.len(), "as many as begin like another one before");
    forms
};

/// No name before this one begins like it.
const fn is_first(number: usize) -> bool {
    let mut before = 0;
    while before < number {
        if begin_alike(before, number) {
            return false;
        }
        before += 1;
    }
    true
}

/// How many names behind this one begin like it.
const fn others(number: usize) -> usize {
    let (mut other, mut count) = (number + 1, 0);
    while other < NAMED.len() {
        count += begin_alike(number, other) as usize;
        other += 1;
    }
    count
}

const fn begin_alike(one: usize, other: usize) -> bool {
    FIRSTS[one] == FIRSTS[other]
}

/// What each name begins with that [`place`] heeds.
const FIRSTS: [u32; NAMED.len()] = {
    let mut firsts = [0; NAMED.len()];
    let mut number = 0;
    while number < NAMED.len() {
        firsts[number] = u32::from_le_bytes(first_of(NAMED[number].0.as_bytes())) & 0x00ff_ffff;
        number += 1;
    }
    firsts
};

/// By the first three bytes of a name in small letters: where the first form stands that begins so; 0: none does.
static SMALL: [u8; 256] = {
    let mut small = [0; 256];
    let mut number = 0;
    while number < NAMED.len() {
        let name = NAMED[number].0.as_bytes();
        let first = place_of(name);
        assert!(first > 0);
        let slot = &mut small[small_place(first_of(name))];
        assert!(*slot == 0 || *slot == first as u8, "two beginnings in one place");
        *slot = first as u8;
        number += 1;
    }
    small
};

/// Where the first form stands that begins with these three bytes; the fourth does not count. The number was found by
/// trying: of those that begin differently, no two share a place, and none has the first one.
#[inline(always)]
const fn place(first: [u8; 4]) -> usize {
    (u32::from_le_bytes(first).wrapping_mul(0x277c_2200) >> 24) as usize
}

/// The same of the three bytes in small letters, in [`SMALL`].
const fn small_place(first: [u8; 4]) -> usize {
    ((u32::from_le_bytes(first) | 0x20_2020).wrapping_mul(0xef87_bf00) >> 24) as usize
}

/// What a line with this name begins with.
const fn first_of(name: &[u8]) -> [u8; 4] {
    let mut first = [0; 4];
    let mut at = 0;
    while at < 3 {
        first[at] = if at < name.len() { name[at] } else { b": "[at - name.len()] };
        at += 1;
    }
    first
}

const fn place_of(name: &[u8]) -> usize {
    place(first_of(name))
}

impl Form {
    /// No form: fits nothing, because a byte that is at most 0 is not 1.
    const NONE: Self = Self {
        most: [0; FRAME],
        text: [1; FRAME],
        mask: [u8::MAX; FRAME],
        line: HeaderLine::EMPTY,
        others: &[],
    };

    const fn new(name: &[u8], means: HeaderName) -> Self {
        assert!(!name.is_empty() && name.len() <= MAX_NAME);
        let (most, text, mask) = ([u8::MAX; FRAME], [0; FRAME], [0; FRAME]);
        // CR and LF stand behind the last byte of either value, a colon and a space behind the name.
        let key_len = name.len() as u16;
        let (line, value) = (Span { start: 3, end: 3 }, Span { start: key_len + 5, end: 1 });
        let line = HeaderLine { line, value, key_len, name: means, ..HeaderLine::EMPTY };
        let mut form = Self { most, text, mask, line, others: &[] };
        let mut at = 0;
        while at < name.len() + 6 {
            let (most, text, mask) = match at.checked_sub(3) {
                None if at > 0 => (u8::MAX, b"\r\n"[at - 1], u8::MAX),
                Some(at) if at < name.len() => {
                    (u8::MAX, name[at], !((name[at].is_ascii_alphabetic() as u8) << 5))
                }
                Some(at) if at < name.len() + 2 => (u8::MAX, b": "[at - name.len()], u8::MAX),
                // Visible.
                _ => (b' ' + 1, b' ' + 1, u8::MAX),
            };
            (form.most[at], form.text[at], form.mask[at]) = (most, text, mask);
            at += 1;
        }
        form
    }

    /// As [`Form::of`], where nearly always a Via stands.
    #[inline(always)]
    pub fn of_first<S: Set>(bytes: &[u8; FRAME]) -> Option<&'static Self> {
        const VIA: usize = place_of(b"Via");
        let via = &PLACES[VIA];
        if via.fits::<S>(bytes) { Some(via) } else { Self::of_any(bytes) }
    }

    /// The one that these bytes have, which begin with the last one of the line before, if its name begins with capital and
    /// small letters as nearly all write it.
    #[inline(always)]
    pub fn of<S: Set>(bytes: &[u8; FRAME]) -> Option<&'static Self> {
        PLACES[place([bytes[3], bytes[4], bytes[5], bytes[6]])].of_these::<S>(bytes)
    }

    /// The same of a name in any case, where it is not asked often.
    #[inline(never)]
    pub fn of_any(bytes: &[u8; FRAME]) -> Option<&'static Self> {
        let first = SMALL[small_place([bytes[3], bytes[4], bytes[5], bytes[6]])];
        PLACES[usize::from(first)].of_these::<Plain>(bytes)
    }

    /// Which one of those that begin like this one.
    // A closure would not be compiled for the set.
    #[allow(clippy::manual_find)]
    #[inline(always)]
    fn of_these<S: Set>(&'static self, bytes: &[u8; FRAME]) -> Option<&'static Self> {
        if self.fits::<S>(bytes) {
            return Some(self);
        }
        for form in self.others {
            if form.fits::<S>(bytes) {
                return Some(form);
            }
        }
        None
    }

    #[inline(always)]
    fn fits<S: Set>(&self, bytes: &[u8; FRAME]) -> bool {
        S::fits(bytes, &self.most, &self.text, &self.mask)
    }

    /// Length of the name and its colon.
    #[inline(always)]
    pub fn len(&self) -> usize {
        usize::from(self.line.key_len) + 1
    }

    /// What it means.
    #[inline(always)]
    pub fn name(&self) -> HeaderName {
        self.line.name
    }

    /// Writes the line behind the line break that follows the byte at `before`, whose value ends with the byte at `last`.
    #[inline(always)]
    pub fn line<S: Set>(&self, before: u32, last: u32, into: &mut HeaderLine) {
        S::place(&self.line, before, last, into);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::{self, Work};

    /// The frame of a line with this name, the byte before its line break and the first of its value.
    fn frame(before: u8, name: &[u8], first: u8) -> [u8; FRAME] {
        let line =
            [&[before], &b"\r\n"[..], name, b": ", &[first], b" a value that goes on behind it"].concat();
        *line.first_chunk().expect("so many bytes")
    }

    /// [`Form::of`]
    struct Of<'a>(&'a [u8; FRAME]);

    impl Work for Of<'_> {
        type Done = Option<&'static Form>;

        #[inline(always)]
        fn with<S: Set>(self) -> Self::Done {
            Form::of::<S>(self.0)
        }
    }

    fn found(bytes: &[u8; FRAME]) -> Option<(HeaderName, usize)> {
        let found = |form: &Form| (form.name(), usize::from(form.line.key_len));
        let any = Form::of_any(bytes).map(found);
        let usual = block::widely(Of(bytes)).map(found);
        assert_eq!(Form::of::<Plain>(bytes).map(found), usual, "{}", bytes.escape_ascii());
        assert!(usual.is_none() || usual == any, "{}", bytes.escape_ascii());
        any
    }

    #[test]
    fn a_form_is_found_at_once_as_it_is_usually_written() {
        for (form, name) in NAMED {
            let usual = block::widely(Of(&frame(b'.', form.as_bytes(), b'<')));
            assert_eq!(usual.map(Form::name), Some(name), "{form}");
        }
    }

    #[test]
    fn every_form_is_found_in_any_case() {
        for (form, name) in NAMED {
            for text in [form.to_string(), form.to_ascii_uppercase(), form[..1].to_uppercase() + &form[1..]] {
                assert_eq!(HeaderName::from_bytes(text.as_bytes()), name, "{text}");
                assert_eq!(found(&frame(b'.', text.as_bytes(), b'<')), Some((name, form.len())), "{text}");
            }
        }
        let mut long: Vec<_> =
            NAMED.iter().filter(|(form, _)| form.len() > 1).map(|(_, name)| *name as u8).collect();
        long.sort_unstable();
        long.retain(|name| *name != HeaderName::Other as u8);
        assert!(long.into_iter().eq(0..HeaderName::Other as u8), "every name but Other has one long form");
    }

    #[test]
    fn what_differs_from_a_form_in_one_byte_does_not_fit() {
        for (form, name) in NAMED {
            let usual = frame(b'.', form.as_bytes(), b'<');
            // What looks like another one with one bit changed is the closest.
            let near = |was: u8| {
                (0..8).map(move |bit| was ^ 1 << bit).chain([b' ', b'!', b':', 0, 0x0a, 0x0d, 0xff])
            };
            for (at, c) in (0..FRAME).flat_map(|at| near(usual[at]).map(move |c| (at, c))) {
                let mut bytes = usual;
                bytes[at] = c;
                let first = 3 + form.len() + 2;
                let fits = match at {
                    0 => c > b' ',
                    _ if at == first => c > b' ',
                    _ if at > first => true,
                    _ => c.eq_ignore_ascii_case(&usual[at]),
                };
                // Another byte may make another name of it.
                let others = || NAMED.iter().map(|(other, _)| *other).filter(|other| *other != form);
                let is_other = |other: &str| {
                    let (name, behind) = bytes[3..].split_at(other.len());
                    behind.starts_with(b": ") && name.eq_ignore_ascii_case(other.as_bytes())
                };
                let other = if fits { None } else { others().find(|other| is_other(other)) };
                match (fits, other) {
                    (true, _) => {
                        assert_eq!(found(&bytes), Some((name, form.len())), "{}", bytes.escape_ascii())
                    }
                    (false, None) => assert_eq!(found(&bytes), None, "{}", bytes.escape_ascii()),
                    (false, Some(_)) => {}
                }
            }
        }
    }

    /// Whatever differs from a form in one byte is another name, letters' case aside.
    #[test]
    fn a_form_with_another_byte_is_another_name() {
        for (form, name) in NAMED {
            for (at, &was) in form.as_bytes().iter().enumerate() {
                for c in 0..=u8::MAX {
                    let mut text = form.as_bytes().to_vec();
                    text[at] = c;
                    let plain = |(other, _): &&(&str, _)| text.eq_ignore_ascii_case(other.as_bytes());
                    let wanted = NAMED.iter().find(plain).map_or(HeaderName::Other, |&(_, name)| name);
                    assert_eq!(HeaderName::from_bytes(&text), wanted, "{}", text.escape_ascii());
                    assert!(wanted == name || !c.eq_ignore_ascii_case(&was));
                }
            }
        }
    }

    /// RFC 3261 §7.3.3, and the extensions that registered a letter.
    #[test]
    fn compact_forms_are_the_registered_ones() {
        for (letters, long) in [
            ("aA", "Accept-Contact"),
            ("bB", "Referred-By"),
            ("cC", "Content-Type"),
            ("dD", "Request-Disposition"),
            ("eE", "Content-Encoding"),
            ("fF", "From"),
            ("iI", "Call-ID"),
            ("jJ", "Reject-Contact"),
            ("kK", "Supported"),
            ("lL", "Content-Length"),
            ("mM", "Contact"),
            ("nN", "Identity-Info"),
            ("oO", "Event"),
            ("rR", "Refer-To"),
            ("sS", "Subject"),
            ("tT", "To"),
            ("uU", "Allow-Events"),
            ("vV", "Via"),
            ("xX", "Session-Expires"),
            ("yY", "Identity"),
        ] {
            for letter in letters.chars() {
                let name = HeaderName::from_bytes(letter.to_string().as_bytes());
                assert_eq!(name, HeaderName::from_bytes(long.as_bytes()), "{letter}");
                assert_ne!(name, HeaderName::Other, "{letter}");
            }
        }
        for letter in "ghpqwzGHPQWZ0-\r".chars() {
            assert_eq!(HeaderName::from_bytes(letter.to_string().as_bytes()), HeaderName::Other);
        }
    }

    #[test]
    fn other_names_are_other() {
        // A CR is "-" with one bit less: letters are compared without case, other characters as they are.
        for name in [
            "",
            "Vi\u{0}",
            "\u{16}ia",
            "Call\rID",
            "Proxy-Authorizatio\u{ee}",
            "Call ID",
            "Via ",
            "Vias",
            "X-Header",
            "C%6Fntact",
            "v:",
            "To:",
            ":",
            "A-Name-Of-More-Than-Twenty",
        ] {
            assert_eq!(HeaderName::from_bytes(name.as_bytes()), HeaderName::Other, "{name}");
        }
    }
}
