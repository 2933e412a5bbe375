//! What all forwarders of a comparison are given alike.

use std::fs;
use std::io;
use std::path::PathBuf;

use viaduct::limits::SOCKET_BUFFER_BYTES;

use crate::measure::bytes_of;

/// Shared memory of a peer, in MiB: enough for the transactions that it keeps for seconds after their end.
const SHARED_MIB: u64 = 4096;
/// Part of the memory that is free to which that may come.
const SHARED_PART: u64 = 2;

/// What peers are taken from.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The core that forwarders run on.
    pub core: usize,
    /// Path to OpenSIPS, if the user has it.
    pub opensips: Option<PathBuf>,
    /// Files and logs go here; certificates are here.
    pub folder: PathBuf,
    /// Shared memory of a peer, in MiB.
    pub shared_mib: u64,
    /// What each asks for its sockets' buffers, in bytes.
    pub socket_buffer: u64,
}

impl Setting {
    /// With what this host has for each.
    ///
    /// # Errors
    /// It does not say.
    pub fn here(core: usize, opensips: Option<PathBuf>, folder: PathBuf) -> io::Result<Self> {
        let limits = [
            fs::read_to_string("/proc/sys/net/core/rmem_max")?,
            fs::read_to_string("/proc/sys/net/core/wmem_max")?,
        ];
        let shared_mib = shared_mib(&fs::read_to_string("/proc/meminfo")?)?;
        let socket_buffer = socket_buffer([&limits[0], &limits[1]])?;
        Ok(Self { core, opensips, folder, shared_mib, socket_buffer })
    }
}

/// How much memory a peer is given to share between its processes, in MiB; `meminfo`: what `/proc/meminfo` says.
///
/// # Errors
/// It does not say what is free.
fn shared_mib(meminfo: &str) -> io::Result<u64> {
    let free_mib = bytes_of(meminfo, "MemAvailable")? >> 20;
    Ok(SHARED_MIB.min(free_mib / SHARED_PART))
}

/// Buffers of all forwarders' sockets, in bytes: as large as Viaduct's are by default where this host gives as much to who has
/// no privilege to go beyond its limits, which others do not use; `limits`: what `net.core.rmem_max` and `wmem_max` say.
///
/// # Errors
/// One of them is no number.
fn socket_buffer(limits: [&str; 2]) -> io::Result<u64> {
    let limit =
        |text: &str| text.trim().parse::<u64>().map_err(|_| io::Error::other("no limit of socket buffers"));
    Ok((SOCKET_BUFFER_BYTES as u64).min(limit(limits[0])?).min(limit(limits[1])?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_share_what_they_need_and_half_of_what_is_free_at_most() {
        let free = |mib: u64| format!("MemFree: 1 kB\nMemAvailable: {} kB\n", mib << 10);
        for (of, mib) in [(100_000, 4_096), (8_192, 4_096), (8_190, 4_095), (3_001, 1_500)] {
            assert_eq!(shared_mib(&free(of)).unwrap(), mib, "{of} MiB");
        }
        assert!(shared_mib("MemFree: 1 kB\n").is_err());
    }

    #[test]
    fn buffers_are_what_all_can_have() {
        let of = |read: &str, write: &str| socket_buffer([read, write]).ok();
        assert_eq!(of("4194304\n", "16777216\n"), Some(4 << 20));
        assert_eq!(of("67108864\n", "212992\n"), Some(212_992));
        assert_eq!(of("67108864\n", "67108864\n"), Some(8 << 20));
        assert_eq!(of("", "1"), None);
    }
}
