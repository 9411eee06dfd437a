//! The JSON documents from which pages are made, recognised by their content.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::PathBuf;

use postgres_etl::csv::Inputs;
use postgres_etl::document::check_schema;
use postgres_etl::escape::escape;
use postgres_etl::postgres::Endpoint;
use postgres_etl::query::{RunReport, SavedRun};
use postgres_etl::{Error, ErrorKind, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::cli::bench::report::BenchReport;

/// A document, and what a page with several calls it.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    /// The name of its file, or of its command.
    pub(super) name: String,
    pub(super) content: Content,
}

/// The kinds of documents.
#[derive(Debug, Clone)]
pub(super) enum Content {
    Bench(Box<BenchReport>),
    Query(Box<QueryDocument>),
    Search(Box<SearchDocument>),
    Load(Box<LoadDocument>),
}

/// What a page needs of a run's report. A field that an older or newer version does not write is left out of the page.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct QueryDocument {
    #[serde(default)]
    pub interrupted: bool,
    pub ended_by: Option<String>,
    #[serde(default)]
    pub workloads: Vec<WorkloadPart>,
    pub queries: u64,
    pub errors: u64,
    pub seconds: f64,
    pub queries_per_second: f64,
    pub rate_interval: Option<Range>,
    pub response_us: Option<Percentiles>,
    pub service_us: Option<Percentiles>,
    pub waiting_us: Option<Percentiles>,
    pub server_us: Option<Percentiles>,
    #[serde(default)]
    pub series: Vec<SecondPart>,
    #[serde(default)]
    pub load: BTreeMap<String, Value>,
    pub bound: Option<BoundPart>,
    pub table: Option<TablePart>,
    /// The hosts over which connections were spread; `None` if all went to one host.
    pub hosts: Option<Vec<HostPart>>,
    #[serde(default)]
    pub server: BTreeMap<String, Value>,
    pub comparison: Option<ComparisonPart>,
    /// The runs of which this one has the median rate; `None` for a single run.
    #[serde(default, skip_deserializing)]
    pub series_of_runs: Option<RunsPart>,
    /// Of a saved run: each response time, in nanoseconds, and its count.
    #[serde(default, skip_deserializing)]
    pub response_ns: Vec<(u64, u64)>,
    /// Of a saved run: when it was measured.
    #[serde(default, skip_deserializing)]
    pub saved_at: Option<String>,
}

/// Several runs of the same work.
#[derive(Debug, Clone)]
pub(super) struct RunsPart {
    /// The runs, in the order in which they were made.
    pub runs: Vec<QueryDocument>,
    /// The number of runs that were requested; `None` in a file of saved runs.
    pub requested_runs: Option<u64>,
    /// The other side, with its name, with which they were interleaved.
    pub against: Option<(String, Vec<QueryDocument>)>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct WorkloadPart {
    pub name: String,
    #[serde(default)]
    pub statements: Vec<StatementPart>,
    #[serde(default)]
    pub answered: u64,
    #[serde(default)]
    pub errors: u64,
    pub response_us: Option<Percentiles>,
}

/// One of several hosts.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct HostPart {
    #[serde(flatten)]
    pub endpoint: Endpoint,
    pub role: Option<String>,
    pub queries: u64,
    pub errors: u64,
    pub queries_per_second: f64,
    pub response_us: Option<Percentiles>,
    pub lag: Option<LagPart>,
    pub bound: Option<BoundPart>,
    /// Why it was not used; `None` if it was.
    pub problem: Option<String>,
}

/// How far a standby was behind.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct LagPart {
    pub mean_seconds: f64,
    pub max_seconds: f64,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct StatementPart {
    pub sql: String,
}

/// Latencies in microseconds.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Percentiles {
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p95: f64,
    pub p99: f64,
    pub p999: f64,
    /// Documents of older versions have none.
    pub p9999: Option<f64>,
    pub max: f64,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct SecondPart {
    pub answered: u64,
    #[serde(default)]
    pub errors: u64,
    pub p99_us: Option<f64>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct BoundPart {
    pub sentence: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct TablePart {
    pub name: String,
    pub rows: u64,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Range {
    pub low: f64,
    pub high: f64,
}

/// A run compared with another, the baseline.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct ComparisonPart {
    pub baseline: String,
    /// What the intervals are derived from; older documents do not say.
    pub basis: Option<Basis>,
    #[serde(default)]
    pub runs: u64,
    #[serde(default)]
    pub baseline_runs: u64,
    #[serde(default)]
    pub different_settings: Vec<String>,
    #[serde(default)]
    pub ratios: Vec<RatioPart>,
}

/// What the intervals of a comparison are derived from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Basis {
    WithinRuns,
    BetweenRuns,
    Pairs,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct RatioPart {
    pub figure: String,
    pub baseline: f64,
    pub now: f64,
    pub ratio: f64,
    pub interval: Option<Range>,
    #[serde(default)]
    pub significant: bool,
}

/// What a page needs of a search's report.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct SearchDocument {
    pub search: String,
    #[serde(default)]
    pub workloads: Vec<String>,
    #[serde(default)]
    pub axes: Vec<AxisPart>,
    pub points: Vec<PointPart>,
    pub p99_bound_us: Option<f64>,
    pub highest_rate: Option<f64>,
    pub ended_by: Option<String>,
    pub table: Option<TablePart>,
    #[serde(default)]
    pub server: BTreeMap<String, Value>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct AxisPart {
    pub setting: String,
    pub values: Vec<f64>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct PointPart {
    pub connections: u64,
    pub pipeline_depth: u64,
    pub rate: Option<f64>,
    pub queries_per_second: f64,
    pub mean_us: Option<f64>,
    pub p99_us: Option<f64>,
    #[serde(default)]
    pub errors: u64,
    pub kept: Option<bool>,
    pub held: Option<bool>,
    #[serde(default)]
    pub bound: String,
}

/// What a page needs of a load's report.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct LoadDocument {
    pub mode: String,
    pub table: String,
    #[serde(default)]
    pub path: String,
    #[serde(default)]
    pub outcome: String,
    #[serde(default)]
    pub failed_afterwards: Vec<String>,
    pub rows_read: u64,
    pub rows_loaded: u64,
    #[serde(default)]
    pub rows_skipped: u64,
    #[serde(default)]
    pub rows_rejected: u64,
    #[serde(default)]
    pub rows_encoded: u64,
    pub bytes_read: Option<u64>,
    pub seconds: f64,
    pub phases: BTreeMap<String, f64>,
    pub connections: Option<u64>,
    #[serde(default)]
    pub autocommit: bool,
    #[serde(default)]
    pub dry_run: bool,
    #[serde(default)]
    pub indexes_deferred: Vec<String>,
    #[serde(default)]
    pub files: Vec<FilePart>,
    #[serde(default)]
    pub columns: Vec<ColumnPart>,
    #[serde(default)]
    pub server: Option<BTreeMap<String, Value>>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct FilePart {
    pub path: String,
    pub bytes: u64,
    pub sha256: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct ColumnPart {
    pub name: String,
    #[serde(rename = "type")]
    pub type_name: String,
    pub format: String,
}

impl Document {
    /// Read the documents in `names`, which are paths, patterns, or `-`. Compressed ones are decompressed.
    ///
    /// # Errors
    /// [`ErrorKind::Input`] when a file cannot be read, or is not one of the documents from which pages are made.
    pub(crate) fn read_all(names: &[PathBuf]) -> Result<Vec<Document>> {
        let inputs = Inputs::resolve(names)?;
        (0..inputs.iter().len()).map(|index| Document::read(&inputs, index)).collect()
    }

    fn read(inputs: &Inputs, index: usize) -> Result<Document> {
        let shown = escape(&inputs.name(index)).into_owned();
        let mut text = Vec::new();
        inputs.open(index)?.read_to_end(&mut text).map_err(|error| {
            Error::new(ErrorKind::Input, format!("failed to read the report {shown}: {error}"))
        })?;
        let help = "a page is made from what `bench --json`, `load --json`, `load --receipt`, `query --json` and \
                    `query --save` write";
        let value = serde_json::from_slice(&text).map_err(|error| {
            Error::input(format!("{shown} is not a JSON document: {error}")).with_help(help)
        })?;
        let content = Content::recognise(value)
            .map_err(|reason| Error::input(format!("{shown} {reason}")).with_help(help))?;
        let name = shown.rsplit('/').next().unwrap_or_default().to_owned();
        Ok(Document { name, content })
    }

    /// The comparison that it is; `None` for another report.
    pub(crate) fn comparison(&self) -> Option<&BenchReport> {
        match &self.content {
            Content::Bench(report) => Some(report),
            _ => None,
        }
    }

    /// The document of a run, with every response time that `saved` has.
    pub(crate) fn from_run(report: &RunReport, saved: &SavedRun) -> Document {
        // The report of a saved run does not compare it with others.
        let whole = json!({ "kept_at": saved.saved_at, "report": report, "samples": saved.samples });
        Document::from_report(&whole)
    }

    /// The document that `report`, of `load` or of a search, is printed as.
    pub(crate) fn from_report(report: &impl Serialize) -> Document {
        let value = serde_json::to_value(report).expect("a report has only string keys and finite numbers");
        let name = value["command"].as_str().unwrap_or("query").to_owned();
        let content = Content::recognise(value).expect("a report of this version is recognised");
        Document { name, content }
    }
}

impl Content {
    /// The document in `value`, or why it is none, to be read after the name of the file.
    fn recognise(value: Value) -> Result<Content, String> {
        check_schema(&value)?;
        if value["samples"].is_object() && value["report"].is_object() {
            return saved_run(value).map(|run| Content::Query(Box::new(run)));
        }
        if let Some(runs) = value["runs"].as_array().filter(|runs| !runs.is_empty()) {
            return several_runs(&value, runs).map(|run| Content::Query(Box::new(run)));
        }
        let command = value["command"].as_str().map(str::to_owned);
        if let Some(message) = value.pointer("/error/message").and_then(Value::as_str) {
            return Err(format!("is the report of a failure: {message}"));
        }
        match command.as_deref() {
            Some("bench") => parse(value, "bench").map(Content::Bench),
            Some("query") if value["search"].is_string() => parse(value, "query").map(Content::Search),
            Some("query") => parse(value, "query").map(Content::Query),
            Some("load") => parse(value, "load").map(Content::Load),
            Some(other) => Err(format!("is a report of `{other}`, of which no page is made")),
            None => Err("is not a report of postgres-etl".to_owned()),
        }
    }
}

fn parse<T: DeserializeOwned>(value: Value, command: &str) -> Result<T, String> {
    serde_json::from_value(value).map_err(|error| format!("is not a complete report of `{command}`: {error}"))
}

/// Of the `runs` of the document `value`, saved or reported, the one with the median rate, with what is known of all.
fn several_runs(value: &Value, runs: &[Value]) -> Result<QueryDocument, String> {
    let part = |name: &str| value[name].clone();
    let runs = query_runs(runs)?;
    let against = match value["against"]["runs"].as_array() {
        Some(others) => {
            let name = value["against"]["name"].as_str().unwrap_or("the other side");
            Some((name.to_owned(), query_runs(others)?))
        }
        None => None,
    };
    let mut middle = middle_run(&runs).expect("there are runs").clone();
    middle.comparison = parse(part("comparison"), "query")?;
    middle.interrupted = value["interrupted"].as_bool().unwrap_or_default();
    middle.ended_by = value["ended_by"].as_str().map(str::to_owned);
    let requested_runs = value["requested_runs"].as_u64();
    middle.series_of_runs = Some(RunsPart { runs, requested_runs, against });
    Ok(middle)
}

fn query_runs(runs: &[Value]) -> Result<Vec<QueryDocument>, String> {
    let run = |run: &Value| {
        if run["report"].is_object() { saved_run(run.clone()) } else { parse(run.clone(), "query") }
    };
    runs.iter().map(run).collect()
}

/// The one of `runs` with the median rate; `None` without any.
pub(super) fn middle_run(runs: &[QueryDocument]) -> Option<&QueryDocument> {
    let mut runs: Vec<&QueryDocument> = runs.iter().collect();
    runs.sort_by(|a, b| a.queries_per_second.total_cmp(&b.queries_per_second));
    runs.get(runs.len() / 2).copied()
}

/// A saved run: its report, with every response time.
fn saved_run(mut value: Value) -> Result<QueryDocument, String> {
    let counts = value["samples"]["response_ns"].take();
    let mut run: QueryDocument = parse(value["report"].take(), "query")?;
    run.response_ns = serde_json::from_value(counts).unwrap_or_default();
    run.saved_at = value["kept_at"].as_str().map(str::to_owned);
    Ok(run)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(value: Value) -> String {
        Content::recognise(value).unwrap_err()
    }

    #[test]
    fn what_is_no_report_is_refused_with_a_reason() {
        assert_eq!(refusal(json!([])), "is not a report of postgres-etl");
        let later = refusal(json!({"command": "load", "schema": 2, "postgres_etl": "9.1.0"}));
        assert!(later.starts_with("was written by postgres-etl 9.1.0, with schema 2"), "{later}");
        assert_eq!(refusal(json!({"command": "check"})), "is a report of `check`, of which no page is made");
        let failed = json!({"command": "load", "error": {"message": "no such table"}});
        assert_eq!(refusal(failed), "is the report of a failure: no such table");
        let incomplete = refusal(json!({"command": "load"}));
        assert!(incomplete.starts_with("is not a complete report of `load`: missing field"), "{incomplete}");
        assert!(refusal(json!({"samples": {}, "report": {}})).contains("missing field"));
    }
}
