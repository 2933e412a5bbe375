//! Kamailio, a proxy that is none of ours, as Viaduct's neighbour.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::program::{Program, output};
use crate::sipp::listening;
use crate::world::Far;

/// How a Kamailio relays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// With transactions: it answers, retransmits, cancels and acknowledges hop by hop.
    Stateful,
    /// Every message on its own.
    Stateless,
    /// With transactions, and as proxies before RFC 3261 did: it records one address, without `lr`.
    Strict,
}

/// A running Kamailio; it and its processes end when dropped.
pub struct Kamailio(#[expect(dead_code, reason = "held for its end")] Program);

impl Kamailio {
    /// Starts one in this host, which listens on port 5060 of these addresses (IPv6 in brackets).
    /// Requests outside dialogs go to `next`, where that is given, else to their Request-URI. A strict one records
    /// the first address.
    pub fn start(host: &Far, addresses: [&str; 2], next: Option<&str>, mode: Mode) -> Self {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/chain/kamailio.cfg");
        // In a process namespace of its own nothing that it forks can outlive it.
        let mut command = Command::new("unshare");
        command.args([
            "--pid",
            "--fork",
            "--kill-child",
            program(),
            "-DD",
            "-E",
            "-m",
            "32",
            "-M",
            "4",
            "-f",
        ]);
        command.arg(file);
        for address in addresses {
            command.args(["-l", &format!("udp:{address}:5060")]);
        }
        if let Some(next) = next {
            command.args(["-A", &format!("NEXT=\"{next}\"")]);
        }
        match mode {
            Mode::Stateful => {}
            Mode::Stateless => _ = command.args(["-A", "STATELESS"]),
            Mode::Strict => _ = command.args(["-A", &format!("STRICT=\"sip:{}\"", addresses[0])]),
        }
        let kamailio = Self(host.spawn(command.stdin(Stdio::null()).stdout(Stdio::null())));
        listening(host);
        kamailio
    }
}

/// Debian has it where the paths of ordinary users do not lead.
fn program() -> &'static str {
    const DEBIAN: &str = "/usr/sbin/kamailio";
    if Path::new(DEBIAN).exists() { DEBIAN } else { "kamailio" }
}

/// Whether Kamailio is installed; says so past the test harness's capture where it is not.
pub fn installed() -> bool {
    let there = output(Command::new(program()).arg("-v")).is_ok_and(|output| output.status.success());
    if !there {
        let line = "SKIPPED: calls in a chain with Kamailio: the program `kamailio` is not installed";
        writeln!(std::io::stderr(), "{line}").expect("standard error");
    }
    there
}
