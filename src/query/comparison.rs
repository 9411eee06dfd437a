//! The comparison of runs with others: saved ones, or those that they were interleaved with.

use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value};

use crate::query::baseline::{Samples, SavedRun};
use crate::query::measure::batch_means::Interval;
use crate::query::measure::latency::Latencies;
use crate::query::report::{Basis, Comparison, Condition, ConditionOutcome, Ratio};
use crate::query::workload::Workload;
use crate::statistics::{paired_ratio, welch_ratio};

/// The fewest runs on either side by which `--fail-if` judges.
pub(crate) const FEWEST_JUDGED: usize = 5;

/// A figure of a run that is compared.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ComparedFigure {
    /// Its name.
    pub(crate) name: &'static str,
    /// Where the report has it.
    pub(crate) pointer: &'static str,
    /// The quantile of the response times that it is; `None` for the rate and the mean.
    quantile: Option<f64>,
}

/// All of them. Looked at together, any of them might seem to differ by chance.
pub(crate) const FIGURES: [ComparedFigure; 7] = {
    const fn of(name: &'static str, pointer: &'static str, quantile: Option<f64>) -> ComparedFigure {
        ComparedFigure { name, pointer, quantile }
    }
    [
        of("rate", "/queries_per_second", None),
        of("mean", "/response_us/mean", None),
        of("p50", "/response_us/p50", Some(0.5)),
        of("p90", "/response_us/p90", Some(0.9)),
        of("p95", "/response_us/p95", Some(0.95)),
        of("p99", "/response_us/p99", Some(0.99)),
        of("p99.9", "/response_us/p999", Some(0.999)),
    ]
};

/// The relative precision of quantiles, which a histogram of three digits gives.
const QUANTILE_PRECISION: f64 = 0.001;

/// How much worse than its baseline a run may be: the value of `--fail-if`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Threshold {
    figure: Figure,
    percent: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Figure {
    /// The rate; in an open loop, which sets the rate, the mean response time.
    Slower,
    P99,
}

impl Samples {
    /// The relative half width of the confidence interval of the rate, in queries per second.
    fn rate_width(&self, rate: f64) -> Option<f64> {
        half_width(self.batch_means.rate_interval(rate)?, rate)
    }

    /// The relative half width of the confidence interval of the mean response time, in microseconds.
    fn mean_width(&self, mean: f64) -> Option<f64> {
        half_width(self.batch_means.mean_interval(mean)?, mean)
    }

    /// Half the logarithm of the ratio of the ends of a quantile's confidence interval. The ends are the latencies at
    /// the ranks between which the quantile lies with 95 % confidence, by the binomial distribution with the effective
    /// sample size.
    fn quantile_width(&self, latencies: &Latencies, quantile: f64) -> Option<f64> {
        let (independent, t) =
            self.batch_means.independent(quantile, latencies.len(), latencies.deviation())?;
        let ranks = t * (quantile * (1.0 - quantile) / independent).sqrt();
        // Beyond the largest latency there is no data.
        if quantile + ranks > 1.0 - 1.0 / independent || quantile < ranks {
            return None;
        }
        let (low, high) = (latencies.quantile(quantile - ranks), latencies.quantile(quantile + ranks));
        // The histogram itself has a precision of 0.1 %.
        (low > 0.0).then(|| ((high / low).ln() / 2.0).max(0.001))
    }
}

fn half_width(interval: Interval, value: f64) -> Option<f64> {
    (value > 0.0).then(|| (interval.high - interval.low) / 2.0 / value)
}

impl ComparedFigure {
    /// Its value in each of `runs`; `None` unless all of them have one that is positive.
    fn values(&self, runs: &[SavedRun]) -> Option<Vec<f64>> {
        runs.iter().map(|run| run.figure(self.pointer).filter(|value| *value > 0.0)).collect()
    }

    /// The ratio of its `now` to its values `then`, with the interval that follows from the differences between runs;
    /// for the runs of a pair, between pairs.
    fn between_runs(&self, now: &[f64], then: &[f64], basis: Basis) -> Option<Interval> {
        let ratio = match basis {
            Basis::Pairs => paired_ratio(now, then, FIGURES.len()),
            Basis::BetweenRuns | Basis::WithinRuns => welch_ratio(now, then, FIGURES.len()),
        }?;
        let ratio = if self.quantile.is_some() { ratio.widened(QUANTILE_PRECISION) } else { ratio };
        Some(Interval { low: ratio.low, high: ratio.high })
    }

    /// Half the logarithm of the ratio of the ends of its confidence interval in one of `runs`, which knows nothing of
    /// what differs from run to run.
    fn width_within(&self, runs: &[SavedRun], values: &[f64]) -> Option<f64> {
        let width = |(run, value): (&SavedRun, &f64)| match (self.quantile, self.name) {
            (Some(quantile), _) => {
                run.samples.quantile_width(&Latencies::from_counts(&run.samples.response_ns), quantile)
            }
            (None, "rate") => run.samples.rate_width(*value),
            (None, _) => run.samples.mean_width(*value),
        };
        let squares: Option<Vec<f64>> =
            runs.iter().zip(values).map(|pair| width(pair).map(|width| width * width)).collect();
        squares.map(|squares| (squares.iter().sum::<f64>() / squares.len() as f64).sqrt())
    }

    /// Compare it; `None` where it has no value in one of the runs.
    fn compare(&self, now: &[SavedRun], baseline: &[SavedRun], basis: Basis) -> Option<Ratio> {
        let (now_values, then_values) = (self.values(now)?, self.values(baseline)?);
        let (new, old) = (geometric_mean(&now_values), geometric_mean(&then_values));
        let ratio = new / old;
        let interval = if basis == Basis::WithinRuns {
            let widths = self.width_within(baseline, &then_values).zip(self.width_within(now, &now_values));
            let width = widths.map(|(a, b)| a.hypot(b).exp());
            width.map(|width| Interval { low: ratio / width, high: ratio * width })
        } else {
            self.between_runs(&now_values, &then_values, basis)
        };
        let excludes_1 = interval.is_some_and(|interval| interval.low > 1.0 || interval.high < 1.0);
        let significant = excludes_1 && basis != Basis::WithinRuns;
        Some(Ratio { figure: self.name, baseline: old, now: new, ratio, interval, significant })
    }
}

/// The geometric mean of `values`, as ratios are compared.
fn geometric_mean(values: &[f64]) -> f64 {
    match values {
        // Its logarithm would be rounded.
        [value] => *value,
        _ => (values.iter().map(|value| value.ln()).sum::<f64>() / values.len() as f64).exp(),
    }
}

/// Compare the runs `now` with those of a `baseline`, which has this `name`. Neither is empty. With
/// [`Basis::Pairs`] each run was made next to that of the same index.
pub(crate) fn compare(
    now: &[SavedRun],
    baseline: &[SavedRun],
    is_paired: bool,
    name: String,
    thresholds: &[Threshold],
) -> Comparison {
    let basis = match (is_paired, now.len().min(baseline.len())) {
        (_, ..2) => Basis::WithinRuns,
        (true, _) => Basis::Pairs,
        (false, _) => Basis::BetweenRuns,
    };
    let ratios: Vec<Ratio> =
        FIGURES.iter().filter_map(|figure| figure.compare(now, baseline, basis)).collect();
    let mut comparison = Comparison {
        baseline: name,
        basis,
        runs: now.len(),
        baseline_runs: baseline.len(),
        note: (basis == Basis::WithinRuns).then(|| ONE_RUN.to_owned()),
        different_settings: different_settings(&now[0], &baseline[0], is_paired),
        ratios,
        conditions: Vec::new(),
        failures: Vec::new(),
    };
    let is_open = !now[0].report.pointer("/load/rate").is_none_or(Value::is_null);
    let judged = thresholds.iter().map(|threshold| (threshold, threshold.judge(&comparison, is_open)));
    let judged: Vec<_> = judged.collect();
    comparison.failures = judged
        .iter()
        .filter_map(|(threshold, condition)| threshold.failure(&comparison, condition))
        .collect();
    comparison.conditions = judged.into_iter().map(|(_, condition)| condition).collect();
    comparison
}

/// What a comparison with a single run says.
const ONE_RUN: &str =
    "one run: not enough to tell change from noise; use --runs. The intervals cover this run only";

/// What differs between the two runs and may explain a difference between their figures. Of runs that are interleaved,
/// the workloads differ on purpose.
fn different_settings(now: &SavedRun, baseline: &SavedRun, is_paired: bool) -> Vec<String> {
    let mut different = Vec::new();
    let mut compare = |what: &str, now: Option<&Value>, then: Option<&Value>| {
        if now != then {
            let show = |value: Option<&Value>| match value {
                Some(Value::String(text)) => text.clone(),
                Some(Value::Null) | None => "none".to_owned(),
                Some(value) => value.to_string(),
            };
            different.push(format!("{what} {} (baseline {})", show(now), show(then)));
        }
    };
    for section in ["load", "server"] {
        let keys = now.report[section].as_object().into_iter().flat_map(Map::keys);
        for key in keys {
            let pointer = format!("/{section}/{key}");
            // A version that saved less knew nothing of it.
            if let Some(then) = baseline.report.pointer(&pointer) {
                compare(key, now.report.pointer(&pointer), Some(then));
            }
        }
    }
    compare("rows", now.report.pointer("/table/rows"), baseline.report.pointer("/table/rows"));
    for (what, is_different) in [
        ("statements", !is_paired && of_statements(now, "sql") != of_statements(baseline, "sql")),
        ("argument sources", !is_paired && of_statements(now, "args") != of_statements(baseline, "args")),
        ("workload weights", weights(now) != weights(baseline)),
        ("client machine", now.environment != baseline.environment),
    ] {
        if is_different {
            different.push(what.into());
        }
    }
    different
}

fn workloads(run: &SavedRun) -> impl Iterator<Item = &Value> {
    run.report["workloads"].as_array().into_iter().flatten()
}

/// The statements of `workloads` and those of the run `then`, in words, if they differ; `None` also where it is not known
/// what it ran.
pub(crate) fn other_statements(workloads: &[Workload], then: &SavedRun) -> Option<(String, String)> {
    let now: Vec<Value> = workloads.iter().flat_map(Workload::sent).map(Value::from).collect();
    let then = of_statements(then, "sql");
    let same = now.len() == then.len() && now.iter().zip(&then).all(|(now, then)| now == *then);
    if then.is_empty() || same {
        return None;
    }
    let in_words = |statements: Vec<&Value>| {
        let texts = statements.into_iter().filter_map(Value::as_str);
        let lines = texts.map(|sql| sql.split_whitespace().collect::<Vec<_>>().join(" "));
        format!("`{}`", lines.collect::<Vec<_>>().join("; "))
    };
    Some((in_words(now.iter().collect()), in_words(then)))
}

/// The value of `key` of each statement of each workload.
fn of_statements<'a>(run: &'a SavedRun, key: &str) -> Vec<&'a Value> {
    let statements =
        workloads(run).flat_map(|workload| workload["statements"].as_array().into_iter().flatten());
    statements.map(|statement| &statement[key]).collect()
}

fn weights(run: &SavedRun) -> Vec<&Value> {
    workloads(run).map(|workload| &workload["weight"]).collect()
}

impl Threshold {
    /// Whether the runs of `comparison`, of an open loop or a closed one, pass the threshold.
    fn judge(self, comparison: &Comparison, is_open: bool) -> Condition {
        let figure = match (self.figure, is_open) {
            (Figure::Slower, false) => "rate",
            (Figure::Slower, true) => "mean",
            (Figure::P99, _) => "p99",
        };
        let is_enough = comparison.runs.min(comparison.baseline_runs) >= FEWEST_JUDGED;
        let mut ratios = comparison.ratios.iter().filter(|ratio| is_enough && ratio.figure == figure);
        let found = ratios.find_map(|ratio| Some((ratio, ratio.interval?)));
        // Less is worse of the rate, and more of a time.
        let percent = |ratio: f64| if figure == "rate" { 1.0 - ratio } else { ratio - 1.0 } * 100.0;
        let worse = found.map(|(ratio, _)| percent(ratio.ratio));
        let worse_interval = found.map(|(_, Interval { low, high })| {
            let (a, b) = (percent(low), percent(high));
            Interval { low: a.min(b), high: a.max(b) }
        });
        let outcome = match (found, worse, worse_interval) {
            (Some((ratio, _)), Some(worse), _) if ratio.significant && worse > self.percent => {
                ConditionOutcome::Failed
            }
            (_, _, Some(interval)) if interval.high <= self.percent => ConditionOutcome::Passed,
            (Some(_), ..) => ConditionOutcome::NotShown,
            (None, ..) => ConditionOutcome::NotEnoughData,
        };
        Condition { condition: self.to_string(), figure, outcome, worse, worse_interval }
    }

    /// Why the runs of `comparison` fail the threshold, of which `condition` tells the outcome: the figure is
    /// significantly worse, and by more than this, or cannot be judged. `None` if they do not.
    fn failure(self, comparison: &Comparison, condition: &Condition) -> Option<String> {
        let Comparison { runs, baseline_runs, .. } = comparison;
        let Condition { figure, outcome, worse, .. } = condition;
        match outcome {
            ConditionOutcome::Passed | ConditionOutcome::NotShown => None,
            ConditionOutcome::Failed => Some(format!(
                "{figure} is {:.1} % worse than the baseline, more than --fail-if {self} allows",
                worse.unwrap_or_default()
            )),
            ConditionOutcome::NotEnoughData if *runs.min(baseline_runs) < FEWEST_JUDGED => Some(format!(
                "--fail-if {self} cannot be judged: it needs {FEWEST_JUDGED} runs or more on both sides, of which \
                 there are {runs} and {baseline_runs}"
            )),
            ConditionOutcome::NotEnoughData => {
                Some(format!("--fail-if {self} cannot be judged: there is not enough data on the {figure}"))
            }
        }
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figure = match self.figure {
            Figure::Slower => "slower",
            Figure::P99 => "p99",
        };
        write!(f, "{figure}:{}%", self.percent)
    }
}

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("expected slower:5% or p99:10%, not `{text}`");
        let (figure, percent) = text.split_once(':').ok_or_else(expected)?;
        let figure = match figure {
            "slower" => Figure::Slower,
            "p99" => Figure::P99,
            _ => return Err(expected()),
        };
        let percent =
            percent.strip_suffix('%').and_then(|percent| percent.parse().ok()).ok_or_else(expected)?;
        if (0.0..=10_000.0).contains(&percent) { Ok(Threshold { figure, percent }) } else { Err(expected()) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use rand_distr::{Distribution as _, StandardNormal};

    use super::*;
    use crate::document::SCHEMA;
    use crate::query::baseline::ClientMachine;
    use crate::query::measure::batch_means::BatchMeans;
    use crate::query::workload::random::RandomStream;

    /// A run of 1 s with one query in flight, each of which took `micros` ± 20 %.
    fn run(seed: u64, micros: f64) -> SavedRun {
        let (mut batch_means, mut response) = (BatchMeans::default(), Latencies::default());
        let mut random = RandomStream::new(seed, micros as u64, 0);
        let (mut at, mut count) = (0.0, 0);
        while at < 1.0 {
            let took = micros / 1e6 * (0.8 + 0.4 * random.fraction());
            at += took;
            count += 1;
            batch_means.record_n(Duration::from_secs_f64(at), Duration::from_secs_f64(took), 1);
            response.record(Duration::from_secs_f64(took));
        }
        let report = serde_json::json!({
            "queries_per_second": f64::from(count) / at,
            "response_us": response.summary(),
            "load": { "rate": null, "connections": 1 },
        });
        saved(report, batch_means, &response)
    }

    fn saved(report: Value, batch_means: BatchMeans, response: &Latencies) -> SavedRun {
        let samples = Samples { batch_means, response_ns: response.counts(), ..Samples::default() };
        let environment = ClientMachine::this();
        SavedRun {
            schema: SCHEMA,
            postgres_etl: String::new(),
            saved_at: String::new(),
            environment,
            report,
            samples,
        }
    }

    /// Five runs, which differ from one another by up to `spread` in either direction, of a mean of `micros`.
    fn runs(micros: f64, spread: f64) -> Vec<SavedRun> {
        let factor = |run: u64| 1.0 + spread * (run as f64 / 2.0 - 1.0);
        (0..5).map(|index| run(index, micros * factor(index))).collect()
    }

    fn failures(now: &[SavedRun], then: &[SavedRun], threshold: &str) -> Vec<String> {
        compare(now, then, false, "b".into(), &[threshold.parse().unwrap()]).failures
    }

    #[test]
    fn significantly_slower_runs_fail() {
        let (then, slower) = (runs(1000.0, 0.005), runs(1100.0, 0.005));
        let comparison = compare(&slower, &then, false, "b".into(), &[]);
        assert!(comparison.different_settings.is_empty() && comparison.note.is_none());
        assert_eq!((comparison.basis, comparison.runs, comparison.baseline_runs), (Basis::BetweenRuns, 5, 5));
        assert_eq!(comparison.ratios.len(), FIGURES.len());
        for ratio in &comparison.ratios {
            let expected = if ratio.figure == "rate" { 1.0 / 1.1 } else { 1.1 };
            assert!((ratio.ratio - expected).abs() < 0.02, "{ratio:?}");
            assert!((ratio.now / ratio.baseline - ratio.ratio).abs() < 1e-9, "{ratio:?}");
            assert!(ratio.significant, "{ratio:?}");
        }
        assert_eq!(failures(&slower, &then, "slower:5%").len(), 1);
        assert_eq!(failures(&slower, &then, "p99:5%").len(), 1);
        assert!(failures(&slower, &then, "slower:20%").is_empty());
        let noisy = (runs(1000.0, 0.1), runs(1100.0, 0.1));
        for (now, then, threshold, expected) in [
            (&slower, &then, "slower:5%", ConditionOutcome::Failed),
            (&slower, &then, "slower:20%", ConditionOutcome::Passed),
            (&then, &slower, "slower:0%", ConditionOutcome::Passed),
            (&noisy.1, &noisy.0, "slower:5%", ConditionOutcome::NotShown),
        ] {
            let conditions = compare(now, then, false, "b".into(), &[threshold.parse().unwrap()]).conditions;
            assert_eq!(conditions[0].outcome, expected, "{conditions:?}");
        }
        assert!(failures(&then, &slower, "slower:5%").is_empty(), "it is faster");
    }

    #[test]
    fn a_difference_within_the_spread_of_runs_is_not_significant() {
        let (then, slower) = (runs(1000.0, 0.1), runs(1100.0, 0.1));
        for ratio in compare(&slower, &then, false, "b".into(), &[]).ratios {
            assert!(!ratio.significant, "{ratio:?}");
        }
        assert!(failures(&slower, &then, "slower:5%").is_empty());
        // What pairs have in common cancels out.
        for ratio in compare(&slower, &then, true, "b".into(), &[]).ratios {
            assert!(ratio.significant, "{ratio:?}");
        }
    }

    #[test]
    fn a_single_run_tells_nothing() {
        let (then, slower) = (runs(1000.0, 0.005), runs(1500.0, 0.005));
        for (now, then) in [(&slower[..1], &then[..1]), (&slower[..1], &then[..]), (&slower[..], &then[..1])]
        {
            let comparison = compare(now, then, false, "b".into(), &["slower:5%".parse().unwrap()]);
            assert_eq!(comparison.basis, Basis::WithinRuns);
            assert!(comparison.note.unwrap().starts_with("one run: not enough to tell change from noise"));
            let rate = &comparison.ratios[0];
            // The interval is there, and excludes 1; but it covers these runs only.
            assert!(rate.interval.unwrap().high < 0.9 && !rate.significant, "{rate:?}");
            assert!(comparison.ratios.iter().all(|ratio| !ratio.significant));
            assert!(comparison.failures[0].contains("5 runs or more"), "{:?}", comparison.failures);
            assert_eq!(comparison.conditions[0].outcome, ConditionOutcome::NotEnoughData);
        }
        assert!(failures(&slower[..4], &then, "slower:5%")[0].ends_with("of which there are 4 and 5"));
    }

    #[test]
    fn rounded_quantiles_are_not_taken_for_exact() {
        // All runs of a side are the same, so nothing varies but what the histogram rounds off.
        let (then, now) = (vec![run(1, 1000.0); 5], vec![run(1, 1000.9); 5]);
        for ratio in compare(&now, &then, false, "b".into(), &[]).ratios {
            if ratio.figure.starts_with('p') {
                let interval = ratio.interval.unwrap();
                assert!(interval.high / interval.low > 1.0019, "{ratio:?}");
            }
        }
    }

    #[test]
    fn a_figure_that_a_run_lacks_is_left_out() {
        let (then, mut now) = (runs(1000.0, 0.01), runs(1000.0, 0.01));
        now[3].report["response_us"] = Value::Null;
        let figures: Vec<&str> =
            compare(&now, &then, false, "b".into(), &[]).ratios.iter().map(|ratio| ratio.figure).collect();
        assert_eq!(figures, ["rate"]);
    }

    /// 10 s of a result per millisecond: `micros` ± 6 % of noise, a drift of ± 2 % whose correlation decays in 0.3 s,
    /// and
    /// 0.2 % of outliers of up to 50 ms.
    fn drifting(seed: u64, micros: f64) -> SavedRun {
        let (mut batch_means, mut response) = (BatchMeans::default(), Latencies::default());
        let mut random = RandomStream::new(seed, 0, 0);
        let kept = (-0.001_f64 / 0.3).exp();
        let normal = |random: &mut _| -> f64 { StandardNormal.sample(random) };
        let mut drift = normal(&mut random);
        for at in 0..10_000 {
            drift = drift * kept + normal(&mut random) * (1.0 - kept * kept).sqrt();
            let usual = micros * (1.0 + 0.02 * drift + 0.06 * normal(&mut random));
            let is_outlier = random.fraction() < 0.002;
            let micros = if is_outlier { 50_000.0 * random.fraction() } else { usual };
            let took = Duration::from_secs_f64(micros / 1e6);
            batch_means.record_n(Duration::from_millis(at), took, 1);
            response.record(took);
        }
        let report = serde_json::json!({ "response_us": response.summary(), "load": { "rate": 1000 } });
        saved(report, batch_means, &response)
    }

    /// Within-run intervals are wide enough for what varies within a run: of `pairs` of runs, the second slower by
    /// `factor`, in how many the interval of each figure excludes 1.
    fn excluding(pairs: u64, factor: f64) -> BTreeMap<&'static str, u64> {
        let mut found = BTreeMap::new();
        for pair in 0..pairs {
            let (then, now) = (drifting(2 * pair, 1000.0), drifting(2 * pair + 1, 1000.0 * factor));
            for ratio in compare(&[now], &[then], false, "b".into(), &[]).ratios {
                let excludes_1 =
                    ratio.interval.is_some_and(|interval| interval.low > 1.0 || interval.high < 1.0);
                *found.entry(ratio.figure).or_default() += u64::from(excludes_1);
            }
        }
        found
    }

    /// Equal runs should differ in 5 % of all pairs. The test allows 12 %, because 60 pairs, and intervals from twenty
    /// groups, are no more precise. Of 200 pairs it is 6 % at p50 and p90, 5 % at p95 and 2.5 % at p99; it would be 70,
    /// 62, 54 and 26 % if the effective sample size were that of the mean, which the outliers dominate.
    #[test]
    fn intervals_of_equal_runs_seldom_exclude_1() {
        let found = excluding(60, 1.0);
        for figure in ["mean", "p50", "p90", "p95", "p99"] {
            assert!(found[figure] * 100 <= 60 * 12, "{found:?}");
        }
    }

    /// The mean is left out: because of the outliers, its interval does not exclude 1 in every pair.
    #[test]
    fn intervals_of_runs_slower_by_5_percent_exclude_1() {
        let found = excluding(20, 1.05);
        for figure in ["p50", "p90", "p95", "p99"] {
            assert!(found[figure] * 100 >= 20 * 85, "{found:?}");
        }
    }

    /// Of 400 series of 10 runs, which differ from run to run by 3 % and whose figures move together, as rate and
    /// latencies do, any figure should differ significantly in 5 % at most; the limit allows for chance.
    #[test]
    fn equal_series_seldom_have_a_significant_figure() {
        let series = |seed: u64| -> Vec<SavedRun> {
            let mut random = RandomStream::new(seed, 0, 0);
            let mut noise = |share: f64| -> f64 {
                let normal: f64 = StandardNormal.sample(&mut random);
                share * normal
            };
            let mut run = || {
                let common = noise(0.03);
                let [mean, p50, p90, p95, p99, p999] =
                    [0.01, 0.01, 0.01, 0.02, 0.05, 0.2].map(|own| 1000.0 * (common + noise(own)).exp());
                let report = serde_json::json!({
                    "queries_per_second": 1e6 / mean,
                    "response_us": {
                        "mean": mean, "p50": p50, "p90": p90, "p95": p95, "p99": p99, "p999": p999
                    },
                });
                saved(report, BatchMeans::default(), &Latencies::default())
            };
            (0..10).map(|_| run()).collect()
        };
        for is_paired in [false, true] {
            let found = (0..400).filter(|pair| {
                let (now, then) = (series(2 * pair), series(2 * pair + 1));
                compare(&now, &then, is_paired, "b".into(), &[]).ratios.iter().any(|ratio| ratio.significant)
            });
            let found = found.count();
            assert!(found <= 28, "{found} of 400, paired: {is_paired}");
        }
    }

    #[test]
    fn different_settings_are_listed() {
        let (mut now, then) = (run(1, 1000.0), run(1, 1000.0));
        now.report["load"]["connections"] = 4.into();
        now.environment.cores += 1;
        let comparison = compare(&[now], &[then], false, "b".into(), &[]);
        assert_eq!(comparison.different_settings, ["connections 4 (baseline 1)", "client machine"]);
    }

    #[test]
    fn thresholds_are_parsed() {
        assert_eq!("slower:5%".parse::<Threshold>().unwrap().to_string(), "slower:5%");
        for wrong in ["slower", "slower:5", "faster:5%", "p99:-1%", "p99:%"] {
            assert!(wrong.parse::<Threshold>().is_err(), "{wrong}");
        }
    }
}
