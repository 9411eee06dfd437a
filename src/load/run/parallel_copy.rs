//! `--mode copy --connections N`: chunks distributed over several COPYs, each in its own transaction.
//!
//! The transactions stay open until all of them have written their rows. Then they are committed as one, by two-phase
//! commit, or one after another where the server's `max_prepared_transactions` does not allow that. Since a
//! table that was truncated or created is locked until its transaction ends, the rows are added to an existing table,
//! with its indexes in place.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool_postgres::Object;
use futures::future::{join_all, try_join_all};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::catalog::Table;
use crate::csv::{Files, Inputs};
use crate::error::ErrorKind;
use crate::load::chunk::CHUNK_ROWS;
use crate::load::chunk::encoder::{ChunkEncoder, EncodePlan};
use crate::load::chunk::stream::{ChunkFeed, ChunkStream};
use crate::load::options::DeferIndexes;
use crate::load::report::Phases;
use crate::load::run::commit::{CommittedTransaction, Committer, transaction_id};
use crate::load::run::deadlock::{backend_pids, find_deadlock};
use crate::load::run::routed_copy::RoutedCopy;
use crate::load::run::stop::{Stopped, explain, interrupted};
use crate::load::run::two_phase::{self, Part};
use crate::load::run::{LoadRun, RunResult};
use crate::load::settings::LoadSettings;
use crate::load::table::constraints::check_constraints;
use crate::load::table::partitions::PartitionsWritten;
use crate::load::table::prepare::{PreparedTable, has_rows, prepare_table, set_date_style};
use crate::load::table::unchanged::{OthersLock, lock_unchanged};
use crate::load::totals::{LoadTotals, discrepancy};
use crate::load::write::copy::CopyWriter;
use crate::load::write::outcome::RowCounts;
use crate::postgres::server::SessionPool;
use crate::progress::{Phase, Total};
use crate::{Error, Result};

/// Interval between checks for transactions that wait for each other.
const WATCH_INTERVAL: Duration = Duration::from_millis(200);

/// Minimum size of the files, in bytes: for smaller ones a second connection costs more than it saves.
const MIN_BYTES: u64 = 8 * 1024 * 1024;

/// Whether two connections load `inputs` faster than one.
///
/// Measured on 2 cores, they are a seventh to a half faster if the indexes stay in place anyway. Into an empty table,
/// one connection that rebuilds the indexes at the end is faster still.
///
/// # Errors
/// When the table cannot be looked up.
pub(crate) async fn is_faster(settings: &LoadSettings, pool: &SessionPool, inputs: &Inputs) -> Result<bool> {
    // If two rows share a key, the input has to be read again to name them.
    if inputs.size().is_none_or(|bytes| bytes < MIN_BYTES) || !inputs.can_be_read_again() {
        return Ok(false);
    }
    // All that will be needed; the pool keeps them open. The role's or the server's connection limit may be reached.
    let [client, _second, _third] = match try_join_all([(); 3].map(|()| pool.get())).await {
        Ok(connections) => <[Object; 3]>::try_from(connections).expect("a connection for each request"),
        Err(_) => return Ok(false),
    };
    let table = match Table::find(&**client, &settings.input.table.name).await? {
        // A row may refer to one that is written over the other connection.
        Some(table) if !table.references_itself && table.is_stored => table,
        _ => return Ok(false),
    };
    // Nobody asked for a load that is not atomic.
    if two_phase::obstacle(&client, &table, 2).await?.is_some() {
        return Ok(false);
    }
    if settings.defer_indexes == DeferIndexes::Never {
        return Ok(true);
    }
    Ok(has_rows(&client, &table).await.unwrap_or(false))
}

/// Prepare the table, then copy its rows over several connections, while `client` watches for deadlocks.
///
/// # Errors
/// At the first row that cannot be loaded, and when the table does not exist.
pub(crate) async fn load(run: LoadRun<'_>, mut client: Object) -> Result<RunResult, Stopped> {
    let LoadRun { settings, files, new_table, connections, progress, started, .. } = run;
    let mut phases = Phases::default();
    let failed = |doing| move |error| Error::database(doing, error);
    let transaction = client.transaction().await.map_err(failed("begin a transaction"))?;
    let prepared = prepare_table(&*transaction, settings, &files, new_table).await?;
    transaction.rollback().await.map_err(failed("end a transaction"))?;
    if prepared.created {
        return Err(Error::usage(format!(
            "--connections {} needs an existing table, and {} does not exist",
            settings.connections, prepared.table.name
        ))
        .with_help("create it first, or load over one connection")
        .into());
    }
    phases.prepare_seconds = started.elapsed().as_secs_f64();
    let committer = Committer::new(&client, connections, progress).await.writing_to(&prepared.table);
    let obstacle = two_phase::obstacle(&client, &prepared.table, settings.connections).await?;
    let obstacle = obstacle.filter(|_| !settings.dry_run);
    if let Some(obstacle) = obstacle {
        progress.note(&format!(
            "{obstacle}, so the {} transactions are committed one after another: a failure in between leaves part of the \
             rows",
            settings.connections
        ));
    }
    let is_atomic = obstacle.is_none();
    let copied = copy(settings, is_atomic, &committer, &client, &prepared, files).await?;
    let (totals, transactions, written_at) = copied;
    phases.write_seconds = (written_at - started).as_secs_f64() - phases.prepare_seconds;
    Ok(RunResult { prepared, totals, phases, transactions, is_atomic, import: None })
}

/// Copy `files` while `watcher` watches for deadlocks; commit, or roll back if it is a dry run. Return also when all rows were
/// written, before the commit.
///
/// # Errors
/// At the first row that cannot be loaded; nothing is committed then. As [`commit_all`].
async fn copy(
    settings: &LoadSettings,
    is_atomic: bool,
    committer: &Committer<'_>,
    watcher: &Client,
    prepared: &PreparedTable,
    files: Files,
) -> Result<(LoadTotals, Vec<CommittedTransaction>, Instant), Stopped> {
    if prepared.mapping.columns.is_empty() {
        return Ok((LoadTotals::default(), Vec::new(), Instant::now()));
    }
    let progress = committer.progress();
    progress.begin(Phase::Reading, files.inputs().size().map(Total::Bytes));
    let mut connections = Vec::with_capacity(settings.connections);
    for _ in 0..settings.connections {
        connections.push(committer.pool().get().await?);
    }
    let can_be_read_again = files.inputs().can_be_read_again();
    let plan = EncodePlan::new(&settings.input, CHUNK_ROWS, false);
    let stream = ChunkStream::start(ChunkEncoder::new(files, Arc::clone(&prepared.mapping), plan), progress);
    let written = write(settings, &connections, watcher, prepared, (&stream, can_be_read_again)).await;
    let summed = match written {
        Ok((written, partitions)) => {
            let totals = add_up(settings, &written, &stream).await;
            let totals = totals.map(|totals| LoadTotals { partitions, ..totals });
            let ids = try_join_all(connections.iter().map(|client| transaction_id(&***client))).await;
            totals.and_then(|totals| Ok((totals, written, ids?)))
        }
        Err(stopped) => Err(stopped),
    };
    let written_at = Instant::now();
    let (totals, written, ids) = match summed {
        Ok(summed) if !settings.dry_run => summed,
        other => {
            // Concurrently, because one may wait for another.
            join_all(connections.iter().map(|client| client.batch_execute("ROLLBACK"))).await;
            return match other {
                Ok((totals, ..)) => Ok((totals, Vec::new(), written_at)),
                Err(stopped) => Err(interrupted(progress, stopped)),
            };
        }
    };
    let rows = written.iter().map(|(counts, _)| counts.inserted + counts.updated);
    let parts = connections.into_iter().zip(ids).zip(rows);
    let parts: Vec<Part> = parts.map(|((client, id), rows)| Part { client, id, rows }).collect();
    let transactions = if is_atomic {
        two_phase::commit(committer, parts).await?
    } else {
        commit_all(committer, parts).await?
    };
    Ok((totals, transactions, written_at))
}

/// Write the rows of `stream` over `connections`, while `watcher` watches for deadlocks.
async fn write(
    settings: &LoadSettings,
    connections: &[Object],
    watcher: &Client,
    prepared: &PreparedTable,
    (stream, can_be_read_again): (&ChunkStream, bool),
) -> Result<(Vec<CopiedRows>, PartitionsWritten), Stopped> {
    let first = begin_all(settings, connections, prepared).await?;
    let (routed, partitions) = RoutedCopy::plan(first, settings, prepared, can_be_read_again).await?;
    let routed = routed.as_ref();
    let copies = connections.iter().map(|client| copy_one(settings, client, prepared, (stream, routed)));
    let mut copies = pin!(try_join_all(copies));
    let pids = backend_pids(connections).await?;
    // The waits of a cycle are not all looked at in the same instant, so only what stays is one.
    let mut before = None;
    loop {
        tokio::select! {
            written = &mut copies => return written.map(|written| (written, partitions)),
            () = tokio::time::sleep(WATCH_INTERVAL) => {}
        }
        let now = find_deadlock(watcher, &pids).await?;
        if now == before
            && let Some(deadlock) = now
        {
            return Err(deadlock.end(watcher, &pids).await?);
        }
        before = now;
    }
}

/// Commit the transactions one after another.
///
/// # Errors
/// When one is not committed; those before it stay, and the error says how many rows they have. Those after it are rolled
/// back.
async fn commit_all(committer: &Committer<'_>, parts: Vec<Part>) -> Result<Vec<CommittedTransaction>> {
    let mut transactions = Vec::with_capacity(parts.len());
    let all = parts.len();
    let mut parts = parts.into_iter();
    while let Some(Part { client, id, rows }) = parts.next() {
        let error = match committer.commit(id, rows, client.batch_execute("COMMIT")).await {
            Ok(transaction) => {
                transactions.push(transaction.timed(client).await);
                continue;
            }
            Err(error) => error,
        };
        let rest: Vec<Part> = parts.collect();
        join_all(rest.iter().map(|part| part.client.batch_execute("ROLLBACK"))).await;
        if transactions.is_empty() {
            return Err(error);
        }
        let (done, rows) = (transactions.len(), committer.progress().committed());
        let stays =
            format!("{done} of {all} transactions were committed; their {rows} rows stay in the table");
        return Err(error.and(&stays));
    }
    committer.progress().conclude();
    Ok(transactions)
}

/// The server's counts for one connection, and the number of rows sent over it.
type CopiedRows = (RowCounts, u64);

/// Begin the transactions of all `connections`, which stay open, and lock the table in each; return the first connection.
///
/// A session that waits for the table behind the first of them would make the others wait for itself, and itself for ever:
/// it is let through first.
async fn begin_all<'a>(
    settings: &LoadSettings,
    connections: &'a [Object],
    prepared: &PreparedTable,
) -> Result<&'a Client> {
    let (first, others) = connections.split_first().expect("there are several");
    loop {
        begin(settings, first, prepared, OthersLock::Await).await?;
        let begun = others.iter().map(|client| begin(settings, client, prepared, OthersLock::Refuse));
        match try_join_all(begun).await {
            Ok(_) => return Ok(first),
            Err(error) if error.sqlstate() == Some(SqlState::LOCK_NOT_AVAILABLE.code()) => {
                tracing::info!("another session waits for {}, and goes first", prepared.table.name);
            }
            Err(error) => return Err(error),
        }
        let undone = try_join_all(connections.iter().map(|client| client.batch_execute("ROLLBACK"))).await;
        undone.map_err(|error| Error::database("release the table", error))?;
    }
}

/// Begin the transaction of a connection, which stays open, and lock the table.
async fn begin(
    settings: &LoadSettings,
    client: &Client,
    prepared: &PreparedTable,
    others_lock: OthersLock,
) -> Result<()> {
    let begun = client.batch_execute("BEGIN").await;
    begun.map_err(|error| Error::database("begin the transaction", error))?;
    set_date_style(client, settings).await?;
    lock_unchanged(client, prepared, others_lock).await
}

/// Copy chunks of `stream` over one connection, or send their rows to the partitions, if they are `routed`.
async fn copy_one(
    settings: &LoadSettings,
    client: &Client,
    prepared: &PreparedTable,
    (stream, routed): (&ChunkStream, Option<&RoutedCopy>),
) -> Result<CopiedRows, Stopped> {
    if let Some(routed) = routed {
        let copied = routed.copy(client, settings, prepared, stream).await?;
        check_constraints(client).await?;
        return Ok(copied);
    }
    let PreparedTable { table, mapping, .. } = prepared;
    let writer = CopyWriter::prepare(client, &table.name, mapping, None, false).await?;
    let mut feed = ChunkFeed::from_stream(stream);
    let counts =
        writer.insert(client, &mut feed).await.map_err(|failure| explain(failure, &feed, settings, table))?;
    check_constraints(client).await?;
    Ok((counts, feed.rows()))
}

/// Add up the rows of all connections, and check that the totals match.
async fn add_up(
    settings: &LoadSettings,
    copied: &[CopiedRows],
    stream: &ChunkStream,
) -> Result<LoadTotals, Stopped> {
    let mut totals = LoadTotals { encoder: stream.summary().await, ..LoadTotals::default() };
    for (counts, rows) in copied {
        totals.counts += *counts;
        totals.read += rows;
        totals.encoded += rows;
    }
    match discrepancy(&totals, settings) {
        Some(discrepancy) => Err(Error::new(ErrorKind::Database, discrepancy)
            .with_help("nothing was committed; check the table's triggers")
            .into()),
        None => Ok(totals),
    }
}
