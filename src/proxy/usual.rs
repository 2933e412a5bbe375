//! Nearly all requests that go on change in the same places: above their headers, behind the topmost Via and in Max-Forwards;
//! and within a dialog our Route values go, which are all there are. These are written from beginning to end as they stand; what
//! changes elsewhere, too, is written by a list of edits ([`super::forward`]), with the same bytes where both could write it.

use std::ops::Range;

use sip_parser::{HeaderName, Message};

use crate::rewrite::{Output, copy_few, two_digits};
use crate::rules::Mode;
use crate::snapshot::Snapshot;
use crate::token::{Branch, Dialog};

use super::branches;
use super::decide::{Decided, Going};
use super::flows::Flows;
use super::forward::{self, Ours, is_sips, may_have_what_is_not_allowed};
use super::lines::{self, Own, VIA_END};
use super::oc;
use super::state::Work;
use super::tops::{Known, Sides, TOP_BYTES};
use super::validate::Request;
use super::via::{Mark, response_elsewhere};

/// Writes such a request into `out`; gives its length. `None`: it changes elsewhere, too, or in another order, or there may be too
/// little room for it.
///
/// A function of its own, whose values have all registers.
#[inline(never)]
pub(super) fn write(
    work: &mut Work,
    snapshot: &Snapshot,
    going: &Going<'_, '_>,
    out: &mut [u8],
) -> Option<usize> {
    let Decided { request, pre, way, .. } = going.decided;
    let message = request.message;
    let is_uri_changed = pre.replaced.is_some() || pre.maddr_stripped;
    if is_uri_changed || way.set.is_some() || going.breadth.is_some() {
        return None;
    }
    if may_have_what_is_not_allowed(request.uri) {
        return None;
    }
    let top = usize::from(message.lines().first()?.line.start);
    let value = message.first(HeaderName::MaxForwards)?.value;
    let digits = two_digits(request.max_forwards?.saturating_sub(1)).filter(|_| value.len() == 2)?;
    let mark = Mark::new(message.bytes(), request.via, &request.incoming.from);
    if !mark.only_adds() {
        return None;
    }
    let part = |from: usize, to: usize| message.bytes().get(from..to);
    let head = part(message.start_line().start.into(), top)?;
    let at = usize::from(value.start).checked_sub(mark.end())?;
    let cut = match message.first(HeaderName::Route) {
        None => None,
        Some(_) => Some(routes(message).filter(|cut| pre.kept.is_empty() && mark.end() <= cut.start)?),
    };
    let size = out.len();
    let out = put_few(out, head)?;
    let len = put_lines(work, snapshot, going, out)?;
    let out = put_few(out.get_mut(len..)?, part(top, mark.end())?)?;
    let len = mark.put_at(out.first_chunk_mut()?);
    let out = out.get_mut(len..)?;
    let left = match cut {
        None => put_rest(out, part(mark.end(), message.end())?, at, digits)?,
        Some(cut) => {
            let (before, behind) = (part(mark.end(), cut.start)?, part(cut.end, message.end())?);
            match at < before.len() {
                true => put_few(put_rest(out, before, at, digits)?, behind)?,
                false => put_rest(put_few(out, before)?, behind, at - before.len() - cut.len(), digits)?,
            }
        }
    };
    Some(size - left.len())
}

/// Writes a text of which there is little as a rule; gives what room is left.
#[inline(always)]
fn put_few<'o>(out: &'o mut [u8], text: &[u8]) -> Option<&'o mut [u8]> {
    let (room, left) = out.split_at_mut_checked(text.len())?;
    copy_few(room, text);
    Some(left)
}

/// Writes a text with these digits at `at`; gives what room is left.
#[inline(always)]
fn put_rest<'o>(out: &'o mut [u8], text: &[u8], at: usize, digits: [u8; 2]) -> Option<&'o mut [u8]> {
    let (room, left) = out.split_at_mut_checked(text.len())?;
    room.copy_from_slice(text);
    *room.get_mut(at..)?.first_chunk_mut()? = digits;
    Some(left)
}

/// Writes what stands above the headers as it is kept for its listeners; gives its length. `None`: it is not kept, or not all
/// there is.
///
/// A function of its own for the same reason as [`write`].
#[inline(never)]
fn put_lines(work: &mut Work, snapshot: &Snapshot, going: &Going<'_, '_>, out: &mut [u8]) -> Option<usize> {
    let Going { aim, decided, .. } = going;
    let Decided { request, .. } = decided;
    let (plan, incoming) = (&snapshot.plan, request.incoming);
    let ingress = plan.listener(incoming.on);
    let is_of_datagrams = !incoming.stream.is_stream() && !aim.stream.is_stream();
    if !is_of_datagrams && Flows::are_due((ingress, incoming.stream), aim.stream) {
        return None;
    }
    let (egress, next_hop) = (plan.listener(aim.egress.listener), &aim.next_hop.address);
    let sender = aim.sender(plan);
    if forward::lacks_content_length(going, sender) {
        return None;
    }
    let Ours { owner, peer, .. } = Ours::of(work, going);
    let (stateful, sips) = (going.mode == Mode::Stateful, is_sips(decided.pre, request.uri.scheme));
    let flags = lines::flags(stateful, going.record_route, sips, going.stateful_dialog);
    let sides =
        lines::sides([(ingress, &incoming.from), (egress, next_hop), (sender, next_hop)], owner, flags);
    let room: &mut [u8; TOP_BYTES] = out.first_chunk_mut()?;
    let known = match work.tops.get(snapshot.generation, sides) {
        Some(known) => known,
        None => keep(work, snapshot, going, sides),
    };
    let asks = oc::asks(snapshot, next_hop);
    let back = response_elsewhere(snapshot, request.via, &incoming.from, incoming.stream);
    let Request { call_id, from_tag, .. } = **request;
    let own = Own {
        branch: Branch {
            owner,
            stateful,
            peer,
            ingress: ingress.identity,
            connection: incoming.stream.to_bits(),
            transaction: branches::named(decided.key, 0),
        },
        response_to: back.as_ref().unwrap_or(&incoming.from),
        dialog: Dialog { signer: decided.way.signer, call_id, from_tag },
        mark: decided.mark,
    };
    let texts = own.texts(&snapshot.keys, &known.places);
    let len = known.copy_to(room)?;
    own.put(&texts, &known.places, room);
    if asks { put_asked(snapshot, going, (owner, peer), out, len) } else { Some(len) }
}

/// Keeps the lines of these sides.
#[cold]
#[inline(never)]
fn keep<'w>(work: &'w mut Work, snapshot: &Snapshot, going: &Going<'_, '_>, sides: Sides) -> &'w Known {
    let (ours, scheme) = (Ours::of(work, going), going.decided.request.uri.scheme);
    forward::with_top(&ours, snapshot, going, scheme, |top| top.keep(&mut work.tops, sides, snapshot))
}

/// Writes what the next hop is asked for, in place of the end of the lines, which have so many bytes.
#[cold]
#[inline(never)]
fn put_asked(
    snapshot: &Snapshot,
    going: &Going<'_, '_>,
    (owner, peer): (u16, u16),
    out: &mut [u8],
    len: usize,
) -> Option<usize> {
    let len = len - VIA_END.len();
    let mut out = Output::new(out.get_mut(len..)?);
    let (ours, scheme) = (Ours { owner, peer, flows: None }, going.decided.request.uri.scheme);
    forward::with_top(&ours, snapshot, going, scheme, |top| top.put_asked(&mut out, snapshot));
    out.finish().map(|more| len + more)
}

/// All Route lines; `None`: something stands between them.
#[inline(never)]
fn routes(message: &Message<'_>) -> Option<Range<usize>> {
    let mut lines = message.all(HeaderName::Route).map(|line| line.line.range());
    let first = lines.next()?;
    lines.try_fold(first, |all, line| (line.start == all.end).then_some(all.start..line.end))
}
