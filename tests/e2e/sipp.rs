//! Calls made by SIPp, a SIP stack that is none of ours.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::program::Program;
use crate::world::{Far, eventually};

/// After this time SIPp counts what is not finished as failed.
const GIVE_UP: &str = "40s";

/// One end of a call: a host and its address, IPv6 in brackets.
pub struct End<'a> {
    /// The host.
    pub host: &'a Far,
    /// Its address.
    pub address: &'a str,
}

/// A SIPp that does not even give up is killed after this time.
const LIMIT: Duration = Duration::from_secs(60);

/// A running SIPp.
struct Sipp {
    program: Program,
    errors: PathBuf,
    screen: PathBuf,
}

impl Sipp {
    fn start(end: &End<'_>, folder: &Path, scenario: &str, role: &str, words: &[&str]) -> Self {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("sipp-scenarios").join(scenario).join(role);
        let (errors, screen) = (folder.join(format!("{role}.errors")), folder.join(format!("{role}.screen")));
        let output = fs::File::create(&screen).expect("a file for SIPp's screen");
        let mut command = Command::new("sipp");
        command.args(words).arg("-sf").arg(file.with_extension("xml"));
        command.args(["-i", end.address, "-p", "5060", "-nostdin", "-timeout", GIVE_UP, "-timeout_error"]);
        command.arg("-trace_err").arg("-error_file").arg(&errors).current_dir(folder);
        command.env("TERM", "dumb").stdin(Stdio::null());
        command.stdout(output.try_clone().expect("a second handle")).stderr(output);
        Self { program: end.host.spawn(&mut command), errors, screen }
    }

    /// SIPp's exit code is 0 only where every call succeeded; it ends itself after [`GIVE_UP`].
    fn succeeds(mut self, what: &str) {
        let status = self.program.wait(LIMIT).unwrap_or_else(|error| panic!("{what}: SIPp: {error}"));
        if !status.success() {
            let screen = fs::read_to_string(&self.screen).unwrap_or_default();
            let tail = screen.len().saturating_sub(3000);
            panic!(
                "{what}: SIPp ended with {status}\n{}\n{}",
                fs::read_to_string(&self.errors).unwrap_or_default(),
                screen.get(tail..).unwrap_or_default()
            );
        }
    }
}

/// Makes `calls` calls of a scenario from one end to the other through `edge`; every one must succeed.
pub fn calls(scenario: &str, calls: u32, caller: &End<'_>, edge: &str, callee: &End<'_>) {
    let folder = folder();
    let uas = Sipp::start(callee, folder.path(), scenario, "uas", &["-m", &calls.to_string()]);
    listening(callee.host, 5060);
    let uac = caller_of(scenario, calls, caller, edge, callee.address, folder.path());
    let what = format!("{scenario}, {} → {}", caller.address, callee.address);
    uac.succeeds(&format!("{what}, caller"));
    uas.succeeds(&format!("{what}, callee"));
}

/// [`calls`] where both ends use these transports, `u1`, `t1` (one connection) or `tn` (one for each call). Whom the
/// call is for stands in the Request-URI with this suffix.
pub fn calls_over(
    scenario: &str,
    calls: u32,
    (caller, from): (&End<'_>, &str),
    edge: &str,
    (callee, to): (&End<'_>, &str),
    suffix: &str,
) {
    let folder = folder();
    let count = calls.to_string();
    let uas = Sipp::start(callee, folder.path(), scenario, "uas", &["-m", &count, "-t", to]);
    listening(callee.host, 5060);
    let (proxy, target) = (format!("{edge}:5060"), format!("service@{}:5060{suffix}", callee.address));
    let words =
        [&proxy, "-key", "callee", &target, "-m", &count, "-r", "100", "-t", from, "-max_socket", "100"];
    let uac = Sipp::start(caller, folder.path(), scenario, "uac", &words);
    let what = format!("{scenario}, {} {from} → {} {to}", caller.address, callee.address);
    uac.succeeds(&format!("{what}, caller"));
    uas.succeeds(&format!("{what}, callee"));
}

/// Makes calls that are not meant to reach anybody.
pub fn caller_alone(scenario: &str, calls: u32, caller: &End<'_>, edge: &str, callee: &str) {
    let folder = folder();
    caller_of(scenario, calls, caller, edge, callee, folder.path()).succeeds(scenario);
}

fn caller_of(scenario: &str, calls: u32, caller: &End<'_>, edge: &str, callee: &str, folder: &Path) -> Sipp {
    // All datagrams go to Viaduct; whom the call is for stands in the Request-URI only.
    let (proxy, callee) = (format!("{edge}:5060"), format!("service@{callee}:5060"));
    let words = [&proxy, "-key", "callee", &callee, "-m", &calls.to_string(), "-r", "100"];
    Sipp::start(caller, folder, scenario, "uac", &words)
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// Waits until something in this host is bound to this port.
pub fn listening(host: &Far, port: u16) {
    eventually(&format!("something listens on port {port}"), || is_bound(host, port).then_some(()));
}

/// Something in this host is bound to this port.
pub fn is_bound(host: &Far, port: u16) -> bool {
    let bound = format!(":{port:04X} "); // as /proc/net/udp writes it
    let tables = host.inside(|| {
        let read = |name| fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default();
        Ok(read("udp") + &read("udp6") + &read("tcp") + &read("tcp6"))
    });
    tables.is_ok_and(|tables| tables.contains(&bound))
}
