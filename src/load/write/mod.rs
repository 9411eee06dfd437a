//! Writers: prepared INSERTs row by row, INSERTs of batches, or COPY.
//!
//! They take the tuples of [`chunk`](crate::load::chunk) as they are and differ only in how they send them, so they
//! leave identical tables.

pub(crate) mod array;
pub(crate) mod batch;
mod completed;
pub(crate) mod conflict;
pub(crate) mod copy;
mod lane_inserts;
pub(crate) mod outcome;
pub(crate) mod params;
pub(crate) mod rows;

use std::sync::Arc;

use tokio_postgres::Client;
use tokio_postgres_sync_batching::Lane;

use crate::Result;
use crate::catalog::TableName;
use crate::load::chunk::stream::ChunkFeed;
use crate::load::mapping::ColumnMapping;
use crate::load::options::Mode;
use crate::load::settings::LoadSettings;
use crate::load::write::batch::BatchWriter;
use crate::load::write::conflict::ConflictClause;
use crate::load::write::copy::CopyWriter;
use crate::load::write::outcome::{RowCounts, WriteFailure};
use crate::load::write::rows::RowWriter;

/// Writes rows over one connection.
#[derive(Debug)]
pub(super) enum Writer {
    /// Mode `rows`.
    Rows(RowWriter),
    /// Mode `batch`.
    Batch(BatchWriter),
    /// Mode `copy`.
    Copy(CopyWriter),
}

impl Writer {
    /// Prepare the mode that `settings` name; for `freeze` see [`CopyWriter::prepare`]. The other modes use the `lane` of the
    /// connection, if there is one.
    ///
    /// # Errors
    /// When the server refuses to prepare the statement, or to create the temporary table for `clause`.
    pub(super) async fn prepare(
        (client, lane): (&Client, Option<Lane>),
        settings: &LoadSettings,
        table: &TableName,
        mapping: &Arc<ColumnMapping>,
        clause: Option<ConflictClause>,
        freeze: bool,
    ) -> Result<Writer> {
        Ok(match settings.input.mode {
            Mode::Rows => Writer::Rows(
                RowWriter::prepare(client, table, mapping, clause.as_ref(), settings.pipeline_depth)
                    .await?
                    .over_lane(lane, settings.sync_every),
            ),
            Mode::Batch => Writer::Batch(BatchWriter::new(
                table.clone(),
                Arc::clone(mapping),
                clause,
                settings.batch_size,
                settings.pipeline_depth,
                lane,
            )),
            Mode::Copy => Writer::Copy(CopyWriter::prepare(client, table, mapping, clause, freeze).await?),
            Mode::Null => unreachable!("mode null has no connection"),
        })
    }

    /// Give up what is prepared on the server: the session may go on with another writer.
    pub(super) async fn close(&mut self) {
        match self {
            Writer::Rows(rows) => rows.close().await,
            Writer::Batch(batches) => batches.close().await,
            Writer::Copy(_) => {}
        }
    }

    /// Write the rows of `feed`; return the server's counts.
    ///
    /// # Errors
    /// At the first row, or the first group of rows, that the server refuses, and at an error of the feed.
    pub(super) async fn write(
        &mut self,
        client: &Client,
        feed: &mut ChunkFeed<'_>,
    ) -> Result<RowCounts, WriteFailure> {
        match self {
            Writer::Rows(rows) => {
                let (counts, outcome) = rows.insert(client, feed).await;
                outcome.map(|()| counts)
            }
            Writer::Batch(batches) => batches.insert(client, feed).await,
            Writer::Copy(copy) => copy.insert(client, feed).await,
        }
    }
}
