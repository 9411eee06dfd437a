//! ANALYZE, after a load that changed much of the table.

use std::time::Instant;

use crate::catalog::TableName;
use crate::postgres::server::SessionPool;
use crate::{Error, Result};

/// Tell the planner what is in a table that got so many rows, if they are more than a tenth of it, which is when
/// autovacuum would come to it some time later. Returns the seconds that it took.
pub(crate) async fn analyze(table: &TableName, rows: u64, connections: &SessionPool) -> Result<f64> {
    let started = Instant::now();
    let failed = |error| Error::database(&format!("analyze {table}"), &error);
    let client = connections.get().await?;
    let known = "SELECT reltuples::float8 FROM pg_catalog.pg_class WHERE oid = pg_catalog.to_regclass($1)";
    let known: f64 = client.query_one(known, &[&table.sql()]).await.map_err(failed)?.get(0);
    if rows as f64 <= known.max(0.0) / 10.0 {
        return Ok(0.0);
    }
    // Whoever holds a lock on the table is not waited for.
    client.batch_execute(&format!("ANALYZE (SKIP_LOCKED) {}", table.sql())).await.map_err(failed)?;
    Ok(started.elapsed().as_secs_f64())
}
