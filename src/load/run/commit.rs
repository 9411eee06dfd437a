//! COMMIT, and finding out what became of one whose answer was lost.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Object;
use serde::Serialize;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::{Client, Error as PgError, GenericClient};

use crate::catalog::{ForeignTables, Table};
use crate::error::ErrorKind;
use crate::load::refusal::refusal_error;
use crate::postgres::connect_error::is_answer_lost;
use crate::postgres::server::SessionPool;
use crate::progress::{Phase, Progress};
use crate::{Error, Result};

/// How long to wait for the answer to a COMMIT after an interruption.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);

/// How long to look for the outcome of a COMMIT whose answer was lost: long enough for a server to restart.
const SEARCH_PATIENCE: Duration = Duration::from_secs(60);

/// As [`SEARCH_PATIENCE`], after an interruption.
const INTERRUPTED_PATIENCE: Duration = Duration::from_secs(10);

/// How long to wait for the time of a commit.
const CLOCK_PATIENCE: Duration = Duration::from_secs(2);

/// How long to wait for an answer to a look; COMMIT PREPARED may wait for a standby.
const LOOK_PATIENCE: Duration = Duration::from_secs(5);

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(250);

/// A transaction that was committed.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CommittedTransaction {
    /// Its ID, as `pg_current_xact_id()` returns it.
    pub id: String,
    /// How the commit is known.
    pub confirmed_by: Confirmation,
    /// The server's clock directly after the commit, in UTC, as in `2026-01-31T12:00:00.123456Z`; `None` if the answer
    /// to COMMIT was lost, or the clock could not be read.
    pub committed_at: Option<String>,
    /// The end of the server's write-ahead log directly after the commit, such as `0/3000148`: a standby that has replayed
    /// the log up to there has the rows. `None` where `committed_at` is, and if the server does not tell.
    pub lsn: Option<String>,
}

/// How a commit is known to have happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Confirmation {
    /// The server answered COMMIT.
    Answer,
    /// The answer was lost, and the server was asked for the state of the transaction over another connection.
    PgXactStatus,
}

/// Commits transactions of one load.
pub(super) struct Committer<'a> {
    pool: &'a SessionPool,
    progress: &'a Arc<Progress>,
    /// Which server, and which of its histories, the transaction IDs belong to; `None` if it does not tell.
    history: Option<String>,
    /// The foreign tables that the transactions write to; `None` if there is none.
    foreign: Option<ForeignTables>,
}

/// Why a search for the outcome found nothing.
pub(super) struct NotFound(pub(super) String);

impl<'a> Committer<'a> {
    /// A committer for transactions on the server of `client`, on which none is open yet.
    pub(super) async fn new(
        client: &Client,
        pool: &'a SessionPool,
        progress: &'a Arc<Progress>,
    ) -> Committer<'a> {
        let history = history(client).await;
        Committer { pool, progress, history, foreign: None }
    }

    /// The same, for transactions that write to `table`.
    pub(super) fn writing_to(self, table: &Table) -> Self {
        Committer { foreign: table.foreign_tables.clone(), ..self }
    }

    /// The connections of the load.
    pub(super) fn pool(&self) -> &'a SessionPool {
        self.pool
    }

    /// The progress of the load.
    pub(super) fn progress(&self) -> &'a Arc<Progress> {
        self.progress
    }

    /// Await `commit`, which commits the transaction `id` with its `rows`. If the answer is lost, find out what happened.
    ///
    /// # Errors
    /// When the transaction was rolled back, and [`ErrorKind::OutcomeUnknown`](crate::ErrorKind::OutcomeUnknown) when
    /// that cannot be found out, or when foreign servers may have committed their part of it.
    pub(super) async fn commit(
        &self,
        id: String,
        rows: u64,
        commit: impl Future<Output = Result<(), PgError>>,
    ) -> Result<CommittedTransaction> {
        self.progress.begin(Phase::Committing, None);
        self.progress.add_transaction(&id);
        self.progress.begin_commit(rows, Some(format!("SELECT pg_xact_status('{id}')")));
        let confirmed_by = match self.answer(commit).await {
            Some(Ok(())) => Confirmation::Answer,
            Some(Err(error)) if !is_answer_lost(&error) => {
                return Err(self.rolled_back(rows, refusal_error("commit the load", error)));
            }
            lost => self.find_out(&id, rows, lost.and_then(Result::err)).await?,
        };
        self.progress.confirm_commit(rows);
        tracing::info!("committed transaction {id} with {rows} rows");
        Ok(CommittedTransaction::new(id, confirmed_by))
    }

    /// Await `answer`, the server's answer to the end of a transaction; `None` if it is overdue after an interruption.
    pub(super) async fn answer<T>(&self, answer: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            answer = answer => Some(answer),
            () = answer_overdue(self.progress) => None,
        }
    }

    /// Find out whether transaction `id` was committed, the answer to whose COMMIT was `lost`.
    async fn find_out(&self, id: &str, rows: u64, lost: Option<PgError>) -> Result<Confirmation> {
        self.progress.note("the answer to COMMIT was lost; asking the server what became of the transaction");
        let found = self.search(async |client| status(client, id).await).await;
        match found.as_deref() {
            Ok("committed") => {
                self.progress
                    .note(&format!("the answer to COMMIT was lost; the server committed transaction {id}"));
                Ok(Confirmation::PgXactStatus)
            }
            Ok("aborted") => {
                let error = Error::connect(format!(
                    "the answer to COMMIT was lost; the server rolled back transaction {id}"
                ));
                let error = error.with_help("nothing was loaded; load again");
                let error = match lost {
                    Some(source) => error.with_source(source),
                    None => error,
                };
                Err(self.rolled_back(rows, error))
            }
            Ok(other) => Err(self.unknown(&format!("the server reports transaction {id} as {other}"))),
            Err(NotFound(why)) => Err(self.unknown(why)),
        }
    }

    /// The error for a transaction with `rows` rows that the server has rolled back, because of `error`.
    fn rolled_back(&self, rows: u64, error: Error) -> Error {
        match &self.foreign {
            None => {
                self.progress.refuse_commit(rows);
                error
            }
            Some(foreign) => {
                self.progress.leave_commit();
                may_have_committed(foreign, error)
            }
        }
    }

    /// The error that reports that the outcome of a COMMIT is not known, because of `why`.
    pub(super) fn unknown(&self, why: &str) -> Error {
        let unknown = self.progress.unknown_outcome(&format!("the answer to COMMIT was lost ({why})"));
        let unknown = unknown.expect("a commit has begun and not ended");
        match &self.foreign {
            None => unknown,
            Some(foreign) => unknown.and_help(&format!("if it was aborted, {}", kept_by(foreign))),
        }
    }

    /// Call `look` with new connections to the server until it finds something.
    ///
    /// # Errors
    /// When that takes too long, or the server is no longer the one that the load was sent to.
    pub(super) async fn search<T>(
        &self,
        mut look: impl AsyncFnMut(&Client) -> Result<Option<T>, PgError>,
    ) -> Result<T, NotFound> {
        let started = Instant::now();
        let mut why = "the server was not asked".to_owned();
        loop {
            match self.pool.open_extra().await {
                Ok(client) => match history(&client).await {
                    found if found.is_none() || found != self.history => {
                        return Err(NotFound(
                            "the server that now answers may be a different one, or one restored from a backup".into(),
                        ));
                    }
                    _ => match timeout(LOOK_PATIENCE, look(&client)).await {
                        Ok(Ok(Some(found))) => return Ok(found),
                        Ok(Ok(None)) => "the transaction is still in progress".clone_into(&mut why),
                        Ok(Err(error)) => why = Error::describe("ask the server", &error).to_string(),
                        Err(_) => "the server does not answer".clone_into(&mut why),
                    },
                },
                Err(error) => why = error.to_string(),
            }
            let patience = if self.progress.is_cancelled() { INTERRUPTED_PATIENCE } else { SEARCH_PATIENCE };
            if started.elapsed() >= patience {
                return Err(NotFound(why));
            }
            sleep(PAUSE).await;
        }
    }
}

impl CommittedTransaction {
    pub(super) fn new(id: String, confirmed_by: Confirmation) -> CommittedTransaction {
        CommittedTransaction { id, confirmed_by, committed_at: None, lsn: None }
    }

    /// The same, with the time of the server and the end of its log, if `client`, on which it was committed just now, still
    /// answers. Otherwise nothing may wait for an answer on it again, and it is dropped.
    pub(super) async fn timed(self, client: Object) -> CommittedTransaction {
        let now = "SELECT pg_catalog.to_char(pg_catalog.clock_timestamp() AT TIME ZONE 'UTC',
                                             'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')";
        let lsn = "SELECT pg_catalog.pg_current_wal_insert_lsn()::text";
        let (mut committed_at, mut end) = (None, None);
        if self.confirmed_by == Confirmation::Answer {
            let asked = async { tokio::join!(client.query_one(now, &[]), client.query_one(lsn, &[])) };
            if let Ok((now, lsn)) = timeout(CLOCK_PATIENCE, asked).await {
                committed_at = now.ok().map(|row| row.get(0));
                end = lsn.ok().map(|row| row.get(0));
            }
        }
        if committed_at.is_none() {
            drop(Object::take(client));
        }
        CommittedTransaction { committed_at, lsn: end, ..self }
    }
}

/// `error`, which ended the COMMIT of what was written to `foreign` tables. The server has rolled it back, but theirs commit
/// one after another, while it prepares its own commit: those before the one that failed keep what they have.
pub(super) fn may_have_committed(foreign: &ForeignTables, error: Error) -> Error {
    error
        .with_kind(ErrorKind::OutcomeUnknown)
        .and(&kept_by(foreign))
        .with_help(
            "before you load again, look for the rows in the table: delete those that were kept, or load again with \
             --on-conflict skip, if the tables on the other servers have a key",
        )
}

/// What the servers of `foreign` tables may have done, though a transaction was rolled back.
fn kept_by(foreign: &ForeignTables) -> String {
    match &foreign.servers[..] {
        [server] => format!("the server {server} commits by itself, and may have kept its part of the load"),
        servers => format!(
            "the servers {} each commit by themselves, and may have kept their parts of the load",
            servers.join(", ")
        ),
    }
}

/// The ID of the open transaction.
///
/// # Errors
/// When the transaction was aborted, or the connection is lost.
pub(super) async fn transaction_id(client: &impl GenericClient) -> Result<String> {
    let id = client.query_one("SELECT pg_catalog.pg_current_xact_id()::text", &[]).await;
    let failed = |error| Error::database("commit the load", error).with_help("nothing was loaded");
    Ok(id.map_err(failed)?.get(0))
}

/// The system identifier of the server and its timeline, which changes when a standby takes over and when a backup is
/// restored up to a point in time; `None` if the server does not tell. A transaction ID means nothing in another history.
async fn history(client: &Client) -> Option<String> {
    let sql = "SELECT system_identifier || '/' || pg_catalog.left(pg_catalog.pg_walfile_name(
                          pg_catalog.pg_current_wal_lsn()), 8)
               FROM pg_catalog.pg_control_system()";
    client.query_one(sql, &[]).await.ok()?.get(0)
}

/// What became of transaction `id`: `committed` or `aborted`; `None` if it is in progress, or prepared.
pub(super) async fn status(client: &Client, id: &str) -> Result<Option<String>, PgError> {
    let status = client.query_one("SELECT pg_catalog.pg_xact_status($1::text::xid8)", &[&id]).await?;
    let status = status.get::<_, Option<String>>(0).unwrap_or_else(|| "too old to be known".to_owned());
    Ok(Some(status).filter(|status| status != "in progress"))
}

/// Wait until the load has been cancelled and the answer to COMMIT has not come for a while.
async fn answer_overdue(progress: &Progress) {
    progress.cancelled().await;
    sleep(ANSWER_PATIENCE).await;
}
