//! The floor on glommio: one datagram at a time, because that is what its sockets offer.

use std::io;
use std::os::fd::{AsFd, FromRawFd, IntoRawFd};

use glommio::net::UdpSocket;
use glommio::{GlommioError, LocalExecutorBuilder};
use viaduct::engine::socket::Socket;
use viaduct::limits::MESSAGE_BYTES;

use super::Path;

/// Forwards until the process is ended.
pub fn run(path: &Path) -> io::Result<()> {
    // The calling thread is pinned already.
    let executor = LocalExecutorBuilder::default().make().map_err(told)?;
    executor.run(async {
        let (listen, from) = (adopt(&path.listen)?, adopt(&path.from)?);
        let mut bytes = vec![0; MESSAGE_BYTES];
        loop {
            let (len, _) = listen.recv_from(&mut bytes).await.map_err(told)?;
            // What the kernel refuses is lost, as it is with the other engines; the load counts it.
            let _ = from.send_to(&bytes[..len.max(path.pad_to)], path.to).await;
        }
    })
}

/// The same socket as a runtime's.
fn adopt(socket: &Socket) -> io::Result<UdpSocket> {
    let fd = socket.as_fd().try_clone_to_owned()?.into_raw_fd();
    // SAFETY: a UDP socket that nobody else owns.
    Ok(unsafe { UdpSocket::from_raw_fd(fd) })
}

/// The runtime's errors cannot cross threads; their words can.
fn told(error: GlommioError<()>) -> io::Error {
    io::Error::other(error.to_string())
}
