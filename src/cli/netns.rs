//! Hosts made of network namespaces: the demo's and the bench harness's worlds are built of them.

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use netlink_packet_route::address::AddressHeaderFlags;
use netlink_packet_route::link::{InfoData, InfoVeth};
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};
use rtnetlink::{AddressAddRequest, Handle, LinkMessageBuilder, LinkUnspec, LinkVeth};
use socket2::{Domain, Protocol, Socket, Type};

/// What to do where the kernel refuses a network namespace.
pub const REMEDY: &str = "run as root, or allow user namespaces: sysctl kernel.unprivileged_userns_clone=1, \
     kernel.apparmor_restrict_unprivileged_userns=0; in a container: --cap-add SYS_ADMIN,NET_ADMIN";

/// Puts this process into a network namespace of its own, by privilege or by a user namespace.
///
/// Must run before any thread is started.
///
/// # Errors
/// The kernel allows neither; see [`REMEDY`].
pub fn enter() -> io::Result<()> {
    if unshare(CloneFlags::CLONE_NEWNET).is_ok() {
        return Ok(());
    }
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET).map_err(|errno: Errno| {
        io::Error::new(io::ErrorKind::PermissionDenied, format!("this kernel refuses a namespace ({errno})"))
    })?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1"))
}

/// Another host: a network namespace kept alive by an open file.
pub struct Host {
    namespace: File,
}

impl Host {
    /// Makes one, with nothing in it.
    pub fn new() -> io::Result<Self> {
        let namespace = std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    unshare(CloneFlags::CLONE_NEWNET)?;
                    File::open("/proc/thread-self/ns/net")
                })
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("the namespace's thread died")))
        })?;
        Ok(Self { namespace })
    }

    /// Runs a function on a thread that lives in this host.
    pub fn inside<R: Send>(&self, work: impl FnOnce() -> io::Result<R> + Send) -> io::Result<R> {
        std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    setns(&self.namespace, CloneFlags::CLONE_NEWNET)?;
                    work()
                })
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("the namespace's thread died")))
        })
    }

    /// A non-blocking UDP socket of this host, bound to the address and the interface.
    pub fn socket(&self, address: SocketAddr, device: &str) -> io::Result<UdpSocket> {
        self.inside(|| {
            let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
            socket.bind_device(Some(device.as_bytes()))?;
            socket.set_reuse_address(true)?;
            socket.set_recv_buffer_size(4 << 20)?;
            socket.bind(&address.into())?;
            socket.set_nonblocking(true)?;
            Ok(socket.into())
        })
    }
}

/// Its namespace.
impl AsFd for Host {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.namespace.as_fd()
    }
}

/// Runs netlink requests in the namespace of the calling thread.
pub fn netlink<R>(work: impl AsyncFnOnce(&Handle) -> io::Result<R>) -> io::Result<R> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        let connection = tokio::spawn(connection);
        let result = work(&handle).await;
        connection.abort();
        result
    })
}

/// Joins this namespace (by the interface `name`) and a host (by its interface `peer`).
pub async fn add_veth(handle: &Handle, name: &str, host: &Host, peer: &str) -> io::Result<()> {
    let far_end =
        LinkMessageBuilder::<LinkUnspec>::new().name(peer).setns_by_fd(host.namespace.as_raw_fd()).build();
    let pair = LinkVeth::new(name, peer).set_info_data(InfoData::Veth(InfoVeth::Peer(far_end))).build();
    handle.link().add(pair).execute().await.map_err(io::Error::other)
}

/// Sets an interface up.
pub async fn up(handle: &Handle, name: &str) -> io::Result<()> {
    let message = LinkMessageBuilder::<LinkUnspec>::new().name(name).up().build();
    handle.link().set(message).execute().await.map_err(io::Error::other)
}

/// Adds an address: /24, /64, or /32 on `lo`.
pub async fn add_address(handle: &Handle, name: &str, address: IpAddr) -> io::Result<()> {
    let mut request = assignment(handle, name, address)?;
    // Without duplicate address detection an IPv6 address is usable at once.
    request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
    request.execute().await.map_err(io::Error::other)
}

/// Removes an address that [`add_address`] added.
pub async fn remove_address(handle: &Handle, name: &str, address: IpAddr) -> io::Result<()> {
    let message = assignment(handle, name, address)?.message_mut().clone();
    handle.address().del(message).execute().await.map_err(io::Error::other)
}

fn assignment(handle: &Handle, name: &str, address: IpAddr) -> io::Result<AddressAddRequest> {
    let index = nix::net::if_::if_nametoindex(name)?;
    let length = match (name, address) {
        ("lo", IpAddr::V4(_)) => 32,
        (_, IpAddr::V4(_)) => 24,
        (_, IpAddr::V6(_)) => 64,
    };
    Ok(handle.address().add(index, address, length))
}
