//! A listener's socket: made, bound, asked, and closed for good.

use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Mutex, PoisonError};

use socket2::{Domain, Protocol, SockRef, Type};

/// What a UDP socket is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec<'a> {
    /// Address and port; a link-local IPv6 address has its scope.
    pub bind: SocketAddr,
    /// `SO_BINDTODEVICE`
    pub device: Option<&'a str>,
    /// `SO_MARK`
    pub mark: Option<u32>,
    /// Wanted `SO_RCVBUF` and `SO_SNDBUF` in bytes.
    pub buffer_bytes: usize,
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system has none to give.
    #[error("cannot make a socket: {0}")]
    Make(#[source] io::Error),
    /// An option is refused.
    #[error("cannot set {option}: {error}{}", hint(option, error))]
    Option {
        /// As in socket(7).
        option: &'static str,
        /// The system's reason.
        #[source]
        error: io::Error,
    },
    /// The address cannot be bound.
    #[error("cannot bind to udp:{bind}: {error}{}", bind_hint(error))]
    Bind {
        /// The address.
        bind: SocketAddr,
        /// The system's reason.
        #[source]
        error: io::Error,
    },
}

/// A bound UDP socket, shared by the control thread and the engine that reads it.
///
/// The engine closes it: from that moment the kernel gives its share of the traffic to the other
/// sockets on the address, whoever else still holds this value.
#[derive(Debug)]
pub struct Socket {
    inner: Mutex<Option<socket2::Socket>>,
    receive_bytes: usize,
    send_bytes: usize,
}

impl Socket {
    /// Makes and binds a socket that shares its address with others (`SO_REUSEPORT`) and does not need
    /// the address to exist yet (`IP_FREEBIND`).
    ///
    /// It is blocking on purpose: io_uring answers "try again" for a non-blocking one instead of waiting.
    ///
    /// # Errors
    /// What the system refuses, with a hint.
    pub fn open(spec: &Spec<'_>) -> Result<Self, Error> {
        let domain = Domain::for_address(spec.bind);
        let socket = socket2::Socket::new(domain, Type::DGRAM, Some(Protocol::UDP)).map_err(Error::Make)?;
        let set = |option, result: io::Result<()>| result.map_err(|error| Error::Option { option, error });
        set("SO_REUSEPORT", socket.set_reuse_port(true))?;
        if spec.bind.is_ipv6() {
            set("IPV6_V6ONLY", socket.set_only_v6(true))?;
            set("IPV6_FREEBIND", socket.set_freebind_v6(true))?;
        } else {
            set("IP_FREEBIND", socket.set_freebind_v4(true))?;
        }
        if let Some(device) = spec.device {
            set("SO_BINDTODEVICE", socket.bind_device(Some(device.as_bytes())))?;
        }
        if let Some(mark) = spec.mark {
            set("SO_MARK", socket.set_mark(mark))?;
        }
        let receive_bytes = grow(&socket, libc::SO_RCVBUF, libc::SO_RCVBUFFORCE, spec.buffer_bytes);
        let send_bytes = grow(&socket, libc::SO_SNDBUF, libc::SO_SNDBUFFORCE, spec.buffer_bytes);
        let bound = socket.bind(&spec.bind.into());
        bound.map_err(|error| Error::Bind { bind: spec.bind, error })?;
        Ok(Self { inner: Mutex::new(Some(socket)), receive_bytes, send_bytes })
    }

    /// Receive and send buffer in bytes, as the kernel granted them.
    pub fn buffers(&self) -> (usize, usize) {
        (self.receive_bytes, self.send_bytes)
    }

    /// Where it is bound; the port that the system chose, where 0 was asked for.
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.with(|socket| socket.local_addr().ok()?.as_socket()).flatten()
    }

    /// Datagrams that the kernel dropped at this socket, since it was made; 0 once it is closed.
    pub fn kernel_drops(&self) -> u64 {
        self.with(|socket| memory_info(socket.as_raw_fd())).flatten().map_or(0, u64::from)
    }

    /// Whether it is still open.
    pub fn is_open(&self) -> bool {
        self.with(|_| ()).is_some()
    }

    /// Its descriptor, valid until [`Socket::close`]; `None`: closed.
    pub(super) fn descriptor(&self) -> Option<RawFd> {
        self.with(|socket| socket.as_raw_fd())
    }

    /// Closes it, whoever else holds it.
    pub(super) fn close(&self) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn with<R>(&self, ask: impl FnOnce(&socket2::Socket) -> R) -> Option<R> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(ask)
    }
}

/// Sets a buffer's size beyond the system's limit where the process may (`CAP_NET_ADMIN`), up to it where
/// not; gives what the kernel granted. It doubles what it is told, for its bookkeeping, and reports that.
fn grow(socket: &socket2::Socket, option: libc::c_int, forced: libc::c_int, bytes: usize) -> usize {
    let wanted = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    // What is refused is seen in the answer: the caller compares.
    let _ = set_number(socket.as_raw_fd(), forced, wanted)
        .or_else(|_| set_number(socket.as_raw_fd(), option, wanted));
    let socket = SockRef::from(socket);
    let granted =
        if option == libc::SO_RCVBUF { socket.recv_buffer_size() } else { socket.send_buffer_size() };
    granted.unwrap_or(0) / 2
}

fn set_number(fd: RawFd, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let len = mem::size_of_val(&value) as libc::socklen_t;
    // SAFETY: `value` is a live c_int of `len` bytes, and the kernel only reads it.
    let result = unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, option, (&raw const value).cast(), len) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The place of the drop counter in what `SO_MEMINFO` gives (`SK_MEMINFO_DROPS` of linux/sock_diag.h).
const MEMORY_INFO_DROPS: usize = 8;

fn memory_info(fd: RawFd) -> Option<u32> {
    let mut numbers = [0u32; MEMORY_INFO_DROPS + 1];
    let mut len = mem::size_of_val(&numbers) as libc::socklen_t;
    // SAFETY: `numbers` and `len` are live; the kernel writes at most `len` bytes of plain integers.
    let result = unsafe {
        libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_MEMINFO, numbers.as_mut_ptr().cast(), &mut len)
    };
    (result == 0 && len as usize == mem::size_of_val(&numbers)).then(|| numbers[MEMORY_INFO_DROPS])
}

fn hint(option: &str, error: &io::Error) -> &'static str {
    match (option, error.raw_os_error()) {
        ("SO_BINDTODEVICE", Some(libc::ENODEV)) => "; there is no such interface now",
        ("SO_BINDTODEVICE", Some(libc::EPERM)) => "; that takes CAP_NET_RAW",
        ("SO_MARK", Some(libc::EPERM)) => "; that takes CAP_NET_ADMIN (or CAP_NET_RAW since Linux 5.17)",
        _ => "",
    }
}

fn bind_hint(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EADDRINUSE) => {
            "; another program listens there (ss -lunp says which), or another user's Viaduct does"
        }
        Some(libc::EACCES) => "; ports below 1024 take CAP_NET_BIND_SERVICE",
        Some(libc::ENODEV) => "; the interface of this link-local address is not there",
        _ => "",
    }
}

/// An IPv4-mapped IPv6 address as the IPv4 address that it means.
pub(super) fn to_canonical(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => {
            v6.to_ipv4_mapped().map_or(address, |v4| SocketAddr::new(v4.into(), address.port()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(bind: &str) -> Spec<'static> {
        Spec { bind: bind.parse().unwrap(), device: None, mark: None, buffer_bytes: 1 << 20 }
    }

    #[test]
    fn an_address_that_is_not_there_yet_can_be_bound_and_shared() {
        let first = Socket::open(&spec("192.0.2.77:0")).unwrap();
        let address = first.local_address().unwrap();
        let second = Socket::open(&Spec { bind: address, ..spec("192.0.2.77:0") }).unwrap();
        assert_eq!(second.local_address(), Some(address));
        assert_eq!(first.kernel_drops(), 0);
        assert!(Socket::open(&spec("[2001:db8::77]:0")).is_ok());
    }

    #[test]
    fn closing_frees_the_address_whoever_holds_the_socket() {
        let socket = Socket::open(&spec("192.0.2.78:0")).unwrap();
        let address = socket.local_address().unwrap();
        let plain = || socket2::Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        let alone = plain();
        alone.set_freebind_v4(true).unwrap();
        assert!(alone.bind(&address.into()).is_err());
        socket.close();
        alone.bind(&address.into()).unwrap();
        assert_eq!((socket.descriptor(), socket.is_open(), socket.kernel_drops()), (None, false, 0));
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let error =
            Socket::open(&Spec { device: Some("no-such-device"), ..spec("192.0.2.79:0") }).unwrap_err();
        assert!(error.to_string().contains("no such interface"), "{error}");
        let taken = socket2::Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        taken.set_freebind_v4(true).unwrap();
        taken.bind(&"192.0.2.80:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        let bind = taken.local_addr().unwrap().as_socket().unwrap();
        let error = Socket::open(&Spec { bind, ..spec("192.0.2.80:0") }).unwrap_err();
        assert!(error.to_string().contains("another program listens there"), "{error}");
    }

    #[test]
    fn granted_buffers_are_told_as_they_were_asked_for() {
        let socket = Socket::open(&Spec { buffer_bytes: 100_000, ..spec("192.0.2.81:0") }).unwrap();
        assert_eq!(socket.buffers(), (100_000, 100_000));
    }

    #[test]
    fn an_ipv4_address_in_ipv6_clothes_is_an_ipv4_address() {
        let mapped = "[::ffff:192.0.2.1]:5060".parse().unwrap();
        assert_eq!(to_canonical(mapped), "192.0.2.1:5060".parse().unwrap());
        let real = "[2001:db8::1]:5060".parse().unwrap();
        assert_eq!(to_canonical(real), real);
    }
}
