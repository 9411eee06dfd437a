//! Advisory locks on imports and on their chunks. They end with the session, or the transaction, that holds them, however
//! that ends.

use std::time::Duration;

use tokio::time::sleep;
use tokio_postgres::{Client, Error as PgError};

use crate::error::ErrorKind;
use crate::progress::Progress;
use crate::{Error, Result};

/// The pauses between two looks at a lock, of which each is twice as long as the one before.
const PAUSES: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(100)];

/// Call `attempt` until it returns something, with pauses.
///
/// This is how a process waits for another one of the same import, which may take hours, as while it builds an index. In a
/// statement that waits for a lock, the `lock_timeout` and the `statement_timeout` of the session would end that. They are
/// for locks that others hold.
///
/// # Errors
/// As `attempt`, and when `progress` is cancelled.
pub(crate) async fn poll<T>(
    progress: &Progress,
    mut attempt: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let [mut pause, longest] = PAUSES;
    loop {
        if let Some(found) = attempt().await? {
            return Ok(found);
        }
        tokio::select! {
            () = sleep(pause) => {}
            () = progress.cancelled() => return Err(Error::interrupted()),
        }
        pause = (pause * 2).min(longest);
    }
}

/// How a process works on an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Alone.
    Alone,
    /// Beside others that share it.
    Shared,
}

/// Something that can be locked, by a name that stands for it in the whole database.
#[derive(Debug, Clone)]
pub(crate) struct LockName(String);

/// A session that holds a lock.
#[derive(Debug, Clone)]
pub(crate) struct Holder {
    /// The process ID of its backend.
    pub pid: i32,
    /// Who it is and since when, as far as the server tells.
    pub described: String,
}

impl LockName {
    /// The import `id`, in whatever ledger.
    pub(crate) fn of_import(id: &str) -> Self {
        LockName(format!("postgres-etl imports {id}"))
    }

    /// The beginning of the import `id`.
    pub(crate) fn of_beginning(id: &str) -> Self {
        LockName(format!("postgres-etl begins {id}"))
    }

    /// The creation of the table `ledger`.
    pub(crate) fn of_creation(ledger: &str) -> Self {
        LockName(format!("postgres-etl creates {ledger}"))
    }

    /// Chunk `chunk` of the import `id`.
    pub(crate) fn of_chunk(id: &str, chunk: u64) -> Self {
        LockName(format!("postgres-etl loads chunk {chunk} of {id}"))
    }

    /// Lock it until the session of `client` ends, unless another session holds it; return whether it is locked.
    ///
    /// # Errors
    /// When the server does not answer.
    pub(crate) async fn try_for_session(&self, client: &Client, access: Access) -> Result<bool, PgError> {
        let function = match access {
            Access::Alone => "pg_try_advisory_lock",
            Access::Shared => "pg_try_advisory_lock_shared",
        };
        self.call(client, function).await
    }

    /// Lock it until the transaction of `client` ends, unless another session holds it; return whether it is locked.
    ///
    /// # Errors
    /// When the server does not answer.
    pub(crate) async fn try_for_transaction(&self, client: &Client) -> Result<bool, PgError> {
        self.call(client, "pg_try_advisory_xact_lock").await
    }

    async fn call(&self, client: &Client, function: &str) -> Result<bool, PgError> {
        let sql = format!("SELECT pg_catalog.{function}(pg_catalog.hashtextextended($1, 0))");
        Ok(client.query_one(&sql, &[&self.0]).await?.get(0))
    }

    /// The other sessions that hold it.
    ///
    /// # Errors
    /// When the server does not answer.
    pub(crate) async fn holders(&self, client: &Client) -> Result<Vec<Holder>, PgError> {
        let sql = "SELECT pid, pg_catalog.concat_ws(', ',
                       'session ' || pid, 'of role ' || usename,
                       CASE WHEN client_port = -1 THEN 'from the server''s own machine'
                            ELSE 'from ' || COALESCE(client_hostname, pg_catalog.host(client_addr)) END,
                       'since ' || pg_catalog.to_char(backend_start, 'YYYY-MM-DD HH24:MI:SS TZ'))
                   FROM pg_catalog.pg_locks
                        JOIN pg_catalog.pg_stat_activity USING (pid)
                        JOIN pg_catalog.pg_database ON pg_database.oid = database,
                        pg_catalog.hashtextextended($1, 0) AS key
                   WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND pid <> pg_catalog.pg_backend_pid()
                     AND pg_database.datname = pg_catalog.current_database()
                     AND (classid::bigint << 32) | objid::bigint = key
                   ORDER BY backend_start";
        let rows = client.query(sql, &[&self.0]).await?;
        Ok(rows.iter().map(|row| Holder { pid: row.get(0), described: row.get(1) }).collect())
    }
}

/// The error that others work on the import `id`.
pub(crate) fn in_use(id: &str, holders: &[Holder]) -> Error {
    let sessions: Vec<&str> = holders.iter().map(|holder| holder.described.as_str()).collect();
    let sessions = if sessions.is_empty() { "another session".to_owned() } else { sessions.join("; ") };
    let end = match holders {
        [holder] => format!("SELECT pg_terminate_backend({})", holder.pid),
        _ => "pg_terminate_backend".to_owned(),
    };
    Error::new(ErrorKind::InUse, format!("another run is working on import {id}: {sessions}")).with_help(format!(
        "wait for it, or start all runs with --share; if it is dead and the server has not noticed, end its session: {end}"
    ))
}
