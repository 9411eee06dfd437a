//! Measure how fast a server answers a statement.
//!
//! ```console
//! $ cargo run --release --example measure -- 'SELECT $1::int + 1' uniform:1:1000
//! ```
//!
//! The first argument is the statement, the others say where the values of `$1`, `$2` … come from, as `--arg` of
//! `postgres-etl query` does. The server is that of `DATABASE_URL` or the `PG*` variables, or else the embedded one.

use std::sync::Arc;
use std::time::Duration;

use postgres_etl::postgres::{Database, DatabaseOptions};
use postgres_etl::query::{ArgSpec, Limits, Meter, MeterOptions, MeterOutcome, RunMonitor};
use postgres_etl::{Error, Progress, Result};

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let sql = arguments.next().ok_or_else(|| Error::usage("give a statement"))?;
    let args: Vec<ArgSpec> =
        arguments.map(|argument| argument.parse()).collect::<Result<_, String>>().map_err(Error::usage)?;
    let options = MeterOptions::statement(&sql, args)?
        .connections(4)
        .limits(Limits { queries: Some(10_000), duration: Some(Duration::from_secs(10)) });
    let meter = Meter::new(options)?;

    let database = Database::open(DatabaseOptions::from_env()?, |note| eprintln!("{note}")).await?;
    let outcome = meter.run(&database, &RunMonitor::default(), &Arc::new(Progress::default())).await?;
    if let MeterOutcome::Run(report, _) = outcome {
        println!("{} queries, {} failed: {:.0}/s", report.queries, report.errors, report.queries_per_second);
        if let Some(response) = report.response_us {
            println!("response time: p50 {:.0} µs, p99 {:.0} µs", response.p50, response.p99);
        }
        println!("{}", report.bound.sentence);
    }
    database.close().await
}
