//! Kamailio, a proxy that is none of ours, as Viaduct's neighbour.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::pki::Authority;
use crate::program::{Program, output};
use crate::sipp::{is_bound, listening};
use crate::world::{Far, PATIENCE};

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

/// By what a Kamailio and Viaduct reach each other. Everybody else reaches it by UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    Udp,
    Tcp,
    Tls,
}

impl Link {
    /// As it stands in a URI.
    pub const fn transport(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }

    pub const fn port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 5060,
            Self::Tls => 5061,
        }
    }
}

/// A running Kamailio; it and its processes end when dropped.
pub struct Kamailio {
    #[expect(dead_code, reason = "held for its end")]
    program: Program,
    /// Where its certificate is.
    #[expect(dead_code, reason = "held for as long as it runs")]
    folder: TempDir,
}

/// Where a Kamailio stands.
pub struct Stand<'a> {
    pub host: &'a Far,
    /// Its addresses, IPv6 in brackets: on Viaduct's side, which a strict one records, and on the other.
    pub addresses: [&'a str; 2],
    /// Where requests outside dialogs go; none: to their Request-URI.
    pub next: Option<&'a str>,
    /// By what it reaches Viaduct, with who vouches for both where that is TLS.
    pub link: Link,
    pub authority: &'a Authority,
}

impl Kamailio {
    /// Starts one.
    pub fn start(stand: &Stand<'_>, mode: Mode) -> Self {
        let Stand { host, addresses: [near, far], next, link, authority } = *stand;
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/chain/kamailio.cfg");
        let folder = tempfile::tempdir().expect("a folder");
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
            "64",
            "-M",
            "8",
            "-f",
        ]);
        command.arg(file);
        command.args(["-l", &format!("{}:{near}:{}", link.transport(), link.port())]);
        command.args(["-l", &format!("udp:{far}:5060")]);
        if let Some(next) = next {
            command.args(["-A", &format!("NEXT=\"{next}\"")]);
        }
        if link != Link::Udp {
            command.args(["-A", "STREAMS"]);
        }
        if link == Link::Tls {
            let config = tls(folder.path(), near, authority);
            command.args(["-A", &format!("TLS_FILE=\"{config}\"")]);
        }
        match mode {
            Mode::Stateful => {}
            Mode::Stateless => _ = command.args(["-A", "STATELESS"]),
            Mode::Strict => _ = command.args(["-A", &format!("STRICT=\"sip:{near}\"")]),
        }
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Self { program: started(host, &mut command, link.port()), folder }
    }
}

/// Starts it, and starts it once more where it does not come up: with TLS it has been seen to hang while it starts.
fn started(host: &Far, command: &mut Command, port: u16) -> Program {
    let program = host.spawn(command);
    let deadline = Instant::now() + PATIENCE / 2;
    while Instant::now() < deadline {
        if is_bound(host, port) {
            return program;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    eprintln!("Kamailio does not come up, and is started once more");
    drop(program);
    let program = host.spawn(command);
    listening(host, port);
    program
}

/// Writes a certificate for this address, and what Kamailio does with it: it shows it and asks for one, on either side.
fn tls(folder: &Path, address: &str, authority: &Authority) -> String {
    let pair = authority.issue(&[address.trim_matches(['[', ']'])]);
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).expect("a file");
        path.display().to_string()
    };
    let keys = format!(
        "method = TLSv1.2+\nverify_certificate = yes\nrequire_certificate = yes\ncertificate = {}\nprivate_key = {}\nca_list = {}\n",
        write("own.crt", &pair.certificate),
        write("own.key", &pair.key),
        write("ca.pem", &authority.pem())
    );
    write("tls.cfg", &format!("[server:default]\n{keys}\n[client:default]\n{keys}"))
}

/// Debian has it where the paths of ordinary users do not lead.
fn program() -> &'static str {
    const DEBIAN: &str = "/usr/sbin/kamailio";
    if Path::new(DEBIAN).exists() { DEBIAN } else { "kamailio" }
}

/// Whether Kamailio is installed, and where it needs that, its module for TLS; says so past the test harness's capture
/// where it is not.
pub fn installed(link: Link) -> bool {
    let there = output(Command::new(program()).arg("-v")).is_ok_and(|output| output.status.success());
    let lack = match link {
        _ if !there => "the program `kamailio`",
        Link::Tls if !has_tls() => "`tls.so` of Kamailio (Debian: kamailio-tls-modules)",
        Link::Udp | Link::Tcp | Link::Tls => return true,
    };
    let line = format!("SKIPPED: calls in a chain with Kamailio: {lack} is not installed");
    writeln!(std::io::stderr(), "{line}").expect("standard error");
    false
}

/// Modules lie in folders of the machine's name, or not.
fn has_tls() -> bool {
    let is_there = |folder: &Path| folder.join("kamailio/modules/tls.so").exists();
    ["/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/local/lib64"].iter().any(|folder| {
        let below = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
        is_there(Path::new(folder)) || below.map(|entry| entry.path()).any(|folder| is_there(&folder))
    })
}
