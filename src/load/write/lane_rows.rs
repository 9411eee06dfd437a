//! Rows over the lane of a connection: INSERTs written straight into its stream, beside the driver.

use std::num::NonZero;
use std::sync::Arc;

use tokio_postgres::{Error as PgError, Statement};
use tokio_postgres_sync_batching::{Lane, LaneStatement, Pipeline, Row};

use crate::load::chunk::Chunk;
use crate::load::mapping::ValueFormat;
use crate::load::write::outcome::RowCounts;
use crate::load::write::params::EncodedParam;

/// INSERTs of single rows in flight on a lane, and their results in order.
///
/// While there is one, requests of the driver wait, and nobody notices that the server ends an idle session. Dropped with
/// none in flight, it gives the stream back.
#[derive(Debug)]
pub(super) struct LaneInserts {
    pipeline: Pipeline,
    statement: LaneStatement,
    /// Whether the statement returns a row for each row that it writes: whether that was inserted.
    returns_rows: bool,
    /// What the INSERT that is answered next has returned so far.
    counts: RowCounts,
}

/// A lane for INSERTs, and the statement that is prepared there.
#[derive(Debug)]
pub(super) struct RowLane {
    lane: Lane,
    /// How many INSERTs share a Sync, at most.
    sync_every: NonZero<usize>,
    /// The statement, and the formats for which it was prepared; `None` before the first row.
    prepared: Option<(Arc<[ValueFormat]>, LaneStatement)>,
}

impl RowLane {
    pub(super) fn new(lane: Lane, sync_every: NonZero<usize>) -> RowLane {
        RowLane { lane, sync_every, prepared: None }
    }

    /// Take the stream to send INSERTs for values in `formats`: `sql`, which the driver has prepared as `prepared`. `None`
    /// if the connection is closed, or does not allow a lane.
    ///
    /// # Errors
    /// When the server refuses the statement.
    pub(super) async fn begin(
        &mut self,
        formats: &Arc<[ValueFormat]>,
        sql: impl FnOnce() -> String,
        prepared: &Statement,
    ) -> Result<Option<LaneInserts>, PgError> {
        let Ok(mut pipeline) = self.lane.pipeline(self.sync_every).await else { return Ok(None) };
        if let Some((_, other)) = self.prepared.take_if(|(prepared_for, _)| prepared_for != formats) {
            pipeline.close(other).await?;
        }
        let statement = match &self.prepared {
            Some((_, statement)) => statement.clone(),
            None => pipeline.prepare(&sql(), prepared.params()).await?,
        };
        self.prepared = Some((Arc::clone(formats), statement.clone()));
        let returns_rows = !prepared.columns().is_empty();
        Ok(Some(LaneInserts { pipeline, statement, returns_rows, counts: RowCounts::default() }))
    }

    /// Close the statement on the server, where it would stay until the session ends.
    pub(super) async fn close(&mut self) {
        if let Some((_, statement)) = self.prepared.take()
            && let Ok(mut pipeline) = self.lane.pipeline(self.sync_every).await
        {
            // If the connection is lost, so is the statement.
            pipeline.close(statement).await.ok();
        }
    }
}

impl LaneInserts {
    /// Number of INSERTs in flight.
    pub(super) fn len(&self) -> usize {
        self.pipeline.len()
    }

    /// Whether one more INSERT may be sent, of which up to `depth` may be in flight.
    pub(super) fn have_room(&self, depth: usize) -> bool {
        self.pipeline.len() < depth && !self.pipeline.is_full()
    }

    /// Insert row `row` of `chunk`, from 0; [`LaneInserts::next`] sends it.
    ///
    /// # Errors
    /// When the row is too large for a message.
    pub(super) fn insert(&mut self, chunk: &Chunk, row: usize) -> Result<(), PgError> {
        let fields = chunk.fields(row).zip(chunk.formats.iter());
        let parameters = fields.map(|(value, &format)| EncodedParam { value, format });
        self.pipeline.execute(&self.statement, parameters)
    }

    /// Send what is to be sent, and wait for the result of the oldest INSERT; `None` if none is in flight.
    ///
    /// Cancel safe: dropping the returned future before it completes loses no result.
    pub(super) async fn next(&mut self) -> Option<Result<RowCounts, PgError>> {
        let LaneInserts { pipeline, counts, .. } = self;
        let result = pipeline.next(|row| add(counts, row)).await?;
        Some(self.complete(result))
    }

    /// The result of the oldest INSERT if it has arrived.
    pub(super) fn next_arrived(&mut self) -> Option<Result<RowCounts, PgError>> {
        let LaneInserts { pipeline, counts, .. } = self;
        let result = pipeline.next_arrived(|row| add(counts, row))?;
        Some(self.complete(result))
    }

    fn complete(&mut self, result: Result<u64, PgError>) -> Result<RowCounts, PgError> {
        let returned = std::mem::take(&mut self.counts);
        result.map(|inserted| if self.returns_rows { returned } else { RowCounts { inserted, updated: 0 } })
    }
}

/// Count a row that was written, whose only column tells whether it is new.
fn add(counts: &mut RowCounts, row: Row<'_>) {
    match row.values().next() {
        Some(Some([0])) => counts.updated += 1,
        _ => counts.inserted += 1,
    }
}
