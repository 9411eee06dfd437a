//! The row of an import: what it loads, and how.

use serde::Serialize;
use serde_json::Value;
use tokio_postgres::Client;

use crate::csv::{Files, Input};
use crate::load::chunk::section::SectionLimit;
use crate::load::ledger::tables::LedgerTables;
use crate::load::options::ImportOptions;
use crate::load::settings::LoadSettings;
use crate::load::table::prepare::PreparedTable;
use crate::{Error, Result};

/// Rows in a chunk, unless the user says otherwise: as many as its size allows.
const CHUNK_ROWS: u64 = 10_000_000;

/// Size of a chunk, in bytes of the decompressed file: large enough that its commit costs little beside it, and small
/// enough that two fit into any memory.
const CHUNK_BYTES: u64 = 32 * 1024 * 1024;

/// As [`CHUNK_BYTES`], where the user has said how many rows are to be in a chunk.
const LARGEST_CHUNK_BYTES: u64 = 256 * 1024 * 1024;

/// An import, as its row in the ledger describes it.
#[derive(Debug, Clone)]
pub(crate) struct Import {
    /// What the other tables call it.
    pub number: i64,
    /// Where its chunks end.
    pub limit: SectionLimit,
    /// When it was finished, by the server's clock; `None` if it was not.
    pub finished: Option<String>,
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
        let format = files.format();
        let dialect = &format.dialect;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let byte = |byte: u8| text(&[byte]);
        let columns =
            mapping.columns.iter().map(|mapped| format!("{} {}", mapped.field + 1, mapped.column.name));
        let session = &table.session;
        let options = serde_json::json!({
            "header": files.header().map(|header| &header.names),
            "columns": columns.collect::<Vec<_>>(),
            "delimiter": byte(dialect.delimiter),
            "quote": dialect.quote.map(byte),
            "escape": byte(dialect.escape),
            "null": text(&dialect.null),
            "comment": dialect.comment.map(byte),
            "encoding": files.encoding().name(),
            "skip-lines": dialect.skip_lines,
            "blank-lines": format!("{:?}", dialect.blank_lines),
            "stray-quotes": format!("{:?}", dialect.stray_quotes),
            "pad": format.pad,
            "union-by-name": format.union_by_name,
            "on-conflict": settings.on_conflict.as_ref().map(ToString::to_string),
            "truncate": settings.truncate,
            "DateStyle": session.date_style,
            "IntervalStyle": session.interval_style,
            "TimeZone": session.time_zone,
        });
        let inputs = files.inputs();
        let file = |(input, size): (&Input, Option<u64>)| ImportedFile { name: input.name(), size };
        ImportRequest {
            table_name: table.name.to_string(),
            table_oid: table.oid,
            options,
            files: inputs.iter().zip(inputs.sizes()).map(file).collect(),
        }
    }
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
            "SELECT import, chunk_rows, chunk_bytes, finished::text, table_oid, options::text
             FROM {} WHERE id = $1",
            tables.imports
        );
        let Some(row) = client.query_opt(&sql, &[&id]).await.map_err(failed)? else { return Ok(None) };
        let number = |column: usize| row.get::<_, i64>(column);
        Ok(Some(Import {
            number: number(0),
            limit: SectionLimit { rows: number(1) as u64, bytes: number(2) as u64 },
            finished: row.get(3),
            table_oid: row.get(4),
            options: serde_json::from_str(row.get(5)).unwrap_or_default(),
        }))
    }

    /// Add an import for `request`, in the open transaction of `client`.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) async fn add(
        client: &Client,
        tables: &LedgerTables,
        options: &ImportOptions,
        request: ImportRequest,
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
            .map_err(|error| {
                Error::database(&format!("add import {} to {}", options.id, tables.name), error)
            })?;
        Ok(Import { number: row.get(0), limit, finished: None, table_oid, options: row_options })
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

    /// Record that all chunks are committed.
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
    use serde_json::json;

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
