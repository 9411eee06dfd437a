//! `query`: rate and latency of a workload.

use std::io::IsTerminal as _;
use std::sync::Arc;

use postgres_etl::query::{Meter, MeterOutcome, RunMonitor, SaveFile};
use postgres_etl::{ErrorKind, Result};

use crate::cli::args;
use crate::cli::commands::{Context, say};
use crate::cli::config::QueryCommand;
use crate::cli::exit;
use crate::cli::page::{Document, PageFile};
use crate::cli::render::{Failure, Report as _};
use crate::cli::terminal::live_view::LiveView;

/// Run the command.
///
/// # Errors
/// When the flags are wrong, or the run could not be made. Failed queries, wrong results and a failed comparison make
/// the exit code 1.
pub(crate) async fn run(context: &Context<'_>, flags: &args::Query) -> Result<u8> {
    let QueryCommand { options, save, html } = context.config.query(flags)?;
    let max_errors = options.max_errors;
    let meter = Meter::new(options)?;
    context.config.check_pool(meter.connections_needed())?;
    let save = save.as_deref().map(SaveFile::open).transpose()?;
    let page = html.as_deref().map(PageFile::open).transpose()?;
    let database = context.database().await?;
    let (progress, monitor) = (Arc::new(context.progress()), Arc::new(RunMonitor::default()));
    context.interrupt.cancels(&progress, Some(&database));
    let view = match context.flags.quiet {
        true => None,
        false if std::io::stderr().is_terminal() => Some(LiveView::on_terminal(&monitor)),
        false => Some(LiveView::in_lines(&monitor)),
    };
    let result = meter.run(&database, &monitor, &progress).await;
    drop(view);
    let closed = database.close().await;
    let outcome = result?;
    // What was measured is printed first, as the only document, whatever else goes wrong; errors follow on standard
    // error.
    let (mut not_saved, mut not_drawn) = (None, None);
    let (interrupted, failures) = match &outcome {
        MeterOutcome::Search(report) => {
            context.print(&**report)?;
            // It would replace a complete page.
            let has_results = report.points.iter().any(|point| point.queries_per_second > 0.0);
            if let Some(page) = page.filter(|_| has_results) {
                not_drawn = page.write(&[Document::from_report(&**report)]).err();
            }
            let interrupted =
                report.ended_by.as_ref().is_some_and(|error| error.kind() == ErrorKind::Interrupted);
            (interrupted, report.failures(max_errors))
        }
        MeterOutcome::Run(report, saved) => {
            context.print(&**report)?;
            if let Some(page) = page.filter(|_| report.queries > report.errors) {
                not_drawn = page.write(&[Document::from_run(report, saved)]).err();
            }
            if let Some(save) = save {
                // It would replace a complete run.
                if report.interrupted || report.ended_by.is_some() || report.queries == report.errors {
                    say("the run is not saved: it ended early, or had no results");
                } else {
                    not_saved = save.write(saved).err();
                }
            }
            (report.interrupted, report.failures(max_errors))
        }
    };
    if interrupted || progress.is_cancelled() {
        say(if interrupted {
            "interrupted: the report covers the results until then"
        } else {
            "interrupted: the run is complete, its plans are not"
        });
        return Ok(exit::INTERRUPTED);
    }
    for failure in &failures {
        say(&format!("error: {failure}"));
    }
    // A run that ended early is not saved; that closing fails too is a consequence.
    if let Some(error) = outcome.ended_by().or(not_saved).or(not_drawn).or(closed.err()) {
        say(&Failure::new("query", &error).text());
        return Ok(exit::code(error.kind()));
    }
    Ok(if failures.is_empty() { exit::DONE } else { exit::FAILED })
}
