//! Sessions that can be resumed with servers, as long as what these have shown is valid.
//!
//! A session that is resumed is not verified: whoever could once show a certificate would come back without one. So sessions are
//! forgotten when any certificate of the chain that stands behind them runs out, and the next handshake is a whole one. Those who
//! are trusted do not change meanwhile: other authorities are another [`super::Client`], which has sessions of its own.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustls::NamedGroup;
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::pki_types::ServerName;

use super::Clock;
use crate::limits::TLS_SESSIONS;

/// [`TLS_SESSIONS`] of them.
#[derive(Debug)]
pub(super) struct Sessions {
    kept: ClientSessionMemoryCache,
    /// Seconds since 1970 until which all that a server has shown is valid; of several servers of one name the first to end.
    until: Mutex<HashMap<ServerName<'static>, u64>>,
    clock: Clock,
}

impl Sessions {
    pub fn new(clock: Clock) -> Self {
        Self { kept: ClientSessionMemoryCache::new(TLS_SESSIONS), until: Mutex::default(), clock }
    }

    /// A server was verified by certificates of which one runs out then.
    pub fn verified(&self, server: &ServerName<'_>, until: u64) {
        let (server, mut known) = (server.to_owned(), self.until());
        if known.len() >= TLS_SESSIONS && !known.contains_key(&server) {
            // What nothing is known of is not resumed.
            known.clear();
        }
        known.entry(server).and_modify(|first| *first = until.min(*first)).or_insert(until);
    }

    /// Whether sessions with a server may be resumed now; where not, they are forgotten.
    fn hold(&self, server: &ServerName<'static>) -> bool {
        let now = self.clock.current_time();
        let mut known = self.until();
        let holds = known.get(server).zip(now).is_some_and(|(until, now)| now.as_secs() <= *until);
        if !holds {
            known.remove(server);
            self.kept.remove_tls12_session(server);
            while self.kept.take_tls13_ticket(server).is_some() {}
        }
        holds
    }

    fn until(&self) -> MutexGuard<'_, HashMap<ServerName<'static>, u64>> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientSessionStore for Sessions {
    fn set_kx_hint(&self, server: ServerName<'static>, group: NamedGroup) {
        self.kept.set_kx_hint(server, group);
    }

    fn kx_hint(&self, server: &ServerName<'_>) -> Option<NamedGroup> {
        self.kept.kx_hint(server)
    }

    fn set_tls12_session(&self, server: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.kept.set_tls12_session(server, value);
    }

    fn tls12_session(&self, server: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        if self.hold(&server.to_owned()) { self.kept.tls12_session(server) } else { None }
    }

    fn remove_tls12_session(&self, server: &ServerName<'static>) {
        self.kept.remove_tls12_session(server);
    }

    fn insert_tls13_ticket(&self, server: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.kept.insert_tls13_ticket(server, value);
    }

    fn take_tls13_ticket(&self, server: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        if self.hold(server) { self.kept.take_tls13_ticket(server) } else { None }
    }
}
