//! What several rounds of peak and overload come to, held against the bars.

use serde_json::{Value, json};

use super::window::Window;
use crate::load::CARRIED;
use crate::results::statistics::median;

/// The bars.
const GOODPUT: f64 = 0.9;
const P99_MS: f64 = 50.0;
const AFTER: f64 = 0.999;

/// The peak, and several times as many calls behind it: what the machine does besides is much the same for both.
pub struct Round {
    pub peak: Window,
    pub over: Window,
}

impl Round {
    /// Calls completed in a second, as part of the peak's.
    fn goodput(&self) -> f64 {
        self.over.completed / self.peak.completed
    }
}

/// All of a run.
pub struct Findings {
    /// At least one.
    pub rounds: Vec<Round>,
    /// Half of the peak, after all of them.
    pub after: Window,
}

impl Findings {
    /// All conditions hold.
    pub fn passed(&self) -> bool {
        self.properties().iter().all(|(holds, _)| *holds)
    }

    /// For programs: the round whose goodput is the median, by `peak` and `overload`, and all of them.
    pub fn to_json(&self, times: u64) -> Value {
        let Round { peak, over } = self.middle();
        let rounds = self.rounds.iter().map(|round| json!({ "peak": round.peak, "overload": round.over }));
        json!({ "passed": self.passed(), "times": times, "goodput_over_peak": self.median(Round::goodput),
                "setup_p50_ms": self.median(|round| round.over.setup_p50_ms),
                "setup_p99_ms": self.median(|round| round.over.setup_p99_ms), "peak": peak, "overload": over,
                "after": self.after, "rounds": rounds.collect::<Vec<_>>() })
    }

    /// The round with the median goodput; of an even number, the worse one.
    fn middle(&self) -> &Round {
        let mut rounds: Vec<&Round> = self.rounds.iter().collect();
        rounds.sort_by(|a, b| a.goodput().total_cmp(&b.goodput()));
        rounds[(rounds.len() - 1) / 2]
    }

    fn median(&self, of: impl Fn(&Round) -> f64) -> f64 {
        median(self.rounds.iter().map(of).collect()).unwrap_or(f64::NAN)
    }

    /// Each condition, with its numbers and its bound.
    pub fn properties(&self) -> [(bool, String); 7] {
        let Round { peak, over } = self.middle();
        [
            self.peak(peak),
            (
                over.refused + over.shed > 0,
                format!(
                    "overload: {} calls refused or dropped (none: what was offered is carried; give a higher --peak)",
                    over.refused + over.shed
                ),
            ),
            self.goodput(peak, over),
            self.latency(peak, over),
            self.account(over),
            (
                over.kept_up && over.own_drops == 0,
                format!(
                    "load: {:.0} of {:.0} calls/s begun, {} messages sent again, {:.0}% of its core left (at the peak \
                     {:.0}%), {} datagrams lost by its own sockets",
                    over.begun,
                    over.offered,
                    over.again,
                    over.idle * 100.0,
                    peak.idle * 100.0,
                    over.own_drops
                ),
            ),
            (
                self.after.part() >= AFTER,
                format!("after: {:.2}% of the next calls completed", self.after.part() * 100.0),
            ),
        ]
    }

    fn peak(&self, peak: &Window) -> (bool, String) {
        let parts: Vec<String> =
            self.rounds.iter().map(|round| format!("{:.2}%", round.peak.part() * 100.0)).collect();
        (
            self.rounds.iter().all(|round| round.peak.is_carried),
            format!(
                "peak: {:.0} calls/s offered, {:.0} completed ({}; at least {}% in each round, and no more messages sent \
                 again than that leaves: else it is no peak), 200 after {:.1} ms (median), {:.1} ms (99%)",
                peak.offered,
                peak.completed,
                parts.join(", "),
                CARRIED * 100.0,
                peak.setup_p50_ms,
                peak.setup_p99_ms
            ),
        )
    }

    fn goodput(&self, peak: &Window, over: &Window) -> (bool, String) {
        let goodput = self.median(Round::goodput);
        let each: Vec<String> = self.rounds.iter().map(|round| format!("{:.3}", round.goodput())).collect();
        (
            goodput >= GOODPUT,
            format!(
                "goodput: {:.0} calls/s of {:.0} offered, {goodput:.3} of the peak of {:.0} (rounds: {}; their median at \
                 least {GOODPUT})",
                over.completed,
                over.offered,
                peak.completed,
                each.join(", ")
            ),
        )
    }

    fn latency(&self, peak: &Window, over: &Window) -> (bool, String) {
        let p99_ms = self.median(|round| round.over.setup_p99_ms);
        (
            p99_ms < P99_MS,
            format!(
                "latency: of the calls let in, 200 after {:.1} ms (median), {p99_ms:.1} ms (99%; below {P99_MS} ms; \
                 {:.1} ms with those whose INVITE was sent again); at the peak {:.1} and {:.1}",
                self.median(|round| round.over.setup_p50_ms),
                over.setup_again_p99_ms,
                peak.setup_p50_ms,
                peak.setup_p99_ms
            ),
        )
    }

    fn account(&self, over: &Window) -> (bool, String) {
        let gaps = self.rounds.iter().flat_map(|round| [round.peak.gaps, round.over.gaps]);
        let missing = |side: usize| gaps.clone().map(|gaps| gaps[side].abs()).sum::<i64>();
        (
            missing(0) + missing(1) == 0,
            format!(
                "account: {} INVITEs answered 503, {} dropped and counted, {} by the filter at the socket, {} messages dropped by \
                 the kernel for want of room, {} calls unanswered; missing before and in Viaduct: {}, {}",
                over.refused,
                over.shed,
                over.filtered,
                over.kernel_drops,
                over.unanswered,
                missing(0),
                missing(1)
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::model::Load;
    use crate::results::tests::sample;

    /// A second at this rate, of which a part is completed.
    fn window(offered: f64, completed: f64, p99_ms: f64) -> Window {
        Window {
            offered,
            begun: offered,
            completed,
            is_carried: completed >= offered * CARRIED,
            again: 0,
            refused: (offered - completed) as u64,
            shed: 0,
            filtered: 0,
            unanswered: 0,
            kernel_drops: 0,
            own_drops: 0,
            setup_p50_ms: p99_ms / 2.0,
            setup_p99_ms: p99_ms,
            setup_again_p99_ms: p99_ms,
            gaps: [0; 2],
            kept_up: true,
            idle: 0.5,
            sample: sample(0, "viaduct", Load::Overload, 1),
        }
    }

    fn findings(rounds: &[(f64, f64, f64)]) -> Findings {
        let round = |(peak, over, p99_ms): &(f64, f64, f64)| Round {
            peak: window(1_000.0, *peak, 3.0),
            over: window(5_000.0, *over, *p99_ms),
        };
        Findings { rounds: rounds.iter().map(round).collect(), after: window(500.0, 500.0, 1.0) }
    }

    fn failed(findings: &Findings) -> Vec<String> {
        let properties = findings.properties().into_iter().filter(|(holds, _)| !holds);
        properties.map(|(_, words)| words.split(':').next().unwrap().to_owned()).collect()
    }

    #[test]
    fn one_bad_round_of_three_decides_nothing() {
        let three = findings(&[(1_000.0, 950.0, 20.0), (1_000.0, 300.0, 400.0), (999.0, 920.0, 30.0)]);
        assert!(three.passed(), "{:?}", three.properties());
        let json = three.to_json(5);
        assert_eq!((json["passed"].as_bool(), json["setup_p99_ms"].as_f64()), (Some(true), Some(30.0)));
        assert_eq!(json["overload"]["completed"].as_f64(), Some(920.0));
        assert_eq!(json["rounds"].as_array().unwrap().len(), 3);
        assert_eq!(failed(&findings(&[(1_000.0, 300.0, 20.0), (1_000.0, 300.0, 20.0)])), ["goodput"]);
        assert_eq!(failed(&findings(&[(1_000.0, 950.0, 60.0)])), ["latency"]);
    }

    #[test]
    fn a_peak_that_loses_calls_is_none_however_good_the_rest_looks() {
        assert_eq!(failed(&findings(&[(1_000.0, 950.0, 20.0), (870.0, 860.0, 20.0)])), ["peak"]);
    }

    #[test]
    fn what_is_missing_in_any_round_or_afterwards_is_told() {
        let mut missing = findings(&[(1_000.0, 950.0, 20.0), (1_000.0, 950.0, 20.0)]);
        missing.rounds[0].over.gaps = [0, -2];
        missing.rounds[1].peak.gaps = [2, 0];
        missing.after.completed = 499.0;
        assert_eq!(failed(&missing), ["account", "after"]);
        let none = findings(&[(1_000.0, 5_000.0, 20.0)]);
        assert_eq!(failed(&none), ["overload"]);
    }
}
