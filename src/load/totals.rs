//! Row counts of a load, which have to add up.

use crate::load::chunk::encoder::EncoderSummary;
use crate::load::settings::LoadSettings;
use crate::load::table::partitions::PartitionsWritten;
use crate::load::write::outcome::RowCounts;

/// The totals of a load so far, in rows unless noted.
#[derive(Debug, Default)]
pub(crate) struct LoadTotals {
    /// Records read, without headers.
    pub read: u64,
    /// Records encoded; fewer than `read` if some could not be.
    pub encoded: u64,
    /// Rows that the server reports as written.
    pub counts: RowCounts,
    /// Rows left out because their key exists, or by a trigger.
    pub skipped: u64,
    /// Rows rejected, by this program or by the server.
    pub rejected: u64,
    /// What the encoder tells.
    pub encoder: EncoderSummary,
    /// Paths of the files with the rejected rows, one for each order of fields; empty if no row was rejected.
    pub rejects: Vec<String>,
    /// How rows reached the partitions of the table.
    pub partitions: PartitionsWritten,
}

/// The message about totals that do not add up; `None` if they do.
pub(crate) fn discrepancy(totals: &LoadTotals, settings: &LoadSettings) -> Option<String> {
    let LoadTotals { read, counts, skipped, rejected, .. } = totals;
    let sent = read - rejected;
    let accounted_for = counts.inserted + counts.updated + skipped;
    (accounted_for != sent).then(|| {
        format!("the server inserted {accounted_for} of {sent} rows into {}", settings.input.table.name)
    })
}
