//! Whether the sockets of a configuration can be had here and now, asked without taking anything from anybody.
//!
//! A port that another process has is not shared for the question: what comes for that process stays its own.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::admin;
use super::ports::{self, Open};
use crate::engine::socket::{Socket, SocketError};
use crate::net::Transport;
use crate::plan::{Listener, Plan};

pub use super::ports::Holder;

/// What became of the question for one socket.
#[derive(Debug)]
pub enum Trial {
    /// It can be had.
    Free,
    /// There is nothing to bind it to yet: an interface is absent.
    Later,
    /// Others have the port; as far as this user may know who. Empty: it may not.
    Taken(Vec<Holder>),
    /// Others have the port, and would let this user have it beside them.
    Shared(Vec<Holder>),
    /// The port is not for this user.
    Privileged,
    /// Anything else, in words.
    Refused(String),
}

/// Asks for each listener of the Plan, in its order, and for the admin address, if there is one.
pub fn sockets(plan: &Plan) -> (Vec<Trial>, Option<Trial>) {
    let mut neighbours = Neighbours::default();
    let listeners = plan.listeners.iter().map(|listener| neighbours.of_listener(listener)).collect();
    (listeners, plan.admin.map(|address| neighbours.of_admin(address)))
}

/// What other processes have open; read where it is asked for.
#[derive(Default)]
struct Neighbours {
    datagrams: Option<Vec<Open>>,
    listening: Option<Vec<Open>>,
    holders: Option<HashMap<u64, Vec<Holder>>>,
}

impl Neighbours {
    fn of_listener(&mut self, listener: &Listener) -> Trial {
        if !listener.can_be_bound() {
            return Trial::Later;
        }
        match Socket::try_alone(listener) {
            Ok(()) => Trial::Free,
            Err(SocketError::InUse(_) | SocketError::StreamInUse(_)) => {
                match self.who_has(listener.bind, listener.transport == Transport::Udp) {
                    (who, true) => Trial::Shared(who),
                    (who, false) => Trial::Taken(who),
                }
            }
            Err(SocketError::Privileged(_)) => Trial::Privileged,
            Err(why) => Trial::Refused(why.to_string()),
        }
    }

    fn of_admin(&mut self, address: SocketAddr) -> Trial {
        match admin::try_alone(address) {
            Ok(()) => Trial::Free,
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                // It is bound for itself alone, whatever others would share.
                Trial::Taken(self.who_has(address, false).0)
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Trial::Privileged,
            Err(error) => Trial::Refused(format!("{address} cannot be bound: {error}")),
        }
    }

    /// The processes whose sockets stand in its way, each once, and whether all of these would share the port.
    fn who_has(&mut self, bind: SocketAddr, is_udp: bool) -> (Vec<Holder>, bool) {
        let open = match is_udp {
            true => self.datagrams.get_or_insert_with(ports::datagrams),
            false => self.listening.get_or_insert_with(ports::listening),
        };
        let holders = self.holders.get_or_insert_with(ports::holders);
        let (mut found, mut is_shared) = (Vec::new(), true);
        for open in open.iter().filter(|open| stands_in_the_way(open.at, bind)) {
            let holders = holders.get(&open.inode).map_or(&[][..], Vec::as_slice);
            is_shared &= open.is_shared(holders);
            found.extend_from_slice(holders);
        }
        found.sort_unstable();
        found.dedup();
        (found, is_shared)
    }
}

/// A socket that is bound there and shares with nobody leaves no room for one here. Whether one of `::` takes IPv4, too, the
/// tables do not say; it usually does.
fn stands_in_the_way(there: SocketAddr, here: SocketAddr) -> bool {
    let is_wildcard = match there.ip() {
        IpAddr::V4(ip) => ip == Ipv4Addr::UNSPECIFIED && here.is_ipv4(),
        IpAddr::V6(ip) => ip == Ipv6Addr::UNSPECIFIED,
    };
    there.port() == here.port() && (is_wildcard || there.ip() == here.ip())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;
    use crate::control::samples::listener;

    fn ask(listener: &Listener) -> Trial {
        Neighbours::default().of_listener(listener)
    }

    /// By this process, as it happens.
    fn is_taken_here(trial: &Trial) -> bool {
        let own = format!("(process {})", std::process::id());
        matches!(trial, Trial::Taken(who) if who.iter().any(|holder| holder.to_string().ends_with(&own) && !holder.is_run()))
    }

    #[test]
    fn a_port_is_free_until_somebody_has_it_or_all_addresses_of_it() {
        for (at, all) in [("127.0.0.1:0", "0.0.0.0:0"), ("[::1]:0", "[::]:0"), ("127.0.0.1:0", "[::]:0")] {
            for taken in [at, all] {
                let socket = UdpSocket::bind(taken).unwrap();
                let mut bind: SocketAddr = at.parse().unwrap();
                bind.set_port(socket.local_addr().unwrap().port());
                let udp = listener(0, "own", &bind.to_string());
                assert!(is_taken_here(&ask(&udp)), "{taken}: {:?}", ask(&udp));
                drop(socket);
                assert!(matches!(ask(&udp), Trial::Free), "{taken}: {:?}", ask(&udp));
                let tcp = SocketAddr::new(taken.parse::<SocketAddr>().unwrap().ip(), bind.port());
                let Ok(socket) = TcpListener::bind(tcp) else { continue };
                let tcp = Listener { transport: Transport::Tcp, ..udp };
                assert!(is_taken_here(&ask(&tcp)), "{taken}: {:?}", ask(&tcp));
                drop(socket);
                assert!(matches!(ask(&tcp), Trial::Free), "{taken}: {:?}", ask(&tcp));
            }
        }
    }

    /// What another process would share is not shared for the question: nothing of it is lost.
    #[test]
    fn a_port_that_would_be_shared_is_told_as_that() {
        let free = listener(0, "own", "127.0.0.1:0");
        let socket = Socket::open(&free, 65_536).unwrap();
        let at = socket2::SockRef::from(&socket).local_addr().unwrap().as_socket().unwrap();
        let own = listener(0, "own", &at.to_string());
        assert!(matches!(ask(&own), Trial::Shared(_)), "{:?}", ask(&own));
        assert!(Socket::open(&own, 65_536).is_ok(), "it would be");
        // Who shares with nobody is not let in, and lets nobody in.
        let alone = UdpSocket::bind("127.0.0.1:0").unwrap();
        let taken = listener(0, "own", &alone.local_addr().unwrap().to_string());
        assert!(is_taken_here(&ask(&taken)) && Socket::open(&taken, 65_536).is_err());
    }

    #[test]
    fn an_address_that_is_not_here_is_waited_for_and_an_admin_address_is_not() {
        assert!(matches!(ask(&listener(0, "own", "192.0.2.1:5060")), Trial::Free));
        let admin = Neighbours::default().of_admin("192.0.2.1:9060".parse().unwrap());
        assert!(
            matches!(&admin, Trial::Refused(why) if why.starts_with("192.0.2.1:9060 cannot be bound: ")),
            "{admin:?}"
        );
        let absent = Listener { device: Some("nothing".into()), ..listener(0, "own", "127.0.0.1:0") };
        assert!(matches!(ask(&absent), Trial::Later));
    }
}
