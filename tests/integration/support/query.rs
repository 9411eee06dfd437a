//! What the tests of `query` share.

use std::time::{Duration, Instant};

use rustix::process::Pid;

use super::workplace::Workplace;

/// A query that advances the sequence `asked` each time it runs, even if it is rolled back.
pub(crate) const ASK: &str = "SELECT nextval('asked')";

/// A workplace with `rows` people in the table `persons`.
pub(crate) async fn workplace_with_people(rows: u32) -> Workplace {
    let workplace = Workplace::new().await;
    workplace.succeed(&["generate", "-n", &rows.to_string(), "-o", "people.csv"]);
    workplace.succeed(&["load", "people.csv"]);
    workplace
}

/// The sum of the counts under `key` of all items of the JSON array `items`.
pub(crate) fn sum(items: &serde_json::Value, key: &str) -> u64 {
    items.as_array().unwrap().iter().map(|item| item[key].as_u64().unwrap()).sum()
}

/// Wait until the sequence `asked` has reached `least`.
pub(crate) async fn wait_until_asked(client: &tokio_postgres::Client, least: i64) {
    let deadline = Instant::now() + Duration::from_secs(60);
    let last_value =
        async || -> i64 { client.query_one("SELECT last_value FROM asked", &[]).await.unwrap().get(0) };
    while last_value().await < least {
        assert!(Instant::now() < deadline, "no queries arrive");
    }
}

/// Wait until then, and return the backend that runs [`ASK`].
pub(crate) async fn backend_asked(workplace: &Workplace, least: i64) -> Pid {
    wait_until_asked(workplace.client(), least).await;
    // The newest: the one that the run was prepared on may not have ended yet.
    let sql = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query = $1
               ORDER BY backend_start DESC LIMIT 1";
    let row = workplace.client().query_one(sql, &[&ASK]).await.unwrap();
    Pid::from_raw(row.get(0)).unwrap()
}
