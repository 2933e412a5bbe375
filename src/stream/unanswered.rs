//! Which requests of a connection have no final answer yet: a peer that sends no more is kept for those.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::limits::STREAM_UNANSWERED;

/// Requests by branch and method: a final answer that comes again, as the 2xx to an INVITE does, is no other one.
#[derive(Debug, Default)]
pub(super) struct Unanswered {
    keys: BTreeSet<u64>,
    /// There were more than are kept: nothing is known of those.
    is_over: bool,
}

impl Unanswered {
    /// This message has come in.
    pub fn asked(&mut self, message: &[u8]) {
        let Some(key) = asking(message) else { return };
        if self.keys.len() < STREAM_UNANSWERED {
            self.keys.insert(key);
        } else {
            self.is_over = true;
        }
    }

    /// This final answer goes out.
    pub fn answered(&mut self, response: &[u8]) {
        self.keys.remove(&answering(response));
        if self.keys.is_empty() {
            // An empty tree keeps its root, and an idle connection nothing.
            self.keys = BTreeSet::new();
        }
    }

    /// Everything is answered.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && !self.is_over
    }
}

/// What stands for a request until it is answered; `None`: it is a response, or an ACK, which is not answered.
pub(super) fn asking(message: &[u8]) -> Option<u64> {
    let method = message.split(|byte| *byte == b' ').next().unwrap_or_default();
    (method != b"ACK" && !method.starts_with(b"SIP/")).then(|| key(message, method))
}

/// What stands for the request that this response answers.
pub(super) fn answering(response: &[u8]) -> u64 {
    key(response, method_of(response))
}

/// The topmost branch is the client's: in its request, and in the answer when that goes back to it.
fn key(message: &[u8], method: &[u8]) -> u64 {
    const BRANCH: &[u8] = b"branch=";
    // Made once: that takes longer than to find it.
    static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(BRANCH));
    // A URI may have a parameter of that name.
    let headers = memchr::memchr(b'\n', message).and_then(|end| message.get(end..)).unwrap_or_default();
    let begin = FINDER.find(headers).map_or(headers.len(), |at| at + BRANCH.len());
    let rest = headers.get(begin..).unwrap_or_default();
    let is_end = |byte: &u8| matches!(byte, b';' | b',' | b' ' | b'\t' | b'\r' | b'\n');
    let branch = rest.split(is_end).next().unwrap_or_default();
    let mut hasher = DefaultHasher::new();
    (branch, method).hash(&mut hasher);
    hasher.finish()
}

/// The method that a response names in its CSeq.
fn method_of(response: &[u8]) -> &[u8] {
    let lines = memchr::memchr_iter(b'\n', response).filter_map(|end| response.get(end + 1..));
    let mut cseqs = lines.filter(|line| line.get(..4).is_some_and(|name| name.eq_ignore_ascii_case(b"CSeq")));
    let rest = cseqs.next().unwrap_or_default();
    let line = memchr::memchr(b'\n', rest).and_then(|end| rest.get(..end)).unwrap_or(rest);
    line.trim_ascii_end().rsplit(u8::is_ascii_whitespace).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, branch: u32) -> Vec<u8> {
        format!("{method} sip:x SIP/2.0\r\nVia: SIP/2.0/TCP a;branch=z9hG4bK{branch};rport\r\n\r\n").into()
    }

    fn response(method: &str, branch: u32) -> Vec<u8> {
        format!(
            "SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP a;branch=z9hG4bK{branch};received=192.0.2.1\r\nCseq: 1  {method} \r\n\r\n"
        )
        .into()
    }

    #[test]
    fn a_final_answer_that_comes_again_answers_nothing_else() {
        let mut unanswered = Unanswered::default();
        for (method, branch) in [("INVITE", 1), ("CANCEL", 1), ("OPTIONS", 2)] {
            unanswered.asked(&request(method, branch));
        }
        for _ in 0..3 {
            unanswered.answered(&response("INVITE", 1));
        }
        unanswered.answered(&response("OPTIONS", 2));
        assert!(!unanswered.is_empty(), "the CANCEL has its own answer");
        unanswered.answered(&response("CANCEL", 1));
        assert!(unanswered.is_empty());
    }

    #[test]
    fn a_uri_has_no_part_in_it() {
        let mut unanswered = Unanswered::default();
        let odd = String::from_utf8(request("INVITE", 1)).unwrap().replace("sip:x", "sip:x;branch=z9hG4bK2");
        unanswered.asked(odd.as_bytes());
        unanswered.answered(&response("INVITE", 1));
        assert!(unanswered.is_empty());
    }

    #[test]
    fn what_is_not_answered_is_not_waited_for() {
        let mut unanswered = Unanswered::default();
        unanswered.asked(&request("ACK", 1));
        unanswered.asked(&response("INVITE", 1));
        assert!(unanswered.is_empty());
    }

    #[test]
    fn more_than_are_kept_are_not_taken_for_answered() {
        let mut unanswered = Unanswered::default();
        for branch in 0..=STREAM_UNANSWERED as u32 {
            unanswered.asked(&request("OPTIONS", branch));
        }
        assert_eq!(unanswered.keys.len(), STREAM_UNANSWERED);
        for branch in 0..=STREAM_UNANSWERED as u32 {
            unanswered.answered(&response("OPTIONS", branch));
        }
        assert!(!unanswered.is_empty());
    }

    #[test]
    fn what_is_no_sip_is_no_harm() {
        let mut unanswered = Unanswered::default();
        for bytes in [&b""[..], b" ", b"branch=", b"SIP/2.0 200 OK\r\nCSeq", b"\n\n"] {
            unanswered.answered(bytes);
            unanswered.asked(bytes);
        }
    }
}
