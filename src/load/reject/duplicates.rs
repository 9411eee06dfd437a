//! Which rows of a piece have a key that is there already, asked in one query.

use crate::catalog::unique_key::unique_key_columns;
use std::ops::Range;
use std::sync::Arc;

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use crate::catalog::Table;
use crate::encode::TypeKind;
use crate::load::chunk::Chunk;
use crate::load::mapping::{ColumnMapping, ValueFormat};
use crate::load::write::array::{array, array_of};
use crate::load::write::params::Raw;
use crate::sql::quote;
use crate::{Error, Result};

/// A unique index over columns that are loaded.
#[derive(Debug)]
pub(crate) struct UniqueIndex {
    /// Its columns, as places among the targets.
    pub columns: Vec<usize>,
}

impl UniqueIndex {
    /// The index `name` of `table`; `None` if it has expressions, a condition, or columns that are not loaded.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub(crate) async fn find(
        client: &Client,
        table: &Table,
        name: &str,
        targets: &Arc<ColumnMapping>,
    ) -> Result<Option<UniqueIndex>> {
        let names = unique_key_columns(client, table, Some(name)).await?;
        let place = |name: &str| {
            let place = targets.names().position(|loaded| loaded == name)?;
            let column = &targets.columns[place].column;
            let can_be_unnested =
                column.array_oid != 0 && !matches!(column.column_type.kind, TypeKind::Array { .. });
            can_be_unnested.then_some(place)
        };
        let columns: Option<Vec<usize>> = names.iter().map(|name| place(name.as_deref()?)).collect();
        Ok(columns.filter(|columns| !columns.is_empty()).map(|columns| UniqueIndex { columns }))
    }

    /// The rows of `piece` whose key is in the table, or in an earlier row of the piece; in order.
    ///
    /// # Errors
    /// When the server does not answer.
    pub(crate) async fn duplicates(
        &self,
        client: &Client,
        table: &Table,
        targets: &Arc<ColumnMapping>,
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
            Raw { value: Some(array(element, values)), format: ValueFormat::Binary }
        });
        let keys: Vec<Raw> = keys.collect();
        let rows = client.query_raw(&statement, keys).await.map_err(failed)?;
        let rows: Vec<_> = futures::TryStreamExt::try_collect(rows).await.map_err(failed)?;
        Ok(rows.iter().map(|row| piece.start + row.get::<_, i64>(0) as usize - 1).collect())
    }
}
