//! Which rule a message breaks, and where.

use std::fmt;

macro_rules! rules {
    ($($(#[doc = $doc:literal])+ $name:ident => $reason:literal,)+) => {
        /// A rule of the grammar that a message breaks.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        // With where it is, an error is eight bytes, which go in one register.
        #[repr(u32)]
        pub enum Rule { $($(#[doc = $doc])+ $name,)+ }

        impl Rule {
            /// A few words, fit for the reason phrase of a response.
            pub const fn reason(self) -> &'static str {
                match self { $(Self::$name => $reason,)+ }
            }
        }
    };
}

rules! {
    /// More than 65,535 bytes.
    MessageTooLarge => "Message Too Large",
    /// The first line is neither a Request-Line nor a Status-Line (RFC 3261 §7).
    NotSip => "Not SIP",
    /// The header section has no empty line at its end (RFC 3261 §7.3).
    NoEndOfHeaders => "Header Section Without End",
    /// More header lines than the caller has room for; none behind that place was looked at.
    TooManyHeaders => "Too Many Header Fields",
    /// A CR without LF, or an LF without CR, in the header section (RFC 3261 §7: lines end in CRLF).
    BareLineBreak => "Bare CR or LF in Header Section",
    /// A header line without a colon (RFC 3261 §7.3.1).
    NoColon => "Header Line Without Colon",
    /// A header name that is not a token (RFC 3261 §25.1).
    HeaderName => "Malformed Header Name",
    /// A method that is not a token.
    Method => "Malformed Method",
    /// A SIP version other than 2.0.
    Version => "Version Not Supported",
    /// White space other than one SP between the parts of a start line (RFC 3261 §7.1).
    StartLineSpace => "Malformed Start Line",
    /// A status code that is not three digits from 100 to 699 (RFC 3261 §7.2).
    StatusCode => "Malformed Status Code",
    /// A Request-URI in angle brackets or quotes (RFC 3261 §7.1).
    RequestUriBrackets => "Request-URI in Angle Brackets",
    /// A URI with header fields where none may stand (RFC 3261 §19.1.1, Table 1: Request-URI).
    UriHeaders => "Headers in Request-URI",
    /// A URI without scheme.
    UriScheme => "Malformed URI Scheme",
    /// White space or a control character in a URI.
    UriCharacter => "Illegal Character in URI",
    /// A user part that is empty before `@`, or an illegal character in it or in a password.
    UriUser => "Malformed URI User",
    /// A host that is neither a name nor an address (RFC 3261 §25.1: host).
    Host => "Malformed Host",
    /// An IPv6 address that is not in brackets (RFC 5118 §4.2), or brackets that do not close.
    Ipv6Reference => "Malformed IPv6 Reference",
    /// A port that is not a number from 1 to 65535.
    Port => "Malformed Port",
    /// A `%` that is not followed by two hexadecimal digits.
    Escape => "Malformed Escape",
    /// A parameter without name, or with `=` and no value (RFC 3261 §25.1: generic-param, uri-parameter).
    Parameter => "Malformed Parameter",
    /// A parameter that decides something stands twice (RFC 3261 §7.3.1, §19.1.1).
    ParameterTwice => "Repeated Parameter",
    /// A quoted string that does not end (RFC 3261 §25.1: quoted-string).
    Quote => "Unterminated Quoted String",
    /// An angle bracket that does not close, or that is missing where one has to be (RFC 3261 §20, §25.1).
    AngleBracket => "Unbalanced or Missing Angle Bracket",
    /// A display name without quotes that is not made of tokens.
    DisplayName => "Malformed Display Name",
    /// An empty value in a list, or an empty header that must have a value.
    EmptyValue => "Empty Header Value",
    /// A Via that is not `protocol sent-by` with parameters (RFC 3261 §20.42).
    Via => "Malformed Via",
    /// A CSeq that is not a number up to 2**31-1 and a method (RFC 3261 §8.1.1.5, §20.16).
    CSeq => "Malformed CSeq",
    /// A Max-Forwards that is not a number from 0 to 255 (RFC 3261 §20.22).
    MaxForwards => "Malformed Max-Forwards",
    /// A Content-Length that is not a number.
    ContentLength => "Malformed Content-Length",
    /// More than one Content-Length (RFC 4475 §3.3.9).
    ContentLengthTwice => "Multiple Content-Length",
    /// A body that is shorter than Content-Length says (RFC 3261 §18.3).
    BodyTooShort => "Body Shorter Than Content-Length",
    /// A Call-ID that is not one or two words around an `@` (RFC 3261 §20.8).
    CallId => "Malformed Call-ID",
    /// An Expires that is not a number (RFC 3261 §20.19).
    Expires => "Malformed Expires",
    /// An option tag that is not a token (RFC 3261 §20.32).
    OptionTag => "Malformed Option Tag",
}

/// A broken rule and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Error {
    /// Which rule.
    pub rule: Rule,
    /// Offset of the offending byte in what was parsed: in the message for [`crate::parse`] and for what a
    /// [`crate::Message`] returns, in the value for the functions that take a value alone.
    pub at: u32,
}

impl Error {
    pub(crate) const fn new(rule: Rule, at: usize) -> Self {
        Self { rule, at: at as u32 }
    }

    /// The same error seen from a text in which the parsed part begins at `offset`.
    pub(crate) const fn shifted(self, offset: usize) -> Self {
        Self { rule: self.rule, at: self.at + offset as u32 }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.rule.reason(), self.at)
    }
}

impl std::error::Error for Error {}
