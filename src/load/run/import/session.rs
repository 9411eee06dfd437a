//! The connection of an import, which is replaced when it is lost.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use deadpool_postgres::Object;
use tokio::time::{Instant, sleep};
use tokio_postgres::Client;

use crate::error::ErrorKind;
use crate::load::ledger::locks::{Access, LockName, in_use};
use crate::postgres::server::SessionPool;
use crate::progress::Progress;
use crate::{Error, Result};

/// How long a lock may be held by a session whose program was killed just now: the server notices when it next reads from
/// the connection, or looks after it.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// The pause between two looks at a lock.
pub(super) const PAUSE: Duration = Duration::from_millis(100);

/// The pause before the first retry; each further one in a row is twice as long, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);

const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Lets the server look every two seconds whether the program is still there, unless it looks anyway. Settings that it does
/// not know, as before version 14, are not in that view.
const NOTICE_DEATH: &str = "SELECT pg_catalog.set_config(name, '2000', false) FROM pg_catalog.pg_settings
                            WHERE name = 'client_connection_check_interval' AND setting = '0'";

/// The connection of an import, and its lock on the import.
pub(super) struct ImportSession<'a> {
    pool: &'a SessionPool,
    progress: &'a Progress,
    id: &'a str,
    lock: LockName,
    access: Access,
    client: Option<Object>,
    /// The backend of the latest connection; `None` before the first, and behind a pooler.
    pid: Option<i32>,
}

impl<'a> ImportSession<'a> {
    /// A session of the import `id` on `client`, one of the connections of `pool`, that will take `lock`.
    pub(super) fn new(
        (pool, progress): (&'a SessionPool, &'a Progress),
        id: &'a str,
        (lock, access): (LockName, Access),
    ) -> Self {
        ImportSession { pool, progress, id, lock, access, client: None, pid: None }
    }

    /// The connections that it takes one of.
    pub(super) fn pool(&self) -> &'a SessionPool {
        self.pool
    }

    /// Begin on the connection `client`.
    ///
    /// # Errors
    /// As [`ImportSession::take`].
    pub(super) async fn begin(&mut self, client: Object) -> Result<()> {
        self.lock(&client).await?;
        self.client = Some(client);
        Ok(())
    }

    /// Take the connection, for a transaction; open a new one if the last one was lost.
    ///
    /// # Errors
    /// When the server cannot be reached, and [`ErrorKind::InUse`] when another run works on the import.
    pub(super) async fn take(&mut self) -> Result<Object> {
        if let Some(client) = self.client.take().filter(|client| !client.is_closed()) {
            return Ok(client);
        }
        let client = self.pool.get().await?;
        self.lock(&client).await?;
        Ok(client)
    }

    /// Give `client` back, on which no transaction is open.
    pub(super) fn give_back(&mut self, client: Object) {
        self.client = Some(client);
    }

    /// Roll back what `client` has begun, and give it back if it still can be used.
    pub(super) async fn roll_back(&mut self, client: Object) {
        if !client.is_closed() && client.batch_execute("ROLLBACK").await.is_ok() {
            self.client = Some(client);
        } else {
            drop(Object::take(client));
        }
    }

    /// Lock the import for the session of `client`. Behind a pooler the session is not this connection's alone: there only
    /// the locks of chunks keep two runs apart.
    async fn lock(&mut self, client: &Client) -> Result<()> {
        if self.pool.is_pooled() {
            return Ok(());
        }
        let failed = |error| Error::database(&format!("lock import {}", self.id), error);
        // While it is at work, a server does not notice that this process has died, unless it looks: it would finish a long
        // statement first, and keep the lock. Not every system can look.
        client.execute(NOTICE_DEATH, &[]).await.ok();
        let started = Instant::now();
        let pid = client.query_one("SELECT pg_catalog.pg_backend_pid()", &[]).await.map_err(failed)?.get(0);
        while !self.lock.try_for_session(client, self.access).await.map_err(failed)? {
            let holders = self.lock.holders(client).await.map_err(failed)?;
            if self.progress.is_cancelled() {
                return Err(Error::interrupted());
            }
            if started.elapsed() > PATIENCE && !holders.is_empty() {
                return Err(in_use(self.id, &holders));
            }
            // The connection was lost, and the server does not know yet.
            if let Some(own) = holders.iter().find(|holder| Some(holder.pid) == self.pid) {
                let terminate = "SELECT pg_catalog.pg_terminate_backend($1)";
                client.execute(terminate, &[&own.pid]).await.map_err(failed)?;
            }
            sleep(PAUSE).await;
        }
        self.pid = Some(pid);
        Ok(())
    }
}

impl Drop for ImportSession<'_> {
    fn drop(&mut self) {
        // In the pool it would keep its lock.
        if let Some(client) = self.client.take() {
            drop(Object::take(client));
        }
    }
}

/// How often something is tried again that cannot be done twice.
#[derive(Debug)]
pub(super) struct Retries {
    allowed: u32,
    in_a_row: u32,
    /// All of them.
    pub(super) total: u32,
}

impl Retries {
    /// At most `allowed` retries in a row.
    pub(super) fn new(allowed: u32) -> Self {
        Retries { allowed, in_a_row: 0, total: 0 }
    }

    /// It worked: the next failure is the first in a row.
    pub(super) fn succeed(&mut self) {
        self.in_a_row = 0;
    }

    /// Wait before the next try, after `error`.
    ///
    /// # Errors
    /// `error`, if it is not one that passes, or there were enough tries; and when `progress` is cancelled.
    pub(super) async fn pause(&mut self, error: Error, progress: &Progress) -> Result<()> {
        if progress.is_cancelled() {
            return Err(Error::interrupted());
        }
        if !is_transient(&error) {
            return Err(error);
        }
        if self.in_a_row == self.allowed {
            let tried = match self.allowed {
                0 => return Err(error),
                1 => "1 retry did not help".to_owned(),
                more => format!("{more} retries in a row did not help"),
            };
            return Err(error.and(&tried));
        }
        self.in_a_row += 1;
        self.total += 1;
        let pause = self.backoff();
        progress.note(&format!(
            "{error}; trying again in {} ms, retry {} of {}",
            pause.as_millis(),
            self.in_a_row,
            self.allowed
        ));
        tokio::select! {
            () = sleep(pause) => Ok(()),
            () = progress.cancelled() => Err(Error::interrupted()),
        }
    }

    /// The next pause, of which up to a half is left to chance, so that processes which failed together do not try again
    /// together.
    fn backoff(&self) -> Duration {
        let longest = FIRST_PAUSE.saturating_mul(1 << (self.in_a_row - 1).min(16)).min(LONGEST_PAUSE);
        let chance = RandomState::new().hash_one(self.total) as f64 / u64::MAX as f64;
        longest.mul_f64(0.5 + chance / 2.0)
    }
}

/// Whether `error` can pass by itself: a lost connection, a deadlock, a serialization failure, or a server that starts, has
/// no connection left, or gives up its place.
fn is_transient(error: &Error) -> bool {
    match error.sqlstate() {
        // PgBouncer reports everything as 08P01; its mode does not change.
        Some("08P01") => !error.to_string().contains("pooling mode"),
        Some(code) => {
            code.starts_with("08")
                || matches!(code, "40001" | "40P01" | "53300" | "57P01" | "57P02" | "57P03")
        }
        None => error.kind() == ErrorKind::Connect,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit_and_are_never_alike() {
        let mut retries = Retries::new(100);
        let mut pauses = Vec::new();
        for number in 0..40 {
            (retries.in_a_row, retries.total) = (number + 1, number + 1);
            let longest = FIRST_PAUSE.saturating_mul(1 << number.min(16)).min(LONGEST_PAUSE);
            let pause = retries.backoff();
            assert!(pause >= longest / 2 && pause <= longest, "{number}: {pause:?}");
            pauses.push(pause);
        }
        pauses.sort_unstable();
        pauses.dedup();
        assert_eq!(pauses.len(), 40);
    }
}
