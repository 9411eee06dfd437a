//! What a pooler tells of itself on its console: a database that it makes up, where `SHOW` works and SQL does not.

use std::time::Duration;

use tokio_postgres::{Client, Error as PgError, SimpleQueryMessage, SimpleQueryRow};

use crate::postgres::connect_raw::{Opened, Opener};

/// The database that PgBouncer, and poolers after its model, answer themselves.
const CONSOLE: &str = "pgbouncer";

/// How long a pooler may take to say what it is.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a pooler says of itself; the default where it does not tell, as most admit only some users to their console.
#[derive(Debug, Clone, Default)]
pub(super) struct PoolerFacts {
    /// Its name and version, such as `PgBouncer 1.18.0`.
    pub(super) version: Option<String>,
    /// For how long it gives a server session to a connection: `session`, `transaction` or `statement`.
    pub(super) mode: Option<String>,
}

/// What the pooler that `opener` connects to tells the same login.
pub(super) async fn ask(opener: &Opener) -> PoolerFacts {
    let (database, user) = (opener.conninfo.dbname(), opener.conninfo.user());
    let asking = async {
        let Opened { client, connection, .. } = opener.open_database(CONSOLE).await?;
        // It ends with the client, whatever it says.
        let driving = tokio::spawn(connection);
        let facts = PoolerFacts {
            version: show(&client, "SHOW VERSION").await.ok().and_then(|rows| version(&rows)),
            mode: show(&client, "SHOW POOLS").await.ok().and_then(|rows| mode(&rows, database, user)),
        };
        driving.abort();
        Some(facts)
    };
    tokio::time::timeout(PATIENCE, asking).await.ok().flatten().unwrap_or_default()
}

async fn show(client: &Client, command: &str) -> Result<Vec<SimpleQueryRow>, PgError> {
    let messages = client.simple_query(command).await?;
    let row = |message| if let SimpleQueryMessage::Row(row) = message { Some(row) } else { None };
    Ok(messages.into_iter().filter_map(row).collect())
}

fn version(rows: &[SimpleQueryRow]) -> Option<String> {
    rows.first()?.try_get(0).ok()?.map(str::to_owned)
}

/// The mode of the pools of `database`; where they differ, that of `user`.
fn mode(rows: &[SimpleQueryRow], database: &str, user: &str) -> Option<String> {
    let value = |row: &SimpleQueryRow, name: &str| row.try_get(name).ok().flatten().map(str::to_owned);
    let of_database = || rows.iter().filter(|row| value(row, "database").as_deref() == Some(database));
    let first = value(of_database().next()?, "pool_mode");
    if of_database().all(|row| value(row, "pool_mode") == first) {
        return first;
    }
    value(of_database().find(|row| value(row, "user").as_deref() == Some(user))?, "pool_mode")
}
