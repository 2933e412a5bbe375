//! Byte strings one behind the other.

/// Joins `parts`, which together have `N` bytes.
///
/// Inlined with lengths that the compiler knows, it becomes a few moves.
#[inline(always)]
pub(super) fn joined<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut out = [0; N];
    let mut rest = &mut out[..];
    for part in parts {
        let (room, after) = rest.split_at_mut(part.len());
        room.copy_from_slice(part);
        rest = after;
    }
    debug_assert!(rest.is_empty());
    out
}
