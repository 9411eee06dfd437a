//! `imports`: what the ledger knows of imports.

use std::sync::Arc;

use postgres_etl::Result;
use postgres_etl::catalog::TableName;
use postgres_etl::escape::escape;
use postgres_etl::load::{ImportState, ImportStatus, Ledger};
use schemars::JsonSchema;
use serde::Serialize;

use crate::cli::args;
use crate::cli::commands::Context;
use crate::cli::exit;
use crate::cli::render::Report;
use crate::cli::render::units::{count, counted, rate, seconds};

/// The imports of a ledger, or the one that was forgotten.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(super) struct ImportsReport {
    /// `imports`.
    command: &'static str,
    /// The import that was forgotten; `None` if none was to be.
    forgotten: Option<String>,
    /// Indexes that the forgotten import had dropped, and that were rebuilt first.
    indexes_rebuilt: Vec<String>,
    /// All imports, the latest first.
    imports: Vec<ImportStatus>,
}

/// Run the command.
///
/// # Errors
/// When the server cannot be reached, or the import to forget does not exist, or is being worked on.
pub(super) async fn run(context: &Context<'_>, flags: &args::Imports) -> Result<u8> {
    let name = flags.ledger.as_deref().map(TableName::parse).transpose()?;
    let ledger = name.as_ref().map_or_else(Ledger::default, Ledger::new);
    let database = context.database().await?;
    let mut indexes_rebuilt = Vec::new();
    if let Some(id) = &flags.forget {
        // Rebuilding indexes may take long.
        let progress = Arc::default();
        context.interrupt.cancels(&progress, Some(&database));
        indexes_rebuilt = ledger.forget(&database, id, &progress).await?;
    }
    let imports = ledger.imports(&database).await?;
    database.close().await?;
    let forgotten = flags.forget.clone();
    let report = ImportsReport { command: "imports", forgotten, indexes_rebuilt, imports };
    // A list was asked for, and is to be seen; what was done is good.
    context.print(&report, report.forgotten.is_some())?;
    Ok(exit::DONE)
}

impl Report for ImportsReport {
    fn text(&self) -> String {
        if let Some(id) = &self.forgotten {
            let rebuilt = match &self.indexes_rebuilt[..] {
                [] => String::new(),
                names => format!("; rebuilt its indexes: {}", names.join(", ")),
            };
            return format!("forgot import {}; the rows that it loaded stay{rebuilt}", escape(id));
        }
        if self.imports.is_empty() {
            return "no imports".to_owned();
        }
        self.imports.iter().map(import).collect::<Vec<_>>().join("\n")
    }
}

/// One import, in a few lines.
fn import(status: &ImportStatus) -> String {
    let ImportStatus { id, table, rows_loaded, rows_skipped, rows_rejected, .. } = status;
    let state = match status.state {
        ImportState::Finished => "finished",
        ImportState::Running => "running",
        ImportState::Unfinished => "unfinished",
    };
    let percent = match (status.state, status.percent) {
        (ImportState::Finished, _) | (_, None) => String::new(),
        (_, Some(percent)) => format!(", {percent:.0} % of the input"),
    };
    let speed = status.rows_per_second.map_or_else(String::new, |speed| format!(", {} rows/s", rate(speed)));
    let ended = match (&status.finished, &status.last_commit) {
        (Some(at), _) => format!(", finished {at}"),
        (None, Some(at)) => format!(", last commit {at}"),
        (None, None) => String::new(),
    };
    let mut lines = vec![
        format!("{} into {}: {state}{percent}", escape(id), escape(table)),
        format!(
            "  rows    {} read = {} loaded + {} skipped + {} rejected, in {}{speed}",
            count(status.rows_read),
            count(*rows_loaded),
            count(*rows_skipped),
            count(*rows_rejected),
            counted(status.chunks, "chunk")
        ),
        format!("  time    begun {}, {} ago{ended}", status.started, age(status.age_seconds)),
    ];
    if !status.indexes_to_rebuild.is_empty() {
        lines.push(format!("  indexes {}: to be rebuilt", status.indexes_to_rebuild.join(", ")));
    }
    lines.extend(status.sessions.iter().map(|session| format!("  worker  {}", escape(session))));
    lines.join("\n")
}

/// A time of seconds to years.
fn age(age: f64) -> String {
    match age {
        ..60.0 => seconds(age),
        ..3600.0 => format!("{:.0} min", age / 60.0),
        ..172_800.0 => format!("{:.1} h", age / 3600.0),
        _ => format!("{:.0} days", age / 86_400.0),
    }
}
