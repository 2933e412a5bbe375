//! RFC 7339: overload control between neighbours, in their Vias. [`Offer`]: what those are told that send to us;
//! [`hear`]: what those ask for that we send to.
//!
//! Its request offers `oc` without a value. §5.6: "a SIP proxy SHOULD strip the overload control parameters inserted by
//! the client before proxying the request further downstream." They go on as they came, because nothing else keeps the
//! offer until the answer comes back; whoever is behind looks at the topmost Via, which is ours.

use std::net::SocketAddr;
use std::ops::Range;

use sip_parser::{Message, Param, Via};

use crate::net::Now;
use crate::overload::{Feedback, Measure, Plea, Throttles};
use crate::rewrite::{Edits, Output};
use crate::snapshot::Snapshot;
use crate::token::{ASKED_LEN, Asked, Branch};

use super::forward::New;
use super::outcome::Incoming;
use super::via::range_in;

/// A neighbour's offer, in the topmost Via of what it gets.
pub(super) struct Offer {
    /// Where the Via ends.
    end: usize,
}

impl Offer {
    /// `None`: it takes no part, or not by the algorithm that we have.
    ///
    /// §4.2: "A SIP client MUST support the loss-based overload control scheme and MUST insert at least the token
    /// "loss" as one of the "oc-algo" parameter values."
    #[cold]
    pub fn of(bytes: &[u8], via: &Via<'_>) -> Option<Self> {
        via.param(b"oc")?;
        let algorithms = via.params().value(b"oc-algo")?;
        let list = unquoted(algorithms);
        if !list.split(|&c| c == b',').any(|name| name.trim_ascii().eq_ignore_ascii_case(b"loss")) {
            return None;
        }
        Some(Self { end: range_in(bytes, via.text)?.end })
    }

    /// Puts our value where the Via ends; [`strip`] takes out what stands there.
    pub fn edit(&self, edits: &mut Edits<New>) {
        edits.insert(self.end, New::Feedback);
    }
}

/// What a neighbour wrote that our own answer tells it in place of.
pub(super) fn stale(bytes: &[u8], via: &Via<'_>) -> [Option<Range<usize>>; 4] {
    let names: [&[u8]; 4] = [b"oc", b"oc-algo", b"oc-validity", b"oc-seq"];
    names.map(|name| range_in(bytes, via.param(name)?.with_semicolon))
}

/// Writes the parameters. §5.1: "It MUST put the chosen algorithm as the sole parameter value in the "oc-algo" parameter of
/// the response"; "if the server is currently not in an overload condition, it MUST set the value of the "oc" parameter to
/// be 0 and MAY insert an "oc-validity=0" parameter in the response"; §4.4: "oc-seq" "MUST be inserted by the SIP server".
pub(super) fn put(out: &mut Output<'_>, feedback: Feedback) {
    let Feedback { percent, validity_ms, sequence: (seconds, fraction) } = feedback;
    out.put(b";oc=");
    out.put_number(percent.into());
    out.put(b";oc-algo=\"loss\";oc-validity=");
    out.put_number(validity_ms.into());
    out.put(b";oc-seq=");
    // 1*12DIGIT "." 1*5DIGIT
    out.put_number(seconds % 1_000_000_000_000);
    out.put(b".");
    (1..=4u32).filter(|digits| fraction < 10u32.pow(*digits)).for_each(|_| out.put(b"0"));
    out.put_number(fraction.into());
}

/// Takes out of a Via below ours what a next hop may have written there for whoever gets the answer.
///
/// §5.4: "A SIP client SHOULD remove the "oc", "oc-validity", and "oc-seq" parameters from all Via headers of a response
/// received, except for the topmost Via header. This prevents overload control parameters that were accidentally or
/// maliciously inserted into Via headers by a downstream SIP server from traveling upstream." An `oc` without a value is
/// the client's own, unless `is_told` says that our answer to it is put there. A name may stand there more than once.
#[cold]
pub(super) fn strip(bytes: &[u8], via: &Via<'_>, is_told: bool, edits: &mut Edits<New>) {
    let goes = |param: &Param<'_>| {
        let is = |name: &[u8]| param.name.eq_ignore_ascii_case(name);
        let is_offer = is(b"oc") && param.value.is_none() || is(b"oc-algo");
        is_offer && is_told || is(b"oc") && !is_offer || is(b"oc-validity") || is(b"oc-seq")
    };
    let written = via.params().iter().filter(goes);
    written.filter_map(|param| range_in(bytes, param.with_semicolon)).for_each(|range| edits.delete(range));
}

/// What our Via ends with towards a next hop that may ask to be sent less, behind the parameter that shows whom it was
/// sent to.
///
/// §4.1: "A SIP client MUST add an "oc" parameter to the topmost Via header it inserts into every SIP request. […] There MUST
/// NOT be a value associated with the parameter". §4.2: "the client may indicate algorithm preference by ordering the list
/// in a decreasing order of preference."
pub(super) fn put_offer(out: &mut Output<'_>, asked: &[u8; ASKED_LEN]) {
    out.put_all([ASKED, asked, b";oc;oc-algo=\"loss,rate\""]);
}

const ASKED: &[u8] = b";vn=";

/// The next hop at this address is asked whether it wants to be sent less.
#[inline(always)]
pub(super) fn asks(snapshot: &Snapshot, next_hop: &SocketAddr) -> bool {
    let peers = &snapshot.plan.overload.limits.peers;
    peers.has_oc() && peers.takes_oc(next_hop.ip())
}

/// Notes what a next hop asks for in an answer; `true`: it asks for something new.
///
/// Only who was asked is heard: its token is that of the address that the answer came from, and that is a peer's with
/// `oc`. A next hop that takes no part leaves `oc` without a value.
#[inline]
pub(super) fn hear(
    throttles: &Throttles,
    snapshot: &Snapshot,
    message: &Message<'_>,
    incoming: &Incoming<'_>,
    now: Now,
) -> bool {
    snapshot.plan.overload.limits.peers.has_oc()
        && plea(snapshot, message, incoming).is_some_and(|plea| throttles.hear(incoming.from, &plea, now))
}

fn plea(snapshot: &Snapshot, message: &Message<'_>, incoming: &Incoming<'_>) -> Option<Plea> {
    let via = message.top_via().ok()?;
    let plea = read(&via)?;
    let branch = Branch::unverified(via.branch()?)?;
    let asked = via.params().value(&ASKED[1..ASKED.len() - 1])?;
    let is_asked = snapshot.plan.overload.limits.peers.takes_oc(incoming.from.ip())
        && Asked::verify(&snapshot.keys, branch.transaction, incoming.from, asked);
    is_asked.then_some(plea)
}

/// What a topmost Via asks for; `None`: nothing that can be understood.
///
/// §4.3: "If the client receives a response with the "oc" and "oc-algo" parameters suitably filled in, but no "oc-validity"
/// parameter, the SIP client should behave as if it had received "oc-validity=500"."
fn read(via: &Via<'_>) -> Option<Plea> {
    let params = via.params();
    let value = number(params.value(b"oc")?)?;
    let measure = match params.value(b"oc-algo").map(unquoted) {
        Some(rate) if rate.eq_ignore_ascii_case(b"rate") => {
            Measure::Rate(u32::try_from(value).unwrap_or(u32::MAX))
        }
        // §7.1: "This value MUST be in the range of [0, 100], inclusive."
        Some(loss) if loss.eq_ignore_ascii_case(b"loss") => {
            Measure::Loss(u8::try_from(value).ok().filter(|percent| *percent <= 100)?)
        }
        // Still our whole list: it has chosen none.
        _ => return None,
    };
    let validity_ms = params.value(b"oc-validity").map_or(Some(USUAL_VALIDITY_MS), number)?;
    let sequence = match params.value(b"oc-seq") {
        Some(text) => Some(hundred_thousandths(text)?),
        None => None,
    };
    Some(Plea { measure, validity_ms: u32::try_from(validity_ms).unwrap_or(u32::MAX), sequence })
}

const USUAL_VALIDITY_MS: u64 = 500;

/// `1*12DIGIT "." 1*5DIGIT`
fn hundred_thousandths(text: &[u8]) -> Option<u64> {
    let dot = memchr::memchr(b'.', text).unwrap_or(text.len());
    let (whole, rest) = text.split_at_checked(dot)?;
    let fraction = rest.get(1..).unwrap_or_default();
    if whole.len() > 12 || fraction.len() > 5 {
        return None;
    }
    let mut padded = fraction.iter().copied().chain(std::iter::repeat(b'0')).take(5);
    padded.try_fold(number(whole)?, |sum, digit| Some(sum * 10 + number(&[digit])?))
}

/// Digits, and nothing else; more than can be counted is as many as can.
fn number(digits: &[u8]) -> Option<u64> {
    let add = |sum: u64, digit: &u8| {
        digit.is_ascii_digit().then(|| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
    };
    if digits.is_empty() { None } else { digits.iter().try_fold(0, add) }
}

fn unquoted(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\"").and_then(|list| list.strip_suffix(b"\"")).unwrap_or(text).trim_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plea(params: &str) -> Option<Plea> {
        read(&Via::parse(format!("SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1{params}").as_bytes()).unwrap())
    }

    #[test]
    fn what_a_next_hop_asks_for_is_read() {
        let loss =
            |percent, validity_ms, sequence| Plea { measure: Measure::Loss(percent), validity_ms, sequence };
        // RFC 7339 §6.
        let text = ";oc=20;oc-algo=\"loss\";oc-validity=500;oc-seq=1282321615.782";
        assert_eq!(plea(text), Some(loss(20, 500, Some(128_232_161_578_200))));
        let text = ";oc=0;oc-algo=\"loss\";oc-validity=0";
        assert_eq!(plea(text), Some(loss(0, 0, None)));
        // RFC 7415 §4.
        let text = ";oc=150;oc-algo=\"rate\";oc-validity=1000;oc-seq=1282321615.782";
        let rate =
            Plea { measure: Measure::Rate(150), validity_ms: 1_000, sequence: Some(128_232_161_578_200) };
        assert_eq!(plea(text), Some(rate));
        assert_eq!(plea(";OC=100;OC-ALGO=LOSS;oc-seq=7.00001"), Some(loss(100, 500, Some(700_001))));
        assert_eq!(
            plea(";oc=1;oc-algo=loss;oc-seq=7;oc-validity=99999999999"),
            Some(loss(1, u32::MAX, Some(700_000)))
        );
    }

    #[test]
    fn what_cannot_be_understood_asks_for_nothing() {
        for text in [
            "",
            ";oc;oc-algo=\"loss,rate\"",
            ";oc=20",
            ";oc=20;oc-algo=\"loss,rate\"",
            ";oc=20;oc-algo=\"other\"",
            ";oc=101;oc-algo=\"loss\"",
            ";oc=-1;oc-algo=\"loss\"",
            ";oc=20;oc-algo=\"loss\";oc-validity=x",
            ";oc=20;oc-algo=\"loss\";oc-seq=1.123456",
            ";oc=20;oc-algo=\"loss\";oc-seq=1234567890123.1",
            ";oc=20;oc-algo=\"loss\";oc-seq=.5",
            // "A SIP client MUST discard a non-zero value of the "oc-validity" parameter if the client receives it in a
            // response without the corresponding "oc" parameter" (§4.3).
            ";oc-algo=\"loss\";oc-validity=500",
        ] {
            assert_eq!(plea(text), None, "{text}");
        }
    }
}
