//! Client and sink as hosts of their own, the forwarder's namespace between them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, UdpSocket};

use viaduct::cli::netns::{Host, add_address, add_veth, enter, netlink, up};

/// The forwarder towards the client.
pub const INSIDE: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
/// The client.
pub const CLIENT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 1, 0, 2), 5060);
/// The forwarder towards the sink.
pub const OUTSIDE: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 1);
/// The sink.
pub const SINK: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 2, 0, 2), 5060);
/// The same over TLS.
pub const SECURE_SINK: SocketAddrV4 = SocketAddrV4::new(*SINK.ip(), 5061);

/// The hosts around the forwarder.
pub struct World {
    client: Host,
    sink: Host,
}

impl World {
    /// Moves this process into a namespace and joins it with two hosts. Call before starting threads.
    pub fn build() -> io::Result<Self> {
        enter()?;
        let world = Self { client: Host::new()?, sink: Host::new()? };
        netlink(async |handle| {
            up(handle, "lo").await?;
            for (name, host, address) in [("in", &world.client, INSIDE), ("out", &world.sink, OUTSIDE)] {
                add_veth(handle, name, host, "eth0").await?;
                add_address(handle, name, IpAddr::V4(address)).await?;
                up(handle, name).await?;
            }
            Ok(())
        })?;
        for (host, address) in [(&world.client, CLIENT), (&world.sink, SINK)] {
            host.inside(|| {
                netlink(async |handle| {
                    add_address(handle, "eth0", IpAddr::V4(*address.ip())).await?;
                    up(handle, "eth0").await
                })
            })?;
        }
        Ok(world)
    }

    /// Gives the client's host these addresses besides its own.
    pub fn more_clients(&self, addresses: &[Ipv4Addr]) -> io::Result<()> {
        self.in_client(|| {
            netlink(async |handle| {
                for address in addresses {
                    add_address(handle, "eth0", IpAddr::V4(*address)).await?;
                }
                Ok(())
            })
        })
    }

    /// The client's host.
    pub fn client_host(&self) -> &Host {
        &self.client
    }

    /// The sink's host.
    pub fn sink_host(&self) -> &Host {
        &self.sink
    }

    /// Runs a function on a thread that lives in the client's host.
    pub fn in_client<R: Send>(&self, work: impl FnOnce() -> io::Result<R> + Send) -> io::Result<R> {
        self.client.inside(work)
    }

    /// Runs a function on a thread that lives in the sink's host.
    pub fn in_sink<R: Send>(&self, work: impl FnOnce() -> io::Result<R> + Send) -> io::Result<R> {
        self.sink.inside(work)
    }

    /// A socket of the sink's host for whatever arrives at its port, whoever it is for.
    pub fn any_sink(&self) -> io::Result<UdpSocket> {
        self.sink.socket((Ipv4Addr::UNSPECIFIED, SINK.port()).into(), "eth0")
    }

    /// The client's socket.
    pub fn client(&self) -> io::Result<UdpSocket> {
        self.client.socket(SocketAddr::V4(CLIENT), "eth0")
    }

    /// A socket of the sink's host.
    pub fn socket_at_sink(&self, address: SocketAddr) -> io::Result<UdpSocket> {
        self.sink.socket(address, "eth0")
    }

    /// The sink's socket.
    pub fn sink(&self) -> io::Result<UdpSocket> {
        self.sink.socket(SocketAddr::V4(SINK), "eth0")
    }

    /// A socket of the sink's host for whoever connects to it.
    pub fn listening_sink(&self, address: SocketAddrV4) -> io::Result<TcpListener> {
        self.in_sink(|| TcpListener::bind(address))
    }
}
