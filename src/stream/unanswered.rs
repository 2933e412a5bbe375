//! Which requests of a connection have no final answer yet: a peer that sends no more is kept for those.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use sip_parser::{HeaderName, Message};

use crate::limits::{STREAM_AWAITED_NS, STREAM_OWED_NS, STREAM_UNANSWERED, STREAM_UNANSWERED_BYTES};
use crate::net::Now;
use crate::random::{ADDED, mix};

/// Requests by branch and method, each with the time until which it may be answered: a final answer that comes again, as the 2xx
/// to an INVITE does, is no other one.
#[derive(Debug, Default)]
pub(super) struct Unanswered {
    keys: BTreeMap<u64, Now>,
    /// Until when more than are kept may be answered: nothing else is known of those.
    over_until: Now,
}

impl Unanswered {
    /// This request has come in with this method. An ACK is not answered, and without a Via nothing can be.
    pub fn asked(&mut self, request: &Message<'_>, method: &[u8], now: Now) {
        if method == ACK || request.first(HeaderName::Via).is_none() {
            return;
        }
        let until = now.plus_ns(if method == b"INVITE" { STREAM_AWAITED_NS } else { STREAM_OWED_NS });
        if self.keys.len() < STREAM_UNANSWERED {
            self.keys.insert(key_of(request, method), until);
        } else {
            self.over_until = self.over_until.max(until);
        }
    }

    /// This request, which has come in with this method, is dropped.
    pub fn dropped(&mut self, request: &Message<'_>, method: &[u8]) {
        self.forget(key_of(request, method));
    }

    /// This final answer goes out.
    pub fn answered(&mut self, response: &[u8]) {
        self.forget(answering(response));
    }

    fn forget(&mut self, key: u64) {
        self.keys.remove(&key);
        self.keep_nothing_for_none();
    }

    /// Forgets those that nobody answers any more.
    pub fn forget_old(&mut self, now: Now) {
        self.keys.retain(|_, until| now < *until);
        self.keep_nothing_for_none();
        if now >= self.over_until {
            self.over_until = Now::default();
        }
    }

    /// An empty tree keeps its root, and an idle connection nothing.
    fn keep_nothing_for_none(&mut self) {
        if self.keys.is_empty() {
            self.keys = BTreeMap::new();
        }
    }

    /// What they take, in bytes.
    pub fn bytes(&self) -> usize {
        self.keys.len() * STREAM_UNANSWERED_BYTES
    }

    /// Everything is answered, or will not be.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.over_until == Now::default()
    }
}

const ACK: &[u8] = b"ACK";

/// What stands for a request that leaves until it is answered; `None`: it is a response, or an ACK, which is not answered.
pub(super) fn asking(message: &[u8]) -> Option<u64> {
    let method = message.split(|byte| *byte == b' ').next().unwrap_or_default();
    (method != ACK && !is_response(message)).then(|| key(top_via(message), method))
}

/// What stands for the request that this response, which leaves, answers.
fn answering(response: &[u8]) -> u64 {
    // The method is what CSeq ends with.
    let cseq = value(response, b"cseq", b"cseq").trim_ascii_end();
    let method = cseq.rsplit(u8::is_ascii_whitespace).next().unwrap_or_default();
    key(top_via(response), method)
}

/// Told by its first bytes, whatever their case.
fn is_response(message: &[u8]) -> bool {
    message.get(..4).is_some_and(|begin| begin.eq_ignore_ascii_case(b"SIP/"))
}

/// What stands for this request that has come in, or for the one that this response answers, by its method.
pub(super) fn key_of(message: &Message<'_>, method: &[u8]) -> u64 {
    key(message.value(HeaderName::Via), method)
}

fn top_via(message: &[u8]) -> &[u8] {
    value(message, b"via", b"v")
}

/// The value of the first header of this name, in full or in compact form, both in lower case, of a message that leaves:
/// its headers are sound. What it is read with, where it comes in, would read all of them.
fn value<'m>(message: &'m [u8], full: &[u8], compact: &[u8]) -> &'m [u8] {
    let behind_line = |text: &'m [u8]| memchr::memchr(b'\n', text).and_then(|end| text.get(end + 1..));
    let is_named = |name: &[u8]| {
        let name = name.trim_ascii_end();
        name.eq_ignore_ascii_case(full) || name.eq_ignore_ascii_case(compact)
    };
    let mut rest = behind_line(message).unwrap_or_default();
    while let [first, ..] = rest
        && !matches!(first, b'\r' | b'\n')
    {
        let line = rest;
        rest = behind_line(line).unwrap_or_default();
        if full.first() != Some(&first.to_ascii_lowercase()) {
            continue;
        }
        let Some((name, _)) = memchr::memchr(b':', line).and_then(|colon| line.split_at_checked(colon))
        else {
            break;
        };
        if is_named(name) {
            // It goes on where the next line begins with white space.
            while let [b' ' | b'\t', ..] = rest {
                rest = behind_line(rest).unwrap_or_default();
            }
            return line.get(name.len() + 1..line.len() - rest.len()).unwrap_or_default();
        }
    }
    b""
}

/// The topmost branch is the client's: in its request, and in the answer when that goes back to it. It is the first of these.
fn key(vias: &[u8], method: &[u8]) -> u64 {
    const BRANCH: &[u8] = b"branch=";
    // Made once: that takes longer than to find it.
    static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(BRANCH));
    let begin = FINDER.find(vias).map_or(vias.len(), |at| at + BRANCH.len());
    let rest = vias.get(begin..).unwrap_or_default();
    let end = memchr::memchr3(b';', b',', b'\n', rest).unwrap_or(rest.len());
    let branch = rest.get(..end).unwrap_or_default().trim_ascii_end();
    hashed(method, hashed(branch, ADDED))
}

/// What stands for these bytes behind others. A peer that finds two branches with one hash forgets requests of its own.
fn hashed(bytes: &[u8], before: u64) -> u64 {
    let (words, rest) = bytes.as_chunks();
    let last = rest.iter().fold(bytes.len() as u64, |last, byte| last << 8 | u64::from(*byte));
    let each = words.iter().map(|word| u64::from_le_bytes(*word));
    each.chain([last]).fold(before, |hash, word| mix(hash ^ word))
}

#[cfg(test)]
mod tests {
    use sip_parser::{HeaderLine, Start, parse};

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

    fn asks(unanswered: &mut Unanswered, request: &[u8]) {
        let mut lines = [HeaderLine::EMPTY; 8];
        let request = parse(request, &mut lines).unwrap();
        let Start::Request(line) = request.start() else { panic!("it is none") };
        unanswered.asked(&request, request.text(line.method), Now(0));
    }

    #[test]
    fn a_final_answer_that_comes_again_answers_nothing_else() {
        let mut unanswered = Unanswered::default();
        for (method, branch) in [("INVITE", 1), ("CANCEL", 1), ("OPTIONS", 2)] {
            asks(&mut unanswered, &request(method, branch));
        }
        for _ in 0..3 {
            unanswered.answered(&response("INVITE", 1));
        }
        unanswered.answered(&response("OPTIONS", 2));
        assert!(!unanswered.is_empty(), "the CANCEL has its own answer");
        unanswered.answered(&response("CANCEL", 1));
        assert!(unanswered.is_empty());
    }

    /// A message is told by the same where it comes in and where it leaves.
    #[test]
    fn a_message_has_one_key_in_both_directions() {
        let mut lines = [HeaderLine::EMPTY; 8];
        let mut keys = Vec::new();
        for vias in [
            "Via: SIP/2.0/TCP a;branch=z9hG4bK1;rport",
            "v: SIP/2.0/TCP a;branch=z9hG4bK2",
            "vIA \t: SIP/2.0/TCP a ;\r\n\tbranch=z9hG4bK3\r\n ;rport",
            "Via: SIP/2.0/TCP a;branch=z9hG4bK4, SIP/2.0/TCP b;branch=z9hG4bK5\r\nVia: SIP/2.0/TCP c;branch=z9hG4bK6",
            "Subject: ;branch=z9hG4bK7\r\nVersion: x\r\nv: SIP/2.0/TCP a;branch=z9hG4bK8",
            "Via: SIP/2.0/TCP a\r\nVia: SIP/2.0/TCP b;branch=z9hG4bK9",
        ] {
            let rest =
                format!("{vias}\r\nCseq: 1\r\n  INFO \r\n\r\n\r\nVia: b;branch=z9\r\nCSeq: 2 BYE\r\n\r\n");
            let request = format!("INFO sip:x;branch=z9hG4bK0 SIP/2.0\r\n{rest}");
            let came = key_of(&parse(request.as_bytes(), &mut lines).unwrap(), b"INFO");
            assert_eq!(asking(request.as_bytes()), Some(came), "{request}");
            for version in ["SIP/2.0", "sip/2.0"] {
                let response = format!("{version} 200 branch=z9hG4bK0\r\n{rest}");
                assert_eq!(asking(response.as_bytes()), None);
                assert_eq!(answering(response.as_bytes()), came, "{response}");
                let response = parse(response.as_bytes(), &mut lines).unwrap();
                assert_eq!(key_of(&response, response.cseq().unwrap().method), came);
            }
            keys.push(came);
        }
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 6);
    }

    #[test]
    fn a_uri_has_no_part_in_it() {
        let mut unanswered = Unanswered::default();
        let odd = String::from_utf8(request("INVITE", 1)).unwrap().replace("sip:x", "sip:x;branch=z9hG4bK2");
        asks(&mut unanswered, odd.as_bytes());
        unanswered.answered(&response("INVITE", 1));
        assert!(unanswered.is_empty());
    }

    /// Branches of all lengths that differ in one place alone, and methods of which one begins with the other.
    #[test]
    fn no_two_requests_have_one_key() {
        let branch = |len: usize, at: usize| -> Vec<u8> {
            let text = (0..len).map(|n| if n == at { "x" } else { "a" }).collect::<String>();
            format!("INVITE sip:x SIP/2.0\r\nv: SIP/2.0/TCP a;branch={text} ;rport\r\n\r\n").into()
        };
        let requests = (0..70).flat_map(|len| (0..=len).map(move |at| (len, at)));
        let mut keys: Vec<u64> = requests.filter_map(|(len, at)| asking(&branch(len, at))).collect();
        keys.extend(
            ["INFO", "INF", "", "SUBSCRIBE", "SUBSCRIBER"]
                .map(|method| key(top_via(&branch(9, 9)), method.as_bytes())),
        );
        let many = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), many);
    }

    #[test]
    fn a_branch_ends_where_its_parameter_does() {
        let with =
            |via: &str| format!("BYE sip:x SIP/2.0\r\nVia: SIP/2.0/TCP a;branch={via}\r\n\r\n").into_bytes();
        let same = ["z9", "z9;rport", "z9 ;rport", "z9, SIP/2.0/TCP b;branch=z8", "z9\t\r\n ;rport"]
            .map(|via| asking(&with(via)));
        assert!(same.iter().all(|key| *key == same[0]) && same[0] != asking(&with("z")));
    }

    #[test]
    fn what_is_not_answered_is_not_waited_for() {
        let mut unanswered = Unanswered::default();
        asks(&mut unanswered, &request("ACK", 1));
        assert!(unanswered.is_empty());
    }

    #[test]
    fn more_than_are_kept_are_not_taken_for_answered() {
        let mut unanswered = Unanswered::default();
        for branch in 0..=STREAM_UNANSWERED as u32 {
            asks(&mut unanswered, &request("OPTIONS", branch));
        }
        assert_eq!(unanswered.keys.len(), STREAM_UNANSWERED);
        for branch in 0..=STREAM_UNANSWERED as u32 {
            unanswered.answered(&response("OPTIONS", branch));
        }
        assert!(!unanswered.is_empty());
        unanswered.forget_old(Now(STREAM_OWED_NS));
        assert!(unanswered.is_empty(), "nor are they waited for without end");
    }

    /// RFC 4320 §4.2: a proxy sends no 408 to anything but an INVITE, so that much stays without an answer.
    #[test]
    fn what_nobody_answers_any_more_is_forgotten() {
        let mut unanswered = Unanswered::default();
        asks(&mut unanswered, &request("OPTIONS", 1));
        asks(&mut unanswered, &request("INVITE", 2));
        for (now, left) in [(STREAM_OWED_NS - 1, 2), (STREAM_OWED_NS, 1), (STREAM_AWAITED_NS, 0)] {
            unanswered.forget_old(Now(now));
            assert_eq!((unanswered.keys.len(), unanswered.is_empty()), (left, left == 0));
        }
    }

    #[test]
    fn what_cannot_be_answered_is_not_waited_for() {
        let mut unanswered = Unanswered::default();
        for _ in 0..=STREAM_UNANSWERED {
            asks(&mut unanswered, b"Mn s:x SIP/2.0\r\nl:0\r\n\r\n");
        }
        assert!(unanswered.is_empty());
    }

    #[test]
    fn what_is_no_sip_is_no_harm() {
        let mut unanswered = Unanswered::default();
        for bytes in [&b""[..], b" ", b"branch=", b"SIP/2.0 200 OK\r\nCSeq", b"\n\n"] {
            unanswered.answered(bytes);
            asking(bytes);
        }
        assert!(unanswered.is_empty());
    }
}
