//! `load`: CSV into the table.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use postgres_etl::csv::{Input, Inputs};
use postgres_etl::load::{LoadOptions, LoadReport, Loader, Mode, log_path};
use postgres_etl::output_file::AtomicFile;
use postgres_etl::{Error, Progress, Result};
use serde::Serialize;

use crate::cli::args;
use crate::cli::commands::{Context, generate};
use crate::cli::config::LoadCommand;
use crate::cli::exit;
use crate::cli::render::{Failure, Report};
use crate::cli::terminal::progress_bar::ProgressLine;

/// Run the command.
///
/// # Errors
/// When the flags are wrong, or the file was not loaded.
pub(crate) async fn run(context: &Context<'_>, flags: &args::Load) -> Result<u8> {
    let LoadCommand { options, generate, ddl_only, receipt } = context.config.load(flags)?;
    if let Some(generated) = generate {
        let path = generated.output.display();
        context.note(&format!("{path} does not exist: generating it, as [generate] says"));
        context.note(&generate::generate(context, generated).await?.text());
    }
    check_outputs(&options, receipt.as_deref())?;
    let receipt = receipt.map(|path| AtomicFile::create("receipt", &path)).transpose()?;
    let progress = Arc::new(context.progress());
    let done = match load(context, &options, ddl_only, &progress).await {
        Ok(Some(done)) => done,
        Ok(None) => return Ok(exit::DONE),
        Err(error) => {
            let written = receipt.map(|file| file.write_json(&FailedLoad::new(&options, &progress, &error)));
            if let Some(Err(unwritten)) = written {
                context.note(&unwritten.to_string());
            }
            return Err(error);
        }
    };
    let Done { report, has_header, closed } = done;
    // Whatever happens to the receipt, this reports what was done.
    context.print(&report)?;
    if let Some(receipt) = receipt {
        let written = receipt.write_json(&report);
        written.map_err(|error| {
            error.with_help("the load succeeded, as reported; only the receipt is missing")
        })?;
    }
    closed?;
    if report.rows_read == 0 {
        let what = if has_header { "has a header but no rows" } else { "is empty" };
        context.note(&format!("{} {what}: no rows were loaded", report.path));
    }
    Ok(if report.rows_rejected > 0 { exit::LOADED_WITH_REJECTS } else { exit::DONE })
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
    ddl_only: bool,
    progress: &Arc<Progress>,
) -> Result<Option<Done>> {
    let loader = Loader::new(options)?;
    context.config.check_pool(loader.connections_needed())?;
    // Before a server is started for it.
    let open = loader.open().await?;
    if let Some(sniffed) = open.sniffed() {
        context.note(&format!("sniffed: {sniffed}"));
    }
    if ddl_only {
        super::print(&open.create_statement().await?)?;
        return Ok(None);
    }
    let has_header = open.has_header();
    let database = match options.input.mode {
        Mode::Null => None,
        _ => Some(context.database().await?),
    };
    context.interrupt.cancels(progress, database.as_ref());
    let line = ProgressLine::draw(context.draws(), "loading", progress, None, open.size());
    let result = match &database {
        Some(database) => open.run(database, progress).await,
        None => open.encode(progress).await,
    };
    line.finish();
    let closed = match database {
        Some(database) => database.close().await,
        None => Ok(()),
    };
    Ok(Some(Done { report: result?, has_header, closed }))
}

/// Check that no output replaces an input, a device, or another output.
fn check_outputs(options: &LoadOptions, receipt: Option<&Path>) -> Result<()> {
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
    let log = log_path(&options.rejects);
    let outputs = [
        ("--receipt", receipt),
        ("--rejects", Some(options.rejects.as_path()).filter(|_| options.max_rejects.allows_any())),
        ("--rejects", Some(log.as_path()).filter(|_| options.max_rejects.allows_any())),
    ];
    let mut names: Vec<&Path> = Vec::new();
    for (flag, path) in outputs.into_iter().filter_map(|(flag, path)| Some((flag, path?))) {
        let refuse = |reason: &str| {
            let message = format!("{flag}: {} {reason}", path.display());
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

/// The receipt of a failed load: the error, and how far it got.
#[derive(Serialize)]
struct FailedLoad<'a> {
    #[serde(flatten)]
    failure: Failure<'a>,
    mode: Mode,
    table: String,
    path: String,
    rows_read: u64,
    /// 0 if everything was rolled back.
    rows_loaded: u64,
    rows_rejected: u64,
    bytes_read: u64,
}

impl<'a> FailedLoad<'a> {
    fn new(options: &LoadOptions, progress: &Progress, error: &'a Error) -> Self {
        FailedLoad {
            failure: Failure::new("load", error),
            mode: options.input.mode,
            table: options.input.table.name.to_string(),
            path: options.input.describe(),
            rows_read: progress.rows(),
            rows_loaded: progress.committed(),
            rows_rejected: progress.rejected(),
            bytes_read: progress.bytes(),
        }
    }
}
