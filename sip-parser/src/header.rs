//! Header names: the ones a proxy reads and those with a compact form have a number, all others are `Other`.

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

/// Long forms by length, in lower case.
static LONG: [&[(Packed, HeaderName)]; 20] = [
    &[],
    &[],
    &[(pack(b"to"), N::To)],
    &[(pack(b"via"), N::Via)],
    &[(pack(b"from"), N::From), (pack(b"cseq"), N::CSeq), (pack(b"date"), N::Date), (pack(b"path"), N::Path)],
    &[(pack(b"route"), N::Route), (pack(b"event"), N::Event)],
    &[],
    &[
        (pack(b"call-id"), N::CallId),
        (pack(b"contact"), N::Contact),
        (pack(b"require"), N::Require),
        (pack(b"expires"), N::Expires),
        (pack(b"subject"), N::Subject),
        (pack(b"warning"), N::Warning),
    ],
    &[(pack(b"refer-to"), N::ReferTo), (pack(b"identity"), N::Identity)],
    &[(pack(b"supported"), N::Supported), (pack(b"timestamp"), N::Timestamp)],
    &[],
    &[(pack(b"unsupported"), N::Unsupported), (pack(b"referred-by"), N::ReferredBy)],
    &[
        (pack(b"max-forwards"), N::MaxForwards),
        (pack(b"record-route"), N::RecordRoute),
        (pack(b"content-type"), N::ContentType),
        (pack(b"allow-events"), N::AllowEvents),
    ],
    &[
        (pack(b"proxy-require"), N::ProxyRequire),
        (pack(b"authorization"), N::Authorization),
        (pack(b"identity-info"), N::IdentityInfo),
    ],
    &[
        (pack(b"content-length"), N::ContentLength),
        (pack(b"accept-contact"), N::AcceptContact),
        (pack(b"reject-contact"), N::RejectContact),
    ],
    &[(pack(b"session-expires"), N::SessionExpires)],
    &[(pack(b"content-encoding"), N::ContentEncoding)],
    &[],
    &[],
    &[
        (pack(b"proxy-authorization"), N::ProxyAuthorization),
        (pack(b"request-disposition"), N::RequestDisposition),
    ],
];

/// Sixteen bytes and the next four of a name, in lower case.
type Packed = (u128, u32);

/// Sixteen bytes in lower case: what has the bit of letters gets the bit of small ones. Names are made of
/// letters and "-", and nothing else becomes either.
#[inline]
const fn lower(bytes: u128) -> u128 {
    bytes | (bytes & u128::from_le_bytes([0x40; 16])) >> 1
}

const fn pack(name: &[u8]) -> Packed {
    let (mut low, mut high) = ([0; 16], [0; 16]);
    let mut at = 0;
    while at < name.len() && at < 20 {
        if at < 16 {
            low[at] = name[at];
        } else {
            high[at - 16] = name[at];
        }
        at += 1;
    }
    (lower(u128::from_le_bytes(low)), lower(u128::from_le_bytes(high)) as u32)
}

/// The first bytes of sixteen: none, one, two …
static FIRST: [u128; 17] = {
    let mut masks = [0; 17];
    let mut len = 1;
    while len <= 16 {
        masks[len] = u128::MAX >> (128 - 8 * len);
        len += 1;
    }
    masks
};

/// The same of a name at the beginning of a longer text, for which one load is enough.
#[inline]
fn pack_from(text: &[u8], len: usize) -> Packed {
    match text.first_chunk() {
        Some(chunk) if len <= 16 => (lower(u128::from_le_bytes(*chunk) & FIRST[len]), 0),
        _ => pack(&text[..len]),
    }
}

impl HeaderName {
    /// The name as it is written, long or compact, in any case.
    pub fn from_bytes(name: &[u8]) -> Self {
        Self::at(name, name.len())
    }

    /// The name that the first `len` bytes of a text are.
    #[inline]
    pub(crate) fn at(text: &[u8], len: usize) -> Self {
        if len <= 1 {
            return text.get(..len).and_then(<[u8]>::first).map_or(Self::Other, |&c| Self::from_compact(c));
        }
        let Some(row) = LONG.get(len) else { return Self::Other };
        let packed = pack_from(text, len);
        row.iter().find(|(long, _)| *long == packed).map_or(Self::Other, |&(_, name)| name)
    }

    /// The compact forms of RFC 3261 §7.3.3 and of the extensions that registered one.
    const fn from_compact(letter: u8) -> Self {
        match letter.to_ascii_lowercase() {
            b'a' => Self::AcceptContact,
            b'b' => Self::ReferredBy,
            b'c' => Self::ContentType,
            b'd' => Self::RequestDisposition,
            b'e' => Self::ContentEncoding,
            b'f' => Self::From,
            b'i' => Self::CallId,
            b'j' => Self::RejectContact,
            b'k' => Self::Supported,
            b'l' => Self::ContentLength,
            b'm' => Self::Contact,
            b'n' => Self::IdentityInfo,
            b'o' => Self::Event,
            b'r' => Self::ReferTo,
            b's' => Self::Subject,
            b't' => Self::To,
            b'u' => Self::AllowEvents,
            b'v' => Self::Via,
            b'x' => Self::SessionExpires,
            b'y' => Self::Identity,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_long_form_is_found_in_any_case() {
        let mut found = 0;
        for (len, row) in LONG.iter().enumerate() {
            for ((low, high), name) in *row {
                let mut text = [low.to_le_bytes().as_slice(), &high.to_le_bytes()].concat();
                assert!(text[len..].iter().all(|&c| c == 0), "{name:?} stands in the wrong row");
                text.truncate(len);
                assert_eq!(HeaderName::from_bytes(&text), *name);
                text.make_ascii_uppercase();
                assert_eq!(HeaderName::from_bytes(&text), *name);
                text.extend(b": a value behind it");
                assert_eq!(HeaderName::at(&text, len), *name);
                found += 1;
            }
        }
        assert_eq!(found, NAMES - 1, "every name but Other has one long form");
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
            "A-Name-Of-More-Than-Twenty",
        ] {
            assert_eq!(HeaderName::from_bytes(name.as_bytes()), HeaderName::Other, "{name}");
        }
    }
}
