//! When the kernel received a datagram, as it says in a control message.

/// Bytes of the one control message that is asked for: a header, and when the kernel received the datagram
/// (`SO_TIMESTAMPNS`), in seconds and nanoseconds.
pub const CONTROL_BYTES: usize = size_of::<libc::cmsghdr>() + size_of::<libc::timespec>();

const _: () = assert!(size_of::<libc::cmsghdr>() == 16 && size_of::<libc::timespec>() == 16);

/// In nanoseconds of the real-time clock, if it is such a message.
// `struct cmsghdr { size_t len; int level, type; }` and the `struct timespec` behind it.
pub fn received_ns(control: &[u8; CONTROL_BYTES]) -> Option<u64> {
    let int = |at: usize| control.get(at..)?.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes));
    let long = |at: usize| control.get(at..)?.first_chunk().map(|bytes| i64::from_ne_bytes(*bytes));
    if (int(8)?, int(12)?) != (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) {
        return None;
    }
    let (seconds, nanoseconds) = (u64::try_from(long(16)?).ok()?, u64::try_from(long(24)?).ok()?);
    seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds)
}
