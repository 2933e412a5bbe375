//! A netlink socket that asks and reads whole answers.

use std::io;
use std::time::{Duration, Instant};

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use socket2::SockRef;

use super::error::{Error, Object};
use super::wire::{self, Message, Request};

/// The kernel writes at most this much of a dump into one datagram.
const DATAGRAM_BYTES: usize = 64 * 1024;

/// The kernel answers at once; it may wait for the lock of its tables, but not as long as this.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks the kernel, one question at a time.
pub struct Requester {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
    /// The last answer was not read to its end.
    abandoned: bool,
}

/// How an answer ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// Completely.
    Complete,
    /// The list changed while it was read: it may lack or double entries.
    Interrupted,
    /// With an error number, and the kernel's own words if it has any.
    Refused(i32, Option<String>),
}

impl Requester {
    /// Opens a socket in the calling thread's network namespace.
    pub fn open() -> Result<Self, Error> {
        let open = || {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            // Strict checking: filters mean what they say, and a dump holds no cached routes.
            socket.set_netlink_get_strict_chk(true)?;
            socket.set_ext_ack(true)?;
            SockRef::from(&socket).set_read_timeout(Some(PATIENCE))?;
            Ok(socket)
        };
        let socket = open().map_err(Error::Open)?;
        Ok(Self::new(socket))
    }

    fn new(socket: Socket) -> Self {
        Self { socket, sequence: 0, buffer: Vec::with_capacity(DATAGRAM_BYTES), abandoned: false }
    }

    /// Sends a request and gives every message of its answer to `each`, which returns `None` for one
    /// that it cannot read.
    ///
    /// What is left of older answers is passed over. A message whose sequence number is ahead of the question's ends
    /// the reading with [`Error::OutOfStep`]; the next question is numbered after it.
    pub fn ask(
        &mut self,
        object: Object,
        request: Request,
        each: impl FnMut(&Message<'_>) -> Option<()>,
    ) -> Result<End, Error> {
        if self.abandoned {
            self.drain();
        }
        self.abandoned = true;
        let end = self.exchange(object, request, each)?;
        self.abandoned = false;
        Ok(end)
    }

    fn exchange(
        &mut self,
        object: Object,
        request: Request,
        mut each: impl FnMut(&Message<'_>) -> Option<()>,
    ) -> Result<End, Error> {
        let failed = |error| Error::Socket { object, error };
        self.sequence = self.sequence.wrapping_add(1);
        self.socket.send(&request.finish(self.sequence), 0).map_err(failed)?;
        let mut interrupted = false;
        loop {
            self.buffer.clear();
            retry(|| self.socket.recv(&mut self.buffer, 0)).map_err(failed)?;
            for message in wire::messages(&self.buffer) {
                let message = message.map_err(|_| Error::Malformed { object })?;
                match message.sequence.wrapping_sub(self.sequence).cast_signed() {
                    0 => {}
                    ..0 => continue,
                    1.. => {
                        self.sequence = message.sequence;
                        return Err(Error::OutOfStep { object });
                    }
                }
                interrupted |= message.flags & NLM_F_DUMP_INTR != 0;
                match i32::from(message.kind) {
                    libc::NLMSG_ERROR | libc::NLMSG_DONE => match refusal(&message) {
                        Some((errno, detail)) => return Ok(End::Refused(errno, detail)),
                        None if interrupted => return Ok(End::Interrupted),
                        None => return Ok(End::Complete),
                    },
                    libc::NLMSG_NOOP => {}
                    _ => {
                        each(&message).ok_or(Error::Malformed { object })?;
                        if message.flags & libc::NLM_F_MULTI as u16 == 0 {
                            return Ok(End::Complete);
                        }
                    }
                }
            }
        }
    }

    /// Reads off what is left of an answer: the kernel refuses a dump (`EBUSY`) as long as another one is under way.
    fn drain(&mut self) {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            self.buffer.clear();
            // Nothing left, or an error that the next question meets as well.
            if retry(|| self.socket.recv(&mut self.buffer, libc::MSG_DONTWAIT)).is_err() {
                return;
            }
        }
    }
}

const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_CAPPED: u16 = 0x100;
const NLMSGERR_ATTR_MSG: u16 = 1;

/// The error of `NLMSG_ERROR` and `NLMSG_DONE`; `None`: all went well.
fn refusal(message: &Message<'_>) -> Option<(i32, Option<String>)> {
    let code = wire::u32_at(message.payload, 0).unwrap_or(0).cast_signed();
    if code == 0 {
        return None;
    }
    let failed = i32::from(message.kind) == libc::NLMSG_ERROR;
    // An error quotes the request: its header only, or all of it.
    let quoted = match wire::u32_at(message.payload, 4) {
        Some(len) if failed && message.flags & NLM_F_CAPPED == 0 => len as usize,
        _ if failed => 16,
        _ => 0,
    };
    let attributes = message.payload.get(4 + quoted..).unwrap_or_default();
    let detail = wire::attributes(attributes)
        .filter_map(Result::ok)
        .find(|(kind, _)| *kind == NLMSGERR_ATTR_MSG)
        .and_then(|(_, text)| wire::name(text))
        .map(String::from);
    Some((code.saturating_neg(), detail))
}

fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
#[path = "socket_tests.rs"]
mod tests;
