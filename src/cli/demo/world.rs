//! The demo's hosts: network namespaces joined to ours by veth pairs, gone when the process ends.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use rtnetlink::RouteMessageBuilder;

use super::Failure;
use crate::cli::netns::{Host, add_address, add_veth, netlink, up};

/// The public host.
pub const PUBLIC: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10));
/// The private host's own address.
pub const PRIVATE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 10));
/// A port of the private host that nobody has.
pub const CLOSED: u16 = 5999;
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
