//! What tests of `load` share.

use std::pin::pin;

use futures::StreamExt;
use tokio_postgres::Client;

use super::cli::Workplace;

/// The modes that write to a server.
pub(crate) const MODES: [&str; 3] = ["rows", "batch", "copy"];

/// A workplace on a database of its own, in which `sql` was run, with `csv` as data.csv.
pub(crate) async fn workplace(sql: &str, csv: impl AsRef<[u8]>) -> (Workplace, Client) {
    let database = super::database().await;
    let workplace = Workplace::on(&database);
    workplace.write("data.csv", csv);
    let client = database.connect().await;
    client.batch_execute(sql).await.unwrap();
    (workplace, client)
}

/// What `query` returns, as CSV without quotes where none are needed.
pub(crate) async fn csv_of(client: &Client, query: &str) -> String {
    let mut rows = pin!(client.copy_out(&format!("COPY ({query}) TO STDOUT (FORMAT csv)")).await.unwrap());
    let mut csv = Vec::new();
    while let Some(bytes) = rows.next().await {
        csv.extend_from_slice(&bytes.unwrap());
    }
    String::from_utf8(csv).unwrap()
}
