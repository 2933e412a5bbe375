//! `set`: the Request-URI that a rule makes of the received one, and the edits that change headers.
//!
//! What a rule changes belongs to the transaction: its CANCEL, the ACK for its non-2xx answer and its retransmissions
//! are changed alike. Requests within a dialog are not: their Request-URI is the remote target.

use std::ops::Range;

use sip_parser::{HeaderName, Message, NameAddr, Scheme, Uri};

use crate::rewrite::{Edits, Output};
use crate::rules::{
    Captured, Change, HeaderChange, Into, Parts, Set, UriChange, User, UserChange, plain_user, write_as_user,
};

use super::forward::{New, port_range};
use super::preprocess::{Preprocessed, transport_of};
use super::reply::Reply;
use super::service::user_of_rules;
use super::state::Work;
use super::validate::Request;
use super::via::range_in;

/// A text that `set` writes for one of its headers.
#[derive(Clone, Copy)]
pub(super) enum Part {
    /// A line of its own.
    Line,
    /// The value of a line that there is.
    Value,
    /// The display name in quotes, with the space behind it.
    Display,
    /// The user of the URI.
    User,
    /// Host and port of the URI.
    Host,
}

/// Keeps what the templates show of the request, and replaces its Request-URI by what the rule makes of it, which is
/// written into `room`.
///
/// # Errors
/// Nothing is left of the user, or what is left is too long.
#[cold]
pub(super) fn apply<'m>(
    work: &mut Work,
    set: &Set,
    request: &Request<'m>,
    pre: &mut Preprocessed<'m>,
    room: &'m mut [u8],
) -> Result<(), Reply> {
    let [ruri, from, to] = &mut work.users;
    let shown = |which, user: Option<&'m [u8]>| user.filter(|_| set.shows(which)).unwrap_or_default();
    let users = [
        if set.shows(User::Ruri) { user_of_rules(pre.uri(request), ruri) } else { &[] },
        plain_user(shown(User::From, request.from.uri.user()), from),
        plain_user(shown(User::To, request.to.uri.user()), to),
    ];
    work.scratch.capture(set, users);
    if set.changes_uri() && fits(&set.uri, pre.uri(request)) {
        let uri = request_uri(&set.uri, &work.scratch.captured, pre.uri(request), pre.maddr_stripped, room)?;
        pre.rewrite(uri);
    }
    Ok(())
}

/// The URN of a service has neither user nor host: only a new host, or a whole user, makes another URI of it.
fn fits(change: &UriChange, uri: &Uri<'_>) -> bool {
    let makes_another = change.host.is_some() || matches!(change.user, Some(UserChange::Whole(_)));
    uri.scheme != Scheme::Other || makes_another
}

/// Writes the Request-URI that becomes of this one, and reads it.
fn request_uri<'r>(
    change: &UriChange,
    captured: &Captured,
    uri: &Uri<'_>,
    without_maddr: bool,
    room: &'r mut [u8],
) -> Result<Uri<'r>, Reply> {
    let mut out = Output::new(room);
    let host = change.host.as_deref().map(str::as_bytes);
    // §19.1.6: "When a tel URL […] is converted to a SIP or SIPS URI, the entire telephone-subscriber portion of the tel
    // URL, including any parameters, is placed into the userinfo part of the SIP or SIPS URI."
    let (is_tel, is_sip) = (uri.scheme == Scheme::Tel, uri.is_sip() || host.is_some());
    match uri.scheme {
        Scheme::Sips => out.put(b"sips:"),
        _ if is_sip => out.put(b"sip:"),
        _ => out.put(b"tel:"),
    }
    let has_user = put_user(&mut out, change.user.as_ref(), captured, uri)?;
    let whole = matches!(change.user, Some(UserChange::Whole(_)));
    if is_tel && !whole {
        match is_sip {
            true => write_as_user(uri.params().text(), &mut |text| out.put_text(text)),
            false => out.put_text(uri.params().text()),
        }
    }
    if is_sip {
        if has_user {
            out.put(b"@");
        }
        put_host(&mut out, host, uri, without_maddr);
    }
    if is_tel && is_sip {
        out.put(b";user=phone");
    }
    let len = out.finish().ok_or(Reply::TooLarge)?;
    Ok(Uri::request(room.get(..len).unwrap_or_default())?)
}

/// Writes user and password; false: there are none.
fn put_user(
    out: &mut Output<'_>,
    change: Option<&UserChange>,
    captured: &Captured,
    uri: &Uri<'_>,
) -> Result<bool, Reply> {
    let old = match (change, uri.user()) {
        (Some(UserChange::Whole(template)), _) if template.is_empty(captured) => return Err(Reply::NoUser),
        (Some(UserChange::Whole(template)), _) => {
            template.write(captured, Into::User, &mut |text| out.put_text(text));
            return Ok(true);
        }
        (_, None) => return Ok(false),
        (Some(UserChange::Edges { strip, prefix }), Some(old)) => {
            let left = without_first(old, *strip).ok_or(Reply::NoUser)?;
            if prefix.is_empty() && matches!(left, [] | [b';', ..]) {
                return Err(Reply::NoUser);
            }
            out.put_text(prefix.as_bytes());
            left
        }
        (None, Some(old)) => old,
    };
    out.put_text(old);
    if let Some(password) = uri.password() {
        out.put(b":");
        out.put_text(password);
    }
    Ok(true)
}

/// The user without so many characters of its beginning; `None`: it has fewer before its parameters.
fn without_first(user: &[u8], count: u16) -> Option<&[u8]> {
    let mut rest = user;
    for _ in 0..count {
        rest = match rest {
            [] | [b';', ..] => return None,
            [b'%', _, _, behind @ ..] | [_, behind @ ..] => behind,
        };
    }
    Some(rest)
}

/// Writes the host, and the parameters that go with it. A `maddr` names a host that goes before the written one.
fn put_host(out: &mut Output<'_>, host: Option<&[u8]>, uri: &Uri<'_>, without_maddr: bool) {
    match host {
        Some(host) => out.put_text(host),
        None => {
            out.put_text(uri.host_text());
            let stays = |port: &u16| !without_maddr || *port == transport_of(uri).default_port();
            if let Some(port) = uri.port().filter(stays) {
                out.put(b":");
                out.put_number(u64::from(port));
            }
        }
    }
    if !uri.is_sip() {
        return;
    }
    for param in uri.params().iter() {
        let is = |name: &str| param.name.eq_ignore_ascii_case(name.as_bytes());
        let goes = is("method")
            || is("maddr") && (host.is_some() || without_maddr)
            || is("transport") && without_maddr;
        if !goes {
            out.put_text(param.with_semicolon);
        }
    }
}

/// Notes what has to change in the headers.
#[cold]
pub(super) fn edit(edits: &mut Edits<New>, message: &Message<'_>, set: &Set, captured: &Captured) {
    for (number, header) in (0..).zip(&set.headers) {
        edit_header(edits, message, number, header, captured);
    }
}

fn edit_header(
    edits: &mut Edits<New>,
    message: &Message<'_>,
    number: u8,
    header: &HeaderChange,
    captured: &Captured,
) {
    let known = header.header.known;
    let mut lines = message.named_as(known, header.header.name.as_bytes());
    // A request without an end of its headers has been refused.
    let end = message.lines().last().map_or(0, |line| usize::from(line.line.end));
    match &header.change {
        Change::Remove => {}
        Change::Is(value) if value.lacks(captured) => {}
        Change::Is(_) => match lines.next() {
            Some(first) => edits.replace(first.value.range(), New::Set(number, Part::Value)),
            None => edits.insert(end, New::Set(number, Part::Line)),
        },
        Change::Add(value) if value.lacks(captured) => return,
        Change::Add(_) => {
            let at = lines.next().map_or(end, |line| usize::from(line.line.start));
            return edits.insert(at, New::Set(number, Part::Line));
        }
        Change::Parts(parts) => {
            for line in lines {
                if matches!(known, HeaderName::From | HeaderName::To) {
                    edit_parts(edits, message, number, parts, captured, message.text(line.value));
                    continue;
                }
                for value in message.values_in(line).flatten() {
                    edit_parts(edits, message, number, parts, captured, value.text);
                }
            }
            return;
        }
    }
    lines.for_each(|line| edits.delete(line.line.range()));
}

/// Changes parts of one address; one that is none stays as it is.
fn edit_parts(
    edits: &mut Edits<New>,
    message: &Message<'_>,
    number: u8,
    parts: &Parts,
    captured: &Captured,
    value: &[u8],
) {
    let bytes = message.bytes();
    let Ok(address) = NameAddr::parse(value) else { return };
    let (Some(whole), Some(uri)) = (range_in(bytes, value), range_in(bytes, address.uri.text())) else {
        return;
    };
    if let Some(display) = &parts.display {
        let name = (!display.is_empty(captured)).then_some(New::Set(number, Part::Display));
        match (address.bracketed, name) {
            (true, Some(name)) => edits.replace(whole.start..uri.start.saturating_sub(1), name),
            (true, None) => edits.delete(whole.start..uri.start.saturating_sub(1)),
            (false, Some(name)) => {
                edits.insert(uri.start, name);
                edits.insert(uri.start, New::Text(b"<"));
                edits.insert(uri.end, New::Text(b">"));
            }
            (false, None) => {}
        }
    }
    if let Some(host) = range_in(bytes, address.uri.host_text()).filter(|_| address.uri.is_sip()) {
        edit_uri(edits, bytes, number, (parts, captured), &address.uri, host);
    }
}

/// Changes user and host of a SIP or SIPS URI.
fn edit_uri(
    edits: &mut Edits<New>,
    bytes: &[u8],
    number: u8,
    (parts, captured): (&Parts, &Captured),
    uri: &Uri<'_>,
    host: Range<usize>,
) {
    if parts.user.as_ref().is_some_and(|user| !user.is_empty(captured)) {
        let user = New::Set(number, Part::User);
        match uri.user().and_then(|user| range_in(bytes, user)) {
            Some(old) => {
                let password = uri.password().and_then(|password| range_in(bytes, password));
                edits.replace(old.start..password.unwrap_or(old).end, user);
            }
            None => {
                edits.insert(host.start, user);
                edits.insert(host.start, New::Text(b"@"));
            }
        }
    }
    if parts.host.is_some() {
        let end = port_range(bytes, uri).map_or(host.end, |port| port.end);
        edits.replace(host.start..end, New::Set(number, Part::Host));
    }
}

/// Writes a text of a header's change.
pub(super) fn put(out: &mut Output<'_>, set: &Set, captured: &Captured, number: u8, part: Part) {
    let Some(HeaderChange { name, change, .. }) = set.headers.get(usize::from(number)) else { return };
    let mut write = |texts: [&[u8]; 3], template: Option<&crate::rules::Template>, into| {
        let [before, between, behind] = texts;
        out.put_text(before);
        out.put_text(between);
        template.iter().for_each(|template| template.write(captured, into, &mut |text| out.put_text(text)));
        out.put_text(behind);
    };
    match (part, change) {
        (Part::Line, Change::Is(value) | Change::Add(value)) => {
            write([name.as_bytes(), b": ", b"\r\n"], Some(value), Into::Header);
        }
        (Part::Value, Change::Is(value)) => write([b"", b"", b""], Some(value), Into::Header),
        (Part::Display, Change::Parts(parts)) => {
            write([b"\"", b"", b"\" "], parts.display.as_ref(), Into::Quoted);
        }
        (Part::User, Change::Parts(parts)) => write([b"", b"", b""], parts.user.as_ref(), Into::User),
        (Part::Host, Change::Parts(parts)) => {
            write([parts.host.as_deref().unwrap_or_default().as_bytes(), b"", b""], None, Into::User);
        }
        _ => {}
    }
}
