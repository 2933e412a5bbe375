//! Drives the agents: sockets polled, calls placed, results gathered.

use std::collections::HashMap;
use std::fmt;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::ua::{Agent, Arrival, Finished, Port, Role, Script};
use super::world::{FORWARDER, LINKS, PRIVATE, PUBLIC, SERVICE, SIX, World};
use super::{Failure, forwarder::Forwarder, interrupt};

/// A socket of the world and whose it is.
struct Door {
    socket: UdpSocket,
    agent: usize,
    /// The forwarder's address on the link that it hangs on.
    neighbour: SocketAddr,
}

/// The agents' names, in order.
pub const AGENTS: [&str; 4] = ["public v4", "private v4", "private v6", "service"];
/// The private host's service, whose link the demo changes.
pub const SERVICE_AGENT: usize = 3;
/// The service's socket on the backup link.
pub const BACKUP_PORT: Port = 4;

/// A batch of calls from one agent to another.
pub struct Plan {
    /// Who calls.
    pub from: usize,
    /// The URI that is called.
    pub uri: String,
    /// How many calls.
    pub calls: u32,
    /// Time between the starts of two calls.
    pub spacing: Duration,
}

/// What a batch came to.
#[derive(Default)]
pub struct Results {
    /// One for each call, as the caller saw it.
    pub callers: Vec<Finished>,
    /// One for each call, as the callee saw it.
    pub callees: Vec<Finished>,
    /// Where and when each call arrived.
    pub arrivals: HashMap<String, Arrival>,
    /// When each call was placed.
    pub placed: HashMap<String, Instant>,
    /// Calls that arrived on a link from elsewhere than the forwarder's address there.
    pub strays: Vec<Stray>,
}

/// A call that arrived on a link from elsewhere than the forwarder's address there.
pub struct Stray {
    /// The call as it arrived.
    pub arrival: Arrival,
    /// The forwarder's address on that link.
    pub neighbour: SocketAddr,
}

impl fmt::Display for Stray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { arrival: Arrival { call_id, from, .. }, neighbour } = self;
        write!(f, "call {call_id} came from {from}, the forwarder's address on that link is {neighbour}")
    }
}

/// All agents with their sockets.
pub struct Agents {
    doors: Vec<Door>,
    agents: Vec<Agent>,
    batch: u32,
}

/// The agents' and the forwarder's socket on an address.
pub fn at(ip: IpAddr) -> SocketAddr {
    SocketAddr::new(ip, 5060)
}

/// A URI of the agent that a call can be placed to.
pub fn uri(agent: usize) -> String {
    match agent {
        0 => format!("sip:ua@{}", at(PUBLIC)),
        1 => format!("sip:ua@{}", at(PRIVATE)),
        2 => format!("sip:ua@{}", at(SIX)),
        _ => format!("sip:*33100@{}", at(FORWARDER[0])),
    }
}

impl Agents {
    /// Opens the agents' sockets in their hosts.
    pub fn open(world: &World) -> Result<Self, Failure> {
        let service = at(SERVICE.into());
        let doors = [
            (&world.public, at(PUBLIC), "eth0", 0, 0),
            (&world.private, at(PRIVATE), "eth0", 1, 1),
            (&world.six, at(SIX), "eth0", 2, 3),
            (&world.private, service, "eth0", SERVICE_AGENT, 1),
            (&world.private, service, "eth1", SERVICE_AGENT, 2),
        ]
        .into_iter()
        .map(|(host, address, device, agent, link)| {
            let socket = host.socket(address, device)?;
            Ok(Door { socket, agent, neighbour: at(FORWARDER[link]) })
        })
        .collect::<std::io::Result<Vec<_>>>()?;
        let agents = [at(PUBLIC), at(PRIVATE), at(SIX), service].into_iter().map(Agent::new).collect();
        Ok(Self { doors, agents, batch: 0 })
    }

    /// Waits until the forwarder answers OPTIONS on every link.
    pub fn wait_for(&mut self, forwarder: &mut Forwarder) -> Result<(), Failure> {
        let deadline = Instant::now() + Duration::from_secs(20);
        for (door, link) in [(0, 0), (1, 1), (2, 3)] {
            loop {
                interrupt::check()?;
                forwarder.check_alive()?;
                if self.answers_options(door) {
                    break;
                }
                if Instant::now() > deadline {
                    let link = LINKS[link];
                    return Err(Failure::new(format!("no answer to OPTIONS on the {link} link within 20 s")));
                }
            }
        }
        Ok(())
    }

    fn answers_options(&self, door: usize) -> bool {
        let Door { socket, neighbour, agent } = &self.doors[door];
        let own = at([PUBLIC, PRIVATE, SIX][*agent]);
        let text = format!(
            "OPTIONS sip:{neighbour} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bKready{door};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:ua@{own}>;tag=ready\r\nTo: <sip:{neighbour}>\r\n\
             Call-ID: ready{door}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        );
        // While the forwarder is starting, its side refuses (ICMP): as good as no answer.
        let _ = socket.send_to(text.as_bytes(), *neighbour);
        let deadline = Instant::now() + Duration::from_millis(100);
        let mut buffer = [0; 4096];
        while Instant::now() < deadline {
            if let Ok((length, _)) = socket.recv_from(&mut buffer)
                && length > 0
            {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }

    /// Runs a batch to its end; `meanwhile` is called on every turn with the number of calls placed.
    pub fn run(
        &mut self,
        plan: &Plan,
        bar: &ProgressBar,
        mut meanwhile: impl FnMut(u32) -> Result<(), Failure>,
    ) -> Result<Results, Failure> {
        let mut results = Results::default();
        let (mut placed, mut next) = (0, Instant::now());
        self.batch += 1;
        while (results.callers.len() as u32) < plan.calls {
            let now = Instant::now();
            if placed < plan.calls && now >= next {
                let id = self.place(plan, placed, now);
                results.placed.insert(id, now);
                placed += 1;
                next += plan.spacing;
            }
            interrupt::check()?;
            meanwhile(placed)?;
            self.receive(&mut results)?;
            self.turn(plan.from, &mut results);
            bar.set_position(results.callers.len() as u64);
        }
        self.linger(&mut results)?;
        for agent in &mut self.agents {
            agent.clear();
        }
        Ok(results)
    }

    fn place(&mut self, plan: &Plan, number: u32, now: Instant) -> String {
        // The last letter tells the callee who ends the call.
        let (bye_by, letter) =
            if number.is_multiple_of(2) { (Role::Caller, 'a') } else { (Role::Callee, 'b') };
        let call_id = format!("demo{}x{number}{letter}", self.batch);
        let script = Script { call_id: call_id.clone(), bye_by };
        let neighbour = self.doors[plan.from].neighbour;
        self.agents[plan.from].place(script, &plan.uri, plan.from, neighbour, now);
        call_id
    }

    /// Gives the callees' last messages the time to arrive.
    fn linger(&mut self, results: &mut Results) -> Result<(), Failure> {
        let deadline = Instant::now() + Duration::from_millis(50);
        while Instant::now() < deadline && results.callees.len() < results.callers.len() {
            self.receive(results)?;
            self.turn(usize::MAX, results);
        }
        Ok(())
    }

    fn receive(&mut self, results: &mut Results) -> Result<(), Failure> {
        let mut ready: Vec<_> =
            self.doors.iter().map(|d| PollFd::new(d.socket.as_fd(), PollFlags::POLLIN)).collect();
        match poll(&mut ready, PollTimeout::from(1u8)) {
            // A signal; who asked for it looks after it.
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(std::io::Error::from(errno).into()),
        }
        let mut buffer = [0; 65_536];
        for (port, door) in self.doors.iter().enumerate() {
            loop {
                match door.socket.recv_from(&mut buffer) {
                    Ok((length, from)) => {
                        let agent = &mut self.agents[door.agent];
                        agent.receive(&buffer[..length], port, from, Instant::now());
                        for arrival in agent.take_arrivals() {
                            results.arrived(arrival, door.neighbour);
                        }
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    // An ICMP error of an earlier send; retransmission covers it.
                    Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// Sends what the agents want to send and gathers the calls that ended.
    fn turn(&mut self, caller: usize, results: &mut Results) {
        let now = Instant::now();
        for (number, agent) in self.agents.iter_mut().enumerate() {
            agent.tick(now);
            for send in agent.take_sends() {
                // A full or refusing socket is a lost datagram; retransmission covers it.
                let _ = self.doors[send.port].socket.send_to(send.text.as_bytes(), send.to);
            }
            let side = if number == caller { &mut results.callers } else { &mut results.callees };
            side.extend(agent.take_finished());
        }
    }
}

impl Results {
    fn arrived(&mut self, arrival: Arrival, neighbour: SocketAddr) {
        if arrival.from != neighbour {
            self.strays.push(Stray { arrival: arrival.clone(), neighbour });
        }
        self.arrivals.insert(arrival.call_id.clone(), arrival);
    }

    /// What went wrong, both sides together.
    pub fn failures(&self) -> impl Iterator<Item = String> {
        let calls = self.callers.iter().chain(&self.callees);
        let failed = calls.filter_map(|c| c.failure.as_ref().map(|f| format!("call {}: {f}", c.call_id)));
        failed.chain(self.strays.iter().map(Stray::to_string))
    }
}
