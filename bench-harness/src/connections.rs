//! `connections`: many open connections on one shard, what each of them takes, and what is left when they are gone.
//!
//! ```text
//!  start ─► open all, a keep-alive on each ─► requests on some ─► close all ─► as at the start
//! ```

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde::Serialize;
use serde_json::json;
use socket2::{Domain, Protocol, Socket, Type};

use crate::interrupt::Folder;
use crate::measure::{bytes_of, mib};
use crate::output::{say, verdicts};
use crate::progress;
use crate::soak::{Metrics, open_files};
use crate::subject::{FORWARDER_CORE, LOAD_CORE, Subject, pin};
use crate::world::{INSIDE, World};

/// Opens many connections to one shard and tells what each takes
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A Viaduct with one core and a TCP listener, in a network namespace of its own; clients connect from several addresses and
send a keep-alive each (CRLF CRLF), so that none is taken for a scanner. Then OPTIONS go by some of them, all at a time,
while the others are idle; then all are closed. All of it twice: what the first time leaves (tables that stay) is told, what
the second time adds to it would be a leak.

Resident memory is Viaduct's own, without the pages of its program. What the kernel keeps for sockets is told apart: the growth of its slab memory, of the
whole host and for both ends of each connection.

Passes (exit code 0) when
  open      each connection was accepted and its keep-alive answered, and stays open
  memory    each takes at most --at-most bytes of Viaduct's resident memory
  answers   each OPTIONS has its 200
  closed    no connection, no file and no kept or unsent byte is left
  leak      the second time leaves at most 200 bytes more for each than the first: a map that was emptied may double once
            when it is filled again, and what would be lost of a connection is more

It raises its limit of open files by itself; more than the hard limit needs CAP_SYS_RESOURCE (root has it,
where it was not taken away).

Examples:
  bench-harness connections
  bench-harness connections --count 2000      # as an ordinary user with the usual limits")]
pub struct Args {
    /// Connections
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(1..=56_000))]
    count: u32,
    /// Connections that OPTIONS go by
    #[arg(long, default_value_t = 1_000)]
    speaking: u32,
    /// Most bytes of resident memory that a connection may take
    #[arg(long, default_value_t = 1_024)]
    at_most: u64,
    /// Print the results as JSON
    #[arg(long)]
    json: bool,
}

/// Connections from one address: fewer than a shard takes from one.
const PER_ADDRESS: u32 = 15_000;
/// Their ports, each time others: those of the first time are not free again at once, and a search for ports that are
/// takes the kernel a minute.
const PORTS: [u16; 2] = [10_000, 30_000];
/// What Viaduct opens and keeps free besides connections, and this program.
const OTHER_FILES: u64 = 1_024;
/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes for each connection by which resident memory may grow the second time, where nothing leaks.
const GROWN: u64 = 200;
/// The same whatever their number: what the allocator and the metrics' own connections take.
const GROWN_AT_ALL: u64 = 1 << 20;
const KEEP_ALIVE: &[u8] = b"\r\n\r\n";
const PONG: &[u8] = b"\r\n";
const LISTENER: SocketAddrV4 = SocketAddrV4::new(INSIDE, 5060);

/// How things stand at one moment.
#[derive(Clone, Copy, Debug, Serialize)]
struct Level {
    /// Viaduct's own resident memory in bytes, without pages of files.
    resident: u64,
    /// Its open files.
    files: u64,
    /// Connections that it has, by its own account.
    connections: u64,
    /// Bytes that these keep, and that wait to be sent by them.
    bytes: u64,
    /// The kernel's slab memory, of the whole host, in bytes.
    kernel: u64,
}

/// All of one time.
#[derive(Clone, Copy, Debug, Serialize)]
struct Time {
    before: Level,
    open: Level,
    after: Level,
    /// OPTIONS that were answered 200.
    answered: u32,
    /// Until all were open, in seconds.
    opening_s: f64,
}

/// Runs it; `true`: all conditions hold.
pub fn execute(args: &Args) -> io::Result<bool> {
    let bar = progress::spinner("starting");
    let times = run(args, &bar)?;
    bar.finish_and_clear();
    let properties = properties(args, &times);
    let passed = properties.iter().all(|(holds, _)| *holds);
    if args.json {
        let [first, second] = times;
        say!(
            "{}",
            json!({ "passed": passed, "count": args.count, "bytes_each": first.each(args.count),
                    "kernel_bytes_each": first.kernel_each(args.count), "first": first, "second": second })
        )?;
    } else {
        verdicts(properties)?;
    }
    Ok(passed)
}

fn run(args: &Args, bar: &ProgressBar) -> io::Result<[Time; 2]> {
    allow_files(args.count)?;
    let world = World::build()?;
    let clients = clients(args.count);
    world.more_clients(&clients)?;
    let folder = Folder::new()?;
    let mut subject = Subject::configured(folder.path(), &configuration())?;
    pin(LOAD_CORE)?;
    until(&mut subject, "Viaduct answers", || Metrics::read().is_ok())?;
    let mut time = |name: &str, ports: u16| {
        let told = |what: &str| bar.set_message(format!("{name}: {what}"));
        one_time(args, (&world, &clients, ports), &mut subject, &told)
    };
    Ok([time("first", PORTS[0])?, time("second", PORTS[1])?])
}

/// Each condition, with its numbers and its bound.
fn properties(args: &Args, [first, second]: &[Time; 2]) -> [(bool, String); 5] {
    let (count, most) = (args.count, args.at_most);
    let each = first.each(count);
    let (left, leaked) = (first.after.resident, second.after.resident);
    let is_as_before = |time: &Time| {
        time.after.connections == 0 && time.after.bytes == 0 && time.after.files <= time.before.files
    };
    [
        (
            [first, second].iter().all(|time| time.open.connections == u64::from(count)),
            format!(
                "open: {} of {count} connections, after {:.1} s and {:.1} s",
                first.open.connections.min(second.open.connections),
                first.opening_s,
                second.opening_s
            ),
        ),
        (
            each <= most as f64,
            format!(
                "memory: {each:.0} bytes of resident memory for each (at most {most}), {:.1} MiB in all from {:.1}; the \
                 kernel's slab memory apart: {:.0} bytes for both ends",
                mib(first.open.resident.saturating_sub(first.before.resident)),
                mib(first.before.resident),
                first.kernel_each(count)
            ),
        ),
        (
            [first, second].iter().all(|time| time.answered == args.speaking.min(count)),
            format!(
                "answers: {} and {} of {} OPTIONS",
                first.answered,
                second.answered,
                args.speaking.min(count)
            ),
        ),
        (
            is_as_before(first) && is_as_before(second),
            format!(
                "closed: {} connections, {} bytes kept or unsent, {} files of {} before",
                second.after.connections, second.after.bytes, second.after.files, first.before.files
            ),
        ),
        (
            leaked <= left + GROWN_AT_ALL + GROWN * u64::from(count),
            format!(
                "leak: {:.1} MiB at the start, {:.1} after the first time, {:.1} after the second",
                mib(first.before.resident),
                mib(left),
                mib(leaked)
            ),
        ),
    ]
}

impl Time {
    /// Resident bytes for each connection.
    fn each(&self, count: u32) -> f64 {
        self.open.resident.saturating_sub(self.before.resident) as f64 / f64::from(count)
    }

    /// The kernel's for both ends of each.
    fn kernel_each(&self, count: u32) -> f64 {
        self.open.kernel.saturating_sub(self.before.kernel) as f64 / f64::from(count)
    }
}

fn configuration() -> String {
    format!(
        "[engine]\ncores = [{FORWARDER_CORE}]\n[[listener]]\nname = \"inside\"\nbind = \"tcp:{LISTENER}\"\n\
         [[route]]\nname = \"all\"\nto = \"request-uri\"\n"
    )
}

/// Addresses of clients, behind the first of their network.
fn clients(count: u32) -> Vec<Ipv4Addr> {
    let [a, b, c, _] = INSIDE.octets();
    (0..count.div_ceil(PER_ADDRESS)).map(|number| Ipv4Addr::new(a, b, c, 10 + number as u8)).collect()
}

/// Lets this process, and Viaduct after it, have as many files open as connections ask for.
fn allow_files(count: u32) -> io::Result<()> {
    // Viaduct keeps a part of its files free of accepted connections.
    let part = viaduct::limits::FILES_RESERVED_PART;
    let needed = u64::from(count) * part / (part - 1) + OTHER_FILES;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, soft.max(needed), hard.max(needed)).map_err(|errno| {
        let possible = hard.saturating_sub(OTHER_FILES) * (part - 1) / part;
        io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!(
                "{count} connections need {needed} open files, and this process may have {hard} ({errno})\n  \
                 hint: run as root, raise the hard limit (ulimit -Hn, LimitNOFILE=), or --count {possible}"
            ),
        )
    })
}

fn one_time(
    args: &Args,
    (world, clients, ports): (&World, &[Ipv4Addr], u16),
    subject: &mut Subject,
    told: &dyn Fn(&str),
) -> io::Result<Time> {
    let before = Level::read(subject)?;
    told("opening");
    let begin = Instant::now();
    let mut streams = world.in_client(|| open(clients, ports, args.count))?;
    let opening_s = begin.elapsed().as_secs_f64();
    let count = u64::from(args.count);
    until(subject, "all connections are open", || open_now().is_ok_and(|open| open == count))?;
    let open = Level::read(subject)?;
    told("speaking");
    let answered = speak(&mut streams, args.speaking)?;
    told("closing");
    drop(streams);
    until(subject, "all connections are closed", || open_now().is_ok_and(|open| open == 0))?;
    let id = subject.id();
    until(subject, "all files are closed", || open_files(id).is_ok_and(|(files, _)| files <= before.files))?;
    let after = Level::read(subject)?;
    Ok(Time { before, open, after, answered, opening_s })
}

impl Level {
    fn read(subject: &mut Subject) -> io::Result<Self> {
        subject.check_alive()?;
        // Before the question for metrics, which is a connection, too.
        let (files, _) = open_files(subject.id())?;
        let metrics = Metrics::read()?;
        Ok(Self {
            resident: subject.own_resident()?,
            files,
            connections: metrics.count("viaduct_connections", ""),
            bytes: metrics.count("viaduct_connections_kept_bytes", "")
                + metrics.count("viaduct_connections_unsent_bytes", ""),
            kernel: slab()?,
        })
    }
}

fn open_now() -> io::Result<u64> {
    Ok(Metrics::read()?.count("viaduct_connections", ""))
}

/// The kernel's slab memory in bytes.
fn slab() -> io::Result<u64> {
    bytes_of(&fs::read_to_string("/proc/meminfo")?, "Slab")
}

/// Waits until it is so.
fn until(subject: &mut Subject, what: &str, mut is_so: impl FnMut() -> bool) -> io::Result<()> {
    let begin = Instant::now();
    while !is_so() {
        subject.check_alive()?;
        if begin.elapsed() > PATIENCE {
            let words = subject.words();
            return Err(io::Error::other(format!("not after {PATIENCE:?}: {what}; Viaduct said:\n{words}")));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// Opens all, and hears a keep-alive's answer on each.
fn open(clients: &[Ipv4Addr], ports: u16, count: u32) -> io::Result<Vec<TcpStream>> {
    let mut streams = Vec::with_capacity(count as usize);
    for number in 0..count {
        let port = ports + (number % PER_ADDRESS) as u16;
        let from = SocketAddrV4::new(clients[(number / PER_ADDRESS) as usize], port);
        let mut stream = connect(from).map_err(|error| {
            io::Error::new(error.kind(), format!("connection {number} from {from}: {error}"))
        })?;
        stream.write_all(KEEP_ALIVE)?;
        streams.push(stream);
    }
    for stream in &mut streams {
        let mut pong = [0; PONG.len()];
        stream.read_exact(&mut pong)?;
    }
    Ok(streams)
}

fn connect(from: SocketAddrV4) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&from.into())?;
    socket.connect(&LISTENER.into())?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket.into())
}

/// Sends OPTIONS by so many, evenly among all, and reads the answers; how many are 200.
fn speak(streams: &mut [TcpStream], speaking: u32) -> io::Result<u32> {
    let step = (streams.len() / speaking.max(1) as usize).max(1);
    let some = || (0..streams.len()).step_by(step).take(speaking as usize);
    for number in some() {
        let local = streams[number].local_addr()?;
        let request = format!(
            "OPTIONS sip:{LISTENER} SIP/2.0\r\nVia: SIP/2.0/TCP {local};branch=z9hG4bKo{number}\r\nMax-Forwards: 70\r\n\
             From: <sip:client@{local}>;tag=c\r\nTo: <sip:{LISTENER}>\r\nCall-ID: o{number}\r\nCSeq: 1 OPTIONS\r\n\
             Content-Length: 0\r\n\r\n"
        );
        (&streams[number]).write_all(request.as_bytes())?;
    }
    let mut answered = 0;
    for number in some() {
        let (mut answer, mut room) = (Vec::new(), [0; 2048]);
        while memchr::memmem::find(&answer, b"\r\n\r\n").is_none() {
            match (&streams[number]).read(&mut room)? {
                0 => break,
                len => answer.extend_from_slice(&room[..len]),
            }
        }
        answered += u32::from(answer.starts_with(b"SIP/2.0 200 "));
    }
    Ok(answered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hundreds_of_connections_are_opened_answered_and_gone() {
        // Memory for so few is what tables take that are there at once.
        let args = Args { count: 400, speaking: 50, at_most: u64::MAX, json: false };
        let times = run(&args, &ProgressBar::hidden()).unwrap();
        let properties = properties(&args, &times);
        assert!(properties.iter().all(|(holds, _)| *holds), "{properties:#?}");
    }

    #[test]
    fn enough_addresses_for_all() {
        assert_eq!(clients(50_000).len(), 4);
        assert_eq!(clients(1), [Ipv4Addr::new(10, 1, 0, 10)]);
    }
}
