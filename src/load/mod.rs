//! CSV → table: the files are read and encoded on one thread, and written by one of three sinks, or by none.
//!
//! ```text
//!  source ─▶ encoding ─▶ chunks of tuples ─▶ feed ─▶ rows | batch | copy ─▶ PostgreSQL ─▶ report
//!               │                                         │
//!               └─▶ rejects ◀───────────────── bisection ◀┘
//! ```
//!
//! [`target`] says which field goes to which column, `encoding` encodes every record once, and the sinks
//! behind `writer` differ only in how they send the result, so they leave identical tables. Between the thread
//! and the sink is a short bounded channel: a slow server slows the reading, and memory stays flat. Where bad
//! rows may be set aside, `sorting` does so, and `bisect` finds those that only the server can refuse; [`rejects`] keeps them.

mod autocommit;
mod batch;
mod bisect;
pub mod check;
pub mod conflict;
mod copy;
mod create;
mod encoding;
mod feed;
mod indexes;
mod null;
mod parallel;

mod raw;
pub mod rejects;
mod report;
mod rows;
mod sorting;
pub mod target;
mod tuples;
mod unique;
mod writer;

use std::sync::Arc;
use std::time::Instant;

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, GenericClient};

pub use create::{Creation, infer, no_such_table};
pub use null::encode;
pub use report::{ColumnLoaded, FileRead, LoadReport, Phases};

use crate::config::{DeferIndexes, LoadSettings, Mode};
use crate::error::Kind;
use crate::postgres::database::{Database, ServerFacts, blocking};
use crate::progress::Counters;
use crate::source::{Dialect, Files, Inputs};
use crate::table::{Table, TableName};
use crate::{Error, Result};
use conflict::Clause;
use encoding::{Encoding, Plan};
use feed::{Failed, Feed, Stream};
use indexes::Indexes;
use report::Outcome;
use rows::Rows;
use sorting::Sorting;
use target::Targets;
use writer::Writer;

/// Rows of a chunk.
const CHUNK_ROWS: usize = 8192;

/// The table, ready to take rows.
struct Prepared {
    table: Table,
    targets: Arc<Targets>,
    created: bool,
    /// Whether it is to be emptied: not when it is new, nor for a file that is empty altogether.
    truncate: bool,
    indexes: Indexes,
    /// What the files are written in.
    encoding: &'static str,
}

impl Prepared {
    /// Empty the table, if it is to be.
    async fn empty(&self, client: &impl GenericClient) -> Result<()> {
        if !self.truncate {
            return Ok(());
        }
        let name = &self.table.name;
        // Rows of children are not those of the table; rows of partitions are.
        let only = if self.table.is_partitioned { "" } else { "ONLY " };
        client.batch_execute(&format!("TRUNCATE {only}{}", name.sql())).await.map_err(|error| {
            let refusal = Error::database(&format!("empty {name}"), &error);
            // Not the owner, or a foreign key of another table.
            match error.code().map(SqlState::code) {
                Some("42501" | "0A000") => refusal.with_help("use --append to add to the table instead"),
                _ => refusal,
            }
        })
    }
}

/// Load `files` into the table of `settings`; `creation` says how to make it, if it is to be made for them.
///
/// # Errors
/// At the first record that the table does not take, unless rejects are allowed, and for whatever else the
/// server refuses. Without autocommit the table is then as it was before.
pub async fn load(
    settings: &LoadSettings,
    files: Files,
    creation: Option<&Creation>,
    database: &Database,
    counters: &Arc<Counters>,
) -> Result<LoadReport> {
    let mut settings = settings.clone();
    if settings.may_use_two && parallel::is_faster(&settings, database, files.inputs()).await? {
        settings.connections = 2;
    }
    let settings = &settings;
    let mut report = load_committed(settings, files, creation, database, counters).await?;
    if !settings.dry_run {
        counters.commit(report.rows_loaded);
    }
    if settings.analyze && !settings.dry_run {
        let analyzed = analyze(&settings.input.table.name, report.rows_loaded, database).await;
        report.phases.analyze_seconds = analyzed.map_err(|error| {
            let error = if counters.is_cancelled() { Error::interrupted() } else { error };
            error.with_help("everything was loaded and committed; only ANALYZE is missing")
        })?;
    }
    Ok(report)
}

/// Tell the planner what is in a table that got so many rows, if they are more than a tenth of it, which is when
/// autovacuum would come to it some time later. Returns the seconds that it took.
async fn analyze(table: &TableName, rows: u64, database: &Database) -> Result<f64> {
    let started = Instant::now();
    let failed = |error| Error::database(&format!("analyze {table}"), &error);
    let client = database.connection().await?;
    let known = "SELECT reltuples::float8 FROM pg_catalog.pg_class WHERE oid = pg_catalog.to_regclass($1)";
    let known: f64 = client.query_one(known, &[&table.sql()]).await.map_err(failed)?.get(0);
    if rows as f64 <= known.max(0.0) / 10.0 {
        return Ok(0.0);
    }
    // Whoever holds a lock on the table is not waited for.
    client.batch_execute(&format!("ANALYZE (SKIP_LOCKED) {}", table.sql())).await.map_err(failed)?;
    Ok(started.elapsed().as_secs_f64())
}

async fn load_committed(
    settings: &LoadSettings,
    files: Files,
    creation: Option<&Creation>,
    database: &Database,
    counters: &Arc<Counters>,
) -> Result<LoadReport> {
    let (inputs, format) = (files.inputs().clone(), files.format().clone());
    let (error, mode) = match load_once(settings, Checks::AtTheEnd, files, creation, database, counters).await
    {
        Ok(report) => return Ok(report),
        Err(Stopped::Error(error)) => return Err(error),
        Err(Stopped::Unplaced(error, mode)) => (error, mode),
    };
    if !inputs.can_be_read_again() {
        return Err(error);
    }
    tracing::debug!("loading once more, checking row by row: {error}");
    counters.restart();
    let files = blocking(move || Files::open(inputs.again(), format)).await?;
    let mut settings = settings.clone();
    settings.input.mode = mode;
    match load_once(&settings, Checks::ByRow, files, creation, database, counters).await {
        Ok(report) => Ok(report),
        Err(Stopped::Error(error) | Stopped::Unplaced(error, _)) => Err(error),
    }
}

/// When the server compares rows with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Checks {
    /// What can be left to the end of the load is: indexes and deferred constraints.
    AtTheEnd,
    /// At every row, since at the end the server does not say which row it was.
    ByRow,
}

/// Why a load did not come to its end.
enum Stopped {
    Error(Error),
    /// Some row is wrong, but this way nobody can tell which: another try, row by row in this mode, will.
    Unplaced(Error, Mode),
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Stopped::Error(error)
    }
}

async fn load_once(
    settings: &LoadSettings,
    checks: Checks,
    files: Files,
    creation: Option<&Creation>,
    database: &Database,
    counters: &Arc<Counters>,
) -> Result<LoadReport, Stopped> {
    let inputs = files.inputs().clone();
    let mut client = database.connection().await?;
    let server = ServerFacts::of(&**client).await?;
    let started = Instant::now();
    let mut phases = Phases::default();
    let failed = |doing| move |error| Error::database(doing, &error);
    let (prepared, outcome) = if settings.autocommit {
        let transaction = client.transaction().await.map_err(failed("begin a transaction"))?;
        let prepared = prepare_table(&*transaction, settings, &files, creation).await?;
        transaction.commit().await.map_err(failed("commit the new table"))?;
        phases.prepare_seconds = started.elapsed().as_secs_f64();
        // Or a pool of one would wait for it.
        drop(client);
        let outcome = autocommit::insert(settings, database, &prepared, files, counters).await?;
        phases.write_seconds = started.elapsed().as_secs_f64() - phases.prepare_seconds;
        (prepared, outcome)
    } else if settings.connections > 1 && checks == Checks::AtTheEnd {
        let transaction = client.transaction().await.map_err(failed("begin a transaction"))?;
        let prepared = prepare_table(&*transaction, settings, &files, creation).await?;
        transaction.rollback().await.map_err(failed("end a transaction"))?;
        if prepared.created {
            return Err(Error::usage(format!(
                "--connections {} needs a table that is there, and {} is not",
                settings.connections, prepared.table.name
            ))
            .with_help("create it first, or load over one connection")
            .into());
        }
        phases.prepare_seconds = started.elapsed().as_secs_f64();
        let outcome = parallel::copy(settings, database, &client, &prepared, files, counters).await;
        let outcome = outcome.map_err(|stopped| interrupted(counters, stopped))?;
        phases.write_seconds = started.elapsed().as_secs_f64() - phases.prepare_seconds;
        (prepared, outcome)
    } else {
        let transaction = client.transaction().await.map_err(failed("begin the transaction"))?;
        let done = async {
            let mut prepared = prepare_table(&*transaction, settings, &files, creation).await?;
            prepared.empty(&*transaction).await?;
            let client = GenericClient::client(&*transaction);
            match checks {
                Checks::AtTheEnd => {
                    prepared.indexes = defer_indexes(client, settings, &prepared, files.inputs()).await?;
                }
                // A row of a table that refers to itself may need one behind it, which is no fault.
                Checks::ByRow if settings.max_rejects.allows_any() || !prepared.table.refers_to_itself => {
                    check_constraints(client).await?;
                }
                Checks::ByRow => {}
            }
            phases.prepare_seconds = started.elapsed().as_secs_f64();
            let outcome = insert_all(client, settings, checks, &prepared, files, counters).await?;
            phases.write_seconds = started.elapsed().as_secs_f64() - phases.prepare_seconds;
            // Before the deferred constraints, whose checks may need them.
            prepared.indexes.build(client).await.map_err(|error| {
                let doing = format!("build the indexes of {} again", prepared.table.name);
                let refusal = refused(&doing, &error);
                if !bisect::is_about_rows(&error, &prepared.table) {
                    return Stopped::Error(refusal);
                }
                let refusal = refusal.with_help("with --defer-indexes never the server says which row it is");
                // A COPY says which row has a key that is there; a batch does not.
                let mode = settings.input.mode;
                Stopped::Unplaced(refusal, if mode == Mode::Batch { Mode::Rows } else { mode })
            })?;
            // They would speak up at the commit only, which a dry run does not come to.
            check_constraints(client).await.map_err(|error| {
                let rejecting = settings.max_rejects.allows_any();
                match (rejecting, prepared.table.refers_to_itself) {
                    (true, _) => Stopped::Unplaced(error, settings.input.mode),
                    (false, false) => Stopped::Unplaced(error, Mode::Rows),
                    (false, true) => Stopped::Error(error),
                }
            })?;
            if let Some(creation) = creation {
                creation.finish(&*transaction).await?;
            }
            phases.finish_seconds =
                started.elapsed().as_secs_f64() - phases.prepare_seconds - phases.write_seconds;
            Ok((prepared, outcome))
        };
        let done = done.await;
        match done {
            Ok(_) if settings.dry_run => {
                transaction.rollback().await.map_err(failed("roll back the dry run"))?;
            }
            Ok(_) => transaction.commit().await.map_err(|error| refused("commit the load", &error))?,
            // Awaited, so that the table is as before when the error is read.
            Err(_) => drop(transaction.rollback().await),
        }
        done.map_err(|stopped| interrupted(counters, stopped))?
    };
    let seconds = started.elapsed().as_secs_f64();
    phases.commit_seconds = seconds - phases.prepare_seconds - phases.write_seconds - phases.finish_seconds;
    let report = report::of(settings, &inputs, &prepared, outcome, (seconds, phases), Some(server));
    // While it is loaded a table that replaces another has another name.
    let name = creation.map_or(&prepared.table.name, |creation| &creation.name);
    Ok(LoadReport { table: name.to_string(), ..report })
}

/// Whatever a transaction `stopped` for when it was cancelled: the cancellation.
fn interrupted(counters: &Counters, stopped: Stopped) -> Stopped {
    if counters.is_cancelled() {
        return Error::interrupted().with_help("nothing was loaded").into();
    }
    stopped
}

/// Write everything inside a transaction, and see that the server's counts add up to what was read.
async fn insert_all(
    client: &Client,
    settings: &LoadSettings,
    checks: Checks,
    prepared: &Prepared,
    files: Files,
    counters: &Arc<Counters>,
) -> Result<Outcome, Stopped> {
    let Prepared { table, targets, .. } = prepared;
    if targets.columns.is_empty() {
        return Ok(Outcome::default());
    }
    let clause = resolve_clause(client, settings, prepared).await?;
    let skips = clause.as_ref().is_some_and(|clause| !clause.updates);
    // Rows that refer to rows behind them cannot be judged one by one, so that is left until it has to be.
    let whole_first =
        checks == Checks::AtTheEnd && table.refers_to_itself && files.inputs().can_be_read_again();
    let rejecting = settings.max_rejects.allows_any() && !whole_first;
    // Rejecting sets savepoints.
    let freeze = (prepared.truncate || prepared.created) && !table.is_partitioned && !rejecting;
    let names: Vec<&str> = targets.names().collect();
    let singly = if rejecting && table.check_can_load(Mode::Rows, &names).is_ok() {
        let depth = settings.pipeline_depth;
        Some(Rows::prepare(client, &table.name, targets, clause.as_ref(), depth).await?)
    } else {
        None
    };
    let mut writer = Writer::prepare(client, settings, &table.name, targets, clause, freeze).await?;
    let dialect = Dialect { encoding: files.encoding(), ..files.format().dialect.clone() };
    let header = files.header().map(|header| header.raw.clone()).unwrap_or_default();
    let plan = Plan { chunk_rows: CHUNK_ROWS, mode: settings.input.mode, rejecting };
    let stream = Stream::start(Encoding::new(files, Arc::clone(targets), plan), counters);
    let mut outcome = if rejecting {
        let sorting = Sorting { client, settings, table, targets, dialect, header };
        sorting.insert(&mut writer, singly, &stream).await?
    } else {
        let mut feed = Feed::stream(&stream);
        let counts = writer.write(client, &mut feed).await;
        let counts = counts.map_err(|failed| stopped(failed, &feed, settings, table))?;
        Outcome { read: feed.rows(), encoded: feed.rows(), counts, ..Outcome::default() }
    };
    outcome.switches = stream.switches().await;
    if skips {
        outcome.skipped = outcome.read - outcome.rejected - outcome.counts.inserted;
    }
    match report::discrepancy(&outcome, settings) {
        Some(discrepancy) => {
            let suspects = match table.before_insert_triggers.as_slice() {
                [] => "the table's rules, row security policies and partitions' triggers".to_owned(),
                triggers => format!("its triggers before INSERT: {}", triggers.join(", ")),
            };
            let help = format!("nothing was committed; look at {suspects}");
            Err(Error::new(Kind::Database, discrepancy).with_help(help).into())
        }
        None => Ok(outcome),
    }
}

/// What a sink's failure means for the load.
fn stopped(failed: Failed, feed: &Feed<'_>, settings: &LoadSettings, table: &Table) -> Stopped {
    let mode = settings.input.mode;
    let is_key_twice = failed.code() == Some(&SqlState::CARDINALITY_VIOLATION);
    let (is_about_rows, is_placed) = match &failed {
        Failed::Server { error, rows } => {
            (bisect::is_about_rows(error, table), rows.is_some_and(|(first, last)| first == last))
        }
        Failed::Input(error) => (error.kind() == Kind::Input, true),
    };
    let error = explain(failed, feed, settings, table);
    if !is_about_rows {
        Stopped::Error(error)
    } else if settings.max_rejects.allows_any() {
        Stopped::Unplaced(error, mode)
    } else if is_key_twice {
        // Many rows in one statement may not update the same row twice.
        Stopped::Unplaced(error.with_help("a key is in the file twice: use --mode rows"), Mode::Rows)
    } else if !is_placed && mode != Mode::Rows && !table.refers_to_itself {
        Stopped::Unplaced(error, Mode::Rows)
    } else {
        Stopped::Error(error)
    }
}

/// What `--on-conflict` means for the table.
async fn resolve_clause(
    client: &Client,
    settings: &LoadSettings,
    prepared: &Prepared,
) -> Result<Option<Clause>> {
    match &settings.on_conflict {
        Some(on_conflict) => {
            Clause::resolve(client, on_conflict, &prepared.table, &prepared.targets).await.map(Some)
        }
        None => Ok(None),
    }
}

/// What a sink's failure is for the user: `feed` knows where the rows were.
fn explain(failed: Failed, feed: &Feed<'_>, settings: &LoadSettings, table: &Table) -> Error {
    match failed {
        Failed::Input(error) => error,
        Failed::Server { error, rows } => {
            let place = rows.and_then(|(first, last)| feed.places(first, last));
            let place = place.unwrap_or_else(|| {
                settings
                    .input
                    .inputs
                    .iter()
                    .map(|path| path.display().to_string())
                    .collect::<Vec<_>>()
                    .join(", ")
            });
            let verb = if settings.input.mode == crate::config::Mode::Copy { "copy" } else { "insert" };
            refused(&format!("{verb} {place} into {}", table.name), &error)
        }
    }
}

/// Check what deferred constraints have left to the end so far, and from now on at every row.
async fn check_constraints(client: &Client) -> Result<()> {
    let checked = client.batch_execute("SET CONSTRAINTS ALL IMMEDIATE").await;
    checked.map_err(|error| refused("check the deferred constraints", &error))
}

/// Drop the indexes until the rows are written, if that is asked for or likely to be faster.
async fn defer_indexes(
    client: &Client,
    settings: &LoadSettings,
    prepared: &Prepared,
    inputs: &Inputs,
) -> Result<Indexes> {
    let Prepared { table, targets, .. } = prepared;
    let defer = settings.defer_indexes;
    if defer == DeferIndexes::Never || targets.columns.is_empty() {
        return Ok(Indexes::default());
    }
    if defer == DeferIndexes::Auto {
        let is_empty = prepared.truncate || prepared.created || lock_if_empty(client, table).await?;
        if !is_empty {
            return Ok(Indexes::default());
        }
    }
    let reason = "the input cannot be read again to see which row breaks them";
    Indexes::defer(client, table, defer, Some(reason).filter(|_| !inputs.can_be_read_again())).await
}

/// Whether `table` has no rows; if so nobody else can add any before the transaction ends.
async fn lock_if_empty(client: &Client, table: &Table) -> Result<bool> {
    let failed = |error| Error::database(&format!("see whether {} is empty", table.name), &error);
    let name = table.name.sql();
    let none = format!("SELECT NOT EXISTS (SELECT FROM {name})");
    client.batch_execute("SAVEPOINT look").await.map_err(failed)?;
    let looked = async {
        // Nobody is kept waiting for a table that turns out to have rows, and nobody is waited for.
        let lock = format!("LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE NOWAIT");
        let is_empty = client.query_one(&none, &[]).await?.get(0);
        if is_empty {
            client.batch_execute(&lock).await?;
        }
        Ok::<bool, tokio_postgres::Error>(is_empty && client.query_one(&none, &[]).await?.get(0))
    };
    // No privilege to look or to lock is as good as rows.
    let is_empty = looked.await.unwrap_or(false);
    let end = if is_empty { "RELEASE look" } else { "ROLLBACK TO look; RELEASE look" };
    client.batch_execute(end).await.map_err(failed)?;
    Ok(is_empty)
}

/// Create the table if need be, and see that it takes the file's columns.
async fn prepare_table(
    client: &impl GenericClient,
    settings: &LoadSettings,
    files: &Files,
    creation: Option<&Creation>,
) -> Result<Prepared> {
    let spec = &settings.input.table;
    let (table, created) = match creation {
        Some(creation) => (creation.create(client).await?, true),
        None => match Table::find(client, &spec.name).await? {
            Some(table) => (table, false),
            None => create::create_configured(client, spec).await?,
        },
    };
    // Before its columns are of interest.
    table.check_can_load(settings.input.mode, &[])?;
    let is_empty = files.is_empty();
    let targets = if is_empty {
        Targets::default()
    } else {
        Targets::find(files.header(), files.name(), &settings.input.naming, &table)?
    };
    table.check_can_load(settings.input.mode, &targets.names().collect::<Vec<_>>())?;
    let truncate = settings.truncate && !created && !is_empty;
    let (targets, indexes, encoding) = (targets.into(), Indexes::default(), files.encoding().name());
    Ok(Prepared { table, targets, created, truncate, indexes, encoding })
}

/// The server's refusal of a row, with a remedy where it gives no hint of its own.
fn refused(doing: &str, error: &tokio_postgres::Error) -> Error {
    let refusal = Error::database(doing, error);
    match error.code().map(SqlState::code) {
        Some("22007" | "22008") => refusal.with_help(
            "the order of day, month and year is the session's DateStyle: PGOPTIONS='-c datestyle=DMY' for a server \
             of yours, [server.settings] DateStyle = \"DMY\" for the one of postgres-etl",
        ),
        _ if refusal.help().is_some() => refusal,
        Some("23505") => refusal.with_help(
            "the key is in the file twice, or in the table already: remove one of the rows, or see --on-conflict \
             and --max-rejects",
        ),
        Some("42P10") => refusal.with_help(
            "--on-conflict goes by a primary key or a unique index over exactly these columns: create one, as with \
             ALTER TABLE … ADD PRIMARY KEY (id)",
        ),
        Some(code) if code.starts_with("23") => refusal
            .with_help("correct the row, or the constraint that it breaks; --max-rejects sets such rows aside"),
        _ => refusal,
    }
}
