//! Mode copy: one `COPY FROM STDIN` in binary, or in text where the server has to parse a column.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use futures::SinkExt;
use tokio_postgres::{Client, CopyInSink};

use crate::catalog::TableName;
use crate::load::chunk::Chunk;
use crate::load::chunk::stream::ChunkFeed;
use crate::load::mapping::{ColumnMapping, ValueFormat};
use crate::load::write::batch::counts_from_row;
use crate::load::write::conflict::ConflictClause;
use crate::load::write::outcome::{RowCounts, WriteFailure};
use crate::sql::quote_list;
use crate::{Error, Result};

/// The header of binary COPY: signature, flags, and length of the header extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// The trailer of binary COPY: a field count of −1.
const TRAILER: &[u8] = b"\xff\xff";

/// The temporary table from which rows are inserted with an ON CONFLICT clause, which COPY does not have.
const STAGING: &str = "pg_temp.postgres_etl_staging";

/// Copies rows over one connection.
#[derive(Debug)]
pub(crate) struct CopyWriter {
    table: TableName,
    /// The columns, quoted and separated by commas.
    columns: String,
    /// The beginning of an INSERT into the table.
    insert: String,
    clause: Option<ConflictClause>,
    freeze: bool,
}

impl CopyWriter {
    /// Prepare to copy into `table`, by way of a temporary table if there is a `clause`.
    ///
    /// `freeze` writes the rows frozen, which saves a later VACUUM the work. PostgreSQL allows it only for a table that
    /// was created or truncated in the current subtransaction.
    ///
    /// # Errors
    /// When the temporary table cannot be created.
    pub(crate) async fn prepare(
        client: &Client,
        table: &TableName,
        mapping: &Arc<ColumnMapping>,
        clause: Option<ConflictClause>,
        freeze: bool,
    ) -> Result<CopyWriter> {
        let columns = quote_list(mapping.names());
        if clause.is_some() {
            let sql = format!(
                "CREATE TEMPORARY TABLE postgres_etl_staging ON COMMIT DROP AS
                 SELECT {columns} FROM {} WITH NO DATA",
                table.sql()
            );
            let created = client.batch_execute(&sql).await;
            created
                .map_err(|error| Error::database("create the temporary table for --on-conflict", error))?;
        }
        Ok(CopyWriter { table: table.clone(), columns, insert: mapping.insert_into(table), clause, freeze })
    }

    /// Copy the rows of `feed`.
    ///
    /// # Errors
    /// At a row that the server refuses, which it may report only at the end, and at an error of the feed.
    pub(crate) async fn insert(
        &self,
        client: &Client,
        feed: &mut ChunkFeed<'_>,
    ) -> Result<RowCounts, WriteFailure> {
        let mut counts = RowCounts::default();
        let mut next = feed.next_for(client).await?;
        while let Some(chunk) = next {
            let first_row = feed.rows() - chunk.rows() as u64;
            let refused = |error: tokio_postgres::Error| {
                let copied_into =
                    if self.clause.is_some() { "postgres_etl_staging" } else { &self.table.table };
                let row = error.as_db_error().and_then(|db| row_from_context(db.where_()?, copied_into));
                let rows =
                    row.and_then(|row| first_row.checked_add(row)?.checked_sub(1)).map(|row| (row, row));
                WriteFailure::Server { error, rows }
            };
            let format = chunk.formats[0];
            let sql = self.sql(format);
            let mut sink = Box::pin(client.copy_in::<_, Bytes>(&sql).await.map_err(refused)?);
            let (sent, rest) = send_all(client, &mut sink, chunk, feed).await?;
            // Only `finish` returns the server's reason for a failed send.
            let copied = sink.as_mut().finish().await.map_err(refused)?;
            sent.map_err(refused)?;
            next = rest;
            counts += match &self.clause {
                None => RowCounts { inserted: copied, updated: 0 },
                Some(clause) => self.merge(client, clause).await?,
            };
        }
        Ok(counts)
    }

    fn sql(&self, format: ValueFormat) -> String {
        let table = if self.clause.is_some() { STAGING.to_owned() } else { self.table.sql() };
        let options = match format {
            ValueFormat::Binary => "FORMAT binary",
            ValueFormat::Text => "FORMAT text",
        };
        let freeze = if self.freeze { ", FREEZE" } else { "" };
        format!("COPY {table} ({}) FROM STDIN ({options}{freeze})", self.columns)
    }

    /// Move the rows of the temporary table into the table.
    async fn merge(&self, client: &Client, clause: &ConflictClause) -> Result<RowCounts, WriteFailure> {
        let failed = |error| WriteFailure::Server { error, rows: None };
        // In a table that is only appended to, ctid is the order of insertion.
        let sql = clause.insert_from(&self.insert, &self.columns, STAGING, "ctid");
        let row = client.query_one(&sql, &[]).await.map_err(failed)?;
        client.batch_execute(&format!("TRUNCATE {STAGING}")).await.map_err(failed)?;
        Ok(counts_from_row(&row))
    }
}

/// Whether all data was sent; the server's reason is in the result of the COPY.
type Sent = Result<(), tokio_postgres::Error>;

/// Send `chunk` and all following chunks of the same format; return the first chunk of another format.
///
/// An error of the feed makes the caller drop `sink`, which aborts the COPY with a `CopyFail` message.
async fn send_all(
    client: &Client,
    sink: &mut std::pin::Pin<Box<CopyInSink<Bytes>>>,
    chunk: Chunk,
    feed: &mut ChunkFeed<'_>,
) -> Result<(Sent, Option<Chunk>), WriteFailure> {
    let format = chunk.formats[0];
    if format == ValueFormat::Binary
        && let Err(error) = sink.send(Bytes::from_static(HEADER)).await
    {
        return Ok((Err(error), None));
    }
    let mut next = Some(chunk);
    while let Some(chunk) = next.take_if(|chunk| chunk.formats[0] == format) {
        let bytes = match format {
            ValueFormat::Binary => chunk.tuples,
            ValueFormat::Text => text_rows(&chunk),
        };
        if let Err(error) = sink.send(bytes).await {
            return Ok((Err(error), None));
        }
        next = match feed.next_for(client).await {
            // To learn the reason from `finish`.
            Err(_) if client.is_closed() => return Ok((Ok(()), None)),
            next => next?,
        };
    }
    let sent = match format {
        ValueFormat::Binary => sink.send(Bytes::from_static(TRAILER)).await,
        ValueFormat::Text => Ok(()),
    };
    Ok((sent, next))
}

/// The tuples in COPY's text format, with exactly one line per row, so that the server's line numbers count rows.
fn text_rows(chunk: &Chunk) -> Bytes {
    let mut out = BytesMut::with_capacity(chunk.tuples.len());
    for row in 0..chunk.rows() {
        for (index, value) in chunk.fields(row).enumerate() {
            if index > 0 {
                out.put_u8(b'\t');
            }
            let Some(value) = value else {
                out.put_slice(b"\\N");
                continue;
            };
            for &byte in value {
                match byte {
                    b'\\' => out.put_slice(b"\\\\"),
                    b'\n' => out.put_slice(b"\\n"),
                    b'\r' => out.put_slice(b"\\r"),
                    b'\t' => out.put_slice(b"\\t"),
                    byte => out.put_u8(byte),
                }
            }
        }
        out.put_u8(b'\n');
    }
    out.freeze()
}

/// The row, from 1, in an error context such as "COPY persons, line 42, column age", in any language.
fn row_from_context(context: &str, table: &str) -> Option<u64> {
    let rest = &context[context.find(&format!("COPY {table},"))? + "COPY ".len() + table.len()..];
    let digits = rest.trim_start_matches(|c: char| !c.is_ascii_digit() && c != '\n');
    let row = digits[..digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len())].parse().ok();
    row.filter(|&row| row > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_row_is_found_in_the_context() {
        assert_eq!(row_from_context("COPY persons, line 42", "persons"), Some(42));
        assert_eq!(row_from_context("COPY persons, Zeile 7, Spalte age", "persons"), Some(7));
        assert_eq!(row_from_context("COPY t2, line 7", "t2"), Some(7));
        assert_eq!(row_from_context("SQL statement \"x\"\nCOPY t, line 9", "t"), Some(9));
        assert_eq!(row_from_context("PL/pgSQL function f() line 3", "t"), None);
    }
}
