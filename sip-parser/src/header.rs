//! Header names: the ones a proxy reads and those with a compact form have a number, all others are `Other`.

mod form;
mod names;

use crate::scan::FRAME;
pub(crate) use form::Form;
use form::MAX_NAME;

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
        let form = Form::of_any(&line).filter(|form| form.len() == name.len() + 1);
        form.map_or(Self::Other, Form::name)
    }
}
