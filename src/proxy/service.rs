//! Emergency services: a Request-URI without user and host that rules may route (RFC 5031).

use sip_parser::{Scheme, Uri};

use crate::limits::USER_BYTES;
use crate::rules::plain_user;

/// `urn:service:sos`, or a service below it (RFC 5031 §4.2).
const SOS: &[u8] = b"urn:service:sos";

/// The URN of an emergency service, as received; `None`: the URI is none.
#[inline]
pub(super) fn emergency<'m>(uri: &Uri<'m>) -> Option<&'m [u8]> {
    if uri.scheme == Scheme::Other { sos(uri.text()) } else { None }
}

#[cold]
fn sos(text: &[u8]) -> Option<&[u8]> {
    let (begin, below) = text.split_at_checked(SOS.len())?;
    let legal = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'.');
    let fits = text.len() <= USER_BYTES && matches!(below, [] | [b'.', _, ..]) && below.iter().all(legal);
    (fits && begin.eq_ignore_ascii_case(SOS)).then_some(text)
}

/// What rules see as the user of a Request-URI: see [`plain_user`]; of an emergency service the whole URN in lower case,
/// because URNs of services are compared without case (RFC 5031 §3). Empty where there is none.
#[inline(always)]
pub(super) fn user_of_rules<'b>(uri: &Uri<'b>, room: &'b mut [u8]) -> &'b [u8] {
    match uri.user() {
        Some(user) if uri.is_user_plain() => user,
        Some(user) => plain_user(user, room),
        None => emergency(uri).map_or(&[], |urn| lower_case(urn, room)),
    }
}

#[cold]
fn lower_case<'b>(urn: &'b [u8], room: &'b mut [u8]) -> &'b [u8] {
    let Some(lower) = room.get_mut(..urn.len()) else { return urn };
    lower.copy_from_slice(urn);
    lower.make_ascii_lowercase();
    lower
}
