//! A connection that has every statement of a run prepared.

use deadpool_postgres::Object;
use tokio_postgres::{Error as PgError, Statement};

use crate::postgres::server::SessionPool;
use crate::query::drive::lane::ConnectionLane;
use crate::query::measure::run_stats::is_broken;
use crate::query::workload::Workload;
use crate::{Error, Result};

/// A connection and the statements prepared on it.
#[derive(Debug)]
pub(crate) struct Connection {
    /// The connection.
    pub client: Object,
    /// The statements of each workload.
    pub prepared: Vec<Vec<Statement>>,
    /// The process ID of its backend.
    pub pid: i32,
    /// Its lane; `None` if queries are to go through the driver.
    pub lane: Option<ConnectionLane>,
}

impl Connection {
    /// Open a connection, driven by the runtime that this is called on, and prepare the statements of `workloads`, over
    /// its lane, too, if `uses_lane`.
    ///
    /// # Errors
    /// When the pool has no connection to give, or a statement does not prepare.
    pub(crate) async fn open(
        pool: &SessionPool,
        workloads: &[Workload],
        uses_lane: bool,
    ) -> Result<Connection> {
        let client = pool.get().await?;
        let mut prepared = Vec::new();
        for workload in workloads {
            prepared.push(workload.prepare(&client).await?);
        }
        let pid = client
            .query_one("SELECT pg_catalog.pg_backend_pid()", &[])
            .await
            .map_err(|error| Error::database("read the backend's process ID", error))?
            .get(0);
        let lane = match pool.control_of(pid).filter(|_| uses_lane) {
            Some(control) => Some(ConnectionLane::open(control, workloads, &prepared).await?),
            None => None,
        };
        Ok(Connection { client, prepared, pid, lane })
    }

    /// Close the connection instead of returning it to the pool, where another thread might take it.
    pub(crate) fn close(self) {
        drop(Object::take(self.client));
    }
}

/// Whether the connection is lost with the query: it broke, the server is shutting down, or the session was terminated.
pub(crate) fn is_lost(error: &PgError) -> bool {
    is_broken(error) || error.code().is_some_and(|code| code.code().starts_with("57P"))
}
