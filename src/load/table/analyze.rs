//! ANALYZE after a load that changed a large part of the table.

use std::time::Instant;

use crate::catalog::TableName;
use crate::postgres::server::SessionPool;
use crate::{Error, Result};

/// The rows that the planner expects in the table `$1`, if the server plans for it.
const ESTIMATE: &str = "
    SELECT reltuples::float8 FROM pg_catalog.pg_class
    WHERE oid = pg_catalog.to_regclass($1) AND relkind IN ('r', 'p')";

/// The rows that the planners of the nodes of Citus expect in the shards of the table `$1`.
const ESTIMATE_OF_SHARDS: &str = "
    SELECT sum(greatest(result::float8, 0))
    FROM run_command_on_shards(
             pg_catalog.to_regclass($1), $$SELECT reltuples FROM pg_catalog.pg_class WHERE oid = '%s'::regclass$$)
    WHERE success";

/// Analyze `table` if the `rows` loaded are more than a tenth of it, the default threshold at which autovacuum would
/// do so later, which passes over foreign tables and views. Where it
/// `is_distributed` by Citus, its rows are those of the shards. Return the time it took, in seconds; 0 if the table was not analyzed.
pub(crate) async fn analyze(
    table: &TableName,
    (rows, is_distributed): (u64, bool),
    connections: &SessionPool,
) -> Result<f64> {
    let started = Instant::now();
    let failed = |error| Error::database(&format!("analyze {table}"), error);
    let client = connections.get().await?;
    let estimate = if is_distributed { ESTIMATE_OF_SHARDS } else { ESTIMATE };
    let Some(estimate) = client.query_opt(estimate, &[&table.sql()]).await.map_err(failed)? else {
        return Ok(0.0);
    };
    let known = estimate.get::<_, Option<f64>>(0).unwrap_or_default().max(0.0);
    if rows as f64 <= known / 10.0 {
        tracing::info!("not analyzed: {rows} rows are at most a tenth of the {known} that the planner knows");
        return Ok(0.0);
    }
    tracing::info!("analyzing: {rows} rows are more than a tenth of the {known} that the planner knows");
    // Skip the table rather than wait for another session's lock on it.
    let warnings = connections.messages().warnings().count;
    client.batch_execute(&format!("ANALYZE (SKIP_LOCKED) {}", table.sql())).await.map_err(failed)?;
    // It warns of a table that it skips because of a lock, or because the role may not analyze it.
    if connections.messages().warnings().count > warnings {
        return Ok(0.0);
    }
    Ok(started.elapsed().as_secs_f64())
}
