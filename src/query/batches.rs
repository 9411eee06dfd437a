//! How far the means of a run can be trusted, by the method of batch means.
//!
//! Latencies that follow each other are alike: a checkpoint slows thousands of them. A confidence interval that takes
//! them for independent is far too narrow. So the run is cut into stretches of time, long enough for their means to
//! vary as means of independent runs would, and the interval is drawn from how much those differ (Law and Kelton,
//! *Simulation Modeling and Analysis*, chapter 9). What likeness is left between neighbouring stretches widens it
//! further, as for a first-order autoregressive series.

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
pub struct Batches {
    /// How long each is, in milliseconds; doubled whenever there are too many.
    stretch_ms: u64,
    /// How many answers, and the sum of their latencies in microseconds.
    sums: Vec<(u64, f64)>,
}

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

impl Default for Batches {
    fn default() -> Self {
        Batches { stretch_ms: 1, sums: Vec::new() }
    }
}

impl Batches {
    /// Count an answer that came `at` so long after the start.
    pub fn record(&mut self, at: Duration, latency: Duration) {
        let mut index = (at.as_millis() as u64 / self.stretch_ms) as usize;
        while index >= MOST {
            self.double();
            index /= 2;
        }
        if index >= self.sums.len() {
            self.sums.resize(index + 1, (0, 0.0));
        }
        let (count, sum) = &mut self.sums[index];
        *count += 1;
        *sum += latency.as_nanos() as f64 / 1e3;
    }

    /// Count all of `other`, which began at the same time.
    pub fn add(&mut self, other: &Batches) {
        let mut other = other.clone();
        while self.stretch_ms < other.stretch_ms {
            self.double();
        }
        while other.stretch_ms < self.stretch_ms {
            other.double();
        }
        if self.sums.len() < other.sums.len() {
            self.sums.resize(other.sums.len(), (0, 0.0));
        }
        for (own, other) in self.sums.iter_mut().zip(&other.sums) {
            *own = (own.0 + other.0, own.1 + other.1);
        }
    }

    fn double(&mut self) {
        self.stretch_ms *= 2;
        self.sums = self
            .sums
            .chunks(2)
            .map(|pair| pair.iter().fold((0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1)))
            .collect();
    }

    /// The stretches in equal groups; the last stretch is not over, and what does not fill a group is left out.
    fn groups(&self) -> Option<(Vec<(f64, f64)>, f64)> {
        let whole = self.sums.len().saturating_sub(1);
        let groups = whole.min(GROUPS);
        if groups < FEWEST || self.sums.iter().map(|sum| sum.0).sum::<u64>() < FEWEST_ANSWERS {
            return None;
        }
        let each = whole / groups;
        let sums = self.sums[..groups * each]
            .chunks(each)
            .map(|group| group.iter().fold((0.0, 0.0), |sum, one| (sum.0 + one.0 as f64, sum.1 + one.1)));
        Some((sums.collect(), (each as u64 * self.stretch_ms) as f64 / 1e3))
    }

    /// The standard error of the answers a second, and Student's t for it.
    fn rate_error(&self) -> Option<(f64, f64)> {
        let (groups, seconds) = self.groups()?;
        let mean = groups.iter().map(|group| group.0).sum::<f64>() / groups.len() as f64;
        let residuals: Vec<f64> = groups.iter().map(|group| (group.0 - mean) / seconds).collect();
        Some(standard_error(&residuals))
    }

    /// The standard error of the mean latency, in microseconds, and Student's t for it: that of a ratio of sums.
    fn mean_error(&self) -> Option<(f64, f64)> {
        let (groups, _) = self.groups()?;
        let (count, sum) = groups.iter().fold((0.0, 0.0), |all, one| (all.0 + one.0, all.1 + one.1));
        if count == 0.0 {
            return None;
        }
        let (ratio, share) = (sum / count, count / groups.len() as f64);
        let residuals: Vec<f64> = groups.iter().map(|group| (group.1 - ratio * group.0) / share).collect();
        Some(standard_error(&residuals))
    }

    /// Where the rate lies, if it was found to be `rate` answers a second.
    pub fn rate_interval(&self, rate: f64) -> Option<Interval> {
        self.rate_error().map(|(error, t)| Interval::around(rate, t * error))
    }

    /// Where the mean lies, if it was found to be `mean` microseconds.
    pub fn mean_interval(&self, mean: f64) -> Option<Interval> {
        self.mean_error().map(|(error, t)| Interval::around(mean, t * error))
    }

    /// Which share of the answers is to be taken for independent of each other, when they are `answers` and vary by
    /// `deviation` microseconds; the rest repeats what their neighbours said.
    pub fn independent(&self, answers: u64, deviation: f64) -> Option<f64> {
        let (error, _) = self.mean_error()?;
        let independent = if error > 0.0 { (deviation / error).powi(2) } else { answers as f64 };
        Some(independent.clamp(1.0, answers.max(1) as f64))
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
    fn batches(noise: impl Fn(u64) -> f64) -> Batches {
        let mut batches = Batches::default();
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
        assert_eq!(steady.sums.iter().map(|sum| sum.0).sum::<u64>(), 64_000);
        assert!(half(steady.mean_interval(100.0).unwrap()) < 1e-6);
        assert!(half(steady.rate_interval(1000.0).unwrap()) < 1e-6);
        assert_eq!(steady.independent(64_000, 0.0), Some(64_000.0));
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
        let mut random = super::super::arguments::Stream::new(1, 1, 1);
        let noise: Vec<f64> = (0..64_000).map(|_| (random.fraction() - 0.5) * 2e4).collect();
        let half = half(batches(|at| noise[at as usize]).mean_interval(100.0).unwrap());
        assert!((0.02..0.1).contains(&half), "{half}");
    }

    #[test]
    fn parts_add_up_whatever_their_length() {
        let all = batches(|_| 0.0);
        let (mut short, mut long) = (Batches::default(), Batches::default());
        for at in 0..64_000 {
            let part = if at < 100 { &mut short } else { &mut long };
            part.record(Duration::from_millis(at), Duration::from_micros(100));
        }
        short.add(&long);
        assert_eq!(short, all);
    }

    #[test]
    fn too_little_says_nothing() {
        let mut batches = Batches::default();
        batches.record(Duration::from_millis(3), Duration::from_millis(1));
        assert_eq!(batches.mean_interval(1.0), None);
    }
}
