//! What the process says when it is ready: one screen, all that an operator wants to see.

use std::fmt;
use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::path::Path;

use super::{cores, listeners, log};
use crate::egress::{ListenerState, View};
use crate::plan::{EngineKind, Listener, Plan};

/// All that the banner tells.
pub struct Banner<'a> {
    /// The configuration.
    pub plan: &'a Plan,
    /// How its listeners do.
    pub view: &'a View,
    /// The core of each shard.
    pub cores: &'a [usize],
    /// What the keys are.
    pub keys: &'a KeyState,
    /// Names in rules that have no address.
    pub unresolved: u64,
    /// Receive and send buffer of the sockets, in bytes, as the kernel granted them.
    pub buffers: (usize, usize),
    /// What the kernel can do.
    pub kernel: &'a str,
    /// Where the admin address really is.
    pub admin: Option<SocketAddr>,
}

/// Where the keys came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// No file: a key that dies with the process.
    ThrowAway,
    /// From a file.
    File {
        /// Which.
        path: Box<Path>,
        /// It was made just now.
        created: bool,
        /// How many keys verify.
        count: usize,
    },
}

impl Banner<'_> {
    /// Says it: in lines of its own where somebody watches, as one log line each where not.
    pub fn tell(&self, owns_process: bool) {
        if owns_process && io::stderr().is_terminal() {
            log::print(&format!("{self}\n"));
        } else {
            self.to_string().lines().for_each(|line| tracing::info!("{line}"));
        }
        listeners::tell_none(self.plan);
        if !self.too_small().is_empty() {
            tracing::warn!(
                "the sockets' buffers are smaller than wanted, and a burst that does not fit is lost: {}",
                self.buffers_in_words()
            );
        }
    }
}

impl fmt::Display for Banner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = self.plan;
        writeln!(f, "viaduct {} forwards; configuration: {}", env!("CARGO_PKG_VERSION"), plan.origin)?;
        self.listeners(f)?;
        let each = if self.cores.len() == 1 { "one shard" } else { "a shard on each" };
        writeln!(f, "  cores      {} ({each})", cores::ranges(self.cores))?;
        write!(f, "  rules      {}", plan.rules.len())?;
        match self.unresolved {
            0 => writeln!(f)?,
            n => writeln!(f, "; {n} of their names have no address yet")?,
        }
        writeln!(f, "  keys       {}", self.keys)?;
        writeln!(f, "  buffers    {}", self.buffers_in_words())?;
        match plan.engine.kind {
            EngineKind::Uring => writeln!(f, "  kernel     {}", self.kernel)?,
            other => writeln!(f, "  kernel     {}, engine {other}", self.kernel)?,
        }
        match self.admin {
            Some(address) => write!(f, "  admin      http://{address}/metrics and /healthz"),
            None => write!(f, "  admin      off"),
        }
    }
}

impl Banner<'_> {
    fn listeners(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.plan.listeners.is_empty() {
            writeln!(f, "  listeners  none")?;
        }
        let rows: Vec<_> = self.plan.listeners.iter().map(|l| (l, details(l))).collect();
        let names = rows.iter().map(|(l, _)| l.name.len()).max().unwrap_or(0);
        let width = rows.iter().map(|(_, details)| details.len()).max().unwrap_or(0);
        for (i, (listener, details)) in rows.iter().enumerate() {
            let head = if i == 0 { "listeners" } else { "" };
            let state = state_in_words(self.view.state(listener.id));
            writeln!(f, "  {head:<9}  {:<names$}  {details:<width$}  {state}", listener.name)?;
        }
        Ok(())
    }

    fn buffers_in_words(&self) -> String {
        let (receive, send) = self.buffers;
        let wanted = self.plan.engine.socket_buffer_bytes;
        let mut text = format!("receive {}, send {}", size(receive), size(send));
        let limits = self.too_small();
        if !limits.is_empty() {
            text += &format!("; {} wanted: sysctl -w", size(wanted));
            limits.iter().for_each(|limit| text += &format!(" {limit}={wanted}"));
        }
        text
    }

    /// The sysctls that keep the buffers from what is wanted.
    fn too_small(&self) -> Vec<&'static str> {
        let (receive, send) = self.buffers;
        let wanted = self.plan.engine.socket_buffer_bytes;
        let limits = [(receive, "net.core.rmem_max"), (send, "net.core.wmem_max")];
        limits.into_iter().filter(|(granted, _)| *granted < wanted).map(|(_, limit)| limit).collect()
    }
}

impl fmt::Display for KeyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ThrowAway => f.write_str("a throw-away key: dialogs do not survive a restart"),
            Self::File { path, created: true, .. } => write!(f, "{} (created)", path.display()),
            Self::File { path, count: 1, .. } => write!(f, "{}", path.display()),
            Self::File { path, count, .. } => write!(f, "{} ({count} keys)", path.display()),
        }
    }
}

fn details(listener: &Listener) -> String {
    let mut text = format!("{}:{}", listener.transport, listener.bind);
    if let Some(device) = &listener.device {
        text += &format!(" dev {device}");
    }
    if let Some(mark) = listener.mark {
        text += &format!(" mark {mark:#x}");
    }
    for advertise in listener.advertise.iter().filter(|a| *a.text != *listener.bind.to_string()) {
        text += &match advertise.to {
            Some(net) => format!(" says {} to {net}", advertise.text),
            None => format!(" says {}", advertise.text),
        };
    }
    text
}

/// How a listener does, in words.
pub fn state_in_words(state: ListenerState) -> &'static str {
    match state {
        ListenerState::Up => "up",
        ListenerState::AddressAbsent => "DOWN: no interface has this address",
        ListenerState::HomeDown => "DOWN: the interface of this address is down or has no carrier",
        ListenerState::DeviceAbsent => "DOWN: there is no such device",
        ListenerState::DeviceDown => "DOWN: its device is down or has no carrier",
        ListenerState::NoSocket => "DOWN: its socket could not be opened",
    }
}

fn size(bytes: usize) -> String {
    match bytes {
        _ if bytes >= 1 << 20 => format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)),
        _ => format!("{} KiB", bytes / 1024),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::samples::{listener, plan};
    use crate::fib::Builder;
    use crate::plan::Advertise;

    #[test]
    fn one_screen_tells_all_that_an_operator_asks() {
        let mut public = listener(0, "public", "203.0.113.10:5060");
        public.mark = Some(7);
        public.advertise.insert(
            0,
            Advertise {
                to: None,
                text: "198.51.100.7:5060".into(),
                host: "198.51.100.7".into(),
                ip: None,
                port: 5060,
            },
        );
        let mut plan = plan(vec![public, listener(1, "in", "[fd00::4]:5062")]);
        plan.engine.socket_buffer_bytes = 8 << 20;
        let fib = Builder::host().build();
        let banner = Banner {
            plan: &plan,
            view: &View::new(&plan, &fib),
            cores: &[0, 1, 2, 5],
            keys: &KeyState::File { path: Path::new("/etc/viaduct.keys").into(), created: true, count: 1 },
            unresolved: 1,
            buffers: (425_984, 8 << 20),
            kernel: "6.18.5",
            admin: Some("127.0.0.1:9060".parse().unwrap()),
        };
        insta::assert_snapshot!(banner);
        let both = Banner { buffers: (212_992, 212_992), ..banner };
        let words = "receive 208 KiB, send 208 KiB; 8.0 MiB wanted: sysctl -w net.core.rmem_max=8388608 \
                     net.core.wmem_max=8388608";
        assert_eq!(both.buffers_in_words(), words);
        let enough = Banner { buffers: (8 << 20, 8 << 20), ..both };
        assert!(enough.too_small().is_empty());
    }

    #[test]
    fn that_nothing_is_served_is_said() {
        let (plan, fib) = (plan(Vec::new()), Builder::host().build());
        let banner = Banner {
            plan: &plan,
            view: &View::new(&plan, &fib),
            cores: &[0],
            keys: &KeyState::ThrowAway,
            unresolved: 0,
            buffers: (8 << 20, 8 << 20),
            kernel: "6.18.5",
            admin: None,
        };
        assert!(banner.to_string().contains("\n  listeners  none\n"), "{banner}");
    }
}
