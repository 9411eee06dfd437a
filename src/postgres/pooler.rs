//! Connection poolers, such as PgBouncer, between client and server.
//!
//! In transaction mode a pooler gives a connection another server session in each transaction. What outlives the
//! transaction in that session, such as a prepared statement or a setting, then affects strangers, and is missing where
//! it is needed. PgBouncer up to 1.20 does not even keep statements of the same name apart.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};

use tokio::sync::OnceCell;
use tokio_postgres::{Client, Error as PgError, SimpleQueryMessage};
use tokio_postgres_sync_batching::StreamControl;

use crate::postgres::options::{Prepare, SessionOptions};
use crate::postgres::pooler_console::PoolerFacts;

/// What the connections opened so far go through.
#[derive(Debug, Clone, Default)]
pub(crate) struct PoolerSeen {
    is_pooled: Arc<AtomicBool>,
    is_pgpool: Arc<OnceCell<bool>>,
    facts: Arc<OnceCell<PoolerFacts>>,
}

impl PoolerSeen {
    /// Whether any of them goes through a pooler.
    pub(crate) fn get(&self) -> bool {
        self.is_pooled.load(Relaxed)
    }

    /// What the pooler tells of itself, which is asked for with `ask` once.
    pub(super) async fn facts(&self, ask: impl Future<Output = PoolerFacts>) -> PoolerFacts {
        if self.get() { self.facts.get_or_init(|| ask).await.clone() } else { PoolerFacts::default() }
    }

    /// Note that the program that listens is Pgpool-II.
    pub(crate) fn note_pgpool(&self) {
        // Later connections of the same pool find it noted.
        let _ = self.is_pgpool.set(true);
    }

    /// Whether they go through Pgpool-II, which passes the process ID of the server on, gives a session to one client at
    /// a time, and resets it afterwards, so that names are safe; but which does not answer a COPY from the client that is
    /// sent as this program sends it (seen with 4.3.5).
    pub(crate) fn is_pgpool(&self) -> bool {
        self.is_pgpool.get().is_some_and(|is_pgpool| *is_pgpool)
    }
}

/// Configure a new connection as in `session`, in a way that leaves nothing behind if there is a pooler; note in
/// `seen` whether one does.
///
/// A pooler is recognised by the process ID that it sends at login, which is not that of the server's session.
///
/// # Errors
/// When the server does not answer.
pub(crate) async fn configure(
    client: &Client,
    control: &StreamControl,
    local_port: Option<u16>,
    session: SessionOptions,
    seen: &PoolerSeen,
) -> Result<(), PgError> {
    let (backend_pid, client_port) = ends(client).await?;
    let is_pooled = control.login_pid() != Some(backend_pid);
    if is_pooled {
        seen.is_pooled.store(true, Relaxed);
    } else if client_port != local_port {
        // Something passes the connection on: a tunnel, a balancer, or Pgpool-II, which answers this by itself. A server
        // logs an error, and only once.
        seen.is_pgpool.get_or_init(async || client.simple_query("SHOW pool_version").await.is_ok()).await;
    }
    if session.prepare == Prepare::Never || session.prepare == Prepare::Auto && is_pooled {
        control.unname_statements();
    } else if is_pooled {
        control.prefix_statements(statement_prefix());
    }
    match (session.read_only, is_pooled) {
        (false, _) => Ok(()),
        (true, true) => {
            control.make_groups_read_only();
            Ok(())
        }
        // Costs the server nothing, and ends with the session, which is this connection's alone.
        (true, false) => client.batch_execute("SET default_transaction_read_only = on").await,
    }
}

/// What no other process puts before the names of its statements: a pooler that mixes them up then reports an error
/// instead of executing a stranger's statement.
fn statement_prefix() -> String {
    static PREFIX: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(std::process::id()));
    format!("postgres_etl_{:016x}_", *PREFIX)
}

/// The other end of the connection: the process ID of the session that executes the statements of `client`, at least
/// those of this moment, or 0 if the server does not tell; and the TCP port from which the server was reached.
async fn ends(client: &Client) -> Result<(i32, Option<u16>), PgError> {
    let query = "SELECT pg_catalog.pg_backend_pid(), pg_catalog.inet_client_port()";
    let messages = client.simple_query(query).await?;
    let found = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => {
            let port = row.get(1).and_then(|port| port.parse().ok()).filter(|port| *port != 0);
            Some((row.get(0)?.parse().ok()?, port))
        }
        _ => None,
    });
    Ok(found.unwrap_or_default())
}
