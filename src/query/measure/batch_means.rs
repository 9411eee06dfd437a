//! How far the figures of a run can be trusted, by the method of batch means.
//!
//! Latencies that follow each other are alike: a checkpoint slows thousands of them. A confidence interval that takes
//! them for independent is far too narrow. So the run is cut into stretches of time, long enough for their means to
//! vary as means of independent runs would, and the interval is drawn from how much those differ (Law and Kelton,
//! *Simulation Modeling and Analysis*, chapter 9). What likeness is left between neighbouring stretches widens it
//! further, as for a first-order autoregressive series.
//!
//! A quantile is where the share of the answers that took no longer is as large; how far that share can be trusted is
//! told the same way, as the mean of what is 1 for those and 0 for the others (Flegal and Jones, *Implementing MCMC:
//! Estimating with Confidence*, in the *Handbook of Markov Chain Monte Carlo*). So each stretch keeps how many answers
//! took how long, coarsely.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Where a figure lies with a probability of 95 %.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// From here.
    pub low: f64,
    /// To here.
    pub high: f64,
}

/// What was answered in equal stretches of time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BatchMeans {
    /// How long each is, in milliseconds; doubled whenever there are too many.
    stretch_ms: u64,
    stretches: Vec<TimeSlice>,
}

/// What was answered in one of them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct TimeSlice {
    /// How many answers.
    count: u64,
    /// The sum of their latencies in microseconds.
    sum: f64,
    spread: Spread,
}

/// How many answers took how long: 32 buckets for each power of two of nanoseconds, so that one holds what differs by
/// 3 % at most; what took less than a microsecond is in the first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Spread {
    /// The bucket of the first count; nothing is kept of the empty ones before it and after the last.
    first: u16,
    counts: Vec<u32>,
}

/// The powers of two that the buckets of a [`Spread`] begin with, and that they are divided by.
const SHORTEST_BITS: u32 = 10;
const BUCKET_BITS: u32 = 5;

/// As many stretches are kept at most.
const MOST: usize = 512;

/// As many groups of stretches are compared.
const GROUPS: usize = 20;

/// Less than so many groups say nothing.
const FEWEST: usize = 10;

/// Nor do less than so many answers.
const FEWEST_ANSWERS: u64 = 100;

/// Student's t for 95 %, two-sided, with 9 to 19 degrees of freedom.
const STUDENT: [f64; GROUPS - FEWEST + 1] =
    [2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093];

impl Default for BatchMeans {
    fn default() -> Self {
        BatchMeans { stretch_ms: 1, stretches: Vec::new() }
    }
}

impl Spread {
    #[inline]
    fn record(&mut self, latency: Duration) {
        let nanoseconds = (latency.as_nanos() as u64).max(1 << SHORTEST_BITS);
        let bits = nanoseconds.ilog2();
        let within = (nanoseconds >> (bits - BUCKET_BITS)) - (1 << BUCKET_BITS);
        let bucket = (u64::from(bits - SHORTEST_BITS) << BUCKET_BITS) + within;
        let count = &mut self.room(bucket as usize, 1)[0];
        *count = count.saturating_add(1);
    }

    fn add(&mut self, other: &Spread) {
        if other.counts.is_empty() {
            return;
        }
        let room = self.room(other.first.into(), other.counts.len());
        for (own, other) in room.iter_mut().zip(&other.counts) {
            *own = own.saturating_add(*other);
        }
    }

    /// The counts of so many buckets from `bucket` on.
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

    /// How many answers are in the buckets before `bucket`.
    fn before(&self, bucket: usize) -> u64 {
        let buckets = bucket.saturating_sub(self.first.into()).min(self.counts.len());
        self.counts[..buckets].iter().map(|&count| u64::from(count)).sum()
    }
}

impl TimeSlice {
    fn add(&mut self, other: &TimeSlice) {
        self.count += other.count;
        self.sum += other.sum;
        self.spread.add(&other.spread);
    }
}

impl BatchMeans {
    /// Count an answer that came `at` so long after the start.
    pub fn record(&mut self, at: Duration, latency: Duration) {
        let mut index = (at.as_millis() as u64 / self.stretch_ms) as usize;
        while index >= MOST {
            self.double();
            index /= 2;
        }
        if index >= self.stretches.len() {
            self.stretches.resize_with(index + 1, TimeSlice::default);
        }
        let stretch = &mut self.stretches[index];
        stretch.count += 1;
        stretch.sum += latency.as_nanos() as f64 / 1e3;
        stretch.spread.record(latency);
    }

    /// Count all of `other`, which began at the same time.
    pub fn add(&mut self, other: &BatchMeans) {
        let mut other = other.clone();
        while self.stretch_ms < other.stretch_ms {
            self.double();
        }
        while other.stretch_ms < self.stretch_ms {
            other.double();
        }
        if self.stretches.len() < other.stretches.len() {
            self.stretches.resize_with(other.stretches.len(), TimeSlice::default);
        }
        for (own, other) in self.stretches.iter_mut().zip(&other.stretches) {
            own.add(other);
        }
    }

    fn double(&mut self) {
        self.stretch_ms *= 2;
        let mut stretches = std::mem::take(&mut self.stretches).into_iter();
        while let Some(mut stretch) = stretches.next() {
            if let Some(second) = stretches.next() {
                stretch.add(&second);
            }
            self.stretches.push(stretch);
        }
    }

    /// The stretches but the last, which is not over, in groups as equal as can be.
    fn groups(&self) -> Option<impl Iterator<Item = &[TimeSlice]>> {
        let whole = self.stretches.len().saturating_sub(1);
        let groups = whole.min(GROUPS);
        if groups < FEWEST || self.stretches.iter().map(|stretch| stretch.count).sum::<u64>() < FEWEST_ANSWERS
        {
            return None;
        }
        let end = move |group: usize| group * whole / groups;
        Some((0..groups).map(move |group| &self.stretches[end(group)..end(group + 1)]))
    }

    /// The ratio of two sums, of which `parts` tells the divisor's and the dividend's part of a stretch; its standard
    /// error; and Student's t for that.
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

    /// The standard error of the answers a second, and Student's t for it.
    fn rate_error(&self) -> Option<(f64, f64)> {
        let seconds = self.stretch_ms as f64 / 1e3;
        self.ratio(|stretch| (seconds, stretch.count as f64)).map(|(_, error, t)| (error, t))
    }

    /// The standard error of the mean latency, in microseconds, and Student's t for it.
    fn mean_error(&self) -> Option<(f64, f64)> {
        self.ratio(|stretch| (stretch.count as f64, stretch.sum)).map(|(_, error, t)| (error, t))
    }

    /// Where the rate lies, if it was found to be `rate` answers a second.
    pub fn rate_interval(&self, rate: f64) -> Option<Interval> {
        self.rate_error().map(|(error, t)| Interval::around(rate, t * error))
    }

    /// Where the mean lies, if it was found to be `mean` microseconds.
    pub fn mean_interval(&self, mean: f64) -> Option<Interval> {
        self.mean_error().map(|(error, t)| Interval::around(mean, t * error))
    }

    /// For how many independent answers these are to be taken at `quantile`, when they are `answers` and vary by
    /// `deviation` microseconds, as the rest repeats what their neighbours said; and Student's t for that.
    ///
    /// A share p of n independent answers varies by p(1 - p)/n, so n follows from how much the shares of answers below
    /// the bounds of the quantile's bucket vary; in between, the variance is taken in proportion. Where a bound has all
    /// answers on one side, n is no more than what follows so from the mean.
    pub fn independent(&self, quantile: f64, answers: u64, deviation: f64) -> Option<(f64, f64)> {
        let (error, t) = self.mean_error()?;
        let of_mean = (deviation / error).powi(2);
        let [low, high] = self.bounds(quantile)?.map(|bound| {
            let (share, error, _) =
                self.ratio(|stretch| (stretch.count as f64, stretch.spread.before(bound) as f64))?;
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
        let answers = answers.max(1) as f64;
        // Where nothing varies, neither does the error.
        Some((if found.is_nan() { answers } else { found.clamp(1.0, answers) }, t))
    }

    /// The bucket in which the share `quantile` of the answers in all groups ends, and the next.
    fn bounds(&self, quantile: f64) -> Option<[usize; 2]> {
        let mut all = Spread::default();
        for stretch in self.groups()?.flatten() {
            all.add(&stretch.spread);
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

/// The standard error of a mean from what its `residuals` are, and Student's t.
fn standard_error(residuals: &[f64]) -> (f64, f64) {
    let count = residuals.len() as f64;
    let squares: f64 = residuals.iter().map(|residual| residual * residual).sum();
    let products: f64 = residuals.windows(2).map(|pair| pair[0] * pair[1]).sum();
    let likeness = if squares > 0.0 { (products / squares).clamp(0.0, 0.8) } else { 0.0 };
    let variance = squares / (count - 1.0) / count * (1.0 + likeness) / (1.0 - likeness);
    (variance.sqrt(), STUDENT[residuals.len() - FEWEST])
}

impl Interval {
    fn around(value: f64, half: f64) -> Interval {
        Interval { low: (value - half).max(0.0), high: value + half }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 64,000 answers, one each millisecond, of 100 µs give or take what `noise` adds.
    fn batches(noise: impl Fn(u64) -> f64) -> BatchMeans {
        let mut batches = BatchMeans::default();
        for at in 0..64_000 {
            batches.record(Duration::from_millis(at), Duration::from_nanos((1e5 + noise(at)) as u64));
        }
        batches
    }

    fn half(interval: Interval) -> f64 {
        (interval.high - interval.low) / 2.0
    }

    #[test]
    fn steady_answers_have_no_spread() {
        let steady = batches(|_| 0.0);
        assert_eq!(steady.stretches.iter().map(|stretch| stretch.count).sum::<u64>(), 64_000);
        assert!(half(steady.mean_interval(100.0).unwrap()) < 1e-6);
        assert!(half(steady.rate_interval(1000.0).unwrap()) < 1e-6);
        assert_eq!(steady.independent(0.5, 64_000, 0.0), Some((64_000.0, 2.093)));
    }

    #[test]
    fn likeness_widens_the_interval() {
        // ±10 µs in turn, and for 4 s each: the values are the same, but the second are worth a few.
        let apart = batches(|at| if at % 2 == 0 { 1e4 } else { -1e4 });
        let alike = batches(|at| if at / 4000 % 2 == 0 { 1e4 } else { -1e4 });
        let [apart, alike] = [apart, alike].map(|batches| half(batches.mean_interval(100.0).unwrap()));
        assert!(apart < 0.1 && alike > 3.0, "{apart} and {alike}");
    }

    #[test]
    fn likeness_between_stretches_widens_it_further() {
        let in_turn = [1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0];
        let alike = [1.0, 1.0, 1.0, 1.0, 1.0, -1.0, -1.0, -1.0, -1.0, -1.0];
        let [(in_turn, _), (alike, _)] = [in_turn, alike].map(|residuals| standard_error(&residuals));
        // Of ten residuals of 1 the mean's error is a third; neighbours here are alike by 0.7.
        assert!((in_turn - 1.0 / 3.0).abs() < 1e-9, "{in_turn}");
        assert!((alike / in_turn - f64::sqrt(1.7 / 0.3)).abs() < 1e-9, "{alike}");
    }

    #[test]
    fn independent_answers_give_the_textbooks_interval() {
        // Uniform noise of ±10 µs has a deviation of 5.77 µs; over 64,000 answers the half width is 0.045 µs.
        let mut random = crate::query::workload::values::Stream::new(1, 1, 1);
        let noise: Vec<f64> = (0..64_000).map(|_| (random.fraction() - 0.5) * 2e4).collect();
        let half = half(batches(|at| noise[at as usize]).mean_interval(100.0).unwrap());
        assert!((0.02..0.1).contains(&half), "{half}");
    }

    #[test]
    fn parts_add_up_whatever_their_length() {
        let all = batches(|_| 0.0);
        let (mut short, mut long) = (BatchMeans::default(), BatchMeans::default());
        for at in 0..64_000 {
            let part = if at < 100 { &mut short } else { &mut long };
            part.record(Duration::from_millis(at), Duration::from_micros(100));
        }
        short.add(&long);
        assert_eq!(short, all);
    }

    #[test]
    fn a_bucket_holds_what_differs_by_little() {
        let bucket = |nanoseconds| {
            let mut spread = Spread::default();
            spread.record(Duration::from_nanos(nanoseconds));
            assert_eq!(spread.counts, [1]);
            u64::from(spread.first)
        };
        assert_eq!((bucket(0), bucket(1024), bucket(1055), bucket(1056)), (0, 0, 0, 1));
        assert_eq!((bucket(2047), bucket(2048), bucket(2111), bucket(2112)), (31, 32, 32, 33));
        assert_eq!(bucket(u64::MAX), 54 * 32 - 1);
    }

    #[test]
    fn a_spread_has_room_on_either_side() {
        let (mut spread, mut other) = (Spread::default(), Spread::default());
        for micros in [100, 3000, 2, 100] {
            spread.record(Duration::from_micros(micros));
        }
        let [two, hundred, end] = [30, 208, 365];
        other.record(Duration::from_micros(1));
        other.add(&spread);
        spread.add(&Spread::default());
        assert_eq!(usize::from(spread.first), two);
        assert_eq!(
            [two, two + 1, hundred, hundred + 1, end, end + 1].map(|bucket| spread.before(bucket)),
            [0, 1, 1, 3, 3, 4]
        );
        assert_eq!((other.before(1), other.before(end + 1)), (1, 5));
    }

    #[test]
    fn the_body_is_not_judged_by_its_outliers() {
        // Ten times, 3 s of 90 µs and 3 s of 110 µs; of a hundred answers, one takes 0.1 s.
        let drift = |at: u64| if (at / 3000).is_multiple_of(2) { -1e4 } else { 1e4 };
        let batches = batches(|at| if at % 100 == 0 { 1e8 } else { drift(at) });
        let [(body, _), (outliers, _)] = [0.5, 0.995].map(|at| batches.independent(at, 64_000, 1e4).unwrap());
        assert!(body < 100.0 && outliers > 10_000.0, "{body} and {outliers}");
    }

    #[test]
    fn no_stretch_is_left_out_but_the_last() {
        for length in [11, 30, 40, 500] {
            let mut batches = BatchMeans::default();
            for at in 0..length * 10 {
                batches.record(Duration::from_millis(at / 10), Duration::from_micros(1));
            }
            let groups: Vec<usize> = batches.groups().unwrap().map(<[_]>::len).collect();
            assert_eq!(groups.iter().sum::<usize>() as u64, length - 1);
            assert!(groups.iter().max().unwrap() - groups.iter().min().unwrap() <= 1, "{groups:?}");
            assert!((FEWEST..=GROUPS).contains(&groups.len()));
        }
    }

    #[test]
    fn too_little_says_nothing() {
        let mut batches = BatchMeans::default();
        batches.record(Duration::from_millis(3), Duration::from_millis(1));
        assert_eq!(batches.mean_interval(1.0), None);
    }
}
