//! `query`: how many a second.

use std::io::IsTerminal as _;
use std::sync::Arc;

use super::{Context, say};
use crate::Result;
use crate::cli;
use crate::error::Kind;
use crate::progress::Counters;
use crate::query::compare::Keep;
use crate::query::live::Live;
use crate::query::{self, Found};
use crate::report::{Failure, Report as _};

/// Run the command.
///
/// # Errors
/// When the flags are wrong, or the run could not be made. Refused queries, wrong answers and a failed comparison make
/// the exit code 1.
pub async fn run(context: &Context<'_>, flags: &cli::Query) -> Result<u8> {
    let settings = context.config.query(flags)?;
    let keep = settings.save.as_deref().map(Keep::open).transpose()?;
    let database = context.database(settings.session()).await?;
    let counters = Arc::new(Counters::default());
    let live = match context.flags.quiet {
        true => Live::Off,
        false if std::io::stderr().is_terminal() => Live::Terminal,
        false => Live::Lines,
    };
    context.interrupt.cancels(&counters, Some(&database));
    let result = query::query(&settings, &database, live, &counters).await;
    let closed = database.close().await;
    let found = result?;
    // Whatever else goes wrong, what was measured is told first, and is the only document: errors are said after it.
    let mut not_kept = None;
    let (interrupted, failures) = match &found {
        Found::Search(report) => {
            context.print(&**report)?;
            let interrupted = report.ended_by.as_ref().is_some_and(|error| error.kind() == Kind::Interrupted);
            (interrupted, report.failures(settings.max_errors))
        }
        Found::Run(report, saved) => {
            context.print(&**report)?;
            if let Some(keep) = keep {
                // It would take the place of a run that was whole.
                if report.interrupted || report.ended_by.is_some() || report.queries == report.errors {
                    say("the run is not kept, because it did not come to its end, or had no answer");
                } else {
                    not_kept = keep.write(saved).err();
                }
            }
            (report.interrupted, report.failures(settings.max_errors))
        }
    };
    if interrupted || counters.is_cancelled() {
        say(if interrupted {
            "interrupted: the report is of what was answered until then"
        } else {
            "interrupted: the run is whole, its plans are not"
        });
        return Ok(Kind::Interrupted.exit_code());
    }
    for failure in &failures {
        say(&format!("error: {failure}"));
    }
    // Where the run ended early it is not kept, and that closing fails as well is no wonder.
    if let Some(error) = found.ended_by().or(not_kept).or(closed.err()) {
        say(&Failure::new("query", &error).text());
        return Ok(error.kind().exit_code());
    }
    Ok(u8::from(!failures.is_empty()))
}
