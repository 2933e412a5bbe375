//! Header names: the ones a proxy reads have a number, all others are `Other`.

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

/// Long forms by length; each row is short, so that a name is found by one or two comparisons.
const LONG: [&[(&[u8], HeaderName)]; 20] = [
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
    pub fn from_bytes(name: &[u8]) -> Self {
        if let [letter] = name {
            return Self::from_compact(*letter);
        }
        let row = LONG.get(name.len()).copied().unwrap_or(&[]);
        row.iter().find(|(long, _)| long.eq_ignore_ascii_case(name)).map_or(Self::Other, |&(_, n)| n)
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
    fn every_row_has_its_own_length() {
        for (len, row) in LONG.iter().enumerate() {
            assert!(row.iter().all(|(name, _)| name.len() == len), "row {len}");
        }
    }

    #[test]
    fn names_are_found_in_any_case_and_form() {
        for (text, name) in [
            ("VIA", HeaderName::Via),
            ("v", HeaderName::Via),
            ("Call-Id", HeaderName::CallId),
            ("I", HeaderName::CallId),
            ("CONTENT-length", HeaderName::ContentLength),
            ("Proxy-Authorization", HeaderName::ProxyAuthorization),
            ("X-Other", HeaderName::Other),
            ("z", HeaderName::Other),
            ("", HeaderName::Other),
        ] {
            assert_eq!(HeaderName::from_bytes(text.as_bytes()), name, "{text}");
        }
    }
}
