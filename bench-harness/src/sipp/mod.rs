//! `sipp`: calls by SIPp, a SIP stack that is none of ours, through a Viaduct of its own or a running one.

mod outcome;
mod program;

use std::fs;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use serde::Serialize;
use serde_json::json;
use viaduct::cli::netns::Host;

use crate::died;
use crate::interrupt::Folder;
use crate::output::{say, tell};
use crate::progress;
use crate::range::one_family;
use crate::subject::Subject;
use crate::world::{CLIENT, INSIDE, OUTSIDE, SINK, World};
use outcome::{Counts, End};
use program::{Role, Sipp};

/// Makes calls by SIPp through Viaduct
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A scenario is a folder with uac.xml (calls), mostly uas.xml (is called) and a line that says what it shows. \"fresh\"
builds network namespaces and starts a Viaduct there. Through a running one, both ends stand on this host: Viaduct has
to forward what --caller sends to the address in the Request-URI, --callee.

The exit code is the worst of SIPp's own: 0 every call succeeded, 1 a call failed, 97 it stopped on a command or its
time was over, 99 no call was processed, 254 no socket, 255 a fatal error.

Examples:
  bench-harness sipp
  bench-harness sipp --scenario call --calls 1000 --rate 200 --json
  bench-harness sipp --scenario call --via 192.0.2.254:5060 --caller 192.0.2.10:5070 --callee 192.0.2.10:5071")]
pub struct Args {
    /// Folder below --scenarios, or `all`
    #[arg(long, default_value = "all")]
    scenario: String,
    /// Calls of each scenario
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    calls: u32,
    /// Calls that begin in a second
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// Address and port of a running Viaduct, or `fresh`
    #[arg(long, value_name = "HOST:PORT", default_value = "fresh", value_parser = via)]
    via: Via,
    /// Where the caller stands; by default this host's address towards a running Viaduct, port 5070
    #[arg(long, value_name = "IP:PORT")]
    caller: Option<SocketAddr>,
    /// Where the callee stands; by default the caller's address, port 5071
    #[arg(long, value_name = "IP:PORT")]
    callee: Option<SocketAddr>,
    /// Folder with the scenarios
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../sipp-scenarios"))]
    scenarios: PathBuf,
    /// Print the results as JSON
    #[arg(long)]
    json: bool,
}

/// Through which Viaduct.
#[derive(Clone, Copy, Debug)]
enum Via {
    Fresh,
    Running(SocketAddr),
}

fn via(text: &str) -> Result<Via, String> {
    use std::net::ToSocketAddrs as _;
    if text == "fresh" {
        return Ok(Via::Fresh);
    }
    let mut addresses =
        text.to_socket_addrs().map_err(|error| format!("`fresh`, or host and port: {error}"))?;
    addresses.next().map(Via::Running).ok_or_else(|| format!("{text} has no address"))
}

/// Whom scenarios without a callee call: no rule of the fresh Viaduct lets that through (RFC 5737).
const NOBODY: &str = "192.0.2.99:5060";
/// How long a callee may wait for the rest of the last call.
const PATIENCE: Duration = Duration::from_secs(5);

/// Both ends and what is between them.
struct Stage {
    world: Option<World>,
    proxy: SocketAddr,
    caller: SocketAddr,
    callee: SocketAddr,
}

/// What became of a scenario.
#[derive(Debug, Serialize)]
struct Row {
    scenario: String,
    calls: u32,
    seconds: f64,
    caller: Side,
    callee: Option<Side>,
}

#[derive(Debug, Serialize)]
struct Side {
    #[serde(flatten)]
    counts: Counts,
    exit_code: u8,
    meaning: String,
    /// What it said, where it did not succeed.
    said: Option<String>,
}

/// Makes the calls; the exit code is the worst of SIPp's.
pub fn execute(args: &Args) -> ExitCode {
    match run(args).and_then(|rows| print(args, &rows).map(|()| rows)) {
        Ok(rows) => rows.iter().map(Row::exit_code).max().unwrap_or(0).into(),
        Err(error) => {
            tell!("bench-harness: {error}");
            died::leave_word(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> io::Result<Vec<Row>> {
    let scenarios = scenarios(args)?;
    let stage = Stage::build(args)?;
    let folder = Folder::new()?;
    let mut viaduct = None;
    if stage.world.is_some() {
        viaduct = Some(Subject::configured(folder.path(), &configuration())?);
        wait_for(stage.proxy.port(), |work| work())?;
    }
    let mut rows = Vec::new();
    for (number, scenario) in scenarios.iter().enumerate() {
        if let Some(viaduct) = &mut viaduct {
            viaduct.check_alive()?;
        }
        let bar = progress::bar(args.calls.into(), "calls");
        bar.set_message(format!("{} {}/{}", name(scenario), number + 1, scenarios.len()));
        rows.push(stage.play(args, scenario, folder.path(), &bar)?);
        bar.finish_and_clear();
    }
    Ok(rows)
}

/// The folders that are asked for, sorted.
fn scenarios(args: &Args) -> io::Result<Vec<PathBuf>> {
    let named = |error: io::Error| io::Error::other(format!("{}: {error}", args.scenarios.display()));
    let mut all = Vec::new();
    for entry in fs::read_dir(&args.scenarios).map_err(named)? {
        let folder = entry?.path();
        all.extend(folder.join("uac.xml").is_file().then_some(folder));
    }
    all.sort();
    let names: Vec<String> = all.iter().map(|folder| name(folder)).collect();
    all.retain(|folder| args.scenario == "all" || name(folder) == args.scenario);
    if all.is_empty() {
        let known = names.join(", ");
        return Err(io::Error::other(format!("there is no scenario {}; there are {known}", args.scenario)));
    }
    Ok(all)
}

fn name(folder: &Path) -> String {
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Calls to the callee go on, others are refused.
fn configuration() -> String {
    format!(
        "[admin]\nlisten = \"off\"\n
[[listener]]\nname = \"inside\"\nbind = \"udp:{INSIDE}:5060\"\n
[[listener]]\nname = \"outside\"\nbind = \"udp:{OUTSIDE}:5060\"\n
[[route]]\nname = \"calls\"\nwhen = {{ ruri_host = [\"{}\"] }}\nto = \"request-uri\"\nmode = \"stateless\"\n",
        SINK.ip()
    )
}

impl Stage {
    fn build(args: &Args) -> io::Result<Self> {
        let Via::Running(proxy) = args.via else {
            if args.caller.is_some() || args.callee.is_some() {
                return Err(io::Error::other(
                    "--caller and --callee are for a running Viaduct: --via HOST:PORT",
                ));
            }
            let world = Some(World::build()?);
            let proxy = SocketAddr::new(INSIDE.into(), 5060);
            return Ok(Self { world, proxy, caller: CLIENT.into(), callee: SINK.into() });
        };
        let towards = || {
            let socket = UdpSocket::bind(if proxy.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
            socket.connect(proxy)?;
            Ok::<_, io::Error>(SocketAddr::new(socket.local_addr()?.ip(), 5070))
        };
        let caller = args.caller.map_or_else(towards, Ok)?;
        let callee = args.callee.unwrap_or(SocketAddr::new(caller.ip(), 5071));
        one_family(&[("--via", proxy), ("--caller", caller), ("--callee", callee)])?;
        Ok(Self { world: None, proxy, caller, callee })
    }

    /// All calls of one scenario.
    fn play(&self, args: &Args, scenario: &Path, folder: &Path, bar: &ProgressBar) -> io::Result<Row> {
        let schedule = Duration::from_secs_f64(f64::from(args.calls) / f64::from(args.rate.max(1)));
        let (uac, uas) = (scenario.join("uac.xml"), scenario.join("uas.xml"));
        let role = |file, name, local, host: fn(&World) -> &Host| {
            let host = self.world.as_ref().map(host);
            Role { file, name, local, host, calls: args.calls, schedule }
        };
        let begin = Instant::now();
        let mut callee = None;
        if uas.is_file() {
            callee = Some(Sipp::start(&role(&uas, "uas", self.callee, World::sink_host), folder, &[])?);
            wait_for(self.callee.port(), |work| self.as_callee(work))?;
        }
        let called = if callee.is_some() { self.callee.to_string() } else { NOBODY.to_owned() };
        let words =
            ["-r", &args.rate.to_string(), "-key", "callee", &format!("service@{called}")].map(str::to_owned);
        let words = [vec![self.proxy.to_string()], words.to_vec()].concat();
        let mut caller = Sipp::start(&role(&uac, "uac", self.caller, World::client_host), folder, &words)?;
        let end = loop {
            let Counts { successful, failed, .. } = caller.counts();
            bar.set_position(successful + failed);
            match caller.ended()? {
                Some(end) => break end,
                None => std::thread::sleep(Duration::from_millis(100)),
            }
        };
        let seconds = begin.elapsed().as_secs_f64();
        let callee =
            callee.map(|mut callee| Ok::<_, io::Error>(Side::of(&callee.finish(PATIENCE)?, &callee)));
        let (caller, callee) = (Side::of(&end, &caller), callee.transpose()?);
        Ok(Row { scenario: name(scenario), calls: args.calls, seconds, caller, callee })
    }

    fn as_callee<R: Send>(&self, work: impl FnOnce() -> io::Result<R> + Send) -> io::Result<R> {
        match &self.world {
            Some(world) => world.in_sink(work),
            None => work(),
        }
    }
}

/// Until something is bound to this port in the namespace that `inside` runs in.
fn wait_for(
    port: u16,
    mut inside: impl FnMut(fn() -> io::Result<String>) -> io::Result<String>,
) -> io::Result<()> {
    // As /proc/net/udp writes it.
    let port = format!(":{port:04X} ");
    for _ in 0..500 {
        let tables = inside(|| {
            let read = |name| fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default();
            Ok(read("udp") + &read("udp6"))
        })?;
        if tables.contains(&port) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Err(io::Error::other("nothing has bound the port that calls go to"))
}

impl Side {
    fn of(end: &End, sipp: &Sipp) -> Self {
        // One that only waited has nothing to say.
        let said = (end.code() != 0 && *end != End::Stopped).then(|| sipp.said());
        Self { counts: sipp.counts(), exit_code: end.code(), meaning: end.words(), said }
    }
}

impl Row {
    fn exit_code(&self) -> u8 {
        self.caller.exit_code.max(self.callee.as_ref().map_or(0, |callee| callee.exit_code))
    }
}

fn print(args: &Args, rows: &[Row]) -> io::Result<()> {
    if args.json {
        say!("{}", json!(rows))?;
        return Ok(());
    }
    say!(
        "{:12} {:>8} {:>8} {:>8} {:>14} {:>8}",
        "scenario",
        "calls",
        "good",
        "failed",
        "retransmitted",
        "seconds"
    )?;
    for row in rows {
        let again = |side: &Side| side.counts.retransmissions;
        let again = again(&row.caller) + row.callee.as_ref().map_or(0, again);
        let Counts { successful, failed, .. } = row.caller.counts;
        say!(
            "{:12} {:>8} {successful:>8} {failed:>8} {again:>14} {:>8.1}",
            row.scenario,
            row.calls,
            row.seconds
        )?;
        for (side, who) in [(Some(&row.caller), "caller"), (row.callee.as_ref(), "callee")] {
            let Some(side) = side.filter(|side| side.exit_code != 0) else { continue };
            say!("  {who}: SIPp's exit code {}: {}", side.exit_code, side.meaning)?;
            for line in side.said.iter().flat_map(|said| said.lines()) {
                say!("    {line}")?;
            }
        }
    }
    Ok(())
}
