//! Which header lines have which names.

use crate::error::{Error, Rule};
use crate::header::{HeaderName, NAMES};
use crate::message::HeaderLine;
use crate::scalars;
use crate::span::Span;

use super::note;

/// No line of that name.
const NONE: u8 = u8::MAX;

/// Which names there are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names {
    /// Number of the first line of each name.
    first: [u8; NAMES],
    /// Bit n: several lines have the name n.
    several: u64,
    /// Number of the last line whose name another line has before it.
    last_again: u8,
}

impl Names {
    pub const NONE: Self = Self { first: [NONE; NAMES], several: 0, last_again: 0 };

    /// The line of this number, which comes behind those noted before, has this name.
    #[inline(always)]
    pub(super) fn note(&mut self, name: HeaderName, number: usize) {
        let first = &mut self.first[name as usize];
        if *first == NONE {
            *first = number as u8;
        } else {
            // Without a call, before which registers would have to be saved.
            self.several |= 1 << name as u64;
            self.last_again = number as u8;
        }
    }

    /// Number of the first line of this name; where there is none, more than lines can have.
    #[inline(always)]
    pub fn first(&self, name: HeaderName) -> usize {
        self.first[name as usize].into()
    }

    /// More than one line has it.
    #[inline(always)]
    pub fn has_several(&self, name: HeaderName) -> bool {
        self.several >> name as u64 & 1 != 0
    }

    /// Behind this number no line has a name that several have.
    #[inline(always)]
    pub fn end_of_several(&self) -> usize {
        usize::from(self.last_again) + 1
    }

    /// Several lines have one of them.
    #[inline(always)]
    pub fn has_any_again(&self, names: &[HeaderName]) -> bool {
        let all = names.iter().fold(0, |all, name| all | 1 << *name as u64);
        self.several & all != 0
    }

    /// Exactly one line has each of them.
    #[inline(always)]
    pub fn has_each_once(&self, names: &[HeaderName]) -> bool {
        !self.has_any_again(names) && names.iter().all(|name| self.first[*name as usize] != NONE)
    }

    /// Where the body ends.
    ///
    /// RFC 3261 §18.3: "If there are additional bytes in the transport packet beyond the end of the body,
    /// they MUST be discarded. If the transport packet ends before the end of the message body, this is
    /// considered an error." Without a Content-Length "the body […] extends to the end of the transport
    /// packet".
    #[inline(always)]
    pub(super) fn body(
        &self,
        bytes: &[u8],
        start: usize,
        lines: &[HeaderLine],
        defect: &mut Option<Error>,
    ) -> Span {
        let rest = Span::new(start, bytes.len());
        let Some(line) = lines.get(self.first(HeaderName::ContentLength)) else { return rest };
        if self.has_several(HeaderName::ContentLength) {
            note(defect, Rule::ContentLengthTwice, line.line.start.into());
            return rest;
        }
        let at = u32::from(line.value.start);
        match scalars::content_length_of(bytes, line.value) {
            Ok(length) if length <= bytes.len().wrapping_sub(start) as u64 => {
                return Span::new(start, start + length as usize);
            }
            Ok(_) => note(defect, Rule::BodyTooShort, at),
            Err(error) => note(defect, error.rule, at + error.at),
        }
        rest
    }
}
