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
    closed?;
    match found {
        Found::Search(report) => {
            context.print(&*report)?;
            Ok(u8::from(report.points.iter().any(|point| point.errors > 0)))
        }
        Found::Run(report, saved) => {
            // Whatever becomes of the file, what was measured is told first.
            context.print(&*report)?;
            if let Some(keep) = keep {
                keep.write(&saved)?;
            }
            if report.interrupted {
                say("interrupted: the report is of what was answered until then");
                return Ok(Kind::Interrupted.exit_code());
            }
            let failures = report.failures(settings.max_errors);
            for failure in &failures {
                say(&format!("error: {failure}"));
            }
            Ok(u8::from(!failures.is_empty()))
        }
    }
}
