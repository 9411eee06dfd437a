//! `--on-conflict`: rows whose key is in the table already.

use crate::load::options::OnConflict;
use crate::load::settings::LoadSettings;
use crate::load::table::prepare::Prepared;
use tokio_postgres::Client;

use tokio_postgres::GenericClient;

use crate::catalog::Table;
use crate::catalog::unique_key::unique_key_columns;
use crate::load::mapping::ColumnMapping;
use crate::sql::{quote, quote_list};
use crate::{Error, Result};

/// An `ON CONFLICT` clause for one table, with its key known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConflictClause {
    /// `ON CONFLICT …`, for an INSERT.
    pub sql: String,
    /// The key's columns; empty for any unique key.
    pub key: Vec<String>,
    /// Whether rows are updated; otherwise they are skipped.
    pub updates: bool,
}

impl ConflictClause {
    /// The clause that `on_conflict` means for `table`.
    ///
    /// # Errors
    /// When a key column is unknown or not loaded, or there is no primary key to go by.
    pub(crate) async fn resolve(
        client: &impl GenericClient,
        on_conflict: &OnConflict,
        table: &Table,
        targets: &ColumnMapping,
    ) -> Result<ConflictClause> {
        let (named, updates) = match on_conflict {
            OnConflict::Skip(key) => (key, false),
            OnConflict::Update(key) => (key, true),
        };
        if updates && table.is_partitioned {
            return Err(Error::usage(format!(
                "--on-conflict update: {} is partitioned, and the server does not tell there which rows are new",
                table.name
            ))
            .with_help("load into the partitions, or use --on-conflict skip"));
        }
        let mut key = Vec::with_capacity(named.len());
        for name in named {
            let column = table.column_by_sql_name(name).ok_or_else(|| {
                Error::usage(format!("--on-conflict: {} has no column {name}", table.name))
                    .with_help("name the columns of a primary key or unique index")
            })?;
            key.push(column.name.clone());
        }
        if key.is_empty() && updates {
            let primary = unique_key_columns(client, table, None).await?;
            key = primary.into_iter().flatten().collect();
            if key.is_empty() {
                return Err(Error::usage(format!("--on-conflict update: {} has no primary key", table.name))
                    .with_help("name the columns of a unique index: --on-conflict update:COLUMN,COLUMN"));
            }
        }
        if let Some(missing) = key.iter().find(|name| !targets.names().any(|loaded| loaded == *name)) {
            return Err(Error::usage(format!("--on-conflict: the file has no column {missing}"))
                .with_help("the key has to be in the file"));
        }
        let target = match key.as_slice() {
            [] => String::new(),
            key => format!(" ({})", quote_list(key.iter().map(String::as_str))),
        };
        let action = if updates {
            // The key too: 1.0 and 1.00 are the same key, and the last row wins whole.
            let columns = targets.columns.iter().map(|target| &target.column);
            let set: Vec<String> = columns
                .filter(|column| !column.identity_always)
                .map(|column| format!("{0} = EXCLUDED.{0}", quote(&column.name)))
                .collect();
            format!("UPDATE SET {}", set.join(", "))
        } else {
            "NOTHING".to_owned()
        };
        Ok(ConflictClause { sql: format!("ON CONFLICT{target} DO {action}"), key, updates })
    }

    /// The statement that inserts what `source` holds, a FROM item with the columns and an `order`, and counts.
    ///
    /// One statement may not update a row twice: if a key is twice in `source`, the server says so (21000).
    pub(crate) fn insert_from(&self, insert: &str, columns: &str, source: &str, order: &str) -> String {
        // A row that was updated has the updating transaction in its xmax; one that was skipped is not returned.
        let inserted = if self.updates { "xmax = 0" } else { "true" };
        format!(
            "WITH written AS (
                 {insert} SELECT {columns} FROM {source} ORDER BY {order} {} RETURNING {inserted} AS inserted)
             SELECT count(*) FILTER (WHERE inserted), count(*) FILTER (WHERE NOT inserted) FROM written",
            self.sql
        )
    }
}

/// What `--on-conflict` means for the table.
pub(crate) async fn resolve_clause(
    client: &Client,
    settings: &LoadSettings,
    prepared: &Prepared,
) -> Result<Option<ConflictClause>> {
    match &settings.on_conflict {
        Some(on_conflict) => {
            ConflictClause::resolve(client, on_conflict, &prepared.table, &prepared.targets).await.map(Some)
        }
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_may_name_their_key() {
        assert_eq!("skip".parse(), Ok(OnConflict::Skip(vec![])));
        assert_eq!("update:id, day".parse(), Ok(OnConflict::Update(vec!["id".into(), "day".into()])));
        assert!("ignore".parse::<OnConflict>().is_err());
        assert_eq!(OnConflict::Update(vec!["id".into()]).to_string(), "update:id");
    }
}
