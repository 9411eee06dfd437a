//! The server a command works on: named by the user or started by us, behind a pool.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use deadpool_postgres::{Object, Pool};
use serde::Serialize;
use tokio_postgres::config::Host;
use tokio_postgres::{CancelToken, Client, GenericClient};

use crate::blocking::blocking;
use crate::postgres::conninfo::Conninfo;
use crate::postgres::options::Timeouts;
use crate::postgres::options::{DatabaseOptions, LARGEST_POOL, ServerChoice, SessionOptions};
use crate::postgres::pool;
use crate::postgres::{connect_error, embedded, tls};
use crate::{Error, Result};

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

/// A server, and how to open connections to it.
///
/// It opens none by itself: the first load or run that needs one does.
pub struct Database {
    conninfo: Conninfo,
    pool_size: usize,
    timeouts: Timeouts,
    connector: tls::Connector,
    opened: Arc<Opened>,
    embedded: Option<embedded::Server>,
}

/// What was opened so far, and has to be cancelled or closed.
#[derive(Default)]
struct Opened {
    cancel_tokens: Mutex<Vec<(SessionOptions, CancelToken)>>,
    pools: Mutex<Vec<Pool>>,
}

impl Opened {
    fn cancel_tokens(&self) -> MutexGuard<'_, Vec<(SessionOptions, CancelToken)>> {
        self.cancel_tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pools(&self) -> MutexGuard<'_, Vec<Pool>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A pool of connections that are set up alike.
#[derive(Clone)]
pub(crate) struct Connections {
    pool: Pool,
    session: SessionOptions,
    conninfo: Conninfo,
    opened: Arc<Opened>,
}

/// Cancels what the connections of a [`Database`] are running, whoever holds them.
pub struct Canceller {
    conninfo: Conninfo,
    connector: tls::Connector,
    opened: Arc<Opened>,
}

impl Canceller {
    /// Ask the server to cancel the statement that each connection is running.
    pub async fn cancel(&self) {
        let tokens = self.opened.cancel_tokens().clone();
        for (session, token) in tokens {
            pool::cancel(&self.conninfo, &self.connector, session, &token).await;
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
        f.debug_struct("Database").field("conninfo", &self.conninfo).finish_non_exhaustive()
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
    /// When none becomes free in time, or the server refuses the login.
    pub(crate) async fn get(&self) -> Result<Object> {
        let connection =
            self.pool.get().await.map_err(|error| connect_error::of_pool(&self.conninfo, &error))?;
        self.opened.cancel_tokens().push((self.session, connection.cancel_token()));
        Ok(connection)
    }

    /// A connection outside the pool, all of whose connections may be in use.
    ///
    /// # Errors
    /// When the server refuses the login.
    pub(crate) async fn extra(&self) -> Result<Client> {
        let (client, connection) = pool::connect(&self.conninfo, Timeouts::default()).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!("connection lost: {error}");
            }
        });
        Ok(client)
    }

    /// Whether the server's processes run on this machine, as far as its address tells.
    pub(crate) fn is_local(&self) -> bool {
        self.conninfo.config().get_hosts().iter().all(|host| match host {
            Host::Unix(_) => true,
            Host::Tcp(name) => matches!(name.as_str(), "localhost" | "127.0.0.1" | "::1"),
        })
    }
}

impl Database {
    /// The server of `options`; the embedded one is started.
    ///
    /// `note` gets a line for everything worth telling while that takes its time.
    ///
    /// # Errors
    /// When the embedded server does not start, the pool size is out of range, or a certificate cannot be read.
    pub async fn open(options: DatabaseOptions, note: impl FnMut(&str) + Send + 'static) -> Result<Database> {
        let DatabaseOptions { server, pool_size, timeouts } = options;
        if !(1..=LARGEST_POOL).contains(&pool_size) {
            return Err(Error::usage(format!("a pool of {pool_size} connections is out of range"))
                .with_help(format!("give a number from 1 to {LARGEST_POOL}")));
        }
        let (conninfo, embedded) = match server {
            ServerChoice::Named(conninfo) => (*conninfo, None),
            ServerChoice::Embedded(options) => {
                let server = start_embedded(options, note).await?;
                (reach(&server), Some(server))
            }
        };
        let connector = tls::Connector::new(conninfo.tls())?;
        Ok(Database { conninfo, pool_size, timeouts, connector, opened: Arc::default(), embedded })
    }

    /// A pool of connections that are set up as `session` says.
    ///
    /// # Errors
    /// When the pool cannot be built.
    pub(crate) fn connections(&self, session: SessionOptions) -> Result<Connections> {
        let pool = pool::pool(&self.conninfo, self.pool_size, self.timeouts, session)?;
        self.opened.pools().push(pool.clone());
        Ok(Connections { pool, session, conninfo: self.conninfo.clone(), opened: Arc::clone(&self.opened) })
    }

    /// A connection with the driver's own protocol; it goes back to its pool when it is dropped.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses the login.
    pub async fn connection(&self) -> Result<Object> {
        self.connections(SessionOptions::default())?.get().await
    }

    /// Connections that its pools may hold.
    pub fn pool_size(&self) -> usize {
        self.pool_size
    }

    /// What cancels whatever the connections are running.
    pub fn canceller(&self) -> Canceller {
        Canceller {
            conninfo: self.conninfo.clone(),
            connector: self.connector.clone(),
            opened: Arc::clone(&self.opened),
        }
    }

    /// The server's address, without a password.
    pub fn describe(&self) -> String {
        self.conninfo.describe()
    }

    /// Close the connections, and stop the embedded server if nobody else uses it and it is not to be kept.
    ///
    /// # Errors
    /// When the embedded server was to be stopped and could not be.
    pub async fn close(self) -> Result<()> {
        self.opened.pools().drain(..).for_each(|pool| pool.close());
        let Some(server) = self.embedded else { return Ok(()) };
        blocking(move || server.release()).await
    }
}

/// How to reach `server`.
fn reach(server: &embedded::Server) -> Conninfo {
    let mut config = tokio_postgres::Config::new();
    config.host_path(&server.socket_dir).port(server.port).user(&server.user).dbname(&server.database);
    config.application_name("postgres-etl");
    Conninfo::local(config, "the embedded server")
}

async fn start_embedded(
    options: embedded::Options,
    mut say: impl FnMut(&str) + Send + 'static,
) -> Result<embedded::Server> {
    blocking(move || embedded::start(&options, &mut say)).await
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
