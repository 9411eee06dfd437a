//! Sending one query, or one transaction, and reading its whole result.

use std::pin::pin;
use std::time::{Duration, Instant};

use futures::TryStreamExt as _;
use futures::future::join_all;
use serde::{Deserialize, Serialize};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Error as PgError, RowStream, SimpleQueryMessage};

use crate::query::drive::connection::Connection;
use crate::query::drive::digest::{Bytes, ResultDigest};
use crate::query::workload::mix::Mix;
use crate::query::workload::template::Template;

/// How statements are sent to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Parsed once per connection, then bound and executed.
    Prepared,
    /// Parsed, bound and executed every time, with parameters.
    Unnamed,
    /// Sent as text, with the arguments written into the statement.
    Simple,
}

/// One execution of a workload, from when it is due to its result.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PendingQuery {
    /// The index of the workload.
    pub workload: usize,
    /// The iteration of that workload, from 0, on which the arguments depend.
    pub iteration: u64,
    /// When it should be sent.
    pub due: Instant,
    /// When it was first sent.
    pub sent: Instant,
    /// When it was last sent.
    pub tried: Instant,
    /// How many times it was sent again, after a serialization failure or a deadlock.
    pub retries: u64,
    /// How long the server worked on earlier tries.
    pub earlier_tries: Duration,
}

/// A query with its result.
#[derive(Debug)]
pub(crate) struct Completion {
    /// The query.
    pub query: PendingQuery,
    /// When the last of the result was read.
    pub done: Instant,
    /// How long BEGIN, each statement and COMMIT of a transaction took; empty for a single statement.
    pub statements: Vec<Duration>,
    /// The result, or the server's error.
    pub result: Result<ResultDigest, PgError>,
}

/// The queries of a run, and how they are sent.
#[derive(Debug)]
pub(crate) struct QuerySender {
    /// The workloads and their arguments.
    pub mix: Mix,
    /// How statements are sent.
    pub protocol: Protocol,
    /// Whether only one statement is in flight at a time, so that each statement of a transaction waits for the one
    /// before it.
    pub one_by_one: bool,
    /// Whether queries share Syncs, so that the results of a transaction's statements may arrive together.
    pub shares_syncs: bool,
    /// Whether results are compared, and so have to be read.
    pub reads_results: bool,
    /// The statements for [`Protocol::Simple`].
    pub templates: Vec<Vec<Template>>,
}

impl QuerySender {
    /// Send a query through the driver.
    pub(crate) async fn send(&self, connection: &Connection, query: PendingQuery) -> Completion {
        let mut statements = Vec::new();
        let result = match &self.mix.workloads[query.workload].begin {
            None => self.statement(connection, query, 0).await,
            Some(begin) if self.one_by_one => {
                self.transaction_one_by_one(connection, query, begin, &mut statements).await
            }
            Some(begin) => self.transaction_pipelined(connection, query, begin, &mut statements).await,
        };
        Completion { query, done: Instant::now(), statements, result }
    }

    /// Send each statement when the result of the one before it has arrived, and add to `took` how long each took.
    async fn transaction_one_by_one(
        &self,
        connection: &Connection,
        query: PendingQuery,
        begin: &str,
        took: &mut Vec<Duration>,
    ) -> Result<ResultDigest, PgError> {
        let client = &connection.client;
        let mut digest = ResultDigest::default();
        let mut last = Instant::now();
        let mut lap = |last: &mut Instant| {
            let now = Instant::now();
            took.push(now - std::mem::replace(last, now));
        };
        client.batch_execute(begin).await?;
        lap(&mut last);
        for number in 0..self.mix.workloads[query.workload].statements.len() {
            match self.statement(connection, query, number).await {
                Ok(part) => digest = digest.and(part),
                Err(error) => {
                    // The first error is the one to report, whether or not this one fails too.
                    let _ = client.batch_execute("ROLLBACK").await;
                    return Err(error);
                }
            }
            lap(&mut last);
        }
        client.batch_execute("COMMIT").await?;
        lap(&mut last);
        Ok(digest)
    }

    /// Send all statements at once, and add to `took` how long each took, unless they share a Sync with others.
    async fn transaction_pipelined(
        &self,
        connection: &Connection,
        query: PendingQuery,
        begin: &str,
        took: &mut Vec<Duration>,
    ) -> Result<ResultDigest, PgError> {
        let client = &connection.client;
        let count = self.mix.workloads[query.workload].statements.len();
        let mut digest = ResultDigest::default();
        // The first poll sends all of it, so that no other query comes in between.
        let polled = Instant::now();
        let statements =
            join_all((0..count).map(|number| async move {
                (self.statement(connection, query, number).await, Instant::now())
            }));
        let stamped = |result: Result<(), PgError>| (result, Instant::now());
        let ((opened, at), parts, (committed, end)) =
            futures::join!(async { stamped(client.batch_execute(begin).await) }, statements, async {
                stamped(client.batch_execute("COMMIT").await)
            });
        opened?;
        let mut times = vec![polled, at];
        for (part, at) in parts {
            digest = digest.and(part?);
            times.push(at);
        }
        times.push(end);
        committed?;
        // If they share a Sync the first would seem to take as long as all.
        if !self.shares_syncs {
            took.extend(times.windows(2).map(|pair| pair[1].saturating_duration_since(pair[0])));
        }
        Ok(digest)
    }

    async fn statement(
        &self,
        connection: &Connection,
        query: PendingQuery,
        number: usize,
    ) -> Result<ResultDigest, PgError> {
        let client = &connection.client;
        let prepared = &connection.prepared[query.workload][number];
        let arguments = self.mix.arguments(query.workload, number, query.iteration);
        match self.protocol {
            Protocol::Prepared => self.read(client.query_raw(prepared, arguments).await?).await,
            Protocol::Unnamed => {
                let sql = &self.mix.workloads[query.workload].statements[number].sql;
                let typed = arguments.zip(prepared.params().iter().cloned());
                self.read(client.query_typed_raw(sql, typed).await?).await
            }
            Protocol::Simple => {
                let sql = self.templates[query.workload][number].with(arguments, prepared.params());
                let mut messages = pin!(client.simple_query_raw(&sql).await?);
                let mut digest = ResultDigest::default();
                while let Some(message) = messages.try_next().await? {
                    if let SimpleQueryMessage::Row(row) = message
                        && self.reads_results
                    {
                        digest.add_row((0..row.len()).map(|column| row.get(column).map(str::as_bytes)));
                    }
                }
                Ok(digest)
            }
        }
    }

    async fn read(&self, rows: RowStream) -> Result<ResultDigest, PgError> {
        let (mut rows, mut digest) = (pin!(rows), ResultDigest::default());
        while let Some(row) = rows.try_next().await? {
            if self.reads_results {
                let values =
                    (0..row.len()).map(|column| row.get::<_, Option<Bytes<'_>>>(column).map(|b| b.0));
                digest.add_row(values);
            }
        }
        Ok(digest)
    }
}

/// Whether the same transaction may succeed when it is tried again: after a serialization failure or a deadlock.
pub(crate) fn is_worth_another_try(error: &PgError) -> bool {
    [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED]
        .iter()
        .any(|state| error.code() == Some(state))
}
