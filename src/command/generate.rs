//! `generate`: write the CSV of people.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use super::Context;
use crate::cli;
use crate::config::GenerateSettings;
use crate::error::Kind;
use crate::people;
use crate::postgres::database::blocking;
use crate::progress::{Counters, Progress};
use crate::{Error, Result};

/// What was generated.
#[derive(Debug, Clone, Serialize)]
pub struct GenerateReport {
    /// `generate`.
    pub command: &'static str,
    /// The file.
    pub path: String,
    /// Rows, without the header.
    pub rows: u64,
    /// Bytes, with the header.
    pub bytes: u64,
    /// From opening the file to its last byte.
    pub seconds: f64,
}

/// Run the command.
///
/// # Errors
/// When the flags are wrong or the file cannot be written.
pub async fn run(context: &Context<'_>, flags: &cli::Generate) -> Result<u8> {
    let settings = context.config.generate(flags)?;
    let to_standard_output = settings.output == Path::new("-");
    let report = generate(context, settings).await?;
    if to_standard_output {
        context.note(&crate::report::Report::text(&report));
    } else {
        context.print(&report)?;
    }
    Ok(0)
}

/// Write the file, drawing progress.
pub(super) async fn generate(context: &Context<'_>, settings: GenerateSettings) -> Result<GenerateReport> {
    let counters = Arc::new(Counters::default());
    let progress = Progress::draw(context.draws(), "generating", &counters, Some(settings.plan.rows), None);
    let started = Instant::now();
    let path = settings.output.display().to_string();
    if let Some(dir) = settings.default_dir.as_deref() {
        std::fs::create_dir_all(dir)
            .map_err(|error| Error::io(Kind::Output, "create directory", dir, &error))?;
    }
    let work = {
        let counters = Arc::clone(&counters);
        blocking(move || match settings.output.as_os_str().as_encoded_bytes() {
            b"-" => people::write_to(&settings.plan, &mut std::io::stdout().lock(), &counters),
            _ => people::write_csv(&settings.plan, &settings.output, &counters),
        })
    };
    context.interrupt.cancels(&counters, None);
    let written = work.await;
    context.interrupt.forget();
    progress.finish();
    let people::Written { rows, bytes } = written?;
    let seconds = started.elapsed().as_secs_f64();
    Ok(GenerateReport { command: "generate", path, rows, bytes, seconds })
}
