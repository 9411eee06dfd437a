//! The columns of primary keys and unique indexes.

use tokio_postgres::GenericClient;
use tokio_postgres::error::{DbError, SqlState};

use crate::catalog::Table;
use crate::{Error, Result};

/// The key columns of the index `i`, in order. NULL is an expression, or a column that the index compares under another
/// collation.
const KEY_COLUMNS: &str = "
    ARRAY(SELECT a.attname::text
          FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, n)
               LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
               AND a.attcollation = i.indcollation[k.n::int - 1]
          WHERE k.n <= i.indnkeyatts ORDER BY k.n)";

/// The columns of the primary key of `table`; empty if it has none.
///
/// # Errors
/// When the catalog cannot be read.
pub(crate) async fn primary_key_columns(client: &impl GenericClient, table: &Table) -> Result<Vec<String>> {
    let sql =
        format!("SELECT {KEY_COLUMNS} FROM pg_catalog.pg_index i WHERE i.indrelid = $1 AND i.indisprimary");
    let key = client.query_opt(&sql, &[&table.oid]).await;
    let key =
        key.map_err(|error| Error::database(&format!("look up the primary key of {}", table.name), error))?;
    let columns: Vec<Option<String>> = key.map_or_else(Vec::new, |row| row.get(0));
    Ok(columns.into_iter().flatten().collect())
}

/// A unique index of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UniqueKey {
    /// Its name.
    pub(crate) name: String,
    /// Its columns; `None` for an expression, or a column that it compares under another collation.
    pub(crate) columns: Vec<Option<String>>,
    /// Whether the keys in the table can be compared with others: it is neither partial nor deferrable, and the session's
    /// role may read the table.
    pub(crate) is_searchable: bool,
    /// Whether it has the name that was asked for, or an index of that name, of a partition, is attached to it.
    is_named: bool,
}

/// The unique indexes of `table` that the server may mean by `refusal`, by the name that it reports or by its message.
///
/// # Errors
/// When the catalog cannot be read.
pub(crate) async fn violated_keys(
    client: &impl GenericClient,
    table: &Table,
    refusal: &DbError,
) -> Result<Vec<UniqueKey>> {
    let (constraint, message) = (refusal.constraint(), refusal.message());
    let sql = format!(
        "SELECT c.relname::text, {KEY_COLUMNS},
                i.indimmediate AND i.indpred IS NULL AND pg_catalog.has_table_privilege(i.indrelid, 'SELECT'),
                c.relname = $2 OR c.oid IN (
                    SELECT whole FROM pg_catalog.pg_class part, pg_catalog.pg_partition_ancestors(part.oid) whole
                    WHERE part.relname = $2 AND part.relispartition)
         FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
         WHERE i.indrelid = $1 AND i.indisunique"
    );
    let rows = client.query(&sql, &[&table.oid, &constraint.unwrap_or_default()]).await;
    let rows = rows
        .map_err(|error| Error::database(&format!("look up the unique indexes of {}", table.name), error))?;
    let keys = rows.iter().map(|row| UniqueKey {
        name: row.get(0),
        columns: row.get(1),
        is_searchable: row.get(2),
        is_named: row.get(3),
    });
    let is_certain = refusal.code() == &SqlState::UNIQUE_VIOLATION;
    Ok(choose(keys.collect(), (table.distribution.is_some(), is_certain), constraint, message))
}

/// Those of `keys` that the server may mean; `is_certain` that it means one of them.
fn choose(
    keys: Vec<UniqueKey>,
    (is_distributed, is_certain): (bool, bool),
    constraint: Option<&str>,
    message: &str,
) -> Vec<UniqueKey> {
    if keys.iter().any(|key| key.is_named) {
        return keys.into_iter().filter(|key| key.is_named).collect();
    }
    // Where Citus keeps the rows, the number of the shard follows the name.
    let text = constraint.unwrap_or(message);
    let may_be = |key: &&UniqueKey| is_distributed && text.contains(&format!("{}_", key.name));
    match keys.iter().filter(may_be).max_by_key(|key| key.name.len()) {
        Some(key) => vec![key.clone()],
        None if is_certain && (is_distributed || constraint.is_none()) => keys,
        // An index of another table, to which a trigger writes, or one that a single partition has.
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_is_recognised_by_what_the_server_says() {
        let key = |name: &str, is_named| UniqueKey {
            name: name.to_owned(),
            columns: vec![Some("id".to_owned())],
            is_searchable: true,
            is_named,
        };
        let message = "duplicate key value violates unique constraint \"t_a_b_102008\"";
        for (named, is_distributed, is_certain, constraint, expected) in [
            (Some("t_a"), false, true, Some("t_a_1"), vec!["t_a"]),
            (None, false, true, Some("audit_a"), vec![]),
            (None, true, true, Some("t_a_102008"), vec!["t_a"]),
            (None, true, false, None, vec!["t_a_b"]),
            (None, true, true, Some("cut_off_1f2e_102008"), vec!["t_a", "t_a_b"]),
            (None, true, false, Some("t_check_102008"), vec![]),
            (None, false, true, None, vec!["t_a", "t_a_b"]),
        ] {
            let keys = ["t_a", "t_a_b"].map(|name| key(name, named == Some(name))).to_vec();
            let chosen = choose(keys, (is_distributed, is_certain), constraint, message);
            let names: Vec<&str> = chosen.iter().map(|key| key.name.as_str()).collect();
            assert_eq!(names, expected, "{named:?}, {constraint:?}");
        }
    }
}
