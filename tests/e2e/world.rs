//! The hosts around Viaduct and the links between them.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use viaduct::cli::netns::{self, Host};

use crate::endpoint::{Party, Tap};
use crate::program::{self, Program};

/// How long anything may take that should take milliseconds; the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Where Viaduct listens on the public side.
pub const EDGE: &str = "1.2.3.4:5060";

/// [`EDGE`].
pub fn edge() -> SocketAddr {
    EDGE.parse().expect("an address")
}

/// A host at the far end of one of Viaduct's links.
pub struct Far {
    host: Arc<Host>,
    name: &'static str,
}

impl Far {
    /// A SIP endpoint of this host.
    pub fn party(&self, user: &str, address: &str) -> Party {
        let address: SocketAddr = address.parse().expect("an address and port");
        let begin = Instant::now();
        let socket = loop {
            match self.host.inside(|| UdpSocket::bind(address)) {
                Ok(socket) => break socket,
                // One that was closed here may live on for a moment, in a program that another test starts just now.
                Err(e) if e.kind() == io::ErrorKind::AddrInUse && begin.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(e) => panic!("{}: bind {address}: {e}", self.name),
            }
        };
        Party::new(user, socket, address)
    }

    /// Watches the datagrams that come in by this host's link from now on.
    pub fn tap(&self) -> Tap {
        self.host.inside(|| Tap::open("eth0")).unwrap_or_else(|e| panic!("{}: capture: {e}", self.name))
    }

    /// A further host, behind this one by a link `lan`; both ends get these addresses with prefix length, and the
    /// further one this one as its router.
    pub fn behind(&self, name: &'static str, here: &str, there: &str) -> Far {
        let far = Far { host: Arc::new(host()), name };
        let join = || netns::netlink(async |handle| netns::add_veth(handle, "lan", &far.host, "eth0").await);
        self.inside(join).unwrap_or_else(|e| panic!("veth lan: {e}"));
        self.ip(&format!("addr add {here} dev lan"));
        far.ip(&format!("addr add {there} dev eth0"));
        self.ip("link set lan up");
        far.ip("link set eth0 up");
        let router = here.split('/').next().expect("an address");
        far.ip(&format!("route add default via {router}"));
        far
    }

    /// Starts a program in this host.
    pub fn spawn(&self, command: &mut Command) -> Program {
        spawn(&self.host, command)
    }

    /// `ip WORDS` in this host.
    pub fn ip(&self, words: &str) {
        ip(&self.host, words);
    }

    /// This host loses every `nth` datagram that comes in for this address, port 5060.
    pub fn loses(&self, address: &str, nth: u32) {
        lose(&self.host, address, nth);
    }

    /// Runs a function on a thread that lives in this host.
    pub fn inside<R: Send>(&self, work: impl FnOnce() -> io::Result<R> + Send) -> io::Result<R> {
        self.host.inside(work)
    }
}

/// Viaduct's host and its neighbours.
pub struct World {
    edge: Host,
    /// Behind `pub`: 1.2.3.100 and 2001:db8:1::100.
    pub public: Far,
    /// Behind `priv`: 10.0.0.100, and the roaming 172.16.0.100.
    pub private: Far,
    /// Behind `six`: fd00:6::100.
    pub six: Far,
    /// Behind `spare`: 10.9.0.100, and the roaming 172.16.0.100.
    pub spare: Far,
}

impl World {
    /// Builds it; all is gone when it is dropped.
    pub fn new() -> Self {
        let far = |name| Far { host: Arc::new(host()), name };
        let world = Self {
            edge: host(),
            public: far("public"),
            private: far("private"),
            six: far("six"),
            spare: far("spare"),
        };
        for (link, far) in
            [("pub", &world.public), ("priv", &world.private), ("six", &world.six), ("spare", &world.spare)]
        {
            let join =
                || netns::netlink(async |handle| netns::add_veth(handle, link, &far.host, "eth0").await);
            world.edge.inside(join).unwrap_or_else(|e| panic!("veth {link}: {e}"));
        }
        for line in [
            "link set lo up",
            "addr add 1.2.3.4/24 dev pub",
            "addr add 2001:db8:1::4/64 dev pub nodad",
            "addr add 10.0.0.4/24 dev priv",
            "addr add fd00:6::4/64 dev six nodad",
            "addr add 10.9.0.4/24 dev spare",
            "link set pub up",
            "link set priv up",
            "link set six up",
            "link set spare up",
        ] {
            world.ip(line);
        }
        for (far, lines) in [
            (
                &world.public,
                &["addr add 1.2.3.100/24 dev eth0", "addr add 2001:db8:1::100/64 dev eth0 nodad"],
            ),
            (&world.private, &["addr add 10.0.0.100/24 dev eth0", "addr add 172.16.0.100/32 dev lo"]),
            (&world.six, &["addr add fd00:6::100/64 dev eth0 nodad", "link set lo up"]),
            (&world.spare, &["addr add 10.9.0.100/24 dev eth0", "addr add 172.16.0.100/32 dev lo"]),
        ] {
            far.ip("link set lo up");
            lines.iter().for_each(|line| far.ip(line));
            far.ip("link set eth0 up");
        }
        for (far, gateway) in
            [(&world.public, "1.2.3.4"), (&world.private, "10.0.0.4"), (&world.spare, "10.9.0.4")]
        {
            far.ip(&format!("route add default via {gateway}"));
        }
        world
    }

    /// `ip WORDS` on Viaduct's host; `false`: this kernel cannot do it.
    pub fn can(&self, words: &str) -> bool {
        try_ip(&self.edge, words).status.success()
    }

    /// Another host for Viaduct between the same neighbours, which have it behind their `eth1`: 1.2.3.5, 10.0.0.5
    /// and fd00:6::5.
    pub fn beside(first: &Self) -> Self {
        let again = |far: &Far| Far { host: Arc::clone(&far.host), name: far.name };
        let world = Self {
            edge: host(),
            public: again(&first.public),
            private: again(&first.private),
            six: again(&first.six),
            spare: again(&first.spare),
        };
        world.ip("link set lo up");
        for (link, far, address) in [
            ("pub", &world.public, "1.2.3.5/24"),
            ("priv", &world.private, "10.0.0.5/24"),
            ("six", &world.six, "fd00:6::5/64"),
        ] {
            let join =
                || netns::netlink(async |handle| netns::add_veth(handle, link, &far.host, "eth1").await);
            world.edge.inside(join).unwrap_or_else(|e| panic!("veth {link}: {e}"));
            world.ip(&format!("addr add {address} dev {link}"));
            world.ip(&format!("link set {link} up"));
            far.ip("link set eth1 up");
            if address.contains(':') {
                // Unlike ARP, neighbour discovery answers for the addresses of its own link alone.
                far.ip("addr add fd00:6::100/128 dev eth1 nodad");
            }
            let (host, length) = address.split_once('/').expect("a length");
            let length = if length == "64" { 128 } else { 32 };
            far.ip(&format!("route add {host}/{length} dev eth1"));
        }
        world
    }

    /// How many sockets of Viaduct's host are bound to this address and port, whatever they are connected to.
    pub fn sockets(&self, bound: &str) -> usize {
        let ss = || program::output(Command::new("ss").args(["-Hanu"]));
        let listing = self.edge.inside(ss).unwrap_or_else(|e| panic!("ss (iproute2) is needed: {e}"));
        let text = String::from_utf8_lossy(&listing.stdout).into_owned();
        // A link-local address, or one that is tied to a device, is followed by it.
        let (address, port) = bound.rsplit_once(':').expect("an address and a port");
        let address = address.trim_matches(['[', ']']);
        let is_it = |local: &&str| {
            local.rsplit_once(':').is_some_and(|(at, on)| {
                on == port && at.split('%').next().is_some_and(|at| at.trim_matches(['[', ']']) == address)
            })
        };
        text.lines().filter_map(|line| line.split_whitespace().nth(3)).filter(is_it).count()
    }

    /// `ip WORDS` in Viaduct's host.
    pub fn ip(&self, words: &str) {
        ip(&self.edge, words);
    }

    /// Viaduct's host loses every `nth` datagram that comes in for this address, port 5060.
    pub fn loses(&self, address: &str, nth: u32) {
        lose(&self.edge, address, nth);
    }

    /// Starts a program in Viaduct's host.
    pub fn spawn(&self, command: &mut Command) -> Program {
        spawn(&self.edge, command)
    }

    /// Runs a function on a thread that lives in Viaduct's host.
    pub fn inside<R: Send>(&self, work: impl FnOnce() -> io::Result<R> + Send) -> io::Result<R> {
        self.edge.inside(work)
    }
}

fn host() -> Host {
    let host = Host::new().unwrap_or_else(|e| panic!("no network namespace ({e}): {}", netns::REMEDY));
    // Without duplicate address detection link-local addresses work at once, and so do neighbours.
    let quick = host.inside(|| std::fs::write("/proc/sys/net/ipv6/conf/default/accept_dad", "0"));
    quick.unwrap_or_else(|e| panic!("accept_dad: {e}"));
    host
}

fn spawn(host: &Host, command: &mut Command) -> Program {
    // A child lives in the namespace of the thread that started it.
    host.inside(|| Program::start(command)).unwrap_or_else(|e| panic!("{command:?}: {e}"))
}

fn lose(host: &Host, address: &str, nth: u32) {
    for words in [
        "add table inet loss".to_owned(),
        "add chain inet loss in { type filter hook input priority 0; }".to_owned(),
        format!("add rule inet loss in ip daddr {address} udp dport 5060 numgen random mod {nth} == 0 drop"),
    ] {
        let nft = || program::output(Command::new("nft").args(words.split_whitespace()));
        let output = host.inside(nft).unwrap_or_else(|e| panic!("nft (nftables) is needed: {e}"));
        assert!(output.status.success(), "nft {words}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

fn try_ip(host: &Host, words: &str) -> std::process::Output {
    let output = host.inside(|| program::output(Command::new("ip").args(words.split_whitespace())));
    output.unwrap_or_else(|e| panic!("ip {words}: {e}"))
}

fn ip(host: &Host, words: &str) {
    let output = try_ip(host, words);
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Waits until the function says something, and fails with `what` if it never does.
pub fn eventually<R>(what: &str, mut look: impl FnMut() -> Option<R>) -> R {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
