//! Confidence intervals, by the method of batch means.
//!
//! Successive latencies are correlated: a checkpoint slows thousands of them. A confidence interval that takes them for
//! independent is far too narrow. So the run is cut into slices of time, long enough for their means to vary as the
//! means of independent runs would, and the interval follows from the variance between them (Law and Kelton,
//! *Simulation Modeling and Analysis*, chapter 9). Any correlation that is left between neighbouring slices widens it
//! further, as for a first-order autoregressive series.
//!
//! A quantile is the latency that a given share of the results does not exceed. The confidence interval of that share
//! is found the same way, as that of the mean of an indicator, which is 1 for those results and 0 for the others
//! (Flegal and Jones, *Implementing MCMC: Estimating with Confidence*, in the *Handbook of Markov Chain Monte Carlo*).
//! So each slice keeps a coarse histogram of its latencies.

use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A 95 % confidence interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// The results of a run, in slices of time of equal length.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BatchMeans {
    /// The length of a slice in milliseconds; doubled whenever there are too many slices.
    #[serde(rename = "stretch_ms")]
    slice_ms: u64,
    /// The slices, in the order of time.
    #[serde(rename = "stretches")]
    slices: Vec<TimeSlice>,
}

/// The results that arrived in one slice of time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct TimeSlice {
    /// The number of results.
    count: u64,
    /// The sum of their latencies, in microseconds.
    sum: f64,
    /// The histogram of their latencies.
    #[serde(rename = "spread")]
    histogram: CoarseHistogram,
}

/// A histogram of latencies with 32 buckets for each power of two of nanoseconds, so that the latencies of a bucket
/// differ by 3 % at most. Latencies of less than a microsecond are in the first bucket.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct CoarseHistogram {
    /// The bucket of the first count; empty buckets before it and after the last count are not stored.
    first: u16,
    /// The counts of the buckets, from the first on.
    counts: Vec<u32>,
}

/// The binary logarithm of the nanoseconds at which the buckets of a [`CoarseHistogram`] begin.
const SHORTEST_BITS: u32 = 10;

/// The binary logarithm of the number of buckets for each power of two.
const BUCKET_BITS: u32 = 5;

/// The largest number of slices kept.
const MOST_SLICES: usize = 512;

/// The largest number of groups of slices that are compared.
const GROUPS: usize = 20;

/// The smallest number of groups that give an interval.
const FEWEST_GROUPS: usize = 10;

/// The smallest number of results that give an interval.
const FEWEST_RESULTS: u64 = 100;

/// Student's t for 95 %, two-sided, with 9 to 19 degrees of freedom.
const STUDENT: [f64; GROUPS - FEWEST_GROUPS + 1] =
    [2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093];

impl Default for BatchMeans {
    fn default() -> Self {
        BatchMeans { slice_ms: 1, slices: Vec::new() }
    }
}

impl CoarseHistogram {
    #[inline]
    fn record_n(&mut self, latency: Duration, times: u32) {
        let nanoseconds = (latency.as_nanos() as u64).max(1 << SHORTEST_BITS);
        let bits = nanoseconds.ilog2();
        let within = (nanoseconds >> (bits - BUCKET_BITS)) - (1 << BUCKET_BITS);
        let bucket = (u64::from(bits - SHORTEST_BITS) << BUCKET_BITS) + within;
        let count = &mut self.room(bucket as usize, 1)[0];
        *count = count.saturating_add(times);
    }

    fn add(&mut self, other: &CoarseHistogram) {
        if other.counts.is_empty() {
            return;
        }
        let room = self.room(other.first.into(), other.counts.len());
        for (own, other) in room.iter_mut().zip(&other.counts) {
            *own = own.saturating_add(*other);
        }
    }

    /// The counts of `buckets` buckets from number `bucket` on, which are added if they are not stored yet.
    #[inline]
    fn room(&mut self, bucket: usize, buckets: usize) -> &mut [u32] {
        if self.counts.is_empty() {
            self.first = bucket as u16;
        }
        let missing = usize::from(self.first).saturating_sub(bucket);
        if missing > 0 {
            self.counts.splice(..0, std::iter::repeat_n(0, missing));
            self.first = bucket as u16;
        }
        let from = bucket - usize::from(self.first);
        if self.counts.len() < from + buckets {
            self.counts.resize(from + buckets, 0);
        }
        &mut self.counts[from..from + buckets]
    }

    /// The number of results in the buckets before `bucket`.
    fn before(&self, bucket: usize) -> u64 {
        let buckets = bucket.saturating_sub(self.first.into()).min(self.counts.len());
        self.counts[..buckets].iter().map(|&count| u64::from(count)).sum()
    }
}

impl TimeSlice {
    fn add(&mut self, other: &TimeSlice) {
        self.count += other.count;
        self.sum += other.sum;
        self.histogram.add(&other.histogram);
    }
}

impl BatchMeans {
    /// Record `count` results with the same latency, which arrived at time `at` since the start.
    pub(crate) fn record_n(&mut self, at: Duration, latency: Duration, count: u64) {
        let mut index = (at.as_millis() as u64 / self.slice_ms) as usize;
        while index >= MOST_SLICES {
            self.double();
            index /= 2;
        }
        if index >= self.slices.len() {
            self.slices.resize_with(index + 1, TimeSlice::default);
        }
        let slice = &mut self.slices[index];
        slice.count += count;
        slice.sum += latency.as_nanos() as f64 / 1e3 * count as f64;
        slice.histogram.record_n(latency, u32::try_from(count).unwrap_or(u32::MAX));
    }

    /// Add the results of `other`, which began at the same time.
    pub(crate) fn add(&mut self, other: &BatchMeans) {
        let mut other = other.clone();
        while self.slice_ms < other.slice_ms {
            self.double();
        }
        while other.slice_ms < self.slice_ms {
            other.double();
        }
        if self.slices.len() < other.slices.len() {
            self.slices.resize_with(other.slices.len(), TimeSlice::default);
        }
        for (own, other) in self.slices.iter_mut().zip(&other.slices) {
            own.add(other);
        }
    }

    /// The results of `span`, a stretch of time in milliseconds since the start, as a run that began with it; the slices
    /// that are only partly in it are left out. A span may begin before the run, and end after it.
    pub(crate) fn within(&self, span: Range<i64>) -> BatchMeans {
        let mut part = self.clone();
        let ahead = span.start.min(0).unsigned_abs();
        while ahead / part.slice_ms >= MOST_SLICES as u64 {
            part.double();
        }
        let (first, end) = (span.start.max(0) as u64, span.end.max(0) as u64);
        part.slices.truncate((end / part.slice_ms) as usize);
        part.slices.drain(..part.slices.len().min(first.div_ceil(part.slice_ms) as usize));
        let empty = std::iter::repeat_n(TimeSlice::default(), (ahead / part.slice_ms) as usize);
        part.slices.splice(..0, empty);
        part
    }

    /// The number of results in `span`, a stretch of time in milliseconds since the start of a run that lasted `end`. Those
    /// of a slice that is only partly in it count in proportion.
    pub(crate) fn count_within(&self, span: Range<f64>, end: f64) -> f64 {
        let length = self.slice_ms as f64;
        let part = |(index, slice): (usize, &TimeSlice)| {
            let begin = index as f64 * length;
            slice.count as f64 * share(begin..(begin + length).min(end), &span)
        };
        self.slices.iter().enumerate().map(part).sum()
    }

    fn double(&mut self) {
        self.slice_ms *= 2;
        let mut slices = std::mem::take(&mut self.slices).into_iter();
        while let Some(mut slice) = slices.next() {
            if let Some(second) = slices.next() {
                slice.add(&second);
            }
            self.slices.push(slice);
        }
    }

    /// The slices in groups of as equal a size as possible, without the last slice, which is incomplete; `None` when
    /// there is not enough data.
    fn groups(&self) -> Option<impl Iterator<Item = &[TimeSlice]>> {
        let whole = self.slices.len().saturating_sub(1);
        let groups = whole.min(GROUPS);
        if groups < FEWEST_GROUPS || self.slices.iter().map(|slice| slice.count).sum::<u64>() < FEWEST_RESULTS
        {
            return None;
        }
        let end = move |group: usize| group * whole / groups;
        Some((0..groups).map(move |group| &self.slices[end(group)..end(group + 1)]))
    }

    /// The ratio of two sums over all groups, its standard error, and Student's t for that; `None` when there is not
    /// enough data. `parts` returns what a slice adds to the divisor and to the dividend.
    fn ratio(&self, parts: impl Fn(&TimeSlice) -> (f64, f64)) -> Option<(f64, f64, f64)> {
        let add = |all: (f64, f64), one: (f64, f64)| (all.0 + one.0, all.1 + one.1);
        let groups: Vec<(f64, f64)> =
            self.groups()?.map(|group| group.iter().map(&parts).fold((0.0, 0.0), add)).collect();
        let (divisor, dividend) = groups.iter().copied().fold((0.0, 0.0), add);
        if divisor == 0.0 {
            return None;
        }
        let (ratio, share) = (dividend / divisor, divisor / groups.len() as f64);
        let residuals: Vec<f64> = groups.iter().map(|group| (group.1 - ratio * group.0) / share).collect();
        let (error, t) = standard_error(&residuals);
        Some((ratio, error, t))
    }

    /// The standard error of the results per second, and Student's t for it.
    fn rate_error(&self) -> Option<(f64, f64)> {
        let seconds = self.slice_ms as f64 / 1e3;
        self.ratio(|slice| (seconds, slice.count as f64)).map(|(_, error, t)| (error, t))
    }

    /// The standard error of the mean latency, in microseconds, and Student's t for it.
    fn mean_error(&self) -> Option<(f64, f64)> {
        self.ratio(|slice| (slice.count as f64, slice.sum)).map(|(_, error, t)| (error, t))
    }

    /// The confidence interval of the rate, measured as `rate` results per second; `None` when there is not enough
    /// data.
    pub(crate) fn rate_interval(&self, rate: f64) -> Option<Interval> {
        self.rate_error().map(|(error, t)| Interval::around(rate, t * error))
    }

    /// The confidence interval of the mean latency, measured as `mean` microseconds; `None` when there is not enough
    /// data.
    pub(crate) fn mean_interval(&self, mean: f64) -> Option<Interval> {
        self.mean_error().map(|(error, t)| Interval::around(mean, t * error))
    }

    /// The effective sample size at `quantile`: the number of independent results that would give the same variance as
    /// these `results` correlated ones, whose standard deviation is `deviation` microseconds; and Student's t for that.
    /// `None` when there is not enough data.
    ///
    /// The share p of n independent results has the variance p(1 - p)/n, so n follows from the variance of the shares
    /// of results below the two bounds of the quantile's bucket; in between, the variance is interpolated linearly.
    /// Where a bound has all results on one side, n is at most what follows from the variance of the mean.
    pub(crate) fn independent(&self, quantile: f64, results: u64, deviation: f64) -> Option<(f64, f64)> {
        let (error, t) = self.mean_error()?;
        let of_mean = (deviation / error).powi(2);
        let [low, high] = self.bounds(quantile)?.map(|bound| {
            let (share, error, _) =
                self.ratio(|slice| (slice.count as f64, slice.histogram.before(bound) as f64))?;
            (share > 0.0 && share < 1.0).then_some((share, error.powi(2)))
        });
        let of_share = |(share, variance): (f64, f64)| share * (1.0 - share) / variance;
        let found = match (low, high) {
            (Some(low), Some(high)) => {
                let part = ((quantile - low.0) / (high.0 - low.0)).clamp(0.0, 1.0);
                of_share((quantile, low.1 + part * (high.1 - low.1)))
            }
            (one, other) => one.or(other).map_or(of_mean, |one| of_share(one).min(of_mean)),
        };
        let results = results.max(1) as f64;
        // Without any variance the estimate is 0/0.
        Some((if found.is_nan() { results } else { found.clamp(1.0, results) }, t))
    }

    /// The bucket in which the share `quantile` of the results of all groups ends, and the next bucket.
    fn bounds(&self, quantile: f64) -> Option<[usize; 2]> {
        let mut all = CoarseHistogram::default();
        for slice in self.groups()?.flatten() {
            all.add(&slice.histogram);
        }
        let wanted = quantile * all.before(usize::MAX) as f64;
        let mut below = 0;
        let buckets = all.counts.iter().take_while(|&&count| {
            below += u64::from(count);
            (below as f64) < wanted
        });
        let bucket = usize::from(all.first) + buckets.count();
        Some([bucket, bucket + 1])
    }
}

/// The share of `part` that is in `span`.
pub(crate) fn share(part: Range<f64>, span: &Range<f64>) -> f64 {
    let common = part.end.min(span.end) - part.start.max(span.start);
    // The last results may have arrived in no time after the last slice began.
    let length = part.end - part.start;
    if length > 0.0 { (common / length).clamp(0.0, 1.0) } else { f64::from(span.contains(&part.start)) }
}

/// The standard error of a mean with these `residuals`, and Student's t for it.
fn standard_error(residuals: &[f64]) -> (f64, f64) {
    let count = residuals.len() as f64;
    let squares: f64 = residuals.iter().map(|residual| residual * residual).sum();
    let products: f64 = residuals.windows(2).map(|pair| pair[0] * pair[1]).sum();
    let correlation = if squares > 0.0 { (products / squares).clamp(0.0, 0.8) } else { 0.0 };
    let variance = squares / (count - 1.0) / count * (1.0 + correlation) / (1.0 - correlation);
    (variance.sqrt(), STUDENT[residuals.len() - FEWEST_GROUPS])
}

impl Interval {
    fn around(value: f64, half: f64) -> Interval {
        Interval { low: (value - half).max(0.0), high: value + half }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 64,000 results, one per millisecond, of 100 µs plus `noise` in nanoseconds.
    fn batch_means(noise: impl Fn(u64) -> f64) -> BatchMeans {
        let mut batch_means = BatchMeans::default();
        for at in 0..64_000 {
            batch_means.record_n(
                Duration::from_millis(at),
                Duration::from_nanos((1e5 + noise(at)) as u64),
                1,
            );
        }
        batch_means
    }

    fn half(interval: Interval) -> f64 {
        (interval.high - interval.low) / 2.0
    }

    #[test]
    fn steady_results_have_no_variance() {
        let steady = batch_means(|_| 0.0);
        assert_eq!(steady.slices.iter().map(|slice| slice.count).sum::<u64>(), 64_000);
        assert!(half(steady.mean_interval(100.0).unwrap()) < 1e-6);
        assert!(half(steady.rate_interval(1000.0).unwrap()) < 1e-6);
        assert_eq!(steady.independent(0.5, 64_000, 0.0), Some((64_000.0, 2.093)));
    }

    #[test]
    fn correlation_widens_the_interval() {
        // ±10 µs alternating, and for 4 s each: the values are the same, but the latter are worth a few results only.
        let apart = batch_means(|at| if at % 2 == 0 { 1e4 } else { -1e4 });
        let alike = batch_means(|at| if at / 4000 % 2 == 0 { 1e4 } else { -1e4 });
        let [apart, alike] =
            [apart, alike].map(|batch_means| half(batch_means.mean_interval(100.0).unwrap()));
        assert!(apart < 0.1 && alike > 3.0, "{apart} and {alike}");
    }

    #[test]
    fn correlation_between_slices_widens_it_further() {
        let in_turn = [1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0];
        let alike = [1.0, 1.0, 1.0, 1.0, 1.0, -1.0, -1.0, -1.0, -1.0, -1.0];
        let [(in_turn, _), (alike, _)] = [in_turn, alike].map(|residuals| standard_error(&residuals));
        // Ten residuals of ±1 give a standard error of 1/3; the correlation of neighbours is 0.7.
        assert!((in_turn - 1.0 / 3.0).abs() < 1e-9, "{in_turn}");
        assert!((alike / in_turn - f64::sqrt(1.7 / 0.3)).abs() < 1e-9, "{alike}");
    }

    #[test]
    fn independent_results_give_the_textbook_interval() {
        // Uniform noise of ±10 µs has a standard deviation of 5.77 µs; over 64,000 results the half width is 0.045 µs.
        let mut random = crate::query::workload::random::RandomStream::new(1, 1, 1);
        let noise: Vec<f64> = (0..64_000).map(|_| (random.fraction() - 0.5) * 2e4).collect();
        let half = half(batch_means(|at| noise[at as usize]).mean_interval(100.0).unwrap());
        assert!((0.02..0.1).contains(&half), "{half}");
    }

    #[test]
    fn parts_of_different_lengths_add_up() {
        let all = batch_means(|_| 0.0);
        let (mut short, mut long) = (BatchMeans::default(), BatchMeans::default());
        for at in 0..64_000 {
            let part = if at < 100 { &mut short } else { &mut long };
            part.record_n(Duration::from_millis(at), Duration::from_micros(100), 1);
        }
        short.add(&long);
        assert_eq!(short, all);
    }

    #[test]
    fn the_latencies_of_a_bucket_differ_by_3_percent_at_most() {
        let bucket = |nanoseconds| {
            let mut histogram = CoarseHistogram::default();
            histogram.record_n(Duration::from_nanos(nanoseconds), 1);
            assert_eq!(histogram.counts, [1]);
            u64::from(histogram.first)
        };
        assert_eq!((bucket(0), bucket(1024), bucket(1055), bucket(1056)), (0, 0, 0, 1));
        assert_eq!((bucket(2047), bucket(2048), bucket(2111), bucket(2112)), (31, 32, 32, 33));
        assert_eq!(bucket(u64::MAX), 54 * 32 - 1);
    }

    #[test]
    fn a_histogram_grows_on_either_side() {
        let (mut histogram, mut other) = (CoarseHistogram::default(), CoarseHistogram::default());
        for micros in [100, 3000, 2, 100] {
            histogram.record_n(Duration::from_micros(micros), 1);
        }
        let [two, hundred, end] = [30, 208, 365];
        other.record_n(Duration::from_micros(1), 1);
        other.add(&histogram);
        histogram.add(&CoarseHistogram::default());
        assert_eq!(usize::from(histogram.first), two);
        assert_eq!(
            [two, two + 1, hundred, hundred + 1, end, end + 1].map(|bucket| histogram.before(bucket)),
            [0, 1, 1, 3, 3, 4]
        );
        assert_eq!((other.before(1), other.before(end + 1)), (1, 5));
    }

    #[test]
    fn outliers_do_not_widen_the_median() {
        // Alternately 3 s of 90 µs and 3 s of 110 µs; one result in a hundred takes 0.1 s.
        let drift = |at: u64| if (at / 3000).is_multiple_of(2) { -1e4 } else { 1e4 };
        let slow_and_fast = batch_means(|at| if at % 100 == 0 { 1e8 } else { drift(at) });
        let [(median, _), (outliers, _)] =
            [0.5, 0.995].map(|at| slow_and_fast.independent(at, 64_000, 1e4).unwrap());
        assert!(median < 100.0 && outliers > 10_000.0, "{median} and {outliers}");
    }

    #[test]
    fn groups_leave_out_only_the_last_slice() {
        for length in [11, 30, 40, 500] {
            let mut batch_means = BatchMeans::default();
            for at in 0..length * 10 {
                batch_means.record_n(Duration::from_millis(at / 10), Duration::from_micros(1), 1);
            }
            let groups: Vec<usize> = batch_means.groups().unwrap().map(<[_]>::len).collect();
            assert_eq!(groups.iter().sum::<usize>() as u64, length - 1);
            assert!(groups.iter().max().unwrap() - groups.iter().min().unwrap() <= 1, "{groups:?}");
            assert!((FEWEST_GROUPS..=GROUPS).contains(&groups.len()));
        }
    }

    #[test]
    fn a_part_of_a_run_has_the_results_of_its_time() {
        // Two results in each of 300 ms.
        let mut run = BatchMeans::default();
        for at in 0..600 {
            run.record_n(Duration::from_micros(at * 500), Duration::from_micros(1), 1);
        }
        for (span, count) in
            [(0.0..300.0, 600.0), (-5.0..400.0, 600.0), (10.5..20.0, 19.0), (400.0..500.0, 0.0)]
        {
            assert!((run.count_within(span.clone(), 300.0) - count).abs() < 1e-9, "{span:?}");
        }
        let counts = |span| run.within(span).slices.iter().map(|slice| slice.count).collect::<Vec<_>>();
        assert_eq!(counts(298..1000), [2, 2]);
        assert_eq!(counts(-2..1), [0, 0, 2]);
        assert_eq!((counts(400..500), counts(-9..-3)), (vec![], vec![0; 9]));
        let late = run.within(-1_000_000..300);
        assert!(late.slices.len() < 2 * MOST_SLICES && late.slice_ms > 1, "{}", late.slices.len());
    }

    #[test]
    fn too_few_results_give_no_interval() {
        let mut batch_means = BatchMeans::default();
        batch_means.record_n(Duration::from_millis(3), Duration::from_millis(1), 1);
        assert_eq!(batch_means.mean_interval(1.0), None);
    }
}
