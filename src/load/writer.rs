//! The three ways to write, as one.

use std::sync::Arc;

use tokio_postgres::Client;

use super::batch::Batches;
use super::conflict::Clause;
use super::copy::Copy;
use super::feed::{Counts, Failed, Feed};
use super::rows::Rows;
use super::target::Targets;
use crate::Result;
use crate::config::{LoadSettings, Mode};
use crate::table::TableName;

/// Ready to write over one connection.
#[derive(Debug)]
pub enum Writer {
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
    pub async fn prepare(
        client: &Client,
        settings: &LoadSettings,
        table: &TableName,
        targets: &Arc<Targets>,
        clause: Option<Clause>,
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
    pub async fn write(&mut self, client: &Client, feed: &mut Feed<'_>) -> Result<Counts, Failed> {
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
