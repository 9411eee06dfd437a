//! The results of INSERTs, as they come in.

use std::sync::Arc;

use futures::FutureExt as _;
use tokio_postgres::{Client, Error as PgError};

use crate::Result;
use crate::load::chunk::Chunk;
use crate::load::chunk::stream::ChunkFeed;
use crate::load::write::lane_inserts::{InsertResult, LaneInserts};
use crate::load::write::outcome::{RowCounts, WriteFailure};
use crate::postgres::connect_error::is_answer_lost;
use crate::postgres::pipeline::Pipeline;
use crate::progress::Progress;

/// The results of the INSERTs completed so far.
pub(super) struct CompletedInserts {
    pub(super) counts: RowCounts,
    /// Number of rows whose INSERTs are completed, which is the first row of the next one.
    rows: u64,
    /// The first refusal, if there was one.
    pub(super) outcome: Result<(), WriteFailure>,
    /// Where to count rows as committed, if each INSERT of a row is a transaction of its own.
    commits: Option<Arc<Progress>>,
}

impl CompletedInserts {
    pub(super) fn new(commits: Option<Arc<Progress>>) -> CompletedInserts {
        CompletedInserts { counts: RowCounts::default(), rows: 0, outcome: Ok(()), commits }
    }

    /// Add the result of the next INSERT. Only the first error is kept: in a transaction it causes all later ones.
    pub(super) fn record(&mut self, (rows, result): InsertResult) {
        let first = self.rows;
        self.rows += rows;
        if let Some(commits) = &self.commits {
            match &result {
                Ok(counts) => {
                    let written = counts.inserted + counts.updated;
                    commits.confirm_commit(written);
                    // A row may be skipped.
                    commits.refuse_commit(1_u64.saturating_sub(written));
                }
                Err(error) if is_answer_lost(error) => {}
                Err(_) => commits.refuse_commit(1),
            }
        }
        match result {
            Ok(counts) => self.counts += counts,
            Err(error) if self.outcome.is_ok() => {
                self.outcome = Err(WriteFailure::Server { error, rows: Some((first, self.rows - 1)) });
            }
            Err(_) => {}
        }
    }

    /// Wait for the result of the oldest INSERT on `lane`, and add it with those that have arrived together.
    pub(super) async fn record_arrived(&mut self, lane: &mut LaneInserts) {
        let mut result = lane.next().await;
        while let Some(arrived) = result {
            self.record(arrived);
            result = lane.next_arrived();
        }
    }

    /// The next chunk of `feed`; `None` at its end, and if a row is refused before. The results that arrive over `lane`
    /// meanwhile are added, and then it is given up: the driver notices if the server ends the session.
    pub(super) async fn next_chunk(
        &mut self,
        lane: &mut Option<LaneInserts>,
        client: &Client,
        feed: &mut ChunkFeed<'_>,
    ) -> Result<Option<Chunk>> {
        let mut next = std::pin::pin!(feed.next_for(client));
        while self.outcome.is_ok() {
            let Some(inserts) = lane else { return next.await };
            if inserts.len() == 0 {
                if let Some(chunk) = next.as_mut().now_or_never() {
                    return chunk;
                }
                *lane = None;
                continue;
            }
            tokio::select! {
                biased;
                chunk = &mut next => return chunk,
                result = inserts.next() => result.into_iter().for_each(|result| self.record(result)),
            }
        }
        Ok(None)
    }

    /// Add the results of all INSERTs in flight on `lane`.
    pub(super) async fn drain_lane(&mut self, lane: &mut LaneInserts) {
        while let Some(result) = lane.next().await {
            self.record(result);
        }
    }

    /// Add the results of all INSERTs of single rows in flight.
    pub(super) async fn drain<F>(&mut self, pipeline: &mut Pipeline<F>)
    where
        F: Future<Output = Result<RowCounts, PgError>>,
    {
        while let Some(result) = pipeline.pop().await {
            self.record((1, result));
        }
    }
}
