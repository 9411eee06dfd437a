//! Mode copy: one binary `COPY FROM STDIN`, or one in text where the server has to read a column.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use futures::SinkExt;
use tokio_postgres::{Client, CopyInSink};

use crate::catalog::TableName;
use crate::load::chunk::Chunk;
use crate::load::chunk::stream::ChunkFeed;
use crate::load::mapping::{ColumnMapping, ValueFormat};
use crate::load::write::batch::counts_of;
use crate::load::write::conflict::ConflictClause;
use crate::load::write::outcome::{Counts, Failed};
use crate::sql::quote_list;
use crate::{Error, Result};

/// Signature, flags and the length of the header's extension, as in the documentation of COPY.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// A field count of −1.
const TRAILER: &[u8] = b"\xff\xff";

/// Where rows wait for an INSERT with an ON CONFLICT clause, which COPY does not have.
const STAGING: &str = "pg_temp.postgres_etl_staging";

/// Prepared to copy over one connection.
#[derive(Debug)]
pub(crate) struct Copy {
    table: TableName,
    columns: String,
    insert: String,
    clause: Option<ConflictClause>,
    freeze: bool,
}

impl Copy {
    /// Copy into `table`, or by way of a temporary table where a `clause` is to be obeyed.
    ///
    /// `freeze` the rows if the table was created or emptied in this very (sub)transaction, so that no VACUUM
    /// has to: nobody whom they might be hidden from can have seen the table.
    ///
    /// # Errors
    /// When the temporary table cannot be created.
    pub(crate) async fn prepare(
        client: &Client,
        table: &TableName,
        targets: &Arc<ColumnMapping>,
        clause: Option<ConflictClause>,
        freeze: bool,
    ) -> Result<Copy> {
        let columns = quote_list(targets.names());
        if clause.is_some() {
            let sql = format!(
                "CREATE TEMPORARY TABLE postgres_etl_staging ON COMMIT DROP AS
                 SELECT {columns} FROM {} WITH NO DATA",
                table.sql()
            );
            let created = client.batch_execute(&sql).await;
            created
                .map_err(|error| Error::database("create the temporary table for --on-conflict", &error))?;
        }
        let freeze = freeze && clause.is_none();
        Ok(Copy { table: table.clone(), columns, insert: targets.insert_into(table), clause, freeze })
    }

    /// Copy what `feed` gives.
    ///
    /// # Errors
    /// When the server refuses a row, which it says when it has them all.
    pub(crate) async fn insert(&self, client: &Client, feed: &mut ChunkFeed<'_>) -> Result<Counts, Failed> {
        let mut counts = Counts::default();
        let mut next = feed.next().await?;
        while let Some(chunk) = next {
            let first_row = feed.rows() - chunk.rows() as u64;
            let refused = |error: tokio_postgres::Error| {
                let target = if self.clause.is_some() { "postgres_etl_staging" } else { &self.table.table };
                let row = error.as_db_error().and_then(|db| row_of(db.where_()?, target));
                let rows = row.map(|row| first_row + row - 1).map(|row| (row, row));
                Failed::Server { error, rows }
            };
            let format = chunk.formats[0];
            let sql = self.sql(format);
            let mut sink = Box::pin(client.copy_in::<_, Bytes>(&sql).await.map_err(refused)?);
            let (sent, rest) = send_all(&mut sink, chunk, feed).await?;
            // Why a send failed is only said by `finish`.
            let copied = sink.as_mut().finish().await.map_err(refused)?;
            sent.map_err(refused)?;
            next = rest;
            counts += match &self.clause {
                None => Counts { inserted: copied, updated: 0 },
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

    /// Move what is staged into the table.
    async fn merge(&self, client: &Client, clause: &ConflictClause) -> Result<Counts, Failed> {
        let failed = |error| Failed::Server { error, rows: None };
        // Rows of a new table lie in the order they came in.
        let sql = clause.insert_from(&self.insert, &self.columns, STAGING, "ctid");
        let row = client.query_one(&sql, &[]).await.map_err(failed)?;
        client.batch_execute(&format!("TRUNCATE {STAGING}")).await.map_err(failed)?;
        Ok(counts_of(&row))
    }
}

type Sent = Result<(), tokio_postgres::Error>;

/// Send `chunk` and all behind it that have its format; returns the first that has another.
///
/// An error of the feed returns, which drops the COPY's sink, which tells the server that the data end badly.
async fn send_all(
    sink: &mut std::pin::Pin<Box<CopyInSink<Bytes>>>,
    chunk: Chunk,
    feed: &mut ChunkFeed<'_>,
) -> Result<(Sent, Option<Chunk>), Failed> {
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
            ValueFormat::Text => text(&chunk),
        };
        if let Err(error) = sink.send(bytes).await {
            return Ok((Err(error), None));
        }
        next = feed.next().await?;
    }
    let sent = match format {
        ValueFormat::Binary => sink.send(Bytes::from_static(TRAILER)).await,
        ValueFormat::Text => Ok(()),
    };
    Ok((sent, next))
}

/// The tuples in COPY's text format, which has one line a row, so that the server's line numbers count rows.
fn text(chunk: &Chunk) -> Bytes {
    let mut out = BytesMut::with_capacity(chunk.tuples.len());
    for tuple in chunk.iter() {
        for (index, value) in tuple.enumerate() {
            if index > 0 {
                out.put_u8(b'\t');
            }
            let Some(value) = value else {
                out.put_slice(b"\\N");
                continue;
            };
            for &byte in &value[..] {
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

/// The row in "COPY persons, line 42" or "COPY persons, line 42, column age", in any language.
fn row_of(context: &str, table: &str) -> Option<u64> {
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
        assert_eq!(row_of("COPY persons, line 42", "persons"), Some(42));
        assert_eq!(row_of("COPY persons, Zeile 7, Spalte age", "persons"), Some(7));
        assert_eq!(row_of("COPY t2, line 7", "t2"), Some(7));
        assert_eq!(row_of("SQL statement \"x\"\nCOPY t, line 9", "t"), Some(9));
        assert_eq!(row_of("PL/pgSQL function f() line 3", "t"), None);
    }
}
