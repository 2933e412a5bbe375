//! What a shard does while it looks for the next message and none comes: it handles the last ones once more, with a state of
//! its own and to no effect, so that caches and branch predictors are as the next message needs them.
//!
//! Only where the shard looks instead of sleeping (`[engine] spin`): its core is busy then anyway.

use memchr::memmem;

use super::handler::Handler;
use super::panics;
use crate::limits::{MESSAGE_BYTES, REHEARSED_BYTES};
use crate::net::Now;
use crate::proxy::{Came, Incoming};
use crate::snapshot::Snapshot;

/// The last request and the last response, and what handles them.
pub(super) struct Rehearsal<H> {
    /// `None`: this handler has none, or it has panicked.
    understudy: Option<H>,
    request: Option<Kept>,
    response: Option<Kept>,
    /// Whether the next one is the response.
    response_is_next: bool,
    /// Something was rehearsed since a message was kept: where many come, none is copied.
    wants: bool,
    out: Box<[u8]>,
}

struct Kept {
    /// Its bytes are in `bytes`.
    incoming: Incoming<'static>,
    bytes: Vec<u8>,
    /// Where something may be written that makes another transaction of it: else it would be one that is known.
    varied: Option<usize>,
}

impl<H: Handler> Rehearsal<H> {
    /// Beside that handler.
    pub fn new(handler: &H, snapshot: &Snapshot) -> Self {
        Self {
            understudy: handler.understudy(snapshot),
            request: None,
            response: None,
            response_is_next: false,
            wants: true,
            out: vec![0; MESSAGE_BYTES].into(),
        }
    }

    /// Keeps a datagram for the next times.
    #[inline]
    pub fn keep(&mut self, incoming: &Incoming<'_>) {
        if self.wants && incoming.bytes.len() <= REHEARSED_BYTES {
            self.take(incoming);
        }
    }

    fn take(&mut self, incoming: &Incoming<'_>) {
        self.wants = false;
        let is_response = incoming.bytes.starts_with(b"SIP/");
        let place = if is_response { &mut self.response } else { &mut self.request };
        let mut bytes = place.take().map_or_else(|| Vec::with_capacity(REHEARSED_BYTES), |kept| kept.bytes);
        bytes.clear();
        bytes.extend_from_slice(incoming.bytes);
        let branch = b"branch=z9hG4bK";
        let varied = memmem::find(&bytes, branch).map(|at| at + branch.len());
        let varied =
            varied.filter(|at| !is_response && bytes.get(*at).is_some_and(u8::is_ascii_alphanumeric));
        let incoming = Incoming::datagram(&[], incoming.on, incoming.from);
        *place = Some(Kept { incoming, bytes, varied });
    }

    /// Another configuration: what was kept may have come in by a listener that is gone.
    pub fn adopt(&mut self, snapshot: &Snapshot) {
        (self.request, self.response) = (None, None);
        if let Some(understudy) = &mut self.understudy {
            understudy.adopt(snapshot);
        }
    }

    /// Handles one of them once more.
    pub fn rehearse(&mut self, snapshot: &Snapshot, now: Now) {
        self.wants = true;
        self.response_is_next = !self.response_is_next;
        let place = if self.response_is_next { &mut self.request } else { &mut self.response };
        let (Some(understudy), Some(kept)) = (&mut self.understudy, place) else { return };
        if let Some(byte) = kept.varied.and_then(|at| kept.bytes.get_mut(at)) {
            *byte = if *byte >= b'z' || *byte < b'a' { b'a' } else { *byte + 1 };
        }
        let incoming = Incoming { bytes: &kept.bytes, ..kept.incoming };
        let out = &mut self.out;
        let handled = panics::guard(|| {
            understudy.waited(incoming.on, Some(0), Came::In, now);
            understudy.handle(snapshot, &incoming, now, out);
        });
        // What panics here would tell of no message that anybody sent; when it comes, it is told.
        if handled.is_err() {
            self.understudy = None;
        }
    }
}
