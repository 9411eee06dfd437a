//! Finds all rows of a range whose key already exists, with one query.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use tokio_postgres::error::DbError;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use crate::catalog::unique_key::{UniqueKey, violated_keys};
use crate::catalog::{Column, Table};
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
    /// Its name; in a partitioned table that of the whole, to which the one that the server reports is attached.
    pub name: String,
    /// Its columns, as indexes into [`ColumnMapping::columns`].
    pub columns: Vec<usize>,
}

impl UniqueIndex {
    /// The unique indexes of `table` that `refusal` may be about, without those that have an expression, a predicate, or a
    /// column that is not loaded or cannot be passed to `unnest()`.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub(crate) async fn find(
        client: &Client,
        table: &Table,
        refusal: &DbError,
        mapping: &Arc<ColumnMapping>,
    ) -> Result<Vec<UniqueIndex>> {
        let keys = violated_keys(client, table, refusal).await?;
        let index_of = |name: &str| {
            let index = mapping.names().position(|loaded| loaded == name)?;
            let column = &mapping.columns[index].column;
            let can_be_unnested =
                column.array_oid != 0 && !matches!(column.column_type.kind, TypeKind::Array { .. });
            can_be_unnested.then_some(index)
        };
        let index = |key: UniqueKey| {
            let columns: Option<_> = key.columns.iter().map(|name| index_of(name.as_deref()?)).collect();
            Some(UniqueIndex { name: key.name, columns: columns? })
        };
        Ok(keys.into_iter().filter(|key| key.is_searchable).filter_map(index).collect())
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
        let tuples: Vec<Vec<_>> = rows.clone().map(|row| chunk.tuple(row).collect()).collect();
        let keys = self.columns.iter().map(|&column| {
            let values = tuples.iter().map(|tuple| tuple[column].as_deref());
            let element_oid = mapping.columns[column].column.column_type.oid;
            EncodedParam { value: Some(encode_array(element_oid, values)), format: ValueFormat::Binary }
        });
        let keys: Vec<EncodedParam> = keys.collect();
        let columns = self.columns.iter().map(|&column| &mapping.columns[column].column);
        let columns: Vec<&Column> = columns.collect();
        let types: Vec<Type> =
            columns.iter().map(|column| array_type(column.array_oid, &column.type_name)).collect();
        let mut found = BTreeMap::new();
        for sql in queries(table, &columns) {
            let statement = client.prepare_typed(&sql, &types).await.map_err(failed)?;
            let rows = client.query_raw(&statement, &keys).await.map_err(failed)?;
            let rows: Vec<Row> = futures::TryStreamExt::try_collect(rows).await.map_err(failed)?;
            found.extend(rows.iter().map(|row| (row.get::<_, i64>(0), row.get::<_, String>(1))));
        }
        let columns: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        let columns = columns.join(", ");
        let row = |ord: i64| usize::try_from(ord).ok().filter(|ord| (1..=rows.len()).contains(ord));
        let duplicate = |(ord, key)| {
            let row = rows.start + row(ord)? - 1;
            Some(DuplicateRow { row, detail: format!("Key ({columns})=({key}) already exists.") })
        };
        Ok(found.into_iter().filter_map(duplicate).collect())
    }
}

/// The queries that find the rows whose key in `columns` is in `table`, or in an earlier row: their numbers, from 1, and
/// their keys.
fn queries(table: &Table, columns: &[&Column]) -> Vec<String> {
    let list = |item: &dyn Fn(usize, &str) -> String, separator| {
        let items = columns.iter().enumerate().map(|(number, column)| item(number, &quote(&column.name)));
        items.collect::<Vec<_>>().join(separator)
    };
    let names = list(&|number, _| format!("k{number}"), ", ");
    let parameters = list(&|number, _| format!("${}", number + 1), ", ");
    let equal = list(&|number, column| format!("t.{column} = k.k{number}"), " AND ");
    let not_null = list(&|number, _| format!("k.k{number} IS NOT NULL"), " AND ");
    let texts = list(&|number, _| format!("k.k{number}::pg_catalog.text"), ", ");
    let key = format!("pg_catalog.concat_ws(', ', {texts})");
    let unnested = format!("unnest({parameters}) WITH ORDINALITY");
    let name = table.name.sql();
    let numbered = format!(
        "SELECT k.ord, {key} FROM (
             SELECT *, row_number() OVER (PARTITION BY {names} ORDER BY ord) AS nth
             FROM {unnested} u({names}, ord)) k
         WHERE {not_null} AND"
    );
    if table.distribution.is_some() {
        // Citus refuses a subquery that refers to what is not distributed.
        let stored = format!("SELECT k.ord, {key} FROM {name} t JOIN {unnested} k({names}, ord) ON {equal}");
        return vec![format!("{numbered} k.nth > 1"), stored];
    }
    // A unique index does not cover inheritance children, but it covers partitions.
    let only = if table.is_partitioned { "" } else { "ONLY " };
    // A scalar subquery rather than EXISTS: without statistics, the server would plan EXISTS as a hash join over
    // the whole table instead of using the unique index.
    let stored = format!("COALESCE((SELECT true FROM {only}{name} t WHERE {equal} LIMIT 1), false)");
    vec![format!("{numbered} (k.nth > 1 OR {stored})")]
}
