//! Calls whose targets fail: lists and groups of next hops that refuse, are silent or closed, and one that lives.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use serde_json::json;

use super::Args;
use super::verdict::{self, Property};
use super::watch::{Metrics, open_files};
use crate::interrupt::Folder;
use crate::load::{Driver, Kind, Mix, Offer, Outcome, Settings, Transport};
use crate::output::{say, verdicts};
use crate::progress;
use crate::subject::{FORWARDER_CORE, LOAD_CORE, Subject, pin};
use crate::world::{CLIENT, INSIDE, OUTSIDE, SINK, World};

/// Calls a second, if nothing else is asked for: half of the 4,096 of which a shard's table holds what they leave for
/// 32 s, a transaction for the INVITE and one for the BYE.
const RATE: u64 = 2_000;
/// How long a call lasts.
const HOLD: Duration = Duration::from_millis(500);
/// Calls may take so long to end once no more are begun.
const DRAIN: Duration = Duration::from_secs(40);
/// By then all that transactions keep has run out (64·T1 after the last answer), or never will.
const RUN_OUT: Duration = Duration::from_secs(45);

/// Ports of the sink's host: one that refuses, one that says nothing. Nobody has the third.
const REFUSING: u16 = 5071;
const SILENT: u16 = 5072;
const CLOSED: u16 = 5073;

/// One second.
#[derive(Clone, Copy, Debug, Default)]
struct Second {
    resident: u64,
    files: u64,
    transactions: u64,
    blocks: u64,
}

/// What the run came to.
struct Findings {
    rate: u64,
    seconds: Vec<Second>,
    /// Open files and sockets before and after.
    files: [(u64, u64); 2],
    /// What was left when nothing was to be left.
    left: Second,
    outcome: Outcome,
    /// Requests to another next hop, those that ICMP said did not arrive, refused for want of room.
    others: u64,
    unreached: u64,
    no_room: u64,
}

/// Runs the calls; `true`: all properties hold.
pub(super) fn execute(args: &Args) -> io::Result<bool> {
    let findings = run(args)?;
    let properties = findings.properties();
    let passed = properties.iter().all(|property| property.holds);
    if args.json {
        let told: Vec<_> =
            properties.iter().map(|p| json!({ "holds": p.holds, "property": p.words })).collect();
        say!(
            "{}",
            json!({ "passed": passed, "seconds": args.seconds, "rate": findings.rate,
                    "account": findings.outcome.tally, "properties": told })
        )?;
    } else {
        say!("{} s at {} calls/s with failing targets", args.seconds, findings.rate)?;
        verdicts(properties.iter().map(|property| (property.holds, &property.words)))?;
    }
    Ok(passed)
}

fn run(args: &Args) -> io::Result<Findings> {
    let world = World::build()?;
    let folder = Folder::new()?;
    let at = |port| world.socket_at_sink(SocketAddr::new((*SINK.ip()).into(), port));
    let (refusing, _silent) = (at(REFUSING)?, at(SILENT)?);
    let mut subject = Subject::configured(folder.path(), &configuration())?;
    let mut driver = Driver::new(vec![world.client()?], world.sink()?, settings(&subject), false)?;
    pin(LOAD_CORE)?;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let refuser = scope.spawn(|| refuse(&refusing, &stop));
        let findings = measure(args, &mut subject, &mut driver);
        stop.store(true, Relaxed);
        refuser.join().map_err(|_| io::Error::other("the target that refuses panicked"))??;
        findings
    })
}

fn measure(args: &Args, subject: &mut Subject, driver: &mut Driver) -> io::Result<Findings> {
    subject.until_calls_pass(driver, &settings(subject), Duration::from_secs(3))?;
    let rate = args.rate.unwrap_or(RATE);
    let (before, files) = (Metrics::read()?, open_files(subject.id())?);
    let offer = Offer {
        rate: rate as f64,
        length: Duration::from_secs(args.seconds),
        jitter: true,
        drain: DRAIN,
        gives_up: false,
    };
    driver.reset(settings(subject));
    let bar = progress::bar(args.seconds, "soak");
    let over = AtomicBool::new(false);
    let (outcome, seconds) = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| watch(subject, &over, args.seconds, &bar));
        let outcome = driver.run(&offer);
        over.store(true, Relaxed);
        let seconds = watcher.join().map_err(|_| io::Error::other("the watcher panicked"))??;
        Ok::<_, io::Error>((outcome?, seconds))
    })?;
    bar.set_message("coming to rest");
    let left = come_to_rest(subject)?;
    bar.finish_and_clear();
    subject.check_alive()?;
    let after = Metrics::read()?;
    let more = |name: &str, label: &str| after.count(name, label) - before.count(name, label);
    Ok(Findings {
        rate,
        seconds,
        files: [files, open_files(subject.id())?],
        left,
        outcome,
        others: more("viaduct_transaction_messages_total", "what=\"branch\""),
        unreached: more("viaduct_requests_unreached_total", ""),
        no_room: more("viaduct_transactions_refused_total", ""),
    })
}

/// A sample each second, until the load is over.
fn watch(subject: &Subject, over: &AtomicBool, most: u64, bar: &ProgressBar) -> io::Result<Vec<Second>> {
    let mut seconds = Vec::new();
    while !over.load(Relaxed) && (seconds.len() as u64) < most {
        std::thread::sleep(Duration::from_secs(1));
        seconds.push(second(subject)?);
        bar.inc(1);
    }
    Ok(seconds)
}

fn second(subject: &Subject) -> io::Result<Second> {
    // Before the question is asked: it takes a socket itself.
    let (files, _) = open_files(subject.id())?;
    let metrics = Metrics::read()?;
    Ok(Second {
        resident: subject.own_resident()?,
        files,
        transactions: metrics.count("viaduct_transactions", ""),
        blocks: metrics.count("viaduct_transaction_blocks", ""),
    })
}

/// Waits until nothing is kept any more, or should be.
fn come_to_rest(subject: &Subject) -> io::Result<Second> {
    let begin = Instant::now();
    loop {
        let now = second(subject)?;
        if (now.transactions == 0 && now.blocks == 0) || begin.elapsed() > RUN_OUT {
            return Ok(now);
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Answers each INVITE 503, until it is told to stop.
fn refuse(socket: &UdpSocket, stop: &AtomicBool) -> io::Result<()> {
    socket.set_nonblocking(false)?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    let (mut bytes, mut answer) = (vec![0; 8192], Vec::new());
    while !stop.load(Relaxed) {
        let (len, from) = match socket.recv_from(&mut bytes) {
            Ok(received) => received,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                continue;
            }
            Err(error) => return Err(error),
        };
        if crate::load::refusal(&bytes[..len], &mut answer) {
            socket.send_to(&answer, from)?;
        }
    }
    Ok(())
}

/// Half of the calls go to a list, the other half to a group; both have the one that lives last. Overload is another
/// measurement: here a call that is refused is one that failover has lost.
fn configuration() -> String {
    let to = |port| format!("sip:{}:{port}", SINK.ip());
    let [refusing, silent, closed, living] = [REFUSING, SILENT, CLOSED, SINK.port()].map(to);
    format!(
        "[engine]\ncores = [{FORWARDER_CORE}]\n
[overload]\nmax_wait = \"off\"\n
[[listener]]\nname = \"inside\"\nbind = \"udp:{INSIDE}:5060\"\n
[[listener]]\nname = \"outside\"\nbind = \"udp:{OUTSIDE}:5060\"\n
[[group]]\nname = \"failing\"\ngateways = [\n    {{ to = \"{closed}\", weight = 2 }},\n    \
         {{ to = \"{refusing}\", weight = 2 }},\n    {{ to = \"{silent}\" }},\n    \
         {{ to = \"{living}\", priority = 2 }},\n]\n
[[route]]\nname = \"list\"\nwhen = {{ ruri_user = '[0-4]$' }}\nto = [\"{closed}\", \"{refusing}\", \"{silent}\", \"{living}\"]\n\
         timeout = \"300ms\"\n
[[route]]\nname = \"group\"\nto = \"group:failing\"\ntimeout = \"300ms\"\n"
    )
}

fn settings(subject: &Subject) -> Settings {
    Settings {
        mix: Mix::only(Kind::Call),
        hold_ns: HOLD.as_nanos() as u64,
        retransmit: true,
        callers: vec![SocketAddr::V4(CLIENT)],
        callee: SocketAddr::V4(SINK),
        named: SocketAddr::V4(SINK),
        forwarder: SocketAddr::V4(subject.address),
        transport: Transport::Udp,
        fresh: false,
    }
}

impl Findings {
    fn properties(&self) -> [Property; 5] {
        let tally = &self.outcome.tally;
        let of = |what: fn(&Second) -> u64| {
            let values: Vec<u64> = self.seconds.iter().map(what).collect();
            (verdict::fifth(&values, 1), verdict::fifth(&values, 4))
        };
        let (before, after) = of(|second| second.transactions);
        let most = viaduct::limits::TRANSACTIONS as u64;
        let transactions = Property {
            holds: self.left.transactions == 0 && self.left.blocks == 0 && self.no_room == 0,
            words: format!(
                "transactions: {before} open in the second fifth, {after} in the last (a side has room for {most}), {} \
                 requests found no room; {} and {} blocks of messages left at the end (none may be)",
                self.no_room, self.left.transactions, self.left.blocks
            ),
        };
        let calls = Property {
            holds: tally.failed == 0 && tally.adds_up() && self.outcome.in_flight == 0,
            words: format!(
                "calls: {} of {} were not completed (none may be), {} refused; {} messages sent, {} sent again, {} lost",
                tally.failed, tally.calls, tally.refused, tally.messages, tally.retransmissions, tally.lost
            ),
        };
        let failures = Property {
            holds: self.others > tally.calls && self.unreached > 0,
            words: format!(
                "failures: {} requests to another next hop (more than calls), {} of them because ICMP said so",
                self.others, self.unreached
            ),
        };
        let (resident, files) = (of(|second| second.resident), self.seconds.iter().map(|s| s.files).max());
        [
            calls,
            failures,
            verdict::memory(resident),
            verdict::files(self.files, files.unwrap_or(0)),
            transactions,
        ]
    }
}
