//! What the driver of a network card tells: the `ethtool` ioctl, reading only.

use std::io;
use std::os::fd::AsRawFd;

use socket2::{Domain, Socket, Type};

use crate::doctor::{Card, Coalescing, Ring, Untold};

/// Commands and places of their answers (linux/ethtool.h: `struct ethtool_ringparam`, `struct ethtool_coalesce`).
const GRINGPARAM: u32 = 0x10;
const GCOALESCE: u32 = 0x0e;
const RX_MAX_PENDING: usize = 1;
const RX_PENDING: usize = 5;
const RX_COALESCE_USECS: usize = 1;
const USE_ADAPTIVE_RX: usize = 10;

/// Both structures are numbers of 32 bits, at most 23 of them, the command first.
type Words = [u32; 32];

/// What is known of the interface of this name.
pub fn ask(name: &str) -> Card {
    let untold = |error: io::Error| Untold::new(format!("its driver does not tell: {error}"));
    let ring = |words: Words| Ring { receive: words[RX_PENDING], receive_max: words[RX_MAX_PENDING] };
    let coalescing = |words: Words| Coalescing {
        receive_us: words[RX_COALESCE_USECS],
        adaptive: words[USE_ADAPTIVE_RX] != 0,
    };
    Card {
        ring: query(name, GRINGPARAM).map(ring).map_err(untold),
        coalescing: query(name, GCOALESCE).map(coalescing).map_err(untold),
    }
}

/// Where nobody may be asked.
pub fn unasked() -> Card {
    let untold = || Untold::new("drivers are not asked with --root");
    Card { ring: Err(untold()), coalescing: Err(untold()) }
}

fn query(name: &str, command: u32) -> io::Result<Words> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    let mut words: Words = [0; 32];
    words[0] = command;
    // SAFETY: all bytes zero is a valid `ifreq`: numbers, and a null pointer.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *place = byte.cast_signed();
    }
    request.ifr_ifru.ifru_data = (&raw mut words).cast();
    // SAFETY: the descriptor is open, the name ends with a zero, and `words`, which outlives the call, is larger than
    // what the kernel writes for these two commands (36 and 92 bytes).
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(words) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_driver_does_not_know_is_a_reason() {
        for name in ["lo", "no-such-interface", "a-name-that-is-longer-than-any"] {
            assert!(ask(name).ring.is_err(), "{name}");
        }
    }
}
