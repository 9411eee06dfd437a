//! `query`: rate and latency of a workload.

use std::sync::Arc;

use postgres_etl::postgres::Database;
use postgres_etl::query::{Meter, MeterOutcome, PgbenchTables, RunMonitor, SaveFile, SavedRuns};
use postgres_etl::{Error, ErrorKind, Phase, Progress, Result, Total};

use crate::cli::args;
use crate::cli::commands::{Context, say};
use crate::cli::config::{QueryCommand, pgbench_tables};
use crate::cli::exit;
use crate::cli::metrics_file::MetricsFile;
use crate::cli::page::{Document, PageFile};
use crate::cli::render::{Failure, Report as _, measured_point};
use crate::cli::terminal::live_view::LiveView;
use crate::cli::terminal::progress_line::ProgressLine;

/// Run the command.
///
/// # Errors
/// When the flags are wrong, or the run could not be made. Failed queries, wrong results and a failed comparison make
/// the exit code 1.
pub(crate) async fn run(context: &Context<'_>, flags: &args::Query) -> Result<u8> {
    if let Some(tables) = pgbench_tables(flags)? {
        return create_tables(context, tables).await;
    }
    let QueryCommand { options, save, html, against, metrics } = context.config.query(flags)?;
    let max_errors = options.max_errors;
    let meter = Meter::new(options)?;
    context.config.check_pool(meter.connections_needed())?;
    super::check_outputs(&[("--save", &save), ("--html", &html), ("--metrics-file", &metrics)])?;
    let save = save.as_deref().map(SaveFile::open).transpose()?;
    let page = html.as_deref().map(PageFile::open).transpose()?;
    let metrics = metrics.map(MetricsFile::open).transpose()?;
    let database = context.database().await?;
    let other = match &against {
        Some(url) => Some(context.other_database(url).await?),
        None => None,
    };
    let progress = Arc::new(context.progress());
    let quiet = context.flags.quiet;
    let monitor = Arc::new(RunMonitor::with_points(move |measured| {
        if !quiet {
            say(&measured_point(measured));
        }
    }));
    let updates = metrics.as_ref().map(|metrics| metrics.update_from(&monitor));
    let result = measure(context, &meter, &database, other.as_ref(), &progress, &monitor).await;
    drop(updates);
    let mut closed = database.close().await;
    if let Some(other) = other {
        closed = closed.and(other.close().await);
    }
    let outcome = match result {
        Ok(outcome) => outcome,
        Err(error) => {
            metrics.into_iter().for_each(MetricsFile::discard);
            return Err(error);
        }
    };
    // What was measured is printed first, as the only document, whatever else goes wrong; errors follow on standard
    // error.
    let Printed { interrupted, failures, not_written } =
        print(context, &outcome, max_errors, Files { save, page, metrics })?;
    if interrupted || progress.is_cancelled() {
        say(match (interrupted, &outcome) {
            (true, MeterOutcome::Runs(..)) => "interrupted: the report covers the runs that were complete",
            (true, _) => "interrupted: the report covers the results until then",
            (false, _) => "interrupted: the run is complete, its plans are not",
        });
        return Ok(context.interrupt.exit_code());
    }
    for failure in &failures {
        say(&format!("error: {failure}"));
    }
    // A run that ended early is not saved; that closing fails too is a consequence.
    if let Some(error) = outcome.ended_by().or(not_written).or(closed.err()) {
        say(&Failure::new("query", &error).text());
        return Ok(exit::code(error.kind()));
    }
    Ok(if failures.is_empty() { exit::DONE } else { exit::FAILED })
}

/// Create the tables of pgbench, and show it meanwhile.
async fn create_tables(context: &Context<'_>, tables: PgbenchTables) -> Result<u8> {
    let database = context.database().await?;
    let progress = Arc::new(context.progress());
    context.interrupt.cancels(&progress, Some(&database));
    progress.begin(Phase::CreatingAccounts, Some(Total::Rows(tables.accounts())));
    let line = ProgressLine::show(context.display(), &progress);
    let created = tables.create(&database, &progress).await;
    drop(line);
    let closed = database.close().await;
    context.print(&created?, true)?;
    closed.map(|()| exit::DONE)
}

/// Measure, and show it meanwhile.
async fn measure(
    context: &Context<'_>,
    meter: &Meter,
    database: &Database,
    other: Option<&Database>,
    progress: &Arc<Progress>,
    monitor: &Arc<RunMonitor>,
) -> Result<MeterOutcome> {
    for database in [Some(database), other].into_iter().flatten() {
        context.interrupt.cancels(progress, Some(database));
    }
    let _view = LiveView::show(context.display(), monitor);
    match other {
        Some(other) => meter.run_against(database, other, monitor, progress).await,
        None => meter.run(database, monitor, progress).await,
    }
}

/// What is left to say and to return once the report is printed.
struct Printed {
    /// Whether a signal ended the measurement early.
    interrupted: bool,
    /// Why it failed, one line per reason.
    failures: Vec<String>,
    /// Why a file could not be written; `None` if all were that were to be.
    not_written: Option<Error>,
}

/// The files to write besides the report.
struct Files {
    save: Option<SaveFile>,
    page: Option<PageFile>,
    metrics: Option<MetricsFile>,
}

/// Print the report of `outcome`, save its runs, and draw its page.
fn print(
    context: &Context<'_>,
    outcome: &MeterOutcome,
    max_errors: Option<u64>,
    Files { save, page, metrics }: Files,
) -> Result<Printed> {
    let mut not_written = None;
    // What would be empty would replace a complete page.
    let (interrupted, failures, saved, document) = match outcome {
        MeterOutcome::Search(report) => {
            let interrupted =
                report.ended_by.as_ref().is_some_and(|error| error.kind() == ErrorKind::Interrupted);
            let failures = report.failures(max_errors);
            context.print(&**report, failures.is_empty() && report.ended_by.is_none())?;
            let has_results = report.points.iter().any(|point| point.queries_per_second > 0.0);
            let document = has_results.then(|| Document::from_report(&**report));
            (interrupted, failures, None, document)
        }
        MeterOutcome::Runs(report, saved) => {
            let failures = report.failures(max_errors);
            let is_good = failures.is_empty() && !report.interrupted && report.ended_by.is_none();
            context.print(&**report, is_good)?;
            let saved = saved.clone().filter(|_| report.is_complete());
            let document = (!report.runs.is_empty()).then(|| Document::from_report(&**report));
            (report.interrupted, failures, saved, document)
        }
        MeterOutcome::Run(report, saved) => {
            let failures = report.failures(max_errors);
            let is_good = failures.is_empty() && !report.interrupted && report.ended_by.is_none();
            context.print(&**report, is_good)?;
            let is_complete =
                !report.interrupted && report.ended_by.is_none() && report.queries > report.errors;
            let document = (report.queries > report.errors).then(|| Document::from_run(report, saved));
            let saved = is_complete.then(|| SavedRuns::from((**saved).clone()));
            not_written = metrics.and_then(|metrics| metrics.finish(report).err());
            (report.interrupted, failures, saved, document)
        }
    };
    let not_saved = match (save, saved) {
        (Some(save), Some(saved)) => save.write(&saved).err(),
        (Some(_), None) => {
            // It would replace a complete run.
            say("the run is not saved: it ended early, or had no results");
            None
        }
        (None, _) => None,
    };
    let not_drawn = page.zip(document).and_then(|(page, document)| page.write(&[document]).err());
    Ok(Printed { interrupted, failures, not_written: not_saved.or(not_drawn).or(not_written) })
}
