//! `bench`: this program and others, compared.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use postgres_etl::document::JsonDocument;
use postgres_etl::output_file::AtomicFile;
use postgres_etl::postgres::conninfo;
use postgres_etl::{Error, ErrorKind, Result};

use crate::cli::args;
use crate::cli::bench::report::{BenchReport, ContenderResult, Run, Section};
use crate::cli::bench::{Bench, BenchOptions, INTERRUPTED, install_peers, list};
use crate::cli::commands::Context;
use crate::cli::exit;
use crate::cli::page::{Document, PageFile};
use crate::cli::render::too_slow;
use crate::cli::terminal::screen::Drawing;
use crate::cli::terminal::{Display, LINE_EVERY};

/// Run the command.
///
/// # Errors
/// When the flags are wrong, or the server refuses. What a comparison lacks makes the exit code 1: a contender that failed,
/// or that --only names and that is missing, and every run.
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
        context.print(&list().await?, false)?;
        return Ok(exit::DONE);
    }
    let report = compare(context, &options).await?;
    let failed = results(&report).any(|result| result.failed.is_some());
    let lacks = lacking(&report, &options);
    let is_good = !failed && lacks.is_empty() && !report.lost_server && report.ended_by.is_none();
    context.print(&report, is_good)?;
    for lack in &lacks {
        super::say(&format!("error: {lack}"));
    }
    let is_interrupted = report.ended_by.as_deref() == Some(INTERRUPTED);
    if results(&report).all(|result| result.runs.is_empty()) {
        // The files of an earlier comparison are worth more.
        return Ok(if is_interrupted { context.interrupt.exit_code() } else { exit::FAILED });
    }
    if let Some(save) = save {
        save.write_json(&JsonDocument::new(&report))?;
    }
    if let Some(page) = page {
        page.write(&[Document::from_report(&report)])?;
    }
    if let Some(csv) = csv {
        write_csv(csv, &report)?;
    }
    if is_interrupted {
        return Ok(context.interrupt.exit_code());
    }
    let is_complete = !failed && lacks.is_empty() && !report.lost_server;
    Ok(if is_complete { exit::DONE } else { exit::FAILED })
}

/// The results of all sections.
fn results(report: &BenchReport) -> impl Iterator<Item = &ContenderResult> {
    report.sections.iter().flat_map(|section| &section.results)
}

/// What was asked for and is not in `report`, a sentence each.
fn lacking(report: &BenchReport, options: &BenchOptions) -> Vec<String> {
    let asked_for = report.contenders.iter().filter(|_| !options.only.is_empty());
    let missing = asked_for.filter_map(|info| Some((info, info.missing.as_ref()?)));
    let mut lacks: Vec<String> =
        missing.map(|(info, why)| format!("--only names {}, which is missing: {why}", info.name)).collect();
    if results(report).all(|result| result.runs.is_empty()) {
        let why = match &report.ended_by {
            Some(why) => why.clone(),
            None if results(report).next().is_some() => "every contender failed".to_owned(),
            None => {
                let too_slow: Vec<String> =
                    report.sections.iter().filter_map(|section| too_slow(report, section)).collect();
                if too_slow.is_empty() { "no contender takes part".to_owned() } else { too_slow.join("; ") }
            }
        };
        lacks.push(format!("nothing was measured, and no file was written: {why}"));
    }
    lacks
}

/// When a first impression begins no further run, so that it takes less than a minute.
const FIRST_IMPRESSION: Duration = Duration::from_secs(55);

fn options(flags: &args::Bench) -> BenchOptions {
    let is_chosen = flags.full || !flags.rows.is_empty() || flags.runs.is_some() || !flags.only.is_empty();
    let (rows, runs): (&[u64], usize) =
        if flags.full { (&[1_000, 100_000, 1_000_000], 7) } else { (&[10_000], 3) };
    BenchOptions {
        rows: if flags.rows.is_empty() { rows.to_vec() } else { flags.rows.clone() },
        runs: flags.runs.unwrap_or(runs),
        grid: flags.full,
        only: flags.only.clone(),
        baseline: flags.baseline.clone(),
        time_limit: flags.time_limit.or((flags.quick || !is_chosen).then_some(FIRST_IMPRESSION)),
        run_limit: flags.run_limit,
        seed: flags.seed.unwrap_or(1),
    }
}

/// Carry the comparison out, showing what runs.
async fn compare(context: &Context<'_>, options: &BenchOptions) -> Result<BenchReport> {
    let url = context.database_url()?;
    if url.as_deref().is_some_and(conninfo::has_password) {
        context.note("the URL goes to other programs on their command lines, where `ps` shows its password");
    }
    if url.is_none() && context.flags.database_url.as_deref().is_some_and(conninfo::has_password) {
        context.note(
            "other programs do not get the password of the URL beside --host and the like: set PGPASSWORD",
        );
    }
    let database = context.database().await?;
    let progress = Arc::new(context.progress());
    context.interrupt.cancels(&progress, None);
    let line = RunLine::new(context.display());
    let bench = Bench::prepare(options, &database, url, &progress, |text| line.show(text)).await?;
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

/// The columns of the file of runs: what ran, the run's own figures, and those of all runs of the contender.
const COLUMNS: [&str; 35] = [
    "section",
    "rows",
    "connections",
    "pipeline_depth",
    "contender",
    "run",
    "seconds",
    "rate",
    "bytes_per_second",
    "client_cpu_seconds",
    "server_cpu_seconds",
    "client_peak_bytes",
    "server_peak_bytes",
    "wal_bytes",
    "prepare_seconds",
    "write_seconds",
    "read_seconds",
    "encode_seconds",
    "confirm_seconds",
    "finish_seconds",
    "commit_seconds",
    "analyze_seconds",
    "p50_us",
    "p90_us",
    "p95_us",
    "p99_us",
    "p999_us",
    "p9999_us",
    "median_rate",
    "min_rate",
    "max_rate",
    "ratio",
    "ratio_low",
    "ratio_high",
    "failed",
];

/// Every run, a line each; a contender without runs has a line that tells why.
fn write_csv(mut file: AtomicFile, report: &BenchReport) -> Result<()> {
    let mut lines = csv::Writer::from_writer(Vec::new());
    let failed =
        |error: csv::Error| Error::new(ErrorKind::Output, format!("failed to write the runs: {error}"));
    lines.write_record(COLUMNS).map_err(failed)?;
    for section in &report.sections {
        for result in &section.results {
            let runs = result.runs.iter().enumerate().map(|(number, run)| Some((number + 1, run)));
            let none = result.runs.is_empty().then_some(None);
            for run in runs.chain(none) {
                lines.write_record(csv_line(section, result, run)).map_err(failed)?;
            }
        }
    }
    let bytes = lines.into_inner().map_err(|error| failed(error.into_error().into()))?;
    file.write_all(&bytes).map_err(|error| file.failed(error))?;
    file.finish()
}

/// The line of a numbered `run`, with the [`COLUMNS`]; what is not known is empty.
fn csv_line(section: &Section, result: &ContenderResult, run: Option<(usize, &Run)>) -> [String; 35] {
    fn text(value: Option<impl ToString>) -> String {
        value.map_or_else(String::new, |value| value.to_string())
    }
    let (number, run) = run.unzip();
    let (rate, interval) = (result.rate, result.ratio_interval);
    let phase = |name: &str| text(run.and_then(|run| run.phases.get(name)));
    let latency = |name: &str| text(run.and_then(|run| run.latency_us.get(name)));
    [
        section.title.clone(),
        section.rows.to_string(),
        text(section.connections.or(result.setting.map(|(connections, _)| connections))),
        text(section.pipeline_depth.or(result.setting.map(|(_, depth)| depth))),
        result.contender.clone(),
        text(number),
        text(run.map(|run| run.seconds)),
        text(run.map(|run| run.rate)),
        text(run.and_then(|run| run.bytes_per_second)),
        text(run.and_then(|run| run.client_cpu_seconds)),
        text(run.and_then(|run| run.server_cpu_seconds)),
        text(run.and_then(|run| run.client_peak_bytes)),
        text(run.and_then(|run| run.server_peak_bytes)),
        text(run.and_then(|run| run.wal_bytes)),
        phase("prepare"),
        phase("write"),
        phase("read"),
        phase("encode"),
        phase("confirm"),
        phase("finish"),
        phase("commit"),
        phase("analyze"),
        latency("p50"),
        latency("p90"),
        latency("p95"),
        latency("p99"),
        latency("p99.9"),
        latency("p99.99"),
        text(rate.map(|rate| rate.median)),
        text(rate.map(|rate| rate.min)),
        text(rate.map(|rate| rate.max)),
        text(result.ratio),
        text(interval.map(|(low, _)| low)),
        text(interval.map(|(_, high)| high)),
        result.failed.clone().unwrap_or_default(),
    ]
}
