//! Mode `null`: reads and encodes, but sends nothing.

use std::sync::Arc;
use std::time::Instant;

use crate::Result;
use crate::catalog::Table;
use crate::csv::Files;
use crate::load::chunk::CHUNK_ROWS;
use crate::load::chunk::encoder::{ChunkEncoder, EncodePlan};
use crate::load::chunk::stream::ChunkStream;
use crate::load::mapping::{ColumnMapping, header_names};
use crate::load::report::{self, LoadReport, Phases};
use crate::load::settings::LoadSettings;
use crate::load::table::indexes::DeferredIndexes;
use crate::load::table::prepare::PreparedTable;
use crate::load::totals::LoadTotals;
use crate::progress::Progress;

/// Encode `files` for the table that `[table]` describes, with the code of every other mode, but without a server.
///
/// # Errors
/// When a column of the table has a type that only a server knows, and at the first record that the table would
/// not take.
pub(crate) async fn encode(
    settings: &LoadSettings,
    mut files: Files,
    progress: &Arc<Progress>,
) -> Result<LoadReport> {
    let inputs = files.inputs().clone();
    let started = Instant::now();
    let table = Table::from_spec(&settings.input.table)?;
    files.settle_header(&header_names(Some(&table), &settings.input.naming))?;
    let mut mapping = if files.is_empty() {
        ColumnMapping::default()
    } else {
        ColumnMapping::find(files.header(), files.name(), &settings.input.naming, &table)?
    };
    mapping.convert(&settings.input, &[])?;
    let prepared = PreparedTable {
        table,
        mapping: mapping.into(),
        created: false,
        truncate: false,
        indexes: DeferredIndexes::default(),
        format: files.format().syntax,
        encoding: files.encoding().name(),
    };
    let prepare_seconds = started.elapsed().as_secs_f64();
    let mut totals = LoadTotals::default();
    if !prepared.mapping.columns.is_empty() {
        let plan = EncodePlan::new(&settings.input, CHUNK_ROWS, false);
        let stream =
            ChunkStream::start(ChunkEncoder::new(files, Arc::clone(&prepared.mapping), plan), progress);
        while let Some(chunk) = stream.next().await? {
            totals.read += chunk.rows() as u64;
        }
        totals.encoded = totals.read;
        totals.encoder = stream.summary().await;
    }
    let seconds = started.elapsed().as_secs_f64();
    let phases = Phases { prepare_seconds, write_seconds: seconds - prepare_seconds, ..Phases::default() };
    Ok(report::build(settings, &inputs, &prepared, totals, (seconds, phases), None))
}
