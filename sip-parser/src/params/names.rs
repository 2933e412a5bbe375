//! Names compared eight bytes at a time, without case.

use crate::scan::eight_at;

/// Eight bytes begin with these, `;`, a name and perhaps `=`, in small letters or not.
#[inline(always)]
pub(super) fn begins(eight: u64, with: &[u8]) -> bool {
    let all = u64::MAX >> (64 - 8 * with.len());
    let signs = 0xff | if with.ends_with(b"=") { 0xff << (8 * (with.len() - 1)) } else { 0 };
    eight & all | 0x2020_2020_2020_2020 & all & !signs == first_eight(with)
}

/// The name at `from`, which is as long as this one, begins with its first eight letters.
#[inline(always)]
pub(super) fn is_name(text: &[u8], from: usize, name: &[u8]) -> bool {
    small_letters(eight_at(text, from), name.len()) == first_eight(name)
}

/// Of eight bytes those of a name of this length, with the bit that makes letters small; nothing else becomes a
/// letter by it.
#[inline(always)]
fn small_letters(eight: u64, len: usize) -> u64 {
    let of_name = u64::MAX.unbounded_shr(64_u32.saturating_sub(8 * len as u32));
    (eight | 0x2020_2020_2020_2020) & of_name
}

/// The first eight bytes of a name in small letters; 0 where there are fewer.
const fn first_eight(name: &[u8]) -> u64 {
    let (mut eight, mut at) = (0, 0);
    while at < name.len() && at < 8 {
        eight |= (name[at] as u64) << (8 * at);
        at += 1;
    }
    eight
}
