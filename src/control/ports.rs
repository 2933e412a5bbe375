//! Who has a port, as the kernel's tables of sockets and processes say.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use socket2::Socket;

/// A socket that receives what is sent to its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// Where it is bound, without a scope.
    pub at: SocketAddr,
    /// What tells it from others, of all processes.
    pub inode: u64,
    /// Whose it is.
    user: u32,
}

impl Open {
    /// Whether others of its user may have the port, too (`SO_REUSEPORT`), this process among them; false where that cannot
    /// be told: to look at another process's socket takes the right to trace it.
    pub fn is_shared(&self, holders: &[Holder]) -> bool {
        self.user == nix::unistd::geteuid().as_raw()
            && holders
                .iter()
                .find_map(|holder| holder.copy(self.inode))
                .is_some_and(|socket| matches!(socket.reuse_port(), Ok(true)))
    }
}

/// A process that has a socket open.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Holder {
    id: u32,
    name: Box<str>,
    is_run: bool,
}

/// Sockets for datagrams that are not connected.
pub fn datagrams() -> Vec<Open> {
    const UNCONNECTED: &str = "07";
    open(["/proc/net/udp", "/proc/net/udp6"], UNCONNECTED)
}

/// Sockets that connections come in on.
pub fn listening() -> Vec<Open> {
    const LISTEN: &str = "0A";
    open(["/proc/net/tcp", "/proc/net/tcp6"], LISTEN)
}

fn open(tables: [&str; 2], state: &str) -> Vec<Open> {
    let tables = tables.map(|table| fs::read_to_string(table).unwrap_or_default());
    tables.iter().flat_map(|table| in_state(table, state)).collect()
}

/// The sockets in a state (a TCP state, in hexadecimal), as a table of the kernel's says: words are in the machine's byte order.
fn in_state(table: &str, wanted: &str) -> impl Iterator<Item = Open> {
    table.lines().filter_map(move |line| {
        // sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (local, _remote, state) = (fields.next()?, fields.next()?, fields.next()?);
        let user = fields.nth(3)?.parse().ok()?;
        let inode = fields.nth(1)?.parse().ok()?;
        let (address, port) = local.split_once(':').filter(|_| state == wanted)?;
        let word = |at: usize| u32::from_str_radix(address.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
        let ip: IpAddr = match address.len() {
            8 => word(0)?.into(),
            _ => {
                let words = [word(0)?, word(8)?, word(16)?, word(24)?];
                <[u8; 16]>::try_from(words.as_flattened()).ok()?.into()
            }
        };
        Some(Open { at: SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?), inode, user })
    })
}

/// Which processes have the sockets open, by inode; of those that this user may ask about.
pub fn holders() -> HashMap<u64, Vec<Holder>> {
    let mut found: HashMap<u64, Vec<Holder>> = HashMap::new();
    for process in entries(Path::new("/proc")) {
        let Some(id) = process.file_name().and_then(|name| name.to_str()?.parse().ok()) else { continue };
        let mut inodes: Vec<u64> = entries(&process.join("fd")).filter_map(|file| socket(&file)).collect();
        inodes.sort_unstable();
        inodes.dedup();
        let Some(holder) = (!inodes.is_empty()).then(|| Holder::of(id, &process)) else { continue };
        for inode in inodes {
            found.entry(inode).or_default().push(holder.clone());
        }
    }
    found
}

/// None where it cannot be read: it is gone, or another user's.
fn entries(folder: &Path) -> impl Iterator<Item = std::path::PathBuf> {
    fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()))
}

/// The inode, if the descriptor is a socket.
fn socket(descriptor: &Path) -> Option<u64> {
    let target = fs::read_link(descriptor).ok()?;
    target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

impl Holder {
    fn of(id: u32, process: &Path) -> Self {
        let read = |name| fs::read(process.join(name)).unwrap_or_default();
        let name: Box<str> = String::from_utf8_lossy(read("comm").trim_ascii_end()).into();
        let is_run = &*name == "viaduct" && read("cmdline").split(|byte| *byte == 0).nth(1) == Some(b"run");
        Self { id, name, is_run }
    }

    /// A copy of its socket, to ask for its options.
    fn copy(&self, inode: u64) -> Option<Socket> {
        let folder = format!("/proc/{}/fd", self.id);
        let file = entries(Path::new(&folder)).find(|file| socket(file) == Some(inode))?;
        let number: libc::c_int = file.file_name()?.to_str()?.parse().ok()?;
        let process = descriptor(|| {
            // SAFETY: the call takes numbers alone.
            unsafe { libc::syscall(libc::SYS_pidfd_open, self.id, 0) }
        })?;
        let copied = descriptor(|| {
            // SAFETY: the call takes numbers alone, and `process` is open.
            unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0) }
        });
        copied.map(Socket::from)
    }

    /// It is a `viaduct run`.
    pub fn is_run(&self) -> bool {
        self.is_run
    }
}

/// What a system call gives that opens a descriptor.
fn descriptor(call: impl FnOnce() -> libc::c_long) -> Option<OwnedFd> {
    let number = libc::c_int::try_from(call()).ok().filter(|number| *number >= 0)?;
    // SAFETY: the kernel has just opened it for this call, and nobody else has it.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (process {})", self.name, self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, UdpSocket};

    /// What the kernel says of sockets of this process, connected and not.
    #[test]
    fn sockets_are_found_where_they_are_bound_and_by_whom() {
        let open = ["127.0.0.1:0", "[::1]:0"].map(|at| UdpSocket::bind(at).unwrap());
        let listener = TcpListener::bind("[::1]:0").unwrap();
        let connected = UdpSocket::bind("127.0.0.1:0").unwrap();
        connected.connect(open[0].local_addr().unwrap()).unwrap();
        let (datagrams, listening, holders) = (datagrams(), listening(), holders());
        let of = |sockets: &[Open], at: SocketAddr| sockets.iter().find(|socket| socket.at == at).copied();
        let found = open.iter().map(|socket| of(&datagrams, socket.local_addr().unwrap()));
        for socket in found.chain([of(&listening, listener.local_addr().unwrap())]) {
            let inode = socket.expect("it is in the table").inode;
            assert!(holders[&inode].iter().any(|holder| holder.id == std::process::id()), "{holders:?}");
        }
        assert_eq!(of(&datagrams, connected.local_addr().unwrap()), None);
        assert_eq!(in_state("no table\n at all: x 07", "07").count(), 0);
    }
}
