//! `--autocommit`: every row in a transaction of its own, over several connections.

use std::sync::Arc;

use super::encoding::{Encoding, Plan};
use super::feed::{Counts, Feed, Stream};
use super::report::{self, Outcome};
use super::rows::Rows;
use super::{Prepared, explain, resolve_clause};
use crate::config::LoadSettings;
use crate::error::Kind;
use crate::postgres::database::Database;
use crate::progress::Counters;
use crate::source::Files;
use crate::{Error, Result};

/// Rows of a chunk; few, because the chunks are shared out among the connections.
const CHUNK_ROWS: usize = 64;

/// Insert every row over as many connections as asked for.
///
/// # Errors
/// At the first row that is refused; those committed by then stay.
pub(super) async fn insert(
    settings: &LoadSettings,
    database: &Database,
    prepared: &Prepared,
    files: Files,
    counters: &Arc<Counters>,
) -> Result<Outcome> {
    let Prepared { table, targets, .. } = prepared;
    if targets.columns.is_empty() {
        return Ok(Outcome::default());
    }
    // All of them before the first row, so that one that cannot be had costs nothing.
    let mut connections = Vec::with_capacity(settings.connections);
    for _ in 0..settings.connections {
        connections.push(database.connection().await?);
    }
    let clause = resolve_clause(&connections[0], settings, prepared).await?;
    // The last thing before the first row, because it is committed.
    prepared.empty(&**connections[0]).await?;
    let skips = clause.as_ref().is_some_and(|clause| !clause.updates);
    let plan = Plan { chunk_rows: CHUNK_ROWS, mode: settings.input.mode, rejecting: false };
    let stream = Arc::new(Stream::start(Encoding::new(files, Arc::clone(targets), plan), counters));
    let mut workers = tokio::task::JoinSet::new();
    for client in connections {
        let (stream, table, targets) = (Arc::clone(&stream), table.clone(), Arc::clone(targets));
        let (clause, settings) = (clause.clone(), settings.clone());
        workers.spawn(async move {
            let mut feed = Feed::stream(&stream);
            let rows =
                Rows::prepare(&client, &table.name, &targets, clause.as_ref(), settings.pipeline_depth);
            let (counts, outcome) = match rows.await {
                Ok(mut rows) => rows.insert(&client, &mut feed).await,
                Err(error) => (Counts::default(), Err(error.into())),
            };
            let outcome = outcome.map_err(|failed| explain(failed, &feed, &settings, &table));
            if outcome.is_err() {
                stream.stop();
            }
            (counts, feed.rows(), outcome)
        });
    }
    let (mut outcome, mut first_error) = (Outcome::default(), None);
    while let Some(worker) = workers.join_next().await {
        let (counts, rows, ended) =
            worker.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        outcome.counts += counts;
        outcome.read += rows;
        outcome.encoded += rows;
        first_error = first_error.or(ended.err());
    }
    if first_error.is_none() {
        outcome.switches = stream.switches().await;
        if skips {
            outcome.skipped = outcome.read - outcome.counts.inserted;
        }
    }
    let loaded = outcome.counts.inserted + outcome.counts.updated;
    counters.commit(loaded);
    let discrepancy = report::discrepancy(&outcome, settings).map(|text| Error::new(Kind::Database, text));
    match first_error.or(discrepancy) {
        Some(_) if counters.is_cancelled() => Err(Error::interrupted().and(&stay(prepared, loaded))),
        Some(error) => {
            let error = error.and(&stay(prepared, loaded));
            if loaded == 0 || settings.on_conflict.is_some() {
                return Err(error);
            }
            let rest = "with a key to go by, --on-conflict skip loads the rest";
            let help = error.help().map_or(rest.to_owned(), |help| format!("{help}; {rest}"));
            Err(error.with_help(help))
        }
        None => Ok(outcome),
    }
}

/// What is left behind when a load ends before its time.
fn stay(prepared: &Prepared, loaded: u64) -> String {
    let emptied = if prepared.truncate { "the table was emptied first, and " } else { "" };
    let rows = match loaded {
        0 => "no row was committed".to_owned(),
        1 => "1 row was committed, and stays".to_owned(),
        _ => format!("{loaded} rows were committed, and stay"),
    };
    format!("{emptied}{rows}")
}
