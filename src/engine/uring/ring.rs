//! The ring itself: entries in, completions out, and its orderly end.

use std::io;
use std::time::{Duration, Instant};

use io_uring::types::{CancelBuilder, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, squeue};

use super::Sizes;
use crate::limits::SENDS_PER_SUBMIT;
use crate::metrics::EngineMetrics;
use crate::stream::StreamId;

/// What a completion is about: the upper half of its user data; the lower half is a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    Receive,
    Send,
    Wake,
    Cancel,
    Accept,
    Connect,
    StreamReceive,
    StreamCancel,
    StreamSend,
    /// One that does not wait: it completes only where it falls short.
    StreamSendAtOnce,
}

impl Kind {
    pub const fn with(self, number: u16) -> u64 {
        (self as u64) << 32 | number as u64
    }

    pub const fn of_stream(self, stream: StreamId) -> u64 {
        (self as u64) << 32 | stream.to_bits() as u64
    }
}

/// What the kernel says of an operation.
#[derive(Clone, Copy, Debug)]
pub struct Completion {
    data: u64,
    pub result: i32,
    pub flags: u32,
}

impl Completion {
    pub const fn is(&self, kind: Kind) -> bool {
        self.data >> 32 == kind as u64
    }

    /// The number that [`Kind::with`] was given.
    pub const fn number(&self) -> u16 {
        self.data as u16
    }

    /// The stream that [`Kind::of_stream`] was given.
    pub const fn stream(&self) -> StreamId {
        StreamId::from_bits(self.data as u32)
    }

    /// Somebody else has sent something; what this shard does itself completes as well.
    pub fn brings_something(&self) -> bool {
        [Kind::Receive, Kind::StreamReceive, Kind::Accept].into_iter().any(|kind| self.is(kind))
    }

    /// An operation that uses the engine's memory has ended.
    fn ends_a_writer(&self) -> bool {
        let kinds = [Kind::Receive, Kind::Wake, Kind::StreamReceive, Kind::StreamSend];
        kinds.into_iter().any(|kind| self.is(kind)) && !cqueue::more(self.flags)
    }
}

/// How long the kernel may take to end what is under way, in steps of [`END_STEP_MS`].
const END_STEPS: usize = 100;
const END_STEP_MS: u32 = 10;

/// How long a kernel that is short of memory is left alone.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(1);

/// Completions that end a wait in which they are collected.
const COLLECTED_AT_ONCE: u32 = SENDS_PER_SUBMIT as u32;

/// How often memory is looked at between two looks at the clock.
const LOOKS: usize = 64;

// linux/io_uring.h
const IORING_ENTER_GETEVENTS: u32 = 1 << 0;
const IORING_ENTER_EXT_ARG: u32 = 1 << 3;

/// `struct io_uring_getevents_arg`; before Linux 6.12 the third field had to be zero.
#[repr(C)]
struct WaitArguments {
    sigmask: u64,
    sigmask_bytes: u32,
    min_wait_us: u32,
    timespec: u64,
}

const fn timespec(ns: u64) -> Timespec {
    Timespec::new().sec(ns / 1_000_000_000).nsec((ns % 1_000_000_000) as u32)
}

pub struct Ring<'m> {
    io: IoUring,
    /// Operations under way that use the engine's memory: receives, the waker's read and what streams send.
    writers: u32,
    metrics: &'m EngineMetrics,
}

impl<'m> Ring<'m> {
    pub fn new(sizes: &Sizes, sockets: u16, metrics: &'m EngineMetrics) -> io::Result<Self> {
        let io = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(sizes.completions)
            .build(sizes.submissions)?;
        io.submitter().register_files_sparse(u32::from(sockets))?;
        Ok(Self { io, writers: 0, metrics })
    }

    pub fn io(&self) -> &IoUring {
        &self.io
    }

    /// Puts a descriptor into the ring's table, or with -1 takes it out.
    pub fn set_file(&self, place: u16, fd: i32) -> io::Result<()> {
        self.io.submitter().register_files_update(u32::from(place), &[fd]).map(drop)
    }

    /// Queues an operation.
    ///
    /// # Safety
    /// What the entry points to stays where it is until its completion; for a send, until it was submitted.
    pub unsafe fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        for _ in 0..16 {
            // SAFETY: as the caller vouches.
            if unsafe { self.io.submission().push(entry) }.is_ok() {
                return Ok(());
            }
            self.submit()?;
        }
        Err(io::Error::other("the submission queue stays full"))
    }

    /// Queues an operation that uses the engine's memory; [`Self::writer_ended`] when it has ended.
    ///
    /// # Safety
    /// What the entry points to stays where it is until then.
    pub unsafe fn push_writer(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        // SAFETY: as the caller vouches.
        unsafe { self.push(entry) }?;
        self.writers += 1;
        Ok(())
    }

    pub fn writer_ended(&mut self) {
        self.writers = self.writers.saturating_sub(1);
    }

    /// Submits what is queued, runs task work and waits for a completion, at most so long.
    pub fn enter(&self, wait_ns: u64) -> io::Result<()> {
        let time = timespec(wait_ns);
        self.passing(self.io.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&time)))
    }

    /// Submits what is queued and looks for a completion without sleeping, at most so long; whether there is one. Between
    /// its looks it reads memory that the kernel writes to, and makes no system call.
    pub fn spin(&mut self, ns: u64) -> io::Result<bool> {
        let queued = self.io.submission().len() as u32;
        if queued > 0 {
            self.passing(self.wait(queued, 0, 0, 0))?;
        }
        let (begin, most) = (Instant::now(), Duration::from_nanos(ns));
        loop {
            for _ in 0..LOOKS {
                if !self.io.completion().is_empty() || self.overflown() {
                    return Ok(true);
                }
                if self.io.submission().taskrun() {
                    self.passing(self.wait(0, 0, 0, 0))?;
                }
                std::hint::spin_loop();
            }
            if begin.elapsed() >= most {
                return Ok(false);
            }
        }
    }

    /// The same as [`Self::enter`]; but what completes within `collect_ns`, which is shorter, is waited for together.
    pub fn enter_and_collect(&mut self, wait_ns: u64, collect_ns: u64) -> io::Result<()> {
        let queued = self.io.submission().len() as u32;
        self.passing(self.wait(queued, COLLECTED_AT_ONCE, wait_ns, collect_ns))
    }

    /// Whether the kernel knows the minimum wait: Linux 6.12 does, and those before refuse the argument.
    pub fn can_collect(&self) -> bool {
        let refused = self.wait(0, 1, 0, 1_000).err().and_then(|error| error.raw_os_error());
        refused.is_none_or(|errno| errno != libc::EINVAL)
    }

    fn wait(&self, queued: u32, completions: u32, wait_ns: u64, collect_ns: u64) -> io::Result<usize> {
        let time = timespec(wait_ns);
        let arguments = WaitArguments {
            sigmask: 0,
            sigmask_bytes: 0,
            min_wait_us: (collect_ns / 1_000) as u32,
            timespec: &raw const time as u64,
        };
        let flags = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG;
        // SAFETY: the arguments are as the flags say, and live until the call returns; entries are pushed whole.
        unsafe { self.io.submitter().enter(queued, completions, flags, Some(&arguments)) }
    }

    /// Submits what is queued; where completions wait for room in their queue, fetches those.
    pub fn submit(&self) -> io::Result<()> {
        self.passing(self.io.submitter().submit())
    }

    /// Timeout and signal are as good as success; a busy ring is drained and tried again.
    fn passing(&self, result: io::Result<usize>) -> io::Result<()> {
        let Err(error) = result else { return Ok(()) };
        match error.raw_os_error() {
            Some(libc::ETIME | libc::EINTR) => Ok(()),
            Some(libc::EBUSY) => {
                self.metrics.ring_overflows.count();
                Ok(())
            }
            Some(libc::EAGAIN | libc::ENOMEM) => {
                std::thread::sleep(SHORTAGE_PAUSE);
                Ok(())
            }
            _ => Err(error),
        }
    }

    /// Whether the kernel has taken everything that was queued.
    #[inline]
    pub fn all_submitted(&mut self) -> bool {
        self.io.submission().is_empty()
    }

    /// Whether completions wait in the kernel because their queue was full.
    #[inline]
    pub fn overflown(&mut self) -> bool {
        self.io.submission().cq_overflow()
    }

    /// What has completed since the last call.
    #[inline]
    pub fn completions(&mut self) -> impl Iterator<Item = Completion> {
        let completion = |entry: cqueue::Entry| Completion {
            data: entry.user_data(),
            result: entry.result(),
            flags: entry.flags(),
        };
        self.io.completion().map(completion)
    }

    /// Ends every operation that may write to the engine's memory; `unseen` are completions that nobody has
    /// looked at. False: the kernel has not said of each that it has ended, and may still write.
    pub fn quiesce(&mut self, unseen: impl Iterator<Item = Completion>) -> bool {
        let mut writers = self.writers as usize;
        writers = writers.saturating_sub(unseen.filter(Completion::ends_a_writer).count());
        // Entries that were never submitted cannot be taken back: they begin now, and are cancelled next.
        let mut entered = self.submit();
        for _ in 0..END_STEPS {
            writers = writers.saturating_sub(self.completions().filter(Completion::ends_a_writer).count());
            if entered.is_err() || (writers == 0 && self.all_submitted()) {
                break;
            }
            let time = Timespec::new().nsec(END_STEP_MS * 1_000_000);
            // It finds nothing where all that is left is a completion that has yet to be fetched.
            let _ = self.io.submitter().register_sync_cancel(Some(time), CancelBuilder::any());
            entered = self.enter(u64::from(END_STEP_MS) * 1_000_000);
        }
        self.writers = 0;
        writers == 0
            && entered.is_ok()
            && [super::receive::GROUP, super::chunks::GROUP]
                .into_iter()
                .all(|group| self.io.submitter().unregister_buf_ring(group).is_ok())
    }
}
