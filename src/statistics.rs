//! Comparing runs: medians, ratios with confidence intervals, and power laws.
//!
//! Runs of the same work differ from one another by more than the queries within a run do: the layout of memory, caches,
//! neighbours on the machine and the order of things are drawn anew for each run. So a run counts as one value here, and
//! intervals follow from the differences between runs.
//!
//! Rates and times are compared as ratios, by their logarithms: a run twice as fast and one half as fast are equally far
//! apart, and the swings of a machine multiply its times rather than add to them.

/// The probability that an interval misses the true ratio.
const MISSED: f64 = 0.05;

/// How much more sides that were made at different times differ than their runs predict.
const BETWEEN_SIDES: f64 = 2.0;

/// A ratio with its 95 % confidence interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RatioInterval {
    /// The estimate.
    pub ratio: f64,
    /// The lower end of the interval.
    pub low: f64,
    /// The upper end of the interval.
    pub high: f64,
}

/// The curve y = coefficient × x^exponent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PowerLaw {
    /// The slope of the line in a plot with logarithmic axes.
    pub exponent: f64,
    /// The value at x = 1.
    pub coefficient: f64,
}

impl RatioInterval {
    /// The ratio whose logarithm is `middle`, with the interval that reaches `half` to either side of it.
    fn from_logarithms(middle: f64, half: f64) -> RatioInterval {
        RatioInterval { ratio: middle.exp(), low: (middle - half).exp(), high: (middle + half).exp() }
    }

    /// Whether the interval excludes 1, so that the difference is significant.
    pub fn is_significant(&self) -> bool {
        self.low > 1.0 || self.high < 1.0
    }

    /// The same ratio, of figures that are known only to this relative `precision`.
    ///
    /// Figures that were rounded may be equal in all runs, which leaves no spread to judge a difference by.
    #[must_use]
    pub fn widened(self, precision: f64) -> RatioInterval {
        RatioInterval { low: self.low / (1.0 + precision), high: self.high * (1.0 + precision), ..self }
    }
}

/// The median of `values`, between the middle two if their number is even; `None` of no values.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        length if length % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// The ratio of the runs `now` to the runs `before`, each in the order in which they were made: the ratio of their
/// geometric means, with a widened interval of Welch's.
///
/// The sides were made at different times, and what is slow for several runs in a row may be slow for a whole side. So
/// the variance is multiplied by (1 + ρ) / (1 − ρ), which is what a correlation ρ between neighbours makes of the
/// variance of a mean (Priestley, Spectral Analysis and Time Series, 1981, section 5.3.2). And the interval is twice as
/// wide, for what differs between the sides but not within them: of 38 sides of 10 equal runs each, the means differed by
/// 1.2 (median response time) to 2.2 times (99th percentile) of what their runs predict.
///
/// It is one of `looks` figures that are looked at together, each of which might seem to differ by chance: the intervals
/// are so wide (Bonferroni) that all of them hold with 95 %.
///
/// `None` with fewer than two runs on either side, and where a value is not positive and finite.
pub fn welch_ratio(now: &[f64], before: &[f64], looks: usize) -> Option<RatioInterval> {
    let (now, before) = (logarithms(now)?, logarithms(before)?);
    let correlation = serial_correlation(&[&now, &before]);
    let (now, before) = (Moments::from_values(&now)?, Moments::from_values(&before)?);
    let variance = now.variance_of_mean + before.variance_of_mean;
    let degrees = variance.powi(2)
        / (now.variance_of_mean.powi(2) / now.degrees + before.variance_of_mean.powi(2) / before.degrees);
    // Without any variance, in 0/0 degrees of freedom, the ratio is exact.
    let half = if variance > 0.0 { student_t(degrees, missed(looks)) * variance.sqrt() } else { 0.0 };
    let half = half * ((1.0 + correlation) / (1.0 - correlation)).sqrt() * BETWEEN_SIDES;
    Some(RatioInterval::from_logarithms(now.mean - before.mean, half))
}

/// The ratio of the runs `now` to the runs `before`, each of which was made next to the run of the same index: the
/// geometric mean of the ratios of all pairs. What both runs of a pair have in common cancels out.
///
/// `looks` is as in [`welch_ratio`].
///
/// `None` with fewer than two pairs, with lists of different lengths, and where a value is not positive and finite.
pub fn paired_ratio(now: &[f64], before: &[f64], looks: usize) -> Option<RatioInterval> {
    if now.len() != before.len() {
        return None;
    }
    let (now, before) = (logarithms(now)?, logarithms(before)?);
    let differences: Vec<f64> = now.iter().zip(&before).map(|(now, before)| now - before).collect();
    let Moments { mean, variance_of_mean, degrees } = Moments::from_values(&differences)?;
    let half = student_t(degrees, missed(looks)) * variance_of_mean.sqrt();
    Some(RatioInterval::from_logarithms(mean, half))
}

/// The power law nearest to `points` (x, y), by least squares of the logarithms.
///
/// `None` without two different x, and where a coordinate is not positive and finite.
pub fn power_law(points: &[(f64, f64)]) -> Option<PowerLaw> {
    let (x, y): (Vec<f64>, Vec<f64>) = points.iter().copied().unzip();
    let (x, y) = (logarithms(&x)?, logarithms(&y)?);
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (mean_x, mean_y) = (mean(&x), mean(&y));
    let squares: f64 = x.iter().map(|x| (x - mean_x).powi(2)).sum();
    let products: f64 = x.iter().zip(&y).map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let exponent = products / squares;
    (!are_equal(&x)).then(|| PowerLaw { exponent, coefficient: (mean_y - exponent * mean_x).exp() })
}

/// The mean of some values, and how well they determine it.
struct Moments {
    mean: f64,
    variance_of_mean: f64,
    degrees: f64,
}

impl Moments {
    /// `None` with fewer than two values, which show no variance.
    fn from_values(values: &[f64]) -> Option<Moments> {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        // The mean of equal values is rounded, and would leave them a variance.
        let is_constant = are_equal(values);
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let squares = if is_constant { 0.0 } else { squares };
        let degrees = count - 1.0;
        (values.len() >= 2).then(|| Moments { mean, variance_of_mean: squares / degrees / count, degrees })
    }
}

/// The fewest values in all of which the correlation of neighbours is estimated.
const FEWEST_CORRELATED: usize = 10;

/// The correlation between neighbours in `series`, which have a mean each; 0 where they are negatively correlated, and
/// for too few values.
fn serial_correlation(series: &[&[f64]]) -> f64 {
    let count: usize = series.iter().map(|values| values.len()).sum();
    let (mut products, mut squares) = (0.0, 0.0);
    for values in series {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        products += values.windows(2).map(|pair| (pair[0] - mean) * (pair[1] - mean)).sum::<f64>();
        squares += values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    }
    if count < FEWEST_CORRELATED || squares <= 0.0 {
        return 0.0;
    }
    // The means are estimated from the same values, which takes about 1 / n from the correlation in each series of n.
    let bias = series.len() as f64 / count as f64;
    (products / squares + bias).clamp(0.0, 0.9)
}

fn is_positive(value: f64) -> bool {
    value > 0.0 && value.is_finite()
}

fn are_equal(values: &[f64]) -> bool {
    values.iter().all(|value| value.total_cmp(&values[0]).is_eq())
}

fn logarithms(values: &[f64]) -> Option<Vec<f64>> {
    values.iter().map(|value| is_positive(*value).then(|| value.ln())).collect()
}

/// The probability that the interval of one of `looks` figures may miss, so that with [`MISSED`] any does.
fn missed(looks: usize) -> f64 {
    MISSED / looks.max(1) as f64
}

/// The value that Student's t with `degrees` degrees of freedom, which need not be whole, exceeds on either side with
/// `probability` in all.
fn student_t(degrees: f64, probability: f64) -> f64 {
    // |t| exceeds the root of degrees × (1 - x) / x with the probability I(x; degrees / 2, 1 / 2), which grows with x.
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..100 {
        let middle = f64::midpoint(low, high);
        if incomplete_beta(middle, degrees / 2.0, 0.5) < probability {
            low = middle;
        } else {
            high = middle;
        }
    }
    (degrees * (1.0 - high) / high).sqrt()
}

/// The regularized incomplete beta function I(x; a, b).
fn incomplete_beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0);
    }
    // Beyond here the fraction converges slowly, and its mirror image fast.
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(1.0 - x, b, a);
    }
    let beta = ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b);
    (a * x.ln() + b * (-x).ln_1p() - beta).exp() / a / beta_fraction(x, a, b)
}

/// The continued fraction of the incomplete beta function, 1 + d₁x/(1 + d₂x/(1 + …)), by the method of Lentz (DLMF
/// 8.17.22).
fn beta_fraction(x: f64, a: f64, b: f64) -> f64 {
    const MOST_TERMS: u32 = 10_000;
    let (mut fraction, mut numerator, mut denominator) = (1.0, 1.0, 0.0);
    for term in 1..MOST_TERMS {
        let half = f64::from(term / 2);
        let ends = (a + 2.0 * half, a + 2.0 * half + 1.0);
        let factor = if term % 2 == 0 {
            half * (b - half) / ((ends.0 - 1.0) * ends.0)
        } else {
            -(a + half) * (a + b + half) / (ends.0 * ends.1)
        };
        denominator = 1.0 / (1.0 + factor * x * denominator);
        numerator = 1.0 + factor * x / numerator;
        fraction *= numerator * denominator;
        if (numerator * denominator - 1.0).abs() < 1e-15 {
            break;
        }
    }
    fraction
}

/// The logarithm of Γ(x) for positive x, by Stirling's series from 10 up, to which Γ(x) = Γ(x + 1) / x leads.
fn ln_gamma(x: f64) -> f64 {
    if x < 10.0 {
        return ln_gamma(x + 1.0) - x.ln();
    }
    let series = [1.0 / 12.0, -1.0 / 360.0, 1.0 / 1260.0, -1.0 / 1680.0, 1.0 / 1188.0];
    let series: f64 = series.iter().rev().fold(0.0, |sum, factor| sum / (x * x) + factor) / x;
    (x - 0.5) * x.ln() - x + (2.0 * std::f64::consts::PI).ln() / 2.0 + series
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

    use super::*;

    fn assert_close(found: f64, expected: f64) {
        assert!((found / expected - 1.0).abs() < 1e-6, "{found}, not {expected}");
    }

    #[test]
    fn medians_are_between_the_middle_two() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), Some(2.5));
    }

    /// The values are those of the usual tables, with more digits; of one degree of freedom, cot(π p / 2).
    #[test]
    fn students_t_is_as_in_the_tables() {
        for (degrees, probability, expected) in [
            (1.0, 0.05, 12.706_204_736),
            (1.0, 0.05 / 7.0, 89.123_028_108_8),
            (2.0, 0.05, 4.302_652_730),
            (5.0, 0.05, 2.570_581_836),
            (9.0, 0.01, 3.249_835_542),
            (10.0, 0.05, 2.228_138_852),
            (10.0, 0.001, 4.586_893_859),
            (30.0, 0.05, 2.042_272_456),
            (120.0, 0.05, 1.979_930_405),
            (1e6, 0.05, 1.959_966_359),
        ] {
            assert_close(student_t(degrees, probability), expected);
        }
        let [two, between, three] = [2.0, 2.5, 3.0].map(|degrees| student_t(degrees, 0.05));
        assert!(two > between && between > three);
    }

    #[test]
    fn gamma_is_the_factorial() {
        assert_close(ln_gamma(0.5), std::f64::consts::PI.sqrt().ln());
        assert_close(ln_gamma(5.0), 24_f64.ln());
        assert_close(ln_gamma(21.0), 2_432_902_008_176_640_000_f64.ln());
    }

    /// Logarithms 0 ± 0.1 and 0.5 ± 0.1 in equal numbers: 4 degrees of freedom, t 2.776, standard error 0.0816.
    #[test]
    fn independent_runs_give_welchs_interval() {
        let runs = |middle: f64| [middle - 0.1, middle, middle + 0.1].map(f64::exp);
        let found = welch_ratio(&runs(0.5), &runs(0.0), 1).unwrap();
        let half = BETWEEN_SIDES * 2.776_445_105 * (2.0 * 0.01 / 3.0_f64).sqrt();
        assert_close(found.ratio, 0.5_f64.exp());
        assert_close(found.low, (0.5 - half).exp());
        assert_close(found.high, (0.5 + half).exp());
        // The more figures are looked at, the wider each interval.
        let seventh = welch_ratio(&runs(0.5), &runs(0.0), 7).unwrap();
        assert!(seventh.low < found.low && seventh.high > found.high, "{seventh:?}");
    }

    /// Variances of the means of 1/3 and 1/12 with 2 and 3 degrees of freedom give (5/12)² / (1/18 + 1/432) degrees,
    /// which is 3, and t 3.182.
    #[test]
    fn unequal_spreads_cost_degrees_of_freedom() {
        let now = [-1.0, 0.0, 1.0].map(f64::exp);
        let side = (1.0_f64 / 4.0).sqrt();
        let before = [-side, -side, side, side].map(f64::exp);
        let found = welch_ratio(&now, &before, 1).unwrap();
        let variance = 1.0 / 3.0 + 1.0 / 12.0;
        let degrees = variance * variance / (1.0 / 9.0 / 2.0 + 1.0 / 144.0 / 3.0);
        assert_close(degrees, 3.0);
        assert_close(found.high.ln(), BETWEEN_SIDES * 3.182_446_305 * f64::sqrt(variance));
    }

    #[test]
    fn a_machine_that_drifts_widens_the_interval() {
        let drifting: Vec<f64> = (0..10).map(|run| 1.01_f64.powi(run)).collect();
        let alternating: Vec<f64> = (0..10).map(|run| 1.05_f64.powi(run % 2)).collect();
        let logarithms = |values: &[f64]| logarithms(values).unwrap();
        assert!(serial_correlation(&[&logarithms(&alternating)]).abs() < 1e-12);
        // Of a straight line of ten values, the sum of the products of neighbours is 0.7 times that of the squares.
        assert_close(serial_correlation(&[&logarithms(&drifting)]), 0.7 + 0.1);
        let shuffled = [3, 8, 1, 6, 0, 9, 4, 2, 7, 5].map(|run| drifting[run]);
        let width = |now: &[f64]| {
            let found = welch_ratio(now, &shuffled, 1).unwrap();
            found.high / found.low
        };
        assert!(width(&drifting) > width(&shuffled));
    }

    #[test]
    fn pairs_cancel_what_they_share() {
        // The machine gets ten times slower from pair to pair; the ratio is 1.1 ± 1 %.
        let before: Vec<f64> = (0..6).map(|pair| 10_f64.powi(pair)).collect();
        let now: Vec<f64> =
            before.iter().enumerate().map(|(pair, value)| value * [1.089, 1.111][pair % 2]).collect();
        let (paired, welch) =
            (paired_ratio(&now, &before, 7).unwrap(), welch_ratio(&now, &before, 7).unwrap());
        assert!(paired.is_significant() && !welch.is_significant(), "{paired:?} {welch:?}");
        assert_close(paired.ratio, (1.089_f64 * 1.111).sqrt());
        // The standard error of six logarithms ± d is d / √5.
        let d = (1.111_f64 / 1.089).ln() / 2.0;
        let alone = paired_ratio(&now, &before, 1).unwrap();
        assert_close((alone.high / alone.ratio).ln(), 2.570_581_836 * d / 5_f64.sqrt());
    }

    #[test]
    fn too_few_and_impossible_values_have_no_ratio() {
        let values = [1.0, 2.0, 3.0, 4.0, 5.0];
        for wrong in [&[][..], &[1.0], &[1.0, 0.0, 1.0, 1.0, 1.0], &[1.0, 1.0, 1.0, 1.0, f64::NAN]] {
            for (now, before) in [(&values[..], wrong), (wrong, &values[..])] {
                assert_eq!(welch_ratio(now, before, 1), None);
                assert_eq!(paired_ratio(now, before, 1), None);
            }
        }
        assert_eq!(paired_ratio(&values, &values[1..], 1), None);
    }

    #[test]
    fn equal_runs_give_an_exact_ratio_unless_they_are_rounded() {
        for found in [welch_ratio(&[1.1; 5], &[1.0; 5], 7), paired_ratio(&[1.1; 5], &[1.0; 5], 7)] {
            let found = found.unwrap();
            assert_close(found.low, 1.1);
            assert_close(found.high, 1.1);
            assert!(found.widened(0.09).is_significant() && !found.widened(0.11).is_significant());
        }
    }

    /// Of 1,000 tables of 12 contenders equal to their baseline, in 7 rounds, one in twenty has an interval that misses.
    #[test]
    fn the_intervals_of_a_table_hold_together() {
        const CONTENDERS: usize = 12;
        let mut random = ChaCha8Rng::seed_from_u64(1);
        // A normal number, nearly: the sum of 12 uniform ones has the variance 1.
        let mut normal =
            || (0..12).map(|_| f64::from(random.next_u32()) / f64::from(u32::MAX)).sum::<f64>() - 6.0;
        let (mut missed, mut missed_alone, mut found) = (0, 0, 0);
        for _ in 0..1000 {
            let rounds: Vec<f64> = (0..7).map(|_| 0.3 * normal()).collect();
            let mut runs =
                || -> Vec<f64> { rounds.iter().map(|round| (round + 0.05 * normal()).exp()).collect() };
            let before = runs();
            let table: Vec<Vec<f64>> = (0..CONTENDERS).map(|_| runs()).collect();
            let finds = |looks: usize| {
                let mut ratios = table.iter().filter_map(|now| paired_ratio(now, &before, looks));
                usize::from(ratios.any(|ratio| ratio.is_significant()))
            };
            missed += finds(CONTENDERS);
            missed_alone += finds(1);
            let faster: Vec<f64> = table[0].iter().map(|rate| rate * 1.3).collect();
            found += usize::from(paired_ratio(&faster, &before, CONTENDERS).unwrap().is_significant());
        }
        assert!((10..=60).contains(&missed), "{missed} of 1000 tables have a difference that is not there");
        assert!(missed_alone > 200, "{missed_alone} of 1000 tables, unless the number is allowed for");
        assert!(found > 950, "30 % were found in {found} of 1000 tables");
    }

    #[test]
    fn power_laws_are_found_and_noise_averages_out() {
        let exact: Vec<(f64, f64)> = [1.0, 10.0, 1000.0].map(|x: f64| (x, 3.0 * x.powf(1.25))).to_vec();
        let found = power_law(&exact).unwrap();
        assert_close(found.exponent, 1.25);
        assert_close(found.coefficient, 3.0);
        let flat = power_law(&[(1.0, 2.0), (1.0, 8.0), (4.0, 4.0)]).unwrap();
        assert!(flat.exponent.abs() < 1e-12 && (flat.coefficient - 4.0).abs() < 1e-12, "{flat:?}");
        for wrong in
            [&[][..], &[(1.0, 1.0)], &[(0.1, 1.0), (0.1, 2.0), (0.1, 3.0)], &[(1.0, 1.0), (2.0, 0.0)]]
        {
            assert_eq!(power_law(wrong), None);
        }
    }
}
