//! Deadlocks of the connections of one load that the server does not see.
//!
//! None of the connections commits before all of them have written their rows. If one of them waits in the server for the
//! transaction of another one, because two rows have the same key, that one waits in this program for the first one. There
//! may also be a session of somebody else in between, which waits for one of the transactions while another one waits for
//! it. A connection that writes no rows looks for such cycles from time to time.

use deadpool_postgres::Object;
use futures::future::try_join_all;
use tokio_postgres::Client;

use crate::error::ErrorKind;
use crate::load::options::Mode;
use crate::load::run::stop::Stopped;
use crate::{Error, Result};

/// A cycle of waits that the server does not see, because one of them is in this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deadlock {
    /// One connection waits for the transaction of another one.
    OfConnections,
    /// One connection waits for the session with this process ID, which waits for another one.
    ByWayOf(i32),
}

/// Finds one of the backends `$1` that waits, itself or by way of others, for one of them; the column is the first of the
/// others in between, or NULL.
///
/// Of waits for one of them only those count that end with its transaction: the lock to extend a table ends before, and an
/// advisory lock may be the session's.
const DEADLOCK: &str = "
    WITH RECURSIVE waits (awaited, by_way_of) AS (
        SELECT awaited, CASE WHEN awaited <> ALL ($1) THEN awaited END
        FROM pg_catalog.pg_locks, LATERAL pg_catalog.unnest(pg_catalog.pg_blocking_pids(pid)) AS awaited
        WHERE pid = ANY ($1) AND NOT granted
          AND (locktype IN ('transactionid', 'relation', 'tuple')
               OR locktype = 'advisory' AND awaited <> ALL ($1))
        UNION
        SELECT next, by_way_of
        FROM waits JOIN pg_catalog.pg_locks ON pid = awaited,
             LATERAL pg_catalog.unnest(pg_catalog.pg_blocking_pids(pid)) AS next
        WHERE awaited <> ALL ($1) AND NOT granted
          AND locktype IN ('transactionid', 'virtualxid', 'relation', 'tuple', 'advisory')
    )
    SELECT by_way_of FROM waits WHERE awaited = ANY ($1) ORDER BY by_way_of NULLS FIRST LIMIT 1";

/// Find a deadlock of the backends `pids`.
pub(super) async fn find_deadlock(watcher: &Client, pids: &[i32]) -> Result<Option<Deadlock>> {
    let found = watcher.query_opt(DEADLOCK, &[&pids]).await;
    let found = found.map_err(|error| Error::database("watch the connections", error))?;
    Ok(found.map(|row| row.get::<_, Option<i32>>(0).map_or(Deadlock::OfConnections, Deadlock::ByWayOf)))
}

impl Deadlock {
    /// End what only the end of the load would end; return why the load stops.
    pub(super) async fn end(self, watcher: &Client, pids: &[i32]) -> Result<Stopped> {
        match self {
            Deadlock::OfConnections => Ok(Stopped::RetryRowByRow(
                Error::new(
                    ErrorKind::Database,
                    "two rows with the same key were sent over different connections",
                )
                .with_help("load over one connection: the error then names the row"),
                Mode::Copy,
            )),
            Deadlock::ByWayOf(pid) => {
                // What waits for that session would not be undone before it ends.
                let cancel = "SELECT pg_catalog.pg_cancel_backend(pid) FROM pg_catalog.unnest($1::pg_catalog.int4[]) AS pid";
                let cancelled = watcher.query(cancel, &[&pids]).await;
                cancelled.map_err(|error| Error::database("cancel the copies", error))?;
                let message = format!(
                    "deadlock: one connection of the load waits for the session with process ID {pid}, which waits for another one"
                );
                let help = "run the load again, or over one connection; nothing was loaded";
                Ok(Error::new(ErrorKind::Database, message).with_help(help).into())
            }
        }
    }
}

/// The process IDs of the connections' backends.
pub(super) async fn backend_pids(connections: &[Object]) -> Result<Vec<i32>> {
    let pid = async |client: &Client| client.query_one("SELECT pg_catalog.pg_backend_pid()", &[]).await;
    let rows = try_join_all(connections.iter().map(|client| pid(client))).await;
    let rows = rows.map_err(|error| Error::database("query the process IDs of the connections", error))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
