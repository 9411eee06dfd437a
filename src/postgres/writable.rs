//! Whether a server accepts changes.

use tokio_postgres::Client;

use crate::error::ErrorKind;
use crate::{Error, Result};

/// Why the server of `client`, which messages call `server`, accepts no changes, and what to do about it; `None` if it
/// accepts them.
///
/// # Errors
/// When the server does not tell.
pub(crate) async fn refusal(client: &Client, server: &str) -> Result<Option<Error>> {
    let sql =
        "SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('transaction_read_only') = 'on'";
    let row = client.query_one(sql, &[]).await;
    let row = row.map_err(|error| Error::database("ask the server whether it accepts changes", error))?;
    let refused = |message: String| Error::new(ErrorKind::Database, message);
    Ok(match (row.get(0), row.get(1)) {
        (true, _) => {
            let follows = match upstream(client).await {
                Some(upstream) => format!("; this one follows {upstream}"),
                None => String::new(),
            };
            Some(
                refused(format!("the server at {server} is a standby, which accepts no changes")).with_help(format!(
                    "connect to the primary{follows}; of several hosts in the URL, the primary is found unless \
                     target_session_attrs names another kind of server"
                )),
            )
        }
        (false, true) => Some(
            refused(format!(
                "transactions are read-only on the server at {server}, as default_transaction_read_only is on there"
            ))
            .with_help("if it is to be changed all the same: PGOPTIONS='-c default_transaction_read_only=off'"),
        ),
        (false, false) => None,
    })
}

/// The server from which the standby of `client` receives changes; `None` if it receives none, or does not tell.
async fn upstream(client: &Client) -> Option<String> {
    let sql = "SELECT sender_host || ':' || sender_port FROM pg_catalog.pg_stat_wal_receiver";
    client.query_opt(sql, &[]).await.ok()??.get(0)
}
