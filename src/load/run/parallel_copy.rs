//! `--mode copy --connections N`: chunks shared out among several COPYs, each in a transaction of its own.
//!
//! The transactions stay open until every one of them has all its rows, and then commit one after the other. Since
//! a table that was emptied or created is locked until its transaction ends, the rows are added to those of a table
//! that is there, with its indexes in place.
//!
//! A key that is twice in the file may be in two of the transactions. The second then waits for the first, which
//! waits for the second to finish: the server sees no deadlock, so somebody has to watch.

use crate::load::report::Phases;
use crate::load::run::LoadRun;
use crate::load::run::RunResult;
use crate::load::table::prepare::prepare_table;
use crate::load::totals::discrepancy;
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
use crate::load::refusal::refused;
use crate::load::run::stop::{Stopped, explain, interrupted};
use crate::load::settings::LoadSettings;
use crate::load::table::constraints::check_constraints;
use crate::load::table::prepare::Prepared;
use crate::load::totals::LoadTotals;
use crate::load::write::copy::Copy;
use crate::load::write::outcome::Counts;
use crate::postgres::server::Connections;
use crate::progress::Progress;
use crate::{Error, Result};

/// How often is looked whether the transactions wait for each other.
const WATCH: Duration = Duration::from_millis(200);

/// Files that are smaller are over before a second connection has paid for itself.
const LEAST_BYTES: u64 = 8 * 1024 * 1024;

/// Whether two connections load `inputs` faster than one: measured on 2 cores, a seventh to a half faster, where the
/// indexes are in place anyway. Into an empty table one connection that leaves them to the end is faster still.
///
/// # Errors
/// When the server cannot be asked.
pub(crate) async fn is_faster(settings: &LoadSettings, pool: &Connections, inputs: &Inputs) -> Result<bool> {
    // What cannot be read again could not name two rows that share a key.
    if inputs.size().is_none_or(|bytes| bytes < LEAST_BYTES) || !inputs.can_be_read_again() {
        return Ok(false);
    }
    // As many as will be needed; the pool keeps them. A role, or a server, may be out of them.
    let [client, _second, _third] = match try_join_all([(); 3].map(|()| pool.get())).await {
        Ok(connections) => <[Object; 3]>::try_from(connections).expect("as many as were asked for"),
        Err(_) => return Ok(false),
    };
    let table = match Table::find(&**client, &settings.input.table.name).await? {
        // Of rows that refer to each other one may come over the other connection.
        Some(table) if !table.references_itself => table,
        _ => return Ok(false),
    };
    if settings.defer_indexes == DeferIndexes::Never {
        return Ok(true);
    }
    let has_rows = format!("SELECT EXISTS (SELECT FROM {})", table.name.sql());
    // A table that may not be read may be written all the same.
    Ok(client.query_one(&has_rows, &[]).await.is_ok_and(|row| row.get(0)))
}

/// Prepare the table, then copy its rows over as many connections as the settings ask for; `client` watches them.
///
/// # Errors
/// At the first row that is refused, and when the table does not exist.
pub(crate) async fn load(run: LoadRun<'_>, mut client: Object) -> Result<RunResult, Stopped> {
    let LoadRun { settings, files, new_table, connections, progress, started } = run;
    let mut phases = Phases::default();
    let failed = |doing| move |error| Error::database(doing, &error);
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

/// Copy `files`, watched over by `watcher`, and commit, or roll back if it is a dry run.
///
/// # Errors
/// At the first row that is refused. Nothing is committed then; only a failure of a commit itself leaves the rows of
/// those before it.
async fn copy(
    settings: &LoadSettings,
    pool: &Connections,
    watcher: &Client,
    prepared: &Prepared,
    files: Files,
    progress: &Arc<Progress>,
) -> Result<LoadTotals, Stopped> {
    if prepared.targets.columns.is_empty() {
        return Ok(LoadTotals::default());
    }
    let mut connections = Vec::with_capacity(settings.connections);
    for _ in 0..settings.connections {
        connections.push(pool.get().await?);
    }
    let plan = EncodePlan { chunk_rows: CHUNK_ROWS, mode: settings.input.mode, rejecting: false };
    let stream = ChunkStream::start(ChunkEncoder::new(files, Arc::clone(&prepared.targets), plan), progress);
    let written = {
        let copies = connections.iter().map(|client| copy_one(settings, client, prepared, &stream));
        let mut copies = pin!(try_join_all(copies));
        let pids = backend_pids(&connections).await?;
        loop {
            tokio::select! {
                written = &mut copies => break written.map_err(Stopped::Error),
                () = tokio::time::sleep(WATCH) => {}
            }
            if let Err(stopped) = see_that_none_waits(watcher, &pids).await {
                break Err(stopped);
            }
        }
    };
    let outcome = match written {
        Ok(written) => sum(settings, &written, &stream).await,
        Err(stopped) => Err(stopped),
    };
    if outcome.is_err() || settings.dry_run {
        // Together, because one may wait for another.
        join_all(connections.iter().map(|client| client.batch_execute("ROLLBACK"))).await;
        return outcome;
    }
    for (committed, client) in connections.iter().enumerate() {
        client.batch_execute("COMMIT").await.map_err(|error| {
            let of = connections.len();
            refused("commit the load", &error).with_help(match committed {
                0 => "nothing was loaded".into(),
                _ => format!("the rows of {committed} of {of} connections were committed and stay"),
            })
        })?;
    }
    outcome
}

/// What one connection wrote of the rows it was given.
type Written = (Counts, u64);

async fn copy_one(
    settings: &LoadSettings,
    client: &Client,
    prepared: &Prepared,
    stream: &ChunkStream,
) -> Result<Written> {
    let Prepared { table, targets, .. } = prepared;
    let begun = client.batch_execute("BEGIN").await;
    begun.map_err(|error| Error::database("begin the transaction", &error))?;
    let copy = Copy::prepare(client, &table.name, targets, None, false).await?;
    let mut feed = ChunkFeed::stream(stream);
    let counts =
        copy.insert(client, &mut feed).await.map_err(|failed| explain(failed, &feed, settings, table))?;
    check_constraints(client).await?;
    Ok((counts, feed.rows()))
}

async fn sum(
    settings: &LoadSettings,
    written: &[Written],
    stream: &ChunkStream,
) -> Result<LoadTotals, Stopped> {
    let mut outcome = LoadTotals { switches: stream.switches().await, ..LoadTotals::default() };
    for (counts, rows) in written {
        outcome.counts += *counts;
        outcome.read += rows;
        outcome.encoded += rows;
    }
    match discrepancy(&outcome, settings) {
        Some(discrepancy) => Err(Error::new(ErrorKind::Database, discrepancy)
            .with_help("nothing was committed; look at the table's triggers")
            .into()),
        None => Ok(outcome),
    }
}

async fn backend_pids(connections: &[Object]) -> Result<Vec<i32>> {
    let pid = async |client: &Client| client.query_one("SELECT pg_catalog.pg_backend_pid()", &[]).await;
    let rows = try_join_all(connections.iter().map(|client| pid(client))).await;
    let rows = rows.map_err(|error| Error::database("ask for the connections' processes", &error))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// See that no one of `pids` waits for another one's transaction to end.
async fn see_that_none_waits(watcher: &Client, pids: &[i32]) -> Result<(), Stopped> {
    let sql = "SELECT EXISTS (SELECT FROM pg_catalog.pg_locks
                              WHERE pid = ANY ($1) AND NOT granted AND locktype = 'transactionid'
                                AND pg_catalog.pg_blocking_pids(pid) && $1)";
    let waits = watcher.query_one(sql, &[&pids]).await;
    let waits = waits.map_err(|error| Error::database("watch the connections", &error))?.get(0);
    if waits {
        return Err(Stopped::RetryRowByRow(
            Error::new(ErrorKind::Database, "two rows with the same key came to different connections")
                .with_help("load over one connection, which says which rows they are"),
            Mode::Copy,
        ));
    }
    Ok(())
}
