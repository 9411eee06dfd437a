//! The connection of an import, which is replaced when it is lost.

use std::time::Duration;

use deadpool_postgres::Object;
use tokio::time::{Instant, sleep};
use tokio_postgres::Client;

use crate::load::ledger::locks::{Access, LockName, in_use};
use crate::postgres::server::SessionPool;
use crate::progress::Progress;
use crate::{Error, Result};

/// How long a lock may be held by a session whose program was killed just now: the server notices when it next reads from
/// the connection, or looks after it.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// The pause between two looks at a lock.
pub(super) const PAUSE: Duration = Duration::from_millis(100);

/// Let the server notice that the program has ended, every two seconds while it is at work, and within a minute that its
/// machine no longer answers, unless its own settings say how. Settings that it does not know, as before version 14, are not
/// in that view.
const NOTICE_DEATH: [&str; 2] = [
    "SELECT pg_catalog.set_config(name, '2000', false) FROM pg_catalog.pg_settings
     WHERE name = 'client_connection_check_interval' AND source = 'default'",
    "SELECT pg_catalog.set_config(name, seconds, false)
     FROM pg_catalog.pg_settings
          JOIN (VALUES ('tcp_keepalives_idle', '30'), ('tcp_keepalives_interval', '10'), ('tcp_keepalives_count', '3'))
               AS watch (name, seconds) USING (name)
     WHERE source = 'default'",
];

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

    /// Whether it keeps all other runs from the import: its lock may be shared, lost with the connection, or, behind a pooler,
    /// not have been taken.
    pub(super) fn excludes_others(&self) -> bool {
        let is_open = self.client.as_ref().is_some_and(|client| !client.is_closed());
        is_open && self.access == Access::Alone && !self.pool.is_pooled()
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
    /// When the server cannot be reached, and [`ErrorKind::InUse`](crate::ErrorKind::InUse) when another run works on the import.
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
        // statement first, and keep the lock. Of a machine that has died, it would hear nothing for hours. Not every system
        // can look.
        for notice in NOTICE_DEATH {
            client.execute(notice, &[]).await.ok();
        }
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
