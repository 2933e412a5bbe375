//! RFC 3261 §16.3: may the request pass? "Before an element can proxy a request, it MUST verify the
//! message's validity."

use sip_parser::{
    Error, HeaderName, Message, NameAddr, RequestLine, RequestValues, Rule, Scheme, Span, Start, Uri, Via,
};

use crate::stream::Broken;
use crate::token::{COOKIE, Transaction};

use super::method::Method;
use super::outcome::Incoming;
use super::reply::Reply;
use super::service::emergency;

/// What is wrong with a request's form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// A rule of the grammar.
    Rule(Rule),
    /// A header that every request has is absent.
    Missing(HeaderName),
    /// A header with one value has several.
    Repeated(HeaderName),
    /// The method in CSeq is not the request's.
    Method,
    /// The branch is nothing but the magic cookie.
    EmptyBranch,
    /// Max-Breadth is no number, or there are several (RFC 5393 §5.3.1).
    Breadth,
    /// The stream that it came by cannot be read on.
    Stream(Broken),
}

impl Flaw {
    /// 400, 505 or 513.
    pub const fn status(self) -> u16 {
        match self {
            Self::Rule(Rule::Version) => 505,
            Self::Rule(Rule::TooManyHeaders | Rule::MessageTooLarge) => 513,
            Self::Stream(Broken::HeadersTooLarge | Broken::MessageTooLarge) => 513,
            _ => 400,
        }
    }

    /// As a reason phrase.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Rule(rule) => rule.reason(),
            Self::Missing(HeaderName::Via) => "Missing Via",
            Self::Missing(HeaderName::From) => "Missing From",
            Self::Missing(HeaderName::To) => "Missing To",
            Self::Missing(HeaderName::CallId) => "Missing Call-ID",
            Self::Missing(HeaderName::CSeq) => "Missing CSeq",
            Self::Missing(_) => "Missing Header Field",
            Self::Repeated(HeaderName::From) => "Multiple From",
            Self::Repeated(HeaderName::To) => "Multiple To",
            Self::Repeated(HeaderName::CallId) => "Multiple Call-ID",
            Self::Repeated(HeaderName::CSeq) => "Multiple CSeq",
            Self::Repeated(HeaderName::MaxForwards) => "Multiple Max-Forwards",
            Self::Repeated(_) => "Multiple Values",
            Self::Method => "Method In CSeq Differs",
            Self::EmptyBranch => "Empty Branch",
            Self::Breadth => "Bad Max-Breadth",
            Self::Stream(Broken::HeadersTooLarge) => "Header Section Too Large",
            Self::Stream(Broken::MessageTooLarge) => "Message Too Large",
            Self::Stream(Broken::NoContentLength) => "Missing Content-Length",
            Self::Stream(Broken::BadContentLength) => "Bad Content-Length",
            Self::Stream(Broken::LineBreaks) => "Bare Line Break",
        }
    }
}

impl From<Error> for Flaw {
    fn from(error: Error) -> Self {
        Self::Rule(error.rule)
    }
}

impl From<Flaw> for Reply {
    fn from(flaw: Flaw) -> Self {
        Self::Malformed(flaw)
    }
}

impl From<Error> for Reply {
    fn from(error: Error) -> Self {
        Self::Malformed(error.into())
    }
}

/// A request whose parts are sound as far as a proxy needs them. "Any other components, well-formed or
/// not, SHOULD be ignored and remain unchanged when the message is forwarded."
///
/// Values that are large are borrowed.
pub(super) struct Request<'m> {
    pub message: &'m Message<'m>,
    pub incoming: &'m Incoming<'m>,
    pub method: &'m [u8],
    /// What kind that is.
    pub kind: Method,
    pub uri: &'m Uri<'m>,
    pub via: &'m Via<'m>,
    pub from: &'m NameAddr<'m>,
    pub to: &'m NameAddr<'m>,
    /// Empty where there is none.
    pub from_tag: &'m [u8],
    pub to_tag: Option<&'m [u8]>,
    pub call_id: &'m [u8],
    pub cseq: u32,
    pub max_forwards: Option<u8>,
}

/// Headers of which a request has exactly one.
const ONCE: [HeaderName; 4] = [HeaderName::From, HeaderName::To, HeaderName::CallId, HeaderName::CSeq];

/// Headers that a request has once at most.
const ONCE_AT_MOST: [HeaderName; 5] =
    [HeaderName::From, HeaderName::To, HeaderName::CallId, HeaderName::CSeq, HeaderName::MaxForwards];

impl<'m> Request<'m> {
    /// "The request MUST be well-formed enough to be handled with a server transaction. Any components
    /// involved in the remainder of these Request Validation steps or the Request Forwarding section MUST
    /// be well-formed."
    ///
    /// Methods and headers that we do not know pass: "An element MUST NOT refuse to proxy a request
    /// because it contains a method or header field it does not know about."
    ///
    /// `line` is what [`request_line`] gives.
    #[inline(always)]
    pub fn of(
        message: &'m Message<'m>,
        incoming: &'m Incoming<'m>,
        line: &RequestLine,
        values: &'m RequestValues<'m>,
    ) -> Result<Self, Reply> {
        // One after the other: of a tuple of them the compiler would gather all flags before it asks the first.
        let Some(via) = &values.via else { return Err(flaw(message, line, values)) };
        let Some(uri) = &values.uri else { return Err(flaw(message, line, values)) };
        let Some(from) = &values.from else { return Err(flaw(message, line, values)) };
        let Some(to) = &values.to else { return Err(flaw(message, line, values)) };
        let Some(call_id) = values.call_id else { return Err(flaw(message, line, values)) };
        let Some(cseq) = values.cseq else { return Err(flaw(message, line, values)) };
        let Some(max_forwards) = values.max_forwards else { return Err(flaw(message, line, values)) };
        if is_only_cookie(values)
            || message.has_any_again(&ONCE_AT_MOST)
            || !cseq.has_its_method
            || !may_be_request_uri(uri)
        {
            return Err(flaw(message, line, values));
        }
        let method = message.text(line.method);
        Ok(Self {
            message,
            incoming,
            method,
            kind: Method::of(method),
            uri,
            via,
            from_tag: values.from_tag.unwrap_or_default(),
            to_tag: values.to_tag,
            from,
            to,
            call_id,
            cseq: cseq.number,
            max_forwards,
        })
    }

    /// ACK is never answered.
    pub fn is_ack(&self) -> bool {
        self.kind == Method::Ack
    }

    /// The method as rules see it: an ACK or a CANCEL goes the way of its INVITE.
    pub fn method_of_rules(&self) -> &'m [u8] {
        if self.kind.follows_invite() { b"INVITE" } else { self.method }
    }

    /// What tells its transaction from all others where [`modern_transaction`] does not.
    pub fn old_transaction(&self) -> Transaction<'m> {
        Transaction::Rfc2543 {
            via: self.via.text,
            from_tag: self.from_tag,
            call_id: self.call_id,
            cseq: self.cseq,
            request_uri: self.uri.text(),
        }
    }
}

/// What tells a request's transaction from all others, if the branch of its topmost Via begins with the magic cookie.
#[inline(always)]
pub(super) fn modern_transaction<'m>(via: &Via<'m>, branch: &'m [u8]) -> Option<Transaction<'m>> {
    has_cookie(branch).then(|| Transaction::Rfc3261 { branch, sent_by: via.sent_by() })
}

/// The topmost Via's branch is nothing but the magic cookie.
#[inline(always)]
fn is_only_cookie(values: &RequestValues<'_>) -> bool {
    values.branch.is_some_and(|branch| branch.len() == COOKIE.len() && has_cookie(branch))
}

#[inline(always)]
fn has_cookie(branch: &[u8]) -> bool {
    let begins = branch.first_chunk::<{ COOKIE.len() }>();
    begins.is_some_and(|begin| begin == COOKIE || begin.eq_ignore_ascii_case(COOKIE))
}

/// The Request-Line of a message that is a request as a whole.
#[inline(always)]
pub(super) fn request_line<'m>(
    message: &'m Message<'_>,
    incoming: &Incoming<'_>,
) -> Result<&'m RequestLine, Reply> {
    if let Some(broken) = incoming.broken {
        return Err(Flaw::Stream(broken).into());
    }
    match (message.start(), message.defect()) {
        (Start::Request(line), None) => Ok(line),
        (Start::Request(_), Some(defect)) => Err(defect.into()),
        (start, _) => Err(no_request_line(start).into()),
    }
}

#[cold]
fn no_request_line(start: &Start) -> Flaw {
    match start {
        Start::BadRequest(_, error) => (*error).into(),
        _ => Flaw::Rule(Rule::NotSip),
    }
}

/// "If the Request-URI has a URI whose scheme is not understood by the proxy, the proxy SHOULD reject the
/// request with a 416 (Unsupported URI Scheme) response."
#[inline(always)]
fn is_understood(uri: &Uri<'_>) -> bool {
    uri.scheme != Scheme::Other || emergency(uri).is_some()
}

#[inline(always)]
fn may_be_request_uri(uri: &Uri<'_>) -> bool {
    is_understood(uri) && uri.headers().is_none()
}

/// What is wrong with a request that is not sound as a whole.
#[cold]
#[inline(never)]
fn flaw(message: &Message<'_>, line: &RequestLine, values: &RequestValues<'_>) -> Reply {
    let found = first_flaw(message, line, values);
    // It asks again, in the order in which flaws are told, all that `Request::of` asks.
    debug_assert!(found.is_err(), "a request is refused that has no flaw");
    found.err().unwrap_or(Flaw::Missing(HeaderName::Other).into())
}

fn first_flaw(message: &Message<'_>, line: &RequestLine, values: &RequestValues<'_>) -> Result<(), Reply> {
    if message.first(HeaderName::Via).is_none() {
        return Err(Flaw::Missing(HeaderName::Via).into());
    }
    message.top_via()?;
    if is_only_cookie(values) {
        return Err(Flaw::EmptyBranch.into());
    }
    if !message.has_each_once(&ONCE) {
        return Err(not_once(message).into());
    }
    message.name_addr(HeaderName::From)?;
    message.name_addr(HeaderName::To)?;
    if message.cseq()?.method != message.text(line.method) {
        return Err(Flaw::Method.into());
    }
    check_uri(message, line.uri)?;
    sip_parser::call_id(message.value(HeaderName::CallId))?;
    match message.count(HeaderName::MaxForwards) {
        // "If the request does not contain a Max-Forwards header field, this check is passed."
        0 => Ok(()),
        1 => Ok(sip_parser::max_forwards(message.value(HeaderName::MaxForwards)).map(|_| ())?),
        _ => Err(Flaw::Repeated(HeaderName::MaxForwards).into()),
    }
}

fn check_uri(message: &Message<'_>, uri: Span) -> Result<(), Reply> {
    if message.text(uri).starts_with(b"<") {
        return Err(Flaw::Rule(Rule::RequestUriBrackets).into());
    }
    let uri = message.uri(uri)?;
    if !is_understood(&uri) {
        return Err(Reply::Scheme);
    }
    match uri.headers() {
        Some(_) => Err(Flaw::Rule(Rule::UriHeaders).into()),
        None => Ok(()),
    }
}

/// What is wrong where not each of them is there once.
#[cold]
fn not_once(message: &Message<'_>) -> Flaw {
    match ONCE.iter().find(|name| message.count(**name) != 1) {
        Some(&name) if message.count(name) > 0 => Flaw::Repeated(name),
        missing => Flaw::Missing(missing.copied().unwrap_or(HeaderName::Other)),
    }
}
