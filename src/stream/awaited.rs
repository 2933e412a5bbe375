//! Which requests that have left by a connection have no final answer yet: whoever sent them hears of its end.

use std::collections::BTreeMap;

use sip_parser::Message;

use super::Waiting;
use super::unanswered::{asking, key_of};
use crate::limits::{STREAM_AWAITED_NS, STREAM_UNANSWERED};
use crate::net::Now;

/// Requests by branch and method, each with who sent it, and when.
#[derive(Debug, Default)]
pub(super) struct Awaited(BTreeMap<u64, (Waiting, Now)>);

impl Awaited {
    /// This message leaves. Those beyond [`STREAM_UNANSWERED`] wait for their time.
    pub fn left(&mut self, message: &[u8], waiting: Waiting, now: Now) {
        if let Some(key) = asking(message).filter(|_| self.0.len() < STREAM_UNANSWERED) {
            self.0.insert(key, (waiting, now));
        }
    }

    /// This final answer has come in.
    pub fn answered(&mut self, response: &Message<'_>) {
        if !self.0.is_empty() {
            let method = response.cseq().map_or(&[][..], |cseq| cseq.method);
            self.0.remove(&key_of(response, method));
            self.keep_nothing_for_none();
        }
    }

    /// Forgets those whose transactions are over: they were answered by another connection, or not at all.
    pub fn forget_old(&mut self, now: Now) {
        self.0.retain(|_, (_, since)| now < since.plus_ns(STREAM_AWAITED_NS));
        self.keep_nothing_for_none();
    }

    /// An empty tree keeps its root.
    fn keep_nothing_for_none(&mut self) {
        if self.0.is_empty() {
            self.0 = BTreeMap::new();
        }
    }

    /// None is waited for.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those who wait, in an order that a repeated run has, too.
    pub fn into_waiting(self) -> Vec<Waiting> {
        self.0.into_values().map(|(waiting, _)| waiting).collect()
    }
}

#[cfg(test)]
mod tests {
    use sip_parser::{HeaderLine, parse};

    use super::*;

    fn who(cookie: u64) -> Waiting {
        Waiting { shard: 0, cookie }
    }

    fn request(branch: u64) -> Vec<u8> {
        format!("OPTIONS sip:x SIP/2.0\r\nVia: SIP/2.0/TCP a;branch=z9hG4bK{branch}\r\n\r\n").into()
    }

    fn response(branch: u64) -> Vec<u8> {
        format!("SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP a;branch=z9hG4bK{branch}\r\nCSeq: 1 OPTIONS\r\n\r\n")
            .into()
    }

    #[test]
    fn those_wait_whose_requests_were_not_answered() {
        let mut awaited = Awaited::default();
        (1..4).for_each(|n| awaited.left(&request(n), who(n), Now(0)));
        awaited.left(b"ACK sip:x SIP/2.0\r\n\r\n", who(4), Now(0));
        awaited.left(&response(5), who(5), Now(0));
        for branch in [2, 9] {
            let (response, mut lines) = (response(branch), [HeaderLine::EMPTY; 4]);
            awaited.answered(&parse(&response, &mut lines).unwrap());
        }
        let mut waiting = awaited.into_waiting();
        waiting.sort_unstable_by_key(|waiting| waiting.cookie);
        assert_eq!(waiting, [who(1), who(3)]);
    }

    #[test]
    fn what_is_over_is_forgotten_and_there_is_an_end_to_the_rest() {
        let mut awaited = Awaited::default();
        let many = STREAM_UNANSWERED as u64;
        (0..many + 9).for_each(|n| awaited.left(&request(n), who(n), Now(n)));
        assert_eq!(awaited.0.len(), STREAM_UNANSWERED);
        awaited.forget_old(Now(STREAM_AWAITED_NS + many - 2));
        assert_eq!(awaited.into_waiting(), [who(many - 1)]);
    }
}
