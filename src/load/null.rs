//! Mode `null`: reads and encodes, and sends nothing anywhere.

use std::sync::Arc;
use std::time::Instant;

use super::encoding::{Encoding, Plan};
use super::feed::Stream;
use super::indexes::Indexes;
use super::report::{LoadReport, Outcome, Phases};
use super::target::Targets;
use super::{CHUNK_ROWS, Prepared, report};
use crate::Result;
use crate::config::LoadSettings;
use crate::progress::Counters;
use crate::source::Files;
use crate::table::Table;

/// Encode `files` for the table that `[table]` describes, by the code that every load runs, without a server.
///
/// # Errors
/// When a column of the table has a type that only a server knows, and at the first record that the table would
/// not take.
pub async fn encode(settings: &LoadSettings, files: Files, counters: &Arc<Counters>) -> Result<LoadReport> {
    let inputs = files.inputs().clone();
    let started = Instant::now();
    let table = Table::described(&settings.input.table)?;
    let targets = if files.is_empty() {
        Targets::default()
    } else {
        Targets::find(files.header(), files.name(), &settings.input.naming, &table)?
    };
    let prepared = Prepared {
        table,
        targets: targets.into(),
        created: false,
        truncate: false,
        indexes: Indexes::default(),
        encoding: files.encoding().name(),
    };
    let prepare_seconds = started.elapsed().as_secs_f64();
    let mut outcome = Outcome::default();
    if !prepared.targets.columns.is_empty() {
        let plan = Plan { chunk_rows: CHUNK_ROWS, mode: settings.input.mode, rejecting: false };
        let stream = Stream::start(Encoding::new(files, Arc::clone(&prepared.targets), plan), counters);
        while let Some(chunk) = stream.next().await? {
            outcome.read += chunk.rows() as u64;
        }
        outcome.encoded = outcome.read;
        outcome.switches = stream.switches().await;
    }
    let seconds = started.elapsed().as_secs_f64();
    let phases = Phases { prepare_seconds, write_seconds: seconds - prepare_seconds, ..Phases::default() };
    Ok(report::of(settings, &inputs, &prepared, outcome, (seconds, phases), None))
}
