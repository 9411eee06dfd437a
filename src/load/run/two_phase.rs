//! Several transactions committed as one, by two-phase commit.
//!
//! PREPARE TRANSACTION writes each transaction to disk, where it survives even a crash of the server. Once all are
//! prepared, the load is decided: COMMIT PREPARED can be repeated, over any connection, until each has happened.

use std::hash::{BuildHasher as _, RandomState};

use deadpool_postgres::Object;
use futures::future::join_all;
use tokio_postgres::{Client, Error as PgError};

use crate::error::ErrorKind;
use crate::load::refusal::refusal_error;
use crate::load::run::commit::{
    CommittedTransaction, Committer, Confirmation, NotFound, status, transaction_id,
};
use crate::postgres::connect_error::is_answer_lost;
use crate::sql::literal;
use crate::{Error, Result};

/// A connection with an open transaction, and the rows that it has written.
pub(super) struct Part {
    pub(super) client: Object,
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

/// Whether the server of `client` lets `count` transactions be prepared.
///
/// # Errors
/// When it does not tell.
pub(super) async fn is_allowed(client: &Client, count: usize) -> Result<bool> {
    let limit = "SELECT pg_catalog.current_setting('max_prepared_transactions')::int8";
    let limit = client.query_one(limit, &[]).await;
    let limit = limit.map_err(|error| Error::database("read max_prepared_transactions", error))?;
    Ok(limit.get::<_, i64>(0) >= count as i64)
}

/// Commit the transactions of all `parts`, or none.
///
/// # Errors
/// When one cannot be prepared, or the load is cancelled before all are: then all are rolled back.
/// [`ErrorKind::OutcomeUnknown`] when all are prepared, but not all can be committed yet, or when one of them cannot be
/// rolled back: the help says how to end them.
pub(super) async fn commit(committer: &Committer<'_>, parts: Vec<Part>) -> Result<Vec<CommittedTransaction>> {
    let (progress, load) = (committer.progress(), RandomState::new().hash_one(std::process::id()));
    let rows = parts.iter().map(|part| part.rows).sum();
    let mut prepared = Vec::with_capacity(parts.len());
    for (number, Part { client, .. }) in parts.into_iter().enumerate() {
        let id = transaction_id(&**client).await?;
        prepared.push(PreparedPart { client, id, name: format!("postgres_etl_{load:016x}_{number}") });
    }
    for part in &prepared {
        progress.add_transaction(&part.id);
    }
    progress.begin_prepare(rows, question(&prepared, &format!("postgres_etl_{load:016x}_%")));
    let prepare = prepared.iter().map(|part| {
        let prepare = format!("PREPARE TRANSACTION {}", literal(&part.name));
        async move { committer.answer(part.client.batch_execute(&prepare)).await }
    });
    let outcomes = join_all(prepare).await;
    if progress.is_cancelled() || outcomes.iter().any(|outcome| !matches!(outcome, Some(Ok(())))) {
        return Err(roll_back(committer, prepared, outcomes, rows).await);
    }
    progress.end_prepare();
    finish(committer, prepared, rows).await
}

/// How to find out what became of `parts`, whose names are like `pattern`, and to complete their commit.
fn question(parts: &[PreparedPart], pattern: &str) -> String {
    let ids: Vec<String> = parts.iter().map(|part| format!("pg_xact_status('{}')", part.id)).collect();
    format!(
        "SELECT gid FROM pg_prepared_xacts WHERE gid LIKE {} (and run COMMIT PREPARED 'gid' for each gid it returns), \
         then SELECT {}",
        literal(pattern),
        ids.join(", ")
    )
}

/// Roll back all `parts`, because the load is cancelled, or one of the `outcomes` of preparing them is an error.
async fn roll_back(
    committer: &Committer<'_>,
    parts: Vec<PreparedPart>,
    outcomes: Vec<Option<Result<(), PgError>>>,
    rows: u64,
) -> Error {
    let (mut left, mut refusal) = (Vec::new(), None);
    for (part, outcome) in parts.into_iter().zip(outcomes) {
        let rollback = format!("ROLLBACK PREPARED {}", literal(&part.name));
        let is_prepared = matches!(outcome, Some(Ok(())));
        match outcome {
            Some(Err(error)) if !is_answer_lost(&error) => {
                refusal = refusal.or(Some(error));
                continue;
            }
            Some(Err(error)) => refusal = refusal.or(Some(error)),
            _ => {}
        }
        if is_prepared && matches!(committer.answer(part.client.batch_execute(&rollback)).await, Some(Ok(())))
        {
            continue;
        }
        if committer.search(async |client| end(client, &part, &rollback).await).await.is_err() {
            left.push(rollback);
        }
        drop(Object::take(part.client));
    }
    let error = match refusal {
        Some(refusal) if !committer.progress().is_cancelled() => {
            refusal_error("prepare the commit of the load", refusal)
        }
        _ => Error::interrupted(),
    };
    if left.is_empty() {
        committer.progress().refuse_commit(rows);
        return error.with_help("nothing was loaded");
    }
    error.with_kind(ErrorKind::OutcomeUnknown).with_help(format!(
        "nothing was committed, but a prepared transaction still holds its locks; to end it, run: {}",
        left.join("; ")
    ))
}

/// Commit `parts`, all of which are prepared.
async fn finish(
    committer: &Committer<'_>,
    parts: Vec<PreparedPart>,
    rows: u64,
) -> Result<Vec<CommittedTransaction>> {
    let (mut transactions, mut why) = (Vec::with_capacity(parts.len()), None);
    for part in parts {
        let statement = format!("COMMIT PREPARED {}", literal(&part.name));
        let answer = committer.answer(part.client.batch_execute(&statement)).await;
        if matches!(answer, Some(Ok(()))) {
            let transaction = CommittedTransaction::new(part.id, Confirmation::Answer);
            transactions.push(transaction.timed(part.client).await);
            continue;
        }
        match committer.search(async |client| end(client, &part, &statement).await).await.as_deref() {
            Ok("committed") => {
                transactions.push(CommittedTransaction::new(part.id, Confirmation::PgXactStatus));
            }
            Ok(other) => why = Some(format!("the server reports transaction {} as {other}", part.id)),
            Err(NotFound(reason)) => why = Some(reason.clone()),
        }
        drop(Object::take(part.client));
    }
    match why {
        None => {
            committer.progress().confirm_commit(rows);
            committer.progress().conclude();
            Ok(transactions)
        }
        Some(why) => Err(committer.unknown(&why)),
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
