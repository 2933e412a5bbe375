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

/// Long forms by length. Names of one length differ in their first letter but for five, so that a name is
/// found by one comparison, and most other names by none.
static LONG: [&[(&[u8], HeaderName)]; 20] = [
    &[],
    &[],
    &[(b"to", N::To)],
    &[(b"via", N::Via)],
    &[(b"from", N::From), (b"cseq", N::CSeq), (b"date", N::Date), (b"path", N::Path)],
    &[(b"route", N::Route), (b"event", N::Event)],
    &[],
    &[
        (b"call-id", N::CallId),
        (b"contact", N::Contact),
        (b"require", N::Require),
        (b"expires", N::Expires),
        (b"subject", N::Subject),
        (b"warning", N::Warning),
    ],
    &[(b"refer-to", N::ReferTo), (b"identity", N::Identity)],
    &[(b"supported", N::Supported), (b"timestamp", N::Timestamp)],
    &[],
    &[(b"unsupported", N::Unsupported), (b"referred-by", N::ReferredBy)],
    &[
        (b"max-forwards", N::MaxForwards),
        (b"record-route", N::RecordRoute),
        (b"content-type", N::ContentType),
        (b"allow-events", N::AllowEvents),
    ],
    &[
        (b"proxy-require", N::ProxyRequire),
        (b"authorization", N::Authorization),
        (b"identity-info", N::IdentityInfo),
    ],
    &[
        (b"content-length", N::ContentLength),
        (b"accept-contact", N::AcceptContact),
        (b"reject-contact", N::RejectContact),
    ],
    &[(b"session-expires", N::SessionExpires)],
    &[(b"content-encoding", N::ContentEncoding)],
    &[],
    &[],
    &[(b"proxy-authorization", N::ProxyAuthorization), (b"request-disposition", N::RequestDisposition)],
];

impl HeaderName {
    /// The name as it is written, long or compact, in any case.
    #[inline]
    pub fn from_bytes(name: &[u8]) -> Self {
        let first = match name {
            [] => return Self::Other,
            [letter] => return Self::from_compact(*letter),
            [first, ..] => first.to_ascii_lowercase(),
        };
        let row = LONG.get(name.len()).copied().unwrap_or(&[]);
        row.iter()
            .find(|(long, _)| long.first() == Some(&first) && long.eq_ignore_ascii_case(name))
            .map_or(Self::Other, |&(_, number)| number)
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
            for (long, name) in *row {
                assert_eq!(long.len(), len, "{name:?} stands in the wrong row");
                assert_eq!(HeaderName::from_bytes(long), *name);
                assert_eq!(HeaderName::from_bytes(&long.to_ascii_uppercase()), *name);
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
        for name in ["", "Vi\u{0}", "Call\rID", "Call ID", "Via ", "Vias", "X-Header", "C%6Fntact"] {
            assert_eq!(HeaderName::from_bytes(name.as_bytes()), HeaderName::Other, "{name}");
        }
    }
}
