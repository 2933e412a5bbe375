//! Send buffers: a stack of them, so that the one used last is used next, and the addresses beside.

use std::io;
use std::net::SocketAddr;

use super::address::Address;
use super::memory::Mapping;
use crate::engine::SocketId;
use crate::limits::MESSAGE_BYTES;

/// A page more than a message, and one line of the cache: neighbours differ in their sets.
const STRIDE: usize = (MESSAGE_BYTES + 1) + 4096 + 64;

/// A send buffer that the shard holds. Goes back by [`crate::engine::Io::send`] or
/// [`crate::engine::Io::discard`]; one that is dropped instead is lost to the pool.
pub struct Tx {
    number: u16,
    start: *mut u8,
}

impl AsMut<[u8]> for Tx {
    fn as_mut(&mut self) -> &mut [u8] {
        // SAFETY: the buffer is within the pool's mapping, and as long as the Tx is held nobody else,
        // the kernel included, refers to it: numbers are handed out once. A Tx does not outlive the
        // engine, whose loop hands it out and takes it back.
        unsafe { std::slice::from_raw_parts_mut(self.start, MESSAGE_BYTES) }
    }
}

/// What is under way in a buffer.
#[derive(Clone, Copy)]
pub struct Send {
    pub on: SocketId,
    pub to: SocketAddr,
    pub cookie: u32,
    /// Set by a completion that says why it failed; 0: none did.
    pub errno: i32,
}

/// The pool.
pub struct Sends {
    buffers: Mapping,
    free: Vec<u16>,
    addresses: Box<[Address]>,
    under_way: Box<[Option<Send>]>,
}

impl Sends {
    pub fn new(count: u16) -> io::Result<Self> {
        let free = (0..count).rev().collect();
        let count = usize::from(count);
        Ok(Self {
            buffers: Mapping::new(count * STRIDE)?,
            free,
            addresses: vec![Address::EMPTY; count].into(),
            under_way: vec![None; count].into(),
        })
    }

    pub fn take(&mut self) -> Option<Tx> {
        let number = self.free.pop()?;
        Some(Tx { number, start: self.buffers.at(usize::from(number) * STRIDE) })
    }

    /// Puts a buffer back that was not sent.
    pub fn put_back(&mut self, tx: Tx) {
        self.free.push(tx.number);
    }

    /// Notes what is sent; gives the buffer's number, its bytes and the address for the kernel, which
    /// stay where they are until [`Self::finish`].
    pub fn begin(&mut self, tx: Tx, send: Send) -> (u16, *const u8, *const Address, u32) {
        let place = usize::from(tx.number);
        let address = &mut self.addresses[place];
        let len = address.set(send.to);
        self.under_way[place] = Some(send);
        (tx.number, tx.start, &raw const *address, len)
    }

    /// Notes that a send failed.
    pub fn fail(&mut self, number: u16, errno: i32) {
        if let Some(Some(send)) = self.under_way.get_mut(usize::from(number)) {
            send.errno = errno;
        }
    }

    /// The kernel is done with the buffer: tells what was sent and frees it.
    pub fn finish(&mut self, number: u16) -> Option<Send> {
        let send = self.under_way.get_mut(usize::from(number))?.take()?;
        self.free.push(number);
        Some(send)
    }

    /// Buffers in use.
    pub fn used(&self) -> usize {
        self.under_way.len() - self.free.len()
    }
}
