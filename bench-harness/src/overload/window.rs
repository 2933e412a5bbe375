//! One window of whole calls, and what became of each call and message.

use std::time::Duration;

use serde::Serialize;

use crate::load::Outcome;
use crate::results::model::{Latency, Load, Sample};
use crate::soak::Kernel;

/// What became of a window's calls and messages.
#[derive(Debug, Serialize)]
pub struct Window {
    /// Calls that the schedule asked for, begun, and completed, in a second.
    pub offered: f64,
    pub begun: f64,
    pub completed: f64,
    /// Nearly all of them were completed, and nearly nothing had to be sent again.
    pub is_carried: bool,
    /// INVITEs and BYEs sent again, and whatever else nobody had answered.
    pub again: u64,
    /// INVITEs answered 503, those that were dropped and counted, and those that the filter at Viaduct's socket dropped.
    pub refused: u64,
    pub shed: u64,
    pub filtered: u64,
    /// Calls that were neither completed nor refused: their messages are among those dropped, or under way at the end.
    pub unanswered: u64,
    /// Messages that the kernel dropped before Viaduct, and before the load.
    pub kernel_drops: u64,
    pub own_drops: u64,
    /// From the scheduled time of a call to its 200, of those that were let in with their first INVITE, in milliseconds.
    pub setup_p50_ms: f64,
    pub setup_p99_ms: f64,
    /// The longest of 99% of all, those whose INVITE had to be sent again included.
    pub setup_again_p99_ms: f64,
    /// Messages missing (or too many) between the load and Viaduct, and within Viaduct.
    pub gaps: [i64; 2],
    /// The load held the rate: half of the INVITEs within 5 ms, 995 of 1,000 at all.
    pub kept_up: bool,
    /// Part of its core that the load had left.
    pub idle: f64,
    /// For the results.
    #[serde(skip)]
    pub sample: Sample,
}

/// By how much a counter of Viaduct's grew, by its name and a label.
pub type More<'a> = &'a dyn Fn(&str, &str) -> u64;

impl Window {
    /// As the load, the kernel and Viaduct tell it. The sample lacks what the load does not know.
    pub fn of(rate: f64, length: Duration, outcome: &Outcome, kernel: Kernel, more: More<'_>) -> Self {
        let tally = &outcome.tally;
        let seconds = length.as_secs_f64();
        let received = more("viaduct_messages_total", "direction=\"in\"");
        let ended = more("viaduct_messages_total", "direction=\"out\"")
            + more("viaduct_answers_total", "")
            + more("viaduct_dropped_total", "");
        let kernel_drops = kernel.refused + kernel.no_port;
        let setup = &outcome.setup_at_once;
        let ms = |ns: u64| ns as f64 / 1e6;
        Self {
            offered: rate,
            begun: tally.begun as f64 / seconds,
            completed: (tally.calls - tally.failed) as f64 / seconds,
            is_carried: outcome.is_carried(),
            again: tally.retransmissions,
            refused: tally.refused,
            shed: more("viaduct_dropped_total", "reason=\"overload\""),
            filtered: kernel.filtered,
            unanswered: tally.failed.saturating_sub(tally.refused),
            kernel_drops,
            own_drops: outcome.own_drops,
            setup_p50_ms: ms(setup.value_at_quantile(0.5)),
            setup_p99_ms: ms(setup.value_at_quantile(0.99)),
            setup_again_p99_ms: ms(outcome.setup.value_at_quantile(0.99)),
            gaps: [
                (tally.transmissions + outcome.acks) as i64 - received as i64 - kernel.dropped() as i64,
                received as i64 - ended as i64,
            ],
            kept_up: outcome.kept_up(),
            idle: outcome.idle.clamp(0.0, 1.0),
            sample: sample(rate, length, outcome),
        }
    }

    /// Part of the begun calls that was completed.
    pub fn part(&self) -> f64 {
        self.completed / self.begun
    }
}

/// What the load knows of a window.
fn sample(rate: f64, length: Duration, outcome: &Outcome) -> Sample {
    let tally = &outcome.tally;
    Sample {
        round: 0,
        subject: String::new(),
        load: Load::Overload,
        offered_per_second: rate,
        seconds: length.as_secs_f64(),
        sent: tally.messages,
        delivered: tally.delivered,
        lost: tally.missing,
        retransmissions: tally.retransmissions,
        calls: tally.calls,
        failed: tally.failed,
        odd: 0,
        cpu_ns: 0,
        core_used: 0.0,
        softirq_ns: 0,
        syscalls: None,
        resident_bytes: 0,
        begun_afresh: 0,
        on_schedule: outcome.kept_up(),
        generator_idle: outcome.idle.clamp(0.0, 1.0),
        latency: Latency::of(&outcome.setup_at_once),
    }
}
