//! Connection poolers, such as PgBouncer, between client and server.
//!
//! In transaction mode a pooler gives a connection another server session in each transaction. What outlives the
//! transaction in that session, such as a prepared statement or a setting, then affects strangers, and is missing where
//! it is needed. PgBouncer up to 1.20 does not even keep statements of the same name apart.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tokio_postgres::{Client, Error as PgError, SimpleQueryMessage};
use tokio_postgres_sync_batching::StreamControl;

use crate::postgres::options::{Prepare, SessionOptions};

/// Whether any connection opened so far has been found to go through a pooler.
#[derive(Debug, Clone, Default)]
pub(crate) struct PoolerSeen(Arc<AtomicBool>);

impl PoolerSeen {
    pub(crate) fn get(&self) -> bool {
        self.0.load(Relaxed)
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
    session: SessionOptions,
    seen: &PoolerSeen,
) -> Result<(), PgError> {
    let is_pooled = control.login_pid() != Some(backend_pid(client).await?);
    if is_pooled {
        seen.0.store(true, Relaxed);
    }
    if session.prepare == Prepare::Never || session.prepare == Prepare::Auto && is_pooled {
        control.unname_statements();
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

/// The process ID of the session that executes the statements of `client`, at least those of this moment; 0 if the
/// server does not tell.
async fn backend_pid(client: &Client) -> Result<i32, PgError> {
    let messages = client.simple_query("SELECT pg_catalog.pg_backend_pid()").await?;
    let pid = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0)?.parse().ok(),
        _ => None,
    });
    Ok(pid.unwrap_or_default())
}
