//! Host names: asked for on the control thread, never by a shard.
//!
//! ```text
//!  shards ── Questions ──► Names ── resolve ──► client ──► name servers
//!     ▲                    │ keeper: what is known, for how long, what is asked again
//!     └──── Directory ◄────┘
//! ```

mod client;
mod publish;
mod resolve;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::task::{JoinError, JoinSet};

pub use resolve::{Asked, Resolved, names_now, resolve_now};

use crate::dns::{Answer, Directory, Due, Keeper, Outcome, Question, Refused, Served, Unresolved};
use crate::limits;
use crate::metrics::DnsReadings;
use crate::plan::{Dns, Plan};
use crate::shard::Questions;
use client::{Client, SystemFiles};
use resolve::resolve;

/// How long a lookup may take that a message waits for: a little longer than the message does.
const FOR_MESSAGE: Duration = Duration::from_millis(limits::PARKED_FOR_NAME_NS / 1_000_000 + 1_000);

/// How long another one may take.
const AGAIN: Duration = Duration::from_secs(30);

/// The names that are known, and those that are being asked for.
pub(super) struct Names {
    dns: Dns,
    served: Served,
    keeper: Keeper,
    client: Arc<Client>,
    files: SystemFiles,
    questions: Questions<Question>,
    /// What is to be asked again, as soon as there is a place: names of the configuration, which wait for no others,
    /// and names of requests.
    due: [VecDeque<Question>; 2],
    lookups: JoinSet<Done>,
    /// How often others are asked, or for something else, than before.
    epoch: u64,
    /// How many of them are wanted in which way.
    under_way: [usize; 3],
    begun: Instant,
    allowance: Allowance,
    configured: BTreeSet<Box<str>>,
    /// Names of the configuration that lead nowhere now and have been told of.
    failing: BTreeSet<Box<str>>,
    /// Those that need a look at all names as of [`Names::count`].
    readings: DnsReadings,
    unresolved: u64,
    /// How often the answer to a name of the configuration has changed.
    pub changes: u64,
}

/// A lookup that is done, who wanted it, and the epoch that it began in.
type Done = (Resolved, Wanted, u64);

/// Who wants a name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The configuration names it: its time is nearly over, or nobody has asked for it yet.
    Configured,
    /// It is in use, and its time is nearly over.
    Again,
    /// A message waits for it.
    ByMessage,
}

/// What there is to do.
pub(super) enum Event {
    /// A lookup is done.
    Resolved(Resolved, Wanted, u64),
    /// A message leads to this name.
    Asked(Question),
}

impl Names {
    pub fn new(plan: &Plan) -> Self {
        let dns = plan.dns.clone();
        let client = Arc::new(Client::new(&dns));
        let mut names = Self {
            served: plan.served(),
            keeper: Keeper::new(dns.keep),
            client,
            files: SystemFiles::now(),
            questions: Questions::new(limits::DNS_QUESTIONS),
            due: Default::default(),
            lookups: JoinSet::new(),
            epoch: 0,
            under_way: [0; 3],
            begun: Instant::now(),
            allowance: Allowance::new(dns.per_second),
            configured: BTreeSet::new(),
            failing: BTreeSet::new(),
            readings: DnsReadings::default(),
            unresolved: 0,
            changes: 0,
            dns,
        };
        names.configure(plan);
        names
    }

    /// Where shards ask.
    pub fn questions(&self) -> Questions<Question> {
        self.questions.clone()
    }

    /// What is known now.
    pub fn directory(&self) -> Arc<Directory> {
        Arc::clone(self.keeper.directory())
    }

    /// Takes over the names and settings of a Plan that takes effect.
    pub fn configure(&mut self, plan: &Plan) {
        let questions = plan.questions();
        self.configured = questions.iter().map(|question| question.name.as_str().into()).collect();
        self.failing.retain(|name| self.configured.contains(name));
        if self.dns.servers != plan.dns.servers
            || self.dns.timeout != plan.dns.timeout
            || self.dns.attempts != plan.dns.attempts
        {
            self.ask_others(&plan.dns);
        }
        if self.served != plan.served() {
            self.doubt();
        }
        (self.dns, self.served) = (plan.dns.clone(), plan.served());
        self.allowance = Allowance::new(self.dns.per_second);
        self.keeper.configure(self.dns.keep, questions);
        for question in self.due.each_mut().into_iter().flat_map(std::mem::take).collect::<Vec<_>>() {
            self.queue(question);
        }
        self.look();
    }

    /// With an answer for all names of the configuration, but made no later than this.
    pub async fn settled(plan: &Plan, patience: Duration) -> Self {
        let mut names = Self::new(plan);
        let deadline = tokio::time::Instant::now() + patience;
        while !names.lookups.is_empty() {
            match tokio::time::timeout_at(deadline, names.next()).await {
                Ok(event) => names.handle(event),
                Err(_) => break,
            };
        }
        names.keeper.publish();
        names.count();
        names
    }

    /// Waits for something to do. Cancel-safe.
    pub async fn next(&mut self) -> Event {
        let may_ask = self.under_way[Wanted::ByMessage as usize] < limits::DNS_LOOKUPS;
        let wait = self.allowance.wait(self.begun.elapsed());
        let asked = async {
            tokio::time::sleep(wait).await;
            self.questions.next().await
        };
        tokio::select! {
            Some(done) = self.lookups.join_next(), if !self.lookups.is_empty() => resolved(done),
            question = asked, if may_ask => Event::Asked(question),
        }
    }

    /// Does it. Whether messages may wait for the answer that came.
    pub fn handle(&mut self, event: Event) -> bool {
        match event {
            Event::Asked(question) => self.asked(question),
            Event::Resolved(resolved, wanted, epoch) => {
                self.under_way[wanted as usize] -= 1;
                let question = resolved.question;
                self.resolved(resolved);
                if epoch != self.epoch && self.keeper.again(&question) {
                    self.queue(question);
                }
                self.start();
                true
            }
        }
    }

    /// Whether the question was answered at once.
    fn asked(&mut self, question: Question) -> bool {
        match self.keeper.want(question, self.begun.elapsed()) {
            Ok(()) => {
                self.allowance.take(self.begun.elapsed());
                self.spawn(question, Wanted::ByMessage);
                false
            }
            Err(Refused::Known) => false,
            Err(Refused::NoRoom) => {
                self.readings.refused += 1;
                false
            }
        }
    }

    fn resolved(&mut self, resolved: Resolved) {
        for asked in &resolved.asked {
            self.readings.count(asked.query.kind, &asked.answer, asked.took);
        }
        let Resolved { question, outcome, asked } = resolved;
        let is_configured = self.configured.contains(question.name.as_str());
        if is_configured {
            self.tell(&question, outcome.resolution.as_ref().err().copied(), &asked);
        }
        let changed = self.keeper.take(question, outcome, self.begun.elapsed());
        self.changes += u64::from(is_configured && changed);
    }

    /// Logs what is new about a name of the configuration.
    fn tell(&mut self, question: &Question, why: Option<Unresolved>, asked: &[Asked]) {
        let name = question.name.as_str();
        match why {
            None if self.failing.remove(name) => tracing::info!("{question} is resolved again"),
            None => {}
            Some(why) if self.failing.insert(name.into()) => {
                let failure = asked.iter().find_map(|asked| match &asked.answer {
                    Answer::Failed(failure) => Some(format!(" ({}: {failure})", asked.query)),
                    Answer::Records { .. } | Answer::Nothing { .. } => None,
                });
                let failure = failure.unwrap_or_default();
                match self.keeper.directory().get(question) {
                    Some(Ok(_)) if why == Unresolved::Failed => {
                        tracing::warn!("{question} {}{failure}; what it led to stays in use", why.in_words())
                    }
                    _ => tracing::warn!(
                        "{question} {}{failure}; requests that lead nowhere else are answered 5xx",
                        why.in_words()
                    ),
                }
            }
            Some(_) => {}
        }
    }

    /// Once a second: what is to be asked again, and what has run out.
    pub fn care(&mut self) {
        let files = SystemFiles::now();
        if files != self.files {
            tracing::info!("/etc/resolv.conf or /etc/hosts has changed: read again");
            self.files = files;
            self.ask_others(&self.dns.clone());
        }
        self.look();
        self.count();
    }

    /// Looks through all names for what is shown of them: once a second, however many answers come meanwhile.
    fn count(&mut self) {
        self.readings.kept = self.keeper.counts();
        self.unresolved = self.keeper.unresolved();
    }

    /// Others are asked from now on, who may know other things.
    fn ask_others(&mut self, dns: &Dns) {
        self.client = Arc::new(Client::new(dns));
        self.doubt();
    }

    /// Answers may be others now, those of lookups under way among them.
    fn doubt(&mut self) {
        self.epoch += 1;
        self.keeper.doubt();
    }

    fn look(&mut self) {
        let Due { configured, others } = self.keeper.due(self.begun.elapsed());
        let [first, second] = &mut self.due;
        first.extend(configured);
        second.extend(others);
        self.start();
    }

    fn queue(&mut self, question: Question) {
        let wanted = if self.keeper.is_configured(&question) { Wanted::Configured } else { Wanted::Again };
        self.due[wanted as usize].push_back(question);
    }

    fn start(&mut self) {
        for wanted in [Wanted::Configured, Wanted::Again] {
            while self.under_way[wanted as usize] < limits::DNS_AGAIN
                && let Some(question) = self.due[wanted as usize].pop_front()
            {
                if self.keeper.begin(&question) {
                    self.spawn(question, wanted);
                }
            }
        }
    }

    fn spawn(&mut self, question: Question, wanted: Wanted) {
        let patience = if wanted == Wanted::ByMessage { FOR_MESSAGE } else { AGAIN };
        let resolving = guarded(question, resolve(Arc::clone(&self.client), question, self.served, patience));
        self.under_way[wanted as usize] += 1;
        let epoch = self.epoch;
        self.lookups.spawn(async move { (resolving.await, wanted, epoch) });
    }

    /// What has changed since this was called last; `None`: nothing has.
    pub fn publish(&mut self) -> Option<Arc<Directory>> {
        self.keeper.publish()
    }

    /// Why nobody can be asked, if that is so and there is a name to ask for.
    pub fn trouble(&self) -> Option<&str> {
        self.client.trouble().filter(|_| self.unresolved > 0)
    }

    /// Names of the configuration that led nowhere when they were counted last.
    pub fn unresolved(&self) -> u64 {
        self.unresolved
    }

    /// Numbers for the metrics.
    pub fn readings(&self) -> DnsReadings {
        let waiting = self.questions.len() as u64;
        DnsReadings { under_way: self.lookups.len() as u64, waiting, ..self.readings }
    }
}

/// What came of a lookup. One that panics has failed: what a server sent to one name is no reason to end calls of others.
async fn guarded(question: Question, resolving: impl Future<Output = Resolved>) -> Resolved {
    let result = AssertUnwindSafe(resolving).catch_unwind().await;
    result.unwrap_or_else(|panic| {
        let why = panic.downcast_ref::<&str>().copied().map(str::to_owned);
        let why = why.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        tracing::error!("the lookup of {question} has panicked, and counts as failed: {why}");
        let outcome =
            Outcome { resolution: Err(Unresolved::Failed), ttl_s: limits::DNS_FAILURE_S, partial: false };
        Resolved { question, outcome, asked: Vec::new() }
    })
}

fn resolved(done: Result<Done, JoinError>) -> Event {
    match done {
        Ok((resolved, wanted, epoch)) => Event::Resolved(resolved, wanted, epoch),
        // Nobody cancels a lookup, and `guarded` lets no panic out.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// How many new names may be asked for: a second's worth at once, and then one after the other.
struct Allowance {
    per_second: u32,
    left: f64,
    at: Duration,
}

impl Allowance {
    fn new(per_second: u32) -> Self {
        Self { per_second, left: f64::from(per_second), at: Duration::ZERO }
    }

    /// How long it takes until the next name may be asked for.
    fn wait(&self, now: Duration) -> Duration {
        let left = self.left_at(now);
        if left >= 1.0 {
            return Duration::ZERO;
        }
        Duration::from_secs_f64((1.0 - left) / f64::from(self.per_second.max(1)))
    }

    fn take(&mut self, now: Duration) {
        (self.left, self.at) = (self.left_at(now) - 1.0, now);
    }

    fn left_at(&self, now: Duration) -> f64 {
        let gained = now.saturating_sub(self.at).as_secs_f64() * f64::from(self.per_second);
        (self.left + gained).min(f64::from(self.per_second))
    }
}
