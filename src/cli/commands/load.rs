//! `load`: CSV into the table.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use postgres_etl::csv::{Input, Inputs};
use postgres_etl::document::JsonDocument;
use postgres_etl::escape::escape_path;
use postgres_etl::load::{LoadOptions, LoadReport, Loader, Mode, Outcome, log_path};
use postgres_etl::output_file::AtomicFile;
use postgres_etl::postgres::ServerFacts;
use postgres_etl::{Error, ErrorKind, Phase, Progress, Result};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::cli::args;
use crate::cli::commands::{Context, generate};
use crate::cli::config::LoadCommand;
use crate::cli::exit;
use crate::cli::page::{Document, PageFile};
use crate::cli::render::{Failure, Report, ambiguous_dates};
use crate::cli::terminal::progress_line::ProgressLine;

/// Run the command.
///
/// # Errors
/// When the flags are wrong, or the file was not loaded.
pub(crate) async fn run(context: &Context<'_>, flags: &args::Load) -> Result<u8> {
    let planned = plan(context, flags).await;
    let LoadCommand { options, ddl_only, receipt, html, ndjson_rejects, .. } =
        planned.inspect_err(|error| replace_receipt(flags.receipt.as_deref(), error))?;
    let page = html.filter(|_| !ddl_only).map(|path| PageFile::open(&path)).transpose();
    let page = page.inspect_err(|error| replace_receipt(flags.receipt.as_deref(), error))?;
    let progress = Arc::new(context.progress());
    let mut receipt = match receipt.filter(|_| !ddl_only) {
        Some(path) => Some(Receipt::begin(path, &options, &progress)?),
        None => None,
    };
    let done = match load(context, &options, (ddl_only, ndjson_rejects), &progress, receipt.as_mut()).await {
        Ok(Some(done)) => done,
        Ok(None) => return Ok(exit::DONE),
        Err(error) => {
            let error = with_table_named(error, flags, &options);
            if let Some(Err(unwritten)) = receipt.map(|receipt| receipt.failed(&error)) {
                super::say(&unwritten.to_string());
            }
            return Err(error);
        }
    };
    let Done { report, has_header, closed } = done;
    let is_good = report.rows_rejected == 0 && report.failed_afterwards.is_empty();
    // The receipt first: it must not depend on who reads standard output.
    let afterwards = [
        receipt.map_or(Ok(()), |receipt| receipt.finish(&report)),
        page.map_or(Ok(()), |page| page.write(&[Document::from_report(&report)]).map(|_| ())),
        context.print(&report, is_good),
        closed,
    ];
    let failed = report.failed_afterwards.iter().cloned();
    let failed: Vec<String> =
        failed.chain(afterwards.into_iter().filter_map(Result::err).map(|error| error.to_string())).collect();
    if !failed.is_empty() {
        let rejected = match report.rows_rejected {
            0 => String::new(),
            rows => format!(", without {rows} rejected"),
        };
        let what = if report.dry_run { "the dry run is done" } else { "the rows are loaded and committed" };
        for error in failed {
            super::say(&format!("error: {error}\n  help: {what}{rejected}; only this failed"));
        }
        return Ok(exit::LOADED_BUT);
    }
    if let Some(warning) = ambiguous_dates(&report) {
        context.note(&format!("warning: {warning}"));
    }
    if report.rows_read == 0 && report.import.is_none() {
        let what = match report.rows_passed_over {
            0 if report.limit == Some(0) => "was not read",
            0 if has_header => "has a header but no rows",
            0 => "is empty",
            _ => "has no rows after those passed over",
        };
        context.note(&format!("{} {what}: no rows were loaded", report.path));
    }
    let rejected = report.import.as_ref().map_or(report.rows_rejected, |import| import.rows_rejected);
    Ok(if rejected > 0 { exit::LOADED_WITH_REJECTS } else { exit::DONE })
}

/// `error`, with a hint if it may be due to a table that was not named.
fn with_table_named(error: Error, flags: &args::Load, options: &LoadOptions) -> Error {
    let is_default = flags.input.table.is_none() && !flags.input.files.is_empty();
    match error.help() {
        Some(help) if is_default && help.starts_with("its columns are ") => {
            let help = format!(
                "{help}; if the file is not for {}, name its table with --table",
                options.input.table.name
            );
            error.with_help(help)
        }
        _ => error,
    }
}

/// What is to be done, with the input generated where it is missing.
async fn plan(context: &Context<'_>, flags: &args::Load) -> Result<LoadCommand> {
    let mut command = context.config.load(flags)?;
    if let Some(generated) = command.generate.take() {
        let path = escape_path(&generated.output);
        context.note(&format!("{path} does not exist: generating it, as [generate] says"));
        context.note(&generate::generate(context, generated).await?.text());
    }
    check_outputs(&command)?;
    Ok(command)
}

/// Write `error`, which came before the load, in the place of an earlier receipt at `path`. Any other file stays: nothing
/// has been checked yet, and it may be an input.
pub(super) fn replace_receipt(path: Option<&Path>, error: &Error) {
    let Some(path) = path.filter(|path| is_receipt(path)) else { return };
    if let Err(unwritten) = write_receipt(path, &UnstartedLoad::new(error)) {
        super::say(&unwritten.and("the receipt there is that of an earlier load").to_string());
    }
}

/// Replace an earlier receipt, where the command line `arguments` names one but cannot be understood because of `error`.
pub(super) fn replace_named_receipt(arguments: &[String], error: &Error) {
    let values = arguments.windows(2).filter(|pair| pair[0] == "--receipt").map(|pair| pair[1].as_str());
    let joined = arguments.iter().filter_map(|argument| argument.strip_prefix("--receipt="));
    for path in values.chain(joined) {
        replace_receipt(Some(Path::new(path)), error);
    }
}

/// Whether the file `path` is a receipt.
fn is_receipt(path: &Path) -> bool {
    // Reading a pipe or a device may never end.
    if !path.metadata().is_ok_and(|file| file.is_file()) {
        return false;
    }
    let earlier = std::fs::read(path).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok());
    earlier.is_some_and(|earlier| earlier["command"] == "load")
}

fn write_receipt(path: &Path, document: &impl Serialize) -> Result<()> {
    AtomicFile::create_private("receipt", path)?.write_json(&JsonDocument::new(document))
}

/// The receipt of a load that was refused before it began.
#[derive(Serialize, JsonSchema)]
pub(super) struct UnstartedLoad<'a> {
    #[serde(flatten)]
    failure: Failure<'a>,
    /// Always `rolled back`.
    outcome: Outcome,
    /// Always 0.
    rows_loaded: u64,
}

impl<'a> UnstartedLoad<'a> {
    fn new(error: &'a Error) -> Self {
        UnstartedLoad { failure: Failure::new("load", error), outcome: Outcome::RolledBack, rows_loaded: 0 }
    }
}

/// A finished load.
struct Done {
    report: LoadReport,
    has_header: bool,
    /// The result of closing the connections and the embedded server.
    closed: Result<()>,
}

/// Everything that a receipt covers; `None` if only the CREATE TABLE statement was wanted.
async fn load(
    context: &Context<'_>,
    options: &LoadOptions,
    (ddl_only, ndjson_rejects): (bool, Option<PathBuf>),
    progress: &Arc<Progress>,
    mut receipt: Option<&mut Receipt<'_>>,
) -> Result<Option<Done>> {
    let loader = Loader::new(options)?;
    context.config.check_pool(loader.connections_needed())?;
    progress.begin(Phase::Opening, None);
    let line = ProgressLine::show(context.display(), progress);
    // Before a server is started for it.
    let mut open = loader.open().await?;
    if let Some(path) = ndjson_rejects {
        open.reject_ndjson_into(path);
    }
    if let Some(sniffed) = open.sniffed() {
        context.note(&format!("sniffed: {sniffed}"));
    }
    if ddl_only {
        let statement = open.create_statement(progress).await?;
        drop(line);
        super::print(&statement)?;
        return Ok(None);
    }
    progress.begin(Phase::Connecting, None);
    let has_header = open.has_header();
    let database = match options.input.mode {
        Mode::Null => None,
        _ => Some(context.database().await?),
    };
    context.interrupt.cancels(progress, database.as_ref());
    if let (Some(receipt), Some(database)) = (&mut receipt, &database) {
        receipt.server = database.known_facts();
    }
    let result = match &database {
        Some(database) => match open.commit(database, progress).await {
            Ok(committed) => {
                // Whatever happens from now on cannot change it.
                let unwritten = receipt.and_then(|receipt| receipt.write(&committed.report).err());
                let mut report = committed.finish(progress).await;
                report.failed_afterwards.extend(unwritten.map(|error| error.to_string()));
                Ok(report)
            }
            Err(error) => Err(error),
        },
        None => open.encode(progress).await,
    };
    drop(line);
    let closed = match database {
        Some(database) => database.close().await,
        None => Ok(()),
    };
    Ok(Some(Done { report: result?, has_header, closed }))
}

/// Check that no output replaces an input, a device, or another output.
fn check_outputs(command: &LoadCommand) -> Result<()> {
    let LoadCommand { options, receipt, html, ndjson_rejects, .. } = command;
    let identity = |path: &Path| path.metadata().ok().map(|file| (file.dev(), file.ino()));
    // One at a time, so that a missing file leaves the others protected.
    let found = options.input.paths.iter().flat_map(|name| Inputs::expand(std::slice::from_ref(name)));
    let mut taken: Vec<_> = found
        .flatten()
        .filter_map(|input| match input {
            Input::File(path) => identity(&path),
            Input::Stdin | Input::Reader(_) | Input::Spooled(..) => None,
        })
        .collect();
    let mut rejects = vec![&options.rejects];
    // What comes from standard input may be NDJSON.
    let reads_stdin = options.input.paths.iter().any(|path| path.as_os_str() == "-");
    rejects.extend(ndjson_rejects.iter().filter(|path| reads_stdin && **path != options.rejects));
    let mut logs: Vec<PathBuf> = rejects.iter().map(|path| log_path(path)).collect();
    logs.dedup();
    let rejects = rejects.into_iter().chain(&logs).filter(|_| options.max_rejects.allows_any());
    let written = [("--receipt", receipt), ("--html", html)];
    let written = written.into_iter().filter_map(|(flag, path)| Some((flag, path.as_ref()?)));
    let outputs = written.chain(rejects.map(|path| ("--rejects", path)));
    let mut names: Vec<&Path> = Vec::new();
    for (flag, path) in outputs.map(|(flag, path)| (flag, path.as_path())) {
        let refuse = |reason: &str| {
            let message = format!("{flag}: {} {reason}", escape_path(path));
            Err(Error::usage(message).with_help(format!("name another file with {flag}")))
        };
        if path.metadata().is_ok_and(|file| !file.is_file()) {
            return refuse("is not a regular file");
        }
        if names.contains(&path) || identity(path).is_some_and(|file| taken.contains(&file)) {
            return refuse("is already read or written by this load");
        }
        names.push(path);
        taken.extend(identity(path));
    }
    Ok(())
}

/// The file that says what became of the load, whatever happens to the program.
struct Receipt<'a> {
    path: PathBuf,
    options: &'a LoadOptions,
    progress: Arc<Progress>,
    server: Arc<OnceLock<ServerFacts>>,
    is_written: bool,
}

impl<'a> Receipt<'a> {
    /// Write that the load has begun, in the place of the receipt of an earlier load.
    fn begin(path: PathBuf, options: &'a LoadOptions, progress: &Arc<Progress>) -> Result<Receipt<'a>> {
        let begun = Error::new(ErrorKind::OutcomeUnknown, "the load has begun and not ended")
            .with_help("if it is no longer running, it was killed: look into the table");
        let begun = FailedLoad {
            outcome: Outcome::Unknown,
            rows_loaded: None,
            rows_loaded_at_most: None,
            ..FailedLoad::new(options, progress, None, &begun)
        };
        if let Err(error) = write_receipt(&path, &begun) {
            // Nor may it seem to be that of this load.
            return Err(match is_receipt(&path).then(|| std::fs::remove_file(&path)) {
                Some(Ok(())) => error.and("the receipt of an earlier load was removed"),
                Some(Err(_)) => error.and("the receipt there is that of an earlier load"),
                None => error,
            });
        }
        let (progress, server) = (Arc::clone(progress), Arc::default());
        Ok(Receipt { path, options, progress, server, is_written: false })
    }

    fn write(&self, document: &impl Serialize) -> Result<()> {
        write_receipt(&self.path, document)
    }

    /// Write that the load ended with `error`.
    fn failed(mut self, error: &Error) -> Result<()> {
        self.is_written = true;
        self.write(&self.failure(error))
    }

    /// What is known of the load that ended with `error`.
    fn failure<'e>(&'e self, error: &'e Error) -> FailedLoad<'e> {
        FailedLoad::new(self.options, &self.progress, self.server.get(), error)
    }

    /// Write the report of the load.
    fn finish(mut self, report: &LoadReport) -> Result<()> {
        self.is_written = true;
        self.write(report)
    }
}

impl Drop for Receipt<'_> {
    fn drop(&mut self) {
        if !self.is_written {
            // A second signal has ended the wait for the load.
            let unknown = self.progress.unknown_outcome("interrupted");
            let error = unknown.unwrap_or_else(Error::interrupted);
            if let Err(unwritten) = self.write(&self.failure(&error)) {
                super::say(&unwritten.to_string());
            }
        }
    }
}

/// The receipt of a failed load: the error, and how far it got.
#[derive(Serialize, JsonSchema)]
pub(super) struct FailedLoad<'a> {
    #[serde(flatten)]
    failure: Failure<'a>,
    /// What became of the rows.
    outcome: Outcome,
    /// How rows reached the server.
    mode: Mode,
    /// The table, as `schema.name` or `name`.
    table: String,
    /// The files, separated by commas.
    path: String,
    /// Records that were read until then.
    rows_read: u64,
    /// Rows that are known to be committed; `None` before the load has ended.
    rows_loaded: Option<u64>,
    /// The most rows that may be committed: more than `rows_loaded` if the answer to a COMMIT was lost.
    rows_loaded_at_most: Option<u64>,
    /// Records that were rejected until then.
    rows_rejected: u64,
    /// Bytes of the files that were read until then.
    bytes_read: u64,
    /// The transactions whose commit was requested.
    transactions: Vec<RequestedTransaction>,
    /// The server, and its settings that affect timings; `None` if it was not reached.
    server: Option<&'a ServerFacts>,
}

/// A transaction whose commit was requested, but failed or has an unknown outcome.
#[derive(Serialize, JsonSchema)]
struct RequestedTransaction {
    /// Its ID, as `pg_current_xact_id()` returns it.
    id: String,
}

impl<'a> FailedLoad<'a> {
    fn new(
        options: &LoadOptions,
        progress: &Progress,
        server: Option<&'a ServerFacts>,
        error: &'a Error,
    ) -> Self {
        let (least, more) = (progress.committed(), progress.uncertain());
        let outcome = match (least, more) {
            _ if progress.is_concluded() => Outcome::Committed,
            _ if error.kind() == ErrorKind::OutcomeUnknown => Outcome::Unknown,
            (0, 0) if progress.has_emptied_table() => Outcome::PartlyCommitted,
            (0, 0) => Outcome::RolledBack,
            (_, 0) => Outcome::PartlyCommitted,
            _ => Outcome::Unknown,
        };
        FailedLoad {
            failure: Failure::new("load", error),
            outcome,
            mode: options.input.mode,
            table: options.input.table.name.to_string(),
            path: options.input.describe(),
            rows_read: progress.rows(),
            rows_loaded: Some(least),
            rows_loaded_at_most: Some(least + more),
            rows_rejected: progress.rejected(),
            bytes_read: progress.bytes(),
            transactions: progress
                .transaction_ids()
                .into_iter()
                .map(|id| RequestedTransaction { id })
                .collect(),
            server,
        }
    }
}
