//! Does this kernel have what the engine needs? Asked before anything is bound.

use std::fmt;
use std::fs;
use std::io;

use io_uring::{IoUring, Probe, opcode};

/// The oldest kernel with everything that the engine uses.
pub const MINIMUM: (u32, u32) = (6, 1);

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// `uname -r`
    pub release: String,
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.release)
    }
}

/// What is missing, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Missing {
    /// The kernel is too old.
    #[error("Linux {found} is too old: {}.{} or newer is needed (multishot receive, deferred task work)", MINIMUM.0, MINIMUM.1)]
    Release {
        /// `uname -r`
        found: String,
    },
    /// Switched off by the administrator.
    #[error(
        "io_uring is switched off: sysctl kernel.io_uring_disabled={value}; set it to 0 (or to 1 and run in its group)"
    )]
    Disabled {
        /// The sysctl's value.
        value: String,
    },
    /// Refused, and not by the sysctl.
    #[error(
        "io_uring is refused ({0}): in a container, allow io_uring_setup, io_uring_enter and io_uring_register in its seccomp profile"
    )]
    Refused(io::Error),
    /// The kernel was built without it.
    #[error("this kernel was built without io_uring (CONFIG_IO_URING)")]
    NotBuilt,
    /// An operation is missing.
    #[error("this kernel's io_uring lacks {0}")]
    Operation(&'static str),
    /// Locked memory.
    #[error("no memory for a ring ({0}): raise the limit of locked memory (ulimit -l, LimitMEMLOCK=)")]
    Memory(io::Error),
}

/// Looks at release, sysctl and operations.
///
/// # Errors
/// The first thing that is missing.
pub fn probe() -> Result<Kernel, Missing> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned();
    if version(&release).is_some_and(|found| found < MINIMUM) {
        return Err(Missing::Release { found: release });
    }
    let ring = IoUring::new(4).map_err(why_refused)?;
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(Missing::Refused)?;
    for (code, name) in [
        (opcode::RecvMsgMulti::CODE, "recvmsg"),
        (opcode::Send::CODE, "send"),
        (opcode::Read::CODE, "read"),
        (opcode::AsyncCancel::CODE, "cancel"),
    ] {
        if !probe.is_supported(code) {
            return Err(Missing::Operation(name));
        }
    }
    Ok(Kernel { release })
}

fn why_refused(error: io::Error) -> Missing {
    match error.raw_os_error() {
        Some(libc::ENOSYS) => Missing::NotBuilt,
        Some(libc::ENOMEM) => Missing::Memory(error),
        _ => match fs::read_to_string("/proc/sys/kernel/io_uring_disabled") {
            Ok(value) if value.trim() != "0" => Missing::Disabled { value: value.trim().to_owned() },
            _ => Missing::Refused(error),
        },
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_number() {
        assert_eq!(version("6.18.44-fc-v657"), Some((6, 18)));
        assert_eq!(version("5.15.0-generic"), Some((5, 15)));
        assert!(version("5.15.0").unwrap() < MINIMUM && version("6.1").unwrap() >= MINIMUM);
        assert_eq!(version("?"), None);
    }
}
