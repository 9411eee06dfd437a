//! What became of the rows of a load, in numbers that have to add up.

use crate::load::chunk::encoder::TextFallback;
use crate::load::settings::LoadSettings;
use crate::load::write::outcome::Counts;

/// What a load has come to so far.
#[derive(Debug, Default)]
pub(crate) struct LoadTotals {
    pub read: u64,
    pub encoded: u64,
    pub counts: Counts,
    pub skipped: u64,
    pub rejected: u64,
    pub switches: Vec<TextFallback>,
    pub rejects: Option<String>,
}

/// Whether the numbers add up, and what to say if they do not.
pub(crate) fn discrepancy(totals: &LoadTotals, settings: &LoadSettings) -> Option<String> {
    let LoadTotals { read, counts, skipped, rejected, .. } = totals;
    let sent = read - rejected;
    let answered = counts.inserted + counts.updated + skipped;
    (answered != sent)
        .then(|| format!("the server inserted {answered} of {sent} rows into {}", settings.input.table.name))
}
