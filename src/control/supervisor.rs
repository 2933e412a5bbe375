//! The control thread's loop.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use super::certificates::Certificates;
use super::error::Error;
use super::gateways::Gateways;
use super::handle::Command;
use super::journal::Journal;
use super::listeners::Refusals;
use super::load::{Loaded, Source};
use super::monitor::{Monitor, ShardState};
use super::names::{self, Names};
use super::netlink::{self, Follower};
use super::notify::ServiceManager;
use super::publisher::{Parts, Publisher};
use super::reload::{AsStarted, Reloads};
use super::shards::{Ended, ShardThread};
use super::signals::{Signal, Signals};
use super::sockets::Sockets;
use super::states::States;
use super::unreachable::Unreachables;
use super::watch::Watch;
use crate::egress::View;
use crate::engine::socket::Socket;
use crate::fib::{Fib, Query};
use crate::limits;
use crate::shard::{End, Post, Questions, Records};

/// How often the shards' records are written to the log, and gateways looked after.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often all else is looked after.
const CARE_EVERY: Duration = Duration::from_secs(1);
/// How long the control thread waits for its shards to end: a little longer than they do themselves.
const STOP_PATIENCE: Duration = Duration::from_millis(limits::STOP_NS / 1_000_000 + 500);
/// How soon after it began to stop another signal to stop counts as the same.
const SAME_SIGNAL: Duration = Duration::from_millis(200);

/// Everything beside the shards.
pub(super) struct Control {
    pub source: Source,
    pub parts: Parts<Arc<Socket>>,
    pub publisher: Publisher<Arc<Socket>>,
    pub sockets: Sockets<Socket>,
    /// By number; `None`: it has ended.
    pub shards: Vec<Option<ShardThread>>,
    pub ends: mpsc::UnboundedReceiver<Ended>,
    pub follower: Follower,
    pub monitor: Arc<Monitor>,
    pub journal: Journal,
    pub records: Records,
    pub questions: Questions<Query>,
    pub names: Names,
    pub manager: ServiceManager,
    pub signals: Signals,
    /// How the listeners do, as far as the log has told of it.
    pub states: States,
    pub refusals: Refusals,
    pub started: AsStarted,
    pub timers: Timers,
    pub reloads: Reloads,
    pub watch: Watch,
    pub gateways: Gateways,
    pub certificates: Certificates,
    pub unreachables: Unreachables,
    /// What shards are asked for by the control thread.
    pub post: Post,
}

/// What the loop waits for besides events.
pub(super) struct Timers {
    look: Interval,
    care: Interval,
    stopping_since: Option<Instant>,
}

enum Event {
    Fib(Result<Arc<Fib>, netlink::Error>),
    Ended(Ended),
    Command(Command),
    Signal(Signal),
    Loaded(Box<Result<Loaded, Error>>),
    Question(Query),
    Names(Box<names::Event>),
    Unreached(Vec<u16>),
    Look,
    Care,
    StopNow,
}

impl Timers {
    pub fn new() -> Self {
        let every = |period| {
            let mut interval = interval(period);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval
        };
        Self { look: every(LOOK_EVERY), care: every(CARE_EVERY), stopping_since: None }
    }

    async fn next(&mut self) -> Event {
        let since = self.stopping_since;
        let stop = async move {
            match since {
                Some(since) => tokio::time::sleep_until(since + STOP_PATIENCE).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop => Event::StopNow,
            _ = self.look.tick() => Event::Look,
            _ = self.care.tick() => Event::Care,
        }
    }
}

impl Control {
    /// Runs until every shard has ended.
    ///
    /// # Errors
    /// [`Error::AllShardsFailed`], unless they were asked to end.
    pub async fn run(mut self, mut commands: mpsc::Receiver<Command>) -> Result<(), Error> {
        self.tell_states();
        self.show_certificates();
        loop {
            let event = tokio::select! {
                fib = self.follower.next() => Event::Fib(fib),
                Some(ended) = self.ends.recv() => Event::Ended(ended),
                // A closed channel: whoever held the handle has let go of it.
                command = commands.recv(), if !self.parts.stopping => {
                    Event::Command(command.unwrap_or(Command::Stop))
                }
                signal = self.signals.next() => Event::Signal(signal),
                loaded = self.reloads.loaded() => Event::Loaded(Box::new(loaded)),
                query = self.questions.next() => Event::Question(query),
                event = self.names.next() => Event::Names(Box::new(event)),
                shards = self.unreachables.next() => Event::Unreached(shards),
                event = self.timers.next() => event,
            };
            match event {
                Event::Fib(fib) => self.on_fib(fib),
                Event::Ended(ended) => self.on_ended(ended),
                Event::Command(Command::Reload(reply)) => self.reload(Some(reply)),
                Event::Signal(Signal::Reload) => self.reload(None),
                Event::Loaded(loaded) => self.on_loaded(*loaded),
                Event::Command(Command::Stop) => self.stop(),
                Event::Signal(Signal::Stop) => self.on_stop_signal(),
                Event::Question(query) => self.on_question(query),
                Event::Names(event) => self.on_names(*event),
                Event::Unreached(shards) => {
                    let threads =
                        shards.into_iter().filter_map(|shard| self.shards.get(usize::from(shard))?.as_ref());
                    threads.for_each(ShardThread::wake);
                }
                Event::Look => {
                    self.tell_records();
                    self.look_after_gateways();
                }
                Event::Care => self.care(),
                Event::StopNow => {
                    tracing::warn!("some shards did not end in time; the process ends without them");
                    return Ok(());
                }
            }
            if self.shards.iter().all(Option::is_none) {
                self.tell_records();
                return if self.parts.stopping { Ok(()) } else { Err(Error::AllShardsFailed) };
            }
        }
    }

    fn on_fib(&mut self, fib: Result<Arc<Fib>, netlink::Error>) {
        match fib {
            Ok(fib) => {
                let counts = self.follower.counts();
                let delay = counts.delay;
                self.monitor.facts().process.routing = counts;
                self.take_fib(fib, delay);
                if self.monitor.facts().troubles.remove("routes").is_some() {
                    tracing::info!("the kernel's routing policy is followed again");
                }
            }
            Err(error) => {
                let trouble =
                    format!("the kernel's routing policy cannot be followed: {error}; {}", error.remedy());
                let told = self.monitor.facts().troubles.insert("routes", trouble.clone());
                if told.as_ref() != Some(&trouble) {
                    tracing::error!("{trouble}; the last snapshot stays in use");
                }
            }
        }
    }

    /// Hands the current parts to the shards, which take them at their next batch.
    pub(super) fn publish(&mut self) -> u64 {
        let generation = self.publisher.publish(&self.parts);
        let mut facts = self.monitor.facts();
        facts.process.generation = generation;
        facts.process.publications += 1;
        facts.published = std::time::Instant::now();
        drop(facts);
        self.tell_states();
        generation
    }

    /// Publishes, and has every shard take it at once: for sockets, which must not wait for traffic.
    pub(super) fn publish_and_wake(&mut self) -> u64 {
        let generation = self.publish();
        self.wake();
        generation
    }

    /// Has every shard take up what was published.
    pub(super) fn wake(&self) {
        self.shards.iter().flatten().for_each(ShardThread::wake);
    }

    pub(super) fn on_ended(&mut self, Ended { number, how }: Ended) {
        let Some(shard) = self.shards.get_mut(number).and_then(Option::take) else { return };
        let core = shard.core;
        shard.join();
        let why = match how {
            Ok(End::Asked) => "it was asked to stop".to_owned(),
            Ok(End::Panics) => "too many messages made it panic".to_owned(),
            Err(why) => why,
        };
        if let Some(state) = self.monitor.facts().shards.get_mut(number) {
            *state = ShardState::Down(why.clone());
        }
        if self.parts.stopping {
            return;
        }
        let left = self.shards.iter().flatten().count();
        tracing::error!("shard {number} on core {core} has ended: {why}; {left} shards go on");
        self.sockets.lose_shard(number);
        self.use_sockets(std::time::Instant::now());
        self.publish_and_wake();
    }

    pub(super) fn stop(&mut self) {
        if self.parts.stopping {
            return;
        }
        tracing::info!("stopping: no more is received, what was received is still sent");
        self.manager.stopping();
        self.monitor.facts().stopping = true;
        self.sockets.lose_all();
        self.use_sockets(std::time::Instant::now());
        self.parts.stopping = true;
        self.timers.stopping_since = Some(Instant::now());
        self.publish_and_wake();
    }

    /// The first signal stops in good order, a second one at once. One that goes to the process and to
    /// its group, as timeout(1) and terminals send it, comes twice and means one.
    fn on_stop_signal(&mut self) {
        match self.timers.stopping_since.map(|since| since.elapsed()) {
            None => self.stop(),
            Some(stopping) if stopping < SAME_SIGNAL => {}
            Some(_) => {
                tracing::warn!("stopping at once: a second signal came");
                super::log::finish();
                std::process::exit(1)
            }
        }
    }

    pub(super) fn tell_records(&mut self) {
        for _ in 0..limits::RECORDS {
            let Some(record) = self.records.pop() else { break };
            self.journal.tell(&record, &self.parts.plan, &self.parts.fib, Instant::now().into());
        }
        let alive = self.publisher.reap();
        self.monitor.facts().process.snapshots_alive = alive as u64;
    }

    fn care(&mut self) {
        let now = SystemTime::now();
        if self.parts.keys.next_expiry().is_some_and(|expiry| expiry <= now) {
            self.parts.keys = Arc::new(self.parts.keys.valid_at(now));
            tracing::info!("a retired key no longer verifies; {} are left", self.parts.keys.count());
            self.publish();
        }
        self.sockets.read_facts(&self.parts.plan.listeners, &mut self.monitor.facts().listeners);
        self.monitor.facts().process.routing = self.follower.counts();
        self.follow_again();
        let failed = self.monitor.shards().iter().map(|shard| shard.engine.accepts_failed.get()).sum();
        self.journal.tell_accepts(failed, Instant::now().into());
        if let Some(summary) = self.states.summary(std::time::Instant::now()) {
            tracing::warn!("{summary}");
        }
        self.show_gateways();
        self.care_for_names();
        self.care_for_certificates();
        let snapshot = &self.publisher.published().load_full().snapshot;
        self.watch.care(snapshot, self.names.changes, &self.monitor);
    }

    /// Logs and counts what has changed about the listeners.
    fn tell_states(&mut self) {
        let published = self.publisher.published();
        let published = published.load();
        let (view, fib) = (&published.snapshot.view, &self.parts.fib);
        let changes = self.states.look(&self.parts.plan, view, fib);
        self.states.tell(&changes, std::time::Instant::now());
        if !changes.is_empty() || self.monitor.facts().standings.is_empty() {
            self.show_states(view, fib);
        }
    }

    /// Shows how the listeners of the last publication do, whether or not that is news.
    pub(super) fn show_published(&self) {
        let published = self.publisher.published();
        self.show_states(&published.load().snapshot.view, &self.parts.fib);
    }

    /// Shows the metrics and the admin address how the listeners do.
    fn show_states(&self, view: &View, fib: &Fib) {
        let standings = self.states.standings(view, fib, &self.refusals);
        let mut facts = self.monitor.facts();
        facts.standings = standings;
        facts.process.listener_changes = self.states.counts();
    }
}
