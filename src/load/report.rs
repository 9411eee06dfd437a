//! The report of a load: what was read, what was loaded, and how.

use std::num::NonZero;

use serde::Serialize;

use crate::catalog::{Column, Table, TableDistribution};
use crate::csv::{Inputs, Syntax};
use crate::load::chunk::dates::AmbiguousDates;
use crate::load::chunk::findings::{FieldsWithStrayQuotes, TextFallback};
use crate::load::mapping::{ColumnMapping, MappedColumn, ValueFormat, ValueSource};
use crate::load::names::MadeName;
use crate::load::options::Mode;
use crate::load::replication::ReplicationReport;
use crate::load::run::commit::CommittedTransaction;
use crate::load::settings::LoadSettings;
use crate::load::table::infer::InferredColumn;
use crate::load::table::prepare::PreparedTable;
use crate::load::totals::LoadTotals;
use crate::postgres::server::ServerFacts;
use crate::postgres::server_messages::ServerWarnings;

/// The report of a load. Every record read was loaded, skipped or rejected: the counts add up, and the count of rows
/// loaded is the server's own. Units are in the names of the fields.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LoadReport {
    /// Always `load`.
    pub command: &'static str,
    /// How rows reached the server.
    pub mode: Mode,
    /// The table, as `schema.name` or `name`.
    pub table: String,
    /// The files, separated by commas.
    pub path: String,
    /// What became of the rows.
    pub outcome: Outcome,
    /// Whether all rows were committed as one.
    pub atomic: bool,
    /// The import that they are part of; `None` without an import ID. The other counts are those of this run.
    pub import: Option<ImportReport>,
    /// The transactions that were committed; empty where every row or chunk had its own.
    pub transactions: Vec<CommittedTransaction>,
    /// What the server warned of.
    pub warnings: ServerWarnings,
    /// How the standbys followed; `None` unless the load waited for them.
    pub replication: Option<ReplicationReport>,
    /// What failed after the commit, one message each; empty if nothing did.
    pub failed_afterwards: Vec<String>,
    /// Records in the files, without their headers.
    pub rows_read: u64,
    /// Records before the first one read, passed over because of `--skip-rows`.
    pub rows_passed_over: u64,
    /// The largest number of records to read; `None` for all.
    pub limit: Option<u64>,
    /// Rows that the server reports as inserted or updated.
    pub rows_loaded: u64,
    /// Rows inserted.
    pub rows_inserted: u64,
    /// Existing rows updated, as `--on-conflict update` asks for.
    pub rows_updated: u64,
    /// Records left out because their key already existed, as `--on-conflict skip` asks for.
    pub rows_skipped: u64,
    /// Records rejected and set aside.
    pub rows_rejected: u64,
    /// Records encoded, whether or not they were loaded.
    pub rows_encoded: u64,
    /// Records with too few fields, whose missing fields are NULL, as with `--pad`.
    pub rows_padded: u64,
    /// Bytes of the files as stored, that is, before decompression.
    pub bytes_read: u64,
    /// Time from the beginning of the transaction to the end of its commit.
    pub seconds: f64,
    /// `rows_loaded / seconds`.
    pub rows_per_second: f64,
    /// `bytes_read / seconds`.
    pub bytes_per_second: f64,
    /// The parts of `seconds`, and the time of ANALYZE.
    pub phases: Phases,
    /// Number of connections written over.
    pub connections: usize,
    /// Maximum number of INSERTs that shared a Sync.
    pub sync_every: NonZero<usize>,
    /// Why INSERTs went through the driver; `None` if they went over the lane beside it, which takes less of the client's CPU,
    /// and in modes `copy` and `null`. Rows that are tried one by one, to find those to reject, always go through the driver.
    pub through_driver: Option<&'static str>,
    /// Whether every row was committed separately.
    pub autocommit: bool,
    /// Whether everything was rolled back at the end because of `--dry-run`.
    pub dry_run: bool,
    /// Whether the table was emptied first.
    pub truncated: bool,
    /// Whether the table was created.
    pub created: bool,
    /// Whether the created table replaced another.
    pub replaced: bool,
    /// Whether the table is a view, whose INSTEAD OF trigger decides what is stored. `rows_loaded` counts the rows
    /// given to the trigger; in modes `rows` and `batch` it leaves out those for which the trigger returned NULL.
    pub into_view: bool,
    /// How Citus keeps the rows of the table; `None` if it does not.
    pub distribution: Option<TableDistribution>,
    /// Indexes dropped first and rebuilt after loading.
    pub indexes_deferred: Vec<String>,
    /// Why the indexes stayed in place, of an empty table or during an import; `None` if they were deferred, or were meant to
    /// stay.
    pub indexes_kept_because: Option<String>,
    /// Number of partitions that rows were sent to directly; `None` if the server found the partition of each row, or the table
    /// is not partitioned.
    pub partitions_written: Option<usize>,
    /// Why a load with `partitions = "auto"` into a partitioned table left it to the server to find the partition of each row;
    /// `None` if it did not, or was to do so.
    pub partitions_not_written_because: Option<String>,
    /// Format of the files.
    pub format: Syntax,
    /// Character encoding of the files, by its name in the WHATWG Encoding Standard, where `latin1` is windows-1252.
    pub encoding: &'static str,
    /// The files, with hashes of their contents.
    pub files: Vec<FileRead>,
    /// Every column that was loaded.
    pub columns: Vec<ColumnLoaded>,
    /// The session's `DateStyle`, by which the server reads a date such as `03/04/2021`; `None` without a server.
    pub date_style: Option<String>,
    /// Dates that another `DateStyle` would read differently; none if the load sets its own.
    pub ambiguous_dates: AmbiguousDates,
    /// Fields that contain quotes that do not enclose a value. The load removed these quotes, as `COPY` does, unless
    /// `--stray-quotes keep` was given.
    pub stray_quotes: FieldsWithStrayQuotes,
    /// Columns of the table that are not in the file and took their defaults.
    pub columns_defaulted: Vec<String>,
    /// Columns of the file that are not in the table and were ignored because of `--ignore-extra`.
    pub columns_ignored: Vec<String>,
    /// Columns of the file that are not loaded because of `--select`.
    pub columns_unselected: Vec<String>,
    /// Columns that are not in the file and were given a value.
    pub columns_added: Vec<ColumnAdded>,
    /// Fields whose names were replaced by valid column names, when this load or an earlier one created the table.
    pub names_made: Vec<MadeName>,
    /// Columns with an inferred type whose values PostgreSQL prints in another spelling, or that a single value made
    /// text.
    pub inferred: Vec<InferredColumn>,
    /// The `--on-conflict` action for existing keys; `None` if they were errors.
    pub on_conflict: Option<String>,
    /// Path of the file with the rejected records; `None` if none was rejected.
    pub rejects: Option<String>,
    /// Paths of the files with the rejected records of files that have their fields in another order.
    pub rejects_reordered: Vec<String>,
    /// Triggers before INSERT that may have left out some of the skipped rows: the server does not distinguish these
    /// rows from rows whose key existed.
    #[serde(rename = "swallowers")]
    pub skipping_triggers: Vec<String>,
    /// The server, and its settings that affect timings; `None` for a load without a server.
    pub server: Option<ServerFacts>,
}

/// An import, with the counts of all runs that have worked on it.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ImportReport {
    /// Its ID.
    pub id: String,
    /// The table of its committed chunks.
    pub ledger: String,
    /// Whether it was finished before this run, which then loaded nothing.
    pub was_finished: bool,
    /// Chunks.
    pub chunks: u64,
    /// Of these, chunks that this run has committed.
    pub chunks_loaded: u64,
    /// Records in all chunks.
    pub rows_read: u64,
    /// Rows that the server reported as inserted or updated.
    pub rows_loaded: u64,
    /// Records left out because their key already existed.
    pub rows_skipped: u64,
    /// Records rejected and set aside.
    pub rows_rejected: u64,
    /// How often this run tried something again, after a lost connection, a deadlock or a serialization failure.
    pub retries: u32,
}

/// What became of the rows of a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Outcome {
    /// All that were not rejected or skipped are committed.
    #[serde(rename = "committed")]
    Committed,
    /// Some are committed: those before the error, with `--autocommit`, or those of some of several connections.
    #[serde(rename = "partly committed")]
    PartlyCommitted,
    /// None is.
    #[serde(rename = "rolled back")]
    RolledBack,
    /// The answer to a COMMIT was lost.
    #[serde(rename = "unknown")]
    Unknown,
}

/// The time spent in each phase, in seconds. Reading and encoding run concurrently with writing.
#[derive(Debug, Clone, Copy, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Phases {
    /// Looking up the table, creating and truncating it, and dropping deferred indexes.
    pub prepare_seconds: f64,
    /// Reading, encoding and writing.
    pub write_seconds: f64,
    /// The part of `write_seconds` that the thread of the encoder, or that which reads for several, spent reading and decompressing.
    pub read_seconds: f64,
    /// The part of `write_seconds` that it spent splitting and encoding records; with several threads, their mean.
    pub encode_seconds: f64,
    /// The part of `write_seconds` from the moment when there were no more rows to send until the server had confirmed all of
    /// them; 0 for an import. What is left of `write_seconds` went to sending rows and waiting for the server to take them.
    pub confirm_seconds: f64,
    /// Rebuilding deferred indexes, checking deferred constraints, and replacing the old table by the new one.
    pub finish_seconds: f64,
    /// Committing.
    pub commit_seconds: f64,
    /// ANALYZE, which follows the commit and is not part of the load's `seconds`; 0 if it was not run.
    pub analyze_seconds: f64,
}

/// A file that was read.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FileRead {
    /// Its path, or `standard input`.
    pub path: String,
    /// Bytes read of it, as stored: its size, unless a limit ended the load.
    pub bytes: u64,
    /// SHA-256 of its bytes as stored, in hexadecimal; `None` if it was not read to its end because of a limit.
    pub sha256: Option<String>,
}

/// A column that was loaded.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ColumnLoaded {
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub type_name: String,
    /// `binary` if this program parsed its values, `text` if the server did.
    pub format: &'static str,
    /// Where the server took over parsing; `None` if one side parsed all values.
    pub text_from: Option<TextFallback>,
}

/// A column that is not in the file.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Serialize)]
pub struct ColumnAdded {
    /// Its name.
    pub name: String,
    /// What it was given: `@file`, `@line`, a constant, or the time of the load.
    pub value: String,
}

/// The columns of `mapping` that are not in the file.
fn added(mapping: &ColumnMapping) -> Vec<ColumnAdded> {
    let value = |mapped: &MappedColumn| match &mapped.source {
        ValueSource::Field(_) => None,
        ValueSource::File => Some("@file".to_owned()),
        ValueSource::Line => Some("@line".to_owned()),
        ValueSource::Constant(text) | ValueSource::Now(text) => {
            Some(String::from_utf8_lossy(text).into_owned())
        }
    };
    let added = |mapped| Some(ColumnAdded { value: value(mapped)?, name: mapped.column.name.clone() });
    mapping.columns.iter().filter_map(added).collect()
}

/// Build the report of a load of `inputs` that took `seconds`.
pub(crate) fn build(
    settings: &LoadSettings,
    inputs: &Inputs,
    prepared: &PreparedTable,
    totals: LoadTotals,
    (seconds, phases): (f64, Phases),
    server: Option<ServerFacts>,
) -> LoadReport {
    let PreparedTable { table, mapping, created, truncate, indexes, format, encoding } = prepared;
    let rows_loaded = totals.counts.inserted + totals.counts.updated;
    let bytes_read = inputs.consumed();
    LoadReport {
        command: "load",
        mode: settings.input.mode,
        table: table.name.to_string(),
        path: path(inputs),
        outcome: if settings.dry_run { Outcome::RolledBack } else { Outcome::Committed },
        atomic: true,
        import: None,
        transactions: Vec::new(),
        warnings: ServerWarnings::default(),
        replication: None,
        failed_afterwards: Vec::new(),
        rows_read: totals.read,
        rows_passed_over: inputs.passed_over(),
        limit: settings.input.format.limit,
        rows_loaded,
        rows_inserted: totals.counts.inserted,
        rows_updated: totals.counts.updated,
        rows_skipped: totals.skipped,
        rows_rejected: totals.rejected,
        rows_encoded: totals.encoded,
        rows_padded: totals.encoder.findings.padded,
        bytes_read,
        seconds,
        rows_per_second: rows_loaded as f64 / seconds,
        bytes_per_second: bytes_read as f64 / seconds,
        phases: Phases {
            read_seconds: totals.encoder.read_seconds,
            encode_seconds: totals.encoder.encode_seconds,
            confirm_seconds: if server.is_some() { totals.encoder.confirm_seconds } else { 0.0 },
            ..phases
        },
        connections: settings.connections,
        sync_every: settings.sync_every,
        through_driver: through_driver(settings.input.mode, server.as_ref()),
        autocommit: settings.autocommit,
        dry_run: settings.dry_run,
        truncated: *truncate,
        created: *created,
        replaced: false,
        into_view: table.is_view,
        distribution: table.distribution.clone(),
        indexes_deferred: indexes.deferred.clone(),
        indexes_kept_because: indexes.kept_because.clone(),
        partitions_written: totals.partitions.directly,
        partitions_not_written_because: totals.partitions.not_because,
        format: *format,
        encoding,
        files: files(inputs),
        columns: columns(mapping, settings.input.mode, &totals.encoder.findings.text_fallbacks),
        date_style: server.is_some().then(|| table.session.date_style.clone()),
        ambiguous_dates: totals.encoder.findings.ambiguous_dates,
        stray_quotes: totals.encoder.findings.stray_quotes,
        columns_defaulted: defaulted(table, mapping),
        columns_ignored: mapping.ignored.clone(),
        columns_unselected: mapping.unselected.clone(),
        columns_added: added(mapping),
        names_made: mapping.made_names.clone(),
        inferred: Vec::new(),
        on_conflict: settings.on_conflict.as_ref().map(ToString::to_string),
        rejects: totals.rejects.first().cloned(),
        rejects_reordered: totals.rejects.into_iter().skip(1).collect(),
        skipping_triggers: if totals.skipped > 0 { table.before_insert_triggers.clone() } else { Vec::new() },
        server,
    }
}

/// As [`LoadReport::through_driver`].
fn through_driver(mode: Mode, server: Option<&ServerFacts>) -> Option<&'static str> {
    let server = server.filter(|_| matches!(mode, Mode::Rows | Mode::Batch))?;
    let reasons = [
        (server.pooler, "connections go through a pooler"),
        (!server.named_statements, "statements have no names"),
    ];
    reasons.into_iter().find_map(|(applies, reason)| applies.then_some(reason))
}

/// Every column of `mapping`, and whether the server parsed its values in `mode`.
pub(crate) fn columns(
    mapping: &ColumnMapping,
    mode: Mode,
    text_fallbacks: &[TextFallback],
) -> Vec<ColumnLoaded> {
    let formats = mapping.formats(mode);
    let column = |(index, mapped): (usize, &MappedColumn)| {
        let own = text_fallbacks.iter().find(|fallback| fallback.index == index);
        // A COPY has one format for all columns.
        let text_from = own.or(text_fallbacks.first().filter(|_| mode == Mode::Copy));
        let text = formats[index] == ValueFormat::Text || text_from.is_some();
        ColumnLoaded {
            name: mapped.column.name.clone(),
            type_name: mapped.column.type_name.clone(),
            format: if text { "text" } else { "binary" },
            text_from: text_from.cloned(),
        }
    };
    mapping.columns.iter().enumerate().map(column).collect()
}

/// The columns of `table` that `mapping` leaves to their defaults.
pub(crate) fn defaulted(table: &Table, mapping: &ColumnMapping) -> Vec<String> {
    let is_defaulted = |column: &&Column| {
        !mapping.columns.is_empty()
            && !column.generated
            && !mapping.names().any(|name| name == column.name)
            && !mapping.unselected_columns.contains(&column.name)
    };
    table.columns.iter().filter(is_defaulted).map(|column| column.name.clone()).collect()
}

/// The files that were read.
pub(crate) fn files(inputs: &Inputs) -> Vec<FileRead> {
    let digests = inputs.digests().into_iter();
    digests.map(|(path, bytes, sha256)| FileRead { path, bytes, sha256 }).collect()
}

/// The names of the files, separated by commas.
pub(crate) fn path(inputs: &Inputs) -> String {
    inputs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
