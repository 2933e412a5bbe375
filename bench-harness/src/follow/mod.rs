//! `follow`: routing changes under traffic, from the kernel to the shard that decides by them.

mod verdict;

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::net::SocketAddrV4;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use ipnet::IpNet;
use viaduct::control::{self, Handle, Options, Source};

use crate::draw::Random;
use crate::interrupt::Folder;
use crate::load::{Generator, Sink};
use crate::measure::resident;
use crate::progress;
use crate::range::{self, ROUTES, count};
use crate::soak::{SHARD, Sentinel};
use crate::subject::{FORWARDER_CORE, LOAD_CORE, pin};
use crate::waits::{Waits, stolen_ns};
use crate::world::{INSIDE, OUTSIDE, SINK, World};
use verdict::{Batches, Delay, Results};

/// Changes routes under traffic and measures when the shard decides by them
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Builds a network namespace with the given routes, starts Viaduct there with one shard and sends INVITEs
through it. Then it changes single routes at a rate, each time waiting until the shard decides by a snapshot
that is newer than the change; then many routes as fast as `ip -batch` can. At the end a link flaps, which has
Viaduct compare its tables with the kernel's.

Passes (exit code 0) when 99 of 100 changes are in use within 50 ms (tables of up to 2,000 routes: 5 ms), the
many changes within 10 s, no batch of the shard took 5 ms (or longer than without changes), no message was lost and no route differs.
Time is left out in which, by the kernel's account (schedstat, stolen time), a thread that a change goes through was ready and did
not run: `ip`, Viaduct's and the one that measures. Both figures are told.

Examples:
  bench-harness follow
  bench-harness follow --v4 1000 --v6 0 --many 0 --json")]
pub struct Args {
    #[command(flatten)]
    table: range::Table,
    /// Single changes a second
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    changes: u64,
    /// For how many seconds
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Changes made at once after that
    #[arg(long, default_value_t = 100_000, value_parser = count(0..=ROUTES))]
    many: usize,
    /// Messages a second meanwhile
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rate: u64,
    /// Seed of prefixes and changes
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print the results as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the measurement; `true`: all conditions hold.
pub fn execute(args: &Args) -> io::Result<bool> {
    args.table.check()?;
    let world = World::build()?;
    let folder = Folder::new()?;
    let mut random = Random(args.seed);
    let bar = progress::spinner("drawing routes");
    let mut nets = args.table.nets(&mut random);
    // The networks of client and sink keep their routes.
    nets.retain(|net| !matches!(net, IpNet::V4(net) if net.addr().octets()[0] == 10));
    bar.set_message(format!("giving {} routes to the kernel", nets.len()));
    batch(folder.path(), prepare(&nets))?;
    bar.set_message("starting");
    let before = resident()?;
    let begin = Instant::now();
    let viaduct = start(folder.path())?;
    let ready = begin.elapsed();
    let bytes = resident()?.saturating_sub(before);
    pin(LOAD_CORE)?;
    let sink = Sink::start(world.sink()?, Some(LOAD_CORE))?;
    let generator = Generator::new(world.client()?, SINK.into())?;
    let traffic = Traffic::start(generator, args.rate, sink);
    let mut run = Run::new(&viaduct, &bar)?;
    let mut table = Table { nets: nets.into_iter().map(|net| (net, false)).collect(), random };
    let undisturbed = run.undisturbed(args.seconds)?;
    let delays = run.single(args, &mut table)?;
    let many = run.many(args, folder.path(), &mut table)?;
    run.audit(folder.path())?;
    let batches = run.batches;
    bar.set_message("counting messages");
    let lost = traffic.stop()?;
    bar.finish_and_clear();
    let routing = viaduct.monitor().facts().process.routing;
    verdict::report(args, &Results { ready, bytes, delays, many, batches, undisturbed, lost, routing })
}

fn start(folder: &Path) -> io::Result<Handle> {
    let file = folder.join("viaduct.toml");
    fs::write(
        &file,
        format!(
            "[engine]\ncores = [{FORWARDER_CORE}]\n
[admin]\nlisten = \"off\"\n
[[listener]]\nname = \"inside\"\nbind = \"udp:{INSIDE}:5060\"\n
[[listener]]\nname = \"outside\"\nbind = \"udp:{OUTSIDE}:5060\"\n
[[route]]\nname = \"load\"\nto = \"request-uri\"\nmode = \"stateless\"\n"
        ),
    )?;
    let options = Options { source: Source::File(file), owns_process: false };
    control::start(options).map_err(|error| io::Error::other(error.to_string()))
}

/// Prefixes, and by which of two gateways each goes now.
struct Table {
    nets: Vec<(IpNet, bool)>,
    random: Random,
}

impl Table {
    /// A route that changes: the kernel tells of no other.
    fn change(&mut self) -> String {
        let place = self.random.below(self.nets.len());
        let (net, second) = &mut self.nets[place];
        *second = !*second;
        route(net, *second)
    }
}

/// By one of two gateways on the outside.
pub fn route(net: &IpNet, second: bool) -> String {
    let gateway = match (net, second) {
        (IpNet::V4(_), false) => "10.2.0.2",
        (IpNet::V4(_), true) => "10.2.0.3",
        (IpNet::V6(_), false) => "2001:db8:2::2",
        (IpNet::V6(_), true) => "2001:db8:2::3",
    };
    format!("route replace {net} via {gateway} dev out\n")
}

fn prepare(nets: &[IpNet]) -> String {
    let mut lines = String::from("addr add 2001:db8:2::1/64 dev out nodad\n");
    for net in nets {
        lines.push_str(&route(net, false));
    }
    lines.push_str("link add spare type veth peer name spare-peer\nlink set spare up\n");
    lines
}

/// Has `ip` do all these.
pub fn batch(folder: &Path, lines: String) -> io::Result<()> {
    let file = folder.join("batch");
    fs::write(&file, lines)?;
    let done = Command::new("ip").arg("-batch").arg(&file).output()?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    Err(io::Error::other(format!("ip -batch failed: {}", said.lines().next().unwrap_or_default())))
}

/// An `ip` that does one line after another.
struct Changer {
    child: Child,
    lines: ChildStdin,
}

impl Changer {
    fn start() -> io::Result<Self> {
        let mut child = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn()?;
        let lines = child.stdin.take().ok_or_else(|| io::Error::other("no pipe to ip"))?;
        Ok(Self { child, lines })
    }

    fn make(&mut self, line: &str) -> io::Result<()> {
        self.lines.write_all(line.as_bytes())
    }

    fn finish(mut self) -> io::Result<()> {
        drop(self.lines);
        if self.child.wait()?.success() { Ok(()) } else { Err(io::Error::other("ip refused a change")) }
    }
}

/// Messages that go on meanwhile.
struct Traffic {
    thread: std::thread::JoinHandle<io::Result<u64>>,
    stop: std::sync::Arc<std::sync::atomic::AtomicBool>,
    sink: Sink,
}

impl Traffic {
    fn start(mut generator: Generator, rate: u64, sink: Sink) -> Self {
        let stop = std::sync::Arc::<std::sync::atomic::AtomicBool>::default();
        let asked = std::sync::Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let to = SocketAddrV4::new(INSIDE, 5060).into();
            let mut sent = 0;
            while !asked.load(std::sync::atomic::Ordering::Relaxed) {
                sent += generator.run(to, rate, Duration::from_millis(100))?;
            }
            Ok(sent)
        });
        Self { thread, stop, sink }
    }

    /// How many were lost.
    fn stop(self) -> io::Result<u64> {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let sent = self.thread.join().map_err(|_| io::Error::other("the generator panicked"))??;
        self.sink.settle();
        Ok(sent.saturating_sub(self.sink.messages()))
    }
}

struct Run<'a> {
    viaduct: &'a Handle,
    bar: &'a ProgressBar,
    sentinel: Sentinel,
    stolen_ns: u64,
    batches: Batches,
}

impl<'a> Run<'a> {
    fn new(viaduct: &'a Handle, bar: &'a ProgressBar) -> io::Result<Self> {
        let sentinel = Sentinel::start(std::process::id(), false)?;
        Ok(Self { viaduct, bar, sentinel, stolen_ns: stolen_ns()?, batches: Batches::default() })
    }

    fn used(&self) -> u64 {
        self.viaduct.monitor().shards().iter().map(|shard| shard.generation.get()).min().unwrap_or(0)
    }

    /// The longest batch of the last half minute, and what kept the shard waiting since the last look.
    fn look(&mut self) -> io::Result<()> {
        let longest = self.viaduct.monitor().shards().iter().map(|shard| shard.worst_batch_ns.get()).max();
        let stolen = stolen_ns()?;
        // A batch may stand on the border of two slots.
        let waited_ns = self.sentinel.take().longest_waits(2) + stolen.saturating_sub(self.stolen_ns);
        self.stolen_ns = stolen;
        self.batches.add(longest.unwrap_or(0), waited_ns);
        Ok(())
    }

    /// Single changes, and how long each took to be in use.
    fn single(&mut self, args: &Args, table: &mut Table) -> io::Result<Vec<Delay>> {
        const PATIENCE: Duration = Duration::from_secs(10);
        let mut changer = Changer::start()?;
        let own = std::process::id();
        let ways = Waits::of(own, &[SHARD, "viaduct-control"])?.and(own)?.and(changer.child.id())?;
        let total = args.changes * args.seconds;
        let mut delays = Vec::with_capacity(total as usize);
        let begin = Instant::now();
        for number in 0..total {
            let due = begin + Duration::from_secs(number) / args.changes as u32;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if number % args.changes == 0 {
                self.look()?;
                self.bar.set_message(format!("{} changes a second: {number} of {total}", args.changes));
            }
            let before = self.used();
            let line = table.change();
            let waited = ways.ns()?;
            let made = Instant::now();
            changer.make(&line)?;
            while self.used() == before {
                if made.elapsed() > PATIENCE {
                    return Err(io::Error::other(format!(
                        "10 s after `ip {}` it is not in use",
                        line.trim()
                    )));
                }
                std::thread::sleep(Duration::from_micros(50));
            }
            let whole = made.elapsed();
            delays.push(Delay { whole, waited: Duration::from_nanos(ways.ns()?.saturating_sub(waited)) });
        }
        changer.finish()?;
        Ok(delays)
    }

    /// Many changes at once; how long until the last is in use.
    fn many(&mut self, args: &Args, folder: &Path, table: &mut Table) -> io::Result<Duration> {
        self.bar.set_message(format!("{} changes at once", args.many));
        let lines: String = (0..args.many).map(|_| table.change()).collect();
        let begin = Instant::now();
        batch(folder, lines)?;
        // Until a while has passed without a new snapshot.
        let (mut last, mut at) = (self.used(), Instant::now());
        while at.elapsed() < Duration::from_secs(2) {
            std::thread::sleep(Duration::from_millis(1));
            if self.used() != last {
                (last, at) = (self.used(), Instant::now());
            }
        }
        self.look()?;
        Ok(at - begin)
    }

    /// The longest batch while nothing changes: what the machine does by itself.
    fn undisturbed(&mut self, seconds: u64) -> io::Result<Duration> {
        self.bar.set_message("traffic without changes");
        for _ in 0..seconds.max(1) {
            std::thread::sleep(Duration::from_secs(1));
            self.look()?;
        }
        Ok(std::mem::take(&mut self.batches).longest())
    }

    /// Has the tables compared with the kernel's.
    fn audit(&mut self, folder: &Path) -> io::Result<()> {
        let counts = || self.viaduct.monitor().facts().process.routing;
        let before = counts().audits;
        self.bar.set_message("comparing with the kernel's tables");
        let mut lines = String::new();
        for state in ["down", "up"] {
            let _ = writeln!(lines, "link set spare {state}");
        }
        batch(folder, lines)?;
        let begin = Instant::now();
        // Small tables are read anew after each event: there is nothing to compare.
        while counts().audits == before && counts().routes > viaduct::limits::REDUMP_ROUTES as u64 {
            if begin.elapsed() > Duration::from_secs(60) {
                return Err(io::Error::other("no comparison with the kernel's tables within a minute"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        self.look()
    }
}
