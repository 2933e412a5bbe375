//! The forwarders that are compared: how each is configured and started, in the same way and on the same core.

use std::io;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::load::Transport;
use crate::null::Engine;
use crate::results::Unit;
use crate::results::model::{self, Load};
use crate::results::ratios::{
    AT_ONCE, FLOOR_AT_ONCE, FLOOR_SPINNING, OVER_TCP, OVER_TLS, OVER_WS, SPINNING, STATEFUL, VIADUCT,
};
use crate::subject::{Configured, Subject, built, fill, on_core, over, write};
use crate::world::{INSIDE, OUTSIDE, SINK};

use super::setting::Setting;

/// Longer than the gaps between paced messages.
const SPIN: Duration = Duration::from_millis(100);
/// Private memory of each of its processes, in MiB.
const PRIVATE_MIB: u64 = 8;
/// What Kamailio's TLS is configured by.
const TLS_FILE: &str = "kamailio-tls.tls.cfg";

/// Where Kamailio takes the opening handshake of WebSocket.
const HANDSHAKE: &str = "
event_route[xhttp:request] {
    if (ws_handle_handshake()) {
        exit;
    }
    xhttp_reply(\"404\", \"Not Found\", \"\", \"\");
}
";

/// A forwarder of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// What this is about, without transactions.
    Viaduct,
    /// The same with transactions, which it always keeps over connections.
    ViaductStateful(Transport),
    /// Without transactions, looking for the next message instead of sleeping (`[engine] spin`).
    ViaductSpinning,
    /// Without transactions, waking up for each message (`[engine] coalesce` is zero).
    ViaductAtOnce,
    /// The floor.
    Null(Engine),
    /// The floor on Viaduct's engine, looking likewise.
    NullSpinning,
    /// The floor on Viaduct's engine, waking up likewise.
    NullAtOnce,
    /// Kamailio.
    Kamailio(Way),
    /// The same over TCP; `true`: with transactions and `mhomed=1`.
    KamailioTcp(bool),
    /// The same over TLS, with transactions and `mhomed=1`.
    KamailioTls,
    /// The same from WebSocket to TCP.
    KamailioWs,
    /// OpenSIPS.
    Opensips(Way),
}

/// How another proxy forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Without transactions; its script says which socket to send from.
    Stateless,
    /// The same with `mhomed=1`.
    Mhomed,
    /// With transactions (`t_relay`) and `mhomed=1`.
    Stateful,
}

impl Way {
    /// In the order of the tables.
    pub const ALL: [Self; 3] = [Self::Stateless, Self::Mhomed, Self::Stateful];
}

/// A forwarder that runs, and how it came to.
pub struct Started {
    /// Its processes.
    pub subject: Subject,
    /// For the results.
    pub told: model::Subject,
}

impl Peer {
    /// As the results call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Viaduct => VIADUCT,
            Self::ViaductStateful(Transport::Udp) => STATEFUL,
            Self::ViaductStateful(Transport::Tcp) => OVER_TCP,
            Self::ViaductStateful(Transport::Tls) => OVER_TLS,
            Self::ViaductStateful(Transport::Ws) => OVER_WS,
            Self::ViaductStateful(Transport::Wss) => "viaduct-wss",
            Self::ViaductSpinning => SPINNING,
            Self::ViaductAtOnce => AT_ONCE,
            Self::Null(engine) => engine.subject(),
            Self::NullSpinning => FLOOR_SPINNING,
            Self::NullAtOnce => FLOOR_AT_ONCE,
            Self::Kamailio(Way::Stateless) => "kamailio",
            Self::Kamailio(Way::Mhomed) => "kamailio-mhomed",
            Self::Kamailio(Way::Stateful) => "kamailio-stateful",
            Self::KamailioTcp(true) => "kamailio-tcp",
            Self::KamailioTcp(false) => "kamailio-tcp-stateless",
            Self::KamailioTls => "kamailio-tls",
            Self::KamailioWs => "kamailio-ws",
            Self::Opensips(Way::Stateless) => "opensips",
            Self::Opensips(Way::Mhomed) => "opensips-mhomed",
            Self::Opensips(Way::Stateful) => "opensips-stateful",
        }
    }

    /// It can be offered this load. The floor only forwards; who keeps transactions sends what nobody answers again.
    pub fn takes(self, load: Load) -> bool {
        match self {
            _ if load.transport() != self.transport() => false,
            _ if self.transport().is_stream() => true,
            // It is about delay.
            Self::ViaductSpinning | Self::NullSpinning => load == Load::Paced,
            // What collecting saves, and what it delays.
            Self::ViaductAtOnce => matches!(load, Load::Messages | Load::Calls),
            Self::NullAtOnce => load == Load::Messages,
            Self::Null(_) => load.unit() == Unit::Message,
            // Calls with transactions are held against its own without, too.
            Self::Viaduct => true,
            Self::Opensips(_) if matches!(load, Load::Calls | Load::StatefulCalls) => false,
            Self::Kamailio(_) if matches!(load, Load::CallsOpensips | Load::StatefulCallsOpensips) => false,
            _ => self.is_stateful() == matches!(load, Load::StatefulCalls | Load::StatefulCallsOpensips),
        }
    }

    /// What it is offered to see whether it forwards.
    pub fn probe(self) -> Load {
        match self.transport() {
            Transport::Tcp => Load::TcpCalls,
            Transport::Tls => Load::TlsCalls,
            Transport::Ws | Transport::Wss => Load::WsCalls,
            _ if self.is_stateful() => Load::StatefulCalls,
            _ if !self.takes(Load::Messages) => Load::Paced,
            _ => Load::Messages,
        }
    }

    /// What it is offered over.
    fn transport(self) -> Transport {
        match self {
            Self::ViaductStateful(transport) => transport,
            Self::KamailioTcp(_) => Transport::Tcp,
            Self::KamailioTls => Transport::Tls,
            Self::KamailioWs => Transport::Ws,
            Self::Viaduct
            | Self::ViaductSpinning
            | Self::ViaductAtOnce
            | Self::Null(_)
            | Self::NullSpinning
            | Self::NullAtOnce
            | Self::Kamailio(_)
            | Self::Opensips(_) => Transport::Udp,
        }
    }

    /// It keeps transactions.
    pub fn is_stateful(self) -> bool {
        match self {
            Self::KamailioTcp(stateful) => stateful,
            Self::ViaductStateful(_) | Self::KamailioTls | Self::KamailioWs => true,
            Self::Kamailio(Way::Stateful) | Self::Opensips(Way::Stateful) => true,
            _ => false,
        }
    }

    /// It is not of this project: where it does not work here, the others are measured without it.
    pub fn is_foreign(self) -> bool {
        self.is_kamailio() || matches!(self, Self::Opensips(_))
    }

    fn is_kamailio(self) -> bool {
        matches!(self, Self::Kamailio(_) | Self::KamailioTcp(_) | Self::KamailioTls | Self::KamailioWs)
    }

    fn port(self) -> u16 {
        match self {
            Self::Viaduct => 5060,
            Self::Kamailio(way) => 5062 + way as u16,
            Self::Opensips(way) => 5065 + way as u16,
            Self::Null(engine) => 5070 + engine as u16,
            Self::ViaductStateful(transport) => 5080 + transport as u16,
            Self::ViaductSpinning => 5090,
            Self::NullSpinning => 5091,
            Self::KamailioTcp(stateful) => 5092 + u16::from(stateful),
            Self::KamailioTls => 5094,
            Self::KamailioWs => 5095,
            Self::ViaductAtOnce => 5096,
            Self::NullAtOnce => 5097,
        }
    }

    /// Why it cannot be measured here, if it cannot.
    pub fn missing(self, setting: &Setting) -> Option<String> {
        match (self, &setting.opensips) {
            _ if self.is_kamailio() && !kamailio().exists() => {
                Some("Kamailio is not installed: apt-get install kamailio".into())
            }
            (Self::KamailioTls, _) if !kamailio_module("tls").exists() => {
                Some("Kamailio's TLS is not installed: apt-get install kamailio-tls-modules".into())
            }
            (Self::KamailioWs, _) if !kamailio_module("websocket").exists() => Some(
                "Kamailio's WebSocket is not installed: apt-get install kamailio-websocket-modules".into(),
            ),
            (Self::Opensips(_), None) => Some("OpenSIPS was not given: --opensips PATH".into()),
            (Self::Opensips(_), Some(path)) if !path.exists() => {
                Some(format!("{} is not there", path.display()))
            }
            _ => None,
        }
    }

    /// Starts it on its core. `pad_to`: length of what the floor sends, in bytes.
    pub fn start(self, setting: &Setting, pad_to: usize) -> io::Result<Started> {
        let (program, configuration) = self.program(setting)?;
        let mut command = Command::new(&program);
        let file = |name: &str| write(&setting.folder, name, &configuration);
        match self {
            Self::Viaduct | Self::ViaductSpinning | Self::ViaductAtOnce | Self::ViaductStateful(_) => {
                command.args(["run", "-c"]).arg(file(&format!("{}.toml", self.name()))?)
            }
            Self::Null(engine) => null(&mut command, engine, self.port(), setting, pad_to),
            Self::NullSpinning => null(&mut command, Engine::Uring, self.port(), setting, pad_to)
                .args(["--spin-us", &SPIN.as_micros().to_string()]),
            Self::NullAtOnce => {
                null(&mut command, Engine::Uring, self.port(), setting, pad_to).args(["--coalesce-us", "0"])
            }
            Self::Kamailio(_) | Self::KamailioTcp(_) | Self::KamailioTls | Self::KamailioWs => command
                .args(["-DD", "-E", "-x", "fm", "-X", "fm"])
                .args(memory(setting))
                .args(["-Y", &self.private(setting)?, "-f"])
                .arg(file(&format!("{}.cfg", self.name()))?),
            Self::Opensips(_) => command
                .args(["-F", "-a", "F_MALLOC"])
                .args(memory(setting))
                .arg("-f")
                .arg(file(&format!("{}.cfg", self.name()))?),
        };
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let told = model::Subject {
            version: version(self, &program),
            configuration,
            command: words.map(|word| word.to_string_lossy().into_owned()).collect(),
            cores: vec![setting.core],
        };
        let subject = on_core(setting.core, || {
            Subject::spawn(self.name(), SocketAddrV4::new(INSIDE, self.port()), command, &setting.folder)
        })?;
        Ok(Started { subject, told })
    }

    /// A folder for its runtime files: several run at once.
    fn private(self, setting: &Setting) -> io::Result<String> {
        let folder = setting.folder.join(self.name());
        std::fs::create_dir_all(&folder)?;
        Ok(folder.to_string_lossy().into_owned())
    }

    fn program(self, setting: &Setting) -> io::Result<(PathBuf, String)> {
        Ok(match self {
            Self::Viaduct => (built("viaduct")?, self.viaduct(setting, "")),
            Self::ViaductStateful(transport) => {
                (built("viaduct")?, over(transport, &self.viaduct(setting, ""), &setting.folder))
            }
            Self::ViaductSpinning => {
                (built("viaduct")?, self.viaduct(setting, &format!("spin = \"{}ms\"\n", SPIN.as_millis())))
            }
            Self::ViaductAtOnce => (built("viaduct")?, self.viaduct(setting, "coalesce = \"0us\"\n")),
            Self::Null(_) | Self::NullSpinning | Self::NullAtOnce => (built("bench-harness")?, String::new()),
            Self::Kamailio(way) => (kamailio().into(), self.kamailio(way, setting)),
            Self::KamailioTcp(false) => (kamailio().into(), self.kamailio(Way::Stateless, setting)),
            Self::KamailioTcp(true) | Self::KamailioWs => {
                (kamailio().into(), self.kamailio(Way::Stateful, setting))
            }
            Self::KamailioTls => {
                let values = [("CERTIFICATES", setting.folder.to_string_lossy().into_owned())];
                let tls = fill(include_str!("../../peers/kamailio-tls.cfg.in"), &values);
                write(&setting.folder, TLS_FILE, &tls)?;
                (kamailio().into(), self.kamailio(Way::Stateful, setting))
            }
            Self::Opensips(way) => {
                let by = format!("    $socket_out = \"udp:{OUTSIDE}:{}\";", self.port());
                let path = setting.opensips.clone().unwrap_or_default();
                let text = self.filled(include_str!("../../peers/opensips.cfg.in"), way, by, setting);
                let modules = modules_of(&path).to_string_lossy().into_owned();
                (path, fill(&text, &[("MODULES", modules)]))
            }
        })
    }

    /// Viaduct's configuration, with further lines of `[engine]`: another way to wait.
    fn viaduct(self, setting: &Setting, waits: &str) -> String {
        let engine = format!("socket_buffer = {}\n{waits}", setting.socket_buffer);
        let (port, stateful) = (self.port(), self.is_stateful());
        Configured { core: setting.core, port, stateful, engine: &engine, ..Configured::USUAL }.text()
    }

    fn kamailio(self, way: Way, setting: &Setting) -> String {
        let transport = self.transport().of_callee().via().to_lowercase();
        let without = if self.transport().is_stream() { "no" } else { "yes" };
        let (core, module, route) = match self.transport() {
            Transport::Tls => {
                let file = setting.folder.join(TLS_FILE);
                let module =
                    format!("loadmodule \"tls.so\"\nmodparam(\"tls\", \"config\", \"{}\")", file.display());
                ("enable_tls=yes", module, "")
            }
            // HTTP has no Content-Length where there is no body.
            Transport::Ws | Transport::Wss => (
                "tcp_accept_no_cl=yes",
                "loadmodule \"xhttp.so\"\nloadmodule \"websocket.so\"".to_owned(),
                HANDSHAKE,
            ),
            Transport::Udp | Transport::Tcp => ("", String::new(), ""),
        };
        // Without mhomed the script says which socket to send from, as operators then do; it has to where one side is
        // WebSocket, too, because requests within a dialog would leave from the other side's address.
        let by = format!("    $fs = \"{transport}:{OUTSIDE}:{}\";", self.port());
        let within = if self.transport().is_websocket() { by.clone() } else { String::new() };
        let text = self.filled(include_str!("../../peers/kamailio.cfg.in"), way, by, setting);
        let values = [
            ("TRANSPORT", transport),
            ("WITHOUT_TCP", without.to_owned()),
            ("LAYER", core.to_owned()),
            ("LAYER_MODULE", module),
            ("LAYER_ROUTE", route.to_owned()),
            ("LAYER_SOCKET", within),
        ];
        fill(&text, &values)
    }

    fn filled(self, text: &str, way: Way, send_socket: String, setting: &Setting) -> String {
        let mhomed = way != Way::Stateless;
        let (module, relay) = match way {
            Way::Stateful => ("loadmodule \"tm.so\"", "t_relay"),
            Way::Stateless | Way::Mhomed => ("", "forward"),
        };
        let values = [
            ("TRANSACTIONS", module.to_owned()),
            ("RELAY", relay.to_owned()),
            ("MEMORY", memory(setting).join(" ")),
            ("WORKERS", "1".to_owned()),
            ("SOCKET_BUFFER", setting.socket_buffer.to_string()),
            ("MHOMED", u8::from(mhomed).to_string()),
            ("INSIDE", INSIDE.to_string()),
            ("OUTSIDE", OUTSIDE.to_string()),
            ("PORT", self.port().to_string()),
            ("SEND_SOCKET", if mhomed { String::new() } else { send_socket }),
        ];
        fill(text, &values)
    }
}

/// What a peer is told of it.
fn memory(setting: &Setting) -> [String; 4] {
    ["-m".into(), setting.shared_mib.to_string(), "-M".into(), PRIVATE_MIB.to_string()]
}

fn null<'c>(
    command: &'c mut Command,
    engine: Engine,
    port: u16,
    setting: &Setting,
    pad_to: usize,
) -> &'c mut Command {
    command
        .args(["null", "--engine", engine.name()])
        .args(["--listen", &SocketAddrV4::new(INSIDE, port).to_string()])
        .args(["--from", &SocketAddrV4::new(OUTSIDE, port).to_string()])
        .args(["--to", &SINK.to_string()])
        .args(["--pad-to", &pad_to.to_string()])
        .args(["--core", &setting.core.to_string()])
        .args(["--socket-buffer", &setting.socket_buffer.to_string()])
}

/// Debian has it where the paths of ordinary users do not lead.
fn kamailio() -> &'static Path {
    Path::new("/usr/sbin/kamailio")
}

/// One of its modules, which may be in a package of its own.
fn kamailio_module(name: &str) -> PathBuf {
    format!("/usr/lib/{}-linux-gnu/kamailio/modules/{name}.so", std::env::consts::ARCH).into()
}

/// Where an OpenSIPS has its modules: beside it where it was built, or where it is installed.
fn modules_of(program: &Path) -> PathBuf {
    let folder = program.parent().unwrap_or(Path::new("."));
    let installed =
        ["lib64/opensips/modules", "lib/opensips/modules", "lib/x86_64-linux-gnu/opensips/modules"];
    let root = folder.parent().unwrap_or(folder);
    let mut known = std::iter::once(folder.join("modules")).chain(installed.map(|place| root.join(place)));
    known.find(|place| place.is_dir()).unwrap_or_else(|| root.join(installed[0]))
}

fn version(peer: Peer, program: &Path) -> String {
    let flag = match peer {
        Peer::Opensips(_) => "-V",
        _ if peer.is_kamailio() => "-v",
        _ => "--version",
    };
    let text = Command::new(program).arg(flag).output().map(|output| output.stdout).unwrap_or_default();
    // How it was built makes a difference, too.
    let lines = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = lines.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    lines.join("; ")
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn no_place_of_a_configuration_stays_open_and_no_two_share_a_port() {
        let folder = tempfile::tempdir().unwrap();
        let (opensips, folder) = (Some("/opt/opensips".into()), folder.path().to_owned());
        let setting = Setting { core: 0, opensips, folder, shared_mib: 1_234, socket_buffer: 4_321 };
        let mut ports = std::collections::HashSet::new();
        for way in Way::ALL {
            let mhomed = way != Way::Stateless;
            for peer in [Peer::Kamailio(way), Peer::Opensips(way)] {
                let (_, text) = peer.program(&setting).unwrap();
                assert!(text.contains(": -m 1234 -M 8") && text.contains("\nmaxbuffer=4321\n"), "{text}");
                assert_eq!(text.contains("t_relay()") && text.contains("tm.so"), peer.is_stateful());
                let open = |line: &&str| !line.starts_with('#') && line.contains('@');
                assert_eq!(text.lines().find(open), None, "{}", peer.name());
                assert!(text.contains(&format!("mhomed={}", u8::from(mhomed))));
                assert_eq!(text.contains("udp:10.2.0.1:506") && text.contains("\"udp:10.2.0.1"), !mhomed);
                assert!(ports.insert(peer.port()));
            }
        }
        for (peer, transport) in [
            (Peer::KamailioTcp(false), "tcp"),
            (Peer::KamailioTcp(true), "tcp"),
            (Peer::KamailioTls, "tls"),
            (Peer::KamailioWs, "tcp"),
        ] {
            let (_, text) = peer.program(&setting).unwrap();
            let open = |line: &&str| !line.starts_with('#') && line.contains('@');
            assert_eq!(text.lines().find(open), None, "{}", peer.name());
            assert!(text.contains("disable_tcp=no") && text.contains("tcp_children=1"));
            assert!(!text.contains("udp:") && text.contains("enable_tls=yes") == (transport == "tls"));
            assert!(text.contains(&format!("listen={transport}:10.2.0.1:{}", peer.port())));
            assert_eq!(text.contains("ws_handle_handshake"), peer == Peer::KamailioWs);
            assert!(ports.insert(peer.port()));
        }
        let tls = std::fs::read_to_string(setting.folder.join(TLS_FILE)).unwrap();
        assert!(tls.contains("/ca.pem") && !tls.contains('@'), "{tls}");
        let stateful = [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Ws];
        let stateful = stateful.map(Peer::ViaductStateful);
        let waiting = [Peer::ViaductSpinning, Peer::ViaductAtOnce, Peer::NullSpinning, Peer::NullAtOnce];
        for peer in waiting.into_iter().chain([Peer::Viaduct]).chain(stateful) {
            assert!(ports.insert(peer.port()) && peer.takes(peer.probe()), "{}", peer.name());
        }
        let (_, text) = Peer::ViaductSpinning.program(&setting).unwrap();
        assert!(text.contains("\nsocket_buffer = 4321\nspin = \"100ms\"\n"), "{text}");
        let (_, text) = Peer::ViaductAtOnce.program(&setting).unwrap();
        assert!(text.contains("\nsocket_buffer = 4321\ncoalesce = \"0us\"\n"), "{text}");
        assert!(Engine::value_variants().iter().all(|engine| ports.insert(Peer::Null(*engine).port())));
        let opensips = Peer::Opensips(Way::Mhomed);
        assert!(opensips.missing(&setting).unwrap().contains("/opt/opensips"));
        assert!(opensips.missing(&Setting { opensips: None, ..setting }).is_some());
    }
}
