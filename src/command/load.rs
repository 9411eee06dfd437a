//! `load`: CSV into the table.

use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use tempfile::NamedTempFile;

use super::{Context, generate};
use crate::cli;
use crate::config::{CreateSettings, LoadSettings, Mode};
use crate::error::Kind;
use crate::load::{self, Creation, LoadReport, rejects};
use crate::postgres::database::{Database, blocking};
use crate::progress::{Counters, Progress};
use crate::report::{Failure, Report};
use crate::source::{Files, Input, Inputs};
use crate::table::Table;
use crate::{Error, Result};

/// The exit code of a load that set rows aside.
const LOADED_WITH_REJECTS: u8 = 3;

/// Run the command.
///
/// # Errors
/// When the flags are wrong, or the file was not loaded.
pub async fn run(context: &Context<'_>, flags: &cli::Load) -> Result<u8> {
    let mut settings = context.config.load(flags)?;
    if let Some(generated) = settings.input.generate.take() {
        let path = generated.output.display();
        context.note(&format!("{path} does not exist: generating it, as [generate] says"));
        context.note(&generate::generate(context, generated).await?.text());
    }
    check_outputs(&settings)?;
    let receipt = settings.receipt.as_deref().map(Receipt::create).transpose()?;
    let counters = Arc::new(Counters::default());
    let done = match run_with(context, &settings, &counters).await {
        Ok(Some(done)) => done,
        Ok(None) => return Ok(0),
        Err(error) => {
            let kept = receipt.map(|receipt| receipt.keep(&FailedLoad::new(&settings, &counters, &error)));
            if let Some(Err(unkept)) = kept {
                context.note(&unkept.to_string());
            }
            return Err(error);
        }
    };
    let Done { report, has_header, closed } = done;
    // Whatever becomes of the receipt, this says what was done.
    context.print(&report)?;
    if let Some(receipt) = receipt {
        let kept = receipt.keep(&report);
        kept.map_err(|error| error.with_help("the load is done, as reported; only the receipt is missing"))?;
    }
    closed?;
    if report.rows_read == 0 {
        let what = if has_header { "has a header and no rows" } else { "is empty" };
        context.note(&format!("{} {what}: no rows were loaded", report.path));
    }
    Ok(if report.rows_rejected > 0 { LOADED_WITH_REJECTS } else { 0 })
}

/// A load that came to its end.
struct Done {
    report: LoadReport,
    has_header: bool,
    /// Whether the server was left in order.
    closed: Result<()>,
}

/// All that a receipt tells of; `None` where only the statement for a table was asked for.
async fn run_with(
    context: &Context<'_>,
    settings: &LoadSettings,
    counters: &Arc<Counters>,
) -> Result<Option<Done>> {
    // Before a server is started for it.
    let inputs = Inputs::resolve(&settings.input.inputs)?;
    let size = inputs.size();
    let format = settings.input.format.clone();
    // To create a table for it, it is read twice.
    let spools = settings.create.is_some();
    let inputs = blocking(move || if spools { inputs.spooled() } else { Ok(inputs) }).await?;
    let files = blocking(|| Files::open(inputs, format)).await?;
    if let Some(sniffed) = files.sniffed() {
        context.note(&format!("sniffed: {sniffed}"));
    }
    if let Some(CreateSettings { ddl_only: true, .. }) = settings.create {
        let creation = infer(settings, &files).await?;
        super::print(&format!("{};", creation.ddl))?;
        return Ok(None);
    }
    let has_header = files.header().is_some();
    let database = match settings.input.mode {
        Mode::Null => None,
        _ => Some(context.database(settings.session()).await?),
    };
    context.interrupt.cancels(counters, database.as_ref());
    let progress = Progress::draw(context.draws(), "loading", counters, None, size);
    let result = match &database {
        Some(database) => load(context, settings, files, database, counters).await,
        None => load::encode(settings, files, counters).await,
    };
    progress.finish();
    let closed = match database {
        Some(database) => database.close().await,
        None => Ok(()),
    };
    Ok(Some(Done { report: result?, has_header, closed }))
}

async fn load(
    context: &Context<'_>,
    settings: &LoadSettings,
    files: Files,
    database: &Database,
    counters: &Arc<Counters>,
) -> Result<LoadReport> {
    let mut creation = None;
    if let Some(create) = settings.create {
        let name = &settings.input.table.name;
        let there = Table::find(&**database.connection().await?, name).await?.is_some();
        if !there || create.replace {
            let mut created = infer(settings, &files).await?;
            created.replaces = there;
            context.note(&format!("{};", created.ddl));
            // Whoever allows for bad rows may want these to be among them.
            for spoiled in created.spoiled().iter().filter(|_| settings.max_rejects.allows_any()) {
                context.note(spoiled);
            }
            creation = Some(created);
        } else {
            context.note(&format!("{name} is there already, so --create has nothing to do"));
        }
    }
    load::load(settings, files, creation.as_ref(), database, counters).await
}

/// The table that the file asks for.
async fn infer(settings: &LoadSettings, files: &Files) -> Result<Creation> {
    let (inputs, format) = (files.inputs().clone(), files.format().clone());
    let columns = settings.input.naming.columns.clone();
    let most = settings.create.and_then(|create| create.infer_rows);
    let inference = blocking(move || load::infer(&inputs, &format, columns.as_deref(), most)).await?;
    Ok(Creation::new(settings.input.table.name.clone(), inference))
}

/// See that nothing that is written takes the place of what is read, of a device, or of another output.
fn check_outputs(settings: &LoadSettings) -> Result<()> {
    let identity = |path: &Path| path.metadata().ok().map(|file| (file.dev(), file.ino()));
    // Each by itself, so that one that is not there leaves the others protected.
    let found = settings.input.inputs.iter().flat_map(|name| Inputs::find(std::slice::from_ref(name)));
    let mut taken: Vec<_> = found
        .flatten()
        .filter_map(|input| match input {
            Input::File(path) => identity(&path),
            Input::Stdin | Input::Spooled(..) => None,
        })
        .collect();
    let log = rejects::log_path(&settings.rejects);
    let outputs = [
        ("--receipt", settings.receipt.as_deref()),
        ("--rejects", Some(settings.rejects.as_path()).filter(|_| settings.max_rejects.allows_any())),
        ("--rejects", Some(log.as_path()).filter(|_| settings.max_rejects.allows_any())),
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
            return refuse("is read, or written, by this load already");
        }
        names.push(path);
        taken.extend(identity(path));
    }
    Ok(())
}

/// The receipt of a load that failed: why, and how far it came.
#[derive(Serialize)]
struct FailedLoad<'a> {
    #[serde(flatten)]
    failure: Failure<'a>,
    mode: Mode,
    table: String,
    path: String,
    rows_read: u64,
    /// 0 where everything was rolled back.
    rows_loaded: u64,
    rows_rejected: u64,
    bytes_read: u64,
}

impl<'a> FailedLoad<'a> {
    fn new(settings: &LoadSettings, counters: &Counters, error: &'a Error) -> Self {
        let paths: Vec<_> = settings.input.inputs.iter().map(|path| path.display().to_string()).collect();
        FailedLoad {
            failure: Failure::new("load", error),
            mode: settings.input.mode,
            table: settings.input.table.name.to_string(),
            path: paths.join(", "),
            rows_read: counters.rows(),
            rows_loaded: counters.committed(),
            rows_rejected: counters.rejected(),
            bytes_read: counters.bytes(),
        }
    }
}

/// A report that is kept: the file appears when it is complete.
struct Receipt<'a> {
    path: &'a Path,
    file: NamedTempFile,
}

impl<'a> Receipt<'a> {
    /// Create it before anything is loaded, so that a bad path costs nothing.
    fn create(path: &'a Path) -> Result<Self> {
        let file = crate::report::temporary_beside(path)
            .map_err(|error| Error::io(Kind::Output, "create the receipt", path, &error))?;
        Ok(Receipt { path, file })
    }

    fn keep(mut self, report: &impl Serialize) -> Result<()> {
        let failed = |error: &std::io::Error| Error::io(Kind::Output, "write the receipt", self.path, error);
        serde_json::to_writer_pretty(&mut self.file, report)
            .map_err(std::io::Error::from)
            .and_then(|()| writeln!(self.file))
            .map_err(|error| failed(&error))?;
        self.file.persist(self.path).map_err(|error| failed(&error.error))?;
        Ok(())
    }
}
