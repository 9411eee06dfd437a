//! Prepares the table before its rows are written and completes it afterwards: creation, indexes, constraints, ANALYZE.

pub(crate) mod analyze;
pub(crate) mod can_load;
pub(crate) mod constraints;
pub(crate) mod create;
pub(crate) mod distribute;
mod index_progress;
pub(crate) mod indexes;
pub(crate) mod infer;
mod kinds;
pub(crate) mod partitions;
pub(crate) mod prepare;
pub(crate) mod self_references;
pub(crate) mod unchanged;

use tokio_postgres::GenericClient;

/// Execute `statements` one by one: Citus refuses to pass on several that are sent as one.
async fn execute_each(
    client: &impl GenericClient,
    statements: &[String],
) -> Result<(), tokio_postgres::Error> {
    for statement in statements {
        client.batch_execute(statement).await?;
    }
    Ok(())
}
