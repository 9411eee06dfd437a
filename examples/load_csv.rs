//! Load CSV files into a table, and set bad rows aside.
//!
//! ```console
//! $ cargo run --example load_csv -- people persons.csv more.csv
//! ```
//!
//! The first argument is the table, which is created if it does not exist; the others are files or glob patterns. The
//! server is that of `DATABASE_URL` or the `PG*` variables, or else the embedded one.

use std::sync::Arc;

use postgres_etl::load::{CreateOptions, LoadOptions, Loader, Mode, RejectLimit};
use postgres_etl::postgres::{Database, DatabaseOptions};
use postgres_etl::{Error, Progress, Result};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let table = arguments.next().ok_or_else(|| Error::usage("name a table and the files to load into it"))?;
    let options = LoadOptions::new(arguments, &table)?
        .mode(Mode::Copy)
        .create(CreateOptions::default())
        .max_rejects(RejectLimit::Percent(1.0), "rejects.csv");
    // Contradictions and missing files are found before a server is contacted.
    let loader = Loader::new(&options)?;
    let open = loader.open().await?;

    let database = Database::open(DatabaseOptions::from_env()?, |note| eprintln!("{note}")).await?;
    let progress = Arc::new(Progress::with_notes(|note| eprintln!("{note}")));
    let report = open.run(&database, &progress).await?;
    println!(
        "{} rows into {}: {} rejected, {:.0} rows/s",
        report.rows_loaded, report.table, report.rows_rejected, report.rows_per_second
    );
    database.close().await
}
