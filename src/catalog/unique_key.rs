//! The columns of a primary key or a unique index.

use tokio_postgres::GenericClient;

use crate::catalog::Table;
use crate::{Error, Result};

/// Look up the key columns, in order, of `table`'s unique index `name` or, without a name, of its primary key.
///
/// `None` in place of a name is an expression, or a column that the index compares under another collation. The result is
/// empty if there is no such index, or it is partial or deferrable, or the session's role lacks the SELECT privilege.
///
/// # Errors
/// When the catalog cannot be read.
pub(crate) async fn unique_key_columns(
    client: &impl GenericClient,
    table: &Table,
    name: Option<&str>,
) -> Result<Vec<Option<String>>> {
    let sql = "SELECT a.attname
         FROM pg_catalog.pg_index i
              JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
              CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, n)
              LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
              AND a.attcollation = i.indcollation[k.n::int - 1]
         WHERE i.indrelid = $1 AND k.n <= i.indnkeyatts
           AND CASE WHEN $2::text IS NULL THEN i.indisprimary ELSE
                    c.relname = $2 AND i.indisunique AND i.indimmediate AND i.indpred IS NULL
                    AND pg_catalog.has_table_privilege(i.indrelid, 'SELECT') END
         ORDER BY k.n";
    let rows = client.query(sql, &[&table.oid, &name]).await.map_err(|error| {
        let index = name.map_or("the primary key".to_owned(), |name| format!("index {name}"));
        Error::database(&format!("look up {index} of {}", table.name), error)
    })?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
