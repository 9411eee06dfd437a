//! Mode copy: the whole file as one binary `COPY FROM STDIN`.

use bytes::Bytes;
use futures::SinkExt;
use tokio_postgres::Client;

use super::Feed;
use super::tuples::Target;
use crate::table::{self, TableName};
use crate::{Error, Result};

/// Signature, flags and the length of the header's extension, as in the documentation of COPY.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// A field count of −1.
const TRAILER: &[u8] = b"\xff\xff";

/// Why a COPY ended early.
#[derive(Debug)]
pub enum Failed {
    /// The input is wrong; the COPY was broken off.
    Input(Error),
    /// The server refused something; with the number of the row in it, from 1, if it said so.
    Server(tokio_postgres::Error, Option<u64>),
}

/// Copy what `feed` gives into `table`; returns how many rows the server counted.
///
/// # Errors
/// When the server refuses a row, which it says when it has them all.
pub async fn insert(
    client: &Client,
    table: &TableName,
    targets: &[Target],
    feed: &Feed,
) -> Result<u64, Failed> {
    let refused = |error: tokio_postgres::Error| {
        let row = error.as_db_error().and_then(|db| row_of(db.where_()?, &table.table));
        Failed::Server(error, row)
    };
    let columns = table::quote_list(targets.iter().map(|target| target.column.name.as_str()));
    let sql = format!("COPY {} ({columns}) FROM STDIN (FORMAT binary)", table.sql());
    let mut sink = Box::pin(client.copy_in::<_, Bytes>(&sql).await.map_err(refused)?);
    let mut sent = sink.send(Bytes::from_static(HEADER)).await;
    while sent.is_ok() {
        // Returning drops the sink, which tells the server that the data end in an error.
        let Some(chunk) = feed.next().await.map_err(Failed::Input)? else {
            sent = sink.send(Bytes::from_static(TRAILER)).await;
            break;
        };
        sent = sink.send(chunk.tuples).await;
    }
    // Why a send failed is only said by `finish`.
    let finished = sink.as_mut().finish().await.map_err(refused)?;
    sent.map_err(refused)?;
    Ok(finished)
}

/// The row in "COPY persons, line 42" or "COPY persons, line 42, column age", in any language.
fn row_of(context: &str, table: &str) -> Option<u64> {
    let rest = &context[context.find(&format!("COPY {table},"))? + "COPY ".len() + table.len()..];
    let digits = rest.trim_start_matches(|c: char| !c.is_ascii_digit() && c != '\n');
    digits[..digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len())].parse().ok()
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
