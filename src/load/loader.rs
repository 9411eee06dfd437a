//! A load, from its options to its report.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::blocking::blocking;
use crate::catalog::{Table, TableName};
use crate::csv::{Files, Inputs, Sniffed, Syntax};
use crate::load::ledger::import::Import;
use crate::load::ledger::tables::LedgerTables;
use crate::load::mapping::header_names;
use crate::load::options::{ImportOptions, LoadOptions, Mode, PartitionRouting};
use crate::load::reject::orphans::Orphans;
use crate::load::replication;
use crate::load::report::{self, LoadReport, Phases};
use crate::load::run::import::retries::Retries;
use crate::load::run::stop::Stopped;
use crate::load::run::{
    LoadRun, RowChecks, RunResult, autocommit, encode_only, import, one_transaction, parallel_copy,
};
use crate::load::settings::LoadSettings;
use crate::load::table::analyze::analyze;
use crate::load::table::create::{NewTable, infer};
use crate::load::table::partitions::PartitionsWritten;
use crate::postgres::options::check_pool;
use crate::postgres::server::{Database, SessionPool};
use crate::progress::{Phase, Progress, Total};
use crate::{Error, Result};

/// Loads CSV into a table.
///
/// ```no_run
/// # use std::sync::Arc;
/// # use postgres_etl::load::{LoadOptions, Loader};
/// # use postgres_etl::postgres::{Database, DatabaseOptions};
/// # use postgres_etl::Progress;
/// # async fn example(database: &Database) -> postgres_etl::Result<()> {
/// let loader = Loader::new(&LoadOptions::new(["people.csv"], "persons")?)?;
/// let report = loader.run(database, &Arc::new(Progress::default())).await?;
/// println!("{} rows in {:.2} s", report.rows_loaded, report.seconds);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Loader {
    settings: LoadSettings,
}

/// How long to wait for an ANALYZE to end that was cancelled.
const ANALYZE_PATIENCE: Duration = Duration::from_secs(1);

/// A [`Loader`] whose files are open, so that errors in them are found before a server is contacted.
#[derive(Debug)]
pub struct OpenLoad<'a> {
    settings: &'a LoadSettings,
    files: Files,
    /// The file of the rejects; `None` as the settings say.
    rejects: Option<PathBuf>,
}

/// A load that is committed, or rolled back as a dry run, but not finished: its table has not been analyzed yet.
#[derive(Debug)]
pub struct CommittedLoad {
    /// The report so far.
    pub report: LoadReport,
    settings: LoadSettings,
    connections: SessionPool,
    committed: Instant,
}

impl CommittedLoad {
    /// Wait for the standbys, if that is wanted; analyze the table, if that is wanted and much of it is new; and complete
    /// the report. What fails is in [`LoadReport::failed_afterwards`].
    pub async fn finish(self, progress: &Arc<Progress>) -> LoadReport {
        let CommittedLoad { mut report, settings, connections, committed } = self;
        if let Some(patience) = settings.wait_for_replicas {
            progress.begin(Phase::WaitingForStandbys, None);
            let (replication, failed) = replication::wait(&connections, committed, patience, progress).await;
            report.replication = Some(replication);
            report.failed_afterwards.extend(failed);
        }
        if settings.analyze && !settings.dry_run {
            let interrupted = async {
                progress.cancelled().await;
                tokio::time::sleep(ANALYZE_PATIENCE).await;
            };
            progress.begin(Phase::Analyzing, None);
            let rows = (report.rows_loaded, report.distribution.is_some());
            let analyzed = async {
                if progress.is_cancelled() {
                    return Err(Error::interrupted());
                }
                tokio::select! {
                    analyzed = analyze(&settings.input.table.name, rows, &connections) => analyzed,
                    () = interrupted => Err(Error::interrupted()),
                }
            };
            match analyzed.await {
                Ok(seconds) => report.phases.analyze_seconds = seconds,
                Err(_) if progress.is_cancelled() => {
                    report.failed_afterwards.push("interrupted: the table was not analyzed".to_owned());
                }
                Err(error) => report.failed_afterwards.push(error.to_string()),
            }
        }
        report.warnings = connections.messages().warnings();
        report
    }
}

impl Loader {
    /// Check `options`, and fill in the defaults.
    ///
    /// # Errors
    /// As [`LoadOptions::check`].
    pub fn new(options: &LoadOptions) -> Result<Self> {
        Ok(Loader { settings: LoadSettings::new(options)? })
    }

    /// Number of connections that a load needs at the same time, which its pool has to allow.
    pub fn connections_needed(&self) -> usize {
        self.settings.connections_needed()
    }

    /// Open the files and read the first header.
    ///
    /// If the input has to be read twice but can be read only once, such as a pipe, it is first copied to a temporary
    /// file.
    ///
    /// # Errors
    /// [`ErrorKind::Input`](crate::ErrorKind::Input) when a file cannot be read, or its first record is not a header.
    pub async fn open(&self) -> Result<OpenLoad<'_>> {
        let settings = &self.settings;
        let inputs = match &settings.input.reader {
            Some(reader) => Inputs::from_reader(reader.clone()),
            None => Inputs::resolve(&settings.input.paths)?,
        };
        let format = settings.input.file_format();
        // Creating a table reads the input twice: once to infer the types, once to load.
        let is_read_twice = settings.create.is_some();
        let inputs = blocking(move || if is_read_twice { inputs.spooled() } else { Ok(inputs) }).await?;
        let has_keys = !format.keys.is_empty();
        let files = blocking(move || {
            let files = Files::open(inputs, format)?;
            if has_keys { Ok(files) } else { files.with_all_keys() }
        });
        let files = files.await?;
        log_input(&files);
        Ok(OpenLoad { settings, files, rejects: None })
    }

    /// Open the files and load them over connections to `database`.
    ///
    /// `progress` counts rows and bytes, receives notes, and can cancel the load: after [`Progress::cancel`] it ends
    /// with [`ErrorKind::Interrupted`](crate::ErrorKind::Interrupted) at the next chunk. To cancel the statement that
    /// the server is executing, use [`Database::canceller`].
    ///
    /// # Errors
    /// At the first record that cannot be loaded, unless rejects are allowed. Any other refusal by the server is
    /// always an error. Without [`autocommit`](LoadOptions::autocommit) the table is then unchanged.
    pub async fn run(&self, database: &Database, progress: &Arc<Progress>) -> Result<LoadReport> {
        self.open().await?.run(database, progress).await
    }
}

impl OpenLoad<'_> {
    /// Size of all inputs as stored, in bytes; `None` if it is unknown, as for a pipe.
    pub fn size(&self) -> Option<u64> {
        self.files.inputs().size()
    }

    /// The dialect detected in the first file; `None` if it was not to be detected.
    pub fn sniffed(&self) -> Option<&Sniffed> {
        self.files.sniffed()
    }

    /// Set bad rows aside in the file `path` instead, if the files are NDJSON.
    pub fn reject_ndjson_into(&mut self, path: PathBuf) {
        if self.files.format().syntax == Syntax::Ndjson {
            self.rejects = Some(path);
        }
    }

    /// Whether the input has a header.
    pub fn has_header(&self) -> bool {
        let is_detected = |sniffed: &Sniffed| sniffed.dialect.header && sniffed.records > 0;
        self.files.header().is_some() || self.files.sniffed().is_some_and(is_detected)
    }

    /// The statements that create a table for the files.
    ///
    /// # Errors
    /// When the files cannot be read, or neither a header nor the options name their columns.
    pub async fn create_statement(&self, progress: &Arc<Progress>) -> Result<String> {
        Ok(self.new_table(progress).await?.ddl)
    }

    /// Read and encode the files as [`Mode::Null`] does, without a server.
    ///
    /// # Errors
    /// When a column of the described table has a type that only a server knows, and at the first record that cannot
    /// be loaded into the table.
    pub async fn encode(self, progress: &Arc<Progress>) -> Result<LoadReport> {
        progress.begin(Phase::Reading, self.size().map(Total::Bytes));
        encode_only::encode(self.settings, self.files, progress).await
    }

    /// As [`Loader::run`].
    ///
    /// # Errors
    /// As [`Loader::run`].
    pub async fn run(self, database: &Database, progress: &Arc<Progress>) -> Result<LoadReport> {
        if self.settings.input.mode == Mode::Null {
            return self.encode(progress).await;
        }
        Ok(self.commit(database, progress).await?.finish(progress).await)
    }

    /// Load the files and commit, but do not do yet what follows: what became of the rows is known now.
    ///
    /// # Errors
    /// As [`Loader::run`].
    pub async fn commit(self, database: &Database, progress: &Arc<Progress>) -> Result<CommittedLoad> {
        check_pool(self.settings.connections_needed(), database.pool_size())?;
        progress.begin(Phase::PreparingTable, None);
        let connections = database.session_pool(self.settings.session())?;
        // Nothing of an import is done before it has begun, and so nothing can be done twice.
        let mut retries = Retries::new(self.settings.import.as_ref().map_or(0, |import| import.retries));
        // Before a large file is read to infer types.
        let check = async || connections.check_writable(&*connections.get().await?).await;
        retries.until_done(progress, check).await?;
        let this = self.settle_header((&connections, &mut retries), progress).await?;
        let OpenLoad { settings, .. } = &this;
        let new_table = this.new_table_if_needed((&connections, &mut retries), progress).await?;
        let mut settings = (*settings).clone();
        if let Some(rejects) = &this.rejects {
            settings.rejects.clone_from(rejects);
        }
        // Three connections: two that COPY, and one that watches for deadlocks.
        let fits_two = check_pool(3, database.pool_size()).is_ok();
        if settings.may_use_two
            && fits_two
            && parallel_copy::is_faster(&settings, &connections, this.files.inputs()).await?
        {
            settings.connections = 2;
            tracing::info!("two connections, because the table has rows and the files are large");
        }
        let reached = (&connections, &mut retries);
        let loaded = load_and_commit(&settings, this.files, new_table.as_ref(), reached, progress).await;
        let report = loaded.map_err(|error| {
            let error = connections.messages().explain(error);
            let is_atomic = !settings.autocommit && settings.import.is_none();
            let is_untouched = is_atomic
                && progress.committed() + progress.uncertain() == 0
                && error.kind() != crate::ErrorKind::OutcomeUnknown;
            if let Some(table) = new_table.as_ref().filter(|_| is_untouched) {
                // The statement was printed, and that it was rolled back does not show.
                let what = if table.replaces { "replaced" } else { "created" };
                progress.note(&format!("table {} was not {what}", table.name));
            }
            if !error.is_about_ended_session() {
                return error;
            }
            let error = error.and(&format!("the server is {}", database.describe()));
            if is_untouched { error.and_help("nothing was loaded") } else { error }
        })?;
        progress.conclude();
        let (committed, warnings) = (Instant::now(), connections.messages().warnings());
        Ok(CommittedLoad { report: LoadReport { warnings, ..report }, settings, connections, committed })
    }

    /// The same, once it is decided whether the first record is a header, where that is to be detected: by the names of the
    /// table's columns, if there is one, and by the records.
    async fn settle_header(
        self,
        (connections, retries): (&SessionPool, &mut Retries),
        progress: &Progress,
    ) -> Result<Self> {
        let OpenLoad { settings, mut files, rejects } = self;
        if files.format().detect.header {
            let name = &settings.input.table.name;
            let find = async || Table::find(&**connections.get().await?, name).await;
            let table = retries.until_done(progress, find).await?;
            // A table that is replaced says nothing of the new one.
            let table = table.filter(|_| !settings.create.as_ref().is_some_and(|create| create.replace));
            let names = header_names(table.as_ref(), &settings.input.naming);
            let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
            let before = files.sniffed().map(|sniffed| sniffed.header);
            let (settled, reason) = blocking(move || {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let reason = files.settle_header(&names)?;
                Ok((files, reason))
            })
            .await?;
            files = settled;
            let after = files.sniffed().map(|sniffed| sniffed.header);
            if let Some(reason) = reason.filter(|_| before != after) {
                let answer = if files.header().is_some() { "yes" } else { "no" };
                progress.note(&format!("{reason}: --header {answer}"));
            }
        }
        Ok(OpenLoad { settings, files, rejects })
    }

    /// The table inferred from the files.
    async fn new_table(&self, progress: &Arc<Progress>) -> Result<NewTable> {
        let (inputs, mut options) = (self.files.inputs().clone(), self.settings.input.clone());
        options.format = self.files.format().clone();
        let create = self.settings.create.clone().unwrap_or_default();
        // How much of the files the first records are is not known.
        let total = self.size().filter(|_| create.infer_rows.is_none()).map(Total::Bytes);
        progress.begin(Phase::InferringTypes, total);
        let counted = Arc::clone(progress);
        let new_table = blocking(move || infer(&inputs, &options, &create, &counted)).await;
        // What was only looked at is not loaded yet.
        progress.restart();
        new_table
    }

    /// The table to create before the load; `None` if none has to be created.
    async fn new_table_if_needed(
        &self,
        (connections, retries): (&SessionPool, &mut Retries),
        progress: &Arc<Progress>,
    ) -> Result<Option<NewTable>> {
        let Some(create) = &self.settings.create else { return Ok(None) };
        let name: &TableName = &self.settings.input.table.name;
        let look = async || {
            let client = connections.get().await?;
            if let Some(ImportOptions { ledger, id, .. }) = &self.settings.import
                && Import::find(&client, &LedgerTables::new(ledger), id).await?.is_some()
            {
                return Ok(None);
            }
            Table::find(&**client, name).await.map(Some)
        };
        let Some(old) = retries.until_done(progress, look).await? else {
            // The import has created the table, or found it.
            return Ok(None);
        };
        if let Some(old) = &old {
            if !create.replace {
                progress.note(&format!("{name} already exists; appending (--create ignored)"));
                return Ok(None);
            }
            NewTable::check_can_replace(old, self.settings.input.table.distribution.as_ref())?;
        }
        let mut new_table = self.new_table(progress).await?;
        if let Some(reason) = self.files.doubt_of_header()? {
            let first = self.files.name();
            progress.note(&format!(
                "the first record of {first} is taken for names, but seems to be one of values, as {reason}: if so, use \
                 --no-header, with --columns for the names"
            ));
        }
        new_table.replaces = old.is_some();
        progress.note(&new_table.ddl);
        // Where rejects are allowed, such a value may be one to reject instead.
        for note in new_table.text_notes.iter().filter(|_| self.settings.max_rejects.allows_any()) {
            progress.note(note);
        }
        new_table.ambiguous_notes.iter().for_each(|note| progress.note(note));
        Ok(Some(new_table))
    }
}

/// Why a load did not look whether it can send the rows of a partitioned table to its partitions; `None` if it has looked, or
/// was not to do so.
fn not_routed_because(settings: &LoadSettings, checks: RowChecks) -> Option<&'static str> {
    if settings.partitions == PartitionRouting::Root {
        None
    } else if settings.autocommit {
        Some("--autocommit commits each row by itself")
    } else if settings.connections == 1 {
        Some("the load uses one connection")
    } else if checks == RowChecks::ByRow {
        Some("the load was repeated over one connection")
    } else {
        None
    }
}

/// Log what is read, and how.
fn log_input(files: &Files) {
    let names: Vec<String> = files.inputs().iter().map(ToString::to_string).collect();
    let (dialect, encoding) = (&files.format().dialect, files.encoding().name());
    let quote = dialect.quote.map_or_else(|| "none".to_owned(), character);
    let delimiter = character(dialect.delimiter);
    tracing::info!("input {}: delimiter {delimiter}, quote {quote}, {encoding}", names.join(", "));
    let header = files.header().map_or(0, |header| header.names.len());
    tracing::info!("names in its header: {header}");
}

/// The name of the character `byte` where it cannot be told from the text around it, and otherwise itself.
fn character(byte: u8) -> String {
    match byte {
        b',' => "comma".to_owned(),
        b'\t' => "tab".to_owned(),
        b' ' => "space".to_owned(),
        b'"' => "double quote".to_owned(),
        b'\'' => "single quote".to_owned(),
        byte => byte.escape_ascii().to_string(),
    }
}

/// Load everything and commit. If a row is wrong but the server did not say which, load again with checks at every
/// row.
async fn load_and_commit(
    settings: &LoadSettings,
    files: Files,
    new_table: Option<&NewTable>,
    (connections, retries): (&SessionPool, &mut Retries),
    progress: &Arc<Progress>,
) -> Result<LoadReport> {
    let (inputs, format) = (files.inputs().clone(), files.format().clone());
    let reached = (connections, &mut *retries);
    let stopped =
        match load_once(settings, RowChecks::AtTheEnd, None, files, new_table, reached, progress).await {
            Ok(report) => return Ok(report),
            Err(stopped) => stopped,
        };
    let (error, mode) = match stopped {
        Stopped::RetryRowByRow(error, mode) if inputs.can_be_read_again() => (error, mode),
        stopped => return Err(stopped.into_error()),
    };
    tracing::info!("loading again in mode {mode} with checks at every row, because: {error}");
    let mut settings = settings.clone();
    settings.input.mode = mode;
    let mut orphans = None;
    loop {
        progress.restart();
        let (inputs, format) = (inputs.reopened(), format.clone());
        let files = blocking(move || Files::open(inputs, format)).await?;
        let known = orphans.as_ref();
        let reached = (connections, &mut *retries);
        match load_once(&settings, RowChecks::ByRow, known, files, new_table, reached, progress).await {
            Ok(report) => {
                progress.note(&format!(
                    "this is the second attempt, in mode {mode} with checks at every row; the first one failed: {error}"
                ));
                return Ok(report);
            }
            Err(Stopped::RetryWithout(found)) if orphans.is_none() => orphans = Some(found),
            Err(stopped) => return Err(stopped.into_error()),
        }
    }
}

/// Load everything and commit, the way that `settings` call for.
async fn load_once(
    settings: &LoadSettings,
    checks: RowChecks,
    orphans: Option<&Orphans>,
    files: Files,
    new_table: Option<&NewTable>,
    (connections, retries): (&SessionPool, &mut Retries),
    progress: &Arc<Progress>,
) -> Result<LoadReport, Stopped> {
    let inputs = files.inputs().clone();
    progress.begin(Phase::PreparingTable, None);
    let look = async || {
        let client = connections.get().await?;
        connections.check_mode(settings.input.mode == Mode::Copy)?;
        let server = connections.server_facts(&client).await?;
        Ok((client, server))
    };
    let (client, server) = retries.until_done(progress, look).await?;
    tracing::info!("PostgreSQL {} at {}", server.version, server.url());
    let started = Instant::now();
    let run = LoadRun { settings, files, new_table, connections, progress, started, orphans };
    let result = if let Some(options) = &settings.import {
        import::load(run, options, client, retries).await?
    } else if settings.autocommit {
        autocommit::load(run, client).await?
    } else if settings.connections > 1 && checks == RowChecks::AtTheEnd {
        parallel_copy::load(run, client).await?
    } else {
        one_transaction::load(run, client, checks).await?
    };
    let RunResult { prepared, mut totals, mut phases, transactions, is_atomic, import } = result;
    if prepared.table.is_partitioned && totals.partitions == PartitionsWritten::default() {
        totals.partitions.not_because = not_routed_because(settings, checks).map(str::to_owned);
    }
    let seconds = started.elapsed().as_secs_f64();
    let Phases { prepare_seconds, write_seconds, finish_seconds, .. } = phases;
    phases.commit_seconds = seconds - prepare_seconds - write_seconds - finish_seconds;
    let report = report::build(settings, &inputs, &prepared, totals, (seconds, phases), Some(server));
    // A table that replaces another has a temporary name while it is loaded.
    let name = new_table.map_or(&prepared.table.name, |new_table| &new_table.name);
    let replaced = new_table.is_some_and(|new_table| new_table.replaces);
    let inferred = new_table.map_or_else(Vec::new, |new_table| new_table.inferred.clone());
    let table = name.to_string();
    Ok(LoadReport { table, transactions, atomic: is_atomic, replaced, inferred, import, ..report })
}
