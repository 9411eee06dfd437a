//! Saved runs, and the comparison of a run with one of them.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::ErrorKind;
use crate::output_file::AtomicFile;
use crate::query::measure::batch_means::{BatchMeans, Interval};
use crate::query::measure::latency::Latencies;
use crate::query::report::{Comparison, Ratio, RunReport};
use crate::{Error, Result};

/// A run in the form in which `--save` writes it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SavedRun {
    /// The version of the program that measured it.
    pub postgres_etl: String,
    /// When it was measured, in UTC.
    #[serde(rename = "kept_at")]
    pub saved_at: String,
    /// Where it was measured.
    pub environment: ClientMachine,
    /// Its report.
    pub report: Value,
    /// The data from which confidence intervals are computed.
    pub samples: Samples,
}

/// The file in which a run will be saved; it keeps its old content until the whole run is written.
#[derive(Debug)]
pub struct SaveFile(AtomicFile);

impl SaveFile {
    /// Check that `path` can be written, before the run that is to be saved there.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] when it is not a regular file, [`ErrorKind::Output`] when it cannot be written.
    pub fn open(path: &Path) -> Result<Self> {
        // These lead to the targets of redirections, which must not be replaced.
        let streams = ["/dev/stdin", "/dev/stdout", "/dev/stderr", "/dev/fd", "/proc"];
        if streams.iter().any(|stream| path.starts_with(stream))
            || path.metadata().is_ok_and(|file| !file.is_file())
        {
            return Err(Error::usage(format!("--save: {} is not a regular file", path.display()))
                .with_help("choose another file"));
        }
        AtomicFile::create_private("saved run", path).map(SaveFile)
    }

    /// Save `run` there.
    ///
    /// # Errors
    /// [`ErrorKind::Output`] when it cannot be written.
    pub fn write(self, run: &SavedRun) -> Result<()> {
        let SaveFile(mut file) = self;
        serde_json::to_writer(&mut file, run).map_err(|error| file.failed(error.into()))?;
        file.finish()
    }
}

/// The client's machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClientMachine {
    /// The operating system and the architecture.
    pub system: String,
    /// The CPU cores that the program may use.
    pub cores: usize,
}

/// The data from which confidence intervals are computed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Samples {
    /// The results in slices of time.
    #[serde(rename = "batches")]
    pub batch_means: BatchMeans,
    /// Each response time, in nanoseconds, and its count.
    pub response_ns: Vec<(u64, u64)>,
}

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

impl ClientMachine {
    /// This machine.
    pub fn this() -> ClientMachine {
        ClientMachine {
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        }
    }
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

impl SavedRun {
    /// A run with this `report`, and the data behind its figures.
    pub(crate) fn new(report: &RunReport, batch_means: &BatchMeans, response: &Latencies) -> SavedRun {
        SavedRun {
            postgres_etl: env!("CARGO_PKG_VERSION").into(),
            saved_at: humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string(),
            environment: ClientMachine::this(),
            report: serde_json::to_value(report).expect("a report has only string keys and finite numbers"),
            samples: Samples { batch_means: batch_means.clone(), response_ns: response.counts() },
        }
    }

    /// Read the run saved at `path`.
    ///
    /// # Errors
    /// [`ErrorKind::Input`] when the file cannot be read, or is not a saved run.
    pub fn read(path: &Path) -> Result<SavedRun> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Error::io(ErrorKind::Input, "read the baseline", path, error))?;
        serde_json::from_str(&text).map_err(|error| {
            Error::input(format!("{} is not a saved run: {error}", path.display()))
                .with_help("make one: postgres-etl query --save FILE")
        })
    }

    /// The number at this JSON pointer in the report.
    fn figure(&self, path: &str) -> Option<f64> {
        self.report.pointer(path)?.as_f64()
    }

    /// Compare this run with `baseline`, which was read from `path`.
    pub fn against(&self, baseline: &SavedRun, path: &Path, thresholds: &[Threshold]) -> Comparison {
        let mut ratios = Vec::new();
        let mut push = |figure, pointer: &str, width: &dyn Fn(&SavedRun, f64) -> Option<f64>| {
            let (Some(then), Some(now)) = (baseline.figure(pointer), self.figure(pointer)) else { return };
            if then <= 0.0 || now <= 0.0 {
                return;
            }
            let ratio = now / then;
            let width = width(baseline, then).zip(width(self, now)).map(|(a, b)| a.hypot(b).exp());
            let interval = width.map(|width| Interval { low: ratio / width, high: ratio * width });
            let significant = interval.is_some_and(|interval| interval.low > 1.0 || interval.high < 1.0);
            ratios.push(Ratio { figure, baseline: then, now, ratio, interval, significant });
        };
        push("rate", "/queries_per_second", &|saved, rate| saved.samples.rate_width(rate));
        push("mean", "/response_us/mean", &|saved, mean| saved.samples.mean_width(mean));
        for (figure, pointer, quantile) in [
            ("p50", "/response_us/p50", 0.5),
            ("p90", "/response_us/p90", 0.9),
            ("p95", "/response_us/p95", 0.95),
            ("p99", "/response_us/p99", 0.99),
            ("p99.9", "/response_us/p999", 0.999),
        ] {
            push(figure, pointer, &|saved, _| {
                let latencies = Latencies::from_counts(&saved.samples.response_ns);
                saved.samples.quantile_width(&latencies, quantile)
            });
        }
        let failures = thresholds.iter().filter_map(|threshold| threshold.failure(&ratios, self)).collect();
        Comparison {
            baseline: path.display().to_string(),
            different_settings: self.different_settings(baseline),
            ratios,
            failures,
        }
    }

    /// What differs between the two runs and may explain a difference between their figures.
    fn different_settings(&self, baseline: &SavedRun) -> Vec<String> {
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
            let keys = self.report[section].as_object().into_iter().flat_map(Map::keys);
            for key in keys {
                let pointer = format!("/{section}/{key}");
                // A version that saved less knew nothing of it.
                if let Some(then) = baseline.report.pointer(&pointer) {
                    compare(key, self.report.pointer(&pointer), Some(then));
                }
            }
        }
        compare("rows", self.report.pointer("/table/rows"), baseline.report.pointer("/table/rows"));
        for (what, is_different) in [
            ("statements", self.of_statements("sql") != baseline.of_statements("sql")),
            ("argument sources", self.of_statements("args") != baseline.of_statements("args")),
            ("workload weights", self.weights() != baseline.weights()),
            ("client machine", self.environment != baseline.environment),
        ] {
            if is_different {
                different.push(what.into());
            }
        }
        different
    }

    fn workloads(&self) -> impl Iterator<Item = &Value> {
        self.report["workloads"].as_array().into_iter().flatten()
    }

    /// The value of `key` of each statement of each workload.
    fn of_statements(&self, key: &str) -> Vec<&Value> {
        let statements =
            self.workloads().flat_map(|workload| workload["statements"].as_array().into_iter().flatten());
        statements.map(|statement| &statement[key]).collect()
    }

    fn weights(&self) -> Vec<&Value> {
        self.workloads().map(|workload| &workload["weight"]).collect()
    }
}

impl Threshold {
    /// Why `run` fails the threshold: the figure is significantly worse, and by more than this, or cannot be judged.
    /// `None` if it passes.
    fn failure(self, ratios: &[Ratio], run: &SavedRun) -> Option<String> {
        let is_open = !run.report.pointer("/load/rate").is_none_or(Value::is_null);
        let figure = match (self.figure, is_open) {
            (Figure::Slower, false) => "rate",
            (Figure::Slower, true) => "mean",
            (Figure::P99, _) => "p99",
        };
        let Some(found) = ratios.iter().find(|ratio| ratio.figure == figure && ratio.interval.is_some())
        else {
            return Some(format!(
                "--fail-if {self} cannot be judged: there is not enough data on the {figure}"
            ));
        };
        let worse = if figure == "rate" { 1.0 - found.ratio } else { found.ratio - 1.0 } * 100.0;
        (found.significant && worse > self.percent).then(|| {
            format!("{figure} is {worse:.1} % worse than the baseline, more than --fail-if {self} allows")
        })
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
    use crate::query::workload::random::RandomStream;

    /// A run of `seconds` with one query in flight, each of which took `micros` ± 20 %.
    fn run(seconds: u64, micros: f64) -> SavedRun {
        let (mut batch_means, mut response) = (BatchMeans::default(), Latencies::default());
        let mut random = RandomStream::new(micros as u64, 0, 0);
        let (mut at, mut count) = (0.0, 0);
        while at < seconds as f64 {
            let took = micros / 1e6 * (0.8 + 0.4 * random.fraction());
            at += took;
            count += 1;
            batch_means.record(Duration::from_secs_f64(at), Duration::from_secs_f64(took));
            response.record(Duration::from_secs_f64(took));
        }
        let summary = response.summary();
        let report = serde_json::json!({
            "queries_per_second": f64::from(count) / at,
            "response_us": summary,
            "load": { "rate": null, "connections": 1 },
        });
        let samples = Samples { batch_means, response_ns: response.counts() };
        let environment = ClientMachine::this();
        SavedRun { postgres_etl: String::new(), saved_at: String::new(), environment, report, samples }
    }

    fn failures(now: &SavedRun, then: &SavedRun, threshold: &str) -> Vec<String> {
        now.against(then, Path::new("b"), &[threshold.parse().unwrap()]).failures
    }

    #[test]
    fn a_significantly_slower_run_fails() {
        let (then, slower) = (run(4, 1000.0), run(4, 1100.0));
        let comparison = slower.against(&then, Path::new("b"), &[]);
        assert!(comparison.different_settings.is_empty());
        for ratio in &comparison.ratios {
            let expected = if ratio.figure == "rate" { 1.0 / 1.1 } else { 1.1 };
            assert!((ratio.ratio - expected).abs() < 0.02, "{ratio:?}");
            // A few thousand results are not enough data on the 99.9th percentile.
            assert_eq!(ratio.significant, ratio.figure != "p99.9", "{ratio:?}");
        }
        assert_eq!(failures(&slower, &then, "slower:5%").len(), 1);
        assert_eq!(failures(&slower, &then, "p99:5%").len(), 1);
        assert!(failures(&slower, &then, "slower:20%").is_empty());
        assert!(failures(&then, &slower, "slower:5%").is_empty(), "it is faster");
    }

    #[test]
    fn a_difference_that_may_be_noise_does_not_fail() {
        let short = |micros| {
            let mut run = run(1, micros);
            // As if each tenth of the run had been on another machine.
            run.samples.batch_means = BatchMeans::default();
            for at in 0..1000 {
                let swing = if at / 100 % 2 == 0 { 0.5 } else { 1.5 };
                run.samples
                    .batch_means
                    .record(Duration::from_millis(at), Duration::from_secs_f64(micros * swing / 1e6));
            }
            run
        };
        let (then, slower) = (short(1000.0), short(1100.0));
        let comparison = slower.against(&then, Path::new("b"), &["p99:5%".parse().unwrap()]);
        let mean = comparison.ratios.iter().find(|ratio| ratio.figure == "mean").unwrap();
        assert!(!mean.significant, "{mean:?}");
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
            batch_means.record(Duration::from_millis(at), took);
            response.record(took);
        }
        let report = serde_json::json!({ "response_us": response.summary(), "load": { "rate": 1000 } });
        let samples = Samples { batch_means, response_ns: response.counts() };
        SavedRun {
            postgres_etl: String::new(),
            saved_at: String::new(),
            environment: ClientMachine::this(),
            report,
            samples,
        }
    }

    /// In how many of `pairs` runs, of which the second is slower by `factor`, each figure differs significantly.
    fn significant(pairs: u64, factor: f64) -> BTreeMap<&'static str, u64> {
        let mut found = BTreeMap::new();
        for pair in 0..pairs {
            let (then, now) = (drifting(2 * pair, 1000.0), drifting(2 * pair + 1, 1000.0 * factor));
            for ratio in now.against(&then, Path::new("b"), &[]).ratios {
                *found.entry(ratio.figure).or_default() += u64::from(ratio.significant);
            }
        }
        found
    }

    /// Equal runs should differ significantly in 5 % of all pairs. The test allows 12 %, because 60 pairs, and
    /// intervals from twenty groups, are no more precise. Of 200 pairs it is 6 % at p50 and p90, 5 % at p95 and 2.5 %
    /// at p99; it would be 70, 62, 54 and 26 % if the effective sample size were that of the mean, which the outliers
    /// dominate.
    #[test]
    fn equal_runs_seldom_differ_significantly() {
        let found = significant(60, 1.0);
        for figure in ["mean", "p50", "p90", "p95", "p99"] {
            assert!(found[figure] * 100 <= 60 * 12, "{found:?}");
        }
    }

    /// The mean is left out: because of the outliers, it does not differ significantly in every pair.
    #[test]
    fn runs_slower_by_5_percent_differ_significantly() {
        let found = significant(20, 1.05);
        for figure in ["p50", "p90", "p95", "p99"] {
            assert!(found[figure] * 100 >= 20 * 85, "{found:?}");
        }
    }

    #[test]
    fn different_settings_are_listed() {
        let (mut now, then) = (run(1, 1000.0), run(1, 1000.0));
        now.report["load"]["connections"] = 4.into();
        now.environment.cores += 1;
        let comparison = now.against(&then, Path::new("b"), &[]);
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
