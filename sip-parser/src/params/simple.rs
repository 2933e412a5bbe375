//! What most requests have of parameters, read within a window, which needs no look at where the message ends.

use super::{KNOWN, Places, RPORT};
use crate::block::Set;
use crate::scan::{Window, chunk};
use crate::span::Span;

impl Places {
    /// `user=phone`, as numbers have it, or none.
    #[inline(always)]
    pub fn user_phone(window: &Window, from: usize) -> Option<Self> {
        let mut end = from;
        if window.get(from) == Some(&b';') {
            end += 11;
            // In two parts that overlap.
            let is_phone =
                chunk(window, from as u32)? == b";user=ph" && chunk(window, from as u32 + 3)? == b"er=phone";
            if !is_phone || window.get(end) == Some(&b';') {
                return None;
            }
        }
        Some(Self { known: [Span::default(); KNOWN], all: Span::new(from, end) })
    }

    /// A plain branch of at most 64 characters, and perhaps an `rport` without value behind it, both in small letters, to the
    /// end of the text at `len`: what nearly every Via of a request has. And the branch.
    #[inline(always)]
    pub fn branch_and_rport<S: Set>(window: &Window, from: usize, len: usize) -> Option<(Self, &[u8])> {
        let value = from + 8;
        let first: &[u8; 32] = chunk(window, value as u32)?;
        let stops = S::stops(first);
        let branch = if stops == 0 {
            let both: &[u8; 64] = chunk(window, value as u32)?;
            both.get(..32 + S::stops(both.last_chunk()?).trailing_zeros() as usize)?
        } else {
            first.get(..stops.trailing_zeros() as usize)?
        };
        let end = value + branch.len();
        if chunk(window, from as u32)? != b";branch=" || branch.is_empty() {
            return None;
        }
        let mut known = [Span::new(from, end), Span::default(), Span::default(), Span::default()];
        if end != len {
            if end + 6 != len || chunk(window, end as u32)? != b";rport" {
                return None;
            }
            known[RPORT] = Span::new(end, len);
        }
        Some((Self { all: Span::new(from, len), known }, branch))
    }

    /// A plain `tag` in small letters of at most 32 characters from `from` to `len`, or nothing. The window begins at `base` in
    /// the value. And the tag.
    #[inline(always)]
    pub fn short_tag<S: Set>(
        window: &Window,
        base: usize,
        from: usize,
        len: usize,
    ) -> Option<(Self, Option<&[u8]>)> {
        if from == len {
            return Some((Self::none(base + from), None));
        }
        let value: &[u8; 32] = chunk(window, from as u32 + 5)?;
        let tag = value.get(..S::stops(value).trailing_zeros() as usize)?;
        if chunk(window, from as u32)? != b";tag"
            || window.get(from + 4) != Some(&b'=')
            || tag.is_empty()
            || from + 5 + tag.len() != len
        {
            return None;
        }
        let all = Span::new(base + from, base + len);
        let places = Self { all, known: [all, Span::default(), Span::default(), Span::default()] };
        Some((places, Some(tag)))
    }
}
