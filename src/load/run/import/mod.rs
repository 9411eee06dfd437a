//! `--import-id`: the input in chunks, each committed together with its row in the ledger.
//!
//! A run reads the input from its beginning. It skips the chunks that the ledger has, and checks that they are what was
//! loaded; the others it loads in order. Whatever a run was told of a chunk's commit, the ledger knows what became of it:
//! a chunk whose answer was lost, or whose connection, is looked up before it is tried again.

mod chunk;
mod finish;
mod plan;
mod reader;
pub(crate) mod retries;
mod session;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use deadpool_postgres::Object;
use tokio::time::sleep;

use crate::blocking::blocking;
use crate::csv::Files;
use crate::error::ErrorKind;
use crate::load::chunk::CHUNK_ROWS;
use crate::load::chunk::encoder::{ChunkEncoder, EncodePlan};
use crate::load::chunk::section::Section;
use crate::load::ledger::chunks::{CommittedChunk, ImportTotals};
use crate::load::ledger::import::changed_input;
use crate::load::ledger::locks::{Access, LockName, in_use};
use crate::load::options::{DeferIndexes, ImportOptions, Mode};
use crate::load::reject::files::{RejectFiles, log_path};
use crate::load::reject::sink::{rejects_help, too_many_rejects};
use crate::load::report::{ImportReport, Phases};
use crate::load::run::import::chunk::Attempt;
use crate::load::run::import::finish::{Finisher, Rebuilt};
use crate::load::run::import::plan::ImportPlan;
use crate::load::run::import::reader::ImportReader;
use crate::load::run::import::retries::Retries;
use crate::load::run::import::session::{ImportSession, PAUSE};
use crate::load::run::stop::Stopped;
use crate::load::run::{LoadRun, RowChecks, RunResult};
use crate::load::settings::LoadSettings;
use crate::load::table::create::NewTable;
use crate::load::totals::LoadTotals;
use crate::postgres::server::SessionPool;
use crate::progress::Progress;
use crate::{Error, Result};

/// Load what is left of the import of `options`, beginning on the connection `client`.
///
/// # Errors
/// When another run works on it, the input or the options have changed, and at the first row that cannot be loaded; the
/// chunks committed by then stay.
pub(crate) async fn load(
    run: LoadRun<'_>,
    options: &ImportOptions,
    client: Object,
    retries: &mut Retries,
) -> Result<RunResult, Error> {
    let LoadRun { settings, files, new_table, connections, progress, started, .. } = run;
    if settings.max_rejects.allows_any() {
        // A bad path fails early.
        drop(RejectFiles::create(&settings.rejects, &files.format().dialect)?);
    }
    let access = if options.share { Access::Shared } else { Access::Alone };
    let lock = LockName::of_import(&options.id);
    let mut session = ImportSession::new((connections, progress), &options.id, (lock, access));
    let begun = async {
        if let Err(error) = session.begin(client).await {
            retries.pause(error, progress).await?;
        }
        begin((settings, options), &files, new_table, (&mut session, &mut *retries), progress).await
    };
    let plan = begun.await.map_err(|error| connections.messages().explain(error))?;
    progress.allow_resuming();
    announce(&plan, progress);
    let prepare_seconds = started.elapsed().as_secs_f64();
    let run = ImportRun { plan: &plan, session, retries, progress, done: Done::default() };
    let (done, import) = run.load(files, connections).await?;
    let Done { totals, rebuilt: Rebuilt { names, seconds: finish_seconds }, .. } = done;
    let write_seconds = started.elapsed().as_secs_f64() - prepare_seconds - finish_seconds;
    let phases = Phases { prepare_seconds, write_seconds, finish_seconds, ..Phases::default() };
    let mut prepared = plan.prepared;
    prepared.indexes.deferred = names;
    Ok(RunResult {
        prepared,
        totals,
        phases,
        transactions: Vec::new(),
        is_atomic: false,
        import: Some(import),
    })
}

/// Begin the import of `options`, or continue it.
async fn begin<'a>(
    (settings, options): (&'a LoadSettings, &'a ImportOptions),
    files: &Files,
    new_table: Option<&NewTable>,
    (session, retries): (&mut ImportSession<'_>, &mut Retries),
    progress: &Progress,
) -> Result<ImportPlan<'a>> {
    loop {
        let begun = async {
            let client = session.take().await?;
            let begun = ImportPlan::begin(settings, options, files, new_table, (&client, progress)).await;
            match begun {
                Ok(_) => session.give_back(client),
                Err(_) => session.roll_back(client).await,
            }
            begun
        };
        match begun.await {
            Ok(plan) => {
                retries.succeed();
                plan.prepared.note_slow_mode(settings, progress);
                return Ok(plan);
            }
            Err(error) => retries.pause(error, progress).await?,
        }
    }
}

/// Tell what the user may not expect of an import.
fn announce(plan: &ImportPlan<'_>, progress: &Progress) {
    let ImportPlan { import, options, .. } = plan;
    let id = &options.id;
    if let Some(finished) = &import.finished {
        progress.note(&format!(
            "import {id} was finished at {finished}: only comparing the input with what was loaded"
        ));
    }
    if options.chunk_rows.is_some_and(|rows| rows != import.limit.rows) {
        let rows = import.limit.rows;
        progress.note(&format!(
            "import {id} keeps the chunks of up to {rows} rows that it began with (--chunk-rows ignored)"
        ));
    }
    if !import.indexes.is_empty() && plan.settings.defer_indexes != DeferIndexes::Always {
        progress.note(&format!(
            "import {id} began with --defer-indexes always: it rebuilds the indexes when all rows are loaded"
        ));
    }
    if !plan.inputs.can_be_read_again() {
        progress.note(&format!("to continue import {id} after an interruption, give all of the input again"));
    }
}

/// What the report says of the import.
fn report(plan: &ImportPlan<'_>, committed: ImportTotals, chunks_loaded: u64, retries: u32) -> ImportReport {
    let ImportTotals { chunks, read, inserted, updated, skipped, rejected } = committed;
    ImportReport {
        id: plan.options.id.clone(),
        ledger: plan.tables.name.to_string(),
        was_finished: plan.import.finished.is_some(),
        chunks,
        chunks_loaded,
        rows_read: read,
        rows_loaded: inserted + updated,
        rows_skipped: skipped,
        rows_rejected: rejected,
        retries,
    }
}

/// What this run has done.
#[derive(Debug, Default)]
struct Done {
    /// Chunks that it has committed.
    chunks: u64,
    totals: LoadTotals,
    /// Chunks that were committed before it began, or by others, and their records.
    found: (u64, u64),
    /// The totals of the chunk whose COMMIT was not answered; `None` if there is none.
    uncertain: Option<LoadTotals>,
    /// The indexes that it has rebuilt.
    rebuilt: Rebuilt,
    /// Whether all chunks are loaded, and all indexes rebuilt, by whichever run.
    is_finished: bool,
}

/// A run of an import.
struct ImportRun<'a> {
    plan: &'a ImportPlan<'a>,
    session: ImportSession<'a>,
    retries: &'a mut Retries,
    progress: &'a Arc<Progress>,
    done: Done,
}

/// What became of a chunk.
enum ChunkEnd {
    Loaded,
    Found(CommittedChunk),
    /// Another process is loading it.
    Elsewhere,
}

impl ImportRun<'_> {
    /// Load everything, and write the rejects files, also after an error.
    async fn load(mut self, files: Files, connections: &SessionPool) -> Result<(Done, ImportReport)> {
        let loaded = self.load_all(files).await;
        self.done.is_finished = loaded.is_ok();
        // After an interruption every statement is cancelled; the next run writes them.
        let rejects = if self.progress.is_cancelled() { Ok(Vec::new()) } else { self.write_rejects().await };
        let committed = loaded.map_err(|error| self.explain(connections.messages().explain(error)))?;
        self.done.totals.rejects = rejects.map_err(|error| self.explain(error))?;
        let import = report(self.plan, committed, self.done.chunks, self.retries.total);
        Ok((self.done, import))
    }

    /// Load all chunks, or wait for the other processes that do, and finish the import; return its totals.
    async fn load_all(&mut self, files: Files) -> Result<ImportTotals> {
        let mut next = Some(files);
        while let Some(files) = next.take() {
            let elsewhere = self.pass(files).await?;
            if !self.wait_for_others(&elsewhere).await? {
                // Another process has ended before its chunk was committed.
                let (inputs, format) = (self.plan.inputs.reopened(), self.plan.format.clone());
                next = Some(blocking(move || Files::open(inputs, format)).await?);
            }
        }
        self.finish().await
    }

    /// Read the input once, and load every chunk that nobody has loaded, or is loading; return those that others are
    /// loading.
    async fn pass(&mut self, files: Files) -> Result<Vec<(u64, Section)>> {
        let (plan, id) = (self.plan, &self.plan.options.id);
        let known = self.known().await?;
        self.done.found = (known.len() as u64, known.values().map(|chunk| chunk.rows).sum());
        self.done.found.0 -= self.done.chunks.min(self.done.found.0);
        self.done.found.1 -= self.done.totals.read.min(self.done.found.1);
        let (mut number, mut elsewhere) = (0, Vec::new());
        if !plan.prepared.mapping.columns.is_empty() {
            let rejecting = plan.settings.max_rejects.allows_any();
            let encode = EncodePlan::new(&plan.settings.input, CHUNK_ROWS, rejecting);
            let encoder = ChunkEncoder::new(files, Arc::clone(&plan.prepared.mapping), encode);
            let mut reader = ImportReader::new(encoder, self.progress);
            while reader.next_section(plan.import.limit).await? {
                let end = match known.get(&number) {
                    Some(chunk) => ChunkEnd::Found(chunk.clone()),
                    None if plan.import.finished.is_some() => {
                        let Section { file, first_line, .. } = reader.section().await?;
                        let change = format!("it has more records, from line {first_line} of {file} on");
                        return Err(changed_input(id, &change));
                    }
                    None => self.chunk(&mut reader, number).await?,
                };
                match end {
                    ChunkEnd::Loaded => {}
                    ChunkEnd::Found(chunk) => chunk.check(id, &reader.section().await?)?,
                    ChunkEnd::Elsewhere => elsewhere.push((number, reader.section().await?)),
                }
                number += 1;
            }
            self.done.totals.encoder = reader.into_summary();
        }
        match known.range(number..).next() {
            Some((_, chunk)) => Err(chunk.missing(id)),
            None => Ok(elsewhere),
        }
    }

    /// Load chunk `number`, at which `reader` is, and commit it.
    async fn chunk(&mut self, reader: &mut ImportReader, number: u64) -> Result<ChunkEnd> {
        let (mut settings, mut checks) = (self.plan.settings.clone(), RowChecks::AtTheEnd);
        let mut busy_since = None;
        loop {
            match self.attempt(&settings, checks, (&mut *reader, number)).await {
                Ok(Some(end)) => {
                    self.retries.succeed();
                    return Ok(end);
                }
                Ok(None) if self.plan.options.share => return Ok(ChunkEnd::Elsewhere),
                // Another run, or an earlier connection whose end the server has not noticed yet.
                Ok(None) => self.wait_for_lock(number, *busy_since.get_or_insert_with(Instant::now)).await?,
                Err(Stopped::RetryRowByRow(error, mode)) if checks == RowChecks::AtTheEnd => {
                    // Chunks do not keep the records among which to search.
                    let hides = self.plan.prepared.hides_refused_row(&settings);
                    let mode = if hides { Mode::Rows } else { mode };
                    tracing::debug!("chunk {number} is tried again in mode {mode}, row by row: {error}");
                    (settings.input.mode, checks) = (mode, RowChecks::ByRow);
                }
                Err(stopped) => {
                    self.retries.pause(stopped.into_error(), self.progress).await?;
                }
            }
        }
    }

    /// Try once to load chunk `number`; `None` if another session is loading it.
    async fn attempt(
        &mut self,
        settings: &LoadSettings,
        checks: RowChecks,
        (reader, number): (&mut ImportReader, u64),
    ) -> Result<Option<ChunkEnd>, Stopped> {
        let client = self.session.take().await?;
        let connection = (&**client, self.session.pool(), &**self.progress);
        let written = chunk::write(self.plan, settings, checks, connection, (reader, number)).await;
        let totals = match written {
            Ok(Attempt::Written(totals)) => *totals,
            other => {
                self.session.roll_back(client).await;
                return match other? {
                    Attempt::Found(chunk) => Ok(Some(self.found(chunk))),
                    _ => Ok(None),
                };
            }
        };
        let loaded = totals.counts.inserted + totals.counts.updated;
        self.settle(false);
        self.progress.begin_commit(loaded, None);
        match self.progress.uncancelled(chunk::commit(&client)).await {
            Ok(()) => {
                self.session.give_back(client);
                self.done.uncertain = Some(totals);
                self.settle(true);
                Ok(Some(ChunkEnd::Loaded))
            }
            Err(error) if client.is_closed() || error.is_about_ended_session() => {
                self.session.roll_back(client).await;
                self.done.uncertain = Some(totals);
                Err(error.into())
            }
            Err(error) => {
                self.session.roll_back(client).await;
                self.progress.refuse_commit(loaded);
                Err(error.into())
            }
        }
    }

    /// A chunk that turned out to be committed: by this run, if the answer was lost, or by another.
    fn found(&mut self, chunk: CommittedChunk) -> ChunkEnd {
        if self.done.uncertain.is_some() && chunk.loaded_by == self.plan.loaded_by {
            self.settle(true);
            return ChunkEnd::Loaded;
        }
        self.settle(false);
        self.done.found.0 += 1;
        self.done.found.1 += chunk.rows;
        ChunkEnd::Found(chunk)
    }

    /// Record whether the chunk was committed whose COMMIT was not answered.
    fn settle(&mut self, is_committed: bool) {
        let Some(chunk) = self.done.uncertain.take() else { return };
        let loaded = chunk.counts.inserted + chunk.counts.updated;
        if !is_committed {
            self.progress.refuse_commit(loaded);
            return;
        }
        self.progress.confirm_commit(loaded);
        self.progress.reject(chunk.rejected);
        let totals = &mut self.done.totals;
        totals.read += chunk.read;
        totals.encoded += chunk.encoded;
        totals.counts += chunk.counts;
        totals.skipped += chunk.skipped;
        totals.rejected += chunk.rejected;
        self.done.chunks += 1;
    }

    /// Wait a moment for the session to end that has been loading chunk `number` for a while.
    async fn wait_for_lock(&mut self, number: u64, since: Instant) -> Result<()> {
        if self.progress.is_cancelled() {
            return Err(Error::interrupted());
        }
        if since.elapsed() > session::PATIENCE {
            let client = self.session.take().await?;
            let lock = LockName::of_chunk(&self.plan.options.id, number);
            let holders = lock.holders(&client).await;
            self.session.give_back(client);
            let failed = |error| Error::database("look up who loads the chunk", error);
            return Err(in_use(&self.plan.options.id, &holders.map_err(failed)?));
        }
        sleep(PAUSE).await;
        Ok(())
    }

    /// Wait until the chunks `elsewhere` are committed; `false` if one is not, and nobody is loading it any more.
    async fn wait_for_others(&mut self, elsewhere: &[(u64, Section)]) -> Result<bool> {
        loop {
            let known = self.known().await?;
            for (number, section) in elsewhere {
                if let Some(chunk) = known.get(number) {
                    chunk.check(&self.plan.options.id, section)?;
                }
            }
            let Some((missing, _)) = elsewhere.iter().find(|(number, _)| !known.contains_key(number)) else {
                return Ok(true);
            };
            if self.is_abandoned(*missing).await? {
                return Ok(false);
            }
            tokio::select! {
                () = sleep(PAUSE) => {}
                () = self.progress.cancelled() => return Err(Error::interrupted()),
            }
        }
    }

    /// Whether chunk `number` is neither committed nor being loaded.
    async fn is_abandoned(&mut self, number: u64) -> Result<bool> {
        let plan = self.plan;
        let lock = LockName::of_chunk(&plan.options.id, number);
        self.ask(async |client| {
            let failed = |error| Error::database("look whether a chunk is being loaded", error);
            client.batch_execute("BEGIN").await.map_err(failed)?;
            let is_free = lock.try_for_transaction(client).await.map_err(failed)?;
            let is_abandoned = is_free && plan.ledger().find(client, number).await?.is_none();
            client.batch_execute("ROLLBACK").await.map_err(failed)?;
            Ok(is_abandoned)
        })
        .await
    }

    /// The chunks in the ledger.
    async fn known(&mut self) -> Result<BTreeMap<u64, CommittedChunk>> {
        let plan = self.plan;
        self.ask(async |client| plan.ledger().all(client).await).await
    }

    /// Rebuild the indexes that the import dropped, record that it is finished, and return its totals.
    async fn finish(&mut self) -> Result<ImportTotals> {
        let plan = self.plan;
        let totals = self.ask(async |client| plan.ledger().totals(client).await).await?;
        let limit = plan.settings.max_rejects;
        if plan.import.finished.is_none() && limit.is_exceeded(totals.rejected, totals.read, true) {
            let error = too_many_rejects(totals.rejected, totals.read, limit);
            let rejects = &plan.settings.rejects;
            return Err(error.with_help(rejects_help(std::slice::from_ref(rejects), &log_path(rejects))));
        }
        if plan.import.indexes.is_empty() {
            self.ask(async |client| plan.import.finish(client, &plan.tables).await).await?;
        } else {
            let (finisher, progress) = (Finisher::new(plan, self.session.pool()), self.progress);
            self.done.rebuilt = self.ask(async |client| finisher.finish(client, progress).await).await?;
        }
        Ok(totals)
    }

    /// Ask the server something, outside a transaction, and again where the connection is lost.
    async fn ask<T>(&mut self, question: impl AsyncFn(&tokio_postgres::Client) -> Result<T>) -> Result<T> {
        loop {
            let answer = async {
                let client = self.session.take().await?;
                let answer = question(&client).await;
                match answer {
                    Ok(_) => self.session.give_back(client),
                    Err(_) => self.session.roll_back(client).await,
                }
                answer
            };
            match answer.await {
                Ok(answer) => return Ok(answer),
                Err(error) => self.retries.pause(error, self.progress).await?,
            }
        }
    }

    /// Write all records that the import has rejected to the rejects files, and return the paths of these, but for the log.
    async fn write_rejects(&mut self) -> Result<Vec<String>> {
        let plan = self.plan;
        self.ask(async |client| {
            if plan.ledger().totals(client).await?.rejected == 0 {
                return Ok(Vec::new());
            }
            let mut files = RejectFiles::create(&plan.settings.rejects, &plan.record_format.dialect)?;
            plan.ledger().write_rejects(client, &mut files).await?;
            Ok(files.finish()?.iter().map(|path| path.display().to_string()).collect())
        })
        .await
    }

    /// `error`, with what is committed, and how to continue.
    fn explain(&self, error: Error) -> Error {
        let Done { chunks, totals, found, uncertain, .. } = &self.done;
        let id = &self.plan.options.id;
        let (chunks, rows) = (chunks + found.0, totals.read + found.1);
        let unknown = match (uncertain, self.progress.unanswered_step()) {
            (Some(_), _) => Some(
                "whether the last chunk was committed is not known here; the next run finds it in the ledger",
            ),
            (None, unanswered) => unanswered.map(|step| step.unknown),
        };
        let error = match unknown {
            Some(unknown) => error.with_kind(ErrorKind::OutcomeUnknown).and(unknown),
            None => error,
        };
        let committed = match chunks {
            0 => format!("no chunk of import {id} is committed"),
            1 => format!("1 chunk of import {id}, with {rows} records, is committed and stays"),
            _ => format!("{chunks} chunks of import {id}, with {rows} records, are committed and stay"),
        };
        let committed = committed + &self.missing_indexes();
        if error.help().is_some_and(|help| help.contains("--forget")) {
            // The same command would fail again.
            return error.and(&committed);
        }
        error.and(&committed).and_help("to load the rest, run the same command again")
    }

    /// What is to be said of the indexes that the import has dropped.
    fn missing_indexes(&self) -> String {
        let ImportPlan { import, prepared, .. } = self.plan;
        if import.indexes.is_empty() || self.done.is_finished {
            return String::new();
        }
        let (table, names) = (&prepared.table.name, import.indexes.deferred.join(", "));
        if self.session.excludes_others() && self.progress.unanswered_step().is_none() {
            return format!("; indexes of {table} are missing until the import is finished: {names}");
        }
        format!("; unless the import is finished by now, indexes of {table} are missing: {names}")
    }
}
