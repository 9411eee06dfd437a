//! What the tests of `load` share.

use std::pin::pin;
use std::process::Child;
use std::time::Instant;

use bytes::Bytes;
use futures::SinkExt as _;
use rustix::process::{Pid, Signal, kill_process};
use tokio_postgres::Client;

use super::workplace::Workplace;
use crate::PATIENCE;

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

/// Await `work`.
///
/// # Panics
/// When it has not ended after [`PATIENCE`].
pub(crate) async fn within_patience<T>(what: &str, work: impl Future<Output = T>) -> T {
    let ended = tokio::time::timeout(PATIENCE, work).await;
    ended.unwrap_or_else(|_| panic!("still awaited after {PATIENCE:?}: {what}"))
}

/// Wait until `condition` holds; `what` is awaited.
///
/// # Panics
/// When it does not hold after [`PATIENCE`].
pub(crate) async fn wait_until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let holds = async {
        while !condition().await {
            tokio::task::yield_now().await;
        }
    };
    within_patience(what, holds).await;
}

/// Wait until no session of a load is connected to the database of `client`.
pub(crate) async fn wait_for_no_session(client: &Client) {
    let sql = "SELECT count(*) FROM pg_stat_activity
               WHERE datname = current_database() AND application_name = 'postgres-etl'";
    let is_none = async || client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 0;
    wait_until("that no session is left behind", is_none).await;
}

/// Send `signal` to `child` until it has ended; signals that arrive together may count as one.
///
/// # Panics
/// When it has not ended after [`PATIENCE`].
pub(crate) fn signal_until_it_ends(child: &Child, signal: Signal) {
    let (pid, started) = (Pid::from_child(child), Instant::now());
    while !has_ended(pid) {
        assert!(started.elapsed() < PATIENCE, "{signal:?} does not end the program");
        kill_process(pid, signal).unwrap();
        std::thread::yield_now();
    }
}

/// Whether the process has ended, although its parent has yet to take note of it.
fn has_ended(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid())).unwrap();
    stat.rsplit_once(") ").unwrap().1.starts_with('Z')
}

/// The counts of a report under `keys`.
pub(crate) fn counts<const N: usize>(report: &serde_json::Value, keys: [&str; N]) -> [u64; N] {
    keys.map(|key| report[key].as_u64().unwrap())
}
