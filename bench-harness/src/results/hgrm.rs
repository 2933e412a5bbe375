//! Histograms as text, in the form that HdrHistogram's plotter and its kin read.

use std::fmt::Write as _;

use hdrhistogram::Histogram;

/// Nanoseconds recorded, microseconds written.
pub const SCALE: f64 = 1e3;

/// Steps for each halving of the distance to 100%, as HdrHistogram's own tools have.
const STEPS: u32 = 5;

/// The percentile distribution of a histogram of nanoseconds, in microseconds.
pub fn text(histogram: &Histogram<u64>) -> String {
    let mut text =
        format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    let mut count = 0;
    for step in histogram.iter_quantiles(STEPS) {
        count += step.count_since_last_iteration();
        let (value, quantile) = (step.value_iterated_to() as f64 / SCALE, step.quantile_iterated_to());
        // Writing to a String does not fail.
        let _ = write!(text, "{value:12.3} {quantile:2.12} {count:10}");
        let _ =
            if quantile < 1.0 { writeln!(text, " {:14.2}", 1.0 / (1.0 - quantile)) } else { writeln!(text) };
    }
    let (mean, deviation) = (histogram.mean() / SCALE, histogram.stdev() / SCALE);
    let _ = writeln!(text, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]");
    let _ = writeln!(
        text,
        "#[Max     = {:12.3}, Total count    = {:12}]",
        histogram.max() as f64 / SCALE,
        histogram.len()
    );
    let _ = writeln!(
        text,
        "#[Buckets = {:12}, SubBuckets     = {:12}]",
        histogram.buckets(),
        sub_buckets(histogram)
    );
    text + "#[Values are microseconds: recorded nanoseconds divided by 1000]\n"
}

/// Twice the steps that the significant digits take, as a power of two.
fn sub_buckets(histogram: &Histogram<u64>) -> u64 {
    (2 * 10_u64.pow(u32::from(histogram.sigfig()))).next_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Vec<Vec<f64>> {
        let lines = text.lines().skip(2).take_while(|line| !line.starts_with('#'));
        lines.map(|line| line.split_whitespace().map(|word| word.parse().unwrap()).collect()).collect()
    }

    #[test]
    fn percentiles_read_back_are_the_histograms_own() {
        let mut histogram = Histogram::<u64>::new(3).unwrap();
        (1..=100_000_u64).for_each(|n| histogram.record(n * 10).unwrap());
        let rows = rows(&text(&histogram));
        assert!(rows.len() > 50);
        for row in &rows {
            let own = histogram.value_at_quantile(row[1]) as f64 / SCALE;
            assert!((row[0] - own).abs() <= own * 0.002 + 0.001, "{row:?}: {own}");
        }
        let last = rows.last().unwrap();
        assert_eq!((last[1], last[2], last.len()), (1.0, 100_000.0, 3));
        let half = rows.iter().find(|row| row[1] == 0.5).unwrap();
        assert_eq!(half[3], 2.0);
    }

    #[test]
    fn the_foot_says_what_the_values_are() {
        let mut histogram = Histogram::<u64>::new(3).unwrap();
        histogram.record(2_000).unwrap();
        let text = text(&histogram);
        assert!(text.contains("#[Max     =        2.000, Total count    =            1]"), "{text}");
        assert!(text.contains("SubBuckets     =         2048]"), "{text}");
        assert!(text.contains("microseconds"));
        assert!(text.starts_with("       Value     Percentile TotalCount 1/(1-Percentile)\n\n"), "{text}");
    }
}
