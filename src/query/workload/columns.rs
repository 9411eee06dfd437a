//! Values of a column, of a table or of a CSV file, to draw arguments from.

use std::path::Path;

use tokio_postgres::Client;

use crate::catalog::{Table, TableName};
use crate::csv::{Field, Files, InputFormat, Inputs};
use crate::error::ErrorKind;
use crate::query::workload::values::ValueSource;
use crate::sql::quote;
use crate::{Error, Result};

/// About how many values are sampled from a column of a table.
const SAMPLED: u32 = 20_000;

/// A sample of the values of `column`, either a column of `table` or "table.column". Values are about as frequent in it
/// as in the table.
///
/// # Errors
/// When the table or the column does not exist, or the column has no values; the message completes "argument 1 …".
pub(crate) async fn table_column(
    client: &Client,
    column: &str,
    table: &TableName,
    seed: u64,
) -> Result<ValueSource> {
    let (table, column) = match column.rsplit_once('.') {
        Some((table, column)) => (TableName::parse(table)?, column),
        None => (table.clone(), column),
    };
    let none = |what: String, help: &str| Err(Error::new(ErrorKind::Database, what).with_help(help));
    let Some(found) = Table::find(client, &table).await? else {
        return none(
            format!("names a column of {table}, a table that does not exist"),
            "correct the name, or load it first: postgres-etl load",
        );
    };
    let Some(column) = found.column_by_sql_name(column) else {
        let known: Vec<&str> = found.columns.iter().map(|column| column.name.as_str()).collect();
        return none(
            format!("names column {column}, which {table} does not have"),
            &format!("its columns are {}", known.join(", ")),
        );
    };
    let (from, name) = (found.name.sql(), quote(&column.name));
    let failed = |error| Error::database(&format!("sample {}.{}", found.name, column.name), error);
    let rows = client.query_one(&format!("SELECT count({name}) FROM {from}"), &[]).await.map_err(failed)?;
    let rows = rows.get::<_, i64>(0);
    // Every n-th of the sorted values, so that the same rows give the same sample in whatever order they are stored.
    let every = (rows / i64::from(SAMPLED)).max(1);
    let first = (seed % every.unsigned_abs()) as i64;
    let sql = format!(
        "SELECT value FROM (SELECT value, pg_catalog.row_number() OVER (ORDER BY value COLLATE \"C\") AS number
                            FROM (SELECT {name}::text AS value FROM {from}) AS all_values
                            WHERE value IS NOT NULL) AS numbered
         WHERE number % {every} = {first} ORDER BY number"
    );
    let values: Vec<String> =
        client.query(&sql, &[]).await.map_err(failed)?.iter().map(|row| row.get(0)).collect();
    if values.is_empty() {
        return none(
            format!("names column {} of {}, which has no values", column.name, found.name),
            "load it first: postgres-etl load",
        );
    }
    Ok(ValueSource::Choice(values.into()))
}

/// The values of `column` of the CSV file at `path`, in their order.
///
/// # Errors
/// When the file cannot be read, has no such column or no rows, or a value is not valid UTF-8.
pub(crate) fn csv_column(path: &Path, column: &str) -> Result<ValueSource> {
    let inputs = Inputs::resolve(&[path.to_owned()])?;
    let mut files = Files::open(inputs, InputFormat::default())?;
    let names = files.header().map(|header| header.names.clone()).unwrap_or_default();
    let Some(index) = names.iter().position(|name| name == column) else {
        return Err(Error::config(format!("names column {column}, which {} does not have", path.display()))
            .with_help(if names.is_empty() {
                "the file is empty".to_owned()
            } else {
                format!("its columns are {}", names.join(", "))
            }));
    };
    let (mut values, mut scratch) = (Vec::new(), Vec::new());
    while let Some((record, name)) = files.next_named()? {
        if record.len() <= index {
            let line = record.line;
            return Err(Error::input(format!(
                "{name}, line {line}: the field of column {column} is missing"
            )));
        }
        values.push(match record.field(index, &mut scratch) {
            Field::Null => None,
            Field::Value(value) => {
                let Ok(value) = std::str::from_utf8(value) else {
                    let line = record.line;
                    return Err(Error::input(format!("{name}, line {line}: {column} is not valid UTF-8"))
                        .with_help("convert the file to UTF-8, for example with iconv -t utf-8"));
                };
                Some(value.to_owned())
            }
        });
    }
    if values.is_empty() {
        return Err(Error::config(format!("names a column of {}, which has no rows", path.display())));
    }
    Ok(ValueSource::Lines(values.into()))
}
