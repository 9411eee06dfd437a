//! Queries over the lane of a connection: written straight into its stream, beside the driver.

use std::collections::VecDeque;
use std::num::NonZero;
use std::time::Instant;

use tokio_postgres::Error as PgError;
use tokio_postgres_sync_batching::{Lane, LaneStatement, Pipeline, Row};

use crate::query::drive::connection::ConnectionLane;
use crate::query::drive::digest::ResultDigest;
use crate::query::drive::sender::{Completion, PendingQuery, QuerySender};

/// Queries in flight on a lane, and their results in order.
pub(crate) struct LaneQueries<'a> {
    sender: &'a QuerySender,
    statements: &'a [LaneStatement],
    pipeline: Pipeline,
    sent: VecDeque<PendingQuery>,
    /// The result of the oldest query so far.
    digest: ResultDigest,
}

impl<'a> LaneQueries<'a> {
    /// Begin to send queries of `sender` over `lane`, of which up to `sync_every` share a Sync.
    ///
    /// # Errors
    /// When the connection is closed.
    pub(crate) async fn begin(
        lane: &'a ConnectionLane,
        sender: &'a QuerySender,
        sync_every: NonZero<usize>,
    ) -> Result<LaneQueries<'a>, PgError> {
        let pipeline = Lane::of(&lane.control).pipeline(sync_every).await?;
        let (sent, digest) = (VecDeque::new(), ResultDigest::default());
        Ok(LaneQueries { sender, statements: &lane.statements, pipeline, sent, digest })
    }
}

impl LaneQueries<'_> {
    /// The number of queries in flight.
    pub(crate) fn len(&self) -> usize {
        self.sent.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    /// Whether the connection is broken.
    pub(crate) fn are_broken(&self) -> bool {
        self.pipeline.is_broken()
    }

    /// Whether one more query may be sent, of which up to `depth` may be in flight.
    pub(crate) fn have_room(&self, depth: usize) -> bool {
        self.sent.len() < depth && !self.pipeline.is_full()
    }

    /// Send `query`; [`LaneQueries::next`] passes it on.
    pub(crate) fn send(&mut self, query: PendingQuery) {
        let arguments = self.sender.mix.arguments(query.workload, 0, query.iteration);
        self.pipeline
            .execute(&self.statements[query.workload], arguments)
            .expect("there is an argument for each parameter, and text fits all of them");
        self.sent.push_back(query);
    }

    /// Send what is to be sent, and wait for the result of the oldest query; `None` if there is none.
    ///
    /// Cancel safe: dropping the returned future before it completes loses no result.
    pub(crate) async fn next(&mut self) -> Option<Completion> {
        let LaneQueries { sender, pipeline, digest, .. } = self;
        let result = pipeline.next(|row| add(row, digest, sender.reads_results)).await?;
        Some(self.complete(result, Instant::now()))
    }

    /// The result of the oldest query if it has arrived, at `done`.
    pub(crate) fn next_arrived(&mut self, done: Instant) -> Option<Completion> {
        let LaneQueries { sender, pipeline, digest, .. } = self;
        let result = pipeline.next_arrived(|row| add(row, digest, sender.reads_results))?;
        Some(self.complete(result, done))
    }

    fn complete(&mut self, result: Result<u64, PgError>, done: Instant) -> Completion {
        let query = self.sent.pop_front().expect("one for each result");
        let digest = std::mem::take(&mut self.digest);
        Completion { query, done, statements: Vec::new(), result: result.map(|_| digest) }
    }
}

/// Add `row` to `digest` if results are read.
fn add(row: Row<'_>, digest: &mut ResultDigest, reads_results: bool) {
    if reads_results {
        digest.add_row(row.values());
    }
}
