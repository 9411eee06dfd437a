//! What the tests of `load` share.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures::SinkExt as _;
use tokio_postgres::Client;

use super::workplace::Workplace;

/// The longest that a load may take to end after a fault.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The modes that write to a server.
pub(crate) const MODES: [&str; 3] = ["rows", "batch", "copy"];

/// The table of the tutorial, as the program creates it.
pub(crate) const PERSONS: &str = "CREATE TABLE persons (id integer PRIMARY KEY, name text, age smallint,
    ismarried boolean, city text, state text, country text)";

/// The header of a file for [`PERSONS`].
pub(crate) const HEADER: &str = "id,name,age,isMarried,city,state,country\n";

/// Fill `table` with what the server's own COPY makes of `csv`.
pub(crate) async fn copy_csv(workplace: &Workplace, table: &str, csv: &[u8]) {
    try_copy_csv(workplace, table, csv).await.unwrap();
}

/// As [`copy_csv`], or the server's refusal.
pub(crate) async fn try_copy_csv(
    workplace: &Workplace,
    table: &str,
    csv: &[u8],
) -> Result<(), tokio_postgres::Error> {
    let sql = format!("COPY {table} FROM STDIN (FORMAT csv, HEADER)");
    let mut sink = pin!(workplace.client().copy_in::<_, Bytes>(&sql).await?);
    sink.send(Bytes::copy_from_slice(csv)).await?;
    sink.finish().await.map(|_| ())
}

/// Wait until no session of a load is connected to the database of `client`, for as long as a load may take to end.
pub(crate) async fn wait_for_no_session(client: &Client) {
    let sql = "SELECT count(*) FROM pg_stat_activity
               WHERE datname = current_database() AND application_name = 'postgres-etl'";
    let none = async {
        while client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, none).await.expect("no session is left behind");
}

/// The counts of a report under `keys`.
pub(crate) fn counts<const N: usize>(report: &serde_json::Value, keys: [&str; N]) -> [u64; N] {
    keys.map(|key| report[key].as_u64().unwrap())
}
