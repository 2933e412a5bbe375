//! Header names: the ones a proxy reads and those with a compact form have a number, all others are `Other`.

use crate::block::{Plain, Set};
use crate::message::HeaderLine;
use crate::scan::FRAME;
use crate::span::Span;

/// Name of a header field (RFC 3261 §20 and the registered compact forms).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum HeaderName {
    Via,
    From,
    To,
    CallId,
    CSeq,
    MaxForwards,
    Route,
    RecordRoute,
    Contact,
    ContentLength,
    ContentType,
    ContentEncoding,
    Require,
    ProxyRequire,
    Supported,
    Unsupported,
    Expires,
    Subject,
    Timestamp,
    Event,
    AllowEvents,
    ReferTo,
    ReferredBy,
    SessionExpires,
    AcceptContact,
    RejectContact,
    RequestDisposition,
    Identity,
    IdentityInfo,
    Date,
    Path,
    Authorization,
    ProxyAuthorization,
    Warning,
    /// Any other name.
    Other,
}

/// How many names there are, `Other` included.
pub(crate) const NAMES: usize = HeaderName::Other as usize + 1;

use HeaderName as N;

/// The names that are looked for, in lower case. Of those that begin with the same three characters, the one that comes
/// most often is the first.
const NAMED: [(&str, HeaderName); 92] = [
    ("via", N::Via),
    ("from", N::From),
    ("to", N::To),
    ("call-id", N::CallId),
    ("cseq", N::CSeq),
    ("max-forwards", N::MaxForwards),
    ("route", N::Route),
    ("record-route", N::RecordRoute),
    ("content-length", N::ContentLength),
    ("contact", N::Contact),
    ("content-type", N::ContentType),
    ("allow", N::Other),
    ("user-agent", N::Other),
    ("require", N::Require),
    ("proxy-require", N::ProxyRequire),
    ("supported", N::Supported),
    ("unsupported", N::Unsupported),
    ("expires", N::Expires),
    ("subject", N::Subject),
    ("timestamp", N::Timestamp),
    ("event", N::Event),
    ("allow-events", N::AllowEvents),
    ("refer-to", N::ReferTo),
    ("referred-by", N::ReferredBy),
    ("session-expires", N::SessionExpires),
    ("accept-contact", N::AcceptContact),
    ("reject-contact", N::RejectContact),
    ("identity", N::Identity),
    ("identity-info", N::IdentityInfo),
    ("date", N::Date),
    ("path", N::Path),
    ("authorization", N::Authorization),
    ("warning", N::Warning),
    ("content-encoding", N::ContentEncoding),
    ("request-disposition", N::RequestDisposition),
    ("proxy-authorization", N::ProxyAuthorization),
    // The compact forms of RFC 3261 §7.3.3 and of the extensions that registered one.
    ("a", N::AcceptContact),
    ("b", N::ReferredBy),
    ("c", N::ContentType),
    ("d", N::RequestDisposition),
    ("e", N::ContentEncoding),
    ("f", N::From),
    ("i", N::CallId),
    ("j", N::RejectContact),
    ("k", N::Supported),
    ("l", N::ContentLength),
    ("m", N::Contact),
    ("n", N::IdentityInfo),
    ("o", N::Event),
    ("r", N::ReferTo),
    ("s", N::Subject),
    ("t", N::To),
    ("u", N::AllowEvents),
    ("v", N::Via),
    ("x", N::SessionExpires),
    ("y", N::Identity),
    // Without a number, but known to be tokens, so that their lines are read like the others.
    ("accept", N::Other),
    ("accept-encoding", N::Other),
    ("accept-language", N::Other),
    ("alert-info", N::Other),
    ("call-info", N::Other),
    ("content-disposition", N::Other),
    ("diversion", N::Other),
    ("geolocation", N::Other),
    ("history-info", N::Other),
    ("in-reply-to", N::Other),
    ("join", N::Other),
    ("max-breadth", N::Other),
    ("mime-version", N::Other),
    ("min-expires", N::Other),
    ("min-se", N::Other),
    ("organization", N::Other),
    ("p-access-network-info", N::Other),
    ("p-asserted-identity", N::Other),
    ("p-charging-vector", N::Other),
    ("p-early-media", N::Other),
    ("p-preferred-identity", N::Other),
    ("privacy", N::Other),
    ("priority", N::Other),
    ("proxy-authenticate", N::Other),
    ("rack", N::Other),
    ("reason", N::Other),
    ("remote-party-id", N::Other),
    ("replaces", N::Other),
    ("reply-to", N::Other),
    ("retry-after", N::Other),
    ("rseq", N::Other),
    ("server", N::Other),
    ("service-route", N::Other),
    ("subscription-state", N::Other),
    ("user-to-user", N::Other),
    ("www-authenticate", N::Other),
];

/// Longest name of these.
const MAX_NAME: usize = 26;

/// What the bytes are where a line begins with a name, from the one before its line break on: [`FRAME`] of them,
/// with a name of [`MAX_NAME`]. In a line that is written as nearly all are, one space stands before the value, and
/// neither it nor the value before ends or begins with white space.
///
/// With the bits of `fold` set, none of them greater than in `most`, they are `text`: letters are compared without
/// case, the value's first byte and the last one of the line before have to be visible, all else is as it is.
#[derive(Clone, Copy)]
#[repr(C, align(128))]
pub(crate) struct Form {
    fold: [u8; FRAME],
    most: [u8; FRAME],
    text: [u8; FRAME],
    /// Such a line, with what is to be added to its places: see [`Set::place`].
    line: HeaderLine,
    /// From the byte before the line break to the one before the value; 0: no form stands here.
    len: u8,
    /// Where the next one stands that begins alike; 0: there is none.
    next: u8,
}

/// Every form in its place.
static PLACES: [Form; 256] = {
    let mut places = [Form::NONE; 256];
    let mut first = [false; NAMED.len()];
    let mut number = 0;
    while number < NAMED.len() {
        let (name, means) = NAMED[number];
        let slot = &mut places[place_of(name.as_bytes())];
        if slot.len == 0 {
            *slot = Form::new(name.as_bytes(), means);
            first[number] = true;
        }
        number += 1;
    }
    let (mut number, mut free) = (0, 1);
    while number < NAMED.len() {
        let (name, means) = NAMED[number];
        if !first[number] {
            while places[free].len > 0 {
                free += 1;
            }
            let mut last = place_of(name.as_bytes());
            while places[last].next > 0 {
                last = places[last].next as usize;
            }
            places[last].next = free as u8;
            places[free] = Form::new(name.as_bytes(), means);
        }
        number += 1;
    }
    places
};

/// Where the first form stands that begins with these three bytes; the fourth does not count. The number was found by
/// trying: of those that begin differently, no two share a place.
#[inline(always)]
const fn place(first: [u8; 4]) -> usize {
    ((u32::from_le_bytes(first) | 0x20_2020).wrapping_mul(0xef87_bf00) >> 24) as usize
}

const fn place_of(name: &[u8]) -> usize {
    let mut first = [0; 4];
    let mut at = 0;
    while at < 3 {
        first[at] = if at < name.len() { name[at] } else { b": "[at - name.len()] };
        at += 1;
    }
    place(first)
}

impl Form {
    /// Fits nothing: a byte that is at most 0 is not 1.
    const NONE: Self = Self {
        fold: [0; FRAME],
        most: [0; FRAME],
        text: [1; FRAME],
        line: HeaderLine::EMPTY,
        len: 0,
        next: 0,
    };

    const fn new(name: &[u8], means: HeaderName) -> Self {
        assert!(!name.is_empty() && name.len() <= MAX_NAME);
        let any = [u8::MAX; FRAME];
        // CR and LF stand behind the last byte of either value, a colon and a space behind the name.
        let key_len = name.len() as u16;
        let (line, value) = (Span { start: 3, end: 3 }, Span { start: key_len + 5, end: 1 });
        let line = HeaderLine { line, value, key_len, name: means, ..HeaderLine::EMPTY };
        let mut form = Self { fold: any, most: any, text: any, line, len: name.len() as u8 + 4, next: 0 };
        let mut at = 0;
        while at < name.len() + 6 {
            let (fold, most, text) = match at.checked_sub(3) {
                None if at > 0 => (0, u8::MAX, b"\r\n"[at - 1]),
                Some(at) if at < name.len() => {
                    ((name[at].is_ascii_alphabetic() as u8) << 5, u8::MAX, name[at])
                }
                Some(at) if at < name.len() + 2 => (0, u8::MAX, b": "[at - name.len()]),
                // Visible.
                _ => (0, b' ' + 1, b' ' + 1),
            };
            (form.fold[at], form.most[at], form.text[at]) = (fold, most, text);
            at += 1;
        }
        form
    }

    /// As [`Form::of`], where nearly always a Via stands.
    #[inline(always)]
    pub fn of_first<S: Set>(bytes: &[u8; FRAME]) -> Option<&'static Self> {
        const VIA: usize = place_of(b"via");
        let via = &PLACES[VIA];
        if S::fits(bytes, &via.fold, &via.most, &via.text) { Some(via) } else { Self::of_any(bytes) }
    }

    /// As [`Form::of`], where it is not asked often.
    #[inline(never)]
    pub fn of_any(bytes: &[u8; FRAME]) -> Option<&'static Self> {
        Self::of::<Plain>(bytes)
    }

    /// The one that these bytes have, which begin with the last one of the line before.
    #[inline(always)]
    pub fn of<S: Set>(bytes: &[u8; FRAME]) -> Option<&'static Self> {
        let mut form = &PLACES[place([bytes[3], bytes[4], bytes[5], bytes[6]])];
        if S::fits(bytes, &form.fold, &form.most, &form.text) {
            return Some(form);
        }
        while form.next > 0 {
            form = &PLACES[usize::from(form.next)];
            if S::fits(bytes, &form.fold, &form.most, &form.text) {
                return Some(form);
            }
        }
        None
    }

    /// Length of the name and its colon.
    #[inline(always)]
    pub fn len(&self) -> usize {
        usize::from(self.line.key_len) + 1
    }

    /// Where the space before the value stands, where `before` is the byte before the line break.
    #[inline(always)]
    pub fn space(&self, before: u32) -> u32 {
        before + u32::from(self.len)
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

impl HeaderName {
    /// The name as it is written, long or compact, in any case.
    pub fn from_bytes(name: &[u8]) -> Self {
        let mut line = [b'x'; FRAME];
        line[1..3].copy_from_slice(b"\r\n");
        let Some(rest) = line[3..].get_mut(..name.len() + 2).filter(|_| name.len() <= MAX_NAME) else {
            return Self::Other;
        };
        rest[..name.len()].copy_from_slice(name);
        rest[name.len()..].copy_from_slice(b": ");
        let form = Form::of::<Plain>(&line).filter(|form| usize::from(form.line.key_len) == name.len());
        form.map_or(Self::Other, Form::name)
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
        let with_all = block::widely(Of(bytes)).map(found);
        assert_eq!(Form::of::<Plain>(bytes).map(found), with_all, "{}", bytes.escape_ascii());
        with_all
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
        long.retain(|name| *name != N::Other as u8);
        assert!(long.into_iter().eq(0..N::Other as u8), "every name but Other has one long form");
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
                    let wanted = NAMED.iter().find(plain).map_or(N::Other, |&(_, name)| name);
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
