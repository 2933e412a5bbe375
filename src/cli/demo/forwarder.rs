//! The forwarder of the demo: this very program, run as an operator would, with a file of its own.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::world::{CLOSED, FORWARDER, LINKS, PRIVATE, SERVICE};
use super::{Failure, appear, interrupt};

/// How long the forwarder may take to stop: the 5 s that `run` allows itself, and a little.
const STOP: Duration = Duration::from_secs(7);

/// A configuration file in a folder of its own, and commands that read it.
pub struct Forwarder {
    folder: TempDir,
    child: Option<Child>,
}

impl Forwarder {
    /// Writes the configuration.
    pub fn new() -> Result<Self, Failure> {
        let folder = tempfile::Builder::new().prefix("viaduct-demo-").tempdir()?;
        let forwarder = Self { folder, child: None };
        fs::write(forwarder.file(), configuration())?;
        Ok(forwarder)
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("viaduct.toml")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("viaduct.log")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("/proc/self/exe");
        command.args(words).arg("-c").arg(self.file()).stdin(Stdio::null());
        command
    }

    /// Runs a command on the demo's configuration; its output goes where ours goes.
    pub fn show(&self, words: &[&str]) -> Result<(), Failure> {
        let mut command = self.command(words);
        end_with_us(&mut command);
        let status = command.status()?;
        interrupt::check()?;
        if status.success() {
            return Ok(());
        }
        Err(Failure::new(format!("`viaduct {}` ended with {status}", words.join(" "))))
    }

    /// Starts `viaduct run`.
    pub fn start(&mut self) -> Result<(), Failure> {
        let log = fs::File::create(self.log())?;
        let mut command = self.command(&["run"]);
        command.stdout(log.try_clone()?).stderr(log);
        end_with_us(&mut command);
        self.child = Some(command.spawn()?);
        Ok(())
    }

    /// Fails with the forwarder's own words if it has ended.
    pub fn check_alive(&mut self) -> Result<(), Failure> {
        let Some(child) = &mut self.child else { return Ok(()) };
        match child.try_wait()? {
            None => Ok(()),
            Some(status) => {
                self.child = None;
                let log = fs::read_to_string(self.log()).unwrap_or_default();
                Err(Failure::new(format!("the forwarder ended with {status}; it said:\n{log}")))
            }
        }
    }

    /// Asks the forwarder to stop and waits for it.
    pub fn stop(mut self) -> Result<(), Failure> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        terminate(&child)?;
        let deadline = Instant::now() + STOP;
        while Instant::now() < deadline {
            if let Some(status) = child.try_wait()? {
                return if status.success() {
                    Ok(())
                } else {
                    Err(Failure::new(format!("the forwarder ended with {status} on SIGTERM")))
                };
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        child.kill()?;
        child.wait()?;
        Err(Failure::new(format!("the forwarder did not stop within {STOP:?} of SIGTERM")))
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Nothing is left to do with an error: the demo is failing already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Lets the kernel end the child if this process dies without a chance to do so itself.
fn end_with_us(command: &mut Command) {
    let ask = || {
        // SAFETY: takes two numbers and touches no memory of ours.
        let done = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) };
        if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    };
    // SAFETY: between fork and exec the closure makes one system call and allocates nothing.
    unsafe { command.pre_exec(ask) };
}

fn terminate(child: &Child) -> Result<(), Failure> {
    let id = i32::try_from(child.id()).map_err(|_| Failure::new("process number out of range"))?;
    kill(Pid::from_raw(id), Signal::SIGTERM).map_err(|errno| Failure::new(format!("SIGTERM: {errno}")))
}

fn configuration() -> String {
    // On a machine that is busy with other things calls are to take longer, not to be refused.
    let mut text = String::from("[admin]\nlisten = \"127.0.0.1:9060\"\n\n[overload]\nmax_wait = \"off\"\n");
    for (name, ip) in LINKS.into_iter().zip(FORWARDER) {
        let bind = SocketAddr::new(ip, 5060);
        text.push_str(&format!("\n[[listener]]\nname = \"{name}\"\nbind = \"udp:{bind}\"\n"));
    }
    let (name, port, living) = (LINKS[0], appear::PORT, PRIVATE);
    text.push_str(&format!(
        "
[[listener]]                    # every address of the interface, as they come and go
name = \"floating\"
bind = \"udp:{name}:{port}\"

[[route]]                       # numbers *33… go to the media service, by whatever interface leads there
name = \"media\"
when = {{ ruri_user = '^\\*33[0-9]+$' }}
to = \"sip:{SERVICE}:5060\"

[hosts]
\"media.demo.invalid\" = [\"{living}\"]

[[group]]
name = \"trunks\"
gateways = [
    {{ to = \"sip:{living}:{CLOSED}\", weight = 3 }},
    {{ to = \"sip:{living}:5060\" }},
]

[[route]]                       # *34…: one after the other; nobody has the first one's port
name = \"list\"
when = {{ ruri_user = '^\\*34[0-9]+$' }}
to = [\"sip:{living}:{CLOSED}\", \"sip:{living}:5060\"]
timeout = \"200ms\"

[[route]]                       # *35…: one of the group that lives
name = \"group\"
when = {{ ruri_user = '^\\*35[0-9]+$' }}
to = \"group:trunks\"
timeout = \"200ms\"

[[route]]                       # *36…: by name
name = \"name\"
when = {{ ruri_user = '^\\*36[0-9]+$' }}
to = \"sip:media.demo.invalid:5060\"

[[route]]                       # everybody else may go where they ask
name = \"networks\"
when = {{ source = [\"203.0.113.0/24\", \"10.0.0.0/8\", \"fd00:10::/64\"] }}
to = \"request-uri\"

[[route]]
name = \"no-relay\"
reject = 403
"
    ));
    text
}
