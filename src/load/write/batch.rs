//! Mode batch: one `INSERT … SELECT FROM unnest(…)` per batch, with one array parameter per column.
//!
//! A batch of any size has as many parameters as columns, so it never reaches the protocol's limit of 65,535
//! parameters. [`ArrayFormat`] says how the array of a column is sent, so that the server reads every value as COPY does.

use std::num::NonZero;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error as PgError, Statement};
use tokio_postgres_sync_batching::{Lane, Row};

use crate::catalog::{Column, TableName};
use crate::load::chunk::stream::ChunkFeed;
use crate::load::mapping::{ColumnMapping, ValueFormat};
use crate::load::options::Mode;
use crate::load::write::array::{ArrayBuilder, TextArrayBuilder, array_type};
use crate::load::write::completed::CompletedInserts;
use crate::load::write::conflict::ConflictClause;
use crate::load::write::lane_inserts::{InsertLane, LaneInserts};
use crate::load::write::outcome::{RowCounts, WriteFailure};
use crate::load::write::params::EncodedParam;
use crate::postgres::pipeline::Pipeline;
use crate::{Error, Result};

/// Maximum number of batches in flight: enough that the server never waits for the next, few enough to bound memory.
const MAX_BATCHES: usize = 4;

/// A batch is sent early when the values of one column exceed this size, in bytes, to bound memory.
const MAX_COLUMN_BYTES: usize = 1024 * 1024;

/// How the values of a column are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ArrayFormat {
    /// An array of the column's type, in binary format: this program has parsed the values.
    Binary,
    /// An array of the column's type, in text format with this delimiter. The server calls the type's input function for
    /// each value, as COPY does. A cast from text would not: for a domain it ignores the modifier of the base type, and
    /// for `regclass` it takes digits for a name.
    Text(u8),
    /// A binary array of text, whose elements a function or a cast turns into the column's type: for a type whose
    /// modifier the input function has to know, and for one whose arrays `unnest()` would take apart.
    ConvertedText,
}

impl ArrayFormat {
    /// How to send values of `column` that are in `format`.
    fn new(column: &Column, format: ValueFormat) -> ArrayFormat {
        match (format, column.text_array_delimiter) {
            (ValueFormat::Binary, _) => ArrayFormat::Binary,
            (ValueFormat::Text, Some(delimiter)) if column.read_with_modifier("").is_none() => {
                ArrayFormat::Text(delimiter)
            }
            (ValueFormat::Text, _) => ArrayFormat::ConvertedText,
        }
    }
}

/// Inserts batches of rows over one connection.
#[derive(Debug)]
pub(crate) struct BatchWriter {
    table: TableName,
    mapping: Arc<ColumnMapping>,
    clause: Option<ConflictClause>,
    batch_size: usize,
    depth: usize,
    /// The statement, and the formats for which it was prepared.
    prepared: Option<(Arc<[ValueFormat]>, Statement)>,
    /// The lane of the connection; `None` if the batches go through the driver.
    lane: Option<InsertLane>,
}

impl BatchWriter {
    /// Insert batches of `batch_size` rows, with up to `depth` batches in flight, but no more than [`MAX_BATCHES`]; over
    /// `lane`, where the connection has one and allows it.
    pub(crate) fn new(
        table: TableName,
        mapping: Arc<ColumnMapping>,
        clause: Option<ConflictClause>,
        batch_size: usize,
        depth: usize,
        lane: Option<Lane>,
    ) -> BatchWriter {
        let depth = depth.min(MAX_BATCHES);
        let lane = lane.map(|lane| InsertLane::new(lane, NonZero::<usize>::MIN, counts_from_lane));
        BatchWriter { table, mapping, clause, batch_size, depth, prepared: None, lane }
    }

    /// Insert the rows of `feed`.
    ///
    /// # Errors
    /// At the first batch that the server refuses, with the range of its rows, and at an error of the feed.
    pub(crate) async fn insert(
        &mut self,
        client: &Client,
        feed: &mut ChunkFeed<'_>,
    ) -> Result<RowCounts, WriteFailure> {
        let formats = self.mapping.formats(Mode::Batch);
        let Some(lane) = self.begin_over_lane(client, &formats).await? else {
            return self.insert_through_driver(client, feed).await;
        };
        let (mut lane, mut completed) = (Some(lane), CompletedInserts::new(None));
        let ended = self.insert_over_lane(&mut lane, client, feed, &mut completed).await;
        if let Some(lane) = &mut lane {
            completed.drain_lane(lane).await;
        }
        // The refusal of an earlier batch takes precedence.
        completed.outcome?;
        ended?;
        Ok(completed.counts)
    }

    /// Close what is prepared on the lane; the driver closes its own statements.
    pub(super) async fn close(&mut self) {
        if let Some(lane) = &mut self.lane {
            lane.close().await;
        }
    }

    /// Take the lane for values in `formats`; `None` if the batches have to go through the driver.
    async fn begin_over_lane(
        &mut self,
        client: &Client,
        formats: &Arc<[ValueFormat]>,
    ) -> Result<Option<LaneInserts>> {
        if self.lane.is_none() {
            return Ok(None);
        }
        let statement = self.statement(client, formats).await?;
        let sql = self.sql(formats).0;
        let Some(lane) = &mut self.lane else { return Ok(None) };
        let begun = lane.begin(formats, || sql, &statement).await;
        begun
            .map_err(|error| Error::database(&format!("prepare the batch INSERT into {}", self.table), error))
    }

    /// As [`insert`](Self::insert), over the lane, up to the first batch that is known to be refused.
    ///
    /// # Errors
    /// An error of the feed, or of preparing the statement again.
    async fn insert_over_lane(
        &mut self,
        lane: &mut Option<LaneInserts>,
        client: &Client,
        feed: &mut ChunkFeed<'_>,
        completed: &mut CompletedInserts,
    ) -> Result<()> {
        let mut batch = Batch::default();
        let mut rows = 0;
        while let Some(chunk) = completed.next_chunk(lane, client, feed).await? {
            if let Some(lane) = lane {
                // The rest of a batch that the connection did not take at once.
                lane.send().await;
            }
            if batch.formats.as_ref() != Some(&chunk.formats) {
                self.send_over_lane(lane, client, &mut batch, completed).await?;
                batch = Batch::new(rows, Arc::clone(&chunk.formats), &self.mapping);
            }
            for row in 0..chunk.rows() {
                batch.push(chunk.fields(row));
                rows += 1;
                if batch.is_complete(self.batch_size) {
                    self.send_over_lane(lane, client, &mut batch, completed).await?;
                }
            }
        }
        self.send_over_lane(lane, client, &mut batch, completed).await
    }

    /// Send `batch` over the lane, unless it is empty or an earlier one is known to be refused.
    async fn send_over_lane(
        &mut self,
        lane: &mut Option<LaneInserts>,
        client: &Client,
        batch: &mut Batch,
        completed: &mut CompletedInserts,
    ) -> Result<()> {
        let Some(formats) = batch.formats.clone().filter(|_| batch.rows() > 0) else { return Ok(()) };
        let is_prepared = self.prepared.as_ref().is_some_and(|(prepared_for, _)| *prepared_for == formats);
        if let Some(mut other) = lane.take_if(|_| !is_prepared) {
            completed.drain_lane(&mut other).await;
        }
        while let Some(lane) = lane.as_mut().filter(|lane| !lane.have_room(self.depth))
            && completed.outcome.is_ok()
        {
            completed.record_arrived(lane).await;
        }
        if completed.outcome.is_err() {
            return Ok(());
        }
        let inserts = if let Some(lane) = lane {
            lane
        } else {
            let begun = self.begin_over_lane(client, &formats).await?;
            lane.insert(begun.ok_or_else(|| Error::closed("insert more rows"))?)
        };
        let EncodedBatch { arrays, rows: (first, last) } = batch.take(&self.mapping);
        inserts
            .insert(arrays, last + 1 - first)
            .map_err(|error| Error::database(&format!("insert into {}", self.table), error))?;
        inserts.send().await;
        Ok(())
    }

    /// As [`insert`](Self::insert), through the driver.
    async fn insert_through_driver(
        &mut self,
        client: &Client,
        feed: &mut ChunkFeed<'_>,
    ) -> Result<RowCounts, WriteFailure> {
        let mut pipeline = Pipeline::new(self.depth);
        let mut counts = RowCounts::default();
        let mut batch = Batch::default();
        let mut rows = 0;
        while let Some(chunk) = feed.next_for(client).await? {
            if batch.formats.as_ref() != Some(&chunk.formats) {
                // A statement is prepared for one set of formats.
                counts += self.send(client, &mut batch, &mut pipeline).await?;
                batch = Batch::new(rows, Arc::clone(&chunk.formats), &self.mapping);
            }
            for row in 0..chunk.rows() {
                batch.push(chunk.fields(row));
                rows += 1;
                if batch.is_complete(self.batch_size) {
                    counts += self.send(client, &mut batch, &mut pipeline).await?;
                }
            }
        }
        counts += self.send(client, &mut batch, &mut pipeline).await?;
        while let Some(result) = pipeline.pop().await {
            counts += count(result)?;
        }
        Ok(counts)
    }

    /// Send `batch`, unless it is empty; return the counts of the batches completed in the meantime.
    ///
    /// Batches in flight are awaited until the pipeline has room. If a statement has to be prepared, all of them are:
    /// otherwise an earlier refusal would be reported as a failure to prepare in an aborted transaction.
    async fn send<'c>(
        &mut self,
        client: &'c Client,
        batch: &mut Batch,
        pipeline: &mut Pipeline<BoxFuture<'c, BatchResult>>,
    ) -> Result<RowCounts, WriteFailure> {
        let mut counts = RowCounts::default();
        let Some(formats) = batch.formats.clone().filter(|_| batch.rows() > 0) else { return Ok(counts) };
        let is_prepared = self.prepared.as_ref().is_some_and(|(prepared_for, _)| *prepared_for == formats);
        while !is_prepared || pipeline.is_full() {
            let Some(result) = pipeline.pop().await else { break };
            counts += count(result)?;
        }
        let statement = self.statement(client, &formats).await?;
        pipeline.push(insert_one(client, statement, batch.take(&self.mapping)).boxed()).await;
        Ok(counts)
    }

    /// The statement for `formats`, prepared again when they change.
    async fn statement(&mut self, client: &Client, formats: &Arc<[ValueFormat]>) -> Result<Statement> {
        if let Some((prepared_for, statement)) = &self.prepared
            && prepared_for == formats
        {
            return Ok(statement.clone());
        }
        let (sql, types) = self.sql(formats);
        let statement = client.prepare_typed(&sql, &types).await.map_err(|error| {
            Error::database(&format!("prepare the batch INSERT into {}", self.table), error)
        })?;
        self.prepared = Some((Arc::clone(formats), statement.clone()));
        Ok(statement)
    }

    /// The statement for `formats`, and the types of its parameters.
    fn sql(&self, formats: &[ValueFormat]) -> (String, Vec<Type>) {
        let (mut types, mut parameters, mut names, mut values) = (vec![], vec![], vec![], vec![]);
        for (index, mapped) in self.mapping.columns.iter().enumerate() {
            let name = format!("c{index}");
            if ArrayFormat::new(&mapped.column, formats[index]) == ArrayFormat::ConvertedText {
                types.push(Type::TEXT_ARRAY);
                let value = mapped.column.read_with_modifier(&name);
                values.push(value.unwrap_or_else(|| format!("CAST({name} AS {})", mapped.column.base_name)));
            } else {
                types.push(array_type(mapped.column.array_oid, &mapped.column.type_name));
                values.push(name.clone());
            }
            parameters.push(format!("${}", index + 1));
            names.push(name);
        }
        let (insert, names) = (self.mapping.insert_into(&self.table), names.join(", "));
        // Nothing here has the name of a column, which may be any, `ord` included.
        let source = format!(
            "(SELECT {}, ord FROM unnest({}) WITH ORDINALITY u({names}, ord)) s({names}, ord)",
            values.join(", "),
            parameters.join(", "),
        );
        let sql = match &self.clause {
            Some(clause) => clause.insert_from(&insert, &names, &source, "ord"),
            None => format!("{insert} SELECT {names} FROM {source}"),
        };
        (sql, types)
    }
}

/// The counts of a batch, or the server's error with the first and the last of its rows.
type BatchResult = Result<RowCounts, (PgError, (u64, u64))>;

async fn insert_one(client: &Client, statement: Statement, batch: EncodedBatch) -> BatchResult {
    let EncodedBatch { arrays, rows } = batch;
    let parameters = arrays.into_iter();
    let refused = |error| (error, rows);
    if statement.columns().is_empty() {
        let inserted = client.execute_raw(&statement, parameters).await.map_err(refused)?;
        return Ok(RowCounts { inserted, updated: 0 });
    }
    let rows_returned = client.query_raw(&statement, parameters).await.map_err(refused)?;
    let mut rows_returned = std::pin::pin!(rows_returned);
    let mut counts = RowCounts::default();
    while let Some(row) = futures::TryStreamExt::try_next(&mut rows_returned).await.map_err(refused)? {
        counts += counts_from_row(&row);
    }
    Ok(counts)
}

/// The counts in the row that a statement of [`ConflictClause::insert_from`] returns.
pub(crate) fn counts_from_row(row: &tokio_postgres::Row) -> RowCounts {
    RowCounts { inserted: row.get::<_, i64>(0) as u64, updated: row.get::<_, i64>(1) as u64 }
}

/// As [`counts_from_row`], from a row in binary format.
fn counts_from_lane(row: Row<'_>) -> RowCounts {
    let count =
        |value: Option<&[u8]>| value.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes);
    let mut counts = row.values().map(count);
    RowCounts { inserted: counts.next().unwrap_or(0), updated: counts.next().unwrap_or(0) }
}

fn count(result: BatchResult) -> Result<RowCounts, WriteFailure> {
    result.map_err(|(error, rows)| WriteFailure::Server { error, rows: Some(rows) })
}

/// A batch under construction, column by column.
#[derive(Default)]
struct Batch {
    columns: Vec<ColumnBuilder>,
    formats: Option<Arc<[ValueFormat]>>,
    /// Its first row, counted from 0 over the whole feed.
    first: u64,
    /// The row after its last one.
    end: u64,
}

/// A batch ready to be sent.
struct EncodedBatch {
    /// An array for each column.
    arrays: Vec<EncodedParam>,
    /// The first and the last of its rows, counted from 0 over the whole feed.
    rows: (u64, u64),
}

impl Batch {
    fn new(first: u64, formats: Arc<[ValueFormat]>, mapping: &ColumnMapping) -> Self {
        let columns = mapping.columns.iter().zip(formats.iter());
        let columns = columns.map(|(mapped, &format)| ColumnBuilder::new(&mapped.column, format)).collect();
        Batch { columns, formats: Some(formats), first, end: first }
    }

    fn rows(&self) -> u64 {
        self.end - self.first
    }

    fn push<'v>(&mut self, fields: impl Iterator<Item = Option<&'v [u8]>>) {
        for (column, field) in self.columns.iter_mut().zip(fields) {
            column.push(field);
        }
        self.end += 1;
    }

    /// Whether it has `most` rows, or large values.
    fn is_complete(&self, most: usize) -> bool {
        self.rows() >= most as u64 || self.columns.iter().any(|column| column.len() > MAX_COLUMN_BYTES)
    }

    /// Take the rows out, leaving an empty batch that begins after them.
    fn take(&mut self, mapping: &ColumnMapping) -> EncodedBatch {
        let formats = self.formats.clone().expect("a batch with rows has formats");
        let empty = Batch::new(self.end, formats, mapping);
        let full = std::mem::replace(self, empty);
        let (rows, last) = (full.rows() as i32, full.end - 1);
        let arrays = full.columns.into_iter().map(|column| column.finish(rows));
        EncodedBatch { arrays: arrays.collect(), rows: (full.first, last) }
    }
}

/// The array of a column under construction.
enum ColumnBuilder {
    /// In binary format, with the OID of the elements' type.
    Binary(ArrayBuilder, u32),
    /// In text format.
    Text(TextArrayBuilder),
}

impl ColumnBuilder {
    fn new(column: &Column, format: ValueFormat) -> ColumnBuilder {
        match ArrayFormat::new(column, format) {
            ArrayFormat::Binary => ColumnBuilder::Binary(ArrayBuilder::new(), column.column_type.oid),
            ArrayFormat::Text(delimiter) => ColumnBuilder::Text(TextArrayBuilder::new(delimiter)),
            ArrayFormat::ConvertedText => ColumnBuilder::Binary(ArrayBuilder::new(), Type::TEXT.oid()),
        }
    }

    fn push(&mut self, value: Option<&[u8]>) {
        match self {
            ColumnBuilder::Binary(array, _) => array.push(value),
            ColumnBuilder::Text(array) => array.push(value),
        }
    }

    /// Length so far, in bytes.
    fn len(&self) -> usize {
        match self {
            ColumnBuilder::Binary(array, _) => array.bytes.len(),
            ColumnBuilder::Text(array) => array.bytes.len(),
        }
    }

    /// The array of `rows` values as a parameter.
    fn finish(self, rows: i32) -> EncodedParam {
        let (value, format) = match self {
            ColumnBuilder::Binary(array, oid) => (array.finish(oid, rows), ValueFormat::Binary),
            ColumnBuilder::Text(array) => (array.finish(), ValueFormat::Text),
        };
        EncodedParam { value: Some(value), format }
    }
}
