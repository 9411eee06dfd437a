//! What tests of `query` share.

use std::time::{Duration, Instant};

use rustix::process::Pid;
use tokio_postgres::Client;

use super::cli::Workplace;

/// A statement that leaves a trace of every time it runs, even if it is rolled back.
pub(crate) const ASK: &str = "SELECT nextval('asked')";

/// A workplace on a database of its own in which `sql` was run.
pub(crate) async fn workplace(sql: &str) -> (Workplace, Client) {
    let database = super::database().await;
    let client = database.connect().await;
    client.batch_execute(sql).await.unwrap();
    (Workplace::on(&database), client)
}

/// A workplace that has a server to itself, which the program starts, with `more` in its section of the configuration.
pub(crate) fn workplace_with_server(more: &str) -> Workplace {
    let workplace = Workplace::nowhere();
    // When root tests, the server's user has to get through.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(workplace.path(""), open).unwrap();
    let directory = workplace.path("server").display().to_string();
    workplace.write("config.toml", format!("[server]\ndirectory = '{directory}'\n{more}\n"));
    workplace
}

/// The number that `sql` returns.
pub(crate) async fn number(client: &Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.unwrap().get(0)
}

/// The texts that `sql` returns.
pub(crate) async fn texts(client: &Client, sql: &str) -> Vec<String> {
    client.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

/// Wait until the sequence `asked` has been asked for `least` numbers.
pub(crate) async fn wait_until_asked(client: &Client, least: i64) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while number(client, "SELECT last_value FROM asked").await < least {
        assert!(Instant::now() < deadline, "nobody asks");
    }
}

/// Wait until then, and name the process that was asked by [`ASK`].
pub(crate) async fn asked(client: &Client, least: i64) -> Pid {
    wait_until_asked(client, least).await;
    let sql = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query = $1";
    let row = client.query_one(sql, &[&ASK]).await.unwrap();
    Pid::from_raw(row.get(0)).unwrap()
}
