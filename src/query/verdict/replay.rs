//! How far a standby is behind its primary during a run.

use serde::Serialize;
use tokio_postgres::Client;

use crate::query::verdict::timeout::soon;

/// Whether the server is a standby, and how long ago the last transaction that it has replayed was committed, in seconds:
/// 0 if it has replayed all that it has received, and NULL if it receives nothing.
const REPLAY: &str = "SELECT pg_catalog.pg_is_in_recovery(),
    CASE WHEN NOT EXISTS (SELECT FROM pg_catalog.pg_stat_wal_receiver) THEN NULL
         WHEN pg_catalog.pg_last_wal_receive_lsn() <= pg_catalog.pg_last_wal_replay_lsn() THEN 0
         ELSE extract(epoch FROM pg_catalog.clock_timestamp() - pg_catalog.pg_last_xact_replay_timestamp())
    END::float8";

/// How far a standby was behind each time it was asked.
#[derive(Debug, Default)]
pub(crate) struct ReplayLag {
    seconds: Vec<f64>,
    /// Whether it was a standby when it was last asked; `None` if it did not answer then.
    pub(crate) is_standby: Option<bool>,
}

/// How far a standby was behind its primary during a run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LagReport {
    /// The mean of how long ago the last replayed transaction was committed, by the clock of the standby, in seconds; 0
    /// while it had replayed all that it had received.
    pub mean_seconds: f64,
    /// The maximum of that.
    pub max_seconds: f64,
}

impl ReplayLag {
    /// Ask the server of `client`.
    pub(super) async fn look(&mut self, client: &Client) {
        let row = soon(client.query_one(REPLAY, &[])).await.and_then(Result::ok);
        self.is_standby = row.as_ref().map(|row| row.get(0));
        self.seconds.extend(row.and_then(|row| row.get::<_, Option<f64>>(1)));
    }

    /// What a report says of it; `None` if it is not known, as on a primary.
    pub(crate) fn report(&self) -> Option<LagReport> {
        let max_seconds = self.seconds.iter().copied().reduce(f64::max)?;
        let mean_seconds = self.seconds.iter().sum::<f64>() / self.seconds.len() as f64;
        Some(LagReport { mean_seconds, max_seconds })
    }
}
