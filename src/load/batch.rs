//! Mode batch: one `INSERT … SELECT FROM unnest(…)` a batch, with one array parameter a column.
//!
//! However many rows a batch has, it has no more parameters than the table has columns, so it never meets
//! the protocol's limit of 65,535.

use bytes::{BufMut, Bytes, BytesMut};
use tokio_postgres::{Client, Error as PgError, Statement};

use super::raw::Raw;
use super::tuples::{Target, Tuple};
use super::{Feed, place_of, refused};
use crate::postgres::window::Window;
use crate::table::{self, TableName};
use crate::{Error, Result};

/// Batches on the way at once: enough that the server never waits for us, few enough to stay small.
const MOST_BATCHES: usize = 4;

async fn prepare(client: &Client, table: &TableName, targets: &[Target]) -> Result<Statement> {
    let failed = |error| Error::database(&format!("prepare the batch INSERT into {table}"), &error);
    let oids: Vec<u32> = targets.iter().map(|target| target.column.array_oid).collect();
    // Names the array types, wherever they live.
    let types: Vec<String> = client
        .query("SELECT pg_catalog.format_type(oid, NULL) FROM unnest($1::oid[]) WITH ORDINALITY u(oid, n) ORDER BY n", &[&oids])
        .await
        .map_err(failed)?
        .iter()
        .map(|row| row.get(0))
        .collect();
    let columns = table::quote_list(targets.iter().map(|target| target.column.name.as_str()));
    let arrays: Vec<String> =
        types.iter().enumerate().map(|(index, name)| format!("${}::{name}", index + 1)).collect();
    let sql = format!("INSERT INTO {} ({columns}) SELECT * FROM unnest({})", table.sql(), arrays.join(", "));
    client.prepare(&sql).await.map_err(failed)
}

/// Insert what `feed` gives in batches of `batch_size` rows; returns how many the server counted.
///
/// # Errors
/// The first batch that the server refuses, with its lines.
pub async fn insert(
    client: &Client,
    table: &TableName,
    targets: &[Target],
    feed: &Feed,
    batch_size: usize,
    depth: usize,
) -> Result<u64> {
    let statement = prepare(client, table, targets).await?;
    let mut window = Window::new(depth.min(MOST_BATCHES));
    let mut inserted = 0;
    let mut batch = Batch::new(targets);
    while let Some(chunk) = feed.next().await? {
        for (tuple, &line) in chunk.iter().zip(&chunk.lines) {
            batch.push(tuple, line);
            if batch.rows < batch_size && !batch.is_large() {
                continue;
            }
            if window.is_full() {
                inserted += counted(window.pop().await, feed, table)?;
            }
            window.push(insert_one(client, &statement, batch.take(targets))).await;
        }
    }
    if batch.rows > 0 {
        window.push(insert_one(client, &statement, batch.take(targets))).await;
    }
    while let Some(answer) = window.pop().await {
        inserted += counted(Some(answer), feed, table)?;
    }
    Ok(inserted)
}

type Refused = (std::ops::RangeInclusive<u64>, PgError);

async fn insert_one(client: &Client, statement: &Statement, batch: Full) -> Result<u64, Refused> {
    let Full { arrays, lines } = batch;
    client
        .execute_raw(statement, arrays.into_iter().map(|array| Raw(Some(array))))
        .await
        .map_err(|error| (lines, error))
}

fn counted(answer: Option<Result<u64, Refused>>, feed: &Feed, table: &TableName) -> Result<u64> {
    match answer {
        Some(Ok(rows)) => Ok(rows),
        Some(Err((lines, error))) => {
            let place = place_of(feed.name(), *lines.start());
            Err(refused(
                &format!("insert the batch from {place} to line {} into {table}", lines.end()),
                &error,
            ))
        }
        None => Ok(0),
    }
}

/// Rows being gathered, column by column.
struct Batch {
    columns: Vec<Elements>,
    rows: usize,
    lines: (u64, u64),
}

/// A batch on its way: one binary array a column.
struct Full {
    arrays: Vec<Bytes>,
    lines: std::ops::RangeInclusive<u64>,
}

/// One column's elements, behind room for the array's header.
struct Elements {
    bytes: BytesMut,
    any_null: bool,
}

/// A one-dimensional array's header: dimensions, whether it has NULLs, element type, length, lower bound.
const HEADER: usize = 20;

/// A column whose values are long is sent before the batch is full, to keep memory bounded. In bytes.
const LARGE: usize = 1024 * 1024;

impl Batch {
    fn new(targets: &[Target]) -> Self {
        Batch { columns: targets.iter().map(|_| Elements::new()).collect(), rows: 0, lines: (0, 0) }
    }

    fn push(&mut self, tuple: Tuple, line: u64) {
        for (column, field) in self.columns.iter_mut().zip(tuple) {
            if let Some(value) = field {
                column.bytes.put_i32(value.len() as i32);
                column.bytes.put_slice(&value);
            } else {
                column.bytes.put_i32(-1);
                column.any_null = true;
            }
        }
        self.lines = (if self.rows == 0 { line } else { self.lines.0 }, line);
        self.rows += 1;
    }

    fn is_large(&self) -> bool {
        self.columns.iter().any(|column| column.bytes.len() > LARGE)
    }

    /// The arrays of what was gathered; an empty batch stays.
    fn take(&mut self, targets: &[Target]) -> Full {
        let full = std::mem::replace(self, Batch::new(targets));
        let arrays = full.columns.into_iter().zip(targets).map(|(column, target)| {
            let mut bytes = column.bytes;
            let mut header = &mut bytes[..HEADER];
            header.put_i32(1);
            header.put_i32(column.any_null.into());
            header.put_u32(target.column.column_type.oid);
            header.put_i32(full.rows as i32);
            header.put_i32(1);
            bytes.freeze()
        });
        Full { arrays: arrays.collect(), lines: full.lines.0..=full.lines.1 }
    }
}

impl Elements {
    fn new() -> Self {
        Elements { bytes: BytesMut::zeroed(HEADER), any_null: false }
    }
}
