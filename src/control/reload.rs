//! Reload: all of a new configuration, or nothing.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinHandle};

use super::certificates;
use super::error::Error;
use super::listeners;
use super::load::{InUse, Loaded, load};
use super::start::counted;
use super::states::States;
use super::supervisor::Control;
use crate::plan::{Engine, Plan, expand};
use crate::token::Keys;

/// Who waits for the answer to a reload; `None`: a signal asked, the log tells.
type Reply = Option<oneshot::Sender<Result<(), Error>>>;

/// Reloads that were asked for. Reading and compiling a large configuration takes longer than routing events
/// may wait: a thread of its own does it, one after the other.
#[derive(Default)]
pub(super) struct Reloads {
    loading: Option<JoinHandle<Result<Loaded, Error>>>,
    /// The first one is being done.
    replies: VecDeque<Reply>,
}

impl Reloads {
    /// Waits for what is being read; for ever, if nothing is.
    pub async fn loaded(&mut self) -> Result<Loaded, Error> {
        let Some(loading) = &mut self.loading else { return std::future::pending().await };
        let loaded = loading.await;
        self.loading = None;
        flat(loaded)
    }
}

/// A task is never cancelled here: it has panicked, and the panic is in the log.
fn flat<T>(ended: Result<Result<T, Error>, JoinError>) -> Result<T, Error> {
    ended.unwrap_or_else(|error| Err(Error::System(std::io::Error::other(error))))
}

impl Control {
    /// Begins to read the configuration again, unless that is being done already: then once more after it,
    /// because the file may have changed behind what was read.
    pub(super) fn reload(&mut self, reply: Reply) {
        // Several signals that wait mean one.
        let is_known = reply.is_none() && self.reloads.replies.iter().skip(1).any(Option::is_none);
        if !is_known {
            self.reloads.replies.push_back(reply);
        }
        if self.reloads.loading.is_none() {
            self.begin_to_load();
        }
    }

    fn begin_to_load(&mut self) {
        self.manager.reloading();
        let (source, fib) = (self.source.clone(), Arc::clone(&self.parts.fib));
        let are_throw_away = self.parts.plan.keys_file.is_none();
        let in_use = InUse { keys: Arc::clone(&self.parts.keys), are_throw_away };
        let load = move || load(&source, &fib, Some(&in_use));
        self.reloads.loading = Some(tokio::task::spawn_blocking(load));
    }

    /// Puts what was read in force for all shards at once; or nothing of it, and the log says why.
    pub(super) fn on_loaded(&mut self, loaded: Result<Loaded, Error>) {
        let result = match loaded {
            Ok(_) if self.parts.stopping => Err(Error::Stopping),
            Ok(loaded) => self.put_in_force(loaded),
            Err(error) => Err(error),
        };
        match &result {
            Ok(()) => self.monitor.facts().process.reloads += 1,
            Err(error) => {
                self.monitor.facts().process.reloads_failed += 1;
                tracing::error!("reload refused, nothing has changed:\n{error}");
            }
        }
        self.manager.ready(&counted(self.parts.plan.listeners.len(), "listener"));
        if let Some(reply) = self.reloads.replies.pop_front().flatten() {
            // Whoever asked may have gone meanwhile.
            let _ = reply.send(result);
        }
        if !self.reloads.replies.is_empty() {
            self.begin_to_load();
        }
    }

    fn put_in_force(&mut self, Loaded { plan, keys, .. }: Loaded) -> Result<(), Error> {
        let since = Instant::now();
        // Links and addresses may have changed while it was read.
        let mut plan = plan.with_listeners(expand(&plan.sections, &self.parts.fib));
        plan.sections = certificates::keep(&self.parts.plan, &plan);
        // The last step that can fail. What it opens receives from now on, and is read as soon as the
        // shards have the publication: nothing slow may come between.
        let now = self.gateways.now();
        let numbers = self.gateways.number(&plan, now)?;
        let (change, refused) = listeners::prepare(&self.sockets, &mut plan)?;

        self.tell_refused(&plan, &refused);
        let plan = Arc::new(plan);
        self.sockets.read_facts(&self.parts.plan.listeners, &mut self.monitor.facts().listeners);
        self.sockets.apply(change);
        let [was_watched, is_watched] =
            [&self.parts.plan, &plan].map(|plan| plan.overload.longest_wait_ns.is_some());
        if was_watched != is_watched {
            self.sockets.tell_when_received(is_watched);
        }
        self.started.tell_what_waits(&plan);
        tell_lost_key(&self.parts.keys, &keys);
        self.tell_listeners(&plan);
        // Names that are new are asked for from now on; messages wait for them.
        self.names.configure(&plan);
        self.parts.keys = keys;
        self.parts.roster = self.gateways.put_in_force(&plan, numbers, now);
        self.use_listeners(plan, since);
        self.states = States::of(self.states.counts());
        let generation = self.publish_and_wake();
        self.sockets.read_facts(&self.parts.plan.listeners, &mut self.monitor.facts().listeners);
        self.journal.plan_changed(generation);
        self.show_published();
        self.show_gateways();
        self.certificates.forget();
        self.show_certificates();
        tracing::info!(
            "reloaded {}; listeners: {}, rules: {}, keys: {}",
            self.parts.plan.origin,
            self.parts.plan.listeners.len(),
            self.parts.plan.rules.len(),
            self.parts.keys.count()
        );
        listeners::tell_none(&self.parts.plan);
        Ok(())
    }

    fn tell_listeners(&self, plan: &Plan) {
        let old = &self.parts.plan;
        for listener in &plan.listeners {
            match old.listener_named(&listener.name) {
                None => tracing::info!(
                    "listener {} is new: {}:{}",
                    listener.name,
                    listener.transport,
                    listener.bind
                ),
                Some(before) if before.bind != listener.bind => {
                    tracing::info!(
                        "listener {} moves from {} to {}",
                        listener.name,
                        before.bind,
                        listener.bind
                    );
                }
                Some(_) => {}
            }
        }
        for gone in old.listeners.iter().filter(|l| plan.listener_named(&l.name).is_none()) {
            tracing::info!("listener {} is removed: {}:{}", gone.name, gone.transport, gone.bind);
        }
    }
}

/// What a reload does not change: how the process was started.
pub(super) struct AsStarted {
    engine: Engine,
    admin: Option<SocketAddr>,
}

impl AsStarted {
    pub fn of(plan: &Plan) -> Self {
        Self { engine: plan.engine.clone(), admin: plan.admin }
    }

    /// Says where a configuration differs from it.
    fn tell_what_waits(&self, new: &Plan) {
        let Self { engine, admin } = self;
        let differences = [
            ("[engine] kind", engine.kind != new.engine.kind),
            ("[engine] cores", engine.cores != new.engine.cores),
            ("[engine] spin or coalesce", engine.waiting != new.engine.waiting),
            ("[admin] listen", *admin != new.admin),
        ];
        for (key, _) in differences.into_iter().filter(|(_, differs)| *differs) {
            tracing::warn!("{key} differs from what runs: that takes effect at the next start");
        }
    }
}

fn tell_lost_key(old: &Keys, new: &Keys) {
    if !new.knows(old.signer()) {
        tracing::warn!(
            "the key that signed until now is gone: the dialogs that are up go by the rules from now on, and what no rule \
             lets in is refused. To replace a key, keep its line below the new one, with retired= and the time"
        );
    }
}
