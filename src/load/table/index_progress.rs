//! How far the server is in building an index.

use std::time::Duration;

use tokio::time::sleep;
use tokio_postgres::{Client, Error as PgError};

use crate::postgres::server::SessionPool;
use crate::progress::Progress;

/// How often the server is asked. Most indexes are built before it is asked at all, and so without a connection for it.
const INTERVAL: Duration = Duration::from_secs(1);

/// The process ID of the backend of `client`; `None` if it cannot be asked for by others, as behind a pooler.
pub(super) async fn backend(client: &Client, pool: &SessionPool) -> Option<i32> {
    if pool.is_pooled() {
        return None;
    }
    let pid = client.query_one("SELECT pg_catalog.pg_backend_pid()", &[]).await;
    pid.ok().map(|row| row.get(0))
}

/// Pass on to `progress` what the server says of the index that backend `pid` is building, until dropped. It is asked
/// over a connection of its own; where none can be opened, it is not asked.
pub(super) async fn watch(pid: Option<i32>, pool: &SessionPool, progress: &Progress) {
    if let Some(pid) = pid {
        pass_on(pid, pool, progress).await;
    }
    std::future::pending::<()>().await;
}

/// As [`watch`], until the server cannot be asked.
async fn pass_on(pid: i32, pool: &SessionPool, progress: &Progress) {
    sleep(INTERVAL).await;
    let Ok(client) = pool.open_extra().await else { return };
    while let Ok(doing) = look(&client, pid).await {
        if let Some(detail) = doing {
            progress.set_detail(detail);
        }
        sleep(INTERVAL).await;
    }
}

/// What backend `pid` is doing to its index, and which part of it is done; `None` if it is not building one.
async fn look(client: &Client, pid: i32) -> Result<Option<String>, PgError> {
    let sql = "SELECT phase, blocks_done, blocks_total, tuples_done, tuples_total
               FROM pg_catalog.pg_stat_progress_create_index WHERE pid = $1 AND phase IS NOT NULL";
    let Some(row) = client.query_opt(sql, &[&pid]).await? else { return Ok(None) };
    let step = row.get::<_, String>(0);
    let step = step.strip_prefix("building index: ").unwrap_or(&step);
    // The counts of a step that is over stay while the next one goes on.
    let columns = match step {
        "scanning table" => Some((1, 2)),
        "loading tuples in tree" => Some((3, 4)),
        _ => None,
    };
    let count = |column: usize| row.get::<_, Option<i64>>(column).unwrap_or(0);
    // A step that has counted all has not ended yet.
    let share = columns.map(|(done, total)| (count(done), count(total))).filter(|(done, total)| done < total);
    Ok(Some(match share {
        Some((done, total)) => format!("{step}, {} %", done * 100 / total),
        None => step.to_owned(),
    }))
}
