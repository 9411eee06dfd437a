//! `generate`: write the CSV of people.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use postgres_etl::{Error, ErrorKind, Phase, Progress, Result, Total, blocking, dataset};
use schemars::JsonSchema;
use serde::Serialize;

use crate::cli::args;
use crate::cli::commands::Context;
use crate::cli::config::GenerateSettings;
use crate::cli::render::Report;
use crate::cli::render::units::{bytes, count, seconds};
use crate::cli::terminal::progress_line::ProgressLine;

/// What was generated.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(super) struct GenerateReport {
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
pub(super) async fn run(context: &Context<'_>, flags: &args::Generate) -> Result<u8> {
    let settings = context.config.generate(flags)?;
    let to_standard_output = settings.output == Path::new("-");
    let report = generate(context, settings).await?;
    if to_standard_output {
        context.note(&report.text());
    } else {
        context.print(&report, true)?;
    }
    Ok(0)
}

/// Write the file, drawing progress.
pub(crate) async fn generate(context: &Context<'_>, settings: GenerateSettings) -> Result<GenerateReport> {
    let progress = Arc::new(Progress::default());
    progress.begin(Phase::Generating, Some(Total::Rows(settings.plan.rows)));
    let line = ProgressLine::show(context.display(), &progress);
    let started = Instant::now();
    let path = settings.output.display().to_string();
    if let Some(dir) = settings.default_dir.as_deref() {
        std::fs::create_dir_all(dir)
            .map_err(|error| Error::io(ErrorKind::Output, "create directory", dir, error))?;
    }
    let work = {
        let progress = Arc::clone(&progress);
        blocking(move || match settings.output.as_os_str().as_encoded_bytes() {
            b"-" => dataset::write_to(&settings.plan, &mut std::io::stdout().lock(), &progress),
            _ => dataset::write_csv(&settings.plan, &settings.output, &progress),
        })
    };
    context.interrupt.cancels(&progress, None);
    let written = work.await;
    context.interrupt.forget();
    drop(line);
    let dataset::DatasetSize { rows, bytes } = written?;
    let seconds = started.elapsed().as_secs_f64();
    Ok(GenerateReport { command: "generate", path, rows, bytes, seconds })
}

impl Report for GenerateReport {
    fn text(&self) -> String {
        format!(
            "generated {} people, {}, into {} in {}",
            count(self.rows),
            bytes(self.bytes),
            self.path,
            seconds(self.seconds)
        )
    }
}
