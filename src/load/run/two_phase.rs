//! Several transactions committed as one, by two-phase commit.
//!
//! PREPARE TRANSACTION writes each transaction to disk, where it survives even a crash of the server. Once all are
//! prepared, the load is decided: COMMIT PREPARED can be repeated, over any connection, until each has happened.

use std::hash::{BuildHasher as _, RandomState};

use deadpool_postgres::Object;
use futures::future::join_all;
use tokio_postgres::{Client, Error as PgError};

use crate::catalog::Table;
use crate::load::refusal::refusal_error;
use crate::load::run::commit::{CommittedTransaction, Committer, Confirmation, NotFound, status};
use crate::postgres::connect_error::is_answer_lost;
use crate::progress::Phase;
use crate::sql::literal;
use crate::{Error, Result};

/// A connection with an open transaction, and the rows that it has written.
pub(super) struct Part {
    pub(super) client: Object,
    /// The ID of the transaction.
    pub(super) id: String,
    pub(super) rows: u64,
}

/// A part whose transaction may be prepared.
struct PreparedPart {
    client: Object,
    /// The ID of the transaction.
    id: String,
    /// The name of the prepared transaction.
    name: String,
}

/// Why `count` transactions that write to `table` cannot be prepared on the server of `client`; `None` if they can.
///
/// # Errors
/// When the server does not tell.
pub(super) async fn obstacle(client: &Client, table: &Table, count: usize) -> Result<Option<&'static str>> {
    if table.distribution.is_some() {
        return Ok(Some("Citus does not let transactions that write to its tables be prepared"));
    }
    if table.foreign_tables.is_some() {
        return Ok(Some("transactions that write to foreign tables cannot be prepared"));
    }
    let limit = "SELECT pg_catalog.current_setting('max_prepared_transactions')::int8";
    let limit = client.query_one(limit, &[]).await;
    let limit = limit.map_err(|error| Error::database("read max_prepared_transactions", error))?;
    let is_too_low = limit.get::<_, i64>(0) < count as i64;
    Ok(is_too_low.then_some("the server's max_prepared_transactions is too low"))
}

/// Commit the transactions of all `parts`, or none.
///
/// # Errors
/// When one cannot be prepared, or the load is cancelled before all are: then all are rolled back; the help says how to
/// end those that may be left. [`ErrorKind::OutcomeUnknown`](crate::ErrorKind::OutcomeUnknown) when all are prepared, but
/// not all can be committed yet.
pub(super) async fn commit(committer: &Committer<'_>, parts: Vec<Part>) -> Result<Vec<CommittedTransaction>> {
    let (progress, load) = (committer.progress(), RandomState::new().hash_one(std::process::id()));
    let rows = parts.iter().map(|part| part.rows).sum();
    let mut prepared = Vec::with_capacity(parts.len());
    for (number, Part { client, id, .. }) in parts.into_iter().enumerate() {
        prepared.push(PreparedPart { client, id, name: format!("postgres_etl_{load:016x}_{number}") });
    }
    progress.begin(Phase::Committing, None);
    let pattern = literal(&format!("postgres_etl_{load:016x}_%"));
    let named = format!("SELECT gid FROM pg_prepared_xacts WHERE gid LIKE {pattern}");
    progress.begin_prepare(format!("run {named}, and ROLLBACK PREPARED 'gid' for each gid it returns"));
    let prepare = prepared.iter().map(|part| {
        let prepare = format!("PREPARE TRANSACTION {}", literal(&part.name));
        async move { committer.answer(part.client.batch_execute(&prepare)).await }
    });
    let outcomes = join_all(prepare).await;
    if progress.is_cancelled() || outcomes.iter().any(|outcome| !matches!(outcome, Some(Ok(())))) {
        return Err(roll_back(committer, prepared, outcomes).await);
    }
    progress.end_prepare();
    let ids: Vec<String> = prepared.iter().map(|part| format!("pg_xact_status('{}')", part.id)).collect();
    let question = format!(
        "{named} (and run COMMIT PREPARED 'gid' for each gid it returns), then SELECT {}",
        ids.join(", ")
    );
    for part in &prepared {
        progress.add_transaction(&part.id);
    }
    progress.begin_commit(rows, Some(question));
    finish(committer, prepared, rows).await
}

/// Roll back all `parts`, because the load is cancelled, or one of the `outcomes` of preparing them is an error.
async fn roll_back(
    committer: &Committer<'_>,
    parts: Vec<PreparedPart>,
    outcomes: Vec<Option<Result<(), PgError>>>,
) -> Error {
    let mut refusal = None;
    let mut endings = Vec::new();
    for (part, outcome) in parts.into_iter().zip(outcomes) {
        let is_prepared = matches!(outcome, Some(Ok(())));
        let is_refused = matches!(&outcome, Some(Err(error)) if !is_answer_lost(error));
        refusal = refusal.or(outcome.and_then(Result::err));
        if !is_refused {
            endings.push(roll_back_one(committer, part, is_prepared));
        }
    }
    let left: Vec<String> = join_all(endings).await.into_iter().flatten().collect();
    let error = match refusal {
        Some(refusal) if !committer.progress().is_cancelled() => {
            refusal_error("prepare the commit of the load", refusal)
        }
        _ => Error::interrupted(),
    };
    committer.progress().end_prepare();
    if left.is_empty() {
        return error.with_help("nothing was loaded");
    }
    error.with_help(format!(
        "nothing was loaded, but a prepared transaction may still hold its locks; to end it, run: {}",
        left.join("; ")
    ))
}

/// Roll back `part`, which is or may be prepared; return the statement that does so if it is not known to have worked.
async fn roll_back_one(committer: &Committer<'_>, part: PreparedPart, is_prepared: bool) -> Option<String> {
    let rollback = format!("ROLLBACK PREPARED {}", literal(&part.name));
    if is_prepared && matches!(committer.answer(part.client.batch_execute(&rollback)).await, Some(Ok(()))) {
        return None;
    }
    let ended = committer.search(async |client| end(client, &part, &rollback).await).await;
    drop(Object::take(part.client));
    ended.is_err().then_some(rollback)
}

/// Commit `parts`, all of which are prepared.
async fn finish(
    committer: &Committer<'_>,
    parts: Vec<PreparedPart>,
    rows: u64,
) -> Result<Vec<CommittedTransaction>> {
    let outcomes = join_all(parts.into_iter().map(|part| commit_one(committer, part))).await;
    let (mut transactions, mut why) = (Vec::new(), None);
    for outcome in outcomes {
        match outcome {
            Ok(done) => transactions.push(done),
            Err(NotFound(reason)) => why = Some(reason),
        }
    }
    if let Some(why) = why {
        return Err(committer.unknown(&why));
    }
    committer.progress().confirm_commit(rows);
    committer.progress().conclude();
    // Only now, because this may take a while too.
    let timed = transactions.into_iter().map(|(transaction, client)| async {
        match client {
            Some(client) => transaction.timed(client).await,
            None => transaction,
        }
    });
    Ok(join_all(timed).await)
}

/// Commit `part`; return its transaction, and its connection if that can still be used.
async fn commit_one(
    committer: &Committer<'_>,
    part: PreparedPart,
) -> Result<(CommittedTransaction, Option<Object>), NotFound> {
    let statement = format!("COMMIT PREPARED {}", literal(&part.name));
    let answer = committer.answer(part.client.batch_execute(&statement)).await;
    if matches!(answer, Some(Ok(()))) {
        return Ok((CommittedTransaction::new(part.id, Confirmation::Answer), Some(part.client)));
    }
    let found = committer.search(async |client| end(client, &part, &statement).await).await;
    drop(Object::take(part.client));
    match found?.as_str() {
        "committed" => Ok((CommittedTransaction::new(part.id, Confirmation::PgXactStatus), None)),
        other => Err(NotFound(format!("the server reports transaction {} as {other}", part.id))),
    }
}

/// End the transaction of `part` with `statement` if it is prepared, and return what became of it: `committed` or
/// `aborted`; `None` if the server may still be preparing it.
async fn end(client: &Client, part: &PreparedPart, statement: &str) -> Result<Option<String>, PgError> {
    let is_prepared = "SELECT FROM pg_catalog.pg_prepared_xacts WHERE gid = $1";
    if client.query_opt(is_prepared, &[&part.name]).await?.is_some() {
        client.batch_execute(statement).await?;
    }
    status(client, &part.id).await
}
