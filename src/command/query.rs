//! `query`: how many a second.

use std::sync::Arc;

use super::Context;
use crate::Result;
use crate::cli;
use crate::progress::{Counters, Progress};
use crate::query;

/// Run the command.
///
/// # Errors
/// When the flags are wrong, or the run could not be made. Refused queries make the exit code 1.
pub async fn run(context: &Context<'_>, flags: &cli::Query) -> Result<u8> {
    let settings = context.config.query(flags)?;
    let database = context.database(settings.session()).await?;
    let counters = Arc::new(Counters::default());
    let progress = Progress::draw(context.draws(), "querying", &counters, Some(settings.queries), None);
    context.interrupt.cancels(&counters, Some(&database));
    let result = query::query(&settings, &database, &counters).await;
    progress.finish();
    let closed = database.close().await;
    let report = result?;
    closed?;
    context.print(&report)?;
    Ok(u8::from(report.errors > 0))
}
