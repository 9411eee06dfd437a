//! The three ways to write, as one.

pub(crate) mod array;
pub(crate) mod batch;
pub(crate) mod conflict;
pub(crate) mod copy;
pub(crate) mod outcome;
pub(crate) mod params;
pub(crate) mod rows;

use std::sync::Arc;

use tokio_postgres::Client;

use crate::Result;
use crate::catalog::TableName;
use crate::load::chunk::stream::ChunkFeed;
use crate::load::mapping::ColumnMapping;
use crate::load::options::Mode;
use crate::load::settings::LoadSettings;
use crate::load::write::batch::Batches;
use crate::load::write::conflict::ConflictClause;
use crate::load::write::copy::Copy;
use crate::load::write::outcome::{Counts, Failed};
use crate::load::write::rows::Rows;

/// Ready to write over one connection.
#[derive(Debug)]
pub(super) enum Writer {
    /// Mode `rows`.
    Rows(Rows),
    /// Mode `batch`.
    Batch(Batches),
    /// Mode `copy`.
    Copy(Copy),
}

impl Writer {
    /// What `settings` ask for; for `freeze` see [`Copy::prepare`].
    ///
    /// # Errors
    /// When the server refuses to prepare it.
    pub(super) async fn prepare(
        client: &Client,
        settings: &LoadSettings,
        table: &TableName,
        targets: &Arc<ColumnMapping>,
        clause: Option<ConflictClause>,
        freeze: bool,
    ) -> Result<Writer> {
        Ok(match settings.input.mode {
            Mode::Rows => Writer::Rows(
                Rows::prepare(client, table, targets, clause.as_ref(), settings.pipeline_depth).await?,
            ),
            Mode::Batch => Writer::Batch(Batches::new(
                table.clone(),
                Arc::clone(targets),
                clause,
                settings.batch_size,
                settings.pipeline_depth,
            )),
            Mode::Copy => Writer::Copy(Copy::prepare(client, table, targets, clause, freeze).await?),
            Mode::Null => unreachable!("there is no client in mode null"),
        })
    }

    /// Write what `feed` gives; returns what the server counted.
    ///
    /// # Errors
    /// The first row, or rows, that the server refuses.
    pub(super) async fn write(
        &mut self,
        client: &Client,
        feed: &mut ChunkFeed<'_>,
    ) -> Result<Counts, Failed> {
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
