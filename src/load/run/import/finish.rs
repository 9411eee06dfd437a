//! The end of an import that dropped indexes: they are rebuilt in the transaction that records that it is finished.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error as PgError};

use crate::load::refusal::refusal_error;
use crate::load::run::import::plan::ImportPlan;
use crate::postgres::server::SessionPool;
use crate::progress::{Phase, Progress};
use crate::{Error, Result};

/// The indexes that a run has rebuilt.
#[derive(Debug, Default)]
pub(super) struct Rebuilt {
    /// Their names; none if another process has rebuilt them.
    pub(super) names: Vec<String>,
    /// How long it took.
    pub(super) seconds: f64,
}

/// Finishes an import, in as many tries as it takes.
pub(super) struct Finisher<'a> {
    plan: &'a ImportPlan<'a>,
    pool: &'a SessionPool,
    started: Instant,
    /// Whether an earlier try has rebuilt them, and the answer to its COMMIT was lost.
    is_uncertain: AtomicBool,
}

impl<'a> Finisher<'a> {
    /// A finisher of the import of `plan`, over connections of `pool`.
    pub(super) fn new(plan: &'a ImportPlan<'a>, pool: &'a SessionPool) -> Self {
        Finisher { plan, pool, started: Instant::now(), is_uncertain: AtomicBool::new(false) }
    }

    /// Rebuild the indexes, and record that the import is finished, in a transaction of `client`. If another process is doing
    /// so, wait for it.
    ///
    /// # Errors
    /// When the server refuses, as for a duplicate key. The transaction is then still open.
    pub(super) async fn finish(&self, client: &Client, progress: &Progress) -> Result<Rebuilt> {
        let ImportPlan { import, tables, options, .. } = self.plan;
        let failed = |error| Error::database(&format!("finish import {}", options.id), error);
        client.batch_execute("BEGIN").await.map_err(failed)?;
        let wait = || {
            progress.note(&format!("another process is finishing import {}: waiting for it", options.id));
        };
        let indexes = import.lock_indexes(client, tables, wait).await?;
        if !indexes.is_empty() {
            // A key needs this lock at its end; to take a weaker one before would be a cause of deadlocks.
            let lock = format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", self.plan.prepared.table.name.sql());
            client.batch_execute(&lock).await.map_err(failed)?;
        }
        indexes.rebuild(client, self.pool, progress).await.map_err(|error| self.explain(error))?;
        import.clear_indexes(client, tables).await?;
        import.finish(client, tables).await?;
        progress.begin(Phase::Committing, None);
        let was_uncertain = self.is_uncertain.fetch_or(!indexes.is_empty(), Relaxed);
        client.batch_execute("COMMIT").await.map_err(failed)?;
        let is_done_before = indexes.is_empty() && was_uncertain;
        let names = if is_done_before { import.indexes.deferred.clone() } else { indexes.deferred };
        let seconds = if names.is_empty() { 0.0 } else { self.started.elapsed().as_secs_f64() };
        Ok(Rebuilt { names, seconds })
    }

    /// The error for the server's refusal to rebuild an index.
    fn explain(&self, error: PgError) -> Error {
        let (id, table) = (&self.plan.options.id, &self.plan.prepared.table.name);
        let is_duplicate = error.code() == Some(&SqlState::UNIQUE_VIOLATION);
        let again = format!(
            "run the same command again, or postgres-etl imports --forget {}: both rebuild the indexes",
            crate::escape::escape(id)
        );
        let action = format!("rebuild the indexes of {table}");
        if is_duplicate {
            let help = format!("remove the duplicates from {table}, then {again}");
            refusal_error(&action, error).and("all rows are loaded").with_help(help)
        } else {
            // Not what helps while rows are loaded.
            Error::database(&action, error).and("all rows are loaded").with_help(again)
        }
    }
}
