//! An address appears on an interface that a listener follows, and goes again; nobody reloads.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::world::{LINKS, PUBLIC, World};
use super::{Failure, Forwarder, interrupt};
use crate::cli::netns::{add_address, netlink, remove_address};

/// The address that comes and goes, on the public interface.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 77);
/// The port of the listener that follows that interface.
pub const PORT: u16 = 5070;

/// How long the forwarder may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The time between two requests.
const PAUSE: Duration = Duration::from_millis(1);

/// How long the forwarder took to follow.
pub struct Followed {
    /// From the kernel's confirmation of the new address to the first answer from it.
    pub answered: Duration,
    /// From the kernel's confirmation that it is gone to the socket's end.
    pub closed: Duration,
}

/// Adds the address, asks until it answers, and removes it again.
pub fn appear(world: &World, forwarder: &mut Forwarder) -> Result<Followed, Failure> {
    let caller = world.public.socket(SocketAddr::new(PUBLIC, PORT), "eth0")?;
    netlink(async |handle| add_address(handle, LINKS[0], IpAddr::V4(ADDRESS)).await)?;
    let answered = until(forwarder, "an answer from the new address", || asks(&caller))?;
    netlink(async |handle| remove_address(handle, LINKS[0], IpAddr::V4(ADDRESS)).await)?;
    let closed = until(forwarder, "the end of the socket", || Ok(!is_open()?))?;
    Ok(Followed { answered, closed })
}

fn until(
    forwarder: &mut Forwarder,
    what: &str,
    mut is_so: impl FnMut() -> io::Result<bool>,
) -> Result<Duration, Failure> {
    let begin = Instant::now();
    while !is_so()? {
        interrupt::check()?;
        forwarder.check_alive()?;
        if begin.elapsed() > PATIENCE {
            return Err(Failure::new(format!("waited {PATIENCE:?} in vain for {what}")));
        }
        std::thread::sleep(PAUSE);
    }
    Ok(begin.elapsed())
}

/// Sends OPTIONS; whether an answer from there has come to this or an earlier one.
fn asks(caller: &UdpSocket) -> io::Result<bool> {
    let (own, to) = (caller.local_addr()?, SocketAddr::new(ADDRESS.into(), PORT));
    let text = format!(
        "OPTIONS sip:{to} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bKappear;rport\r\nMax-Forwards: 70\r\n\
         From: <sip:ua@{own}>;tag=appear\r\nTo: <sip:{to}>\r\nCall-ID: appear\r\nCSeq: 1 OPTIONS\r\n\
         Content-Length: 0\r\n\r\n"
    );
    // Until the address is there, nobody is; and before its socket is open, the kernel refuses (ICMP).
    let _ = caller.send_to(text.as_bytes(), to);
    let mut buffer = [0; 4096];
    let answer = caller.recv_from(&mut buffer);
    Ok(answer.is_ok_and(|(length, from)| from == to && buffer[..length].starts_with(b"SIP/2.0 200")))
}

/// Some UDP socket of this namespace is bound to the address: `/proc/net/udp` writes it as a number in memory.
fn is_open() -> io::Result<bool> {
    let bound = format!(" {:08X}:{PORT:04X} ", u32::from_ne_bytes(ADDRESS.octets()));
    Ok(fs::read_to_string("/proc/net/udp")?.contains(&bound))
}
