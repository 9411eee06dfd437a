//! The row of an import: what it loads, and how.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio_postgres::Client;

use crate::csv::{Files, Input, Inputs};
use crate::load::chunk::section::SectionLimit;
use crate::load::date_order::DateOrder;
use crate::load::ledger::tables::LedgerTables;
use crate::load::mapping::{ColumnMapping, MappedColumn, ValueSource};
use crate::load::options::ImportOptions;
use crate::load::settings::LoadSettings;
use crate::load::spelling::Conversion;
use crate::load::table::indexes::{DeferredIndexes, IndexedTable};
use crate::load::table::prepare::PreparedTable;
use crate::{Error, ErrorKind, Result};

/// Rows in a chunk, unless the user says otherwise: as many as its size allows.
const CHUNK_ROWS: u64 = 10_000_000;

/// Size of a chunk, in bytes of the decompressed file: large enough that its commit costs little beside it, and small
/// enough that two fit into any memory.
const CHUNK_BYTES: u64 = 32 * 1024 * 1024;

/// As [`CHUNK_BYTES`], where the user has said how many rows are to be in a chunk.
const LARGEST_CHUNK_BYTES: u64 = 256 * 1024 * 1024;

/// Among the options, the time of the load, for each column that is given it.
const NOW: &str = "now()";

/// Among the options, the order of day, month and year that was inferred for each column of dates.
const DATES: &str = "dates";

/// An import, as its row in the ledger describes it.
#[derive(Debug, Clone)]
pub(crate) struct Import {
    /// What the other tables call it.
    pub number: i64,
    /// Where its chunks end.
    pub limit: SectionLimit,
    /// When it was finished, by the server's clock; `None` if it was not.
    pub finished: Option<String>,
    /// The indexes that it dropped when it began, and has not rebuilt.
    pub indexes: DeferredIndexes,
    table_oid: u32,
    options: Value,
}

/// An input of an import.
#[derive(Debug, Serialize)]
struct ImportedFile {
    name: String,
    /// Size in bytes, as stored; `None` if it is not a regular file.
    size: Option<u64>,
}

/// What an import was asked to do, as far as other rows would result from anything else.
#[derive(Debug)]
pub(crate) struct ImportRequest {
    table_name: String,
    table_oid: u32,
    options: Value,
    /// The inputs of the first run.
    files: Vec<ImportedFile>,
}

impl ImportRequest {
    /// What `settings` ask for, of `files` and the table that was prepared for them.
    pub(crate) fn new(settings: &LoadSettings, files: &Files, prepared: &PreparedTable) -> Self {
        let PreparedTable { table, mapping, .. } = prepared;
        let inputs = files.inputs();
        let groups = [format_options(files), value_options(settings), column_options(mapping, inputs)];
        let mut options: Map<String, Value> = groups.into_iter().flatten().collect();
        let session = &table.session;
        options.extend([
            ("DateStyle".to_owned(), json!(session.date_style)),
            ("IntervalStyle".to_owned(), json!(session.interval_style)),
            ("TimeZone".to_owned(), json!(session.time_zone)),
        ]);
        let file = |(input, size): (&Input, Option<u64>)| ImportedFile { name: input.name(), size };
        ImportRequest {
            table_name: table.name.to_string(),
            table_oid: table.oid,
            options: options.into(),
            files: inputs.iter().zip(inputs.sizes()).map(file).collect(),
        }
    }
}

/// The options that say which records there are, and what their fields are.
fn format_options(files: &Files) -> Map<String, Value> {
    let format = files.format();
    let dialect = &format.dialect;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let byte = |byte: u8| text(&[byte]);
    object(json!({
        "format": format.syntax,
        "header": files.header().map(|header| &header.names),
        "ignore-extra": format.ignore_other_keys,
        "delimiter": byte(dialect.delimiter),
        "quote": dialect.quote.map(byte),
        "escape": byte(dialect.escape),
        "stray-quotes": format!("{:?}", dialect.stray_quotes).to_lowercase(),
        "null": dialect.nulls.iter().map(|null| text(null)).collect::<Vec<_>>(),
        "trim": dialect.trim,
        "comment": dialect.comment.map(byte),
        "encoding": files.encoding().name(),
        "skip-lines": dialect.skip_lines,
        "blank-lines": dialect.blank_lines.map(|lines| format!("{lines:?}").to_lowercase()),
        "skip-rows": format.skip_rows,
        "limit": format.limit,
        "pad": format.pad,
        "union-by-name": format.union_by_name,
    }))
}

/// The options that say which values fields have, and what becomes of the rows.
fn value_options(settings: &LoadSettings) -> Map<String, Value> {
    let LoadSettings { input, create, on_conflict, truncate, .. } = settings;
    let spelling = &input.spelling;
    let mut options = object(json!({
        "decimal": spelling.decimal.map(char::from),
        "thousands": spelling.thousands,
        "true": spelling.true_words,
        "false": spelling.false_words,
        "on-conflict": on_conflict.as_ref().map(ToString::to_string),
        "truncate": truncate,
    }));
    if let Some(create) = create.as_ref().filter(|create| !create.types.is_empty()) {
        let types = create.types.iter().map(|(column, sql_type)| format!("{column} {sql_type}"));
        options.insert("type".to_owned(), types.collect());
    }
    options
}

/// Where the values of the columns come from.
fn column_options(mapping: &ColumnMapping, inputs: &Inputs) -> Map<String, Value> {
    let source = |mapped: &MappedColumn| {
        let from = match &mapped.source {
            ValueSource::Field(field) => (field + 1).to_string(),
            ValueSource::File => "@file".to_owned(),
            ValueSource::Line => "@line".to_owned(),
            ValueSource::Constant(text) => format!("'{}'", String::from_utf8_lossy(text)),
            ValueSource::Now(_) => "now()".to_owned(),
        };
        format!("{from} {}", mapped.column.name)
    };
    let names_files = mapping.columns.iter().any(|mapped| mapped.source == ValueSource::File);
    let named = |value: &dyn Fn(&MappedColumn) -> Option<String>| {
        let values =
            mapping.columns.iter().filter_map(|mapped| Some((mapped.column.name.clone(), value(mapped)?)));
        values.collect::<BTreeMap<_, _>>()
    };
    object(json!({
        "columns": mapping.columns.iter().map(source).collect::<Vec<_>>(),
        "@file": names_files.then(|| inputs.iter().map(Input::name).collect::<Vec<_>>()),
        NOW: named(&|mapped| match &mapped.source {
            ValueSource::Now(text) => Some(String::from_utf8_lossy(text).into_owned()),
            _ => None,
        }),
        DATES: named(&|mapped| match mapped.conversion.as_deref() {
            Some(Conversion::Date(order)) => Some(order.name().to_owned()),
            _ => None,
        }),
    }))
}

fn object(value: Value) -> Map<String, Value> {
    if let Value::Object(object) = value { object } else { Map::new() }
}

impl Import {
    /// Find the import `id` in the ledger; `None` if it is not there.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) async fn find(client: &Client, tables: &LedgerTables, id: &str) -> Result<Option<Import>> {
        let failed = |error| Error::database(&format!("look up import {id} in {}", tables.name), error);
        if !tables.exist(client).await.map_err(failed)? {
            return Ok(None);
        }
        let sql = format!(
            "SELECT import, chunk_rows, chunk_bytes, finished::text, table_oid, options::text,
                    -- A ledger of an earlier version has no such column.
                    pg_catalog.to_jsonb(i) ->> 'indexes'
             FROM {} AS i WHERE id = $1",
            tables.imports
        );
        let Some(row) = client.query_opt(&sql, &[&id]).await.map_err(failed)? else { return Ok(None) };
        let number = |column: usize| row.get::<_, i64>(column);
        Ok(Some(Import {
            number: number(0),
            // Somebody may have changed the ledger; a chunk without a row would never end the import.
            limit: SectionLimit { rows: number(1).max(1) as u64, bytes: number(2).max(1) as u64 },
            finished: row.get(3),
            indexes: parse_indexes(tables, row.get(6))?,
            table_oid: row.get(4),
            options: serde_json::from_str(row.get(5)).unwrap_or_default(),
        }))
    }

    /// Add an import for `request` that has dropped `indexes`, in the open transaction of `client`.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) async fn add(
        client: &Client,
        tables: &LedgerTables,
        options: &ImportOptions,
        request: ImportRequest,
        indexes: DeferredIndexes,
    ) -> Result<Import> {
        let bytes = if options.chunk_rows.is_some() { LARGEST_CHUNK_BYTES } else { CHUNK_BYTES };
        let limit = SectionLimit { rows: options.chunk_rows.unwrap_or(CHUNK_ROWS), bytes };
        let ImportRequest { table_name, table_oid, options: row_options, files } = request;
        let sql = format!(
            "INSERT INTO {} (id, table_name, table_oid, options, chunk_rows, chunk_bytes, files, program_version)
             VALUES ($1, $2, $3, $4::text::jsonb, $5, $6, $7::text::jsonb, $8) RETURNING import",
            tables.imports
        );
        let (rows, bytes) = (limit.rows as i64, limit.bytes as i64);
        let files_text = serde_json::to_string(&files).expect("it has only text and numbers");
        let version = env!("CARGO_PKG_VERSION");
        let failed = |error| Error::database(&format!("add import {} to {}", options.id, tables.name), error);
        let row = client
            .query_one(
                &sql,
                &[
                    &options.id,
                    &table_name,
                    &table_oid,
                    &row_options.to_string(),
                    &rows,
                    &bytes,
                    &files_text,
                    &version,
                ],
            )
            .await
            .map_err(failed)?;
        let import =
            Import { number: row.get(0), limit, finished: None, indexes, table_oid, options: row_options };
        if !import.indexes.is_empty() {
            tables.add_indexes_column(client).await?;
            let keep = format!("UPDATE {} SET indexes = $2::text::jsonb WHERE import = $1", tables.imports);
            let indexes = serde_json::to_string(&import.indexes).expect("it has only text");
            client.execute(&keep, &[&import.number, &indexes]).await.map_err(failed)?;
        }
        Ok(import)
    }

    /// Lock its row in the open transaction of `client`, and return the indexes that are still to be rebuilt: none if another
    /// session has rebuilt them. `None` if another session has locked it.
    ///
    /// # Errors
    /// When the server refuses, or the import was forgotten.
    pub(crate) async fn try_lock(
        &self,
        client: &Client,
        tables: &LedgerTables,
    ) -> Result<Option<DeferredIndexes>> {
        let failed = |error| Error::database(&format!("lock the import in {}", tables.imports), error);
        let row = |columns: &str| format!("SELECT {columns} FROM {} AS i WHERE import = $1", tables.imports);
        // A ledger of an earlier version has no such column.
        let lock = row("pg_catalog.to_jsonb(i) ->> 'indexes'") + " FOR NO KEY UPDATE SKIP LOCKED";
        if let Some(locked) = client.query_opt(&lock, &[&self.number]).await.map_err(failed)? {
            return parse_indexes(tables, locked.get(0)).map(Some);
        }
        if client.query_opt(&row(""), &[&self.number]).await.map_err(failed)?.is_some() {
            return Ok(None);
        }
        Err(Error::new(ErrorKind::Database, "the import was forgotten while it was loaded")
            .with_help("to load everything, run the same command again"))
    }

    /// Whether the table still exists whose indexes the import dropped.
    ///
    /// # Errors
    /// When it was renamed: the statements that rebuild them would fail, or change the table that has its name now.
    pub(crate) async fn has_indexed_table(&self, client: &Client) -> Result<bool> {
        let found = self.indexes.find_table(client, self.table_oid).await;
        match found.map_err(|error| Error::database("find the table of the import", error))? {
            IndexedTable::Unchanged => Ok(true),
            IndexedTable::Gone => Ok(false),
            IndexedTable::Renamed { from, to } => {
                let message = format!("the import dropped indexes of {from}, which is called {to} now");
                Err(Error::usage(message).with_help("rename it back, and try again"))
            }
        }
    }

    /// Record that no index is left to be rebuilt, in the transaction of `client` that has rebuilt them.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) async fn clear_indexes(&self, client: &Client, tables: &LedgerTables) -> Result<()> {
        let sql = format!("UPDATE {} SET indexes = NULL WHERE import = $1", tables.imports);
        let cleared = client.execute(&sql, &[&self.number]).await;
        cleared.map(drop).map_err(|error| Error::database(&format!("write {}", tables.imports), error))
    }

    /// Give the columns of `mapping` what only the first run could find out: the time of the load, and the order of dates.
    pub(crate) fn restore(&self, mapping: &mut ColumnMapping) {
        let kept = |key: &str, column: &str| self.options.get(key)?.get(column)?.as_str();
        for MappedColumn { source, column, conversion, .. } in &mut mapping.columns {
            if let (ValueSource::Now(now), Some(then)) = (&mut *source, kept(NOW, &column.name)) {
                *now = then.as_bytes().into();
            }
            if let Some(order) = kept(DATES, &column.name) {
                *conversion = Some(Conversion::Date(DateOrder::from_date_style(order)).into());
            }
        }
    }

    /// Check that `request` asks for the same rows in the same table as when the import `id` began.
    ///
    /// # Errors
    /// When it does not, with every difference.
    pub(crate) fn check(&self, id: &str, request: &ImportRequest) -> Result<()> {
        if self.table_oid != request.table_oid {
            return Err(Error::usage(format!(
                "import {id} began with another table than today's {}: it was dropped and created again, or --table names \
                 another one",
                request.table_name
            ))
            .with_help(start_over(id)));
        }
        let differing = differences(&self.options, &request.options);
        if !differing.is_empty() {
            return Err(Error::usage(format!(
                "import {id} began with other options: {}",
                differing.join("; ")
            ))
            .with_help(format!("run it with the options it began with; {}", start_over(id))));
        }
        Ok(())
    }

    /// Record that all chunks are committed, and all indexes rebuilt.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) async fn finish(&self, client: &Client, tables: &LedgerTables) -> Result<()> {
        let sql = format!(
            "UPDATE {} SET finished = pg_catalog.clock_timestamp() WHERE import = $1 AND finished IS NULL",
            tables.imports
        );
        let updated = client.execute(&sql, &[&self.number]).await;
        updated.map_err(|error| Error::database(&format!("finish the import in {}", tables.name), error))?;
        Ok(())
    }
}

/// The indexes that a ledger keeps as `text`; none without it.
fn parse_indexes(tables: &LedgerTables, text: Option<&str>) -> Result<DeferredIndexes> {
    let Some(text) = text else { return Ok(DeferredIndexes::default()) };
    serde_json::from_str(text).map_err(|error| {
        let message = format!("the column indexes of {} was changed: {error}", tables.imports);
        Error::new(ErrorKind::Database, message)
            .with_help("create the indexes that it describes by hand, and set it to NULL")
    })
}

/// What differs between the options `then` and `now`.
fn differences(then: &Value, now: &Value) -> Vec<String> {
    let (Some(then), Some(now)) = (then.as_object(), now.as_object()) else { return Vec::new() };
    let differs = |(key, value): (&String, &Value)| {
        let before = then.get(key).unwrap_or(&Value::Null);
        (before != value).then(|| format!("{key} was {before} and is {value} now"))
    };
    now.iter().filter_map(differs).collect()
}

/// The error that the input of the import `id` has changed: `change` says how.
pub(crate) fn changed_input(id: &str, change: &str) -> Error {
    Error::input(format!("the input of import {id} has changed since it began: {change}"))
        .with_help(format!("give the same input; {}", start_over(id)))
}

fn start_over(id: &str) -> String {
    format!(
        "to load anything else, use another --import-id; to load everything again, first run postgres-etl imports --forget \
         {} (the rows that it loaded stay)",
        crate::escape::escape(id)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_named() {
        let then = json!({"null": "", "comment": null, "truncate": true});
        assert!(differences(&then, &then.clone()).is_empty());
        let now = json!({"null": "-", "comment": "#", "truncate": true});
        assert_eq!(
            differences(&then, &now),
            ["comment was null and is \"#\" now", "null was \"\" and is \"-\" now"]
        );
    }
}
