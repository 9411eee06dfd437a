//! CSV → table: the file is read and encoded on one thread, and written by one of three sinks.
//!
//! [`tuples`] encodes every record once; [`rows`], [`batch`] and [`copy`] differ only in how they send the
//! result, so they leave identical tables. Between the thread and the sink is a short bounded channel: a
//! slow server slows the reading, and memory stays flat.

mod batch;
mod copy;
mod raw;
mod rows;
mod tuples;

use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use serde::Serialize;
use tokio::sync::{Mutex, mpsc};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, GenericClient};

use crate::config::{LoadSettings, Mode};
use crate::error::Kind;
use crate::postgres::database::{Database, ServerFacts};
use crate::progress::Counters;
use crate::source::{Header, Records};
use crate::table::{Table, TableName, TableSpec};
use crate::{Error, Result};
use tuples::{Chunk, Target};

/// Chunks between the encoder and the sink: enough that neither waits for the other's hiccups.
const CHUNKS_AHEAD: usize = 4;

/// Rows of a chunk; far fewer with autocommit, where the chunks are shared out among the connections.
const CHUNK_ROWS: usize = 8192;
const CHUNK_ROWS_AUTOCOMMIT: usize = 64;

/// What a load did.
#[derive(Debug, Clone, Serialize)]
pub struct LoadReport {
    /// `load`.
    pub command: &'static str,
    /// How it was written.
    pub mode: Mode,
    /// Where to.
    pub table: String,
    /// What was read.
    pub path: String,
    /// Records in the file, without the header.
    pub rows_read: u64,
    /// Rows that the server says it inserted.
    pub rows_loaded: u64,
    /// Records that were not loaded; always 0, since the first bad one ends the load.
    pub rows_rejected: u64,
    /// Bytes of the file, with the header.
    pub bytes_read: u64,
    /// From opening the transaction to the end of its commit.
    pub seconds: f64,
    /// `rows_loaded / seconds`.
    pub rows_per_second: f64,
    /// Connections written over.
    pub connections: usize,
    /// INSERTs that shared a Sync, at most.
    pub sync_every: NonZero<usize>,
    /// Whether every row was a transaction by itself.
    pub autocommit: bool,
    /// Whether the table was emptied first.
    pub truncated: bool,
    /// Whether the table was created.
    pub created: bool,
    /// Columns of the table that the file does not have, and that took their defaults.
    pub columns_defaulted: Vec<String>,
    /// The server, and the settings that a time depends on.
    pub server: ServerFacts,
}

/// The table, ready to take rows.
struct Prepared {
    name: TableName,
    targets: Arc<[Target]>,
    columns_defaulted: Vec<String>,
    created: bool,
}

/// Where the sinks get their chunks from.
#[derive(Debug)]
struct Feed {
    name: String,
    chunks: Mutex<mpsc::Receiver<Result<Chunk>>>,
    rows: AtomicU64,
}

/// Load `settings.input` into the configured table.
///
/// # Errors
/// At the first record that the table does not take, and for whatever the server refuses. Without
/// autocommit the table is then as it was before.
pub async fn load(
    settings: &LoadSettings,
    database: &Database,
    counters: &Arc<Counters>,
) -> Result<LoadReport> {
    let mut records = Records::open(&settings.input)?;
    let Some(header) = records.header()? else {
        return Err(Error::input(format!("{} is empty", records.name()))
            .with_help("its first line has to name the table's columns"));
    };
    let mut client = database.connection().await?;
    let server = ServerFacts::of(&**client).await?;
    let started = Instant::now();
    let (prepared, rows_read, rows_loaded) = if settings.autocommit {
        let prepared = prepare_table(&**client, settings, &header, records.name()).await?;
        let feed = Arc::new(Feed::start(records, &prepared.targets, CHUNK_ROWS_AUTOCOMMIT, counters));
        drop(client);
        let loaded = insert_autocommit(settings, database, &prepared, &feed).await?;
        (prepared, feed.rows(), loaded)
    } else {
        let mut transaction = client
            .build_transaction()
            .start()
            .await
            .map_err(|error| Error::database("begin the transaction", &error))?;
        match insert_all(&mut transaction, settings, &header, records, counters).await {
            Ok(done) => {
                let commit = transaction.commit().await;
                commit.map_err(|error| Error::database("commit the load", &error))?;
                done
            }
            Err(error) => {
                // Awaited, so that the table is as before when the error is read.
                let _ = transaction.rollback().await;
                return Err(error);
            }
        }
    };
    let seconds = started.elapsed().as_secs_f64();
    Ok(LoadReport {
        command: "load",
        mode: settings.mode,
        table: prepared.name.to_string(),
        path: settings.input.display().to_string(),
        rows_read,
        rows_loaded,
        rows_rejected: rows_read - rows_loaded,
        bytes_read: counters.bytes(),
        seconds,
        rows_per_second: rows_loaded as f64 / seconds,
        connections: settings.connections,
        sync_every: settings.sync_every,
        autocommit: settings.autocommit,
        truncated: settings.truncate,
        created: prepared.created,
        columns_defaulted: prepared.columns_defaulted,
        server,
    })
}

/// Everything between BEGIN and COMMIT.
async fn insert_all(
    transaction: &mut deadpool_postgres::Transaction<'_>,
    settings: &LoadSettings,
    header: &Header,
    records: Records<std::fs::File>,
    counters: &Arc<Counters>,
) -> Result<(Prepared, u64, u64)> {
    let prepared = prepare_table(&**transaction, settings, header, records.name()).await?;
    let Prepared { name, targets, .. } = &prepared;
    let feed = Feed::start(records, targets, CHUNK_ROWS, counters);
    let client = transaction.client();
    let loaded = match settings.mode {
        Mode::Rows => {
            let (loaded, outcome) = rows::insert(client, name, targets, &feed, settings.pipeline_depth).await;
            outcome.map(|()| loaded)?
        }
        Mode::Batch => {
            batch::insert(client, name, targets, &feed, settings.batch_size, settings.pipeline_depth).await?
        }
        Mode::Copy => match copy::insert(client, name, targets, &feed).await {
            Ok(loaded) => loaded,
            Err(copy::Failed::Input(error)) => return Err(error),
            Err(copy::Failed::Server(error, row)) => {
                let line = row.and_then(|row| line_of(&settings.input, row));
                let place = line.map_or(feed.name.clone(), |line| place_of(&feed.name, line));
                return Err(refused(&format!("copy {place} into {name}"), &error));
            }
        },
    };
    let rows_read = feed.rows();
    if loaded != rows_read {
        return Err(not_all_loaded(rows_read, loaded, name).with_help(
            "nothing was committed; look at the table's triggers, rules and row security policies",
        ));
    }
    Ok((prepared, rows_read, loaded))
}

/// Every row in a transaction of its own, over as many connections as asked for.
async fn insert_autocommit(
    settings: &LoadSettings,
    database: &Database,
    prepared: &Prepared,
    feed: &Arc<Feed>,
) -> Result<u64> {
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..settings.connections {
        let connection = database.connection().await?;
        let (feed, name, targets) = (Arc::clone(feed), prepared.name.clone(), Arc::clone(&prepared.targets));
        let depth = settings.pipeline_depth;
        workers.spawn(async move {
            let (rows, outcome) = rows::insert(&connection, &name, &targets, &feed, depth).await;
            if outcome.is_err() {
                feed.stop().await;
            }
            (rows, outcome)
        });
    }
    let (mut loaded, mut first_error) = (0, None);
    while let Some(worker) = workers.join_next().await {
        let (rows, outcome) = worker.expect("a worker neither panics nor is aborted");
        loaded += rows;
        first_error = first_error.or(outcome.err());
    }
    let stay = format!("{loaded} rows were committed and stay, as --autocommit means");
    match first_error {
        Some(error) => {
            let help = error.help().map_or(stay.clone(), |help| format!("{help}; {stay}"));
            Err(error.with_help(help))
        }
        None if loaded != feed.rows() => {
            Err(not_all_loaded(feed.rows(), loaded, &prepared.name).with_help(stay))
        }
        None => Ok(loaded),
    }
}

fn not_all_loaded(read: u64, loaded: u64, table: &TableName) -> Error {
    Error::new(Kind::Database, format!("the server inserted {loaded} of {read} rows into {table}"))
}

/// Create the table if need be, see that it takes the file's columns, and empty it if asked to.
async fn prepare_table(
    client: &impl GenericClient,
    settings: &LoadSettings,
    header: &Header,
    file: &str,
) -> Result<Prepared> {
    let spec = &settings.table;
    let (table, created) = match Table::find(client, &spec.name).await? {
        Some(table) => (table, false),
        None => (create_table(client, spec).await?, true),
    };
    let targets = tuples::targets(header, file, &table)?;
    if settings.truncate && !created {
        let truncate = client.batch_execute(&format!("TRUNCATE {}", table.name.sql())).await;
        truncate.map_err(|error| {
            let error = Error::database(&format!("empty {}", table.name), &error);
            let help = error.help().map(str::to_owned);
            error.with_help(help.unwrap_or_else(|| "use --append to add to the table instead".into()))
        })?;
    }
    let loaded = |name: &String| targets.iter().any(|target| target.column.name == *name);
    let not_in_file = table.columns.iter().filter(|column| !column.generated).map(|column| &column.name);
    Ok(Prepared {
        columns_defaulted: not_in_file.filter(|name| !loaded(name)).cloned().collect(),
        name: table.name,
        targets: targets.into(),
        created,
    })
}

async fn create_table(client: &impl GenericClient, spec: &TableSpec) -> Result<Table> {
    let TableSpec { name, create } = spec;
    if create.is_empty() {
        return Err(Error::new(Kind::Database, format!("there is no table {name}"))
            .with_help("create it, or describe its columns under [table] in config.toml"));
    }
    let created = client.batch_execute(&create.join(";")).await;
    created.map_err(|error| Error::database(&format!("create table {name}"), &error))?;
    Table::find(client, name)
        .await?
        .ok_or_else(|| Error::new(Kind::Database, format!("table {name} is not there after it was created")))
}

impl Feed {
    /// Read and encode `records` on a thread of its own.
    fn start(
        records: Records<std::fs::File>,
        targets: &Arc<[Target]>,
        chunk_rows: usize,
        counters: &Arc<Counters>,
    ) -> Feed {
        let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
        let name = records.name().to_owned();
        let (targets, counters) = (Arc::clone(targets), Arc::clone(counters));
        counters.add(0, records.offset());
        tokio::task::spawn_blocking(move || {
            tuples::encode_all(records, &targets, chunk_rows, &counters, &sender);
        });
        Feed { name, chunks: Mutex::new(receiver), rows: AtomicU64::new(0) }
    }

    /// The next chunk; `None` when there is none left, or somebody stopped.
    async fn next(&self) -> Result<Option<Chunk>> {
        let chunk = self.chunks.lock().await.recv().await.transpose()?;
        if let Some(chunk) = &chunk {
            self.rows.fetch_add(chunk.lines.len() as u64, Relaxed);
        }
        Ok(chunk)
    }

    /// Give out no more chunks.
    async fn stop(&self) {
        let mut chunks = self.chunks.lock().await;
        chunks.close();
        while chunks.recv().await.is_some() {}
    }

    /// Rows given out so far.
    fn rows(&self) -> u64 {
        self.rows.load(Relaxed)
    }

    /// What errors call the input.
    fn name(&self) -> &str {
        &self.name
    }
}

/// The server's refusal of a row, with a remedy where it gives no hint of its own.
fn refused(doing: &str, error: &tokio_postgres::Error) -> Error {
    let refusal = Error::database(doing, error);
    if refusal.help().is_some() {
        return refusal;
    }
    match error.code().map(SqlState::code) {
        Some("23505") => refusal.with_help(
            "the key is in the file twice, or in the table already: remove one of the rows, or use --truncate",
        ),
        Some(code) if code.starts_with("23") => {
            refusal.with_help("correct the row, or the constraint that it breaks")
        }
        _ => refusal,
    }
}

fn place_of(name: &str, line: u64) -> String {
    format!("{name}, line {line}")
}

/// The line that data record `row`, from 1, begins on; found by reading the file again.
fn line_of(path: &Path, row: u64) -> Option<u64> {
    let mut records = Records::open(path).ok()?;
    for _ in 0..row {
        records.next().ok()??;
    }
    Some(records.next().ok()??.line)
}

/// The client below deadpool's wrappers, which is what the sinks write to.
trait AsClient {
    fn client(&self) -> &Client;
}

impl AsClient for deadpool_postgres::Transaction<'_> {
    fn client(&self) -> &Client {
        (**self).client()
    }
}
