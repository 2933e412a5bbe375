//! Places in a message.

/// A range of bytes of the message, half open. Two bytes a side: a message has at most 65,535 bytes.
// Laid out as written: `block` writes a line's places at once.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Span {
    /// First byte.
    pub start: u16,
    /// One past the last byte.
    pub end: u16,
}

impl Span {
    /// The span from `start` to `end`, both at most [`crate::MAX_MESSAGE`].
    pub(crate) const fn new(start: usize, end: usize) -> Self {
        debug_assert!(start <= end && end <= crate::MAX_MESSAGE);
        Self { start: start as u16, end: end as u16 }
    }

    /// Number of bytes.
    pub const fn len(self) -> usize {
        self.end.saturating_sub(self.start) as usize
    }

    /// Nothing in it.
    pub const fn is_empty(self) -> bool {
        self.start >= self.end
    }

    /// The range for indexing.
    pub const fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }

    /// The bytes it stands for; empty if it does not lie in `bytes`.
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.range()).unwrap_or(&[])
    }
}

/// A text, and what stands behind it in its message: near its end, too, many bytes can be looked at at a time.
#[derive(Clone, Copy)]
pub(crate) struct Part<'m> {
    /// From its beginning on.
    pub rest: &'m [u8],
    /// Its own length; no more than there is.
    pub len: usize,
}

impl<'m> Part<'m> {
    /// A text that nothing is known to follow.
    pub const fn alone(text: &'m [u8]) -> Self {
        Self { rest: text, len: text.len() }
    }

    /// What stands there in the message; empty if it does not lie in it.
    #[inline(always)]
    pub fn of(bytes: &'m [u8], span: Span) -> Self {
        // One that ends before it begins is longer than anything.
        let len = usize::from(span.end).wrapping_sub(span.start.into());
        match bytes.get(span.start.into()..) {
            Some(rest) if len <= rest.len() => Self { rest, len },
            _ => Self::alone(&[]),
        }
    }

    /// The text alone.
    #[inline(always)]
    pub fn text(self) -> &'m [u8] {
        self.rest.get(..self.len).unwrap_or(self.rest)
    }
}
