//! What is measured: a forwarder as a process of its own, pinned, with its CPU time and memory.

use std::fs;
use std::io;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::world::{INSIDE, OUTSIDE, SINK};

/// The core that the forwarder runs on.
pub const FORWARDER_CORE: usize = 0;
/// The core that generator and sink run on.
pub const LOAD_CORE: usize = 1;

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

/// A running forwarder.
pub struct Subject {
    /// What the tables call it.
    pub name: &'static str,
    /// Where the load goes.
    pub address: SocketAddrV4,
    child: Child,
    log: PathBuf,
}

impl Subject {
    /// Starts the floor: `bench-harness null`, whose messages leave `pad_to` bytes long.
    pub fn null(folder: &Path, pad_to: u64) -> io::Result<Self> {
        let address = SocketAddrV4::new(INSIDE, 5070);
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg("null")
            .args(["--listen", &address.to_string()])
            .args(["--from", &SocketAddrV4::new(OUTSIDE, 5070).to_string()])
            .args(["--to", &SINK.to_string()])
            .args(["--pad-to", &pad_to.to_string()])
            .args(["--core", &FORWARDER_CORE.to_string()]);
        Self::spawn("null", address, command, folder)
    }

    /// Starts Viaduct with Record-Route, automatic egress and `rules` rules, of which the last matches.
    pub fn viaduct(folder: &Path, rules: usize) -> io::Result<Self> {
        Self::configured(folder, &configuration(rules))
    }

    /// Starts Viaduct with a configuration.
    pub fn configured(folder: &Path, configuration: &str) -> io::Result<Self> {
        let binary = std::env::current_exe()?.with_file_name("viaduct");
        if !binary.exists() {
            return Err(io::Error::other(format!(
                "{} does not exist\n  hint: cargo build --release --workspace",
                binary.display()
            )));
        }
        let file = folder.join("viaduct.toml");
        fs::write(&file, configuration)?;
        let mut command = Command::new(binary);
        command.arg("run").arg("-c").arg(file);
        Self::spawn("viaduct", SocketAddrV4::new(INSIDE, 5060), command, folder)
    }

    fn spawn(
        name: &'static str,
        address: SocketAddrV4,
        mut command: Command,
        folder: &Path,
    ) -> io::Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let file = fs::File::create(&log)?;
        let child = command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).spawn()?;
        Ok(Self { name, address, child, log })
    }

    /// Fails with the forwarder's own words if it has ended.
    pub fn check_alive(&mut self) -> io::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => {
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                Err(io::Error::other(format!("{} ended with {status}; it said:\n{log}", self.name)))
            }
        }
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// CPU time of all its threads so far, from the scheduler's own accounting.
    pub fn cpu(&self) -> io::Result<Duration> {
        let mut total = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            let first = text.split_whitespace().next().and_then(|n| n.parse::<u64>().ok());
            total += first.ok_or_else(|| io::Error::other("schedstat is not in the form expected"))?;
        }
        Ok(Duration::from_nanos(total))
    }

    /// Resident memory in bytes.
    pub fn resident(&self) -> io::Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|l| l.split_whitespace().next()).and_then(|n| n.parse::<u64>().ok());
        kib.map(|kib| kib * 1024).ok_or_else(|| io::Error::other("no VmRSS"))
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        if let Ok(id) = i32::try_from(self.child.id()) {
            // It may have ended by itself; then there is nobody to tell.
            let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
        }
        let deadline = Instant::now() + Duration::from_secs(6);
        while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Rules of all dimensions that do not match the load, and one at the end that does.
fn configuration(rules: usize) -> String {
    let mut text = format!(
        "[engine]\ncores = [{FORWARDER_CORE}]\n
[[listener]]\nname = \"inside\"\nbind = \"udp:{INSIDE}:5060\"\n
[[listener]]\nname = \"outside\"\nbind = \"udp:{OUTSIDE}:5060\"\n"
    );
    for number in 1..rules {
        let when = match number % 4 {
            0 => format!("ruri_user = '^\\*{number}[0-9]+$'"),
            1 => format!("ruri_prefix = [\"77{number:05}\"]"),
            2 => format!("ruri_host = [\"host{number}.example.net\"], method = [\"INVITE\"]"),
            _ => format!("source = [\"172.16.{}.0/24\"]", number % 256),
        };
        text.push_str(&format!(
            "\n[[route]]\nname = \"rule-{number}\"\nwhen = {{ {when} }}\nto = \"sip:10.2.0.3:5060\"\n"
        ));
    }
    text.push_str("\n[[route]]\nname = \"load\"\nto = \"request-uri\"\n");
    text
}
