//! The end of an import that dropped indexes: they are rebuilt in the transaction that records that it is finished.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error as PgError};

use crate::load::ledger::locks::poll;
use crate::load::refusal::refusal_error;
use crate::load::run::import::plan::ImportPlan;
use crate::load::table::indexes::DeferredIndexes;
use crate::postgres::connect_error::is_answer_lost;
use crate::postgres::server::SessionPool;
use crate::progress::{Phase, Progress, Unanswered};
use crate::{Error, Result};

/// What is not known until the last COMMIT is answered.
const UNANSWERED: Unanswered = Unanswered {
    unknown: "all rows are committed, and whether their indexes are rebuilt is not known here",
    help: "run the same command again: the ledger knows, and what is missing is rebuilt",
};

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
    /// Whether it was said that another process is waited for.
    has_noted: AtomicBool,
}

impl<'a> Finisher<'a> {
    /// A finisher of the import of `plan`, over connections of `pool`.
    pub(super) fn new(plan: &'a ImportPlan<'a>, pool: &'a SessionPool) -> Self {
        Finisher { plan, pool, started: Instant::now(), has_noted: AtomicBool::new(false) }
    }

    /// Rebuild the indexes, and record that the import is finished, in a transaction of `client`. If another process is doing
    /// so, wait for it.
    ///
    /// # Errors
    /// When the server refuses, as for a duplicate key. The transaction is then still open.
    pub(super) async fn finish(&self, client: &Client, progress: &Progress) -> Result<Rebuilt> {
        let ImportPlan { import, tables, .. } = self.plan;
        let indexes = poll(progress, async || self.begin(client, progress).await).await?;
        // An earlier try of this run, whose COMMIT was not answered.
        let is_done_before = indexes.is_empty() && progress.unanswered_step().is_some();
        if !indexes.is_empty() {
            progress.settle_step();
            // A key needs this lock at its end; to take a weaker one before would be a cause of deadlocks.
            let lock = format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", self.plan.prepared.table.name.sql());
            client.batch_execute(&lock).await.map_err(|error| self.explain(error))?;
        }
        indexes.rebuild(client, self.pool, progress).await.map_err(|error| self.explain(error))?;
        import.clear_indexes(client, tables).await?;
        import.finish(client, tables).await?;
        progress.begin(Phase::Committing, None);
        if !indexes.is_empty() {
            progress.begin_step(UNANSWERED);
        }
        let ended = progress.uncancelled(client.batch_execute("COMMIT")).await;
        if !ended.as_ref().is_err_and(is_answer_lost) {
            progress.settle_step();
        }
        ended.map_err(|error| self.failed(error))?;
        let names = if is_done_before { import.indexes.deferred.clone() } else { indexes.deferred };
        let seconds = if names.is_empty() { 0.0 } else { self.started.elapsed().as_secs_f64() };
        Ok(Rebuilt { names, seconds })
    }

    /// Begin the transaction of `client`, and lock the indexes that are still to be rebuilt; `None`, and no transaction, if
    /// another process has locked them. No transaction is open while it is waited for: that takes as long as an index takes,
    /// and whatever the server limits would end it.
    async fn begin(&self, client: &Client, progress: &Progress) -> Result<Option<DeferredIndexes>> {
        let ImportPlan { import, tables, options, .. } = self.plan;
        client.batch_execute("BEGIN").await.map_err(|error| self.failed(error))?;
        let locked = import.try_lock(client, tables).await?;
        if locked.is_none() {
            client.batch_execute("ROLLBACK").await.map_err(|error| self.failed(error))?;
            if !self.has_noted.swap(true, Relaxed) {
                let id = &options.id;
                progress.note(&format!("another process is finishing import {id}: waiting for it"));
            }
        }
        Ok(locked)
    }

    fn failed(&self, error: PgError) -> Error {
        Error::database(&format!("finish import {}", self.plan.options.id), error)
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
