//! Connections: one at a time, or a pool of them that share a login.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use deadpool_postgres::{Connect, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, Connection, Socket};

use super::conninfo::Conninfo;
use super::{refusal, tls};
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

/// A pool of at most `size` connections. It opens them when they are asked for: explain what [`Pool::get`] refuses
/// with [`refusal::of_pool`].
///
/// # Errors
///
/// Certificates that cannot be read, and a `size` of zero.
pub fn pool(conninfo: &Conninfo, size: usize, timeouts: Timeouts) -> Result<Pool> {
    let config = conninfo.config().clone();
    let dial = Dial::new(conninfo)?;
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

/// Opens connections as libpq does: with TLS, without, or first one and then the other.
#[derive(Debug, Clone)]
struct Dial {
    connector: tls::Connector,
    mode: tls::Mode,
}

impl Dial {
    fn new(conninfo: &Conninfo) -> Result<Dial> {
        Ok(Dial { connector: tls::Connector::new(conninfo.tls())?, mode: conninfo.tls().mode })
    }

    async fn open(&self, config: &Config) -> Result<Unspawned, tokio_postgres::Error> {
        let mut earlier = None;
        for &attempt in self.mode.attempts() {
            let mut config = config.clone();
            config.ssl_mode(attempt);
            match config.connect(self.connector.clone()).await {
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
fn is_about_tls(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION) || refusal::is_tls(error)
}

impl Connect for Dial {
    fn connect(&self, config: &Config) -> Connecting<'_> {
        let config = config.clone();
        Box::pin(async move {
            let (client, connection) = self.open(&config).await?;
            let driver = tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!("connection lost: {error}");
                }
            });
            Ok((client, driver))
        })
    }
}

type Connecting<'a> =
    Pin<Box<dyn Future<Output = Result<(Client, JoinHandle<()>), tokio_postgres::Error>> + Send + 'a>>;
