//! Who interrupts a run leaves nothing behind: forwarders that are stopped (SIGSTOP) while another is measured would wait
//! for ever with the signal that ends them.

use std::io;
use std::sync::Once;
use std::sync::atomic::{AtomicI32, Ordering};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// Process groups that end with this process when it is interrupted; 0: a free place.
static GROUPS: [AtomicI32; 64] = [const { AtomicI32::new(0) }; 64];

/// A process group that an interrupt ends with this process.
pub struct Group(i32);

impl Group {
    /// Of this number, which its first process has as well.
    ///
    /// # Errors
    /// There is no place for one more, or signals cannot be handled.
    pub fn new(group: u32) -> io::Result<Self> {
        handle()?;
        let group = i32::try_from(group).map_err(io::Error::other)?;
        let free = |place: &AtomicI32| {
            place.compare_exchange(0, group, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        };
        if GROUPS.iter().any(free) {
            Ok(Self(group))
        } else {
            Err(io::Error::other("too many forwarders at once"))
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for place in &GROUPS {
            // Another place has another group.
            let _ = place.compare_exchange(self.0, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

/// Has the signals that people and systems interrupt a program with end the groups first; one that is ignored stays so.
fn handle() -> io::Result<()> {
    static ONCE: Once = Once::new();
    let mut done = Ok(());
    ONCE.call_once(|| {
        done = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().try_for_each(|signal| {
            let action = SigAction::new(SigHandler::Handler(end), SaFlags::empty(), SigSet::all());
            // SAFETY: the handler makes system calls and reads atomics, nothing else.
            let before = unsafe { sigaction(signal, &action) }?;
            if matches!(before.handler(), SigHandler::SigIgn) {
                // SAFETY: what was there before is put back.
                unsafe { sigaction(signal, &before) }?;
            }
            Ok(())
        });
    });
    done
}

extern "C" fn end(signal: i32) {
    for place in &GROUPS {
        let group = place.load(Ordering::Relaxed);
        if group > 0 {
            // SAFETY: a system call that handlers may make, on a group that this process has started.
            unsafe { libc::kill(-group, libc::SIGKILL) };
        }
    }
    // SAFETY: ends the process without running anything else of it.
    unsafe { libc::_exit(128 + signal) };
}
