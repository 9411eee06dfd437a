//! Rows whose foreign key references a row of the same table that is neither in the table nor among the good rows.
//!
//! Whether a row is bad for that reason shows only when all rows are written: it may refer to a later one, and a row that
//! refers to a bad one is bad as well.

use std::collections::HashSet;

use postgres_types::{FromSql, Type};
use tokio_postgres::Client;

use crate::catalog::Table;
use crate::error::ErrorKind;
use crate::load::chunk::Chunk;
use crate::load::chunk::rejected::Reason;
use crate::load::mapping::{ColumnMapping, ValueFormat};
use crate::sql::quote;
use crate::{Error, Result};

/// The orphans among the rows of a load, by the key that the foreign keys reference.
#[derive(Debug)]
pub(crate) struct Orphans {
    /// The indexes of the key's columns in the mapping.
    columns: Vec<usize>,
    /// The keys, in binary.
    keys: HashSet<Vec<u8>>,
    /// The names of the foreign keys.
    constraints: Vec<String>,
}

/// A foreign key by which a table references itself.
struct SelfReference {
    constraint: String,
    columns: Vec<String>,
    key: Vec<String>,
}

impl Orphans {
    /// Find the orphans in `table`, into which all rows have been written; `None` if there are none, or they cannot be
    /// told from other rows of the file, because their key is not loaded or contains a NULL.
    ///
    /// # Errors
    /// When the role may not read the table.
    pub(crate) async fn find(
        client: &Client,
        table: &Table,
        mapping: &ColumnMapping,
    ) -> Result<Option<Orphans>> {
        let failed =
            |error| Error::database(&format!("look for rows of {} without a parent", table.name), error);
        let references = self_references(client, table).await.map_err(failed)?;
        let Some(first) = references.first() else { return Ok(None) };
        let position = |name: &String| mapping.names().position(|loaded| loaded == name);
        let columns: Option<Vec<usize>> = first.key.iter().map(position).collect();
        let Some(columns) = columns.filter(|_| references.iter().all(|other| other.key == first.key)) else {
            return Ok(None);
        };
        let rows = client.query(&orphans_query(table, &references), &[]).await.map_err(failed)?;
        let mut keys = HashSet::with_capacity(rows.len());
        for row in &rows {
            let mut key = Vec::new();
            for column in 0..row.len() {
                let Some(Raw(value)) = row.get(column) else { return Ok(None) };
                push_value(&mut key, value);
            }
            keys.insert(key);
        }
        let constraints = references.into_iter().map(|reference| reference.constraint).collect();
        Ok((!keys.is_empty()).then_some(Orphans { columns, keys, constraints }))
    }

    /// The rows of `chunk` that are orphans, in ascending order.
    pub(crate) fn rows(&self, chunk: &Chunk) -> Vec<usize> {
        if self.columns.iter().any(|&column| chunk.formats[column] != ValueFormat::Binary) {
            return Vec::new();
        }
        (0..chunk.rows())
            .filter(|&row| self.key(chunk.fields(row)).is_some_and(|key| self.keys.contains(&key)))
            .collect()
    }

    /// The key of a row; `None` if it contains a NULL.
    fn key<'v>(&self, fields: impl Iterator<Item = Option<&'v [u8]>>) -> Option<Vec<u8>> {
        let fields: Vec<_> = fields.collect();
        let mut key = Vec::new();
        for &column in &self.columns {
            push_value(&mut key, fields[column]?);
        }
        Some(key)
    }

    /// The error that they are, where they cannot be rejected.
    pub(crate) fn into_error(self) -> Error {
        let what = match self.keys.len() {
            1 => "1 row references a row that is missing".to_owned(),
            rows => format!("{rows} rows reference rows that are missing"),
        };
        let keys = if self.constraints.len() == 1 { "key" } else { "keys" };
        Error::new(ErrorKind::Database, format!("{what} (foreign {keys} {})", self.constraints.join(", ")))
    }

    /// Why they are rejected.
    pub(crate) fn reason(&self) -> Reason {
        let constraints = self.constraints.join(", ");
        Reason {
            sqlstate: Some("23503".to_owned()),
            constraint: Some(constraints.clone()),
            ..Reason::new(format!("references a row that is missing or rejected (foreign key {constraints})"))
        }
    }
}

/// Append `value` to `key` in a form in which no two keys are the same.
fn push_value(key: &mut Vec<u8>, value: &[u8]) {
    key.extend_from_slice(&(value.len() as u32).to_be_bytes());
    key.extend_from_slice(value);
}

async fn self_references(
    client: &Client,
    table: &Table,
) -> Result<Vec<SelfReference>, tokio_postgres::Error> {
    let sql = "SELECT conname::text,
                      ARRAY(SELECT attname::text FROM pg_catalog.unnest(conkey) WITH ORDINALITY AS k(attnum, n)
                            JOIN pg_catalog.pg_attribute AS a USING (attnum) WHERE attrelid = conrelid ORDER BY n),
                      ARRAY(SELECT attname::text FROM pg_catalog.unnest(confkey) WITH ORDINALITY AS k(attnum, n)
                            JOIN pg_catalog.pg_attribute AS a USING (attnum) WHERE attrelid = conrelid ORDER BY n)
               FROM pg_catalog.pg_constraint
               WHERE contype = 'f' AND conrelid = $1 AND confrelid = $1 AND conparentid = 0 ORDER BY conname";
    let rows = client.query(sql, &[&table.oid]).await?;
    let reference = |row: &tokio_postgres::Row| SelfReference {
        constraint: row.get(0),
        columns: row.get(1),
        key: row.get(2),
    };
    Ok(rows.iter().map(reference).collect())
}

/// The query for the keys of all orphans: rows without a parent, and their descendants. All of `references` have the same
/// key.
fn orphans_query(table: &Table, references: &[SelfReference]) -> String {
    let name = table.name.sql();
    let key = |alias: &str| {
        let columns = references[0].key.iter().map(|column| format!("{alias}.{}", quote(column)));
        columns.collect::<Vec<_>>().join(", ")
    };
    let refers = |reference: &SelfReference, to: &str| {
        let pairs = reference.columns.iter().zip(&reference.key);
        let equal = pairs.map(|(column, key)| format!("child.{} = {to}.{}", quote(column), quote(key)));
        equal.collect::<Vec<_>>().join(" AND ")
    };
    let is_orphan = references.iter().map(|reference| {
        let present = reference.columns.iter().map(|column| format!("child.{} IS NOT NULL", quote(column)));
        let present = present.collect::<Vec<_>>().join(" AND ");
        format!(
            "({present} AND NOT EXISTS (SELECT FROM {name} AS parent WHERE {}))",
            refers(reference, "parent")
        )
    });
    let is_orphan = is_orphan.collect::<Vec<_>>().join(" OR ");
    let refers_to_orphan = references.iter().map(|reference| format!("({})", refers(reference, "orphan")));
    let refers_to_orphan = refers_to_orphan.collect::<Vec<_>>().join(" OR ");
    let child = key("child");
    format!(
        "WITH RECURSIVE orphan AS (
             SELECT {child} FROM {name} AS child WHERE {is_orphan}
             UNION
             SELECT {child} FROM {name} AS child JOIN orphan ON {refers_to_orphan}
         ) SELECT * FROM orphan"
    )
}

/// A value of any type, as the server sends it.
struct Raw<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Raw(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}
