//! Send buffers: a stack of them, so that the one used last is used next and is still in the cache.

use std::io;
use std::net::SocketAddr;

use super::address::Address;
use super::memory::Mapping;
use crate::engine::SocketId;
use crate::limits::{HOT_BUFFERS, MESSAGE_BYTES};

/// What is under way in a buffer: on one line of the cache, the one before its bytes.
#[repr(C, align(64))]
struct Record {
    to: Address,
    cookie: u64,
    /// Set by a completion that says why it failed; 0: none did.
    errno: i32,
    on: SocketId,
    under_way: bool,
}

const RECORD_BYTES: usize = size_of::<Record>();

/// A page more than a message and its record, and one line of the cache: neighbours differ in their sets.
const STRIDE: usize = RECORD_BYTES + (MESSAGE_BYTES + 1) + 4096 + 64;

const _: () = assert!(RECORD_BYTES == 64 && STRIDE.is_multiple_of(align_of::<Record>()));

/// A send buffer that the shard holds. Goes back by [`crate::engine::Io::send`] or
/// [`crate::engine::Io::discard`]; one that is dropped instead is lost to the pool.
pub struct Tx {
    number: u16,
    /// Where its bytes begin.
    start: *mut u8,
}

impl AsMut<[u8]> for Tx {
    fn as_mut(&mut self) -> &mut [u8] {
        // SAFETY: the bytes lie within the pool's mapping, which is not unmapped while a Tx is out, and
        // are initialised (mapped zero). A number is handed out to one Tx at a time, and the kernel reads
        // the buffer only after the Tx was given to `send`.
        unsafe { std::slice::from_raw_parts_mut(self.start, MESSAGE_BYTES) }
    }
}

/// How a send ended.
pub enum Ended {
    /// The kernel took it.
    Sent { cookie: u64 },
    /// It did not.
    Failed { on: SocketId, to: SocketAddr, errno: i32, cookie: u64 },
}

/// The pool.
pub struct Sends {
    buffers: Mapping,
    free: Vec<u16>,
    count: u16,
}

impl Sends {
    pub fn new(count: u16) -> io::Result<Self> {
        let buffers = Mapping::with_hot(usize::from(count) * STRIDE, HOT_BUFFERS as usize * STRIDE)?;
        Ok(Self { buffers, free: (0..count).rev().collect(), count })
    }

    pub fn take(&mut self) -> Option<Tx> {
        let number = self.free.pop()?;
        Some(Tx { number, start: self.bytes(number) })
    }

    /// Puts a buffer back that was not sent.
    pub fn put_back(&mut self, tx: Tx) {
        self.assert_own(&tx);
        self.free.push(tx.number);
    }

    /// Notes what is sent; gives the buffer's number, its bytes and the address for the kernel, which
    /// stay as they are until [`Self::finish`].
    pub fn begin(
        &mut self,
        tx: Tx,
        on: SocketId,
        to: SocketAddr,
        cookie: u64,
    ) -> (u16, *const u8, *const Address, u32) {
        self.assert_own(&tx);
        let record = self.record(tx.number);
        let len = record.to.set(to);
        (record.cookie, record.errno, record.on, record.under_way) = (cookie, 0, on, true);
        let address = &raw const record.to;
        (tx.number, tx.start, address, len)
    }

    /// Notes that a send failed.
    pub fn fail(&mut self, number: u16, errno: i32) {
        if number < self.count {
            self.record(number).errno = errno;
        }
    }

    /// The kernel is done with the buffer: tells what was sent and frees it. `None`: it was not under way.
    pub fn finish(&mut self, number: u16) -> Option<Ended> {
        let record = self.record(number);
        if !std::mem::take(&mut record.under_way) {
            return None;
        }
        let cookie = record.cookie;
        let ended = match record.errno {
            0 => Ended::Sent { cookie },
            errno => Ended::Failed { on: record.on, to: record.to.get(), errno, cookie },
        };
        self.free.push(number);
        Some(ended)
    }

    /// Buffers in use: held by the shard or under way.
    pub fn used(&self) -> usize {
        usize::from(self.count) - self.free.len()
    }

    /// Leaves the memory to the process where the shard still holds a buffer.
    pub fn keep_if_held(&mut self) {
        if self.used() == 0 {
            return;
        }
        let under_way = (0..self.count).filter(|number| self.record(*number).under_way).count();
        if self.used() > under_way {
            self.buffers.keep();
        }
    }

    /// A Tx of another engine would put a number into circulation twice.
    fn assert_own(&self, tx: &Tx) {
        assert!(
            tx.number < self.count && tx.start == self.bytes(tx.number),
            "a send buffer of another engine"
        );
    }

    fn bytes(&self, number: u16) -> *mut u8 {
        self.buffers.at(usize::from(number) * STRIDE + RECORD_BYTES, MESSAGE_BYTES)
    }

    fn record(&mut self, number: u16) -> &mut Record {
        let record = self.buffers.at(usize::from(number) * STRIDE, RECORD_BYTES).cast::<Record>();
        // SAFETY: the record lies within the mapping, aligned (a page, and a multiple of 64) and
        // initialised (all zero is a valid record). Only the pool refers to it, one at a time by `&mut
        // self`; the kernel reads its address during a submission alone, when no reference is held.
        unsafe { &mut *record }
    }
}
