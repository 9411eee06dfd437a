//! Which rows of a piece have a key that is there already, asked in one query.

use std::ops::Range;
use std::sync::Arc;

use tokio_postgres::types::Type;
use tokio_postgres::{Client, GenericClient};

use super::batch::{array, array_of};
use super::raw::Raw;
use super::target::Targets;
use super::tuples::{Chunk, Format};
use crate::encode::Kind;
use crate::table::{Table, quote};
use crate::{Error, Result};

/// A unique index over columns that are loaded.
#[derive(Debug)]
pub struct UniqueIndex {
    /// Its columns, as places among the targets.
    pub columns: Vec<usize>,
}

impl UniqueIndex {
    /// The index `name` of `table`; `None` if it has expressions, a condition, or columns that are not loaded.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub async fn find(
        client: &Client,
        table: &Table,
        name: &str,
        targets: &Arc<Targets>,
    ) -> Result<Option<UniqueIndex>> {
        let names = columns_of(client, table, Some(name)).await?;
        let place = |name: &str| {
            let place = targets.names().position(|loaded| loaded == name)?;
            let column = &targets.columns[place].column;
            let can_be_unnested =
                column.array_oid != 0 && !matches!(column.column_type.kind, Kind::Array { .. });
            can_be_unnested.then_some(place)
        };
        let columns: Option<Vec<usize>> = names.iter().map(|name| place(name.as_deref()?)).collect();
        Ok(columns.filter(|columns| !columns.is_empty()).map(|columns| UniqueIndex { columns }))
    }

    /// The rows of `piece` whose key is in the table, or in an earlier row of the piece; in order.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn duplicates(
        &self,
        client: &Client,
        table: &Table,
        targets: &Arc<Targets>,
        chunk: &Chunk,
        piece: Range<usize>,
    ) -> Result<Vec<usize>> {
        let failed =
            |error| Error::database(&format!("look for keys that are in {} already", table.name), &error);
        let (mut types, mut arguments, mut names, mut equal, mut known) =
            (vec![], vec![], vec![], vec![], vec![]);
        for (number, &column) in self.columns.iter().enumerate() {
            let column = &targets.columns[column].column;
            types.push(array_of(column.array_oid, &column.type_name));
            arguments.push(format!("${}", number + 1));
            equal.push(format!("t.{} = k.k{number}", quote(&column.name)));
            known.push(format!("k{number} IS NOT NULL"));
            names.push(format!("k{number}"));
        }
        // Not EXISTS: for want of statistics the server would hash the whole table for every piece, where the index
        // that was broken has the answer.
        let sql = format!(
            "SELECT ord FROM (
                 SELECT *, row_number() OVER (PARTITION BY {names} ORDER BY ord) AS nth
                 FROM unnest({}) WITH ORDINALITY u({names}, ord)) k
             WHERE {} AND (nth > 1 OR COALESCE((SELECT true FROM {only}{} t WHERE {} LIMIT 1), false))
             ORDER BY ord",
            arguments.join(", "),
            known.join(" AND "),
            table.name.sql(),
            equal.join(" AND "),
            names = names.join(", "),
            // The children of a table have keys of their own; partitions have not.
            only = if table.is_partitioned { "" } else { "ONLY " },
        );
        let types: Vec<Type> = types;
        let statement = client.prepare_typed(&sql, &types).await.map_err(failed)?;
        let tuples: Vec<Vec<_>> = piece.clone().map(|row| chunk.tuple(row).collect()).collect();
        let keys = self.columns.iter().map(|&column| {
            let values = tuples.iter().map(|tuple| tuple[column].as_deref());
            let element = targets.columns[column].column.column_type.oid;
            Raw { value: Some(array(element, values)), format: Format::Binary }
        });
        let keys: Vec<Raw> = keys.collect();
        let rows = client.query_raw(&statement, keys).await.map_err(failed)?;
        let rows: Vec<_> = futures::TryStreamExt::try_collect(rows).await.map_err(failed)?;
        Ok(rows.iter().map(|row| piece.start + row.get::<_, i64>(0) as usize - 1).collect())
    }
}

/// The key columns, in their order, of `table`'s unique index `name` if one can ask about it, or of its primary key;
/// `None` stands for an expression, and for a column that the index compares by other rules.
///
/// # Errors
/// When the catalog cannot be read.
pub async fn columns_of(
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
        Error::database(&format!("look up {index} of {}", table.name), &error)
    })?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
