//! What a transaction will do with a request, in words.

use crate::rules::Mode;
use crate::transaction::SIXTY_FOUR_T1_NS;

/// How the request leaves.
#[derive(Clone, Copy)]
pub struct Over {
    /// By a connection.
    pub stream: bool,
    /// Because it is too large for UDP.
    pub by_size: bool,
}

/// One sentence each; none where the request is forwarded statelessly. `timeout_ns` is the rule's.
pub fn in_words(mode: Mode, method: &str, timeout_ns: Option<u64>, over: Over) -> Vec<String> {
    let mut sentences: Vec<String> = sentences(mode, method).iter().map(ToString::to_string).collect();
    let again = "sent again after 0.5, 1, 2, 4 … s until something comes back";
    match (timeout_ns.map(|ns| ns as f64 / 1e9), sentences.get_mut(1)) {
        (seconds, Some(silence)) if over.stream => {
            let seconds = seconds.unwrap_or(SIXTY_FOUR_T1_NS as f64 / 1e9);
            *silence = format!("sent once, over TCP; given up after {seconds} s without anything");
        }
        (Some(seconds), Some(silence)) => {
            *silence = format!("{again}; given up after {seconds} s without anything");
        }
        (_, _) => {}
    }
    if over.by_size {
        sentences.push(
            "over TCP because it is large (RFC 3261 §18.1.1), over UDP where no connection is made".into(),
        );
    }
    sentences
}

fn sentences(mode: Mode, method: &str) -> &'static [&'static str] {
    match (mode, method) {
        (Mode::Stateless, _) => &[],
        (Mode::Stateful, "INVITE") => &[
            "100 goes back after 0.15 s without another answer; the request that comes again gets the last answer again, or 100",
            "sent again after 0.5, 1, 2, 4, 8, 16 s until something comes back; 408 after 32 s without anything",
            "CANCEL after 181 s without news (RFC 3261 Timer C), 408 if nothing follows within 32 s",
            "a refusal is acknowledged here and sent back until its ACK comes; a matching CANCEL is answered 200",
        ],
        (Mode::Stateful, _) => &[
            "the request that comes again gets the last answer again",
            "sent again after 0.5, 1, 2, 4, 4 s … until it is answered; 100 goes back after 3.5 s",
            "no answer at all after 32 s (RFC 4320)",
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transaction::{TRYING_NS, Timer};

    const UDP: Over = Over { stream: false, by_size: false };

    #[test]
    fn nothing_is_sent_again_over_tcp() {
        let large = in_words(Mode::Stateful, "INVITE", None, Over { stream: true, by_size: true }).join("; ");
        assert!(
            large.contains("sent once, over TCP; given up after 32 s") && !large.contains("0.5"),
            "{large}"
        );
        assert!(large.contains("because it is large"), "{large}");
    }

    #[test]
    fn what_is_told_is_what_the_timers_are() {
        let told = in_words(Mode::Stateful, "INVITE", None, UDP).join(" ");
        assert!(told.contains(&format!("100 goes back after {} s ", TRYING_NS as f64 / 1e9)), "{told}");
        assert!(told.contains(&format!("Timer {}", Timer::C.label())));
        let longest_s = crate::transaction::LONGEST_NS / 1_000_000_000;
        assert!(told.contains("181 s") && told.contains("32 s") && longest_s == 181 + 2 * 32, "{longest_s}");
        assert!(in_words(Mode::Stateless, "INVITE", None, UDP).is_empty());
        assert!(in_words(Mode::Stateful, "BYE", None, UDP).iter().any(|told| told.contains("RFC 4320")));
    }
}
