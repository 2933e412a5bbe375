//! Follows the kernel: small tables are read anew after any event, large ones changed by it and audited.

mod audit;
mod background;
mod expiry;
mod state;
mod verdict;

use std::sync::Arc;
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep_until};

use self::background::{Done, Job, Purpose, done};
use self::expiry::RENEWED;
use self::state::{Log, State};
use self::verdict::Suspicion;
use super::dump::{load, parts};
use super::error::{Error, Object};
use super::event::{Events, Received};
use super::socket::Requester;
use crate::fib::{Fib, Parts};
use crate::limits;
use crate::metrics::RoutingCounts;

/// So long without an event, and a burst is over.
const QUIET: Duration = Duration::from_millis(2);
/// So long after a burst, an event leads to a snapshot at once: most come alone.
const APART: Duration = Duration::from_millis(5);
/// So long after its first event, a burst is cut.
const LONGEST_BURST: Duration = Duration::from_millis(20);
/// So often what is no route is read again while it changes, before the events have to do.
const PARTS_ATTEMPTS: u32 = 8;
/// So long after a failure, the next attempt is made.
const RETRY: Duration = Duration::from_millis(100);
/// So long after a comparison has found something, the next one says whether it was a change under way.
const CONFIRM: Duration = Duration::from_millis(100);

/// How to follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowOptions {
    /// Up to so many prefixes, all tables are read anew after any event.
    pub redump_below: usize,
    /// So often, what is known is compared with the kernel's tables.
    pub audit_every: Duration,
    /// So long after the kernel has done something that it tells of only in part, they are compared too.
    pub audit_doubts_after: Duration,
}

impl Default for FollowOptions {
    fn default() -> Self {
        Self {
            redump_below: limits::REDUMP_ROUTES,
            audit_every: Duration::from_secs(300),
            audit_doubts_after: Duration::from_secs(1),
        }
    }
}

/// Follows the kernel: a new [`Fib`] after any change of links, addresses, rules, routes, nexthops.
///
/// ```no_run
/// # use viaduct::control::netlink::{Error, Follower};
/// # async fn follow(publish: impl Fn(std::sync::Arc<viaduct::fib::Fib>)) -> Result<(), Error> {
/// let (mut follower, fib) = Follower::start()?; // on the control thread, inside its runtime
/// publish(fib);
/// loop {
///     match follower.next().await {
///         Ok(fib) => publish(fib),
///         Err(error) => eprintln!("{error}"), // the old snapshot stays; `next` tries again
///     }
/// }
/// # }
/// ```
///
/// Sees the network namespace of the thread that started it.
pub struct Follower {
    events: AsyncFd<Events>,
    requester: Requester,
    options: FollowOptions,
    state: State,
    /// Events that no published snapshot holds yet.
    burst: Option<Burst>,
    /// When the last burst was over.
    concluded: Instant,
    /// Not before: the last attempt failed.
    retry_at: Option<Instant>,
    job: Option<Job>,
    /// When the next comparison is due.
    audit_at: Instant,
    /// What the last one has found.
    suspicion: Suspicion,
    buffer: Box<[u8]>,
}

#[derive(Clone, Copy)]
struct Burst {
    /// When its first event was read.
    first: Instant,
    /// When it is over.
    over: Instant,
}

enum Wake {
    Readable,
    BurstOver,
    Done(Box<Done>),
    AuditDue,
    Expired,
}

impl Follower {
    /// Subscribes, then reads: no change after this snapshot is missed. Its generation is 1.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with I/O and time enabled.
    ///
    /// # Errors
    ///
    /// The kernel cannot be asked or subscribed to; [`Error::remedy`] says what to do.
    pub fn start() -> Result<(Self, Arc<Fib>), Error> {
        Self::start_with(FollowOptions::default())
    }

    /// The same in another way than usual.
    ///
    /// # Panics
    ///
    /// As [`Follower::start`].
    ///
    /// # Errors
    ///
    /// As [`Follower::start`].
    pub fn start_with(options: FollowOptions) -> Result<(Self, Arc<Fib>), Error> {
        // SAFETY: `Events` owns its socket, so that the descriptor stays the same and open for as long
        // as the registration holds it.
        let events =
            unsafe { AsyncFd::register(Events::subscribe()?) }.map_err(|error| Error::Open(error.into()))?;
        let mut requester = Requester::open()?;
        let state = State::new(load(&mut requester)?);
        let mut follower = Self {
            events,
            requester,
            options,
            state,
            burst: None,
            concluded: Instant::now(),
            retry_at: None,
            job: None,
            audit_at: Instant::now() + options.audit_every,
            suspicion: Suspicion::default(),
            buffer: vec![0; 64 * 1024].into(),
        };
        follower.read_older()?;
        let fib = follower.publish();
        Ok((follower, fib))
    }

    /// What following has come to so far.
    pub fn counts(&self) -> RoutingCounts {
        self.state.counts
    }

    /// Waits for a change and gives the new snapshot, its generation one higher.
    ///
    /// An event after 5 ms of quiet leads to a snapshot at once. Those of a burst are folded into one: it is over
    /// after 2 ms of quiet, or 20 ms after its first event.
    /// Reading small tables blocks the thread (see [`super::dump`]); large ones are read beside it. Cancel-safe:
    /// dropping the future loses no event.
    ///
    /// # Errors
    ///
    /// The kernel cannot be asked. The change stays pending: the next call tries again, after 100 ms.
    pub async fn next(&mut self) -> Result<Arc<Fib>, Error> {
        loop {
            if let Some(at) = self.retry_at {
                sleep_until(at).await;
                self.retry_at = None;
            }
            let published = match self.wake().await {
                Ok(Wake::Readable) => self.read().map(|()| None),
                Ok(Wake::BurstOver) => self.conclude(),
                Ok(Wake::Done(done)) => self.finish(*done),
                Ok(Wake::AuditDue) if self.follows() => self.begin(Purpose::Audit).map(|()| None),
                Ok(Wake::AuditDue) => self.audit_small(),
                Ok(Wake::Expired) => self.expire(),
                Err(error) => Err(error),
            };
            match published {
                Ok(None) => {}
                Ok(Some(fib)) => return Ok(fib),
                // Keeps a lasting failure from being tried in a tight loop.
                Err(error) => {
                    self.retry_at = Some(Instant::now() + RETRY);
                    return Err(error);
                }
            }
        }
    }

    async fn wake(&mut self) -> Result<Wake, Error> {
        let over = self.burst.map(|burst| burst.over);
        let audit = self.job.is_none().then_some(self.audit_at);
        let expiry = self.state.rib.expiry().map(Instant::from);
        tokio::select! {
            biased;
            () = at(over) => Ok(Wake::BurstOver),
            readable = self.events.readable() => match readable {
                Ok(_) => Ok(Wake::Readable),
                Err(error) => Err(failed(error)),
            },
            done = done(&mut self.job) => Ok(Wake::Done(Box::new(done))),
            () = at(expiry) => Ok(Wake::Expired),
            () = at(audit) => Ok(Wake::AuditDue),
        }
    }

    /// The tables are too large to be read after each event.
    fn follows(&self) -> bool {
        self.state.rib.len() > self.options.redump_below
    }

    /// Reads what is there, at most until the burst has to be cut.
    fn read(&mut self) -> Result<(), Error> {
        let follows = self.follows();
        let begun = Instant::now();
        loop {
            match self.events.get_ref().receive(&mut self.buffer).map_err(failed)? {
                Received::Datagram(datagram) if follows => self.state.take(datagram),
                Received::Datagram(datagram) => self.state.take_small(datagram),
                Received::Overrun => {
                    self.state.counts.overruns += 1;
                    self.state.reload = Some("more events came than the socket holds");
                }
                Received::Nothing => {
                    self.wait_for_more();
                    return Ok(());
                }
            }
            let now = Instant::now();
            self.burst = Some(self.extended(now));
            if now >= begun + LONGEST_BURST {
                return Ok(());
            }
        }
    }

    /// The burst with an event that was read now.
    fn extended(&self, now: Instant) -> Burst {
        match self.burst {
            Some(Burst { first, over }) if over > first => {
                Burst { first, over: (now + QUIET).min(first + LONGEST_BURST) }
            }
            Some(burst) => burst,
            None if now >= self.concluded + APART => Burst { first: now, over: now },
            None => Burst { first: now, over: now + QUIET },
        }
    }

    /// There is nothing to read: the runtime tells when there is.
    fn wait_for_more(&mut self) {
        let waker = std::task::Waker::noop();
        let mut context = std::task::Context::from_waker(waker);
        if let std::task::Poll::Ready(Ok(mut guard)) = self.events.poll_read_ready(&mut context) {
            guard.clear_ready();
        }
    }

    /// Reads events that happened while tables were read: those tables may hold them already.
    fn read_older(&mut self) -> Result<(), Error> {
        if !self.follows() {
            return Ok(());
        }
        self.state.again = true;
        let read = self.read();
        self.state.again = false;
        read
    }

    /// A burst is over: publishes what has changed, unless it has to be read first.
    fn conclude(&mut self) -> Result<Option<Arc<Fib>>, Error> {
        self.renew_parts()?;
        if let Some(why) = self.state.reload {
            if self.follows() {
                tracing::warn!("{why}: all routing tables are read anew");
                self.state.reload = None;
                self.begin(Purpose::Resync)?;
            } else if why == RENEWED {
                self.state.reload = None;
                self.state.changed |= self.read_lifetimes()?;
            } else {
                self.reload()?;
            }
        }
        let first = self.burst.take().map(|burst| burst.first);
        self.concluded = Instant::now();
        if self.state.dirty {
            self.burst = Some(Burst { first: self.concluded, over: self.concluded + QUIET });
        }
        let is_cheap = self.follows() && self.state.changed && self.state.rib.len() <= limits::COMPARE_ROUTES;
        if std::mem::take(&mut self.state.doubt) || is_cheap {
            self.audit_at = self.audit_at.min(Instant::now() + self.options.audit_doubts_after);
        }
        if !self.state.changed {
            return Ok(None);
        }
        let fib = self.publish();
        self.state.counts.delay = first.map_or(Duration::ZERO, |first| first.elapsed());
        Ok(Some(fib))
    }

    /// Reads all but the routes, if events have told of a change.
    ///
    /// What has happened until then is taken first, on top of what was known then: what an event does to routes
    /// depends on the links and addresses of that moment, not on those of now.
    fn renew_parts(&mut self) -> Result<(), Error> {
        for _ in 1..PARTS_ATTEMPTS {
            if !self.state.dirty {
                return Ok(());
            }
            let parts = steady_parts(&mut self.requester)?;
            self.state.dirty = false;
            if let Err(error) = self.read() {
                self.state.dirty = true;
                return Err(error);
            }
            if !self.state.dirty {
                self.take_parts(parts);
            }
        }
        if self.state.dirty {
            // They change all the time. What comes after this reading is for the next burst.
            let parts = steady_parts(&mut self.requester)?;
            self.take_parts(parts);
        }
        Ok(())
    }

    fn take_parts(&mut self, parts: Parts) {
        if self.state.rib.knows_too_little_for(&parts) {
            self.state.reload = Some("links without a carrier count again");
        }
        self.state.changed |= self.state.rib.set_parts(parts);
        self.state.changed |= self.state.rib.forget_orphans();
    }

    /// Reads small tables.
    fn reload(&mut self) -> Result<(), Error> {
        let read = load(&mut self.requester)?;
        self.take(read);
        // What is still being read beside is older than this.
        self.state.log = None;
        (self.state.reload, self.state.dirty, self.state.changed) = (None, false, true);
        self.read_older()
    }

    fn publish(&mut self) -> Arc<Fib> {
        Arc::new(self.state.publish())
    }

    /// Begins to read large tables, unless that is under way. What is under way is no audit any more, if a
    /// resynchronisation is wanted.
    fn begin(&mut self, purpose: Purpose) -> Result<(), Error> {
        if self.job.is_some() {
            // It may have read already what is in doubt now.
            if purpose == Purpose::Resync {
                self.state.log = None;
            }
            return Ok(());
        }
        self.job = Some(Job::load(purpose)?);
        self.state.log = Some(Log::default());
        Ok(())
    }

    fn finish(&mut self, done: Done) -> Result<Option<Arc<Fib>>, Error> {
        // What has happened until now belongs to the log.
        self.read()?;
        let fit = self.state.log.as_ref().is_some_and(|log| !log.overflown) && self.state.reload.is_none();
        match done {
            Done::Loaded(_, Err(error)) => {
                self.begin(Purpose::Resync)?;
                Err(error)
            }
            Done::Lost => {
                tracing::error!("a reading of the routing tables panicked; it is tried again");
                self.retry(Purpose::Resync)
            }
            _ if !fit => self.retry(Purpose::Resync),
            Done::Loaded(Purpose::Resync, Ok(read))
                if self.state.log.as_ref().is_some_and(Log::moves_ipv6) =>
            {
                self.job = Some(Job::load_again(read)?);
                Ok(None)
            }
            Done::Loaded(Purpose::Resync | Purpose::SecondResync, Ok(read)) => {
                self.state.counts.resyncs += 1;
                self.adopt(read)
            }
            Done::Loaded(Purpose::Audit, Ok(read)) => {
                self.compare(read);
                Ok(None)
            }
            Done::Compared(compared) => self.judge(compared),
        }
    }

    /// What was read is of no use.
    fn retry(&mut self, purpose: Purpose) -> Result<Option<Arc<Fib>>, Error> {
        self.state.reload = None;
        self.begin(purpose)?;
        Ok(None)
    }
}

fn failed(error: std::io::Error) -> Error {
    Error::Socket { object: Object::Routes, error }
}

async fn at(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => std::future::pending().await,
    }
}

/// Reads all but the routes, again if it changes meanwhile.
fn steady_parts(requester: &mut Requester) -> Result<Parts, Error> {
    for _ in 1..super::dump::ATTEMPTS {
        match parts(requester) {
            Err(Error::Unstable { .. } | Error::OutOfStep { .. }) => {}
            end => return end,
        }
    }
    parts(requester)
}
