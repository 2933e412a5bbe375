//! What can go on: glommio's reactor wakes wakers, each of which puts a name on a list that the next turn goes through.

use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsFd, FromRawFd, IntoRawFd};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake};
use std::time::Duration;

use futures_io::AsyncRead;
use glommio::net::TcpStream;
use glommio::timer::Timer;

use crate::engine::SocketId;
use crate::stream::StreamId;

/// The shortest time that a turn sleeps for: enough that it has not passed already.
const SHORTEST: Duration = Duration::from_micros(1);

/// Who can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The shard was woken.
    Wake,
    /// Something came in on a socket.
    Socket(SocketId),
    /// A stream can be read or written, or is connected.
    Stream(StreamId),
}

/// Those who can go on, and the task that is to hear of it. Wakers may be sent by their type, so this has a lock; one
/// thread uses it.
#[derive(Default)]
struct List {
    who: Vec<Who>,
    turn: Option<std::task::Waker>,
}

/// A waker's end of the list.
struct Named {
    who: Who,
    list: Arc<Mutex<List>>,
}

impl Wake for Named {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut list = locked(&self.list);
        list.who.push(self.who);
        let turn = list.turn.take();
        drop(list);
        if let Some(turn) = turn {
            turn.wake();
        }
    }
}

fn locked(list: &Mutex<List>) -> MutexGuard<'_, List> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The list.
#[derive(Default)]
pub struct Ready(Arc<Mutex<List>>);

impl Ready {
    /// What puts this name on the list.
    pub fn waker(&self, who: Who) -> std::task::Waker {
        Arc::new(Named { who, list: Arc::clone(&self.0) }).into()
    }

    /// Puts a name on the list for the next turn, which begins at once.
    pub fn again(&self, who: Who) {
        locked(&self.0).who.push(who);
    }

    /// Somebody is on the list.
    pub fn any(&self) -> bool {
        !locked(&self.0).who.is_empty()
    }

    /// Moves the names into an empty list.
    pub fn take(&self, into: &mut Vec<Who>) {
        std::mem::swap(&mut locked(&self.0).who, into);
    }

    /// Gives the runtime a turn, which looks at its rings; sleeps until somebody is on the list, at most so long.
    pub async fn sleep(&self, ns: u64) {
        let mut timer: Option<Timer> = None;
        poll_fn(|context| {
            let is_over = match &mut timer {
                Some(timer) => self.any() || Pin::new(timer).poll(context).is_ready(),
                None => {
                    timer = Some(pending_timer(Duration::from_nanos(ns), context));
                    false
                }
            };
            if is_over {
                return Poll::Ready(());
            }
            locked(&self.0).turn = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// A timer that has not run out when the runtime is told of it: one that has gives it no turn.
fn pending_timer(after: Duration, context: &mut Context<'_>) -> Timer {
    let mut after = after.max(SHORTEST);
    loop {
        let mut timer = Timer::new(after);
        if Pin::new(&mut timer).poll(context).is_pending() {
            return timer;
        }
        after *= 2;
    }
}

/// A wait until a descriptor can be read, which reads nothing. It is over when it is dropped.
///
/// The runtime waits for readiness in one place alone: when a stream is new, its first read asks for it before it reads
/// anything. So each wait is a new stream, of a copy of the descriptor, whatever that is.
pub struct Readable(#[expect(dead_code, reason = "it waits by being there")] TcpStream);

impl Readable {
    /// Begins to wait; on the executor's thread.
    ///
    /// # Errors
    /// The process may have no more files.
    pub fn begin(of: &impl AsFd, waker: std::task::Waker) -> io::Result<Self> {
        let copy = of.as_fd().try_clone_to_owned()?.into_raw_fd();
        // SAFETY: the copy is open, and nobody else's.
        let mut stream = unsafe { TcpStream::from_raw_fd(copy) };
        let first = Pin::new(&mut stream).poll_read(&mut Context::from_waker(&waker), &mut []);
        debug_assert!(first.is_pending(), "a first read asks for readiness");
        Ok(Self(stream))
    }
}
