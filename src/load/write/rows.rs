//! Mode rows: one prepared INSERT per row, pipelined.

use std::num::NonZero;
use std::ops::Range;
use std::sync::Arc;

use futures::future::join3;
use tokio_postgres::{Client, Error as PgError, Statement};
use tokio_postgres_sync_batching::{Lane, Row};

use crate::catalog::{Column, TableName};
use crate::load::chunk::stream::ChunkFeed;
use crate::load::chunk::{Chunk, Tuple};
use crate::load::mapping::{ColumnMapping, ValueFormat};
use crate::load::options::Mode;
use crate::load::write::completed::CompletedInserts;
use crate::load::write::conflict::ConflictClause;
use crate::load::write::lane_inserts::{InsertLane, LaneInserts};
use crate::load::write::outcome::{RowCounts, WriteFailure};
use crate::load::write::params::{self, EncodedParam};
use crate::postgres::pipeline::Pipeline;
use crate::progress::Progress;
use crate::{Error, Result};

/// Inserts rows one by one over one connection.
#[derive(Debug)]
pub(crate) struct RowWriter {
    table: TableName,
    mapping: Arc<ColumnMapping>,
    /// The SQL after the values: ON CONFLICT and RETURNING, or nothing.
    suffix: String,
    /// The statement, and the formats for which it was prepared.
    prepared: (Arc<[ValueFormat]>, Statement),
    /// Maximum number of INSERTs in flight.
    depth: usize,
    /// Where to count rows as committed, if each INSERT is a transaction of its own.
    commits: Option<Arc<Progress>>,
    /// The lane of the connection; `None` if the INSERTs go through the driver.
    lane: Option<InsertLane>,
}

impl RowWriter {
    /// Prepare the INSERT, with parameters of the columns' types.
    ///
    /// # Errors
    /// When the server refuses it.
    pub(crate) async fn prepare(
        client: &Client,
        table: &TableName,
        mapping: &Arc<ColumnMapping>,
        clause: Option<&ConflictClause>,
        depth: usize,
    ) -> Result<RowWriter> {
        let suffix = clause.map(ConflictClause::suffix).unwrap_or_default();
        let formats = mapping.formats(Mode::Rows);
        let statement = prepare(client, table, mapping, &formats, &suffix).await?;
        let prepared = (formats, statement);
        Ok(RowWriter {
            table: table.clone(),
            mapping: Arc::clone(mapping),
            suffix,
            prepared,
            depth,
            commits: None,
            lane: None,
        })
    }

    /// The same writer, whose [`insert`](Self::insert) goes over `lane`, where the connection has one and allows it; up to
    /// `sync_every` INSERTs share a Sync there.
    pub(crate) fn over_lane(self, lane: Option<Lane>, sync_every: NonZero<usize>) -> RowWriter {
        RowWriter { lane: lane.map(|lane| InsertLane::new(lane, sync_every, count_row)), ..self }
    }

    /// The same writer, outside a transaction: `progress` counts the rows that are committed.
    pub(crate) fn committing(self, progress: &Arc<Progress>) -> RowWriter {
        RowWriter { commits: Some(Arc::clone(progress)), ..self }
    }

    /// The statement for `formats`, prepared again when they change.
    async fn statement(&mut self, client: &Client, formats: &Arc<[ValueFormat]>) -> Result<Statement> {
        if self.prepared.0 != *formats {
            let statement = prepare(client, &self.table, &self.mapping, formats, &self.suffix).await?;
            self.prepared = (Arc::clone(formats), statement);
        }
        Ok(self.prepared.1.clone())
    }

    /// Insert the rows of `feed` up to the first one that the server refuses; return the counts even then.
    ///
    /// Rows after a refused one may be in flight. In a transaction they fail too; with autocommit they are committed.
    /// Hence all of them are awaited and counted.
    pub(crate) async fn insert(
        &mut self,
        client: &Client,
        feed: &mut ChunkFeed<'_>,
    ) -> (RowCounts, Result<(), WriteFailure>) {
        let mut completed = CompletedInserts::new(self.commits.clone());
        match self.begin_over_lane().await {
            Ok(Some(lane)) => {
                let ended = self.insert_over_lane(lane, client, feed, &mut completed).await;
                // The refusal of an earlier row takes precedence.
                return (completed.counts, completed.outcome.and(ended.map_err(Into::into)));
            }
            Ok(None) => {}
            Err(error) => return (completed.counts, Err(error.into())),
        }
        self.insert_through_driver(client, feed, completed).await
    }

    /// Close what is prepared on the lane; the driver closes its own statements.
    pub(super) async fn close(&mut self) {
        if let Some(lane) = &mut self.lane {
            lane.close().await;
        }
    }

    /// Take the lane; `None` if the rows have to go through the driver.
    async fn begin_over_lane(&mut self) -> Result<Option<LaneInserts>> {
        let RowWriter { table, mapping, suffix, prepared: (formats, statement), lane, .. } = self;
        let Some(lane) = lane else { return Ok(None) };
        let begun = lane.begin(formats, || insert_sql(table, mapping, formats, suffix), statement).await;
        begun.map_err(|error| Error::database(&format!("prepare the INSERT into {table}"), error))
    }

    /// Take the lane again, for values in `formats`.
    async fn begin_again(&mut self, client: &Client, formats: &Arc<[ValueFormat]>) -> Result<LaneInserts> {
        self.statement(client, formats).await?;
        self.begin_over_lane().await?.ok_or_else(|| Error::closed("insert more rows"))
    }

    /// As [`insert`](Self::insert), over the lane.
    ///
    /// # Errors
    /// An error of the feed, or of preparing the statement again.
    async fn insert_over_lane(
        &mut self,
        lane: LaneInserts,
        client: &Client,
        feed: &mut ChunkFeed<'_>,
        completed: &mut CompletedInserts,
    ) -> Result<()> {
        let mut lane = Some(lane);
        let ended = loop {
            let chunk = match completed.next_chunk(&mut lane, client, feed).await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            };
            if let Some(mut other) = lane.take_if(|_| self.prepared.0 != chunk.formats) {
                completed.drain_lane(&mut other).await;
            }
            if completed.outcome.is_err() {
                break Ok(());
            }
            let inserts = match &mut lane {
                Some(lane) => lane,
                None => match self.begin_again(client, &chunk.formats).await {
                    Ok(begun) => lane.insert(begun),
                    Err(error) => break Err(error),
                },
            };
            if let Err(error) = self.insert_chunk_over_lane(inserts, &chunk, completed).await {
                break Err(error);
            }
        };
        if let Some(lane) = &mut lane {
            completed.drain_lane(lane).await;
        }
        ended
    }

    /// Insert the rows of `chunk`, up to the first one that is known to be refused.
    async fn insert_chunk_over_lane(
        &self,
        lane: &mut LaneInserts,
        chunk: &Chunk,
        completed: &mut CompletedInserts,
    ) -> Result<()> {
        for row in 0..chunk.rows() {
            // In a transaction, nothing is committed by what follows.
            if self.commits.as_ref().is_some_and(|progress| progress.is_cancelled()) {
                return Err(Error::interrupted());
            }
            while !lane.have_room(self.depth) && completed.outcome.is_ok() {
                completed.record_arrived(lane).await;
            }
            if completed.outcome.is_err() {
                return Ok(());
            }
            let fields = chunk.fields(row).zip(chunk.formats.iter());
            let parameters = fields.map(|(value, &format)| EncodedParam { value, format });
            lane.insert(parameters, 1)
                .map_err(|error| Error::database(&format!("insert into {}", self.table), error))?;
            if let Some(commits) = &self.commits {
                commits.begin_commit(1, None);
            }
        }
        Ok(())
    }

    /// As [`insert`](Self::insert), through the driver.
    async fn insert_through_driver(
        &mut self,
        client: &Client,
        feed: &mut ChunkFeed<'_>,
        mut completed: CompletedInserts,
    ) -> (RowCounts, Result<(), WriteFailure>) {
        let mut pipeline = Pipeline::new(self.depth);
        loop {
            let next = async {
                let Some(chunk) = feed.next_for(client).await? else { return Ok(None) };
                let statement = self.statement(client, &chunk.formats).await?;
                Ok(Some((chunk, statement)))
            };
            let (chunk, statement) = match next.await {
                Ok(Some(next)) => next,
                Ok(None) => break,
                Err(error) => {
                    let error: Error = error;
                    // The refusal of an earlier row takes precedence.
                    completed.drain(&mut pipeline).await;
                    return (completed.counts, completed.outcome.and(Err(error.into())));
                }
            };
            for row in 0..chunk.rows() {
                // In a transaction, nothing is committed by what follows.
                if self.commits.as_ref().is_some_and(|progress| progress.is_cancelled()) {
                    completed.drain(&mut pipeline).await;
                    return (completed.counts, completed.outcome.and(Err(Error::interrupted().into())));
                }
                while pipeline.is_full() && completed.outcome.is_ok() {
                    let Some(result) = pipeline.pop().await else { break };
                    completed.record((1, result));
                }
                if completed.outcome.is_err() {
                    break;
                }
                let inserted = insert_one(client, statement.clone(), &chunk, row);
                if let Some(commits) = &self.commits {
                    commits.begin_commit(1, None);
                }
                pipeline.push_sized(inserted, chunk.bytes(row)).await;
            }
            if completed.outcome.is_err() {
                break;
            }
        }
        completed.drain(&mut pipeline).await;
        (completed.counts, completed.outcome)
    }

    /// Insert each of `rows` under its own savepoint, so that the refusal of one does not affect the others; return
    /// the result of each.
    ///
    /// # Errors
    /// When a savepoint cannot be set or rolled back to.
    pub(crate) async fn insert_each(
        &mut self,
        client: &Client,
        chunk: &Chunk,
        rows: Range<usize>,
    ) -> Result<Vec<Result<RowCounts, PgError>>> {
        let statement = self.statement(client, &chunk.formats).await?;
        let failed = |error| Error::database(&format!("set a savepoint while loading {}", self.table), error);
        client.batch_execute("SAVEPOINT one_row").await.map_err(failed)?;
        let mut pipeline = Pipeline::new(self.depth);
        let mut results = Vec::with_capacity(rows.len());
        for row in rows {
            while pipeline.is_full() {
                results.extend(pipeline.pop().await);
            }
            let insert = insert_one(client, statement.clone(), chunk, row);
            // All three are sent without waiting. If the INSERT is refused, so is `keep`, and `undo` restores the
            // transaction; otherwise `keep` releases the row's savepoint, and `undo` has nothing to roll back.
            let keep = client.batch_execute("RELEASE one_row; SAVEPOINT one_row");
            let undo = client.batch_execute("ROLLBACK TO one_row");
            let inserted = async move {
                let (inserted, kept, undone) = join3(insert, keep, undo).await;
                let result = inserted.and_then(|counts| kept.map(|()| counts));
                undone.map(|()| result)
            };
            pipeline.push_sized(inserted, chunk.bytes(row)).await;
        }
        while let Some(result) = pipeline.pop().await {
            results.push(result);
        }
        let results = results.into_iter().collect::<Result<_, _>>().map_err(failed)?;
        client.batch_execute("RELEASE one_row").await.map_err(failed)?;
        Ok(results)
    }
}

/// Prepare the INSERT for values in `formats`.
async fn prepare(
    client: &Client,
    table: &TableName,
    mapping: &ColumnMapping,
    formats: &[ValueFormat],
    suffix: &str,
) -> Result<Statement> {
    let prepared = client.prepare(&insert_sql(table, mapping, formats, suffix)).await;
    prepared.map_err(|error| Error::database(&format!("prepare the INSERT into {table}"), error))
}

fn insert_sql(table: &TableName, mapping: &ColumnMapping, formats: &[ValueFormat], suffix: &str) -> String {
    let values = values(mapping, formats, |parameter, _| parameter);
    format!("{} VALUES ({values}){suffix}", mapping.insert_into(table))
}

/// The expressions for the values of a row, whose parameters are in `formats`; `plain` makes the one of a parameter that
/// the server reads as COPY does.
fn values(
    mapping: &ColumnMapping,
    formats: &[ValueFormat],
    plain: impl Fn(String, &Column) -> String,
) -> String {
    let values = mapping.columns.iter().zip(formats).enumerate().map(|(index, (mapped, format))| {
        let parameter = format!("${}", index + 1);
        let cast = || mapped.column.read_with_modifier(&format!("{parameter}::pg_catalog.text"));
        (*format == ValueFormat::Text)
            .then(cast)
            .flatten()
            .unwrap_or_else(|| plain(parameter, &mapped.column))
    });
    values.collect::<Vec<_>>().join(", ")
}

/// Let the server read the values of row `row` of `chunk`, from 0, without inserting them.
///
/// # Errors
/// When it refuses one of them.
pub(crate) async fn read_values(
    client: &Client,
    mapping: &ColumnMapping,
    chunk: &Chunk,
    row: usize,
) -> Result<(), PgError> {
    let values =
        values(mapping, &chunk.formats, |parameter, column| format!("{parameter}::{}", column.type_name));
    let statement = client.prepare(&format!("SELECT {values}")).await?;
    let parameters = params::parameters(chunk.tuple(row), Arc::clone(&chunk.formats));
    client.execute_raw(&statement, parameters).await?;
    Ok(())
}

/// Insert row `row` of `chunk`, from 0.
fn insert_one<'a>(
    client: &'a Client,
    statement: Statement,
    chunk: &Chunk,
    row: usize,
) -> impl Future<Output = Result<RowCounts, PgError>> + use<'a> {
    let tuple: Tuple = chunk.tuple(row);
    let parameters = params::parameters(tuple, Arc::clone(&chunk.formats));
    async move {
        if statement.columns().is_empty() {
            let inserted = client.execute_raw(&statement, parameters).await?;
            return Ok(RowCounts { inserted, updated: 0 });
        }
        let rows = client.query_raw(&statement, parameters).await?;
        let mut rows = std::pin::pin!(rows);
        let mut counts = RowCounts::default();
        while let Some(row) = futures::TryStreamExt::try_next(&mut rows).await? {
            if row.get(0) { counts.inserted += 1 } else { counts.updated += 1 }
        }
        Ok(counts)
    }
}

/// The count of a row that was written, whose only column tells whether it is new.
fn count_row(row: Row<'_>) -> RowCounts {
    match row.values().next() {
        Some(Some([0])) => RowCounts { inserted: 0, updated: 1 },
        _ => RowCounts { inserted: 1, updated: 0 },
    }
}
