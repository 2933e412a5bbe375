//! Sockets as the engine needs them: bound early, shared by port, of a known size.

use std::io;
use std::mem::MaybeUninit;
use std::net::{Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::time::Duration;

use libc::sock_filter;
use socket2::{
    Domain, MaybeUninitSlice, MsgHdrMut, Protocol, SockAddr, SockFilter, SockRef, Socket as Raw,
    TcpKeepalive, Type,
};

use super::files::canonical;
use super::stamp::{CONTROL_BYTES, received_ns};
use crate::limits::{STREAM_BACKLOG, STREAM_PROBE_NS, STREAM_STALLED_NS};
use crate::metrics::Drops;
use crate::net::Transport;
use crate::plan::Listener;

/// The discard port (RFC 863): nobody sends from there.
const DISCARD: u16 = 9;

/// A socket of one listener and one shard: for UDP, or one that connections come in on.
#[derive(Debug)]
pub struct Socket {
    raw: Raw,
    bind: SocketAddr,
    is_stream: bool,
    mark: Option<u32>,
    device: Option<Box<str>>,
    dropped: Dropped,
}

/// [`Drops`] as they are counted; by the shard that has the socket when it sets a filter, and by who reads them.
#[derive(Debug, Default)]
struct Dropped {
    full: AtomicU64,
    filtered: AtomicU64,
    has_filter: AtomicBool,
    /// What the kernel's counter, which begins anew after 2^32, said last.
    last: AtomicU32,
}

impl Dropped {
    /// The kernel's counter says so now.
    fn count(&self, now: u32) -> Drops {
        // Whoever has read an older value than another one has nothing to add.
        let newer = |last: u32| (now.wrapping_sub(last) as i32 > 0).then_some(now);
        if let Ok(last) = self.last.fetch_update(Relaxed, Relaxed, newer) {
            let of = if self.has_filter.load(Relaxed) { &self.filtered } else { &self.full };
            of.fetch_add(now.wrapping_sub(last).into(), Relaxed);
        }
        Drops { full: self.full.load(Relaxed), filtered: self.filtered.load(Relaxed) }
    }
}

/// What is known of a datagram that was read besides its bytes.
pub(super) struct Received {
    /// From where; canonical.
    pub from: SocketAddr,
    /// It was longer than there was room for.
    pub truncated: bool,
    /// When the kernel received it, in nanoseconds of its real-time clock, if it says so.
    pub received_ns: Option<u64>,
}

/// Why a listener's socket cannot be had; its text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Somebody else has the port, without sharing it.
    #[error("{0} is in use by another program; see: ss -lunp 'sport = :{port}'", port = .0.port())]
    InUse(SocketAddr),
    /// Somebody else has the port for TCP, without sharing it.
    #[error("{0} is in use by another program; see: ss -ltnp 'sport = :{port}'", port = .0.port())]
    StreamInUse(SocketAddr),
    /// A port below 1024 without the right to it.
    #[error("{0} needs CAP_NET_BIND_SERVICE (or sysctl net.ipv4.ip_unprivileged_port_start)")]
    Privileged(SocketAddr),
    /// `mark` without the right to it.
    #[error("SO_MARK {mark} needs CAP_NET_ADMIN or CAP_NET_RAW: {source}")]
    Mark {
        /// The mark.
        mark: u32,
        /// The system's reason.
        source: io::Error,
    },
    /// `device` that does not exist or may not be used.
    #[error("SO_BINDTODEVICE {device}: {source} (the device must exist)")]
    Device {
        /// The device.
        device: Box<str>,
        /// The system's reason.
        source: io::Error,
    },
    /// Anything else.
    #[error("{step} for {bind}: {source}")]
    Other {
        /// What was tried.
        step: &'static str,
        /// The listener's address.
        bind: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
}

impl Socket {
    /// Opens and binds a socket of this listener; `buffer_bytes` are wanted in each direction.
    ///
    /// The address need not be on the host yet (`IP_FREEBIND`); several sockets share it
    /// (`SO_REUSEPORT`), one for each shard, and for a second process that takes over.
    ///
    /// # Errors
    /// The step that failed, with a remedy where there is one.
    pub fn open(listener: &Listener, buffer_bytes: usize) -> Result<Self, SocketError> {
        let bind = listener.bind;
        let is_stream = listener.transport != Transport::Udp;
        let other = |step| move |source| SocketError::Other { step, bind, source };
        let raw = bare(bind, is_stream, listener.mark, listener.device.as_deref())?;
        raw.set_nonblocking(true).map_err(other("O_NONBLOCK"))?;
        raw.set_reuse_port(true).map_err(other("SO_REUSEPORT"))?;
        if is_stream {
            // For a process that follows another one whose last connections are not quite gone.
            raw.set_reuse_address(true).map_err(other("SO_REUSEADDR"))?;
        } else {
            if bind.is_ipv4() {
                allow_fragments(&raw).map_err(other("IP_MTU_DISCOVER"))?;
            }
            grow(&raw, buffer_bytes).map_err(other("SO_RCVBUF, SO_SNDBUF"))?;
        }
        give_address(&raw, bind, is_stream)?;
        if is_stream {
            raw.listen(STREAM_BACKLOG).map_err(|source| match source.kind() {
                io::ErrorKind::AddrInUse => SocketError::StreamInUse(bind),
                _ => SocketError::Other { step: "listen", bind, source },
            })?;
        }
        let (mark, device) = (listener.mark, listener.device.clone());
        Ok(Self { raw, bind, is_stream, mark, device, dropped: Dropped::default() })
    }

    /// Whether a socket of this listener can be had, by one that is closed at once and shares its port with nobody: nothing that
    /// is for another process gets there, and nobody can connect to it.
    ///
    /// # Errors
    /// As [`Self::open`]; in use, too, where another process has the port and would share it.
    pub fn try_alone(listener: &Listener) -> Result<(), SocketError> {
        let Listener { bind, transport, mark, ref device, .. } = *listener;
        let is_stream = transport != Transport::Udp;
        let raw = bare(bind, is_stream, mark, device.as_deref())?;
        if is_stream {
            // Connections that are not quite gone are in nobody's way; sockets that listen still are.
            raw.set_reuse_address(true).map_err(|source| SocketError::Other {
                step: "SO_REUSEADDR",
                bind,
                source,
            })?;
        }
        give_address(&raw, bind, is_stream)
    }

    /// Connections come in on it, not datagrams.
    pub fn is_stream(&self) -> bool {
        self.is_stream
    }

    /// What is to be connected: a new socket on this one's address, with its mark and device and a port that the kernel
    /// chooses when it is known where to.
    ///
    /// # Errors
    /// The step that failed.
    pub(super) fn outward(&self) -> Result<OwnedFd, SocketError> {
        let mut bind = self.bind;
        bind.set_port(0);
        let other = |step| move |source| SocketError::Other { step, bind, source };
        let raw = bare(bind, true, self.mark, self.device.as_deref())?;
        set(&raw, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1)
            .map_err(other("IP_BIND_ADDRESS_NO_PORT"))?;
        raw.bind(&bind.into()).map_err(other("bind"))?;
        Ok(raw.into())
    }

    /// The next connection that came in; it blocks, as the ring's operations want it.
    ///
    /// # Errors
    /// `WouldBlock`: there is none. Another: it was gone again, or the process may have no more files.
    pub(super) fn accept(&self) -> io::Result<OwnedFd> {
        self.raw.accept_raw().map(|(socket, _)| {
            // What a connection is made of does not say whether it closes on exec.
            let _ = socket.set_cloexec(true);
            socket.into()
        })
    }

    /// Whether the kernel says when each datagram came, from the next one on: how long it has waited tells whether more
    /// comes than can be handled. A stream's bytes have no such time.
    ///
    /// # Errors
    /// The system's reason.
    pub fn tell_when_received(&self, wanted: bool) -> Result<(), SocketError> {
        if self.is_stream {
            return Ok(());
        }
        set(&self.raw, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, wanted.into())
            .map_err(|source| SocketError::Other { step: "SO_TIMESTAMPNS", bind: self.bind, source })
    }

    /// What [`Self::tell_when_received`] was told.
    #[cfg(test)]
    pub fn tells_when_received(&self) -> bool {
        let (mut value, mut len) = (0i32, size_of::<i32>() as libc::socklen_t);
        // SAFETY: the socket is open, and the kernel writes an int at most.
        let done = unsafe {
            let into = (&raw mut value).cast();
            libc::getsockopt(self.fd(), libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, into, &raw mut len)
        };
        assert_eq!(done, 0, "{}", io::Error::last_os_error());
        value != 0
    }

    /// What the kernel granted, in bytes (its own doubling taken back): receive, send. `None`: connections have
    /// buffers of their own.
    pub fn buffers(&self) -> Option<(usize, usize)> {
        // What cannot be read counts as nothing granted.
        let half = |size: io::Result<usize>| size.unwrap_or(0) / 2;
        (!self.is_stream).then(|| (half(self.raw.recv_buffer_size()), half(self.raw.send_buffer_size())))
    }

    /// Datagrams that the kernel dropped since the socket was made.
    pub fn drops(&self) -> Drops {
        let now = receive_drops(self.raw.as_raw_fd());
        self.dropped.count(now.unwrap_or_else(|_| self.dropped.last.load(Relaxed)))
    }

    /// Has the kernel ask this program about each datagram before it is queued; none: about none.
    ///
    /// # Errors
    /// The kernel's error number. The filter that was there is as it was.
    pub(super) fn filter(&self, program: &[sock_filter]) -> Result<(), i32> {
        if program.is_empty() {
            self.end_filter();
            return Ok(());
        }
        // What was dropped until now was dropped for another reason.
        self.drops();
        let program: Vec<_> =
            program.iter().map(|step| SockFilter::new(step.code, step.jt, step.jf, step.k)).collect();
        self.raw.attach_filter(&program).map_err(|error| error.raw_os_error().unwrap_or(libc::EINVAL))?;
        self.dropped.has_filter.store(true, Relaxed);
        Ok(())
    }

    /// The kernel asks no program any more.
    pub(super) fn end_filter(&self) {
        if self.dropped.has_filter.load(Relaxed) {
            // There is one.
            let _ = self.raw.detach_filter();
            self.drops();
            self.dropped.has_filter.store(false, Relaxed);
        }
    }

    /// Takes the socket out of its group: new datagrams go to the others that share the port, those
    /// already received can still be read. Connecting does that: the kernel gives a connected socket
    /// only its peer's datagrams.
    pub(super) fn leave_group(&self) -> io::Result<()> {
        // A copy, with the scope that a link-local address needs.
        let mut nobody = self.bind;
        nobody.set_port(DISCARD);
        self.raw.connect(&nobody.into())
    }

    /// Sends a datagram from this socket, beside what an engine sends from it.
    ///
    /// # Errors
    /// `WouldBlock`: its send buffer is full. Another: the kernel's reason.
    pub fn send(&self, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
        self.raw.send_to_with_flags(bytes, &to.into(), libc::MSG_DONTWAIT).map(drop)
    }

    /// Reads the next datagram into `bytes`, as much of it as fits their capacity.
    ///
    /// # Errors
    /// `WouldBlock`: there is none. Another: told by ICMP, or a defect.
    pub(super) fn receive(&self, bytes: &mut Vec<u8>) -> io::Result<Received> {
        bytes.clear();
        let mut from = SockAddr::from(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0));
        let mut control = [MaybeUninit::zeroed(); CONTROL_BYTES];
        let mut buffers = [MaybeUninitSlice::new(bytes.spare_capacity_mut())];
        let mut header =
            MsgHdrMut::new().with_addr(&mut from).with_buffers(&mut buffers).with_control(&mut control);
        let len = self.raw.recvmsg(&mut header, libc::MSG_DONTWAIT)?;
        let (truncated, told) = (header.flags().is_truncated(), header.control_len() == CONTROL_BYTES);
        // SAFETY: the kernel has written so many bytes.
        unsafe { bytes.set_len(len.min(bytes.capacity())) };
        // SAFETY: they began as zero, and were written by nobody but the kernel.
        let control = control.map(|byte| unsafe { byte.assume_init() });
        Ok(Received {
            from: from.as_socket().map(canonical).ok_or(io::ErrorKind::InvalidData)?,
            truncated,
            received_ns: if told { received_ns(&control) } else { None },
        })
    }

    /// Its descriptor.
    pub(super) fn fd(&self) -> RawFd {
        self.raw.as_raw_fd()
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.raw.as_fd()
    }
}

/// A socket that is not bound yet, on a host that may not have its address yet.
fn bare(
    bind: SocketAddr,
    is_stream: bool,
    mark: Option<u32>,
    device: Option<&str>,
) -> Result<Raw, SocketError> {
    let other = |step| move |source| SocketError::Other { step, bind, source };
    let (kind, protocol) =
        if is_stream { (Type::STREAM, Protocol::TCP) } else { (Type::DGRAM, Protocol::UDP) };
    let raw = Raw::new(Domain::for_address(bind), kind.cloexec(), Some(protocol)).map_err(other("socket"))?;
    if bind.is_ipv6() {
        raw.set_only_v6(true).map_err(other("IPV6_V6ONLY"))?;
        raw.set_freebind_v6(true).map_err(other("IPV6_FREEBIND"))?;
    } else {
        raw.set_freebind_v4(true).map_err(other("IP_FREEBIND"))?;
    }
    if is_stream {
        // Connections that come in inherit it. Messages are written whole; nothing is gained by waiting for more.
        raw.set_tcp_nodelay(true).map_err(other("TCP_NODELAY"))?;
        notice_dead_peers(&raw).map_err(other("TCP_USER_TIMEOUT, SO_KEEPALIVE"))?;
    }
    if let Some(mark) = mark {
        raw.set_mark(mark).map_err(|source| SocketError::Mark { mark, source })?;
    }
    if let Some(device) = device {
        raw.bind_device(Some(device.as_bytes()))
            .map_err(|source| SocketError::Device { device: device.into(), source })?;
    }
    Ok(raw)
}

fn give_address(raw: &Raw, bind: SocketAddr, is_stream: bool) -> Result<(), SocketError> {
    raw.bind(&bind.into()).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse if is_stream => SocketError::StreamInUse(bind),
        io::ErrorKind::AddrInUse => SocketError::InUse(bind),
        io::ErrorKind::PermissionDenied => SocketError::Privileged(bind),
        _ => SocketError::Other { step: "bind", bind, source },
    })
}

/// A peer that is gone without a word confirms nothing: it is not waited for longer than for one that takes nothing, and
/// one that is only listened to is asked now and then.
fn notice_dead_peers(raw: &Raw) -> io::Result<()> {
    raw.set_tcp_user_timeout(Some(Duration::from_nanos(STREAM_STALLED_NS)))?;
    let probes = TcpKeepalive::new()
        .with_time(Duration::from_nanos(STREAM_PROBE_NS))
        .with_interval(Duration::from_nanos(STREAM_STALLED_NS / 2));
    raw.set_tcp_keepalive(&probes)
}

/// SIP over UDP has no means to send smaller pieces: a large message is better fragmented than lost
/// (RFC 3261 §18.1.1 prefers TCP then).
fn allow_fragments(raw: &Raw) -> io::Result<()> {
    set(raw, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DONT)
}

fn set(raw: &Raw, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as `raw` lives; the option takes a c_int of which the
    // address and the size are given.
    let done = unsafe {
        libc::setsockopt(
            raw.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sets both buffers; beyond the sysctl's limit where the process may (CAP_NET_ADMIN).
fn grow(raw: &Raw, bytes: usize) -> io::Result<()> {
    let socket = SockRef::from(raw);
    socket.set_recv_buffer_size(bytes)?;
    socket.set_send_buffer_size(bytes)?;
    let wanted = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    for option in [libc::SO_RCVBUFFORCE, libc::SO_SNDBUFFORCE] {
        // SAFETY: as in `set`. Without the privilege the kernel refuses and nothing changes.
        unsafe {
            libc::setsockopt(
                raw.as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                (&raw const wanted).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
    }
    Ok(())
}

/// Datagrams that the kernel dropped at this socket since it was made: because its receive buffer was full, or by a filter.
///
/// # Errors
/// It is no socket.
// `SO_MEMINFO`: index 8 is the drop counter (`SK_MEMINFO_DROPS`).
pub fn receive_drops(fd: RawFd) -> io::Result<u32> {
    const DROPS: usize = 8;
    let mut info = [0u32; DROPS + 1];
    let mut len = size_of_val(&info) as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes into `info` and says how many.
    let done = unsafe {
        libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_MEMINFO, info.as_mut_ptr().cast(), &raw mut len)
    };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(info[DROPS])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_reading_adds_nothing_and_the_counter_begins_anew_after_its_end() {
        let dropped = Dropped::default();
        assert_eq!(dropped.count(12), Drops { full: 12, filtered: 0 });
        dropped.has_filter.store(true, Relaxed);
        assert_eq!(dropped.count(10), Drops { full: 12, filtered: 0 });
        assert_eq!(dropped.count(15), Drops { full: 12, filtered: 3 });
        dropped.last.store(u32::MAX - 1, Relaxed);
        assert_eq!(dropped.count(3), Drops { full: 12, filtered: 8 });
    }
}
