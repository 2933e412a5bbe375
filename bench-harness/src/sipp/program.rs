//! One SIPp, on one end of the calls.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use viaduct::cli::netns::Host;

use super::outcome::{Counts, End, counts};
use crate::interrupt::Group;
use crate::subject::{end_with_us, run_in};

/// After this time beyond the schedule SIPp counts what is not finished as failed: Timer B is 32 s (RFC 3261 §17.1.1.2).
const GIVE_UP: Duration = Duration::from_secs(40);
/// How long one that is told to stop may take.
const STOP: Duration = Duration::from_secs(3);

/// A running SIPp; killed when dropped.
pub struct Sipp {
    child: Child,
    _group: Group,
    statistics: PathBuf,
    errors: PathBuf,
    screen: PathBuf,
    stopped: bool,
}

/// What it is to do.
pub struct Role<'a> {
    /// The scenario's file.
    pub file: &'a Path,
    /// `uac` or `uas`: what its files are called.
    pub name: &'a str,
    /// Where it stands.
    pub local: SocketAddr,
    /// The host that this is an address of; `None`: this one.
    pub host: Option<&'a Host>,
    /// How many calls it makes or waits for.
    pub calls: u32,
    /// How long those take by schedule.
    pub schedule: Duration,
}

impl Sipp {
    /// Starts it, with these words besides; it ends with the calling thread.
    pub fn start(role: &Role<'_>, folder: &Path, words: &[String]) -> io::Result<Self> {
        let file = |kind: &str| folder.join(format!("{}.{kind}", role.name));
        let (statistics, errors, screen) = (file("csv"), file("errors"), file("screen"));
        let output = fs::File::create(&screen)?;
        let host = match role.local {
            SocketAddr::V4(local) => local.ip().to_string(),
            SocketAddr::V6(local) => format!("[{}]", local.ip()),
        };
        let give_up = format!("{}s", (role.schedule + GIVE_UP).as_secs());
        let mut command = Command::new("sipp");
        command.args(words).arg("-sf").arg(role.file).args([
            "-i",
            &host,
            "-p",
            &role.local.port().to_string(),
        ]);
        command.args(["-m", &role.calls.to_string(), "-nostdin", "-timeout", &give_up, "-timeout_error"]);
        command.args(["-trace_stat", "-fd", "1", "-stf"]).arg(&statistics);
        command.arg("-trace_err").arg("-error_file").arg(&errors).current_dir(folder);
        command.env("TERM", "dumb").stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        end_with_us(&mut command);
        role.host.map_or(Ok(()), |host| run_in(&mut command, host))?;
        let child = command.process_group(0).spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => io::Error::other("there is no sipp\n  hint: apt install sip-tester"),
            _ => error,
        })?;
        let group = Group::new(child.id())?;
        Ok(Self { child, _group: group, statistics, errors, screen, stopped: false })
    }

    /// What it has counted so far.
    pub fn counts(&self) -> Counts {
        counts(&fs::read_to_string(&self.statistics).unwrap_or_default()).unwrap_or_default()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> io::Result<Option<End>> {
        let end = self.child.try_wait()?;
        Ok(end.map(|status| if self.stopped { End::Stopped } else { End::of(status) }))
    }

    /// Waits until it has ended by itself; after `patience` it is told to stop.
    pub fn finish(&mut self, patience: Duration) -> io::Result<End> {
        if let Some(end) = self.wait(patience)? {
            return Ok(end);
        }
        self.stopped = true;
        let id = i32::try_from(self.child.id()).map_err(io::Error::other)?;
        // SIPp's documentation, "Controlling SIPp": it ends when its calls have.
        kill(Pid::from_raw(id), Signal::SIGUSR1)?;
        if let Some(end) = self.wait(STOP)? {
            return Ok(end);
        }
        self.child.kill()?;
        self.child.wait()?;
        Ok(End::Stopped)
    }

    fn wait(&mut self, patience: Duration) -> io::Result<Option<End>> {
        let deadline = Instant::now() + patience;
        loop {
            let end = self.ended()?;
            if end.is_some() || Instant::now() >= deadline {
                return Ok(end);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Its errors, else the end of its screen.
    pub fn said(&self) -> String {
        let tail = |file: &Path| {
            let text = fs::read(file).unwrap_or_default();
            String::from_utf8_lossy(&text[text.len().saturating_sub(1500)..]).trim().to_owned()
        };
        let errors = tail(&self.errors);
        if errors.is_empty() { tail(&self.screen) } else { errors }
    }
}

impl Drop for Sipp {
    fn drop(&mut self) {
        // It may have ended already; then both say so.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
