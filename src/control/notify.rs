//! Tells the service manager how far the process is (sd_notify(3)), where it asked for that.

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Where to tell; `None`: nobody asked.
pub struct ServiceManager(Option<SocketAddr>);

impl ServiceManager {
    /// By the environment's `NOTIFY_SOCKET`, if this process is the service; an address of another
    /// kind than a path or an abstract name is not served.
    pub fn new(is_service: bool) -> Self {
        let name = env::var_os("NOTIFY_SOCKET").filter(|_| is_service);
        Self(name.and_then(|name| address(name.as_bytes()).ok()))
    }

    /// The start is done.
    pub fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// A reload begins; [`ServiceManager::ready`] ends it.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default();
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={}", now.as_micros()));
    }

    /// The end begins.
    pub fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// A service manager that does not listen is no reason to stop forwarding.
    fn tell(&self, state: &str) {
        let Some(address) = &self.0 else { return };
        if let Err(error) = send(address, state) {
            tracing::debug!("cannot tell the service manager: {error}");
        }
    }
}

fn address(name: &[u8]) -> io::Result<SocketAddr> {
    match name.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name)),
    }
}

fn send(address: &SocketAddr, state: &str) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.send_to_addr(state.as_bytes(), address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(tell: impl FnOnce(&ServiceManager)) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        tell(&ServiceManager(Some(address(path.as_os_str().as_bytes()).unwrap())));
        let mut buffer = [0; 256];
        let len = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..len]).into_owned()
    }

    #[test]
    fn the_service_manager_hears_of_start_reload_and_stop() {
        assert_eq!(told(|m| m.ready("3 listeners")), "READY=1\nSTATUS=3 listeners");
        assert_eq!(told(ServiceManager::stopping), "STOPPING=1");
        let reloading = told(ServiceManager::reloading);
        let usec = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        assert!(usec.parse::<u64>().unwrap() > 0);
    }

    #[test]
    fn an_abstract_name_begins_with_an_at_sign() {
        assert_eq!(address(b"@viaduct").unwrap().as_abstract_name(), Some(&b"viaduct"[..]));
    }
}
