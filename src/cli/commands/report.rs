//! `report`: a page from reports.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use postgres_etl::escape::escape_path;
use postgres_etl::{Error, Result};
use serde::Serialize;

use crate::cli::args;
use crate::cli::commands::Context;
use crate::cli::exit;
use crate::cli::page::{self, Document};
use crate::cli::render::Report;

/// What was written.
#[derive(Debug, Clone, Serialize)]
struct PageReport {
    /// `report`.
    command: &'static str,
    /// The page.
    path: String,
    /// Reports that it shows.
    reports: usize,
    /// Its charts.
    charts: usize,
}

/// Run the command.
///
/// # Errors
/// When a file is not a report, or the page cannot be written.
pub(super) fn run(context: &Context<'_>, flags: &args::Report) -> Result<u8> {
    let documents = flags.files.iter().map(|path| Document::read(path)).collect::<Result<Vec<_>>>()?;
    let identity = |path: &Path| path.metadata().ok().map(|file| (file.dev(), file.ino()));
    let replaced = identity(&flags.html);
    if replaced.is_some() && flags.files.iter().any(|path| identity(path) == replaced) {
        let message = format!("--html: {} is one of the reports", escape_path(&flags.html));
        return Err(Error::usage(message).with_help("name another file with --html"));
    }
    let charts = page::write(&flags.html, &documents)?;
    let path = flags.html.display().to_string();
    context.print(&PageReport { command: "report", path, reports: documents.len(), charts })?;
    Ok(exit::DONE)
}

impl Report for PageReport {
    fn text(&self) -> String {
        let plural = |number: usize, what: &str| match number {
            1 => format!("1 {what}"),
            _ => format!("{number} {what}s"),
        };
        format!(
            "wrote {}: {} from {}",
            escape_path(Path::new(&self.path)),
            plural(self.charts, "chart"),
            plural(self.reports, "report")
        )
    }
}
