//! The metrics of a run in Prometheus's text format, as its textfile collectors read them.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use postgres_etl::output_file::{AtomicFile, check_regular};
use postgres_etl::query::{HostReport, LatencySummary, RunInProgress, RunMonitor, RunReport};
use postgres_etl::{Error, ErrorKind, Result};
use tokio::task::JoinHandle;

use crate::cli::render::units::queries_or_transactions;

/// The file that holds the metrics; a reader always finds a complete document in it.
#[derive(Debug)]
pub(crate) struct MetricsFile {
    path: PathBuf,
    /// Whether it holds metrics of this run.
    is_written: Arc<AtomicBool>,
}

/// Keeps the file up to date until it is dropped.
#[derive(Debug)]
pub(crate) struct MetricsUpdates(JoinHandle<()>);

const UPDATE_EVERY: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What all names begin with.
const PREFIX: &str = "postgres_etl_query_";

impl MetricsFile {
    /// Check that `path` can be written, before the run.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] when it is not a regular file, [`ErrorKind::Output`] when it cannot be written.
    pub(crate) fn open(path: PathBuf) -> Result<MetricsFile> {
        check_regular("--metrics-file", &path)?;
        AtomicFile::create("metrics", &path)?;
        Ok(MetricsFile { path, is_written: Arc::default() })
    }

    /// Write the metrics of the run that `monitor` shows, when it begins and every 10 s.
    pub(crate) fn update_from(&self, monitor: &Arc<RunMonitor>) -> MetricsUpdates {
        let (path, is_written, monitor) =
            (self.path.clone(), Arc::clone(&self.is_written), Arc::clone(monitor));
        MetricsUpdates(tokio::spawn(async move {
            let mut due = Instant::now();
            loop {
                if let Some(run) = monitor.current().filter(|run| run.is_measured && Instant::now() >= due) {
                    due = Instant::now() + UPDATE_EVERY;
                    // The final write reports what is wrong with the file. It is not synced to disk, which may be the
                    // disk of the server that is being measured.
                    let written =
                        write(&path, &RunMetrics::in_progress(&run).text()).and_then(AtomicFile::persist);
                    is_written.fetch_or(written.is_ok(), Relaxed);
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }))
    }

    /// Write the metrics of the complete run.
    ///
    /// # Errors
    /// [`ErrorKind::Output`] when they cannot be written.
    pub(crate) fn finish(self, report: &RunReport) -> Result<()> {
        write(&self.path, &RunMetrics::finished(report).text())
            .map_err(|error| Error::io(ErrorKind::Output, "write the metrics", &self.path, error))?
            .finish()
    }

    /// Remove the file if it shows this run, which has no result, as still going on.
    pub(crate) fn discard(self) {
        if self.is_written.load(Relaxed) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Drop for MetricsUpdates {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn write(path: &Path, text: &str) -> std::io::Result<AtomicFile> {
    let mut file = AtomicFile::open("metrics", path)?;
    file.write_all(text.as_bytes())?;
    Ok(file)
}

/// The figures of a run, complete or in progress.
struct RunMetrics<'a> {
    /// The names of its workloads.
    workload: String,
    /// Whether what is counted are transactions.
    counts_transactions: bool,
    seconds: f64,
    answered: u64,
    errors: u64,
    /// The response times of this many queries; `None` if there are none.
    response: Option<(LatencySummary, u64)>,
    /// The report; `None` while the run goes on.
    report: Option<&'a RunReport>,
}

impl RunMetrics<'_> {
    fn in_progress(run: &RunInProgress) -> RunMetrics<'static> {
        let seconds = run.timeline.seconds();
        RunMetrics {
            workload: run.name.clone(),
            counts_transactions: run.counts_transactions,
            seconds: run.started.elapsed().as_secs_f64(),
            answered: seconds.iter().map(|second| second.answered).sum(),
            errors: seconds.iter().map(|second| second.errors).sum(),
            response: run.timeline.response(),
            report: None,
        }
    }

    fn finished(report: &RunReport) -> RunMetrics<'_> {
        let names: Vec<&str> = report.workloads.iter().map(|workload| workload.name.as_str()).collect();
        let answered = report.queries - report.errors;
        RunMetrics {
            workload: names.join(", "),
            counts_transactions: report.workloads.iter().all(|workload| workload.is_transaction),
            seconds: report.seconds,
            answered,
            errors: report.errors,
            response: report.response_us.map(|response| (response, answered)),
            report: Some(report),
        }
    }

    /// The metrics in Prometheus's text format.
    fn text(&self) -> String {
        let mut text = MetricsText { workload: &self.workload, text: String::new() };
        let (_, many) = queries_or_transactions(self.counts_transactions);
        let initial = if self.counts_transactions { "Transactions" } else { "Queries" };
        let answered = format!("{initial} that succeeded.");
        let errors = format!("{initial} that failed.");
        let per_second = format!("Successful {many} per second since the run began.");
        text.metric(
            "info",
            "gauge",
            "The program that measures.",
            &[(&[("version", env!("CARGO_PKG_VERSION"))], 1.0)],
        );
        let is_running = if self.report.is_none() { 1.0 } else { 0.0 };
        text.metric("running", "gauge", "Whether the run still goes on.", &[(&[], is_running)]);
        text.metric(
            "elapsed_seconds",
            "gauge",
            "Time since the run began, or that it took.",
            &[(&[], self.seconds)],
        );
        text.metric("answered_total", "counter", &answered, &[(&[], self.answered as f64)]);
        text.metric("errors_total", "counter", &errors, &[(&[], self.errors as f64)]);
        let rate = self.answered as f64 / self.seconds.max(f64::MIN_POSITIVE);
        text.metric("per_second", "gauge", &per_second, &[(&[], rate)]);
        if let Some((latency, number)) = &self.response {
            text.response(latency, *number);
        }
        if let Some(report) = self.report {
            text.endings(report, initial);
        }
        text.text
    }
}

/// Labels besides the workload, and a value.
type Sample<'a> = (&'a [(&'a str, &'a str)], f64);

/// Metrics of `workload`, written one after another.
struct MetricsText<'a> {
    workload: &'a str,
    text: String,
}

impl MetricsText<'_> {
    /// Add what only a complete run tells, of what is called `initial` at the beginning of a sentence.
    fn endings(&mut self, report: &RunReport, initial: &str) {
        let retried = format!("{initial} sent again after a serialization failure or a deadlock.");
        self.metric("retries_total", "counter", &retried, &[(&[], report.retries as f64)]);
        let reconnections = report.reconnections as f64;
        self.metric(
            "reconnections_total",
            "counter",
            "Lost connections that were replaced.",
            &[(&[], reconnections)],
        );
        let labels: Vec<[(&str, &str); 1]> =
            report.errors_by_sqlstate.keys().map(|code| [("sqlstate", code.as_str())]).collect();
        let counts = report.errors_by_sqlstate.values().map(|error| error.count as f64);
        let samples: Vec<Sample<'_>> = labels.iter().map(|label| &label[..]).zip(counts).collect();
        self.metric(
            "errors_by_sqlstate_total",
            "counter",
            &format!("{initial} that failed, by SQLSTATE."),
            &samples,
        );
        self.hosts(report.hosts.as_deref().unwrap_or_default(), initial);
    }

    /// Add what is known of each of the `hosts` that were used.
    fn hosts(&mut self, hosts: &[HostReport], initial: &str) {
        let used = || hosts.iter().filter(|host| host.problem.is_none());
        let labels: Vec<[(&str, String); 1]> = used().map(|host| [("host", host.endpoint())]).collect();
        let labels: Vec<[(&str, &str); 1]> =
            labels.iter().map(|[(name, host)]| [(*name, host.as_str())]).collect();
        let mut metric = |name: &str, kind: &str, help: &str, value: &dyn Fn(&HostReport) -> Option<f64>| {
            let samples = labels.iter().zip(used());
            let samples = samples.filter_map(|(label, host)| Some((&label[..], value(host)?)));
            self.metric(name, kind, help, &samples.collect::<Vec<_>>());
        };
        metric("host_answered_total", "counter", &format!("{initial} that succeeded, by host."), &|host| {
            Some((host.queries - host.errors) as f64)
        });
        metric("host_errors_total", "counter", &format!("{initial} that failed, by host."), &|host| {
            Some(host.errors as f64)
        });
        metric(
            "host_response_seconds_p99",
            "gauge",
            "99th percentile of the response times, by host.",
            &|host| Some(host.response_us?.p99 / 1e6),
        );
        metric("host_lag_seconds_max", "gauge", "How far a standby was behind at most.", &|host| {
            Some(host.lag?.max_seconds)
        });
    }

    /// Add a metric of a kind and its samples; nothing if there are none.
    fn metric(&mut self, name: &str, kind: &str, help: &str, samples: &[Sample<'_>]) {
        if !samples.is_empty() {
            self.head(name, kind, help);
        }
        for (labels, value) in samples {
            self.sample(name, labels, *value);
        }
    }

    /// Add the response times as a summary.
    fn response(&mut self, latency: &LatencySummary, number: u64) {
        let name = "response_seconds";
        self.head(name, "summary", "Response times since the run began, exact to 1 % while it goes on.");
        let LatencySummary { p25, p50, p75, p90, p95, p99, p999, max, .. } = *latency;
        for (quantile, micros) in [
            ("0.25", p25),
            ("0.5", p50),
            ("0.75", p75),
            ("0.9", p90),
            ("0.95", p95),
            ("0.99", p99),
            ("0.999", p999),
            ("1", max),
        ] {
            self.sample(name, &[("quantile", quantile)], micros / 1e6);
        }
        self.sample("response_seconds_sum", &[], latency.mean / 1e6 * number as f64);
        self.sample("response_seconds_count", &[], number as f64);
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.text += &format!("# HELP {PREFIX}{name} {help}\n# TYPE {PREFIX}{name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let all = [("workload", self.workload)].into_iter().chain(labels.iter().copied());
        let labels: Vec<String> = all.map(|(name, value)| format!("{name}=\"{}\"", escape(value))).collect();
        self.text += &format!("{PREFIX}{name}{{{}}} {value}\n", labels.join(","));
    }
}

/// The value of a label, as the format escapes it.
fn escape(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_as_prometheus_reads_it() {
        let latency = LatencySummary {
            mean: 2000.0,
            mean_interval: None,
            p25: 500.0,
            p50: 1000.0,
            p75: 1500.0,
            p90: 2000.0,
            p95: 3000.0,
            p99: 4000.0,
            p999: 5000.0,
            p9999: 5500.0,
            max: 6000.5,
        };
        let (workload, response) = ("a \"b\"\\\n".to_owned(), Some((latency, 30)));
        let run = RunMetrics {
            workload,
            counts_transactions: true,
            seconds: 12.5,
            answered: 30,
            errors: 2,
            response,
            report: None,
        };
        let text = run.text();
        for head in [
            "# HELP postgres_etl_query_answered_total Transactions that succeeded.\n",
            "# TYPE postgres_etl_query_answered_total counter\n",
        ] {
            assert!(text.contains(head), "{text}");
        }
        for line in [
            r#"postgres_etl_query_running{workload="a \"b\"\\\n"} 1"#,
            r#"postgres_etl_query_per_second{workload="a \"b\"\\\n"} 2.4"#,
            r#"postgres_etl_query_response_seconds{workload="a \"b\"\\\n",quantile="1"} 0.0060005"#,
            r#"postgres_etl_query_response_seconds_sum{workload="a \"b\"\\\n"} 0.06"#,
            r#"postgres_etl_query_response_seconds_count{workload="a \"b\"\\\n"} 30"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in {text}");
        }
    }
}
