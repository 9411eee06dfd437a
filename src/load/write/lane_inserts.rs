//! INSERTs over the lane of a connection: of rows or batches, written straight into its stream, beside the driver.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::num::NonZero;
use std::sync::Arc;
use std::task::Poll;

use tokio_postgres::types::BorrowToSql;
use tokio_postgres::{Error as PgError, Statement};
use tokio_postgres_sync_batching::{Lane, LaneStatement, Pipeline, Row};

use crate::load::mapping::ValueFormat;
use crate::load::write::outcome::RowCounts;

/// The counts in a row that an INSERT returns.
pub(super) type CountRow = fn(Row<'_>) -> RowCounts;

/// The number of rows of an INSERT, and what became of them.
pub(super) type InsertResult = (u64, Result<RowCounts, PgError>);

/// INSERTs in flight on a lane, and their results in order.
///
/// While there is one, requests of the driver wait, and nobody notices that the server ends an idle session. Dropped with
/// none in flight, it gives the stream back.
#[derive(Debug)]
pub(super) struct LaneInserts {
    pipeline: Pipeline,
    statement: LaneStatement,
    /// `None` if the statement returns no rows, so that the server's count says how many were inserted.
    count_row: Option<CountRow>,
    /// What the INSERT that is answered next has returned so far.
    counts: RowCounts,
    /// The number of rows of each INSERT in flight.
    rows: VecDeque<u64>,
}

/// A lane for INSERTs, and the statement that is prepared there.
#[derive(Debug)]
pub(super) struct InsertLane {
    lane: Lane,
    /// How many INSERTs share a Sync, at most.
    sync_every: NonZero<usize>,
    count_row: CountRow,
    /// The statement, and the formats for which it was prepared; `None` before the first INSERT.
    prepared: Option<(Arc<[ValueFormat]>, LaneStatement)>,
}

impl InsertLane {
    /// A lane for statements of whose rows, if they return any, `count_row` makes counts.
    pub(super) fn new(lane: Lane, sync_every: NonZero<usize>, count_row: CountRow) -> InsertLane {
        InsertLane { lane, sync_every, count_row, prepared: None }
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
        let count_row = (!prepared.columns().is_empty()).then_some(self.count_row);
        let (counts, rows) = (RowCounts::default(), VecDeque::new());
        Ok(Some(LaneInserts { pipeline, statement, count_row, counts, rows }))
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

    /// Insert `rows` rows with these parameters of the statement; [`LaneInserts::send`] or [`LaneInserts::next`] sends it.
    ///
    /// # Errors
    /// When they are too large for a message.
    pub(super) fn insert<P: BorrowToSql>(
        &mut self,
        parameters: impl IntoIterator<Item = P>,
        rows: u64,
    ) -> Result<(), PgError> {
        self.pipeline.execute(&self.statement, parameters)?;
        self.rows.push_back(rows);
        Ok(())
    }

    /// Send as much as the connection takes at once.
    pub(super) async fn send(&mut self) {
        poll_fn(|cx| {
            self.pipeline.poll_send(cx);
            Poll::Ready(())
        })
        .await;
    }

    /// Send what is to be sent, and wait for the result of the oldest INSERT; `None` if none is in flight.
    ///
    /// Cancel safe: dropping the returned future before it completes loses no result.
    pub(super) async fn next(&mut self) -> Option<InsertResult> {
        let LaneInserts { pipeline, counts, count_row, .. } = self;
        let result = pipeline.next(|row| add(counts, *count_row, row)).await?;
        Some(self.complete(result))
    }

    /// The result of the oldest INSERT if it has arrived.
    pub(super) fn next_arrived(&mut self) -> Option<InsertResult> {
        let LaneInserts { pipeline, counts, count_row, .. } = self;
        let result = pipeline.next_arrived(|row| add(counts, *count_row, row))?;
        Some(self.complete(result))
    }

    fn complete(&mut self, result: Result<u64, PgError>) -> InsertResult {
        let returned = std::mem::take(&mut self.counts);
        let counts = result.map(|inserted| match self.count_row {
            Some(_) => returned,
            None => RowCounts { inserted, updated: 0 },
        });
        (self.rows.pop_front().unwrap_or(1), counts)
    }
}

fn add(counts: &mut RowCounts, count_row: Option<CountRow>, row: Row<'_>) {
    if let Some(count_row) = count_row {
        *counts += count_row(row);
    }
}
