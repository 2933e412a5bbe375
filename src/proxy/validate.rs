//! RFC 3261 §16.3: may the request pass? "Before an element can proxy a request, it MUST verify the
//! message's validity."

use sip_parser::{
    Error, HeaderName, Message, NameAddr, RequestLine, RequestValues, Rule, Scheme, Start, Uri, Via,
};

use crate::stream::Broken;
use crate::swar::is_same;
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
    /// The topmost Via's branch, if it begins with the magic cookie.
    branch: Option<&'m [u8]>,
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
        if message.count(HeaderName::Via) == 0 {
            return Err(Flaw::Missing(HeaderName::Via).into());
        }
        let via = sound(&values.via)?;
        let branch = via.branch().filter(|branch| has_cookie(branch));
        if branch.is_some_and(|branch| branch.len() == COOKIE.len()) {
            return Err(Flaw::EmptyBranch.into());
        }
        if !message.has_each_once(&ONCE) {
            return Err(not_once(message).into());
        }
        let (from, to) = (sound(&values.from)?, sound(&values.to)?);
        let cseq = message.cseq()?;
        let method = message.text(line.method);
        if !is_same(cseq.method, method) {
            return Err(Flaw::Method.into());
        }
        Ok(Self {
            message,
            incoming,
            method,
            kind: Method::of(method),
            uri: request_uri(message.text(line.uri), &values.uri)?,
            via,
            branch,
            from_tag: from.tag().unwrap_or_default(),
            to_tag: to.tag(),
            from,
            to,
            call_id: sound(&values.call_id)?,
            cseq: cseq.number,
            max_forwards: max_forwards(message)?,
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

    /// What tells its transaction from all others.
    pub fn transaction(&self) -> Transaction<'m> {
        match self.branch {
            Some(branch) => Transaction::Rfc3261 { branch, sent_by: self.via.sent_by() },
            None => Transaction::Rfc2543 {
                via: self.via.text,
                from_tag: self.from_tag,
                call_id: self.call_id,
                cseq: self.cseq,
                request_uri: self.uri.text(),
            },
        }
    }
}

#[inline(always)]
pub(super) fn has_cookie(branch: &[u8]) -> bool {
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
    let line = match message.start() {
        Start::Request(line) => line,
        Start::BadRequest(_, error) => return Err((*error).into()),
        Start::Response(_) | Start::BadResponse(_) => return Err(Flaw::Rule(Rule::NotSip).into()),
    };
    match message.defect() {
        Some(defect) => Err(defect.into()),
        None => Ok(line),
    }
}

#[inline(always)]
fn sound<T>(read: &Result<T, Error>) -> Result<&T, Flaw> {
    read.as_ref().map_err(|error| (*error).into())
}

/// "If the Request-URI has a URI whose scheme is not understood by the proxy, the proxy SHOULD reject the
/// request with a 416 (Unsupported URI Scheme) response."
#[inline(always)]
fn request_uri<'p, 'm>(text: &[u8], read: &'p Result<Uri<'m>, Error>) -> Result<&'p Uri<'m>, Reply> {
    if text.first() == Some(&b'<') {
        return Err(Flaw::Rule(Rule::RequestUriBrackets).into());
    }
    let uri = sound(read)?;
    match uri.scheme {
        Scheme::Other if emergency(uri).is_none() => Err(Reply::Scheme),
        _ if uri.headers().is_some() => Err(Flaw::Rule(Rule::UriHeaders).into()),
        _ => Ok(uri),
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

#[inline(always)]
fn max_forwards(message: &Message<'_>) -> Result<Option<u8>, Flaw> {
    if message.has_each_once(&[HeaderName::MaxForwards]) {
        return Ok(Some(sip_parser::max_forwards(message.value(HeaderName::MaxForwards))?));
    }
    match message.count(HeaderName::MaxForwards) {
        // "If the request does not contain a Max-Forwards header field, this check is passed."
        0 => Ok(None),
        _ => Err(Flaw::Repeated(HeaderName::MaxForwards)),
    }
}
