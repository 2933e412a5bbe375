//! Which connection leads to a peer, for what asks for no certain one.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use foldhash::quality::RandomState;

use super::StreamId;
use crate::tls::PeerName;

/// What a request asks for that is to leave by a connection. RFC 5923 §8.1: "the client reuses the connection only if […] The URI
/// used for RFC3263 server resolution matches one of the identities stored in the alias table row corresponding to that
/// resolved address": one that was verified for a name is for that name alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub listener: u32,
    pub peer: SocketAddr,
    /// None where there is no TLS, and of connections that the peer has opened.
    pub name: Option<Arc<PeerName>>,
}

/// The connections by what leads to them. Who has connected from an address takes nothing from those that were opened to it.
/// They are looked for with each request: by a hash that is quicker than the standard one, with a seed that nobody outside knows.
#[derive(Debug, Default)]
pub(super) struct Leads(HashMap<Key, Lead, RandomState>);

#[derive(Debug, Default)]
struct Lead {
    opened: Option<StreamId>,
    accepted: Option<StreamId>,
}

impl Lead {
    fn of(&mut self, is_ours: bool) -> &mut Option<StreamId> {
        if is_ours { &mut self.opened } else { &mut self.accepted }
    }
}

impl Leads {
    /// Leads there from now on. `is_ours`: it was opened from here.
    pub fn set(&mut self, key: Key, is_ours: bool, stream: StreamId) {
        *self.0.entry(key).or_default().of(is_ours) = Some(stream);
    }

    /// This one leads there no more; `true`: it did.
    pub fn clear(&mut self, key: &Key, is_ours: bool, stream: StreamId) -> bool {
        let Some(lead) = self.0.get_mut(key) else { return false };
        let did = lead.of(is_ours).take_if(|lead| *lead == stream).is_some();
        if lead.opened.is_none() && lead.accepted.is_none() {
            self.0.remove(key);
        }
        did
    }

    /// The one that was opened from here.
    pub fn opened(&self, key: &Key) -> Option<StreamId> {
        self.0.get(key)?.opened
    }

    /// The one that the peer has opened.
    pub fn accepted(&self, key: &Key) -> Option<StreamId> {
        self.0.get(key)?.accepted
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
