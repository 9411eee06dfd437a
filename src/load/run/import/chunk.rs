//! One chunk of an import: a transaction with its rows, its rejected records, and its row in the ledger.

use std::time::Instant;

use tokio_postgres::Client;

use crate::error::ErrorKind;
use crate::load::chunk::rejected::Reject;
use crate::load::ledger::chunks::{CommittedChunk, ImportTotals, LoadedChunk};
use crate::load::ledger::locks::LockName;
use crate::load::options::RejectLimit;
use crate::load::refusal::refusal_error;
use crate::load::reject::sink::RejectSink;
use crate::load::run::RowChecks;
use crate::load::run::import::plan::ImportPlan;
use crate::load::run::import::reader::ImportReader;
use crate::load::run::insertion::{Insertion, Rejecting, check_at_end};
use crate::load::run::stop::Stopped;
use crate::load::settings::LoadSettings;
use crate::load::table::constraints::check_constraints;
use crate::load::table::prepare::set_date_style;
use crate::load::totals::LoadTotals;
use crate::postgres::server::SessionPool;
use crate::progress::Progress;
use crate::{Error, Result};

/// What became of an attempt to load a chunk.
pub(super) enum Attempt {
    /// Everything is written but for the COMMIT.
    Written(Box<LoadTotals>),
    /// It was committed before.
    Found(CommittedChunk),
    /// Another session is loading it.
    Busy,
}

/// Load chunk `number`, at which `reader` is, in a new transaction of `client`, one of `connections`, and leave that open.
///
/// # Errors
/// At the first row that cannot be loaded, unless rejects are allowed.
pub(super) async fn write(
    plan: &ImportPlan<'_>,
    settings: &LoadSettings,
    checks: RowChecks,
    (client, connections, progress): (&Client, &SessionPool, &Progress),
    (reader, number): (&mut ImportReader, u64),
) -> Result<Attempt, Stopped> {
    let started = Instant::now();
    let (ledger, id) = (plan.ledger(), &plan.options.id);
    let failed = |doing| move |error| Error::database(doing, error);
    client.batch_execute("BEGIN").await.map_err(failed("begin the transaction of a chunk"))?;
    let lock = LockName::of_chunk(&plan.options.id, number);
    if !lock.try_for_transaction(client).await.map_err(failed("lock a chunk"))? {
        return Ok(Attempt::Busy);
    }
    // Only now, when no other session can be about to commit it.
    if let Some(chunk) = ledger.find(client, number).await? {
        return Ok(Attempt::Found(chunk));
    }
    set_date_style(client, settings).await?;
    if checks == RowChecks::ByRow {
        check_constraints(client).await?;
    }
    let rejecting = settings.max_rejects.allows_any();
    let so_far = if rejecting { ledger.totals(client).await? } else { ImportTotals::default() };
    let mut sink = ChunkSink {
        rejects: Vec::new(),
        header: Vec::new(),
        before: so_far.rejected,
        limit: settings.max_rejects,
    };
    let insertion =
        Insertion::prepare((client, connections), settings, &plan.prepared, rejecting, false).await?;
    let rejects = rejecting.then(|| Rejecting {
        format: plan.record_format.clone(),
        orphans: None,
        any_accepted: so_far.inserted + so_far.updated > 0,
        sink: &mut sink,
    });
    let totals = insertion.insert(reader.stream().await, rejects).await?;
    check_at_end(client, settings, &plan.prepared.table).await?;
    let section = reader.section().await?;
    if !sink.rejects.is_empty() {
        sink.before = ledger.lock_rejects(client, progress).await?.rejected;
        sink.check_limit(&totals)?;
    }
    let loaded = LoadedChunk {
        chunk: number,
        section: &section,
        totals: &totals,
        rejects: &sink.rejects,
        header: &sink.header,
        input_bytes: plan.inputs.consumed(),
        seconds: started.elapsed().as_secs_f64(),
        loaded_by: &plan.loaded_by,
    };
    ledger.add(client, &loaded).await.map_err(|error| match error.sqlstate() {
        // Only a server that lost the lock lets two sessions come this far, as one that was restarted.
        Some("23505") => error.with_sqlstate("40001"),
        Some("23503") => {
            Error::new(ErrorKind::Database, format!("import {id} was forgotten while it was loaded"))
                .with_help("to load everything, run the same command again")
        }
        _ => error,
    })?;
    Ok(Attempt::Written(Box::new(totals)))
}

/// Commit what [`write`] has written over `client`.
///
/// # Errors
/// When the server refuses, or its answer is lost.
pub(super) async fn commit(client: &Client) -> Result<()> {
    client.batch_execute("COMMIT").await.map_err(|error| refusal_error("commit a chunk", error))
}

/// Keeps the rejected records of a chunk until they are written to the ledger.
struct ChunkSink {
    rejects: Vec<Reject>,
    /// The header of their file.
    header: Vec<u8>,
    /// Records that were rejected in other chunks.
    before: u64,
    limit: RejectLimit,
}

impl RejectSink for ChunkSink {
    fn take(&mut self, rejects: Vec<Reject>, header: &[u8], totals: &LoadTotals) -> Result<()> {
        // A chunk is of one file.
        header.clone_into(&mut self.header);
        self.rejects.extend(rejects);
        self.check_limit(totals)
    }
}

impl ChunkSink {
    /// Check the number of rejected rows; a percentage is checked when the import is finished.
    fn check_limit(&self, totals: &LoadTotals) -> Result<()> {
        let rejected = self.before + totals.rejected;
        if self.limit.is_exceeded(rejected, totals.read, false) {
            let message = format!("{rejected} rows were rejected, and --max-rejects allows {}", self.limit);
            return Err(Error::input(message));
        }
        Ok(())
    }
}
