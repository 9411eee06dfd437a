//! `load`: CSV into the table.

use std::sync::Arc;

use super::{Context, generate, until_interrupted};
use crate::Result;
use crate::cli;
use crate::load;
use crate::progress::{Counters, Progress};
use crate::report::Report;

/// Run the command.
///
/// # Errors
/// When the flags are wrong, or the file was not loaded.
pub async fn run(context: &Context<'_>, flags: &cli::Load) -> Result<u8> {
    let mut settings = context.config.load(flags)?;
    if let Some(generated) = settings.generate.take_if(|_| !settings.input.exists()) {
        context
            .note(&format!("{} does not exist: generating it, as [generate] says", settings.input.display()));
        context.note(&generate::generate(context, generated).await?.text());
    }
    // Before a server is started for it.
    let size = crate::source::size(&settings.input)?;
    let database = context.database(settings.session()).await?;
    let counters = Arc::new(Counters::default());
    let progress = Progress::draw(context.draws(), "loading", &counters, None, size);
    let result =
        until_interrupted(&counters, Some(&database), load::load(&settings, &database, &counters)).await;
    progress.finish();
    let closed = database.close().await;
    let report = result?;
    closed?;
    context.print(&report)?;
    if report.rows_read == 0 {
        context.note(&format!("{} has a header and no rows", report.path));
    }
    Ok(0)
}
