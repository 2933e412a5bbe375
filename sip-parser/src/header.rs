//! Header names: the ones a proxy reads and those with a compact form have a number, all others are `Other`.

use crate::block::Block;
use crate::scan::near_colon;

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

/// The forms of the names that are looked for, in lower case.
const FORMS: [(&str, HeaderName); 54] = [
    ("via", N::Via),
    ("from", N::From),
    ("to", N::To),
    ("call-id", N::CallId),
    ("cseq", N::CSeq),
    ("max-forwards", N::MaxForwards),
    ("route", N::Route),
    ("record-route", N::RecordRoute),
    ("contact", N::Contact),
    ("content-length", N::ContentLength),
    ("content-type", N::ContentType),
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
    // Longer than a block: see `from_long`.
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
];

/// What sixteen bytes have to be that begin with a name and its colon: with the bits of `fold` set, they are
/// `text`. Letters are compared without case, all else as it is; what stands behind the colon does not count.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Form {
    fold: [u8; 16],
    text: [u8; 16],
    /// What it means; [`HeaderName::Other`]: no form stands here.
    name: HeaderName,
}

/// Every form in its place.
static PLACES: [Form; 128] = {
    // Bytes that have all bits set are no zeros.
    let mut forms = [Form { fold: [0xff; 16], text: [0; 16], name: N::Other }; 128];
    let mut number = 0;
    while number < FORMS.len() {
        let (form, name) = (FORMS[number].0.as_bytes(), FORMS[number].1);
        number += 1;
        if form.len() > 15 {
            continue;
        }
        let second = if form.len() > 1 { form[1] } else { b':' };
        let place = place([form[0], second], form.len());
        let slot = &mut forms[place];
        assert!(matches!(slot.name, N::Other), "two forms in one place");
        slot.name = name;
        let mut at = 0;
        while at < 16 {
            let c = if at < form.len() { form[at] } else { b':' };
            slot.fold[at] = if at > form.len() { u8::MAX } else { (c.is_ascii_alphabetic() as u8) << 5 };
            slot.text[at] = c | slot.fold[at];
            at += 1;
        }
    }
    forms
};

/// Where the form stands that begins with these bytes, the second of which may be the colon, and is so long:
/// a number for which no two forms share a place, found by trying.
#[inline(always)]
const fn place(first: [u8; 2], len: usize) -> usize {
    let letters = (u16::from_le_bytes(first) | 0x2020) as u32;
    ((letters | (len as u32) << 16).wrapping_mul(0x3ae6_af37) >> 25) as usize
}

impl HeaderName {
    /// The name as it is written, long or compact, in any case.
    pub fn from_bytes(name: &[u8]) -> Self {
        let mut text = [b':'; 16];
        match text[..15].get_mut(..name.len()) {
            Some(begin) => begin.copy_from_slice(name),
            None => return Self::from_long(name),
        }
        match near_colon(&text) {
            Some(len) if len == name.len() => Self::at(&text, len).unwrap_or(Self::Other),
            _ => Self::Other,
        }
    }

    /// The name that a line of these first bytes has, if its colon stands at `len`; `None`: another.
    #[inline(always)]
    pub(crate) fn at(line: &[u8; 16], len: usize) -> Option<Self> {
        let form = &PLACES[place([line[0], line[1]], len)];
        let folded = Block::of(line).or(Block::of(&form.fold));
        (folded.equal(Block::of(&form.text)).bits() == 0xffff).then_some(form.name)
    }

    #[cold]
    fn from_long(name: &[u8]) -> Self {
        let form = FORMS.iter().find(|(form, _)| form.as_bytes().eq_ignore_ascii_case(name));
        form.map_or(Self::Other, |&(_, name)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_found_in_any_case() {
        for (form, name) in FORMS {
            for text in [form.to_string(), form.to_ascii_uppercase(), form[..1].to_uppercase() + &form[1..]] {
                assert_eq!(HeaderName::from_bytes(text.as_bytes()), name, "{text}");
                let line = text + ": a value behind it";
                if form.len() < 16 {
                    let first = line.as_bytes().first_chunk().expect("sixteen bytes");
                    assert_eq!(HeaderName::at(first, form.len()), Some(name), "{line}");
                }
            }
        }
        let mut long: Vec<_> =
            FORMS.iter().filter(|(form, _)| form.len() > 1).map(|(_, name)| *name as u8).collect();
        long.sort_unstable();
        assert!(long.into_iter().eq(0..HeaderName::Other as u8), "every name but Other has one long form");
    }

    /// Whatever differs from a form in one byte is another name, letters' case aside.
    #[test]
    fn a_form_with_another_byte_is_another_name() {
        for (form, name) in FORMS {
            for (at, &was) in form.as_bytes().iter().enumerate() {
                for c in 0..=u8::MAX {
                    let mut text = form.as_bytes().to_vec();
                    text[at] = c;
                    let plain = |(other, _): &&(&str, _)| text.eq_ignore_ascii_case(other.as_bytes());
                    let wanted = FORMS.iter().find(plain).map_or(N::Other, |&(_, name)| name);
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
