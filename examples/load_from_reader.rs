//! Load rows that a program makes: anything that is an `AsyncRead` can take the place of a file.
//!
//! ```console
//! $ cargo run --example load_from_reader
//! ```
//!
//! A task writes ten thousand measurements into one end of a pipe while the loader copies what comes out of the other.
//! The server is that of `DATABASE_URL` or the `PG*` variables, or else the embedded one.

use std::sync::Arc;

use postgres_etl::load::{LoadOptions, Loader};
use postgres_etl::postgres::{Database, DatabaseOptions};
use postgres_etl::{Error, Progress, Result};
use tokio::io::AsyncWriteExt as _;

const ROWS: u32 = 10_000;

#[tokio::main]
async fn main() -> Result<()> {
    let database = Database::open(DatabaseOptions::from_env()?, |note| eprintln!("{note}")).await?;
    let client = database.connection().await?;
    let create =
        "DROP TABLE IF EXISTS measurements; CREATE TABLE measurements (sensor int, celsius numeric(5, 2))";
    client.batch_execute(create).await.map_err(|error| Error::usage(error.to_string()))?;

    let (mut writer, reader) = tokio::io::duplex(64 * 1024);
    let producer = tokio::spawn(async move {
        writer.write_all(b"sensor,celsius\n").await?;
        for sensor in 0..ROWS {
            let celsius = f64::from(sensor % 400) / 10.0;
            writer.write_all(format!("{sensor},{celsius:.2}\n").as_bytes()).await?;
        }
        writer.shutdown().await
    });
    let loader = Loader::new(&LoadOptions::from_reader(reader, "the sensors", "measurements")?)?;
    let report = loader.run(&database, &Arc::new(Progress::default())).await?;
    producer.await.expect("the producer does not panic").map_err(|error| Error::output(error.to_string()))?;
    println!("{} rows from {} in one transaction", report.rows_loaded, report.path);
    drop(client);
    database.close().await
}
