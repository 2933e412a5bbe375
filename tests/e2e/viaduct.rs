//! The program under test, run as an operator runs it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::metrics::Metrics;
use crate::program::{self, Program};
use crate::world::{World, eventually};

/// All listeners of the world, and the admin endpoint.
pub const LISTENERS: &str = r#"
[admin]
listen = "127.0.0.1:9060"

[[listener]]
name = "public"
bind = "udp:1.2.3.4:5060"

[[listener]]
name = "public6"
bind = "udp:[2001:db8:1::4]:5060"

[[listener]]
name = "private"
bind = "udp:10.0.0.4:5060"

[[listener]]
name = "six"
bind = "udp:[fd00:6::4]:5060"

[[listener]]
name = "spare"
bind = "udp:10.9.0.4:5060"
"#;

/// Everything may go where it asks, and is kept.
pub const KEEPING_RELAY: &str = r#"
[[route]]
name = "relay"
to = "request-uri"
"#;

/// Everything may go where it asks, and nothing is kept of it.
pub const RELAY: &str = r#"
[[route]]
name = "relay"
to = "request-uri"
mode = "stateless"
"#;

/// A folder with a configuration and keys; outlives restarts of the process.
pub struct Home {
    folder: TempDir,
}

impl Home {
    /// With this configuration.
    pub fn new(configuration: &str) -> Self {
        let home = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        home.write(configuration);
        home
    }

    /// Replaces the configuration.
    pub fn write(&self, configuration: &str) {
        let engine = std::env::var("VIADUCT_TEST_ENGINE").ok();
        let configuration = engine.map_or(configuration.to_owned(), |kind| on_engine(&kind, configuration));
        fs::write(self.file(), configuration).expect("the configuration can be written");
    }

    /// Writes another file beside the configuration.
    pub fn put(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        fs::write(&path, text).expect("a file can be written");
        // It may be a key.
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("a mode");
    }

    /// The configuration file.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("viaduct.toml")
    }

    /// A file in its folder.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn log(&self) -> PathBuf {
        self.beside("log")
    }

    /// Runs `viaduct WORDS -c FILE` to its end in Viaduct's host.
    pub fn command(&self, world: &World, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_viaduct"));
        command.args(words).arg("-c").arg(self.file()).stdin(Stdio::null());
        world.inside(|| program::output(&mut command)).expect("viaduct runs")
    }

    /// Starts `viaduct run` and waits until all shards forward.
    pub fn start<'a>(&'a self, world: &'a World) -> Viaduct<'a> {
        self.spawn(world).ready()
    }

    /// Starts `viaduct run` and does not wait.
    pub fn spawn<'a>(&'a self, world: &'a World) -> Viaduct<'a> {
        let log = fs::File::options().create(true).append(true).open(self.log()).expect("a log file");
        self.spawn_telling(world, log)
    }

    /// The same with its log lines sent there.
    pub fn spawn_telling<'a>(&'a self, world: &'a World, log: impl Into<Stdio>) -> Viaduct<'a> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_viaduct"));
        command.args(["run", "-c"]).arg(self.file());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Viaduct { program: world.spawn(&mut command), world, home: self }
    }
}

/// The configuration with this engine: `VIADUCT_TEST_ENGINE=glommio` has all tests run on it.
fn on_engine(kind: &str, configuration: &str) -> String {
    let engine = format!("[engine]\nkind = \"{kind}\"\n");
    match configuration.split_once("[engine]\n") {
        Some((before, after)) => format!("{before}{engine}{after}"),
        None => format!("{configuration}\n{engine}"),
    }
}

/// A running `viaduct run`; killed when dropped.
pub struct Viaduct<'a> {
    program: Program,
    world: &'a World,
    home: &'a Home,
}

impl Viaduct<'_> {
    /// Waits until all shards forward.
    pub fn ready(mut self) -> Self {
        eventually("Viaduct is ready", || {
            if let Some(status) = self.ended() {
                panic!("viaduct ended with {status}:\n{}", self.log());
            }
            let metrics = Metrics::scrape(self.world)?;
            let shards = metrics.sum("viaduct_shards", &[]);
            let up = shards > 0 && metrics.sum("viaduct_shards_up", &[]) == shards;
            // One that is tied to an absent device has none.
            let waits = metrics.sum("viaduct_listener_state", &[("state", "device absent")]) > 0;
            let open = metrics.least("viaduct_listener_sockets").is_some_and(|n| n >= shards);
            (up && (open || waits)).then_some(())
        });
        self
    }

    /// What it has written so far, restarts included.
    pub fn log(&self) -> String {
        fs::read_to_string(self.home.log()).unwrap_or_default()
    }

    /// Its exit status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.program.ended().expect("a child can be waited for")
    }

    /// Its metrics now.
    pub fn metrics(&self) -> Metrics {
        Metrics::scrape(self.world).unwrap_or_else(|| panic!("no metrics; log:\n{}", self.log()))
    }

    /// Waits until every message that came in is accounted for and `in` ones have come in.
    pub fn accounted(&self, messages_in: u64) -> Metrics {
        eventually("every message is accounted for", || {
            let metrics = self.metrics();
            (metrics.messages("in") >= messages_in && metrics.unaccounted() == 0).then_some(metrics)
        })
    }

    /// Waits until every shard decides by a newer snapshot than `generation`.
    pub fn newer_than(&self, generation: u64) {
        eventually("all shards have a newer snapshot", || {
            (self.metrics().least("viaduct_shard_generation")? > generation).then_some(())
        });
    }

    /// The generation that the slowest shard decides by.
    pub fn generation(&self) -> u64 {
        self.metrics().least("viaduct_shard_generation").expect("a generation")
    }

    /// Waits until a listener is in this state.
    pub fn state(&self, listener: &str, state: &str) {
        eventually(&format!("{listener} is {state}"), || {
            let labels = [("listener", listener), ("state", state)];
            (self.metrics().sum("viaduct_listener_state", &labels) == 1).then_some(())
        });
    }

    /// How many files it has open.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.program.0.id())).expect("its descriptors").count()
    }

    /// Has the configuration read again and waits until it is in force; `reloads` is how many there were.
    pub fn reload(&self, reloads: u64) {
        self.signal(Signal::SIGHUP);
        eventually("the reload is done", || {
            let metrics = self.metrics();
            assert_eq!(metrics.sum("viaduct_reloads_failed_total", &[]), 0, "{}", self.log());
            (metrics.sum("viaduct_reloads_total", &[]) == reloads).then_some(())
        });
    }

    /// Has the configuration read again and waits until that is refused; `refused` is how many were.
    pub fn refuses(&self, refused: u64) {
        self.signal(Signal::SIGHUP);
        eventually("the reload is refused", || {
            (self.metrics().sum("viaduct_reloads_failed_total", &[]) == refused).then_some(())
        });
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.program.0.id()).expect("a process number");
        kill(Pid::from_raw(id), signal).expect("a signal can be sent");
    }

    /// Waits for the end and says how it ended.
    pub fn wait(mut self) -> (ExitStatus, String) {
        let status = eventually("viaduct ends", || self.ended());
        (status, self.log())
    }

    /// Ends it as a service manager does.
    pub fn stop(self) {
        self.signal(Signal::SIGTERM);
        let (status, log) = self.wait();
        assert!(status.success(), "viaduct ended with {status}:\n{log}");
    }
}

impl Drop for Viaduct<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let counters = Metrics::scrape(self.world).map(|metrics| metrics.counters());
            eprintln!("--- log of viaduct\n{}\n{}", self.log(), counters.unwrap_or_default());
        }
    }
}
