//! How many queries a second: one prepared statement, over and over, on several connections, pipelined.
//!
//! A closed loop: every connection keeps up to the pipeline depth of queries on the way, and sends the next
//! one when an answer comes. Nothing is measured before all connections are open and have prepared.

mod arguments;
mod latency;

use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error as PgError, Statement};

pub use arguments::{Argument, Arguments};
pub use latency::{Latencies, LatencySummary};

use crate::config::{QuerySettings, Workload};
use crate::error::Kind;
use crate::postgres::database::{Database, ServerFacts};
use crate::postgres::sync_batching::is_skipped;
use crate::postgres::window::Window;
use crate::progress::Counters;
use crate::table::{Table, TableName};
use crate::{Error, Result};

/// What a run of queries came to.
#[derive(Debug, Clone, Serialize)]
pub struct QueryReport {
    /// `query`.
    pub command: &'static str,
    /// The workload's name.
    pub workload: String,
    /// Its statement.
    pub sql: String,
    /// Queries that were answered, or refused.
    pub queries: u64,
    /// Those of them that were refused.
    pub errors: u64,
    /// The first refusal.
    pub first_error: Option<String>,
    /// From the first query sent to the last answer.
    pub seconds: f64,
    /// Answered queries by `seconds`.
    pub queries_per_second: f64,
    /// From sending a query to having its whole answer; refused ones do not count.
    pub latency_us: LatencySummary,
    /// Connections asked over.
    pub connections: usize,
    /// Queries on the way at once on each of them.
    pub pipeline_depth: usize,
    /// Queries that shared a Sync, at most; when it is more than 1 they ran read-only.
    pub sync_every: NonZero<usize>,
    /// Where the arguments started.
    pub seed: u64,
    /// The table whose rows were counted first.
    pub table: String,
    /// How many it had.
    pub table_rows: u64,
    /// How long the count took.
    pub count_seconds: f64,
    /// The server, and the settings that a time depends on.
    pub server: ServerFacts,
}

/// What one connection, or all of them, saw.
#[derive(Debug, Default)]
struct Tally {
    latencies: Latencies,
    answered: u64,
    errors: u64,
    first_error: Option<PgError>,
    /// Whether that error ended the run.
    is_ended: bool,
}

/// A query to ask.
#[derive(Debug, Clone, Copy)]
struct Query {
    index: u64,
    /// When it was sent first.
    sent: Instant,
}

/// What all connections share.
struct Run {
    queries: u64,
    depth: usize,
    /// Whether queries share Syncs, and so may be skipped for the failure of another.
    batches: bool,
    arguments: Arguments,
    /// The next query that nobody has sent.
    next: AtomicU64,
    counters: Arc<Counters>,
}

/// Run the workload of `settings`.
///
/// # Errors
/// When the table is missing or empty, or the statement does not prepare or does not fit its arguments.
/// Refused queries do not end a run, they are counted; a lost connection ends it.
pub async fn query(
    settings: &QuerySettings,
    database: &Database,
    counters: &Arc<Counters>,
) -> Result<QueryReport> {
    let QuerySettings { name, workload, queries, connections, pipeline_depth, sync_every, seed, .. } =
        settings;
    let client = database.connection().await?;
    let server = ServerFacts::of(&**client).await?;
    let counting = Instant::now();
    let (table, table_rows) = count_rows(&client, &settings.table.name).await?;
    let count_seconds = counting.elapsed().as_secs_f64();
    let arguments = Arguments::new(name, workload, table_rows, *seed)?;
    // Before anything else opens, because this is the error to see.
    prepare(&client, name, workload).await?;
    drop(client);

    let mut workers = Vec::with_capacity(*connections);
    for _ in 0..*connections {
        let client = database.connection().await?;
        let statement = prepare(&client, name, workload).await?;
        workers.push((client, statement));
    }
    let run = Arc::new(Run {
        queries: *queries,
        depth: *pipeline_depth,
        batches: sync_every.get() > 1,
        arguments,
        next: AtomicU64::new(0),
        counters: Arc::clone(counters),
    });
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for (client, statement) in workers {
        let run = Arc::clone(&run);
        tasks.spawn(async move { run.ask(&client, &statement).await });
    }
    let mut total = Tally::default();
    while let Some(tally) = tasks.join_next().await {
        total.add(tally.expect("a worker neither panics nor is aborted"));
    }
    let seconds = started.elapsed().as_secs_f64();
    if counters.is_cancelled() {
        return Err(Error::interrupted());
    }
    let doing = || format!("run query {name}");
    if let Some(error) = total.first_error.as_ref().filter(|error| run.is_ended_by(error)) {
        let told = Error::database(&doing(), error);
        return Err(match error.code() {
            Some(code) if run.batches && *code == SqlState::READ_ONLY_SQL_TRANSACTION => told.with_help(
                "queries that share a Sync run read-only; --sync-every 1 gives each its own, and lets it write",
            ),
            _ => told,
        });
    }
    Ok(QueryReport {
        command: "query",
        workload: name.clone(),
        sql: workload.sql.clone(),
        queries: total.answered + total.errors,
        errors: total.errors,
        first_error: total.first_error.map(|error| Error::database(&doing(), &error).to_string()),
        seconds,
        queries_per_second: total.answered as f64 / seconds,
        latency_us: total.latencies.summary(),
        connections: *connections,
        pipeline_depth: *pipeline_depth,
        sync_every: *sync_every,
        seed: *seed,
        table: table.to_string(),
        table_rows,
        count_seconds,
        server,
    })
}

/// The tutorial's summary query, which also says whether there is anything to ask.
async fn count_rows(client: &Client, name: &TableName) -> Result<(TableName, u64)> {
    let load = "load it first: postgres-etl load";
    let Some(Table { name, .. }) = Table::find(client, name).await? else {
        return Err(Error::new(Kind::Database, format!("there is no table {name} to query")).with_help(load));
    };
    let count = client.query_one(&format!("SELECT COUNT(*) FROM {}", name.sql()), &[]).await;
    let count = count.map_err(|error| Error::database(&format!("count the rows of {name}"), &error))?;
    match u64::try_from(count.get::<_, i64>(0)) {
        Ok(rows) if rows > 0 => Ok((name, rows)),
        _ => Err(Error::new(Kind::Database, format!("table {name} is empty")).with_help(load)),
    }
}

fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// Prepare the workload's statement, and see that it has as many parameters as arguments.
///
/// # Errors
/// The server's refusal, or the two numbers.
pub async fn prepare(client: &Client, name: &str, workload: &Workload) -> Result<Statement> {
    if workload.sql.trim_matches(|c: char| c.is_whitespace() || c == ';').is_empty() {
        return Err(
            Error::config(format!("[query.{name}] sql is empty")).with_help("write a statement there")
        );
    }
    let statement = client.prepare(&workload.sql).await.map_err(|error| {
        let refusal = Error::statement(&format!("[query.{name}]"), &workload.sql, &error);
        let remedy = format!("correct sql under [query.{name}] in config.toml");
        if refusal.help().is_some() { refusal } else { refusal.with_help(remedy) }
    })?;
    let (parameters, args) = (statement.params().len(), workload.args.len());
    if parameters != args {
        return Err(Error::config(format!(
            "query {name} has {} and args has {}: {}",
            count(parameters, "parameter", "parameters"),
            count(args, "entry", "entries"),
            workload.sql
        ))
        .with_help(format!("give [query.{name}] one entry of args for each of $1, $2 …")));
    }
    Ok(statement)
}

impl Run {
    /// Send queries over one connection, and take their answers, until there are none left to send.
    async fn ask(&self, client: &Client, statement: &Statement) -> Tally {
        let mut tally = Tally::default();
        let mut window = Window::new(self.depth);
        let mut skipped = Vec::new();
        loop {
            while !window.is_full()
                && let Some(query) = skipped.pop().or_else(|| self.next_query())
            {
                window.push(self.ask_one(client, statement, query)).await;
            }
            match window.pop().await {
                // It never ran, and reads only: it is asked again, and neither counts as refused nor is lost.
                Some((query, Err(error))) if self.asks_again(&error) => skipped.push(query),
                Some((_, answer)) => self.take(answer, &mut tally),
                None => return tally,
            }
        }
    }

    /// The next query that nobody has sent.
    fn next_query(&self) -> Option<Query> {
        let index = self.next.fetch_add(1, Relaxed);
        let wanted = index < self.queries && !self.counters.is_cancelled();
        wanted.then(|| Query { index, sent: Instant::now() })
    }

    /// Whether the query of this error never ran.
    fn asks_again(&self, error: &PgError) -> bool {
        self.batches && is_skipped(error) && !self.counters.is_cancelled()
    }

    /// How long it took to get the whole answer.
    async fn ask_one(
        &self,
        client: &Client,
        statement: &Statement,
        query: Query,
    ) -> (Query, Result<Duration, PgError>) {
        let answer = async {
            let rows = client.query_raw(statement, self.arguments.draw(query.index)).await?;
            let mut rows = std::pin::pin!(rows);
            while rows.try_next().await?.is_some() {}
            Ok(query.sent.elapsed())
        };
        (query, answer.await)
    }

    fn take(&self, answer: Result<Duration, PgError>, tally: &mut Tally) {
        match answer {
            Ok(latency) => {
                tally.answered += 1;
                tally.latencies.record(latency);
            }
            Err(error) => {
                if self.is_ended_by(&error) {
                    self.next.store(self.queries, Relaxed);
                    // What ends a run is more to the point than what it went on after.
                    tally.first_error = None;
                    tally.is_ended = true;
                }
                tally.errors += 1;
                tally.first_error.get_or_insert(error);
            }
        }
        self.counters.add(1, 0);
    }

    /// Whether no later query can be answered either.
    fn is_ended_by(&self, error: &PgError) -> bool {
        error.is_closed()
            || match error.code() {
                // That the session is read-only is our doing.
                // The server shuts down, or somebody ended the session.
                Some(code) if code.code().starts_with("57P") => true,
                Some(code) => self.batches && *code == SqlState::READ_ONLY_SQL_TRANSACTION,
                None => true,
            }
    }
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.latencies.add(&other.latencies);
        self.answered += other.answered;
        self.errors += other.errors;
        if other.is_ended && !self.is_ended {
            (self.first_error, self.is_ended) = (other.first_error, true);
        } else {
            self.first_error = self.first_error.take().or(other.first_error);
        }
    }
}
