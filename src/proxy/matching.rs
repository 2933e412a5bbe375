//! Which rule a request goes by, and what that says of a dialog.

use std::net::IpAddr;

use sip_parser::Uri;

use crate::rules::{Action, Facts, Header, RuleId, Shown, plain_user};
use crate::snapshot::Snapshot;

use super::loops::Inputted;
use super::preprocess::Preprocessed;
use super::service::user_of_rules;
use super::state::Work;
use super::validate::Request;

/// The first rule that matches.
pub(super) fn first_match(
    work: &mut Work,
    snapshot: &Snapshot,
    request: &Request<'_>,
    pre: &Preprocessed<'_>,
    inputs: &Inputted,
) -> Option<RuleId> {
    let matcher = &snapshot.plan.matcher;
    let [ruri, from, to] = [pre.uri(request), &request.from.uri, &request.to.uri];
    let [ruri_read, from_read, to_read] = matcher.users_read();
    let [ruri_room, from_room, to_room] = &mut work.users;
    let ruri_user = if ruri_read { user_of_rules(ruri, ruri_room) } else { &[] };
    let from_user = if from_read { user(from, from_room) } else { &[] };
    let to_user = if to_read { user(to, to_room) } else { &[] };
    let source = request.incoming.from.ip();
    let uris = [ruri, from, to];
    let glance =
        Glance { source, uris, users: [ruri_user, from_user, to_user], has_headers: inputs.has_headers };
    let message = request.message;
    let values = |header: &Header, found: &mut dyn FnMut(&[u8]) -> bool| {
        message.named_as(header.known, header.name.as_bytes()).any(|line| found(message.text(line.value)))
    };
    let facts = || {
        let on = snapshot.plan.listener(request.incoming.on);
        Facts {
            method: request.method_of_rules(),
            transport: on.transport,
            listener: on.section,
            source,
            ruri_user,
            ruri_host: ruri.host_text(),
            from_user,
            from_host: from.host_text(),
            to_user,
            to_host: to.host_text(),
            header: if inputs.has_headers { Some(&values) } else { None },
        }
    };
    matcher.first_match(&glance, facts, &mut work.scratch)
}

/// What filters ask of a request.
struct Glance<'r> {
    source: IpAddr,
    /// Request-URI, From and To.
    uris: [&'r Uri<'r>; 3],
    users: [&'r [u8]; 3],
    has_headers: bool,
}

impl Shown for Glance<'_> {
    #[inline(always)]
    fn source(&self) -> IpAddr {
        self.source
    }

    #[inline(always)]
    fn host(&self, which: usize) -> &[u8] {
        self.uris[which % 3].host_text()
    }

    #[inline(always)]
    fn user(&self, which: usize) -> &[u8] {
        self.users[which % 3]
    }

    #[inline(always)]
    fn has_headers(&self) -> bool {
        self.has_headers
    }
}

/// The request is within a dialog that somebody has let in.
///
/// A token of ours proves it. Any request may have a To tag: without a token it shows no more than that, unless its rule
/// writes no Record-Route, so that the dialogs of that have none.
pub(super) fn proves_dialog(
    work: &mut Work,
    snapshot: &Snapshot,
    request: &Request<'_>,
    pre: &Preprocessed<'_>,
    inputs: &Inputted,
) -> bool {
    if request.to_tag.is_none() || pre.dialog.is_some() {
        return request.to_tag.is_some();
    }
    let rule = first_match(work, snapshot, request, pre, inputs);
    let rule = snapshot.plan.rule(rule);
    matches!(rule.map(|rule| &rule.action), Some(Action::Forward { record_route: false, .. }))
}

/// The user part as rules see it; empty where there is none.
#[inline(always)]
fn user<'u>(uri: &Uri<'u>, room: &'u mut [u8]) -> &'u [u8] {
    match uri.user() {
        Some(user) if uri.is_user_plain() => user,
        Some(user) => plain_user(user, room),
        None => &[],
    }
}
