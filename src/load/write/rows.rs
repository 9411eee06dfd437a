//! Mode rows: one prepared INSERT a row, pipelined.

use std::ops::Range;
use std::sync::Arc;

use futures::future::join3;
use tokio_postgres::{Client, Error as PgError, Statement};

use crate::catalog::TableName;
use crate::load::chunk::stream::ChunkFeed;
use crate::load::chunk::{Chunk, Tuple};
use crate::load::mapping::{ColumnMapping, ValueFormat};
use crate::load::options::Mode;
use crate::load::write::conflict::ConflictClause;
use crate::load::write::outcome::{Counts, Failed};
use crate::load::write::params;
use crate::postgres::pipeline::Pipeline;
use crate::{Error, Result};

/// Prepared to insert rows over one connection.
#[derive(Debug)]
pub(crate) struct Rows {
    table: TableName,
    targets: Arc<ColumnMapping>,
    /// What stands behind the values.
    suffix: String,
    prepared: (Arc<[ValueFormat]>, Statement),
    depth: usize,
}

impl Rows {
    /// Prepare the INSERT, with the columns' own types.
    ///
    /// # Errors
    /// When the server refuses it.
    pub(crate) async fn prepare(
        client: &Client,
        table: &TableName,
        targets: &Arc<ColumnMapping>,
        clause: Option<&ConflictClause>,
        depth: usize,
    ) -> Result<Rows> {
        // A row that was updated has the updating transaction in its xmax.
        let suffix = clause.map_or_else(String::new, |clause| format!(" {} RETURNING xmax = 0", clause.sql));
        let formats = targets.formats(Mode::Rows);
        let statement = prepare(client, table, targets, &formats, &suffix).await?;
        let prepared = (formats, statement);
        Ok(Rows { table: table.clone(), targets: Arc::clone(targets), suffix, prepared, depth })
    }

    /// The statement for `formats`, prepared when they change.
    async fn statement(&mut self, client: &Client, formats: &Arc<[ValueFormat]>) -> Result<Statement> {
        if self.prepared.0 != *formats {
            let statement = prepare(client, &self.table, &self.targets, formats, &self.suffix).await?;
            self.prepared = (Arc::clone(formats), statement);
        }
        Ok(self.prepared.1.clone())
    }

    /// Insert what `feed` gives; the first refused row is the failure.
    ///
    /// Rows behind it are on the way: inside a transaction they fail too, and with autocommit they count, so
    /// all of them are awaited, and counted in either case.
    pub(crate) async fn insert(
        &mut self,
        client: &Client,
        feed: &mut ChunkFeed<'_>,
    ) -> (Counts, Result<(), Failed>) {
        let mut window = Pipeline::new(self.depth);
        let mut seen = Seen::default();
        loop {
            let next = async {
                let Some(chunk) = feed.next().await? else { return Ok(None) };
                let statement = self.statement(client, &chunk.formats).await?;
                Ok(Some((chunk, statement)))
            };
            let (chunk, statement) = match next.await {
                Ok(Some(next)) => next,
                Ok(None) => break,
                Err(error) => {
                    let error: Error = error;
                    // A row before it may have been refused, which is then the first error.
                    seen.drain(&mut window).await;
                    return (seen.counts, seen.outcome.and(Err(error.into())));
                }
            };
            for row in 0..chunk.rows() {
                while window.is_full() && seen.outcome.is_ok() {
                    seen.take(window.pop().await);
                }
                if seen.outcome.is_err() {
                    break;
                }
                let inserted = insert_one(client, statement.clone(), &chunk, row);
                window.push_sized(inserted, chunk.bytes(row)).await;
            }
            if seen.outcome.is_err() {
                break;
            }
        }
        seen.drain(&mut window).await;
        (seen.counts, seen.outcome)
    }

    /// Insert each of `rows` under a savepoint of its own, so that a refused one leaves the others alone; returns
    /// what became of each.
    ///
    /// # Errors
    /// When no savepoint can be set or gone back to.
    pub(crate) async fn insert_each(
        &mut self,
        client: &Client,
        chunk: &Chunk,
        rows: Range<usize>,
    ) -> Result<Vec<Result<Counts, PgError>>> {
        let statement = self.statement(client, &chunk.formats).await?;
        let failed =
            |error| Error::database(&format!("set a savepoint while loading {}", self.table), &error);
        client.batch_execute("SAVEPOINT one_row").await.map_err(failed)?;
        let mut window = Pipeline::new(self.depth);
        let mut answers = Vec::with_capacity(rows.len());
        for row in rows {
            while window.is_full() {
                answers.extend(window.pop().await);
            }
            let insert = insert_one(client, statement.clone(), chunk, row);
            // Nobody waits for the answer to the INSERT. If it is refused, so is the first of these, and the second
            // undoes it; if not, the first one keeps the row, and there is nothing to undo.
            let keep = client.batch_execute("RELEASE one_row; SAVEPOINT one_row");
            let undo = client.batch_execute("ROLLBACK TO one_row");
            let answer = async move {
                let (inserted, kept, undone) = join3(insert, keep, undo).await;
                let answer = inserted.and_then(|counts| kept.map(|()| counts));
                undone.map(|()| answer)
            };
            window.push_sized(answer, chunk.bytes(row)).await;
        }
        while let Some(answer) = window.pop().await {
            answers.push(answer);
        }
        let answers = answers.into_iter().collect::<Result<_, _>>().map_err(failed)?;
        client.batch_execute("RELEASE one_row").await.map_err(failed)?;
        Ok(answers)
    }
}

/// Prepare the INSERT for values in `formats`.
async fn prepare(
    client: &Client,
    table: &TableName,
    targets: &ColumnMapping,
    formats: &[ValueFormat],
    suffix: &str,
) -> Result<Statement> {
    let values = targets.columns.iter().zip(formats).enumerate().map(|(index, (target, format))| {
        let parameter = format!("${}", index + 1);
        let read = || target.column.read_with_modifier(&format!("{parameter}::pg_catalog.text"));
        (*format == ValueFormat::Text).then(read).flatten().unwrap_or(parameter)
    });
    let values = values.collect::<Vec<_>>().join(", ");
    let sql = format!("{} VALUES ({values}){suffix}", targets.insert_into(table));
    let prepared = client.prepare(&sql).await;
    prepared.map_err(|error| Error::database(&format!("prepare the INSERT into {table}"), &error))
}

/// How many rows it inserted, and how many it updated.
fn insert_one<'a>(
    client: &'a Client,
    statement: Statement,
    chunk: &Chunk,
    row: usize,
) -> impl Future<Output = Result<Counts, PgError>> + use<'a> {
    let tuple: Tuple = chunk.tuple(row);
    let parameters = params::parameters(tuple, Arc::clone(&chunk.formats));
    async move {
        if statement.columns().is_empty() {
            let inserted = client.execute_raw(&statement, parameters).await?;
            return Ok(Counts { inserted, updated: 0 });
        }
        let rows = client.query_raw(&statement, parameters).await?;
        let mut rows = std::pin::pin!(rows);
        let mut counts = Counts::default();
        while let Some(row) = futures::TryStreamExt::try_next(&mut rows).await? {
            if row.get(0) { counts.inserted += 1 } else { counts.updated += 1 }
        }
        Ok(counts)
    }
}

/// What the answers so far come to.
struct Seen {
    counts: Counts,
    answers: u64,
    outcome: Result<(), Failed>,
}

impl Default for Seen {
    fn default() -> Self {
        Seen { counts: Counts::default(), answers: 0, outcome: Ok(()) }
    }
}

impl Seen {
    /// Count one answer; of the errors the first is kept, since those behind it only say so.
    fn take(&mut self, answer: Option<Result<Counts, PgError>>) {
        let row = self.answers;
        match answer {
            Some(Ok(counts)) => self.counts += counts,
            Some(Err(error)) if self.outcome.is_ok() => {
                self.outcome = Err(Failed::Server { error, rows: Some((row, row)) });
            }
            _ => {}
        }
        self.answers += 1;
    }

    async fn drain<F: Future<Output = Result<Counts, PgError>>>(&mut self, window: &mut Pipeline<F>) {
        while let Some(answer) = window.pop().await {
            self.take(Some(answer));
        }
    }
}
