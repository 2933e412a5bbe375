//! Reload: all of a new configuration, or nothing.

use std::sync::Arc;

use super::error::Error;
use super::load::{Loaded, load};
use super::sockets;
use super::start::NAMES_PATIENCE;
use super::supervisor::Control;
use crate::plan::Plan;

impl Control {
    /// Reads the configuration again and puts it in force for all shards at once.
    ///
    /// # Errors
    /// What is wrong with it; nothing has changed then, and the log says why.
    pub(super) async fn reload(&mut self) -> Result<(), Error> {
        if self.parts.stopping {
            return Err(Error::Stopping);
        }
        self.manager.reloading();
        let result = self.try_reload().await;
        match &result {
            Ok(()) => self.monitor.facts().process.reloads += 1,
            Err(error) => {
                self.monitor.facts().process.reloads_failed += 1;
                tracing::error!("reload refused, nothing has changed:\n{error}");
            }
        }
        self.manager.ready(&format!("{} listeners", self.parts.plan.listeners.len()));
        result
    }

    async fn try_reload(&mut self) -> Result<(), Error> {
        let throw_away = self.parts.plan.keys_file.is_none().then_some(&self.parts.keys);
        let Loaded { plan, keys, .. } = load(&self.source, &self.parts.fib, throw_away)?;
        let answers = self.resolver.ask_new(&plan, NAMES_PATIENCE).await;
        // The last step that can fail. What it opens receives from now on, and is read as soon as the
        // shards have the publication: nothing slow may come between.
        let buffer_bytes = plan.engine.socket_buffer_bytes;
        let change = self.sockets.prepare(&plan.listeners, buffer_bytes, |l| sockets::open(l, &plan))?;

        self.sockets.read_facts(&self.parts.plan.listeners, &mut self.monitor.facts().listeners);
        self.sockets.apply(change);
        self.resolver.adopt(&plan, answers);
        tell_what_waits(&self.parts.plan, &plan);
        self.tell_listeners(&plan);
        let series = self.monitor.series_of(&plan);
        self.parts.bindings = Arc::new(self.sockets.bindings(&plan.listeners, &series));
        self.parts.sockets = self.sockets.table();
        self.parts.names = Arc::new(self.resolver.names(&plan));
        self.parts.keys = keys;
        self.parts.plan = plan;
        self.states.clear();
        let generation = self.publish_and_wake();
        self.sockets.read_facts(&self.parts.plan.listeners, &mut self.monitor.facts().listeners);
        self.journal.plan_changed(generation);
        tracing::info!(
            "reloaded {}; listeners: {}, rules: {}, keys: {}",
            self.parts.plan.origin,
            self.parts.plan.listeners.len(),
            self.parts.plan.rules.len(),
            self.parts.keys.count()
        );
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

/// Says what a reload does not change.
fn tell_what_waits(old: &Plan, new: &Plan) {
    if old.engine.cores != new.engine.cores {
        tracing::warn!("[engine] cores has changed: that takes effect at the next start");
    }
    if old.admin != new.admin {
        tracing::warn!("[admin] listen has changed: that takes effect at the next start");
    }
}
