//! The numbers of rows that bounds of arguments refer to as `rows(TABLE)`.

use std::collections::HashMap;

use tokio_postgres::Client;

use crate::catalog::{Table, TableName};
use crate::error::ErrorKind;
use crate::query::workload::spec::{Bound, Distribution, RowsOf};
use crate::{Error, Result};

/// The rows of the tables that were counted so far.
#[derive(Debug, Default)]
pub(crate) struct RowCounts(HashMap<String, i64>);

impl RowCounts {
    /// `distribution`, with a number in place of every bound that counts the rows of a table it names.
    ///
    /// # Errors
    /// When a table does not exist or is empty; the message completes "argument 1 …".
    pub(crate) async fn count(
        &mut self,
        client: &Client,
        distribution: &Distribution,
    ) -> Result<Distribution> {
        let mut counted = distribution.clone();
        for bound in counted.bounds_mut().into_iter().flatten() {
            if let Bound::RowsOf(RowsOf { times, table }) = bound {
                let rows = match self.0.get(table) {
                    Some(rows) => *rows,
                    None => count_rows(client, table).await?,
                };
                self.0.insert(table.clone(), rows);
                *bound = Bound::Number(times.saturating_mul(rows));
            }
        }
        Ok(counted)
    }
}

async fn count_rows(client: &Client, table: &str) -> Result<i64> {
    let name = TableName::parse(table)?;
    let Some(Table { name, .. }) = Table::find(client, &name).await? else {
        let message = format!("counts the rows of {table}, a table that does not exist");
        return Err(
            Error::new(ErrorKind::Database, message).with_help("correct the name, or create the table")
        );
    };
    let counted = client.query_one(&format!("SELECT count(*) FROM {}", name.sql()), &[]).await;
    match counted.map_err(|error| Error::database(&format!("count the rows of {name}"), error))?.get(0) {
        0 => Err(Error::new(ErrorKind::Database, format!("counts the rows of {name}, which is empty"))
            .with_help("load it first")),
        rows => Ok(rows),
    }
}
