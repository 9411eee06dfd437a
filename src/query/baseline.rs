//! Saved runs.

use std::path::Path;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use crate::document::{JsonDocument, SCHEMA, check_schema};
use crate::error::ErrorKind;
use crate::output_file::AtomicFile;
use crate::query::measure::batch_means::BatchMeans;
use crate::query::measure::latency::Latencies;
use crate::query::measure::run_stats::{RunStats, WorkloadStats};
use crate::query::report::RunReport;
use crate::{Error, Result};

/// A run in the form in which `--save` writes it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SavedRun {
    /// The version of the document's shape; 0 in files that were saved before documents had one.
    #[serde(default)]
    pub schema: u32,
    /// The version of the program that measured it.
    pub postgres_etl: String,
    /// When it was measured, in UTC.
    #[serde(rename = "kept_at")]
    pub saved_at: String,
    /// Where it was measured.
    pub environment: ClientMachine,
    /// Its report.
    #[cfg_attr(feature = "schema", schemars(with = "RunReport"))]
    pub report: Value,
    /// The data from which confidence intervals are computed, and figures merged.
    pub samples: Samples,
}

/// Saved runs of the same work: at least one, in the order in which they were made.
///
/// A single run is written as it is, and several as `{"runs": […]}`, both with the version of their shape.
#[derive(Debug, Clone)]
pub struct SavedRuns(Vec<SavedRun>);

/// The form in which runs are written.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(untagged)]
enum SavedForm<'a> {
    /// A single run, which has its own version.
    One(&'a SavedRun),
    /// Several runs.
    Several(JsonDocument<SeveralRuns<'a>>),
}

/// Several runs.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct SeveralRuns<'a> {
    /// The runs, in the order in which they were made.
    runs: &'a [SavedRun],
}

/// The file in which runs will be saved; it keeps its old content until all of them are written.
#[derive(Debug)]
pub struct SaveFile(AtomicFile);

impl SaveFile {
    /// Check that `path` can be written, before the runs that are to be saved there.
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

    /// Save `runs` there.
    ///
    /// # Errors
    /// [`ErrorKind::Output`] when it cannot be written.
    pub fn write(self, runs: &SavedRuns) -> Result<()> {
        let SaveFile(mut file) = self;
        serde_json::to_writer(&mut file, runs).map_err(|error| file.failed(error.into()))?;
        file.finish()
    }
}

/// The client's machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ClientMachine {
    /// The operating system and the architecture.
    pub system: String,
    /// The CPU cores that the program may use.
    pub cores: usize,
}

/// The data from which confidence intervals are computed, and figures merged.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Samples {
    /// The results in slices of time.
    #[serde(rename = "batches")]
    pub batch_means: BatchMeans,
    /// Each response time, in nanoseconds, and its count.
    pub response_ns: Histogram,
    /// The service times, as the response times; empty where the report has none, and so for the others.
    #[serde(default)]
    pub service_ns: Histogram,
    /// The waiting times.
    #[serde(default)]
    pub waiting_ns: Histogram,
    /// The times that the server took.
    #[serde(default)]
    pub server_ns: Histogram,
    /// The times of each workload; empty for a single statement, of which the other times are.
    #[serde(default)]
    pub workloads: Vec<WorkloadSamples>,
}

/// Each latency that occurs, in nanoseconds, and its count.
pub type Histogram = Vec<(u64, u64)>;

/// The times of a workload.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WorkloadSamples {
    /// Each response time, in nanoseconds, and its count.
    pub response_ns: Histogram,
    /// The times of each statement of a transaction, in the same form; empty for a single statement.
    pub statements_ns: Vec<Histogram>,
}

impl Samples {
    /// The samples of a run with these statistics.
    fn new(stats: &RunStats) -> Samples {
        let workload = |stats: &WorkloadStats| WorkloadSamples {
            response_ns: stats.response.counts(),
            statements_ns: stats.statements.iter().map(Latencies::counts).collect(),
        };
        Samples {
            batch_means: stats.batch_means.clone(),
            response_ns: stats.response.counts(),
            service_ns: stats.service.counts(),
            waiting_ns: stats.split.waiting.counts(),
            server_ns: stats.split.server.counts(),
            workloads: stats.workloads.iter().map(workload).collect(),
        }
    }
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

impl SavedRun {
    /// A run with this `report`, and the statistics from which it was made.
    pub(crate) fn new(report: &RunReport, stats: &RunStats) -> SavedRun {
        SavedRun {
            schema: SCHEMA,
            postgres_etl: env!("CARGO_PKG_VERSION").into(),
            saved_at: humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string(),
            environment: ClientMachine::this(),
            report: serde_json::to_value(report).expect("a report has only string keys and finite numbers"),
            samples: Samples::new(stats),
        }
    }

    /// The number at this JSON pointer in the report.
    pub(crate) fn figure(&self, pointer: &str) -> Option<f64> {
        self.report.pointer(pointer)?.as_f64()
    }
}

impl SavedRuns {
    /// These `runs`; `None` without any.
    pub fn new(runs: Vec<SavedRun>) -> Option<SavedRuns> {
        (!runs.is_empty()).then_some(SavedRuns(runs))
    }

    /// The runs, of which there is at least one.
    pub fn runs(&self) -> &[SavedRun] {
        &self.0
    }

    /// Read the runs saved at `path`.
    ///
    /// # Errors
    /// [`ErrorKind::Input`] when the file cannot be read, or does not hold saved runs.
    pub fn read(path: &Path) -> Result<SavedRuns> {
        let bytes = std::fs::read(path)
            .map_err(|error| Error::io(ErrorKind::Input, "read the saved run", path, error))
            .map_err(|error| error.with_help("check the path; query --save FILE makes such a file"))?;
        let refuse = |reason: &str| {
            Error::input(format!("{} is not a saved run: {reason}", path.display()))
                .with_help("make one: postgres-etl query --save FILE")
        };
        let document: Value = serde_json::from_slice(&bytes).map_err(|_| refuse("it is not JSON"))?;
        if let Some(other) = other_document(&document) {
            return Err(refuse(&other));
        }
        SavedRuns::from_document(document)
            .map_err(|error| refuse(&error.to_string()))?
            .ok_or_else(|| refuse("it has no runs"))
    }

    /// The runs in this `document`, if there are any.
    fn from_document(mut document: Value) -> serde_json::Result<Option<SavedRuns>> {
        check_schema(&document).map_err(serde::de::Error::custom)?;
        let runs = match document.get_mut("runs") {
            Some(runs) => serde_json::from_value(runs.take())?,
            None => vec![serde_json::from_value(document)?],
        };
        Ok(SavedRuns::new(runs))
    }
}

/// What this program wrote in `document`, in words, where that is no saved run.
fn other_document(document: &Value) -> Option<String> {
    let command = document.get("command")?.as_str()?;
    Some(match command {
        "load" => "it is the report of a load, as --receipt writes".to_owned(),
        "query" => "it is a report, as query --json prints; --save writes runs".to_owned(),
        command => format!("it is what {command} --json prints"),
    })
}

impl From<SavedRun> for SavedRuns {
    fn from(run: SavedRun) -> SavedRuns {
        SavedRuns(vec![run])
    }
}

impl Serialize for SavedRuns {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let form = match &self.0[..] {
            [run] => SavedForm::One(run),
            runs => SavedForm::Several(JsonDocument::new(SeveralRuns { runs })),
        };
        form.serialize(serializer)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for SavedRuns {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SavedRuns".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        SavedForm::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run as the version before several runs could be saved wrote it.
    const OLD: &str = r#"{"postgres_etl": "0.1.0", "kept_at": "2026-11-24T12:00:00Z",
        "environment": {"system": "linux x86_64", "cores": 2}, "report": {"queries_per_second": 7.5},
        "samples": {"batches": {"stretch_ms": 1, "stretches": []}, "response_ns": [[1000, 3]]}}"#;

    fn from_json(text: &str) -> serde_json::Result<Option<SavedRuns>> {
        SavedRuns::from_document(serde_json::from_str(text)?)
    }

    #[test]
    fn runs_are_read_as_they_were_saved() {
        let one = from_json(OLD).unwrap().unwrap();
        let run = &one.runs()[0];
        assert_eq!((one.runs().len(), run.figure("/queries_per_second")), (1, Some(7.5)));
        let three = SavedRuns::new(vec![run.clone(); 3]).unwrap();
        for (runs, count) in [(&one, 1), (&three, 3)] {
            let text = serde_json::to_string(runs).unwrap();
            let read = from_json(&text).unwrap().unwrap();
            assert_eq!(read.runs().len(), count);
            assert!(read.runs().iter().all(|run| run.samples.response_ns == [(1000, 3)]));
            assert_eq!(serde_json::to_string(&read).unwrap(), text);
        }
        // One run is written as it always was, and several with the version of their shape.
        let document: Value = serde_json::to_value(&one).unwrap();
        assert_eq!(document["report"]["queries_per_second"], 7.5);
        let document = serde_json::to_value(SavedRuns::new(vec![run.clone(); 2])).unwrap();
        assert_eq!(document["schema"], SCHEMA);
    }

    #[test]
    fn other_documents_are_no_runs() {
        assert!(from_json(r#"{"runs": []}"#).unwrap().is_none());
        let later = OLD.replacen('{', r#"{"schema": 2, "#, 1);
        for wrong in ["{}", "[]", "7", r#"{"runs": [{}]}"#, r#"{"runs": 7}"#, "{", &later] {
            assert!(from_json(wrong).is_err(), "{wrong}");
        }
    }
}
