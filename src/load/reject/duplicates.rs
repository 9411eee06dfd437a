//! Finds all rows of a range whose key already exists, with one query.

use std::ops::Range;
use std::sync::Arc;

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use crate::catalog::Table;
use crate::catalog::unique_key::unique_key_columns;
use crate::encode::TypeKind;
use crate::load::chunk::Chunk;
use crate::load::mapping::{ColumnMapping, ValueFormat};
use crate::load::write::array::{array_type, encode_array};
use crate::load::write::params::EncodedParam;
use crate::sql::quote;
use crate::{Error, Result};

/// A row whose key already exists.
#[derive(Debug)]
pub(crate) struct DuplicateRow {
    /// Its index in the chunk.
    pub row: usize,
    /// The key, in the words of the server's DETAIL, which it sends for one row only.
    pub detail: String,
}

/// A unique index on loaded columns.
#[derive(Debug)]
pub(crate) struct UniqueIndex {
    /// Its columns, as indexes into [`ColumnMapping::columns`].
    pub columns: Vec<usize>,
}

impl UniqueIndex {
    /// Look up the index `name` of `table`; `None` if it has an expression, a predicate, or a column that is not
    /// loaded or cannot be passed to `unnest()`.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub(crate) async fn find(
        client: &Client,
        table: &Table,
        name: &str,
        mapping: &Arc<ColumnMapping>,
    ) -> Result<Option<UniqueIndex>> {
        let names = unique_key_columns(client, table, Some(name)).await?;
        let index_of = |name: &str| {
            let index = mapping.names().position(|loaded| loaded == name)?;
            let column = &mapping.columns[index].column;
            let can_be_unnested =
                column.array_oid != 0 && !matches!(column.column_type.kind, TypeKind::Array { .. });
            can_be_unnested.then_some(index)
        };
        let columns: Option<Vec<usize>> = names.iter().map(|name| index_of(name.as_deref()?)).collect();
        Ok(columns.filter(|columns| !columns.is_empty()).map(|columns| UniqueIndex { columns }))
    }

    /// Find the rows of `rows` whose key is in the table or in an earlier row of the range, in ascending order.
    ///
    /// # Errors
    /// When the query fails.
    pub(crate) async fn duplicates(
        &self,
        client: &Client,
        table: &Table,
        mapping: &Arc<ColumnMapping>,
        chunk: &Chunk,
        rows: Range<usize>,
    ) -> Result<Vec<DuplicateRow>> {
        let failed =
            |error| Error::database(&format!("look for keys that already exist in {}", table.name), error);
        let (mut types, mut parameters, mut names, mut equal, mut not_null) =
            (Vec::<Type>::new(), vec![], vec![], vec![], vec![]);
        let (mut columns, mut texts) = (vec![], vec![]);
        for (number, &column) in self.columns.iter().enumerate() {
            let column = &mapping.columns[column].column;
            types.push(array_type(column.array_oid, &column.type_name));
            parameters.push(format!("${}", number + 1));
            equal.push(format!("t.{} = k.k{number}", quote(&column.name)));
            not_null.push(format!("k{number} IS NOT NULL"));
            names.push(format!("k{number}"));
            columns.push(column.name.as_str());
            texts.push(format!("k{number}::pg_catalog.text"));
        }
        // A scalar subquery rather than EXISTS: without statistics, the server would plan EXISTS as a hash join over
        // the whole table instead of using the unique index.
        let sql = format!(
            "SELECT ord, pg_catalog.concat_ws(', ', {}) FROM (
                 SELECT *, row_number() OVER (PARTITION BY {names} ORDER BY ord) AS nth
                 FROM unnest({}) WITH ORDINALITY u({names}, ord)) k
             WHERE {} AND (nth > 1 OR COALESCE((SELECT true FROM {only}{} t WHERE {} LIMIT 1), false))
             ORDER BY ord",
            texts.join(", "),
            parameters.join(", "),
            not_null.join(" AND "),
            table.name.sql(),
            equal.join(" AND "),
            names = names.join(", "),
            // A unique index does not cover inheritance children, but it covers partitions.
            only = if table.is_partitioned { "" } else { "ONLY " },
        );
        let statement = client.prepare_typed(&sql, &types).await.map_err(failed)?;
        let tuples: Vec<Vec<_>> = rows.clone().map(|row| chunk.tuple(row).collect()).collect();
        let keys = self.columns.iter().map(|&column| {
            let values = tuples.iter().map(|tuple| tuple[column].as_deref());
            let element_oid = mapping.columns[column].column.column_type.oid;
            EncodedParam { value: Some(encode_array(element_oid, values)), format: ValueFormat::Binary }
        });
        let keys: Vec<EncodedParam> = keys.collect();
        let found = client.query_raw(&statement, keys).await.map_err(failed)?;
        let found: Vec<_> = futures::TryStreamExt::try_collect(found).await.map_err(failed)?;
        let columns = columns.join(", ");
        let duplicate = |row: &Row| DuplicateRow {
            row: rows.start + row.get::<_, i64>(0) as usize - 1,
            detail: format!("Key ({columns})=({}) already exists.", row.get::<_, &str>(1)),
        };
        Ok(found.iter().map(duplicate).collect())
    }
}
