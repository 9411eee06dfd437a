//! Options: which server to use, how long to wait for it, and how its sessions are configured.

use std::num::NonZero;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::postgres::conninfo::{self, Conninfo};
use crate::postgres::embedded;
use crate::postgres::target_session::HostChoice;
use crate::{Error, Result};

/// The default limit on the connections of a pool.
pub const POOL_SIZE: usize = 64;

/// The highest limit on the connections of a pool: the most that PostgreSQL's `max_connections` allows.
pub const LARGEST_POOL: usize = 262_143;

/// The deepest pipeline. Beyond this depth, more statements in flight only wait in the client's memory.
pub(crate) const DEEPEST_PIPELINE: usize = 65_536;

/// Which server a [`Database`](crate::postgres::Database) is, and how its connections are pooled.
#[derive(Debug)]
#[non_exhaustive]
pub struct DatabaseOptions {
    /// The server to use.
    pub server: ServerChoice,
    /// The maximum number of connections in each pool, from 1 to [`LARGEST_POOL`].
    pub pool_size: usize,
    /// How long to wait for a connection.
    pub timeouts: Timeouts,
    /// Whether prepared statements are named.
    pub prepare: Prepare,
}

/// Whether prepared statements are named. Behind a transaction pooler, a named statement outlives its transaction, in a
/// session that another client uses next.
///
/// Without names, the server parses a statement again in each transaction, or group of statements that share a Sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Prepare {
    /// Unless connections go through a pooler.
    #[default]
    Auto,
    /// Always. A pooler must pool sessions, or keep track of prepared statements, as PgBouncer does from 1.21 on where
    /// its `max_prepared_statements` is not 0.
    Always,
    /// Never.
    Never,
}

impl DatabaseOptions {
    /// Options for `server`, with a pool of [`POOL_SIZE`] connections and the default timeouts.
    pub fn new(server: ServerChoice) -> Self {
        DatabaseOptions {
            server,
            pool_size: POOL_SIZE,
            timeouts: Timeouts::default(),
            prepare: Prepare::default(),
        }
    }

    /// The server that the environment names, as libpq and psql read it: `DATABASE_URL`, else `PGHOST`,
    /// `PGHOSTADDR` or `PGSERVICE` (with the other `PG*` variables); the embedded server when nothing names one.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`](crate::ErrorKind::Usage) when a variable has a value that cannot be read.
    pub fn from_env() -> Result<Self> {
        let env = |name: &str| std::env::var(name).ok();
        let url = env("DATABASE_URL");
        let url = url.as_deref().map(|url| (url, "DATABASE_URL"));
        Ok(DatabaseOptions::new(match conninfo::resolve(url, &env)? {
            Some(conninfo) => ServerChoice::Named(Box::new(conninfo)),
            None => ServerChoice::Embedded(embedded::Options::default()),
        }))
    }

    /// Set the maximum number of connections in each pool, from 1 to [`LARGEST_POOL`].
    #[must_use]
    pub fn pool_size(mut self, connections: usize) -> Self {
        self.pool_size = connections;
        self
    }

    /// Set how long to wait for a connection.
    #[must_use]
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// Set whether statements are prepared under names.
    #[must_use]
    pub fn prepare(mut self, prepare: Prepare) -> Self {
        self.prepare = prepare;
        self
    }
}

/// Which server to use.
#[derive(Debug)]
pub enum ServerChoice {
    /// A server that is already running, at these connection settings.
    Named(Box<Conninfo>),
    /// The embedded server, which is started unless it is already running.
    Embedded(embedded::Options),
}

/// How the sessions of a pool are configured.
///
/// The default is the driver's own behaviour: a Sync after each statement, and writing allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionOptions {
    /// The maximum number of Execute messages per Sync message; 1 leaves the driver's messages unchanged.
    pub sync_every: NonZero<usize>,
    /// Whether prepared statements are executed in read-only transactions, unless an explicit transaction is open.
    pub read_only: bool,
    /// Whether prepared statements are named.
    pub prepare: Prepare,
    /// Which of several hosts to use where the connection settings leave it open.
    pub host_choice: HostChoice,
}

impl Default for SessionOptions {
    fn default() -> Self {
        SessionOptions {
            sync_every: NonZero::<usize>::MIN,
            read_only: false,
            prepare: Prepare::default(),
            host_choice: HostChoice::default(),
        }
    }
}

/// Check that a pool of `pool_size` connections can supply `connections` at once.
///
/// # Errors
/// [`ErrorKind::Usage`](crate::ErrorKind::Usage) when it cannot.
pub fn check_pool(connections: usize, pool_size: usize) -> Result<()> {
    if connections > pool_size {
        return Err(Error::usage(format!(
            "{connections} connections are needed, but the pool is limited to {pool_size}"
        ))
        .with_help("use fewer --connections, or raise [database] pool_size in config.toml"));
    }
    Ok(())
}

/// Check that `pipeline_depth` is between 1 and [`DEEPEST_PIPELINE`].
///
/// # Errors
/// [`ErrorKind::Usage`](crate::ErrorKind::Usage) when it is not.
pub(crate) fn check_depth(pipeline_depth: usize) -> Result<()> {
    match pipeline_depth {
        0 => Err(Error::usage("the pipeline depth is 0")
            .with_help(format!("use a number from 1 to {DEEPEST_PIPELINE}"))),
        1..=DEEPEST_PIPELINE => Ok(()),
        _ => Err(Error::usage(format!("pipeline depth {pipeline_depth} is too large"))
            .with_help(format!("use a number from 1 to {DEEPEST_PIPELINE}"))),
    }
}

/// How long to wait for a connection.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// The limit for opening a connection, whatever the number of hosts. `None`: only the `connect_timeout` of the
    /// connection settings applies, to the login at each address that is tried.
    pub connect: Option<Duration>,
    /// The limit for a connection of the pool to become free.
    pub wait: Duration,
    /// The limit for checking a connection that is taken from the pool again.
    pub recycle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts { connect: None, wait: Duration::from_secs(30), recycle: Duration::from_secs(5) }
    }
}
