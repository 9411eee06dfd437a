//! A connection that has every statement of a run prepared.

use std::num::NonZero;

use deadpool_postgres::Object;
use tokio_postgres::{Error as PgError, Statement};
use tokio_postgres_sync_batching::{Lane, LaneStatement, StreamControl};

use crate::postgres::server::SessionPool;
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
    /// The number of the host that it goes to.
    pub host: usize,
    /// The process ID of its backend.
    pub pid: i32,
    /// Its lane; `None` if queries are to go through the driver.
    pub lane: Option<ConnectionLane>,
}

/// The lane of a connection, and the statement of each workload, prepared on it.
#[derive(Debug)]
pub(crate) struct ConnectionLane {
    /// The control of the connection's stream.
    pub control: StreamControl,
    /// The statement of each workload.
    pub statements: Vec<LaneStatement>,
}

impl Connection {
    /// Open a connection of `pool`, that of the host with the number `host`, driven by the runtime that this is called on,
    /// and prepare the statements of `workloads`, over its lane, too, if `uses_lane`.
    ///
    /// # Errors
    /// When the pool has no connection to give, or a statement does not prepare.
    pub(crate) async fn open(
        (pool, host): (&SessionPool, usize),
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
        Ok(Connection { client, prepared, host, pid, lane })
    }

    /// Close the connection instead of returning it to the pool, where another thread might take it.
    pub(crate) fn close(self) {
        drop(Object::take(self.client));
    }
}

impl ConnectionLane {
    /// Prepare the statements of `workloads`, one of each, on the lane of `control`, as they were `prepared` by the driver.
    ///
    /// # Errors
    /// When one does not prepare, or the connection breaks.
    pub(crate) async fn open(
        control: StreamControl,
        workloads: &[Workload],
        prepared: &[Vec<Statement>],
    ) -> Result<ConnectionLane> {
        let failed = |error| Error::database("prepare the statements of the run", error);
        let mut pipeline = Lane::of(&control).pipeline(NonZero::<usize>::MIN).await.map_err(failed)?;
        let mut statements = Vec::with_capacity(workloads.len());
        for (workload, prepared) in workloads.iter().zip(prepared) {
            let sql = &workload.statements[0].sql;
            statements.push(pipeline.prepare(sql, prepared[0].params()).await.map_err(failed)?);
        }
        drop(pipeline);
        Ok(ConnectionLane { control, statements })
    }
}

/// Whether the connection is lost with the query: it broke, the server is shutting down, or the session was terminated.
pub(crate) fn is_lost(error: &PgError) -> bool {
    is_broken(error) || error.code().is_some_and(|code| code.code().starts_with("57P"))
}
