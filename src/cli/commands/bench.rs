//! `bench`: this program and others, compared.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Instant;

use postgres_etl::document::JsonDocument;
use postgres_etl::output_file::AtomicFile;
use postgres_etl::postgres::conninfo;
use postgres_etl::{Error, ErrorKind, Result};

use crate::cli::args;
use crate::cli::bench::report::{BenchReport, Run};
use crate::cli::bench::{Bench, BenchOptions, install_peers, list};
use crate::cli::commands::Context;
use crate::cli::exit;
use crate::cli::page::{Document, PageFile};
use crate::cli::terminal::screen::Drawing;
use crate::cli::terminal::{Display, LINE_EVERY};

/// Run the command.
///
/// # Errors
/// When the flags are wrong, or the server refuses. A contender that fails makes the exit code 1.
pub(crate) async fn run(context: &Context<'_>, flags: &args::Bench) -> Result<u8> {
    let options = options(flags);
    options.check()?;
    super::check_outputs(&[("--save", &flags.save), ("--html", &flags.html), ("--csv", &flags.csv)])?;
    // Checked before the work that they are to hold.
    let save = flags.save.as_deref().map(|path| AtomicFile::create("comparison", path)).transpose()?;
    let page = flags.html.as_deref().map(PageFile::open).transpose()?;
    let csv = flags.csv.as_deref().map(|path| AtomicFile::create("comparison", path)).transpose()?;
    if flags.install_peers {
        let quiet = context.flags.quiet;
        install_peers(move |line| {
            if !quiet {
                super::say(line);
            }
        })
        .await?;
    }
    if flags.list {
        super::print(&list().await?)?;
        return Ok(exit::DONE);
    }
    let report = compare(context, &options).await?;
    let failed =
        report.sections.iter().flat_map(|section| &section.results).any(|result| result.failed.is_some());
    let is_good = !failed && !report.lost_server && report.ended_by.is_none();
    context.print(&report, is_good)?;
    if let Some(save) = save {
        save.write_json(&JsonDocument::new(&report))?;
    }
    if let Some(page) = page.filter(|_| !report.sections.is_empty()) {
        page.write(&[Document::from_report(&report)])?;
    }
    if let Some(csv) = csv {
        write_csv(csv, &report)?;
    }
    if report.ended_by.as_deref() == Some("interrupted") {
        return Ok(exit::INTERRUPTED);
    }
    Ok(if failed || report.lost_server { exit::FAILED } else { exit::DONE })
}

fn options(flags: &args::Bench) -> BenchOptions {
    let (rows, runs): (&[u64], usize) =
        if flags.full { (&[1_000, 100_000, 1_000_000], 7) } else { (&[10_000], 3) };
    BenchOptions {
        rows: if flags.rows.is_empty() { rows.to_vec() } else { flags.rows.clone() },
        runs: flags.runs.unwrap_or(runs),
        grid: flags.full,
        only: flags.only.clone(),
        baseline: flags.baseline.clone(),
        time_limit: flags.time_limit,
        seed: flags.seed.unwrap_or(1),
    }
}

/// Carry the comparison out, showing what runs.
async fn compare(context: &Context<'_>, options: &BenchOptions) -> Result<BenchReport> {
    let url = context.database_url()?;
    if url.as_deref().is_some_and(conninfo::has_password) {
        context.note("the URL goes to other programs on their command lines, where `ps` shows its password");
    }
    let database = context.database().await?;
    let progress = Arc::new(context.progress());
    context.interrupt.cancels(&progress, None);
    let bench = Bench::prepare(options, &database, url, &progress).await?;
    let line = RunLine::new(context.display());
    let report = bench.run(|text| line.show(text)).await;
    drop(line);
    database.close().await?;
    report
}

/// The line that says what runs: redrawn on a terminal, and printed now and then elsewhere.
struct RunLine {
    drawing: Option<Drawing>,
    printed: Option<Mutex<Instant>>,
}

impl RunLine {
    fn new(display: Display) -> RunLine {
        RunLine {
            drawing: (display == Display::Drawn).then(Drawing::begin),
            printed: (display == Display::Lines).then(|| Mutex::new(Instant::now())),
        }
    }

    fn show(&self, text: &str) {
        if let Some(drawing) = &self.drawing {
            drawing.pen().draw(text);
        }
        let Some(Ok(mut printed)) = self.printed.as_ref().map(Mutex::lock) else { return };
        if printed.elapsed() >= LINE_EVERY {
            *printed = Instant::now();
            super::say(text);
        }
    }
}

/// Every run, a line each.
fn write_csv(mut file: AtomicFile, report: &BenchReport) -> Result<()> {
    let mut lines = csv::Writer::from_writer(Vec::new());
    let failed =
        |error: csv::Error| Error::new(ErrorKind::Output, format!("failed to write the runs: {error}"));
    lines
        .write_record([
            "section",
            "rows",
            "connections",
            "pipeline_depth",
            "contender",
            "run",
            "seconds",
            "rate",
            "client_cpu_seconds",
            "server_cpu_seconds",
            "client_peak_bytes",
            "server_peak_bytes",
            "wal_bytes",
        ])
        .map_err(failed)?;
    let text = |value: Option<String>| value.unwrap_or_default();
    for section in &report.sections {
        for result in &section.results {
            for (number, run) in result.runs.iter().enumerate() {
                let Run { seconds, rate, wal_bytes, .. } = run;
                lines
                    .write_record([
                        section.title.clone(),
                        section.rows.to_string(),
                        text(section.connections.map(|number| number.to_string())),
                        text(section.pipeline_depth.map(|number| number.to_string())),
                        result.contender.clone(),
                        (number + 1).to_string(),
                        seconds.to_string(),
                        rate.to_string(),
                        text(run.client_cpu_seconds.map(|seconds| seconds.to_string())),
                        text(run.server_cpu_seconds.map(|seconds| seconds.to_string())),
                        text(run.client_peak_bytes.map(|bytes| bytes.to_string())),
                        text(run.server_peak_bytes.map(|bytes| bytes.to_string())),
                        wal_bytes.to_string(),
                    ])
                    .map_err(failed)?;
            }
        }
    }
    let bytes = lines.into_inner().map_err(|error| failed(error.into_error().into()))?;
    file.write_all(&bytes).map_err(|error| file.failed(error))?;
    file.finish()
}
