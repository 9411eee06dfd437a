//! Connections: one at a time, or a pool of them that share a login.

use std::future::Future;
use std::pin::Pin;

use deadpool_postgres::{Connect, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use futures::future::BoxFuture;
use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::{CancelToken, Client, Config, Connection, Error as PgError, Socket};

use crate::postgres::conninfo::Conninfo;
use crate::postgres::options::{SessionOptions, Timeouts};
use crate::postgres::{connect_error, connect_raw, tls};
use crate::{Error, Result};

/// A pool of at most `size` connections. It opens them when they are asked for: explain what [`Pool::get`] refuses
/// with [`connect_error::of_pool`].
///
/// # Errors
///
/// Certificates that cannot be read, and a `size` of zero.
pub fn pool(conninfo: &Conninfo, size: usize, timeouts: Timeouts, session: SessionOptions) -> Result<Pool> {
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
pub(crate) type Unspawned = (Client, Connection<Socket, tls::Stream<Socket>>);

/// Opens one connection, outside any pool. The caller drives the [`Connection`].
///
/// # Errors
///
/// [`connect_error::of_driver`] says why the server cannot be reached or refuses the login.
pub async fn connect(conninfo: &Conninfo, timeouts: Timeouts) -> Result<Unspawned> {
    let dial = Dial::new(conninfo)?;
    let opened = dial.open(conninfo.config());
    let opened = match timeouts.create(conninfo.config()) {
        None => opened.await,
        Some(limit) => match tokio::time::timeout(limit, opened).await {
            Ok(opened) => opened,
            Err(_) => return Err(connect_error::of_time(conninfo, limit)),
        },
    };
    opened.map_err(|error| connect_error::of_driver(conninfo, &error))
}

/// Ask the server to stop what the connection of `token`, one of a pool for `session`, is running.
pub(crate) async fn cancel(
    conninfo: &Conninfo,
    connector: &tls::Connector,
    session: SessionOptions,
    token: &CancelToken,
) {
    if session.batches() {
        connect_raw::cancel(conninfo.config(), connector, token).await;
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
    session: SessionOptions,
}

impl Dial {
    fn new(conninfo: &Conninfo) -> Result<Dial> {
        let connector = tls::Connector::new(conninfo.tls())?;
        Ok(Dial { connector, mode: conninfo.tls().mode, session: SessionOptions::default() })
    }

    /// With the driver's own streams.
    async fn open(&self, config: &Config) -> Result<Unspawned, PgError> {
        self.attempt(config, |config| Box::pin(async move { config.connect(self.connector.clone()).await }))
            .await
    }

    async fn open_batching(&self, config: &Config) -> Result<(Client, connect_raw::Batching), PgError> {
        self.attempt(config, |config| {
            Box::pin(
                async move { connect_raw::connect(&config, &self.connector, self.session.sync_every).await },
            )
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
    error.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION) || connect_error::is_tls(error)
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
