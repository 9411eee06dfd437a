//! `--mode copy --connections N`: chunks distributed over several COPYs, each in its own transaction.
//!
//! The transactions stay open until all of them have written their rows, then they commit one after another. Since a
//! table that was truncated or created is locked until its transaction ends, the rows are added to an existing table,
//! with its indexes in place.
//!
//! If a key occurs twice in the file, its rows may be in two of the transactions. The second one then waits in the
//! server for the first one to end, and the first one waits in this program for the second one's rows. The server
//! cannot detect that deadlock, so another connection watches for it.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Object;
use futures::future::{join_all, try_join_all};
use tokio_postgres::Client;

use crate::catalog::Table;
use crate::csv::{Files, Inputs};
use crate::error::ErrorKind;
use crate::load::chunk::CHUNK_ROWS;
use crate::load::chunk::encoder::{ChunkEncoder, EncodePlan};
use crate::load::chunk::stream::{ChunkFeed, ChunkStream};
use crate::load::options::{DeferIndexes, Mode};
use crate::load::refusal::refusal_error;
use crate::load::report::Phases;
use crate::load::run::stop::{Stopped, explain, interrupted};
use crate::load::run::{LoadRun, RunResult};
use crate::load::settings::LoadSettings;
use crate::load::table::constraints::check_constraints;
use crate::load::table::prepare::{PreparedTable, prepare_table};
use crate::load::totals::{LoadTotals, discrepancy};
use crate::load::write::copy::CopyWriter;
use crate::load::write::outcome::RowCounts;
use crate::postgres::server::SessionPool;
use crate::progress::Progress;
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
        Some(table) if !table.references_itself => table,
        _ => return Ok(false),
    };
    if settings.defer_indexes == DeferIndexes::Never {
        return Ok(true);
    }
    let has_rows = format!("SELECT EXISTS (SELECT FROM {})", table.name.sql());
    // A role may be allowed to write a table that it may not read.
    Ok(client.query_one(&has_rows, &[]).await.is_ok_and(|row| row.get(0)))
}

/// Prepare the table, then copy its rows over several connections, while `client` watches for deadlocks.
///
/// # Errors
/// At the first row that cannot be loaded, and when the table does not exist.
pub(crate) async fn load(run: LoadRun<'_>, mut client: Object) -> Result<RunResult, Stopped> {
    let LoadRun { settings, files, new_table, connections, progress, started } = run;
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
    let totals = copy(settings, connections, &client, &prepared, files, progress).await;
    let totals = totals.map_err(|stopped| interrupted(progress, stopped))?;
    phases.write_seconds = started.elapsed().as_secs_f64() - phases.prepare_seconds;
    Ok(RunResult { prepared, totals, phases })
}

/// Copy `files` while `watcher` watches for deadlocks; commit, or roll back if it is a dry run.
///
/// # Errors
/// At the first row that cannot be loaded; nothing is committed then. If a commit itself fails, the rows of earlier
/// commits stay.
async fn copy(
    settings: &LoadSettings,
    pool: &SessionPool,
    watcher: &Client,
    prepared: &PreparedTable,
    files: Files,
    progress: &Arc<Progress>,
) -> Result<LoadTotals, Stopped> {
    if prepared.mapping.columns.is_empty() {
        return Ok(LoadTotals::default());
    }
    let mut connections = Vec::with_capacity(settings.connections);
    for _ in 0..settings.connections {
        connections.push(pool.get().await?);
    }
    let plan = EncodePlan { chunk_rows: CHUNK_ROWS, mode: settings.input.mode, rejecting: false };
    let stream = ChunkStream::start(ChunkEncoder::new(files, Arc::clone(&prepared.mapping), plan), progress);
    let written = {
        let copies = connections.iter().map(|client| copy_one(settings, client, prepared, &stream));
        let mut copies = pin!(try_join_all(copies));
        let pids = backend_pids(&connections).await?;
        loop {
            tokio::select! {
                written = &mut copies => break written.map_err(Stopped::Error),
                () = tokio::time::sleep(WATCH_INTERVAL) => {}
            }
            if let Err(stopped) = check_for_deadlock(watcher, &pids).await {
                break Err(stopped);
            }
        }
    };
    let totals = match written {
        Ok(written) => add_up(settings, &written, &stream).await,
        Err(stopped) => Err(stopped),
    };
    if totals.is_err() || settings.dry_run {
        // Concurrently, because one may wait for another.
        join_all(connections.iter().map(|client| client.batch_execute("ROLLBACK"))).await;
        return totals;
    }
    commit_all(&connections).await?;
    totals
}

/// Commit the transactions one after another.
async fn commit_all(connections: &[Object]) -> Result<()> {
    for (committed, client) in connections.iter().enumerate() {
        client.batch_execute("COMMIT").await.map_err(|error| {
            let all = connections.len();
            refusal_error("commit the load", error).with_help(match committed {
                0 => "nothing was loaded".into(),
                _ => format!("the rows of {committed} of {all} connections were committed and stay"),
            })
        })?;
    }
    Ok(())
}

/// The server's counts for one connection, and the number of rows sent over it.
type CopiedRows = (RowCounts, u64);

/// Copy chunks of `stream` over one connection, in a transaction that stays open.
async fn copy_one(
    settings: &LoadSettings,
    client: &Client,
    prepared: &PreparedTable,
    stream: &ChunkStream,
) -> Result<CopiedRows> {
    let PreparedTable { table, mapping, .. } = prepared;
    let begun = client.batch_execute("BEGIN").await;
    begun.map_err(|error| Error::database("begin the transaction", error))?;
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
    let mut totals = LoadTotals { text_fallbacks: stream.text_fallbacks().await, ..LoadTotals::default() };
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

/// The process IDs of the connections' backends.
async fn backend_pids(connections: &[Object]) -> Result<Vec<i32>> {
    let pid = async |client: &Client| client.query_one("SELECT pg_catalog.pg_backend_pid()", &[]).await;
    let rows = try_join_all(connections.iter().map(|client| pid(client))).await;
    let rows = rows.map_err(|error| Error::database("query the process IDs of the connections", error))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Check that none of the backends `pids` waits for the transaction of another one to end.
async fn check_for_deadlock(watcher: &Client, pids: &[i32]) -> Result<(), Stopped> {
    let sql = "SELECT EXISTS (SELECT FROM pg_catalog.pg_locks
                              WHERE pid = ANY ($1) AND NOT granted AND locktype = 'transactionid'
                                AND pg_catalog.pg_blocking_pids(pid) && $1)";
    let waits = watcher.query_one(sql, &[&pids]).await;
    let waits = waits.map_err(|error| Error::database("watch the connections", error))?.get(0);
    if waits {
        return Err(Stopped::RetryRowByRow(
            Error::new(
                ErrorKind::Database,
                "two rows with the same key were sent over different connections",
            )
            .with_help("load over one connection to find out which rows they are"),
            Mode::Copy,
        ));
    }
    Ok(())
}
