//! The receipt of a load: what was read, what became of it, and how that is known.

use crate::load::totals::LoadTotals;
use std::num::NonZero;

use serde::Serialize;

use crate::catalog::{Column, Table};
use crate::csv::Inputs;
use crate::load::chunk::encoder::TextFallback;
use crate::load::mapping::{ColumnMapping, ValueFormat};
use crate::load::options::Mode;
use crate::load::settings::LoadSettings;
use crate::load::table::prepare::Prepared;
use crate::postgres::server::ServerFacts;

/// What a load did. Every record that was read was loaded, rejected or skipped: the numbers add up, and those
/// of the rows loaded are the server's own.
#[derive(Debug, Clone, Serialize)]
pub struct LoadReport {
    /// `load`.
    pub command: &'static str,
    /// How it was written.
    pub mode: Mode,
    /// Where to.
    pub table: String,
    /// What was read.
    pub path: String,
    /// Records in the files, without their headers.
    pub rows_read: u64,
    /// Rows that the server says it inserted or updated.
    pub rows_loaded: u64,
    /// Those of them that are new.
    pub rows_inserted: u64,
    /// Those of them that were there, with another content; see `--on-conflict`.
    pub rows_updated: u64,
    /// Records whose key was there, and that were left out as asked for.
    pub rows_skipped: u64,
    /// Records that were refused, and set aside.
    pub rows_rejected: u64,
    /// Records that were encoded, whatever became of them then.
    pub rows_encoded: u64,
    /// Bytes of the files, as they are stored.
    pub bytes_read: u64,
    /// From opening the transaction to the end of its commit.
    pub seconds: f64,
    /// `rows_loaded / seconds`.
    pub rows_per_second: f64,
    /// `bytes_read / seconds`.
    pub bytes_per_second: f64,
    /// What the time was spent on.
    pub phases: Phases,
    /// Connections written over.
    pub connections: usize,
    /// INSERTs that shared a Sync, at most.
    pub sync_every: NonZero<usize>,
    /// Whether every row was a transaction by itself.
    pub autocommit: bool,
    /// Whether everything was rolled back at the end, as asked for.
    pub dry_run: bool,
    /// Whether the table was emptied first.
    pub truncated: bool,
    /// Whether the table was created.
    pub created: bool,
    /// Indexes that were dropped first, and built again behind the rows.
    pub indexes_deferred: Vec<String>,
    /// Why the indexes of an empty table stayed in place.
    pub indexes_kept_because: Option<String>,
    /// What the files are written in, by its name in the WHATWG Encoding Standard, which says what the bytes mean:
    /// `latin1` is windows-1252 there.
    pub encoding: &'static str,
    /// The files, with the hash of their content.
    pub files: Vec<FileRead>,
    /// Every column that was loaded.
    pub columns: Vec<ColumnLoaded>,
    /// `DateStyle` of the session: how the server reads a date such as `03/04/2021`. `None` without a server.
    pub date_style: Option<String>,
    /// Columns of the table that the file does not have, and that took their defaults.
    pub columns_defaulted: Vec<String>,
    /// Columns of the file that the table does not have, and that were left out as asked for.
    pub columns_ignored: Vec<String>,
    /// What was done about keys that were there.
    pub on_conflict: Option<String>,
    /// Where the rejected records are.
    pub rejects: Option<String>,
    /// Triggers of the table that may have left out some of the rows skipped: the server does not tell these from
    /// those whose key was there.
    pub swallowers: Vec<String>,
    /// The server, and the settings that a time depends on; `None` when none was needed.
    pub server: Option<ServerFacts>,
}

/// What the time was spent on, in seconds; encoding goes on beside writing.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Phases {
    /// Looking at the table, creating and emptying it.
    pub prepare_seconds: f64,
    /// Reading, encoding and writing.
    pub write_seconds: f64,
    /// Building deferred indexes, checking deferred constraints, putting a new table into its place.
    pub finish_seconds: f64,
    /// Committing.
    pub commit_seconds: f64,
    /// ANALYZE, which follows and is in no other figure; 0 if it was left out.
    pub analyze_seconds: f64,
}

/// One file.
#[derive(Debug, Clone, Serialize)]
pub struct FileRead {
    /// Its path, or `standard input`.
    pub path: String,
    /// Its bytes, as they are stored.
    pub bytes: u64,
    /// The SHA-256 of these bytes, in hexadecimal.
    pub sha256: String,
}

/// One column.
#[derive(Debug, Clone, Serialize)]
pub struct ColumnLoaded {
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub type_name: String,
    /// `binary` where we read its values, `text` where the server did.
    pub format: &'static str,
    /// From where on, and for which value, the server read it, where that was not so from the beginning.
    pub text_from: Option<TextFallback>,
}

/// What became of `inputs` in some seconds.
pub(crate) fn of(
    settings: &LoadSettings,
    inputs: &Inputs,
    prepared: &Prepared,
    outcome: LoadTotals,
    (seconds, phases): (f64, Phases),
    server: Option<ServerFacts>,
) -> LoadReport {
    let Prepared { table, targets, created, truncate, indexes, encoding } = prepared;
    let rows_loaded = outcome.counts.inserted + outcome.counts.updated;
    let bytes_read = inputs.consumed();
    LoadReport {
        command: "load",
        mode: settings.input.mode,
        table: table.name.to_string(),
        path: path(inputs),
        rows_read: outcome.read,
        rows_loaded,
        rows_inserted: outcome.counts.inserted,
        rows_updated: outcome.counts.updated,
        rows_skipped: outcome.skipped,
        rows_rejected: outcome.rejected,
        rows_encoded: outcome.encoded,
        bytes_read,
        seconds,
        rows_per_second: rows_loaded as f64 / seconds,
        bytes_per_second: bytes_read as f64 / seconds,
        phases,
        connections: settings.connections,
        sync_every: settings.sync_every,
        autocommit: settings.autocommit,
        dry_run: settings.dry_run,
        truncated: *truncate,
        created: *created,
        indexes_deferred: indexes.deferred.clone(),
        indexes_kept_because: indexes.kept_because.clone(),
        encoding,
        files: files(inputs),
        columns: columns(targets, settings.input.mode, &outcome.switches),
        date_style: server.is_some().then(|| table.session.date_style.clone()),
        columns_defaulted: defaulted(table, targets),
        columns_ignored: targets.ignored.clone(),
        on_conflict: settings.on_conflict.as_ref().map(ToString::to_string),
        rejects: outcome.rejects,
        swallowers: if outcome.skipped > 0 { table.before_insert_triggers.clone() } else { Vec::new() },
        server,
    }
}

/// Every column of `targets`, and who read it.
pub(crate) fn columns(targets: &ColumnMapping, mode: Mode, switches: &[TextFallback]) -> Vec<ColumnLoaded> {
    let formats = targets.formats(mode);
    let column = |(index, target): (usize, &crate::load::mapping::Target)| {
        let own = switches.iter().find(|switch| switch.index == index);
        // A COPY has one format for all.
        let text_from = own.or(switches.first().filter(|_| mode == Mode::Copy));
        let text = formats[index] == ValueFormat::Text || text_from.is_some();
        ColumnLoaded {
            name: target.column.name.clone(),
            type_name: target.column.type_name.clone(),
            format: if text { "text" } else { "binary" },
            text_from: text_from.cloned(),
        }
    };
    targets.columns.iter().enumerate().map(column).collect()
}

/// The columns of `table` that `targets` leave to their defaults.
pub(crate) fn defaulted(table: &Table, targets: &ColumnMapping) -> Vec<String> {
    let is_defaulted = |column: &&Column| {
        !targets.columns.is_empty() && !column.generated && !targets.names().any(|name| name == column.name)
    };
    table.columns.iter().filter(is_defaulted).map(|column| column.name.clone()).collect()
}

/// The files that were read.
pub(crate) fn files(inputs: &Inputs) -> Vec<FileRead> {
    let digests = inputs.digests().into_iter();
    digests.map(|(path, bytes, sha256)| FileRead { path, bytes, sha256 }).collect()
}

/// The path, or paths, for a person.
pub(crate) fn path(inputs: &Inputs) -> String {
    inputs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
