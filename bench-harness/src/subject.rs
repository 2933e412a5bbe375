//! What is measured: a forwarder as a process of its own, pinned, with its CPU time and memory.

use std::fs;
use std::io;
use std::net::SocketAddrV4;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sched::{CloneFlags, CpuSet, sched_getaffinity, sched_setaffinity, setns};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use viaduct::cli::netns::Host;

use crate::certificates::{AUTHORITY, CERTIFICATE, KEY};
use crate::died::Died;
use crate::interrupt::Group;
use crate::load::{Driver, Offer, Outcome, Settings, Transport};
use crate::measure::bytes_of;
use crate::world::{INSIDE, OUTSIDE};

/// The core that the forwarder runs on.
pub const FORWARDER_CORE: usize = 0;
/// The core that generator and sink run on.
pub const LOAD_CORE: usize = 1;

/// So often a forwarder that starts is offered something.
const ATTEMPTS_TO_REACH: usize = 100;

/// Longer than any forwarder takes to end.
const ENDS_WITHIN: Duration = Duration::from_secs(6);

/// Viaduct's port.
const VIADUCT_PORT: u16 = 5060;

/// Pins the calling thread.
///
/// # Errors
/// The process may not use that core.
pub fn pin(core: usize) -> io::Result<()> {
    if core_affinity::set_for_current(core_affinity::CoreId { id: core }) {
        return Ok(());
    }
    Err(io::Error::other(format!("cannot pin to core {core}: this process may not use it (see taskset -p)")))
}

/// Does something while the calling thread may use one core only; what it starts may do no more. (A thread of its own
/// would end, and with it what it started.)
///
/// # Errors
/// The process may not use that core, and those of `work`.
pub fn on_core<R>(core: usize, work: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
    elsewhere(|| pin(core), work)
}

/// Pins the calling thread, and gives where it could run before.
///
/// # Errors
/// The process may not use that core.
pub fn pin_from_here(core: usize) -> io::Result<CpuSet> {
    let before = sched_getaffinity(Pid::from_raw(0))?;
    pin(core)?;
    Ok(before)
}

/// Does something while the calling thread may run where it could before; what it starts may run there for good.
///
/// # Errors
/// The thread may run there no more, and those of `work`.
pub fn as_before<R>(before: &CpuSet, work: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
    elsewhere(|| Ok(sched_setaffinity(Pid::from_raw(0), before)?), work)
}

/// Does something where `go` brings the calling thread, which then may run where it may now.
fn elsewhere<R>(go: impl FnOnce() -> io::Result<()>, work: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
    let own = Pid::from_raw(0);
    let now = sched_getaffinity(own)?;
    let done = go().and_then(|()| work());
    sched_setaffinity(own, &now)?;
    done
}

/// A running forwarder.
pub struct Subject {
    /// What the tables call it.
    pub name: &'static str,
    /// Where the load goes.
    pub address: SocketAddrV4,
    child: Child,
    /// All its processes.
    _group: Group,
    log: PathBuf,
}

impl Subject {
    /// Starts Viaduct with a configuration on its usual port.
    pub fn configured(folder: &Path, configuration: &str) -> io::Result<Self> {
        let mut command = Command::new(built("viaduct")?);
        command.args(["run", "-c"]).arg(write(folder, "viaduct.toml", configuration)?);
        Self::spawn("viaduct", SocketAddrV4::new(INSIDE, VIADUCT_PORT), command, folder)
    }

    /// Starts a program; what it says goes to a file in the folder. It runs where the calling thread may.
    pub fn spawn(
        name: &'static str,
        address: SocketAddrV4,
        mut command: Command,
        folder: &Path,
    ) -> io::Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let file = fs::File::create(&log)?;
        let program = command.get_program().to_string_lossy().into_owned();
        end_with_us(&mut command);
        command.process_group(0);
        let child = command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).spawn();
        let child = child.map_err(|error| io::Error::new(error.kind(), format!("{program}: {error}")))?;
        let group = Group::new(child.id())?;
        Ok(Self { name, address, child, _group: group, log })
    }

    /// Fails with the forwarder's own words if it has ended.
    pub fn check_alive(&mut self) -> io::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(Died::error(self.name, &status.to_string(), &self.words())),
        }
    }

    /// Offers a little, time and again, until the outcome is as `wanted`; `None`: it never was.
    pub fn until(
        &mut self,
        driver: &mut Driver,
        settings: &Settings,
        drain: Duration,
        wanted: impl Fn(&Outcome) -> bool,
    ) -> io::Result<Option<Outcome>> {
        let offer =
            Offer { rate: 20.0, length: Duration::from_millis(100), jitter: false, drain, gives_up: false };
        for _ in 0..ATTEMPTS_TO_REACH {
            self.check_alive()?;
            driver.reset(settings.clone());
            let outcome = driver.run(&offer)?;
            if wanted(&outcome) {
                return Ok(Some(outcome));
            }
        }
        Ok(None)
    }

    /// Waits until calls pass, which may take `drain` to end once they are begun.
    pub fn until_calls_pass(
        &mut self,
        driver: &mut Driver,
        settings: &Settings,
        drain: Duration,
    ) -> io::Result<()> {
        match self.until(driver, settings, drain, |outcome| outcome.tally.failed == 0)? {
            Some(_) => Ok(()),
            None => {
                let words = self.words();
                Err(io::Error::other(format!("{} carries no calls; it said:\n{words}", self.name)))
            }
        }
    }

    /// What it said so far.
    pub fn words(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its process and all that this one started.
    pub fn processes(&self) -> io::Result<Vec<u32>> {
        let mut all = vec![self.child.id()];
        let mut next = 0;
        while let Some(process) = all.get(next).copied() {
            for task in tasks(process)? {
                // A thread that has ended meanwhile has none.
                let path = format!("/proc/{process}/task/{task}/children");
                let children = fs::read_to_string(path).unwrap_or_default();
                all.extend(children.split_whitespace().filter_map(|id| id.parse::<u32>().ok()));
            }
            next += 1;
        }
        Ok(all)
    }

    /// All threads of its processes; the kernel's io workers for them are among these.
    pub fn threads(&self) -> io::Result<Vec<u32>> {
        self.processes()?.into_iter().map(tasks).collect::<io::Result<Vec<_>>>().map(|all| all.concat())
    }

    /// CPU time of all its threads so far, from the scheduler's own accounting.
    pub fn cpu(&self) -> io::Result<Duration> {
        let threads = self.threads()?;
        threads.into_iter().filter_map(|thread| thread_cpu(thread).transpose()).sum()
    }

    /// Resident memory in bytes; what its processes share counts once, and of what it shares with others (the program, where
    /// that runs more than once) its part.
    pub fn resident(&self) -> io::Result<u64> {
        self.rollup(&["Pss"])
    }

    /// Resident memory that is its own in bytes: without pages of files, whose part changes with what else runs.
    pub fn own_resident(&self) -> io::Result<u64> {
        self.rollup(&["Pss_Anon", "Pss_Shmem"])
    }

    /// The sum of these lines over its processes, in bytes.
    fn rollup(&self, names: &[&str]) -> io::Result<u64> {
        let of = |process: u32| -> io::Result<u64> {
            let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
            names.iter().map(|name| bytes_of(&text, name)).sum()
        };
        self.processes()?.into_iter().map(of).sum()
    }

    /// Stops all its processes where they are: until [`Self::go_on`] they cost nothing.
    pub fn pause(&self) -> io::Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets them go on.
    pub fn go_on(&self) -> io::Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// Ends it at once, with whatever it is about, and waits until nothing of it is left: its addresses are free then.
    pub fn kill(&mut self) -> io::Result<()> {
        let processes = self.processes()?;
        let group = Pid::from_raw(i32::try_from(self.child.id()).map_err(io::Error::other)?);
        match killpg(group, Signal::SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => return Err(errno.into()),
        }
        self.child.wait()?;
        // Those that have left the group.
        for process in processes.iter().filter(|process| !has_ended(**process)) {
            let _ = kill(Pid::from_raw(i32::try_from(*process).map_err(io::Error::other)?), Signal::SIGKILL);
        }
        let deadline = Instant::now() + ENDS_WITHIN;
        while processes.iter().any(|process| !has_ended(*process)) {
            if Instant::now() > deadline {
                return Err(io::Error::other(format!("processes of {} do not end", self.name)));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        for process in self.processes()? {
            kill(Pid::from_raw(i32::try_from(process).map_err(io::Error::other)?), signal)?;
        }
        Ok(())
    }
}

/// Has the kernel end the program when the calling thread ends, even by SIGKILL: it would be left in a network namespace
/// that nobody finds.
pub fn end_with_us(command: &mut Command) {
    // SAFETY: between fork and exec only one system call is made.
    unsafe {
        command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGTERM)?));
    }
}

/// Has the program run in this host, whichever thread starts it: one that lives there would end, and with it what it started.
pub fn run_in(command: &mut Command, host: &Host) -> io::Result<()> {
    let namespace = host.as_fd().try_clone_to_owned()?;
    // SAFETY: between fork and exec only one system call is made.
    unsafe {
        command.pre_exec(move || Ok(setns(&namespace, CloneFlags::CLONE_NEWNET)?));
    }
    Ok(())
}

impl Drop for Subject {
    fn drop(&mut self) {
        // Where it has ended, another process may have its number.
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        if let Ok(id) = i32::try_from(self.child.id()) {
            let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
        }
        let _ = self.go_on();
        let deadline = Instant::now() + ENDS_WITHIN;
        while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(10));
        }
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.signal(Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }
}

/// Threads of a process; none where it has ended meanwhile.
fn tasks(process: u32) -> io::Result<Vec<u32>> {
    let entries = match fs::read_dir(format!("/proc/{process}/task")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let id = |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_str().and_then(|id| id.parse().ok()));
    entries.filter_map(|entry| id(entry).transpose()).collect()
}

/// A process is gone, or only its parent has not asked for it yet.
fn has_ended(process: u32) -> bool {
    let Ok(text) = fs::read_to_string(format!("/proc/{process}/stat")) else { return true };
    let state = text.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    matches!(state, Some('Z' | 'X'))
}

/// CPU time of a thread so far; `None`: it has ended.
pub fn thread_cpu(thread: u32) -> io::Result<Option<Duration>> {
    let Ok(text) = fs::read_to_string(format!("/proc/{thread}/schedstat")) else { return Ok(None) };
    let first = text.split_whitespace().next().and_then(|n| n.parse().ok());
    let ns = first.ok_or_else(|| io::Error::other("schedstat is not in the form expected"))?;
    Ok(Some(Duration::from_nanos(ns)))
}

/// Writes a file into the folder; its path.
pub fn write(folder: &Path, name: &str, text: &str) -> io::Result<PathBuf> {
    let file = folder.join(name);
    fs::write(&file, text)?;
    Ok(file)
}

/// A program of this workspace, built beside this one (a test program stands one folder lower).
pub fn built(name: &str) -> io::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let beside = [own.with_file_name(name), own.with_file_name("..").join(name)];
    beside.iter().find(|path| path.exists()).cloned().ok_or_else(|| {
        let hint = "cargo build --release --workspace";
        io::Error::other(format!("{} does not exist\n  hint: {hint}", beside[0].display()))
    })
}

/// How Viaduct is configured for a measurement.
#[derive(Clone, Copy, Debug)]
pub struct Configured<'a> {
    /// Rules of all dimensions that do not match the load, and one at the end that does.
    pub rules: usize,
    /// The core of its only shard.
    pub core: usize,
    /// Of its listeners.
    pub port: u16,
    /// Where the load goes; `None`: wherever its Request-URI says.
    pub to: Option<SocketAddrV4>,
    /// The rules keep transactions.
    pub stateful: bool,
    /// Further lines of `[engine]`.
    pub engine: &'a str,
    /// It tells its counters, and lets in as many calls as it does by default; else it refuses nothing, as its peers do.
    pub is_guarded: bool,
}

impl Configured<'_> {
    /// A hundred rules without transactions, on the forwarder's core.
    pub const USUAL: Self = Self {
        rules: 100,
        core: FORWARDER_CORE,
        port: VIADUCT_PORT,
        to: None,
        stateful: false,
        engine: "",
        is_guarded: false,
    };

    /// The configuration file's text.
    pub fn text(&self) -> String {
        let Self { rules, core, port, to, stateful, engine, is_guarded } = *self;
        let mode = if stateful { "stateful" } else { "stateless" };
        let others: String = (1..rules).map(|number| other_rule(number, mode)).collect();
        let values = [
            ("COUNT", rules.to_string()),
            ("CORE", core.to_string()),
            ("ENGINE", engine.to_owned()),
            ("LIMITS", if is_guarded { String::new() } else { UNGUARDED.to_owned() }),
            ("INSIDE", INSIDE.to_string()),
            ("OUTSIDE", OUTSIDE.to_string()),
            ("PORT", port.to_string()),
            ("TO", to.map_or_else(|| "request-uri".to_owned(), |address| format!("sip:{address}"))),
            ("MODE", mode.to_owned()),
            ("RULES", others),
        ];
        fill(include_str!("../peers/viaduct.toml.in"), &values)
    }
}

/// Nothing of what is too much is refused, and nobody asks for counters.
const UNGUARDED: &str = "
[admin]
listen = \"off\"

[overload]
max_wait = \"off\"
";

/// A rule that does not match the load.
fn other_rule(number: usize, mode: &str) -> String {
    let when = match number % 4 {
        0 => format!("ruri_user = '^\\*{number}[0-9]+$'"),
        1 => format!("ruri_prefix = [\"77{number:05}\"]"),
        2 => format!("ruri_host = [\"host{number}.example.net\"], method = [\"INVITE\"]"),
        _ => format!("source = [\"172.16.{}.0/24\"]", number % 256),
    };
    format!(
        "\n[[route]]\nname = \"rule-{number}\"\nwhen = {{ {when} }}\nto = \"sip:10.2.0.3:5060\"\nmode = \"{mode}\"\n"
    )
}

/// The same over another transport, where its callers come in, and what the callee is reached by then; `certificates`: the
/// folder of those for TLS.
pub fn over(transport: Transport, configuration: &str, certificates: &Path) -> String {
    let file = |name| certificates.join(name).display().to_string();
    let bind = |transport: Transport| {
        let certificate = match transport.is_secure() {
            true => format!("certificate = \"{}\"\nkey = \"{}\"\n", file(CERTIFICATE), file(KEY)),
            false => String::new(),
        };
        // Who connects to others has to know whom to trust.
        let authority = match transport {
            Transport::Tls => format!("ca = \"{}\"\n", file(AUTHORITY)),
            _ => String::new(),
        };
        format!("{certificate}{authority}bind = \"{}:", transport.via().to_lowercase())
    };
    let of_callee = transport.of_callee();
    configuration
        .replace(&format!("bind = \"udp:{INSIDE}"), &format!("{}{INSIDE}", bind(transport)))
        .replace(&format!("bind = \"udp:{OUTSIDE}"), &format!("{}{OUTSIDE}", bind(of_callee)))
        .replace(":5060\"\nmode", &format!(":5060{}\"\nmode", of_callee.parameter()))
}

/// What `viaduct --version` says.
pub fn version_of_viaduct() -> io::Result<String> {
    let told = Command::new(built("viaduct")?).arg("--version").output()?.stdout;
    Ok(String::from_utf8_lossy(&told).lines().next().unwrap_or_default().to_owned())
}

/// Puts values in the places `@NAME@` of a text.
pub fn fill(text: &str, values: &[(&str, String)]) -> String {
    values.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("@{name}@"), value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::SINK;

    #[test]
    fn overload_control_is_off_but_where_calls_are_let_in_by_it() {
        let unshed = "[overload]\nmax_wait = \"off\"\n";
        assert!(Configured::USUAL.text().contains(unshed));
        let calls = Configured { stateful: true, is_guarded: true, ..Configured::USUAL }.text();
        assert!(!calls.contains("[overload]") && !calls.contains("[admin]"), "{calls}");
        let collecting = Configured { engine: "coalesce = \"0us\"\n", ..Configured::USUAL }.text();
        assert!(
            collecting.contains("[engine]\ncores = [0]\ncoalesce = \"0us\"\n\n[admin]\n"),
            "{collecting}"
        );
    }

    #[test]
    fn load_goes_where_it_names_or_where_it_is_told_to() {
        for (to, written) in [(None, "request-uri"), (Some(SINK), "sip:10.2.0.2:5060")] {
            let text = Configured { to, ..Configured::USUAL }.text();
            let last = format!("name = \"load\"\nto = \"{written}\"\nmode = \"stateless\"\n");
            assert!(text.ends_with(&last) && !text.contains('@'), "{text}");
        }
    }
}
