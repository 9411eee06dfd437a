//! How many queries a second: one prepared statement, over and over, on several connections, pipelined.
//!
//! A closed loop: every connection keeps up to the pipeline depth of queries on the way, and sends the next
//! one when an answer comes. Nothing is measured before all connections are open and have prepared.

mod arguments;
mod latency;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio_postgres::{Client, Error as PgError, Statement};

pub use arguments::{Argument, Arguments};
pub use latency::{Latencies, LatencySummary};

use crate::config::{QuerySettings, Workload};
use crate::error::Kind;
use crate::postgres::database::{Database, ServerFacts};
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
}

/// What all connections share.
struct Run {
    queries: u64,
    depth: usize,
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
    let QuerySettings { name, workload, queries, connections, pipeline_depth, seed, .. } = settings;
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
    if let Some(error) = total.first_error.as_ref().filter(|error| ends_the_run(error)) {
        return Err(Error::database(&doing(), error));
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

/// Prepare the workload's statement, and see that it has as many parameters as arguments.
///
/// # Errors
/// The server's refusal, or the two numbers.
pub async fn prepare(client: &Client, name: &str, workload: &Workload) -> Result<Statement> {
    let statement = client.prepare(&workload.sql).await.map_err(|error| {
        let refusal = Error::database(&format!("prepare query {name}, {}", workload.sql), &error);
        let remedy = format!("correct sql under [query.{name}] in config.toml");
        if refusal.help().is_some() { refusal } else { refusal.with_help(remedy) }
    })?;
    let (parameters, args) = (statement.params().len(), workload.args.len());
    if parameters != args {
        return Err(Error::config(format!(
            "query {name} has {parameters} parameters and {args} args: {}",
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
        loop {
            if window.is_full() {
                self.take(window.pop().await, &mut tally);
            }
            let index = self.next.fetch_add(1, Relaxed);
            if index >= self.queries || self.counters.is_cancelled() {
                break;
            }
            window.push(ask_one(client, statement, self.arguments.draw(index))).await;
        }
        while let Some(answer) = window.pop().await {
            self.take(Some(answer), &mut tally);
        }
        tally
    }

    fn take(&self, answer: Option<Result<Duration, PgError>>, tally: &mut Tally) {
        match answer {
            Some(Ok(latency)) => {
                tally.answered += 1;
                tally.latencies.record(latency);
            }
            Some(Err(error)) => {
                if ends_the_run(&error) {
                    self.next.store(self.queries, Relaxed);
                }
                tally.errors += 1;
                tally.first_error.get_or_insert(error);
            }
            None => return,
        }
        self.counters.add(1, 0);
    }
}

/// How long it took to get the whole answer.
async fn ask_one<'a>(
    client: &Client,
    statement: &Statement,
    arguments: impl ExactSizeIterator<Item = Argument<'a>>,
) -> Result<Duration, PgError> {
    let sent = Instant::now();
    let rows = client.query_raw(statement, arguments).await?;
    let mut rows = std::pin::pin!(rows);
    while rows.try_next().await?.is_some() {}
    Ok(sent.elapsed())
}

/// Whether no later query can be answered either.
fn ends_the_run(error: &PgError) -> bool {
    error.is_closed() || error.as_db_error().is_none()
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.latencies.add(&other.latencies);
        self.answered += other.answered;
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
    }
}
