//! Nearly all requests that go on change in the same places: above their headers, behind the topmost Via and in Max-Forwards;
//! and within a dialog our Route values go, which are all there are. These are written from beginning to end as they stand; what
//! changes elsewhere, too, is written by a list of edits ([`super::forward`]), with the same bytes where both could write it.

use std::ops::Range;

use sip_parser::{HeaderName, Message};

use crate::rewrite::{Output, TooLarge, two_digits};

use super::decide::{Decided, Going};
use super::forward::may_have_what_is_not_allowed;
use super::via::Mark;

/// Where such a request changes, in order.
pub(super) struct Usual<'r> {
    /// Where its headers begin.
    top: usize,
    /// The topmost Via: nothing in it goes.
    mark: Mark<'r>,
    /// Where Max-Forwards has its two digits, and those that it gets.
    max_forwards: usize,
    digits: [u8; 2],
    /// The Route lines, which go; empty where there are none.
    cut: Range<usize>,
}

impl<'r> Usual<'r> {
    /// `None`: the request changes elsewhere, too, or in another order.
    #[inline(always)]
    pub fn of(going: &Going<'r, '_>) -> Option<Self> {
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
        let max_forwards = usize::from(value.start);
        let cut = match message.first(HeaderName::Route) {
            None => 0..0,
            Some(_) => routes(message).filter(|cut| pre.kept.is_empty() && mark.end() <= cut.start)?,
        };
        let is_in_order = (top..=max_forwards).contains(&mark.end());
        (is_in_order && mark.only_adds()).then_some(Self { top, mark, max_forwards, digits, cut })
    }

    /// Writes it into `out`, and by `lines` what stands above its headers; gives its length.
    #[inline(always)]
    pub fn write(
        &self,
        message: &Message<'_>,
        out: &mut [u8],
        lines: impl FnOnce(&mut Output<'_>),
    ) -> Result<usize, TooLarge> {
        let Self { top, mark, max_forwards, digits, cut } = self;
        let part = |from: usize, to: usize| message.bytes().get(from..to).unwrap_or_default();
        let mut out = Output::new(out);
        out.put_text(part(message.start_line().start.into(), *top));
        lines(&mut out);
        out.put_text(part(*top, mark.end()));
        mark.put_added(&mut out);
        let mut at = out.written() + (max_forwards - mark.end());
        if cut.is_empty() {
            out.put(part(mark.end(), message.end()));
        } else {
            at -= if cut.start < *max_forwards { cut.len() } else { 0 };
            out.put_text(part(mark.end(), cut.start));
            out.put(part(cut.end, message.end()));
        }
        out.overwrite(at, *digits);
        out.finish().ok_or(TooLarge)
    }
}

/// All Route lines; `None`: something stands between them.
#[inline(never)]
fn routes(message: &Message<'_>) -> Option<Range<usize>> {
    let mut lines = message.all(HeaderName::Route).map(|line| line.line.range());
    let first = lines.next()?;
    lines.try_fold(first, |all, line| (line.start == all.end).then_some(all.start..line.end))
}
