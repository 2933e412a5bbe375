//! The requests to the next hops that follow the first one of a transaction.
//!
//! Of a request with several next hops that is kept which goes to all of them alike: all but our Record-Route and Via,
//! which are written anew for each. So neither rules nor routes, names or keys that change meanwhile change the request.

use std::ops::Range;

use sip_parser::{HeaderLine, HeaderName, NameAddr, parse};

use crate::egress::{Pin, Question, Recent};
use crate::net::{ListenerId, Now};
use crate::overload::Throttles;
use crate::rewrite::Output;
use crate::snapshot::Snapshot;
use crate::stream::{Names, Number};
use crate::token::{Dialog, TransactionKey};
use crate::transaction::{Attempt, Place, Terms};

use super::candidates::Candidates;
use super::decide::most_bytes;
use super::flows::Flows;
use super::lines::Top;
use super::names::Named;
use super::spare::Weight;
use super::state::Work;
use super::target::{Asked, Search};

/// What the branch to the next hop of this number is named by.
pub(super) const fn named(key: TransactionKey, number: u8) -> u64 {
    // Any odd number tells them apart. This one no next hop knows that got a single branch: from its name it cannot make
    // another one's, and say by ICMP that it did not arrive.
    let step = key.high() | 1;
    key.low().wrapping_add((number as u64).wrapping_mul(step))
}

/// Where our Record-Route and Via stand in a request that was written: behind the start line, our Via last.
pub(super) fn top_lines(written: &[u8]) -> Range<usize> {
    let mut ends = memchr::memchr_iter(b'\n', written).map(|at| at + 1);
    let start = ends.next().unwrap_or(written.len());
    let mut begin = start;
    for end in ends {
        if written[begin..end].starts_with(b"Via: ") {
            return start..end;
        }
        begin = end;
    }
    start..start
}

/// A branch's request that was written.
pub(super) struct Branch {
    /// The listener that it leaves from.
    pub on: ListenerId,
    /// Where it is sent from and to.
    pub place: Place,
    /// What names it.
    pub named: u64,
    /// In bytes.
    pub len: usize,
}

/// What [`write`] works with.
pub(super) struct Tools<'a> {
    pub snapshot: &'a Snapshot,
    pub lines: &'a mut [HeaderLine],
    pub recent: &'a mut Recent,
    pub candidates: &'a mut Candidates,
    pub servers: &'a mut Names,
    pub throttles: &'a Throttles,
    pub work: &'a mut Work,
    pub now: Now,
}

/// Writes the request to another next hop into `out`, made of what was kept; `None`: it cannot be sent.
///
/// The next hop and its listener were chosen with the request. Where that listener cannot send any more, another one is
/// chosen if no rule had named it.
pub(super) fn write(tools: Tools<'_>, attempt: &Attempt, kept: &[u8], out: &mut [u8]) -> Option<Branch> {
    let Tools { snapshot, lines, recent, candidates, servers, throttles, work, now } = tools;
    let Attempt { number, terms, back, key, onward, .. } = attempt;
    let key = TransactionKey(*key);
    let on = snapshot.view.by_identity(back.listener)?;
    let question = Question { next_hop: onward.next_hop, ingress: on, flow: key.low() };
    let mut search = Search {
        snapshot,
        recent,
        candidates,
        asked: &mut Asked { question, is_asked: false },
        draw: key.high(),
        last_resort: false,
        named: Named::default(),
        servers,
        sips: terms.sips,
        aim: None,
        nonce: work.nonce,
        client: None,
        rewritten: None,
        chosen: 0,
        throttles,
        weight: weight(throttles, terms, now),
        spared: 0,
    };
    choose(work, &mut search, attempt)?;
    let aim = search.aim.as_ref()?;
    let egress = snapshot.plan.listener(aim.egress.listener);
    let (_, sent, stream) = aim.sent();
    let sender = snapshot.plan.listener(sent.listener);
    let message = parse(kept, lines).ok()?;
    let from = NameAddr::parse(message.value(HeaderName::From)).ok()?;
    let ingress = snapshot.plan.listener(on);
    let flows = Flows::of(work, &message, (back.stream, aim.stream), || {
        [(ingress, &terms.source, back.stream), (egress, &aim.next_hop.address, aim.stream)]
    });
    let top = Top {
        ingress,
        source: &terms.source,
        egress,
        sender,
        next_hop: &aim.next_hop.address,
        record_route: terms.record_route,
        sips: terms.sips,
        owner: work.number,
        stateful: true,
        stateful_dialog: true,
        dialog: Dialog {
            signer: terms.signer,
            call_id: message.value(HeaderName::CallId),
            from_tag: from.tag().unwrap_or_default(),
        },
        response_to: &back.address,
        stream: back.stream,
        peer: work.mark_of(terms.source, back.stream),
        flows: flows.as_ref(),
        transaction: named(key, *number),
        mark: terms.mark,
    };
    let (start_line, rest) = kept.split_at_checked(top_lines(kept).start)?;
    let mut output = Output::new(out);
    output.put(start_line);
    top.put(&mut output, snapshot, &mut work.tops);
    output.put(rest);
    let len = output.finish().filter(|len| *len <= most_bytes(aim))?;
    let place = Place { listener: sender.identity, address: aim.next_hop.address, stream };
    Some(Branch { on: sender.id, place, named: named(key, *number), len })
}

/// What the request counts for, if some next hop asks to be sent less.
fn weight(throttles: &Throttles, terms: &Terms, now: Now) -> Option<Weight> {
    let weight = Weight { standing: terms.standing, is_bound: false, now, taken_by: None };
    (!throttles.is_quiet(now)).then_some(weight)
}

fn choose(work: &mut Work, search: &mut Search<'_>, attempt: &Attempt) -> Option<()> {
    let Attempt { onward, terms, .. } = attempt;
    let pin = Pin {
        next_hop: onward.next_hop,
        egress: onward.listener,
        signer: terms.signer,
        record_route: terms.record_route,
        set: false,
        by_message: onward.stream == Number::ANY,
    };
    if search.pinned(&pin).is_ok() {
        search.aim.iter_mut().for_each(|aim| aim.stream = onward.stream);
    } else {
        work.counted.egress_moved += 1;
        if !onward.is_free {
            return None;
        }
        search.automatic(onward.next_hop, onward.stream).ok()?;
    }
    let beside = search.aim.as_ref().filter(|_| onward.by_size).and_then(|aim| search.over_tcp(aim, None));
    search.aim.iter_mut().for_each(|aim| aim.by_size = beside);
    // The one before did not arrive: that this next hop takes it was found out then.
    let is_taken = attempt.is_again() || search.spare().is_ok();
    work.counted.spared += search.spared;
    is_taken.then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_are_the_lines_up_to_the_first_via() {
        let top = |text: &str| text[top_lines(text.as_bytes())].to_owned();
        assert_eq!(top("INVITE sip:b SIP/2.0\r\nVia: ours\r\nVia: theirs\r\n\r\n"), "Via: ours\r\n");
        let two = "Record-Route: <sip:one>\r\nRecord-Route: <sip:two>\r\nVia: ours\r\n";
        assert_eq!(top(&format!("INVITE sip:b SIP/2.0\r\n{two}Record-Route: x\r\nVia: theirs\r\n\r\n")), two);
        assert_eq!(top("INVITE sip:b SIP/2.0\r\n\r\n"), "");
        assert_eq!(top(""), "");
    }

    #[test]
    fn each_branch_has_a_name_of_its_own_and_the_first_the_transactions() {
        let key = TransactionKey(u128::MAX - 5);
        let names: std::collections::BTreeSet<u64> = (0..8).map(|number| named(key, number)).collect();
        assert_eq!((names.len(), named(key, 0)), (8, key.low()));
    }
}
