//! Opens connections, singly or for a pool, with the meaning that libpq gives to `sslmode`.

use std::future::Future;
use std::pin::Pin;

use deadpool_postgres::{Connect, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use futures::future::BoxFuture;
use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::{CancelToken, Client, Config, Connection, Error as PgError, Socket};

use crate::postgres::connect_raw::Opened;
use crate::postgres::conninfo::Conninfo;
use crate::postgres::options::{SessionOptions, Timeouts};
use crate::postgres::pooler::PoolerSeen;
use crate::postgres::server_messages::ServerMessages;
use crate::postgres::tls::{EncryptedStream, TlsMode};
use crate::postgres::{connect_error, connect_raw, pooler, tls};
use crate::{Error, Result};

/// Create a pool of at most `size` connections to the server of `conninfo`, configured as in `session`.
///
/// No connection is opened yet: [`Pool::get`] opens one when none is free. Pass its error to
/// [`connect_error::from_pool`], which explains it. With [`SessionOptions::sync_every`] above 1, statements in flight
/// together share Sync messages.
///
/// # Errors
/// When a certificate or key named in `conninfo` cannot be used, or `size` is 0.
pub fn pool(conninfo: &Conninfo, size: usize, timeouts: Timeouts, session: SessionOptions) -> Result<Pool> {
    pool_noting(conninfo, size, timeouts, session, PoolerSeen::default(), ServerMessages::default())
}

/// As [`pool()`]; notes in `pooler` whether a connection pooler stands between.
pub(crate) fn pool_noting(
    conninfo: &Conninfo,
    size: usize,
    timeouts: Timeouts,
    session: SessionOptions,
    pooler: PoolerSeen,
    messages: ServerMessages,
) -> Result<Pool> {
    let config = conninfo.config().clone();
    let connector = SessionConnector { session, pooler, messages, ..SessionConnector::new(conninfo)? };
    let create = timeouts.connect_limit(&config);
    let manager =
        Manager::from_connect(config, connector, ManagerConfig { recycling_method: RecyclingMethod::Fast });
    if size == 0 {
        return Err(Error::usage("the pool size is 0").with_help("allow at least one connection"));
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

/// A client, and its connection, which the caller has to drive.
pub type NewConnection = (Client, Connection<Socket, EncryptedStream<Socket>>);

/// Open a single connection to the server of `conninfo`, without a pool.
///
/// As with tokio-postgres, spawn the [`Connection`] or poll it along with the [`Client`]: the client does nothing
/// without it. Only [`Timeouts::connect`] applies.
///
/// # Errors
/// When a certificate or key named in `conninfo` cannot be used, the server cannot be reached in time, or it refuses the
/// login; the error is explained as by [`connect_error::from_driver`].
pub async fn connect(conninfo: &Conninfo, timeouts: Timeouts) -> Result<NewConnection> {
    let connector = SessionConnector::new(conninfo)?;
    within_limit(conninfo, timeouts, connector.open(conninfo.config())).await
}

/// Open a connection as a pool for `session` does, but without sharing Syncs and without read-only transactions.
///
/// # Errors
/// As [`connect`].
pub(crate) async fn connect_extra(
    conninfo: &Conninfo,
    timeouts: Timeouts,
    session: SessionOptions,
) -> Result<Client> {
    let session = SessionOptions { prepare: session.prepare, ..SessionOptions::default() };
    let connector = SessionConnector { session, ..SessionConnector::new(conninfo)? };
    let (client, _) = within_limit(conninfo, timeouts, connector.connect(conninfo.config())).await?;
    Ok(client)
}

/// Wait for `opened`, for as long as `timeouts` allow, and explain its error.
async fn within_limit<T>(
    conninfo: &Conninfo,
    timeouts: Timeouts,
    opened: impl Future<Output = Result<T, PgError>>,
) -> Result<T> {
    let opened = match timeouts.connect_limit(conninfo.config()) {
        None => opened.await,
        Some(limit) => match tokio::time::timeout(limit, opened).await {
            Ok(opened) => opened,
            Err(_) => return Err(connect_error::from_timeout(conninfo, limit)),
        },
    };
    opened.map_err(|error| connect_error::from_driver(conninfo, &error))
}

/// Ask the server to cancel the statement that the connection of `token` is running.
pub(crate) async fn cancel(conninfo: &Conninfo, connector: &tls::Connector, token: &CancelToken) {
    connect_raw::cancel(conninfo.config(), connector, token).await;
}

/// Opens connections for one login: with TLS, without it, or with one as the fallback of the other, as libpq does.
#[derive(Debug, Clone)]
struct SessionConnector {
    connector: tls::Connector,
    mode: TlsMode,
    session: SessionOptions,
    pooler: PoolerSeen,
    messages: ServerMessages,
}

impl SessionConnector {
    fn new(conninfo: &Conninfo) -> Result<SessionConnector> {
        let connector = tls::Connector::new(conninfo.tls())?;
        Ok(SessionConnector {
            connector,
            mode: conninfo.tls().mode,
            session: SessionOptions::default(),
            pooler: PoolerSeen::default(),
            messages: ServerMessages::default(),
        })
    }

    /// Open a connection with the driver's own streams.
    async fn open(&self, config: &Config) -> Result<NewConnection, PgError> {
        self.try_each_ssl_mode(config, |config| {
            Box::pin(async move { config.connect(self.connector.clone()).await })
        })
        .await
    }

    /// Open a connection with Sync batching.
    async fn open_batching(&self, config: &Config) -> Result<Opened, PgError> {
        self.try_each_ssl_mode(config, |config| {
            Box::pin(
                async move { connect_raw::connect(&config, &self.connector, self.session.sync_every).await },
            )
        })
        .await
    }

    /// Call `open` with each `sslmode` of the driver that [`TlsMode`] allows, until one succeeds.
    async fn try_each_ssl_mode<'a, T>(
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
        // Of two errors, the first is about the preferred mode.
        Err(earlier.expect("every mode allows at least one attempt"))
    }
}

/// Whether the login may succeed with TLS where it failed without, or vice versa: `pg_hba.conf` may have lines for
/// only one of the two.
fn is_about_tls(error: &PgError) -> bool {
    error.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION) || connect_error::is_tls(error)
}

impl Connect for SessionConnector {
    fn connect(&self, config: &Config) -> Connecting<'_> {
        let config = config.clone();
        Box::pin(async move {
            let Opened { client, connection, control } = self.open_batching(&config).await?;
            let task = tokio::spawn(self.messages.clone().drive(connection, control.clone()));
            pooler::configure(&client, &control, self.session, &self.pooler).await?;
            Ok((client, task))
        })
    }
}

type Connecting<'a> = Pin<Box<dyn Future<Output = Result<(Client, JoinHandle<()>), PgError>> + Send + 'a>>;
