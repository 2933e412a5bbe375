//! A stream's socket as the runtime's: read and written until it would block, and waited for then.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use futures_io::{AsyncRead, AsyncWrite};
use glommio::net::TcpStream;
use socket2::SockRef;

/// A stream's socket, and what is woken when it can go on.
pub struct Link {
    stream: TcpStream,
    waker: Waker,
}

impl From<OwnedFd> for Link {
    /// On the executor's thread.
    fn from(socket: OwnedFd) -> Self {
        // SAFETY: the descriptor is open, and nobody else's.
        let stream = unsafe { TcpStream::from_raw_fd(socket.into_raw_fd()) };
        Self { stream, waker: Waker::noop().clone() }
    }
}

impl AsRawFd for Link {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

impl Link {
    /// Who is woken from now on.
    pub fn wakes(&mut self, waker: Waker) {
        self.waker = waker;
    }

    /// Begins to connect; [`Link::connected`] says how it goes.
    ///
    /// # Errors
    /// The kernel's reason: there is no way there.
    pub fn connect(&self, to: SocketAddr) -> io::Result<()> {
        // SAFETY: the descriptor is the stream's, which stays open meanwhile.
        let socket = unsafe { BorrowedFd::borrow_raw(self.as_raw_fd()) };
        let socket = SockRef::from(&socket);
        socket.set_nonblocking(true)?;
        match socket.connect(&to.into()) {
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(()),
            done => done,
        }
    }

    /// How connecting went; pending: it takes more time.
    pub fn connected(&mut self) -> Poll<io::Result<()>> {
        // A write of nothing waits for the connection, and tells why there is none.
        self.write(&[]).map_ok(drop)
    }

    /// Reads what has come; pending: nothing has.
    pub fn read(&mut self, into: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_read(&mut Context::from_waker(&self.waker), into)
    }

    /// Writes as much as goes; pending: nothing does.
    pub fn write(&mut self, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(&mut Context::from_waker(&self.waker), bytes)
    }
}
