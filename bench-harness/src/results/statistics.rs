//! Medians and their intervals, without a word about how figures are distributed.

use super::model::Interval;

/// How sure an interval should be.
const CONFIDENCE: f64 = 0.95;

/// Median of the ratios `ours / theirs`, pair by pair, with its interval; pairs without a ratio do not count.
///
/// What a machine does besides slows neighbours alike, so it falls out of a pair's ratio.
pub fn paired(pairs: impl IntoIterator<Item = (f64, f64)>) -> Option<Interval> {
    interval(pairs.into_iter().map(|(ours, theirs)| ours / theirs).collect())
}

/// Median with the interval between two of the values themselves that holds the true median with the
/// confidence that [`coverage`] tells; `None` of no values. What is not finite does not count.
///
/// By order statistics: of n values, those below the true median number as heads of n coins.
pub fn interval(mut values: Vec<f64>) -> Option<Interval> {
    values.retain(|value| value.is_finite());
    values.sort_by(f64::total_cmp);
    let rank = rank(values.len());
    let (low, high) = (*values.get(rank)?, *values.get(values.len() - 1 - rank)?);
    Some(Interval { median: middle(&values)?, low, high, pairs: values.len(), left_out: 0, late: 0 })
}

/// Median of figures; `None` of none. What is not finite does not count.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.retain(|value| value.is_finite());
    values.sort_by(f64::total_cmp);
    middle(&values)
}

fn middle(sorted: &[f64]) -> Option<f64> {
    let upper = sorted.get(sorted.len() / 2)?;
    let lower = sorted.get((sorted.len() - 1) / 2)?;
    Some((lower + upper) / 2.0)
}

/// The confidence of an interval over so many pairs, 0 to 1: at least 0.95 from six pairs on; with fewer,
/// the interval is from the smallest to the largest, and this says how little that is.
pub fn coverage(pairs: usize) -> f64 {
    if pairs == 0 { 0.0 } else { 1.0 - 2.0 * tail(pairs, rank(pairs)) }
}

/// So many pairs give an interval that is as sure as one should be: six do.
pub fn are_enough(pairs: usize) -> bool {
    coverage(pairs) >= CONFIDENCE
}

/// How many values of each end lie outside of the interval.
fn rank(values: usize) -> usize {
    let sure = |rank: &usize| 1.0 - 2.0 * tail(values, *rank) >= CONFIDENCE;
    (1..values.div_ceil(2)).take_while(sure).last().unwrap_or(0)
}

/// Probability that at most `heads` of so many coins show heads.
fn tail(coins: usize, heads: usize) -> f64 {
    // In logarithms, because 2^-n is zero soon.
    let mut log = -(coins as f64) * std::f64::consts::LN_2;
    let mut sum = log.exp();
    for k in 0..heads {
        log += ((coins - k) as f64 / (k + 1) as f64).ln();
        sum += log.exp();
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ranks as tables of the sign test's interval have them, counted from one.
    #[test]
    fn ranks_and_coverages_are_those_of_the_tables() {
        for (pairs, rank_from_one, sure) in [
            (6, 1, 0.9688),
            (9, 2, 0.9609),
            (10, 2, 0.9785),
            (15, 4, 0.9648),
            (20, 6, 0.9586),
            (25, 8, 0.9567),
        ] {
            assert_eq!(rank(pairs) + 1, rank_from_one, "{pairs} pairs");
            assert!((coverage(pairs) - sure).abs() < 5e-5, "{pairs} pairs: {}", coverage(pairs));
        }
    }

    #[test]
    fn few_pairs_say_how_little_they_are() {
        assert_eq!(coverage(0), 0.0);
        assert_eq!(coverage(1), 0.0);
        assert_eq!(coverage(5), 0.9375);
        assert!(!are_enough(0) && !are_enough(5) && (6..60).all(are_enough));
        let five = interval(vec![5.0, 1.0, 2.0, 4.0, 3.0]).unwrap();
        assert_eq!((five.median, five.low, five.high, five.pairs), (3.0, 1.0, 5.0, 5));
    }

    #[test]
    fn nine_pairs_leave_one_out_at_each_end() {
        let pairs = (1..=9).map(|n| (f64::from(n), 10.0));
        let Interval { median, low, high, pairs, .. } = paired(pairs).unwrap();
        assert_eq!((median, low, high, pairs), (0.5, 0.2, 0.8, 9));
    }

    #[test]
    fn a_pair_without_a_ratio_does_not_count() {
        assert!(paired([(1.0, 0.0), (0.0, 0.0)]).is_none());
        assert_eq!(paired([(1.0, 0.0), (3.0, 2.0)]).unwrap().pairs, 1);
        assert!(interval(Vec::new()).is_none());
    }

    #[test]
    fn a_thousand_pairs_are_still_counted() {
        assert!((0.95..0.96).contains(&coverage(5000)), "{}", coverage(5000));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0, f64::NAN]), Some(2.5));
    }
}
