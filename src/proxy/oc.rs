//! RFC 7339: what is written into the Via of a neighbour that takes part in overload control.
//!
//! Its request offers `oc` without a value. §5.6: "a SIP proxy SHOULD strip the overload control parameters inserted by
//! the client before proxying the request further downstream." They go on as they came, because nothing else keeps the
//! offer until the answer comes back; whoever is behind looks at the topmost Via, which is ours.

use std::ops::Range;

use sip_parser::Via;

use crate::overload::Feedback;
use crate::rewrite::{Edits, Output};

use super::forward::New;
use super::via::range_in;

/// A neighbour's offer, in the topmost Via of what it gets.
pub(super) struct Offer {
    /// What it wrote, and what somebody behind may have written in its place.
    pub stale: [Option<Range<usize>>; 4],
    /// Where the Via ends.
    pub end: usize,
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
        let list =
            algorithms.strip_prefix(b"\"").and_then(|list| list.strip_suffix(b"\"")).unwrap_or(algorithms);
        if !list.split(|&c| c == b',').any(|name| name.trim_ascii().eq_ignore_ascii_case(b"loss")) {
            return None;
        }
        let names: [&[u8]; 4] = [b"oc", b"oc-algo", b"oc-validity", b"oc-seq"];
        let stale = names.map(|name| range_in(bytes, via.param(name)?.with_semicolon));
        Some(Self { stale, end: range_in(bytes, via.text)?.end })
    }

    /// Puts our value in its place.
    pub fn edit(&self, edits: &mut Edits<New>) {
        self.stale.iter().flatten().for_each(|stale| edits.delete(stale.clone()));
        edits.insert(self.end, New::Feedback);
    }
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
