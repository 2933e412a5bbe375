//! How long an answer is kept, when it is asked for again, and which one goes where there is no room.
//!
//! Time is what has passed since any fixed instant.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::directory::{Directory, Entry};
use super::procedure::Outcome;
use super::question::Question;
use super::resolution::{Found, Resolution, Unresolved};
use crate::limits;

/// Bounds of what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A shorter TTL counts as this one.
    pub min_ttl: Duration,
    /// A longer TTL counts as this one.
    pub max_ttl: Duration,
    /// Longest time that a name counts as absent.
    pub negative_ttl: Duration,
    /// How long after its TTL an answer stays in use where no server can tell (RFC 8767).
    pub stale: Duration,
    /// Most names.
    pub names: usize,
}

/// Keeps answers, and makes of them the [`Directory`] that shards read.
pub struct Keeper {
    settings: Settings,
    kept: HashMap<Question, Kept>,
    directory: Arc<Directory>,
    changes: Changes,
    counts: Counts,
}

/// What [`Directory::with`] changes.
type Changes = Vec<(Question, Option<Arc<Entry>>)>;

/// What has become of answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Kept now.
    pub names: u64,
    /// Of those, such that lead nowhere.
    pub unresolved: u64,
    /// Of those, such whose TTL is over and that no server could tell anew.
    pub stale: u64,
    /// Pushed out by others.
    pub evicted: u64,
}

#[derive(Default)]
struct Kept {
    /// None until there is a first answer.
    entry: Option<Arc<Entry>>,
    /// Shards read it. One whose time is over without use is taken from them, and stays here for the case that no
    /// server can tell when it is asked for again.
    shown: bool,
    /// The configuration names it: it stays, and is asked for again whether or not it is used.
    configured: bool,
    asking: Asking,
    /// Somebody has used it since the last answer.
    used: bool,
    used_at: Duration,
    /// From then on it is asked for again.
    ask_from: Duration,
    /// Until then the answer holds.
    fresh_until: Duration,
    /// A part of what the answer is made of could not be asked for.
    partial: bool,
}

/// Whether somebody is asking for a name.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Asking {
    #[default]
    No,
    /// It was given by [`Keeper::due`] and has not had its turn yet.
    Queued,
    UnderWay,
}

/// What is to be asked for again.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// Names of the configuration.
    pub configured: Vec<Question>,
    /// Names of requests only.
    pub others: Vec<Question>,
}

/// Why a question is not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is an answer, or somebody is asking already.
    Known,
    /// All room is taken by names of the configuration, and such that are being asked for.
    NoRoom,
}

impl Keeper {
    /// With nothing in it.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            kept: HashMap::new(),
            directory: Arc::default(),
            changes: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// Takes over other bounds, and other names of the configuration: those that are new are asked for at once.
    pub fn configure(&mut self, settings: Settings, names: impl IntoIterator<Item = Question>) {
        self.settings = settings;
        self.kept.values_mut().for_each(|kept| kept.configured = false);
        for question in names {
            self.kept.entry(question).or_default().configured = true;
        }
    }

    /// Somebody waits for this name. `Ok`: it is to be asked for, and [`Keeper::take`] told what came of it.
    ///
    /// # Errors
    /// It is not to be asked for.
    pub fn want(&mut self, question: Question, now: Duration) -> Result<(), Refused> {
        let known = self.kept.get(&question);
        if known.is_some_and(|kept| kept.asking == Asking::UnderWay || kept.shown) {
            return Err(Refused::Known);
        }
        if known.is_none() && self.kept.len() >= self.settings.names && !self.make_room() {
            return Err(Refused::NoRoom);
        }
        let kept = self.kept.entry(question).or_default();
        (kept.asking, kept.used_at) = (Asking::UnderWay, now);
        Ok(())
    }

    /// A question of [`Keeper::due`] has its turn; whether it is still to be asked for, and [`Keeper::take`] told what
    /// came of it. It is not if it was asked for meanwhile because a message waited.
    pub fn begin(&mut self, question: &Question) -> bool {
        let queued = self.kept.get_mut(question).filter(|kept| kept.asking == Asking::Queued);
        queued.map(|kept| kept.asking = Asking::UnderWay).is_some()
    }

    /// What was said of it may be something else by now: it is asked for once more, whoever uses it. Whether it is to be
    /// queued as one of [`Keeper::due`].
    pub fn again(&mut self, question: &Question) -> bool {
        let idle = self.kept.get_mut(question).filter(|kept| kept.asking == Asking::No);
        idle.map(|kept| kept.asking = Asking::Queued).is_some()
    }

    /// The configuration names it.
    pub fn is_configured(&self, question: &Question) -> bool {
        self.kept.get(question).is_some_and(|kept| kept.configured)
    }

    /// Looks through all names: what has run out goes or counts as stale, and names that are to be asked for again are
    /// given, before their time is over. Those of the configuration are, and of others those that lead somewhere and
    /// that somebody has used since servers were asked last: who needs another one asks for it.
    pub fn due(&mut self, now: Duration) -> Due {
        let mut due = Due::default();
        let (stale, changes) = (self.settings.stale, &mut self.changes);
        self.kept.retain(|question, kept| {
            kept.note_use(now);
            if kept.asking == Asking::No && now >= kept.ask_from {
                let usable = kept.usable(now, stale).is_some();
                let in_use = kept.configured || (kept.used && kept.shown && usable);
                if !in_use {
                    if now >= kept.fresh_until && std::mem::take(&mut kept.shown) {
                        changes.push((*question, None));
                    }
                    return now < kept.fresh_until || usable;
                }
                kept.asking = Asking::Queued;
                let names = if kept.configured { &mut due.configured } else { &mut due.others };
                names.push(*question);
            }
            kept.age(*question, now, stale, changes);
            true
        });
        due
    }

    /// Takes over what came of asking; whether that is something else than was known.
    pub fn take(&mut self, question: Question, outcome: Outcome, now: Duration) -> bool {
        let Settings { min_ttl, max_ttl, negative_ttl, stale, .. } = self.settings;
        let Some(kept) = self.kept.get_mut(&question) else { return false };
        kept.asking = Asking::No;
        kept.note_use(now);
        let Outcome { resolution, ttl_s, partial } = outcome;
        let ttl = seconds(ttl_s);
        // Servers that were left out because nobody could tell of them would be lost.
        let is_less = partial && !kept.partial;
        if is_less && let Some(found) = kept.usable(now, stale) {
            return kept.stay(question, found, now, &mut self.changes);
        }
        let holds = match &resolution {
            Ok(_) => ttl.clamp(min_ttl, max_ttl),
            Err(Unresolved::Failed) => match kept.usable(now, stale) {
                Some(found) => return kept.stay(question, found, now, &mut self.changes),
                None => seconds(limits::DNS_FAILURE_S),
            },
            Err(_) => ttl.clamp(min_ttl.min(negative_ttl), negative_ttl),
        };
        (kept.used, kept.partial) = (false, partial);
        kept.fresh_until = now + holds;
        // Early enough for attempts that take long, and late enough to ask seldom.
        kept.ask_from = now + holds - holds / 4;
        kept.show(question, resolution, &mut self.changes)
    }

    /// The answers that have changed are published; `None`: none has.
    pub fn publish(&mut self) -> Option<Arc<Directory>> {
        if self.changes.is_empty() {
            return None;
        }
        self.directory = Arc::new(self.directory.with(self.changes.drain(..)));
        Some(Arc::clone(&self.directory))
    }

    /// What was published last.
    pub fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    /// Answers may be others now: all that is used is asked for again, and stays until then.
    pub fn doubt(&mut self) {
        self.kept.values_mut().for_each(|kept| kept.ask_from = Duration::ZERO);
    }

    /// Names of the configuration that lead nowhere now.
    pub fn unresolved(&self) -> u64 {
        let leads = |kept: &Kept| kept.entry.as_ref().is_some_and(|entry| entry.resolution.is_ok());
        self.kept.values().filter(|kept| kept.configured && !leads(kept)).count() as u64
    }

    /// How much there is of what.
    pub fn counts(&self) -> Counts {
        let resolutions = || self.kept.values().filter_map(|kept| kept.entry.as_ref()).map(|e| &e.resolution);
        Counts {
            names: self.kept.len() as u64,
            unresolved: resolutions().filter(|r| r.is_err()).count() as u64,
            stale: resolutions().filter(|r| r.as_ref().is_ok_and(|found| found.stale)).count() as u64,
            ..self.counts
        }
    }

    /// Takes out what was used least recently; what leads nowhere before what leads somewhere, so that made-up names
    /// push out each other.
    fn make_room(&mut self) -> bool {
        let may_go = self.kept.iter().filter(|(_, kept)| !kept.configured && kept.asking == Asking::No);
        let value = |kept: &Kept| {
            let leads = kept.entry.as_ref().is_some_and(|entry| entry.resolution.is_ok());
            (leads, kept.used_at)
        };
        let Some(question) = may_go.min_by_key(|(_, kept)| value(kept)).map(|(question, _)| *question) else {
            return false;
        };
        self.kept.remove(&question);
        self.changes.push((question, None));
        self.counts.evicted += 1;
        true
    }
}

impl Kept {
    fn note_use(&mut self, now: Duration) {
        if self.entry.as_ref().is_some_and(|entry| entry.take_used()) {
            (self.used, self.used_at) = (true, now);
        }
    }

    /// The servers known so far, as long as they may be used.
    fn usable(&self, now: Duration, stale: Duration) -> Option<Found> {
        let found = self.entry.as_ref()?.resolution.as_ref().ok()?;
        (now < self.fresh_until + stale).then(|| found.clone())
    }

    /// Its time passes while no server has answered yet: servers known so far count as stale, and go after that.
    fn age(&mut self, question: Question, now: Duration, stale: Duration, changes: &mut Changes) {
        let found = self.entry.as_ref().and_then(|entry| entry.resolution.as_ref().ok());
        let Some(found) = found.filter(|_| now >= self.fresh_until).cloned() else { return };
        if now >= self.fresh_until + stale {
            self.entry = None;
            if std::mem::take(&mut self.shown) {
                changes.push((question, None));
            }
        } else if self.shown && !found.stale {
            self.show(question, Ok(Found { stale: true, ..found }), changes);
        }
    }

    /// No server can tell: an answer stays in use, also when its time is over. RFC 8767 §5 has such names asked for
    /// again no more often than every 30 seconds.
    fn stay(&mut self, question: Question, found: Found, now: Duration, changes: &mut Changes) -> bool {
        let stale = now >= self.fresh_until;
        self.used = false;
        self.ask_from = now + seconds(if stale { limits::DNS_STALE_AGAIN_S } else { limits::DNS_FAILURE_S });
        self.show(question, Ok(Found { stale, ..found }), changes)
    }

    fn show(&mut self, question: Question, resolution: Resolution, changes: &mut Changes) -> bool {
        let same = self.entry.as_ref().is_some_and(|entry| entry.resolution == resolution);
        if self.shown && same {
            return false;
        }
        self.shown = true;
        let entry = Entry::new(question, resolution);
        self.entry = Some(Arc::clone(&entry));
        changes.push((question, Some(entry)));
        true
    }
}

fn seconds(n: u32) -> Duration {
    Duration::from_secs(u64::from(n))
}
