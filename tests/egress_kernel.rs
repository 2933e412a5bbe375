//! The automatic choice against the kernel: what it says is sent, and caught on the far side, by the
//! interface that it named and by no other.

#[path = "support/program.rs"]
mod program;

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use socket2::{Domain, Protocol, Socket, Type};
use viaduct::cli::netns::{Host, add_veth, netlink};
use viaduct::control::netlink::dump;
use viaduct::egress::{Egress, NoEgress, Question, Reason, Step, View, auto};
use viaduct::fib::Fib;
use viaduct::net::{ListenerId, NextHop, SectionId, Transport};
use viaduct::plan::{Advertise, EgressPolicy, Engine, Listener, Plan};
use viaduct::rules::Matcher;

/// A host with two interfaces, `public` and `private`, whose far ends are `eth0` and `eth1` of another
/// host, which owns the destinations.
struct World {
    far: Host,
}

const PUBLIC: &str = "203.0.113.10";
const PRIVATE: &str = "10.0.0.4";
/// Destinations: addresses of the far host's loopback interface.
const NEAR_PUBLIC: &str = "192.0.2.7";
const NEAR_PRIVATE: &str = "10.9.9.9";

/// Runs a test in a network namespace of its own, which the calling thread's children share.
fn in_a_world(test: impl FnOnce(&World) + Send) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("network namespaces need root: run tests/run");
            let far = Host::new().unwrap();
            netlink(async |handle| {
                add_veth(handle, "public", &far, "eth0").await?;
                add_veth(handle, "private", &far, "eth1").await
            })
            .unwrap();
            ip("link set lo up");
            ip(&format!("addr add {PUBLIC}/24 dev public"));
            ip(&format!("addr add {PRIVATE}/24 dev private"));
            ip("link set public up");
            ip("link set private up");
            far.inside(|| {
                ip("link set lo up");
                ip("addr add 203.0.113.1/24 dev eth0");
                ip("addr add 10.0.0.1/24 dev eth1");
                ip(&format!("addr add {NEAR_PUBLIC}/32 dev lo"));
                ip(&format!("addr add {NEAR_PRIVATE}/32 dev lo"));
                ip("link set eth0 up");
                ip("link set eth1 up");
                Ok(())
            })
            .unwrap();
            test(&World { far });
        });
    });
}

fn ip(words: &str) {
    let done = program::output(Command::new("ip").args(words.split(' '))).expect("ip (iproute2) is needed");
    assert!(done.status.success(), "ip {words}: {}", String::from_utf8_lossy(&done.stderr));
}

fn plan(listeners: &[(&str, Option<u32>)]) -> Plan {
    let listener = |(place, &(address, mark)): (usize, &(&str, Option<u32>))| {
        let bind: SocketAddr = address.parse().unwrap();
        Listener {
            id: ListenerId(place as u16),
            section: SectionId(place as u16),
            name: address.into(),
            identity: place as u32,
            formerly: Vec::new(),
            transport: Transport::Udp,
            bind,
            link: None,
            device: None,
            device_index: 0,
            mark,
            advertise: vec![Advertise::new(None, &bind.ip().to_string(), bind.port())],
            dialog_to: Vec::new(),
            standing: Default::default(),
        }
    };
    Plan {
        origin: "<test>".into(),
        engine: Engine::default(),
        domains: Vec::new(),
        keys_file: None,
        sections: Default::default(),
        left_out: Default::default(),
        streams: Default::default(),
        listeners: listeners.iter().enumerate().map(listener).collect(),
        egress: EgressPolicy::default(),
        hosts: Default::default(),
        tls_names: Default::default(),
        groups: Default::default(),
        dns: Default::default(),
        rules: Default::default(),
        overload: Default::default(),
        matcher: Matcher::compile(&[]).unwrap().into(),
        admin: None,
    }
}

fn ask(plan: &Plan, fib: &Fib, destination: &str) -> Result<Egress, NoEgress> {
    let address = SocketAddr::new(destination.parse().unwrap(), 5060);
    let next_hop = NextHop { transport: Transport::Udp, address };
    let view = View::new(plan, fib);
    auto(plan, fib, &view, &Question { next_hop, ingress: ListenerId(0), flow: 7 })
}

impl World {
    /// Sends from the chosen listener's socket and says on which far interface it arrives, and from
    /// which address. Fails if it arrives on both or on none.
    fn arrives(&self, plan: &Plan, egress: &Egress, destination: &str) -> (&'static str, IpAddr) {
        let to = SocketAddr::new(destination.parse().unwrap(), 5060);
        let doors = ["eth0", "eth1"].map(|device| (device, self.far.socket(to, device).unwrap()));
        let listener = plan.listener(egress.listener);
        let socket = Socket::new(Domain::for_address(to), Type::DGRAM, Some(Protocol::UDP)).unwrap();
        listener.mark.iter().for_each(|&mark| socket.set_mark(mark).unwrap());
        socket.bind(&listener.bind.into()).unwrap();
        UdpSocket::from(socket).send_to(b"where am I", to).unwrap();
        let mut caught = Vec::new();
        let deadline = Instant::now() + Duration::from_millis(300);
        while Instant::now() < deadline {
            for (device, door) in &doors {
                match door.recv_from(&mut [0; 64]) {
                    Ok((_, from)) => caught.push((*device, from.ip())),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                }
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(caught.len(), 1, "{caught:?}");
        caught[0]
    }
}

/// The kernel's own choice for an unbound socket.
fn unbound(destination: &str) -> io::Result<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect((destination, 5060))?;
    socket.local_addr().map(|address| address.ip())
}

const BOTH: [(&str, Option<u32>); 2] = [("203.0.113.10:5060", None), ("10.0.0.4:5060", None)];

#[test]
fn each_network_is_reached_from_its_own_listener() {
    in_a_world(|world| {
        ip("route add default via 203.0.113.1");
        ip("route add 10.0.0.0/8 via 10.0.0.1");
        let (plan, fib) = (plan(&BOTH), dump(1).unwrap());
        for (destination, door, source) in [(NEAR_PUBLIC, "eth0", PUBLIC), (NEAR_PRIVATE, "eth1", PRIVATE)] {
            let egress = ask(&plan, &fib, destination).unwrap();
            assert_eq!(egress.reason, Reason::Auto(Step::Source));
            assert_eq!(egress.route.source, unbound(destination).unwrap());
            assert_eq!(world.arrives(&plan, &egress, destination), (door, source.parse().unwrap()));
        }
    });
}

/// A table for each source address, nothing in `main`: an unbound socket is told "unreachable" there.
#[test]
fn a_policy_routed_host_sends_by_the_table_of_the_source() {
    in_a_world(|world| {
        ip("route flush table main");
        ip("rule add pref 100 from 203.0.113.10 lookup 10");
        ip("rule add pref 101 from 10.0.0.4 lookup 20");
        ip("route add default via 203.0.113.1 dev public onlink table 10");
        ip("route add 10.0.0.0/8 via 10.0.0.1 dev private onlink table 20");
        let (plan, fib) = (plan(&[BOTH[1], BOTH[0]]), dump(1).unwrap());
        for (destination, door, source, table) in
            [(NEAR_PUBLIC, "eth0", PUBLIC, 10), (NEAR_PRIVATE, "eth1", PRIVATE, 20)]
        {
            let refused = unbound(destination).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::NetworkUnreachable, "{destination}");
            let egress = ask(&plan, &fib, destination).unwrap();
            assert_eq!((egress.reason, egress.route.table), (Reason::Auto(Step::Bound), table));
            assert_eq!(world.arrives(&plan, &egress, destination), (door, source.parse().unwrap()));
        }
    });
}

/// The kernel's source is the primary address; the listener is on a floating one beside it.
#[test]
fn a_floating_address_sends_by_its_own_interface() {
    in_a_world(|world| {
        ip("route add default via 203.0.113.1");
        ip("addr add 203.0.113.99/24 dev public");
        let (plan, fib) = (plan(&[("10.0.0.4:5060", None), ("203.0.113.99:5060", None)]), dump(1).unwrap());
        assert_eq!(unbound(NEAR_PUBLIC).unwrap(), PUBLIC.parse::<IpAddr>().unwrap());
        let egress = ask(&plan, &fib, NEAR_PUBLIC).unwrap();
        assert_eq!((egress.listener, egress.reason), (ListenerId(1), Reason::Auto(Step::OnDevice)));
        let floating = "203.0.113.99".parse().unwrap();
        assert_eq!(world.arrives(&plan, &egress, NEAR_PUBLIC), ("eth0", floating));
        // It moves to the other node of the pair: the listener is down and no longer chosen.
        ip("addr del 203.0.113.99/24 dev public");
        let why = ask(&plan, &dump(2).unwrap(), NEAR_PUBLIC);
        assert_ne!(why.map(|egress| egress.listener), Ok(ListenerId(1)));
    });
}

/// An address that a routing protocol announces, on the loopback interface.
#[test]
fn an_address_on_loopback_sends_by_whatever_interface_leads_there() {
    in_a_world(|world| {
        ip("addr add 198.51.100.1/32 dev lo");
        ip("route add default via 203.0.113.1");
        ip("route add 10.0.0.0/8 via 10.0.0.1");
        world
            .far
            .inside(|| {
                ip("route add 198.51.100.1/32 via 203.0.113.10");
                for entry in std::fs::read_dir("/proc/sys/net/ipv4/conf")? {
                    std::fs::write(entry?.path().join("rp_filter"), "0")?;
                }
                Ok(())
            })
            .unwrap();
        let (plan, fib) = (plan(&[("198.51.100.1:5060", None)]), dump(1).unwrap());
        for (destination, door) in [(NEAR_PUBLIC, "eth0"), (NEAR_PRIVATE, "eth1")] {
            let egress = ask(&plan, &fib, destination).unwrap();
            assert_eq!(egress.reason, Reason::Auto(Step::Elsewhere));
            let anycast = "198.51.100.1".parse().unwrap();
            assert_eq!(world.arrives(&plan, &egress, destination), (door, anycast));
        }
    });
}

#[test]
fn a_mark_leads_its_listener_to_another_table() {
    in_a_world(|world| {
        ip("rule add pref 100 fwmark 7 lookup 7");
        ip("route add default via 203.0.113.1 table 7");
        let (plan, fib) = (plan(&[BOTH[1], ("203.0.113.10:5060", Some(7))]), dump(1).unwrap());
        assert_eq!(unbound(NEAR_PUBLIC).unwrap_err().kind(), ErrorKind::NetworkUnreachable);
        let egress = ask(&plan, &fib, NEAR_PUBLIC).unwrap();
        assert_eq!((egress.listener, egress.route.table), (ListenerId(1), 7));
        assert_eq!(world.arrives(&plan, &egress, NEAR_PUBLIC), ("eth0", PUBLIC.parse().unwrap()));
    });
}
