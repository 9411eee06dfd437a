//! Mode rows: one prepared INSERT a row, pipelined.

use tokio_postgres::{Client, Error as PgError, Statement};

use super::conflict::Clause;
use super::feed::{Counts, Failed, Feed};
use super::raw;
use super::target::Targets;
use super::tuples::{Chunk, Tuple};
use crate::postgres::window::Window;
use crate::table::TableName;
use crate::{Error, Result};

/// Prepared to insert rows over one connection.
#[derive(Debug)]
pub struct Rows {
    statement: Statement,
    depth: usize,
}

impl Rows {
    /// Prepare the INSERT, with the columns' own types.
    ///
    /// # Errors
    /// When the server refuses it.
    pub async fn prepare(
        client: &Client,
        table: &TableName,
        targets: &Targets,
        clause: Option<&Clause>,
        depth: usize,
    ) -> Result<Rows> {
        let parameters: Vec<String> =
            (1..=targets.columns.len()).map(|number| format!("${number}")).collect();
        let mut sql = format!("{} VALUES ({})", targets.insert_into(table), parameters.join(", "));
        if let Some(clause) = clause {
            // A row that was updated has the updating transaction in its xmax.
            sql = format!("{sql} {} RETURNING xmax = 0", clause.sql);
        }
        let statement = client
            .prepare(&sql)
            .await
            .map_err(|error| Error::database(&format!("prepare the INSERT into {table}"), &error))?;
        Ok(Rows { statement, depth })
    }

    /// Insert what `feed` gives; the first refused row is the failure.
    ///
    /// Rows behind it are on the way: inside a transaction they fail too, and with autocommit they count, so
    /// all of them are awaited, and counted in either case.
    pub async fn insert(&self, client: &Client, feed: &mut Feed<'_>) -> (Counts, Result<(), Failed>) {
        let mut window = Window::new(self.depth);
        let mut seen = Seen::default();
        loop {
            let chunk = match feed.next().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                Err(error) => {
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
                window.push_sized(self.insert_one(client, &chunk, row), chunk.bytes(row)).await;
            }
            if seen.outcome.is_err() {
                break;
            }
        }
        seen.drain(&mut window).await;
        (seen.counts, seen.outcome)
    }

    /// How many rows it inserted, and how many it updated.
    fn insert_one<'a>(
        &'a self,
        client: &'a Client,
        chunk: &Chunk,
        row: usize,
    ) -> impl Future<Output = Result<Counts, PgError>> + use<'a> {
        let tuple: Tuple = chunk.tuple(row);
        let parameters = raw::parameters(tuple, std::sync::Arc::clone(&chunk.formats));
        async move {
            if self.statement.columns().is_empty() {
                let inserted = client.execute_raw(&self.statement, parameters).await?;
                return Ok(Counts { inserted, updated: 0 });
            }
            let rows = client.query_raw(&self.statement, parameters).await?;
            let mut rows = std::pin::pin!(rows);
            let mut counts = Counts::default();
            while let Some(row) = futures::TryStreamExt::try_next(&mut rows).await? {
                if row.get(0) { counts.inserted += 1 } else { counts.updated += 1 }
            }
            Ok(counts)
        }
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

    async fn drain<F: Future<Output = Result<Counts, PgError>>>(&mut self, window: &mut Window<F>) {
        while let Some(answer) = window.pop().await {
            self.take(Some(answer));
        }
    }
}
