//! Ctrl-C: the demo ends as it does after a failure, so that it leaves no folder and no process behind.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use super::Failure;

static CAME: AtomicBool = AtomicBool::new(false);

extern "C" fn note(_signal: libc::c_int) {
    CAME.store(true, Relaxed);
}

/// From now on SIGINT, SIGTERM and SIGHUP are noted; programs started later get them as usual.
///
/// # Errors
/// A handler cannot be installed.
pub fn watch() -> io::Result<()> {
    let action = SigAction::new(SigHandler::Handler(note), SaFlags::SA_RESTART, SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: the handler does nothing but store to an atomic, which any signal handler may.
        unsafe { sigaction(signal, &action) }?;
    }
    Ok(())
}

/// Fails once a signal has come.
pub fn check() -> Result<(), Failure> {
    if CAME.load(Relaxed) { Err(Failure::new("interrupted")) } else { Ok(()) }
}
