//! The demo's hosts: network namespaces joined to ours by veth pairs, gone when the process ends.

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use netlink_packet_route::address::AddressHeaderFlags;
use netlink_packet_route::link::{InfoData, InfoVeth};
use nix::sched::{CloneFlags, setns, unshare};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};
use socket2::{Domain, Protocol, Socket, Type};

use super::Failure;

/// The public host.
pub const PUBLIC: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10));
/// The private host's own address.
pub const PRIVATE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 10));
/// The private host on its second link.
pub const PRIVATE_BACKUP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 1, 10));
/// The media service on the private host, reached by a route that the demo flips.
pub const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 9, 9, 9);
/// The IPv6 host.
pub const SIX: IpAddr = IpAddr::V6(std::net::Ipv6Addr::new(0xfd00, 0x10, 0, 0, 0, 0, 0, 0x10));

/// The forwarder's address on each link, in the order of [`LINKS`].
pub const FORWARDER: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1)),
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)),
    IpAddr::V4(Ipv4Addr::new(10, 0, 1, 1)),
    IpAddr::V6(std::net::Ipv6Addr::new(0xfd00, 0x10, 0, 0, 0, 0, 0, 1)),
];
/// The forwarder's interfaces.
pub const LINKS: [&str; 4] = ["public", "private", "backup", "six"];

/// Puts this process into a network namespace of its own, by privilege or by a user namespace.
///
/// Must run before any thread is started.
pub fn enter() -> Result<(), Failure> {
    if unshare(CloneFlags::CLONE_NEWNET).is_ok() {
        return Ok(());
    }
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET).map_err(|errno| {
        Failure::new(format!("this kernel refuses a network namespace ({errno})")).hint(
            "run as root, or allow user namespaces: sysctl kernel.unprivileged_userns_clone=1, \
             kernel.apparmor_restrict_unprivileged_userns=0; in a container: --cap-add SYS_ADMIN,NET_ADMIN",
        )
    })?;
    let map = |file: &str, text: String| {
        fs::write(file, text).map_err(|error| Failure::new(format!("cannot write {file}: {error}")))
    };
    map("/proc/self/setgroups", "deny".into())?;
    map("/proc/self/uid_map", format!("0 {uid} 1"))?;
    map("/proc/self/gid_map", format!("0 {gid} 1"))
}

/// Another host: a network namespace kept alive by an open file.
pub struct Host {
    namespace: File,
}

impl Host {
    fn new() -> io::Result<Self> {
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
    fn inside<R: Send>(&self, work: impl FnOnce() -> io::Result<R> + Send) -> io::Result<R> {
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

/// All hosts around the forwarder, which lives in the process's own namespace.
pub struct World {
    /// Behind the public interface.
    pub public: Host,
    /// Behind the private and the backup interface.
    pub private: Host,
    /// Behind the IPv6 interface.
    pub six: Host,
}

impl World {
    /// Builds namespaces, links, addresses and routes.
    pub fn build() -> Result<Self, Failure> {
        let world = || -> io::Result<Self> {
            let world = Self { public: Host::new()?, private: Host::new()?, six: Host::new()? };
            world.link()?;
            Ok(world)
        };
        world().map_err(|error| {
            Failure::new(format!("cannot build the demo's network: {error}"))
                .hint("the kernel needs veth interfaces (CONFIG_VETH) and network namespaces")
        })
    }

    fn link(&self) -> io::Result<()> {
        let ends = [
            (LINKS[0], &self.public, "eth0"),
            (LINKS[1], &self.private, "eth0"),
            (LINKS[2], &self.private, "eth1"),
            (LINKS[3], &self.six, "eth0"),
        ];
        netlink(async |handle| {
            for (name, host, peer) in ends {
                add_veth(handle, name, host, peer).await?;
            }
            up(handle, "lo").await?;
            for (name, address) in LINKS.into_iter().zip(FORWARDER) {
                add_address(handle, name, address).await?;
                up(handle, name).await?;
            }
            Ok(())
        })?;
        configure(&self.public, &[("eth0", PUBLIC)], FORWARDER[0])?;
        configure(
            &self.private,
            &[("eth0", PRIVATE), ("eth1", PRIVATE_BACKUP), ("lo", IpAddr::V4(SERVICE))],
            FORWARDER[1],
        )?;
        configure(&self.six, &[("eth0", SIX)], FORWARDER[3])?;
        route_service(PRIVATE)
    }
}

fn configure(host: &Host, addresses: &[(&str, IpAddr)], gateway: IpAddr) -> io::Result<()> {
    host.inside(|| {
        netlink(async |handle| {
            up(handle, "lo").await?;
            for &(name, address) in addresses {
                add_address(handle, name, address).await?;
                up(handle, name).await?;
            }
            let route = match gateway {
                IpAddr::V4(gateway) => RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway).build(),
                IpAddr::V6(gateway) => {
                    RouteMessageBuilder::<std::net::Ipv6Addr>::new().gateway(gateway).build()
                }
            };
            handle.route().add(route).execute().await.map_err(io::Error::other)
        })
    })
}

/// Sends the service's traffic by this gateway from now on (as `ip route replace` does).
pub fn route_service(gateway: IpAddr) -> io::Result<()> {
    let IpAddr::V4(gateway) = gateway else { return Err(io::ErrorKind::InvalidInput.into()) };
    let route =
        RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(SERVICE, 32).gateway(gateway).build();
    netlink(async |handle| handle.route().add(route).replace().execute().await.map_err(io::Error::other))
}

/// Runs netlink requests in the namespace of the calling thread.
fn netlink<R>(work: impl AsyncFnOnce(&Handle) -> io::Result<R>) -> io::Result<R> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        let connection = tokio::spawn(connection);
        let result = work(&handle).await;
        connection.abort();
        result
    })
}

async fn add_veth(handle: &Handle, name: &str, host: &Host, peer: &str) -> io::Result<()> {
    let far_end =
        LinkMessageBuilder::<LinkUnspec>::new().name(peer).setns_by_fd(host.namespace.as_raw_fd()).build();
    let pair = LinkVeth::new(name, peer).set_info_data(InfoData::Veth(InfoVeth::Peer(far_end))).build();
    handle.link().add(pair).execute().await.map_err(io::Error::other)
}

async fn up(handle: &Handle, name: &str) -> io::Result<()> {
    let message = LinkMessageBuilder::<LinkUnspec>::new().name(name).up().build();
    handle.link().set(message).execute().await.map_err(io::Error::other)
}

async fn add_address(handle: &Handle, name: &str, address: IpAddr) -> io::Result<()> {
    let index = nix::net::if_::if_nametoindex(name)?;
    let length = match (name, address) {
        ("lo", IpAddr::V4(_)) => 32,
        (_, IpAddr::V4(_)) => 24,
        (_, IpAddr::V6(_)) => 64,
    };
    let mut request = handle.address().add(index, address, length);
    // Without duplicate address detection an IPv6 address is usable at once.
    request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
    request.execute().await.map_err(io::Error::other)
}
