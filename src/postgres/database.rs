//! The server a command works on: named by the user or started by us, behind a pool.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use deadpool_postgres::{Object, Pool};
use serde::Serialize;
use tokio_postgres::config::Host;
use tokio_postgres::{CancelToken, Client, GenericClient};

use super::conninfo::Conninfo;
use super::pool::{Session, Timeouts};
use super::{embedded, pool, refusal, tls};
use crate::config::{DatabaseSettings, ServerChoice};
use crate::{Error, Result};

/// A pool of connections, and what has to be looked after when it is no longer needed.
pub struct Database {
    connections: Connections,
    connector: tls::Connector,
    session: Session,
    embedded: Option<embedded::Server>,
}

/// Where a task gets its connections from.
#[derive(Clone)]
pub struct Connections {
    pool: Pool,
    conninfo: Conninfo,
    cancel_tokens: Arc<Mutex<Vec<CancelToken>>>,
}

/// Stops what the connections of a [`Database`] are running, whoever holds them.
pub struct Canceller {
    conninfo: Conninfo,
    connector: tls::Connector,
    session: Session,
    tokens: Arc<Mutex<Vec<CancelToken>>>,
}

impl Canceller {
    /// Ask the server to end the statement that each connection is running.
    pub async fn cancel(&self) {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for token in tokens {
            pool::cancel(&self.conninfo, &self.connector, self.session, &token).await;
        }
    }
}

impl fmt::Debug for Canceller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Canceller").field("conninfo", &self.conninfo).finish_non_exhaustive()
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("conninfo", &self.connections.conninfo).finish_non_exhaustive()
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("conninfo", &self.conninfo).finish_non_exhaustive()
    }
}

impl Connections {
    /// A connection of the pool; it goes back when it is dropped.
    ///
    /// # Errors
    /// When none is free in time, or the server does not let us in.
    pub async fn get(&self) -> Result<Object> {
        let connection = self.pool.get().await.map_err(|error| refusal::of_pool(&self.conninfo, &error))?;
        let token = connection.cancel_token();
        self.cancel_tokens.lock().unwrap_or_else(PoisonError::into_inner).push(token);
        Ok(connection)
    }
}

/// The server and those of its settings that a time depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "each is the server's own setting of that name")]
pub struct ServerFacts {
    pub version: String,
    pub fsync: String,
    pub synchronous_commit: String,
    pub full_page_writes: String,
    pub wal_level: String,
    pub shared_buffers: String,
    pub max_wal_size: String,
}

impl Database {
    /// Start our own server if none is named, and see that one connection for `session` can be had.
    ///
    /// `say` gets a line for everything worth telling while it takes its time.
    ///
    /// # Errors
    /// When the server does not start, or cannot be reached.
    pub async fn open(
        settings: DatabaseSettings,
        session: Session,
        say: impl FnMut(&str) + Send + 'static,
    ) -> Result<Database> {
        let DatabaseSettings { server, pool_size, timeouts } = settings;
        let (conninfo, embedded) = match server {
            ServerChoice::Named(conninfo) => (*conninfo, None),
            ServerChoice::Embedded(options) => {
                let server = start_embedded(options, say).await?;
                (reach(&server), Some(server))
            }
        };
        let connector = tls::Connector::new(conninfo.tls())?;
        let pool = pool::pool(&conninfo, pool_size, timeouts, session)?;
        let connections = Connections { pool, conninfo, cancel_tokens: Arc::default() };
        let database = Database { connections, connector, session, embedded };
        drop(database.connection().await?);
        Ok(database)
    }

    /// A connection of the pool; it goes back when it is dropped.
    ///
    /// # Errors
    /// When none is free in time, or the server does not let us in.
    pub async fn connection(&self) -> Result<Object> {
        self.connections.get().await
    }

    /// Where tasks get connections from.
    pub fn connections(&self) -> Connections {
        self.connections.clone()
    }

    /// A connection beside the pool, which may be in use to its last.
    ///
    /// # Errors
    /// When the server does not let us in.
    pub async fn extra_connection(&self) -> Result<Client> {
        let (client, connection) = pool::connect(&self.connections.conninfo, Timeouts::default()).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!("connection lost: {error}");
            }
        });
        Ok(client)
    }

    /// Whether the server's processes run on this machine, as far as the address tells.
    pub fn is_local(&self) -> bool {
        self.connections.conninfo.config().get_hosts().iter().all(|host| match host {
            Host::Unix(_) => true,
            Host::Tcp(name) => matches!(name.as_str(), "localhost" | "127.0.0.1" | "::1"),
        })
    }

    /// What stops whatever our connections are running.
    pub fn canceller(&self) -> Canceller {
        Canceller {
            conninfo: self.connections.conninfo.clone(),
            connector: self.connector.clone(),
            session: self.session,
            tokens: Arc::clone(&self.connections.cancel_tokens),
        }
    }

    /// What to call the server: its address without a password.
    pub fn describe(&self) -> String {
        self.connections.conninfo.describe()
    }

    /// Close the connections, and let our own server go.
    ///
    /// # Errors
    /// When our own server was to be stopped and could not be.
    pub async fn close(self) -> Result<()> {
        self.connections.pool.close();
        let Some(server) = self.embedded else { return Ok(()) };
        blocking(move || server.release()).await
    }
}

/// How to reach `server`.
fn reach(server: &embedded::Server) -> Conninfo {
    let mut config = tokio_postgres::Config::new();
    config.host_path(&server.socket_dir).port(server.port).user(&server.user).dbname(&server.database);
    config.application_name("postgres-etl");
    Conninfo::local(config, "our own server")
}

async fn start_embedded(
    options: embedded::Options,
    mut say: impl FnMut(&str) + Send + 'static,
) -> Result<embedded::Server> {
    blocking(move || embedded::start(&options, &mut say)).await
}

/// Run `work`, which waits for processes and files, where it holds up no connection.
///
/// # Errors
/// Whatever `work` returns.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

impl ServerFacts {
    /// Ask the server.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn of(client: &impl GenericClient) -> Result<ServerFacts> {
        let names = [
            "server_version",
            "fsync",
            "synchronous_commit",
            "full_page_writes",
            "wal_level",
            "shared_buffers",
            "max_wal_size",
        ];
        let row = client
            .query_one(
                "SELECT array_agg(pg_catalog.current_setting(name) ORDER BY n)
                 FROM unnest($1::text[]) WITH ORDINALITY s(name, n)",
                &[&&names[..]],
            )
            .await
            .map_err(|error| Error::database("ask the server for its settings", &error))?;
        let mut values = row.get::<_, Vec<String>>(0).into_iter();
        let mut next = || values.next().unwrap_or_default();
        // Debian's "15.18 (Debian 15.18-0+deb12u1)" says the same twice.
        let version = next().split(' ').next().unwrap_or_default().to_owned();
        Ok(ServerFacts {
            version,
            fsync: next(),
            synchronous_commit: next(),
            full_page_writes: next(),
            wal_level: next(),
            shared_buffers: next(),
            max_wal_size: next(),
        })
    }
}
