//! Waking a shard that sleeps: an eventfd that its driver reads.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// Wakes one shard; may be cloned and sent.
#[derive(Clone, Debug)]
pub struct Waker(Arc<OwnedFd>);

impl Waker {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: creates a descriptor and touches nothing else.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and belongs to nobody yet.
        Ok(Self(Arc::new(unsafe { OwnedFd::from_raw_fd(fd) })))
    }

    /// Has the shard run a batch soon, even without events.
    pub fn wake(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: eight readable bytes. It fails only where 2^64-2 wake-ups are waiting already.
        unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    /// Forgets the wake-ups so far, and says how many there were. It waits for one where there was none.
    #[cfg(any(test, feature = "glommio"))]
    pub(super) fn take(&self) -> u64 {
        let mut count = [0; size_of::<u64>()];
        // SAFETY: eight writable bytes.
        unsafe { libc::read(self.fd(), count.as_mut_ptr().cast(), count.len()) };
        u64::from_ne_bytes(count)
    }

    pub(super) fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What wakes the shards of a process, by their numbers, and since when all of them count their time; all clones are the
/// same.
#[derive(Clone, Debug)]
pub struct Neighbours {
    wakers: Arc<[OnceLock<Waker>]>,
    pub(super) start: Instant,
}

impl Neighbours {
    /// For so many shards, none of which is known yet.
    pub fn new(shards: usize) -> Self {
        Self { wakers: (0..shards).map(|_| OnceLock::new()).collect(), start: Instant::now() }
    }

    fn known(&self, shard: u16) -> Option<&OnceLock<Waker>> {
        self.wakers.get(usize::from(shard))
    }

    pub(super) fn add(&self, shard: u16, waker: Waker) {
        if let Some(place) = self.known(shard) {
            // A shard is started once.
            let _ = place.set(waker);
        }
    }

    /// One that is not known yet looks when it begins.
    pub(super) fn wake(&self, shard: u16) {
        if let Some(waker) = self.known(shard).and_then(OnceLock::get) {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_neighbour_is_woken_once_it_is_known() {
        let neighbours = Neighbours::new(2);
        let waker = Waker::new().unwrap();
        neighbours.wake(1);
        neighbours.wake(2);
        neighbours.add(1, waker.clone());
        neighbours.clone().wake(1);
        neighbours.wake(0);
        neighbours.wake(1);
        assert_eq!(waker.take(), 2);
    }
}
