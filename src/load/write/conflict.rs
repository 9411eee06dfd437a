//! `--on-conflict`: the clause for rows whose key already exists in the table.

use tokio_postgres::{Client, GenericClient};

use crate::catalog::Table;
use crate::catalog::unique_key::primary_key_columns;
use crate::load::mapping::ColumnMapping;
use crate::load::options::OnConflict;
use crate::load::refusal::refusal_error;
use crate::load::settings::LoadSettings;
use crate::load::table::prepare::PreparedTable;
use crate::sql::{quote, quote_list};
use crate::{Error, Result};

/// Whether a row that was written is new: the xmax of an updated row is the updating transaction.
const IS_NEW: &str = "xmax = 0";

/// An `ON CONFLICT` clause for a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConflictClause {
    /// The SQL: `ON CONFLICT …`.
    pub sql: String,
    /// Columns of the key; empty for any unique key.
    pub key: Vec<String>,
    /// Whether rows are updated; otherwise they are skipped.
    pub updates: bool,
}

impl ConflictClause {
    /// Resolve `on_conflict` for `table`.
    ///
    /// # Errors
    /// When a key column is unknown or not loaded, when a key is needed but neither named nor in the table as a
    /// primary key, and for updates of a partitioned table.
    pub(crate) async fn resolve(
        client: &impl GenericClient,
        on_conflict: &OnConflict,
        table: &Table,
        mapping: &ColumnMapping,
    ) -> Result<ConflictClause> {
        let (named, updates) = match on_conflict {
            OnConflict::Skip(key) => (key, false),
            OnConflict::Update(key) => (key, true),
        };
        if updates && table.is_partitioned {
            return Err(Error::usage(format!(
                "--on-conflict update: {} is partitioned, and the server cannot tell inserted from updated rows there",
                table.name
            ))
            .with_help("load into the partitions, or use --on-conflict skip"));
        }
        let key = if named.is_empty() && updates {
            primary_key(client, table).await?
        } else {
            key_columns(named, table)?
        };
        // A foreign table's unique indexes are known to its server only.
        let is_stored = table.is_stored && table.foreign_tables.is_none();
        if key.is_empty() && is_stored && !has_unique_index(client, table).await? {
            let message = format!("--on-conflict skip: {} has no primary key or unique index", table.name);
            return Err(Error::usage(message).with_help("create one, or leave --on-conflict out"));
        }
        if let Some(missing) = key.iter().find(|name| !mapping.names().any(|loaded| loaded == *name)) {
            return Err(Error::usage(format!("--on-conflict: the file has no column {missing}"))
                .with_help("the key has to be in the file"));
        }
        let conflict_target = match key.as_slice() {
            [] => String::new(),
            key => format!(" ({})", quote_list(key.iter().map(String::as_str))),
        };
        let action = if updates { update_action(mapping) } else { "NOTHING".to_owned() };
        let sql = format!("ON CONFLICT{conflict_target} DO {action}");
        if table.is_stored {
            // The server looks for the index when it plans, so that nothing has been emptied or sent by then.
            let name = table.name.sql();
            let plan = if table.distribution.is_some() {
                // Citus plans no INSERT without a value for the distribution column.
                let (insert, columns) = (mapping.insert_into(&table.name), quote_list(mapping.names()));
                format!("EXPLAIN {insert} SELECT {columns} FROM {name} LIMIT 0 {sql}")
            } else {
                format!("EXPLAIN INSERT INTO {name} DEFAULT VALUES {sql}")
            };
            let planned = client.batch_execute(&plan).await;
            planned
                .map_err(|error| refusal_error(&format!("use --on-conflict for {}", table.name), error))?;
        }
        Ok(ConflictClause { sql, key, updates })
    }

    /// The clause for an INSERT of one row. Only where rows are updated does the server have to say which are new, which it
    /// cannot in a partitioned table.
    pub(crate) fn suffix(&self) -> String {
        if self.updates { format!(" {} RETURNING {IS_NEW}", self.sql) } else { format!(" {}", self.sql) }
    }

    /// A statement that inserts the rows of `source`, a FROM item, by ascending `order`, and returns the counts.
    ///
    /// A statement cannot update a row twice: if `source` contains a key twice, the server fails with SQLSTATE 21000.
    pub(crate) fn insert_from(&self, insert: &str, columns: &str, source: &str, order: &str) -> String {
        // A skipped row is not returned.
        let inserted = if self.updates { IS_NEW } else { "true" };
        format!(
            "WITH written AS (
                 {insert} SELECT {columns} FROM {source} ORDER BY {order} {} RETURNING {inserted} AS inserted)
             SELECT count(*) FILTER (WHERE inserted), count(*) FILTER (WHERE NOT inserted) FROM written",
            self.sql
        )
    }
}

/// The columns of `table` called `names`, which are read as SQL reads them.
fn key_columns(names: &[String], table: &Table) -> Result<Vec<String>> {
    let column = |name: &String| match table.column_by_sql_name(name) {
        Some(column) => Ok(column.name.clone()),
        None => Err(Error::usage(format!("--on-conflict: {} has no column {name}", table.name))
            .with_help("name the columns of a primary key or unique index")),
    };
    names.iter().map(column).collect()
}

async fn primary_key(client: &impl GenericClient, table: &Table) -> Result<Vec<String>> {
    let key = primary_key_columns(client, table).await?;
    if key.is_empty() {
        return Err(Error::usage(format!("--on-conflict update: {} has no primary key", table.name))
            .with_help("name the columns of a unique index: --on-conflict update:COLUMN,COLUMN"));
    }
    Ok(key)
}

/// Whether any index or constraint of `table` can refuse a row because of another one.
async fn has_unique_index(client: &impl GenericClient, table: &Table) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT FROM pg_catalog.pg_index
                              WHERE indrelid = $1 AND (indisunique OR indisexclusion))";
    let found = client.query_one(sql, &[&table.oid]).await;
    let failed = |error| Error::database(&format!("look up the indexes of {}", table.name), error);
    Ok(found.map_err(failed)?.get(0))
}

/// The action that gives a row all values of the file.
fn update_action(mapping: &ColumnMapping) -> String {
    // Including the key: 1.0 and 1.00 are equal, but the file's value is to be stored.
    let columns = mapping.columns.iter().map(|mapped| &mapped.column);
    let set: Vec<String> = columns
        .filter(|column| !column.identity_always)
        .map(|column| format!("{0} = EXCLUDED.{0}", quote(&column.name)))
        .collect();
    format!("UPDATE SET {}", set.join(", "))
}

/// The clause for the `--on-conflict` of `settings`; `None` without that option.
///
/// # Errors
/// As [`ConflictClause::resolve`].
pub(crate) async fn resolve_clause(
    client: &Client,
    settings: &LoadSettings,
    prepared: &PreparedTable,
) -> Result<Option<ConflictClause>> {
    match &settings.on_conflict {
        Some(on_conflict) => {
            ConflictClause::resolve(client, on_conflict, &prepared.table, &prepared.mapping).await.map(Some)
        }
        None => Ok(None),
    }
}
