//! What a shard does while it looks for the next message and none comes: it handles late ones once more, with a state of
//! its own and to no effect, so that caches and branch predictors are as the next message needs them.
//!
//! Only where the shard looks instead of sleeping (`[engine] spin`): its core is busy then anyway. Only what was forwarded: what
//! is for Viaduct itself (an answer to a ping of its own) has an effect on what shards share. And without transactions, which
//! would have to end: where they are kept, what they take is not rehearsed.

use memchr::memmem;

use super::handler::Handler;
use super::panics;
use crate::limits::{MESSAGE_BYTES, REHEARSAL_KEPT_NS, REHEARSED_BYTES, REHEARSED_NS};
use crate::net::Now;
use crate::proxy::{Came, Incoming, Outcome};
use crate::snapshot::Snapshot;

/// A request and a response of late, and what handles them.
pub(super) struct Rehearsal<H> {
    /// `None`: this handler has none.
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
    since: Now,
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

    /// Keeps a datagram that this became of for the next times.
    #[inline]
    pub fn keep(&mut self, incoming: &Incoming<'_>, outcome: &Outcome, now: Now) {
        let is_forwarded = matches!(outcome, Outcome::Forward { .. } | Outcome::Relay { .. });
        if self.wants
            && is_forwarded
            && !incoming.stream.is_stream()
            && incoming.bytes.len() <= REHEARSED_BYTES
        {
            self.take(incoming, now);
        }
    }

    fn take(&mut self, incoming: &Incoming<'_>, since: Now) {
        self.wants = false;
        let is_response = incoming.bytes.starts_with(b"SIP/");
        let place = if is_response { &mut self.response } else { &mut self.request };
        // The message at hand is not to wait for its copy where one of late will do.
        if place.as_ref().is_some_and(|kept| since.since(kept.since) < REHEARSAL_KEPT_NS) {
            return;
        }
        let mut bytes = place.take().map_or_else(|| Vec::with_capacity(REHEARSED_BYTES), |kept| kept.bytes);
        bytes.clear();
        bytes.extend_from_slice(incoming.bytes);
        let branch = b"branch=z9hG4bK";
        let varied = memmem::find(&bytes, branch).map(|at| at + branch.len());
        let varied =
            varied.filter(|at| !is_response && bytes.get(*at).is_some_and(u8::is_ascii_alphanumeric));
        let incoming = Incoming::datagram(&[], incoming.on, incoming.from);
        *place = Some(Kept { incoming, bytes, since, varied });
    }

    /// Another configuration: what was kept may have come in by a listener that is gone.
    pub fn adopt(&mut self, snapshot: &Snapshot, now: Now) {
        (self.request, self.response) = (None, None);
        if let Some(understudy) = &mut self.understudy {
            understudy.adopt(snapshot, now);
        }
    }

    /// Handles one of them once more.
    pub fn rehearse(&mut self, snapshot: &Snapshot, now: Now) {
        self.wants = true;
        self.response_is_next = !self.response_is_next;
        let place = if self.response_is_next { &mut self.request } else { &mut self.response };
        // What a stranger has sent is not to be handled, nor to keep a name in use, without end.
        place.take_if(|kept| now.since(kept.since) >= REHEARSED_NS);
        let (Some(understudy), Some(kept)) = (&mut self.understudy, place) else { return };
        if let Some(byte) = kept.varied.and_then(|at| kept.bytes.get_mut(at)) {
            *byte = if *byte >= b'z' || *byte < b'a' { b'a' } else { *byte + 1 };
        }
        let incoming = Incoming { bytes: &kept.bytes, ..kept.incoming };
        let out = &mut self.out;
        let handled = panics::guard(|| {
            // Past limits, which so many would be over at once.
            understudy.waited(incoming.on, Some(0), Came::Again, now);
            understudy.handle(snapshot, &incoming, now, out);
        });
        // What panics here would tell of no message that anybody sent; when one comes that does, it is told.
        if handled.is_err() {
            self.adopt(snapshot, now);
        }
    }
}
