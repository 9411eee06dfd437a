//! Connections: one at a time, or a pool of them that share a login.

use std::future::Future;
use std::num::NonZero;
use std::pin::Pin;
use std::time::Duration;

use deadpool_postgres::{Connect, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use futures::future::BoxFuture;
use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::{CancelToken, Client, Config, Connection, Error as PgError, Socket};

use super::conninfo::Conninfo;
use super::{dial, refusal, tls};
use crate::{Error, Result};

/// How long the pool waits; the driver itself has no limit on anything but opening the socket.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For a new connection, log-in included. `None`: the conninfo's `connect_timeout` for each of its hosts, and
    /// once more for the log-in.
    pub connect: Option<Duration>,
    /// For a connection to come free.
    pub wait: Duration,
    /// For the check of a connection that comes back.
    pub recycle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts { connect: None, wait: Duration::from_secs(30), recycle: Duration::from_secs(5) }
    }
}

impl Timeouts {
    fn create(&self, config: &Config) -> Option<Duration> {
        let hosts = config.get_hosts().len() as u32;
        self.connect.or_else(|| Some(*config.get_connect_timeout()? * (hosts + 1)))
    }
}

/// What the connections of a pool are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    /// Executes to a Sync, at most: see [`sync_batching`](super::sync_batching). 1 is the driver as it is.
    pub sync_every: NonZero<usize>,
    /// Have the server refuse to write, whatever a statement calls, unless a transaction says otherwise.
    pub read_only: bool,
}

impl Default for Session {
    fn default() -> Self {
        Session { sync_every: NonZero::<usize>::MIN, read_only: false }
    }
}

impl Session {
    fn batches(&self) -> bool {
        self.sync_every.get() > 1
    }
}

/// A pool of at most `size` connections. It opens them when they are asked for: explain what [`Pool::get`] refuses
/// with [`refusal::of_pool`].
///
/// # Errors
///
/// Certificates that cannot be read, and a `size` of zero.
pub fn pool(conninfo: &Conninfo, size: usize, timeouts: Timeouts, session: Session) -> Result<Pool> {
    let config = conninfo.config().clone();
    let dial = Dial { session, ..Dial::new(conninfo)? };
    let create = timeouts.create(&config);
    let manager =
        Manager::from_connect(config, dial, ManagerConfig { recycling_method: RecyclingMethod::Fast });
    if size == 0 {
        return Err(Error::usage("a pool of no connections cannot answer anything")
            .with_help("ask for one connection or more"));
    }
    Pool::builder(manager)
        .max_size(size)
        .wait_timeout(Some(timeouts.wait))
        .create_timeout(create)
        .recycle_timeout(Some(timeouts.recycle))
        .runtime(Runtime::Tokio1)
        .build()
        .map_err(|error| Error::connect(format!("failed to build the connection pool: {error}")))
}

/// A connection that nothing drives yet, and its client.
pub type Unspawned = (Client, Connection<Socket, tls::Stream<Socket>>);

/// Opens one connection, outside any pool. The caller drives the [`Connection`].
///
/// # Errors
///
/// [`refusal::of_driver`] says why the server cannot be reached or refuses the login.
pub async fn connect(conninfo: &Conninfo, timeouts: Timeouts) -> Result<Unspawned> {
    let dial = Dial::new(conninfo)?;
    let opened = dial.open(conninfo.config());
    let opened = match timeouts.create(conninfo.config()) {
        None => opened.await,
        Some(limit) => match tokio::time::timeout(limit, opened).await {
            Ok(opened) => opened,
            Err(_) => return Err(refusal::of_time(conninfo, limit)),
        },
    };
    opened.map_err(|error| refusal::of_driver(conninfo, &error))
}

/// Ask the server to stop what the connection of `token`, one of a pool for `session`, is running.
pub(super) async fn cancel(
    conninfo: &Conninfo,
    connector: &tls::Connector,
    session: Session,
    token: &CancelToken,
) {
    if session.batches() {
        dial::cancel(conninfo.config(), connector, token).await;
    } else {
        // A connection that is gone has nothing left to cancel.
        let _ = token.cancel_query(connector.clone()).await;
    }
}

/// Opens connections as libpq does: with TLS, without, or first one and then the other.
#[derive(Debug, Clone)]
struct Dial {
    connector: tls::Connector,
    mode: tls::Mode,
    session: Session,
}

impl Dial {
    fn new(conninfo: &Conninfo) -> Result<Dial> {
        let connector = tls::Connector::new(conninfo.tls())?;
        Ok(Dial { connector, mode: conninfo.tls().mode, session: Session::default() })
    }

    /// With the driver's own streams.
    async fn open(&self, config: &Config) -> Result<Unspawned, PgError> {
        self.attempt(config, |config| Box::pin(async move { config.connect(self.connector.clone()).await }))
            .await
    }

    async fn open_batching(&self, config: &Config) -> Result<(Client, dial::Batching), PgError> {
        self.attempt(config, |config| {
            Box::pin(async move { dial::connect(&config, &self.connector, self.session.sync_every).await })
        })
        .await
    }

    /// What the first attempt that comes off opens.
    async fn attempt<'a, T>(
        &self,
        config: &Config,
        open: impl Fn(Config) -> BoxFuture<'a, Result<T, PgError>>,
    ) -> Result<T, PgError> {
        let mut earlier = None;
        for &attempt in self.mode.attempts() {
            let mut config = config.clone();
            config.ssl_mode(attempt);
            match open(config).await {
                Ok(opened) => return Ok(opened),
                Err(error) if is_about_tls(&error) => earlier = earlier.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        // Of two refusals the first is about what the mode would rather have.
        Err(earlier.expect("every mode makes an attempt"))
    }
}

/// Whether the same login could fare better with TLS, or without: `pg_hba.conf` may have a line for either.
fn is_about_tls(error: &PgError) -> bool {
    error.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION) || refusal::is_tls(error)
}

impl Connect for Dial {
    fn connect(&self, config: &Config) -> Connecting<'_> {
        let config = config.clone();
        Box::pin(async move {
            let (client, driver) = if self.session.batches() {
                let (client, connection) = self.open_batching(&config).await?;
                (client, tokio::spawn(drive(connection)))
            } else {
                let (client, connection) = self.open(&config).await?;
                (client, tokio::spawn(drive(connection)))
            };
            if self.session.read_only {
                client.batch_execute("SET default_transaction_read_only = on").await?;
            }
            Ok((client, driver))
        })
    }
}

async fn drive(connection: impl Future<Output = Result<(), PgError>>) {
    if let Err(error) = connection.await {
        tracing::debug!("connection lost: {error}");
    }
}

type Connecting<'a> = Pin<Box<dyn Future<Output = Result<(Client, JoinHandle<()>), PgError>> + Send + 'a>>;
