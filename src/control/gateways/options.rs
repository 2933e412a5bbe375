//! OPTIONS as they leave: from the listener's own socket, or by the connection that requests would leave by.
//!
//! Datagrams are the control thread's to send. A connection belongs to a shard, and only what a request would meet with says
//! how a gateway does: so OPTIONS over streams are given to that shard, which opens the connection where there is none, has
//! the certificate be for the name that requests ask for, and leaves it open for those that follow.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::egress::{Question, confirm};
use crate::engine::socket::Socket;
use crate::group::{Options, Ping, write_options};
use crate::net::{NextHop, Transport};
use crate::plan::{Gateway, Plan};
use crate::rules::Target;
use crate::shard::Post;
use crate::snapshot::Snapshot;
use crate::tls::PeerName;
use crate::token::PingBranch;

use super::super::sockets::Sockets;

/// An OPTIONS that is to leave.
#[derive(Debug)]
pub struct Leaving {
    /// Identity of the listener that it leaves from.
    pub listener: u32,
    pub to: SocketAddr,
    pub by: By,
    pub bytes: Vec<u8>,
}

/// What it leaves by.
#[derive(Debug)]
pub enum By {
    Datagram,
    Connection {
        /// Whom the server's certificate has to be for, over TLS.
        name: Option<Arc<PeerName>>,
        ping: Ping,
    },
}

/// An OPTIONS to one address of a gateway; `None`: requests would not reach that from the listener of `branch` either.
pub fn written(
    snapshot: &Snapshot,
    gateway: &Gateway,
    next_hop: NextHop,
    branch: PingBranch,
    instance: u32,
) -> Option<Leaving> {
    let Snapshot { plan, fib, view, keys, .. } = snapshot;
    let id = view.by_identity(branch.listener)?;
    let own = plan.listener(id);
    let question = Question { next_hop, ingress: id, flow: 0 };
    let route = confirm(plan, fib, view, id, &question).ok()?;
    let to = question.next_hop.on_link(route.dev).address;
    let options = Options {
        uri: &gateway.uri,
        transport: own.transport.via(),
        advertised: &own.advertised(to.ip()).text,
        branch: &branch.write(keys),
        instance,
        number: branch.number,
    };
    let by = match next_hop.transport {
        Transport::Udp => By::Datagram,
        transport => {
            let name = if transport.is_secure() { Some(name_of(plan, gateway, to)?) } else { None };
            let PingBranch { gateway, listener, number } = branch;
            let way = snapshot.roster.health().place(gateway, listener)?;
            By::Connection { name, ping: Ping { gateway, way, number } }
        }
    };
    Some(Leaving { listener: branch.listener, to, by, bytes: write_options(&options) })
}

/// Whom a gateway's certificate has to be for: its name, or what `[tls] names` has for its address, or that address.
fn name_of(plan: &Plan, gateway: &Gateway, to: SocketAddr) -> Option<Arc<PeerName>> {
    let name = match &gateway.to {
        Target::Name { host, .. } => PeerName::new(host)?,
        _ => match plan.tls_names.of(to.ip()) {
            Some(name) => PeerName::new(name)?,
            None => PeerName::of_address(to.ip()),
        },
    };
    Some(Arc::new(name))
}

impl Leaving {
    /// Has it leave; a shard that is to be woken for it is added to `rung`.
    ///
    /// # Errors
    /// The kernel's, or `NotConnected`: the listener has no socket, or no shard has room for it.
    pub fn leave(&self, sockets: &Sockets<Socket>, post: &Post, rung: &mut Vec<u16>) -> io::Result<()> {
        let nobody = || io::Error::from(io::ErrorKind::NotConnected);
        match &self.by {
            By::Datagram => sockets.of(self.listener).ok_or_else(nobody)?.send(&self.bytes, self.to),
            By::Connection { name, ping } => {
                let asked = post.ask(self.listener, self.to, name.clone(), *ping, &self.bytes);
                rung.extend(asked.map_err(|_| nobody())?);
                Ok(())
            }
        }
    }
}
