//! Decisions that were made before (RFC 3261 §16.11): what belongs to a transaction goes its way, whatever has changed.

use crate::egress::{NoEgress, Pin, PinKind};
use crate::net::Now;
use crate::rules::{Attempts, Mode};
use crate::snapshot::Snapshot;
use crate::stream::Number;
use crate::token::TransactionKey;

use super::decide::{Decided, Going, Way};
use super::loops;
use super::method::Method;
use super::reply::Reply;
use super::state::Work;
use super::target::Search;
use super::validate::Request;

/// The earlier decision about this transaction, if there is one and its listener can still send, and whether its rule
/// changed it. Where only the kernel knows whether it can, the request does not go another way meanwhile.
#[inline(always)]
pub(super) fn way<'s>(
    work: &mut Work,
    search: &mut Search<'s>,
    key: TransactionKey,
    now: Now,
) -> Result<Option<(Way<'s>, bool)>, Reply> {
    let Some(pin) = work.pins.get(key, now) else { return Ok(None) };
    match search.pinned(&pin) {
        Ok(()) => {
            work.counted.pin_hits += 1;
            let (signer, records, mode) = (pin.signer, pin.record_route, Mode::Stateless);
            let attempts = &Attempts::DEFAULT;
            let way = Way { rule: None, set: None, signer, records, mode, attempts, egress: None };
            Ok(Some((way, pin.set)))
        }
        Err(why @ NoEgress::AskKernel(_)) => Err(Reply::NoEgress(pin.next_hop, why)),
        Err(_) => {
            work.counted.egress_moved += 1;
            Ok(None)
        }
    }
}

/// The same by what pins were bound to before a reload had rules read From and To, or no longer do.
#[cold]
#[inline(never)]
pub(super) fn way_otherwise<'s>(
    work: &mut Work,
    search: &mut Search<'s>,
    request: &Request<'_>,
    key: TransactionKey,
    now: Now,
) -> Result<Option<(Way<'s>, bool)>, Reply> {
    let bound = loops::transaction_otherwise(&work.secret, search.snapshot, request);
    way(work, search, key.bound_to(bound), now)
}

/// Remembers a decision. An ACK or a CANCEL ends what its INVITE began and begins nothing.
pub(super) fn put(
    work: &mut Work,
    snapshot: &Snapshot,
    going: &Going<'_, '_>,
    key: TransactionKey,
    now: Now,
) {
    let Decided { request, way, .. } = going.decided;
    let kind = match request.kind {
        Method::Ack | Method::Cancel => return,
        Method::Invite => PinKind::Invite,
        _ => PinKind::Other,
    };
    let pin = || Pin {
        next_hop: going.aim.next_hop,
        egress: snapshot.plan.listener(going.aim.egress.listener).identity,
        signer: way.signer,
        record_route: way.records,
        set: way.set.is_some(),
        by_message: going.aim.stream == Number::ANY,
    };
    work.pins.put(key, kind, pin, now);
}
