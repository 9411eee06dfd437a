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
    rows: u64,
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
/// When one cannot be prepared: then all are rolled back. [`ErrorKind::OutcomeUnknown`] when all are prepared, but not
/// all can be committed yet, or when one of them cannot be rolled back: the help says how to end them.
pub(super) async fn commit(committer: &Committer<'_>, parts: Vec<Part>) -> Result<Vec<CommittedTransaction>> {
    let load = RandomState::new().hash_one(std::process::id());
    let mut prepared = Vec::with_capacity(parts.len());
    for (number, Part { client, rows }) in parts.into_iter().enumerate() {
        let id = transaction_id(&**client).await?;
        prepared.push(PreparedPart { client, rows, id, name: format!("postgres_etl_{load:016x}_{number}") });
    }
    let prepare = prepared.iter().map(|part| {
        let prepare = format!("PREPARE TRANSACTION {}", literal(&part.name));
        async move { part.client.batch_execute(&prepare).await }
    });
    let outcomes = join_all(prepare).await;
    if let Some(position) = outcomes.iter().position(Result::is_err) {
        let is_prepared: Vec<_> =
            outcomes.iter().map(|outcome| outcome.as_ref().err().is_none_or(is_answer_lost)).collect();
        let error = outcomes.into_iter().nth(position).and_then(Result::err).expect("this one is an error");
        let error = refusal_error("prepare the commit of the load", error);
        return Err(roll_back(committer, prepared, &is_prepared, error).await);
    }
    finish(committer, prepared, &format!("postgres_etl_{load:016x}_%")).await
}

/// Roll back all `parts`, of which some may be prepared, because of `error`.
async fn roll_back(
    committer: &Committer<'_>,
    parts: Vec<PreparedPart>,
    may_be_prepared: &[bool],
    error: Error,
) -> Error {
    let mut left = Vec::new();
    for (part, _) in parts.into_iter().zip(may_be_prepared).filter(|(_, may_be_prepared)| **may_be_prepared) {
        let rollback = format!("ROLLBACK PREPARED {}", literal(&part.name));
        if part.client.batch_execute(&rollback).await.is_ok() {
            continue;
        }
        let ended = committer.search(async |client| end(client, &part, &rollback).await).await;
        if ended.is_err() {
            left.push(rollback);
        }
        drop(Object::take(part.client));
    }
    match left.as_slice() {
        [] => error.with_help("nothing was loaded"),
        _ => error.with_kind(ErrorKind::OutcomeUnknown).with_help(format!(
            "nothing was committed, but a prepared transaction still holds its locks; to end it, run: {}",
            left.join("; ")
        )),
    }
}

/// Commit `parts`, all of which are prepared. Their names are like `pattern`.
async fn finish(
    committer: &Committer<'_>,
    parts: Vec<PreparedPart>,
    pattern: &str,
) -> Result<Vec<CommittedTransaction>> {
    let progress = committer.progress();
    let question = format!(
        "SELECT gid FROM pg_prepared_xacts WHERE gid LIKE {} (and run COMMIT PREPARED 'gid' for each gid it returns)",
        literal(pattern)
    );
    let rows = parts.iter().map(|part| part.rows).sum();
    progress.begin_commit(rows, Some(question));
    let (mut transactions, mut why) = (Vec::with_capacity(parts.len()), None);
    for part in parts {
        let statement = format!("COMMIT PREPARED {}", literal(&part.name));
        if part.client.batch_execute(&statement).await.is_ok() {
            let transaction = CommittedTransaction::new(part.id, Confirmation::Answer);
            transactions.push(transaction.timed(&part.client).await);
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
            progress.confirm_commit(rows);
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
