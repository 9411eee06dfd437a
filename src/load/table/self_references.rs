//! Foreign keys by which a table references itself, checked at the end of the load.
//!
//! COPY checks them when it has written all rows, so that a row may refer to a later one. An INSERT checks them when it
//! has written its own. For the transaction of the load they are therefore made deferrable.

use tokio_postgres::Client;

use crate::catalog::Table;
use crate::load::table::execute_each;
use crate::sql::quote;
use crate::{Error, Result};

/// The foreign keys that were deferred.
#[derive(Debug, Default)]
pub(crate) struct DeferredReferences {
    /// The statements that make them what they were.
    restore: Vec<String>,
    /// Whether there are any.
    pub(crate) is_any: bool,
}

impl DeferredReferences {
    /// Defer the foreign keys by which `table` references itself. Without the privilege to alter the table they stay as
    /// they are.
    ///
    /// # Errors
    /// When the catalog cannot be read, or the transaction is aborted.
    pub(crate) async fn defer(client: &Client, table: &Table) -> Result<DeferredReferences> {
        let name = table.name.sql();
        let failed = |error| Error::database(&format!("defer the foreign keys of {}", table.name), error);
        let sql = "SELECT conname::text, condeferrable FROM pg_catalog.pg_constraint
                   WHERE contype = 'f' AND conrelid = $1 AND confrelid = $1 AND conparentid = 0";
        let (mut defer, mut restore) = (Vec::new(), Vec::new());
        for row in client.query(sql, &[&table.oid]).await.map_err(failed)? {
            let constraint = quote(row.get(0));
            if !row.get::<_, bool>(1) {
                let alter = format!("ALTER TABLE {name} ALTER CONSTRAINT {constraint}");
                defer.push(format!("{alter} DEFERRABLE"));
                restore.push(format!("{alter} NOT DEFERRABLE"));
            }
            let schema = table.name.schema.as_deref().map(|schema| quote(schema) + ".").unwrap_or_default();
            defer.push(format!("SET CONSTRAINTS {schema}{constraint} DEFERRED"));
        }
        client.batch_execute("SAVEPOINT defer_references").await.map_err(failed)?;
        let deferred = execute_each(client, &defer).await;
        if let Err(error) = &deferred {
            tracing::debug!("the foreign keys of {} stay as they are: {error}", table.name);
            restore.clear();
        }
        let undo = if deferred.is_ok() { "" } else { "ROLLBACK TO defer_references;" };
        client.batch_execute(&format!("{undo} RELEASE defer_references")).await.map_err(failed)?;
        Ok(DeferredReferences { restore, is_any: deferred.is_ok() })
    }

    /// Make them what they were, once all constraints have been checked.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) async fn restore(&self, client: &Client) -> Result<()> {
        let restored = execute_each(client, &self.restore).await;
        restored.map_err(|error| Error::database("restore the foreign keys", error))
    }
}
