//! The document that `bench` writes, and from which tables and pages are made.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A whole comparison.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct BenchReport {
    /// Always `bench`.
    pub command: String,
    /// The version of the program that wrote the document.
    pub version: String,
    /// When it began, in UTC: `2026-01-31T12:00:00Z`.
    pub started_at: String,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// The seed of the order of runs, and of the questions.
    pub seed: u64,
    /// Measured runs of each contender in each section, after one warm-up.
    pub runs: usize,
    /// The machine of the client.
    pub machine: Machine,
    /// The server's version and settings, by name.
    #[serde(default)]
    pub server: BTreeMap<String, String>,
    /// Everyone who took part, and everyone who is missing.
    pub contenders: Vec<ContenderInfo>,
    /// What was compared.
    pub sections: Vec<Section>,
    /// Why it ended early; `None` if it did not.
    pub ended_by: Option<String>,
    /// Whether it ended because the server refused the connection or was lost.
    #[serde(default)]
    pub lost_server: bool,
}

impl BenchReport {
    /// The contender `name`.
    pub(crate) fn info(&self, name: &str) -> Option<&ContenderInfo> {
        self.contenders.iter().find(|contender| contender.name == name)
    }

    /// What the contender `name` is called.
    pub(crate) fn title_of<'a>(&'a self, name: &'a str) -> &'a str {
        self.info(name).map_or(name, |contender| &contender.title)
    }

    /// What the contender of `result` is called, with the setting that it chose.
    pub(crate) fn name_of(&self, result: &ContenderResult) -> String {
        let title = self.title_of(&result.contender);
        match result.setting {
            None => title.to_owned(),
            Some((connections, depth)) => format!("{title}, {connections} × {depth}"),
        }
    }
}

impl Section {
    /// Whether there is a ratio to the baseline.
    pub(crate) fn has_ratios(&self) -> bool {
        self.results.iter().any(|result| result.ratio.is_some())
    }
}

/// The machine.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Machine {
    /// The processor's name.
    pub processor: String,
    /// Number of its cores.
    pub cores: usize,
    /// Main memory in bytes; `None` where the system does not tell.
    pub memory_bytes: Option<u64>,
    /// The kernel's name and release.
    pub kernel: String,
    /// The governor of the processor's frequency; `None` where the system does not tell, as in most virtual machines.
    pub governor: Option<String>,
    /// The mean number of runnable processes in the minute before the comparison began; `None` where the system does not
    /// tell.
    pub load_average: Option<f64>,
}

/// A way to do the work: one of this program's, or a peer.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ContenderInfo {
    /// Its short name, as in `--only`: `copy`, `psql-copy`.
    pub name: String,
    /// What the tables call it.
    pub title: String,
    /// The versions of its programs and libraries; empty for this program's own ways.
    pub version: String,
    /// How it does the work, in short.
    pub terms: String,
    /// The terms on which it works, one by one; `None` in older documents, which have only `terms`.
    pub fairness: Option<Fairness>,
    /// Whether it is one of this program's ways.
    pub is_ours: bool,
    /// Whether it has no client, so that it is no contender, but the limit of all of them.
    #[serde(default)]
    pub is_limit: bool,
    /// Why it did not take part; `None` if it did.
    pub missing: Option<String>,
}

/// The terms on which a contender works, by which it may be better or worse off than the others.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Fairness {
    /// How many connections it uses, and how.
    pub connections: String,
    /// What a transaction holds.
    pub transactions: String,
    /// What a commit waits for, and whether the table is logged.
    pub durability: String,
    /// What becomes of the table's index, or which index is used.
    pub indexes: String,
}

/// The contenders, without a comparison.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct ContendersReport {
    /// Always `bench`.
    pub command: &'static str,
    /// Everyone who can take part, and everyone who is missing.
    pub contenders: Vec<ContenderInfo>,
}

/// Work that several contenders do.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Section {
    /// `load` or `query`.
    pub kind: String,
    /// What is done: `load 100,000 rows`, `by-id, 4 connections`.
    pub title: String,
    /// Rows of the table.
    pub rows: u64,
    /// Connections of the client, for queries.
    pub connections: Option<usize>,
    /// Queries in flight on each connection, for queries.
    pub pipeline_depth: Option<usize>,
    /// The contender to which the others are compared, by name.
    pub baseline: String,
    /// Why it is not the contender that was asked for, or why there are no ratios; `None` if neither is so.
    pub baseline_note: Option<String>,
    /// The number of ratios whose intervals hold together with 95 % confidence; `None` if each holds by itself, as in
    /// older documents.
    pub comparisons: Option<usize>,
    /// The contenders that have fewer runs than requested, because the comparison ended early.
    #[serde(default)]
    pub unfinished: Vec<Unfinished>,
    /// The short names of the contenders that were not measured, because this number of rows would take too long.
    #[serde(default)]
    pub too_slow: Vec<String>,
    /// The results, the fastest first.
    pub results: Vec<ContenderResult>,
}

/// A contender whose runs the end of the comparison cut short.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Unfinished {
    /// Its short name.
    pub contender: String,
    /// Its measured runs.
    pub runs: usize,
    /// The runs that were to be measured.
    pub requested_runs: usize,
}

/// The runs of a contender in a section.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ContenderResult {
    /// Its short name.
    pub contender: String,
    /// The connections, and queries in flight on each, with which the contender was fastest in the warm-up; `None`
    /// where the section fixes them.
    #[serde(default)]
    pub setting: Option<(usize, usize)>,
    /// Its measured runs, in the order in which they ran.
    pub runs: Vec<Run>,
    /// Rows or queries per second: the median of the runs, the least and the most; `None` without runs.
    pub rate: Option<Spread>,
    /// The rate divided by that of the baseline: the geometric mean of the ratios of all rounds. `None` for the baseline
    /// itself, and without runs of both.
    pub ratio: Option<f64>,
    /// The confidence interval of the ratio: by Student's t of the logarithms of the rounds' ratios, so wide that with
    /// 95 % all intervals of the section hold (Bonferroni). `None` with fewer than 3 rounds.
    pub ratio_interval: Option<(f64, f64)>,
    /// Why it failed, or that it left a wrong table or gave wrong answers; `None` if all is well.
    pub failed: Option<String>,
}

/// The median, the least and the most of some runs.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Spread {
    /// The median.
    pub median: f64,
    /// The minimum.
    pub min: f64,
    /// The maximum.
    pub max: f64,
}

/// One run.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Run {
    /// Wall time of the work, in seconds: of the whole command for a load.
    pub seconds: f64,
    /// Rows or queries per second.
    pub rate: f64,
    /// Bytes of CSV per second; `None` for queries.
    pub bytes_per_second: Option<f64>,
    /// User and system time of the client's process and its children, in seconds; `None` where the system does not tell.
    pub client_cpu_seconds: Option<f64>,
    /// CPU time of the server's processes, in seconds; `None` where the system does not tell.
    pub server_cpu_seconds: Option<f64>,
    /// Peak resident memory of the client, in bytes; `None` where the system does not tell.
    pub client_peak_bytes: Option<u64>,
    /// Peak resident memory of the largest server process, in bytes; `None` where the system does not tell.
    pub server_peak_bytes: Option<u64>,
    /// Bytes of write-ahead log; `None` in documents that do not tell.
    pub wal_bytes: Option<u64>,
    /// Where the time of a load went, in seconds, for this program's own ways: `prepare`, `write`, its parts `read`, `encode`
    /// and `confirm`, `finish`, `commit`, `analyze`; as in the report of a load.
    #[serde(default)]
    pub phases: BTreeMap<String, f64>,
    /// Latency percentiles in microseconds, for queries: `p50`, `p90`, `p95`, `p99`, `p99.9` and `p99.99`, without those
    /// that fewer than 5 queries exceed; empty where the contender does not report them.
    #[serde(default)]
    pub latency_us: BTreeMap<String, f64>,
}
