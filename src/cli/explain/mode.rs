//! What a transaction will do with a request, in words.

use crate::rules::Mode;

/// One sentence each; none where the request is forwarded statelessly. `timeout_ns` is the rule's.
pub fn in_words(mode: Mode, method: &str, timeout_ns: Option<u64>) -> Vec<String> {
    let mut sentences: Vec<String> = sentences(mode, method).iter().map(ToString::to_string).collect();
    if let (Some(timeout_ns), Some(silence)) = (timeout_ns, sentences.get_mut(1)) {
        *silence = format!(
            "sent again after 0.5, 1, 2, 4 … s until something comes back; given up after {} s without anything",
            timeout_ns as f64 / 1e9
        );
    }
    sentences
}

fn sentences(mode: Mode, method: &str) -> &'static [&'static str] {
    match (mode, method) {
        (Mode::Stateless, _) => &[],
        (Mode::Stateful, "INVITE") => &[
            "100 goes back at once; the request that comes again gets the last answer again",
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
    use crate::transaction::Timer;

    #[test]
    fn what_is_told_is_what_the_timers_are() {
        let told = in_words(Mode::Stateful, "INVITE", None).join(" ");
        assert!(told.contains(&format!("Timer {}", Timer::C.label())));
        let longest_s = crate::transaction::LONGEST_NS / 1_000_000_000;
        assert!(told.contains("181 s") && told.contains("32 s") && longest_s == 181 + 2 * 32, "{longest_s}");
        assert!(in_words(Mode::Stateless, "INVITE", None).is_empty());
        assert!(in_words(Mode::Stateful, "BYE", None).iter().any(|told| told.contains("RFC 4320")));
    }
}
