//! Which server, how to reach it, and how its sessions are set up.

use std::num::NonZero;
use std::time::Duration;

use tokio_postgres::Config;

use crate::postgres::conninfo::{self, Conninfo};
use crate::postgres::embedded;
use crate::{Error, Result};

/// Connections that a pool holds, unless told otherwise.
pub const POOL_SIZE: usize = 64;

/// PostgreSQL itself accepts no more connections than fit an 18-bit number.
pub const LARGEST_POOL: usize = 262_143;

/// The deepest pipeline: more statements in flight than this wait in our own memory, not in the server's.
pub(crate) const DEEPEST_PIPELINE: usize = 65_536;

/// Which server to use, and how to reach it.
#[derive(Debug)]
#[non_exhaustive]
pub struct DatabaseOptions {
    /// The server.
    pub server: ServerChoice,
    /// Connections that the pool may hold, from 1 to [`LARGEST_POOL`].
    pub pool_size: usize,
    /// How long to wait for it.
    pub timeouts: Timeouts,
}

impl DatabaseOptions {
    /// `server`, with a pool of [`POOL_SIZE`] connections and the default timeouts.
    pub fn new(server: ServerChoice) -> Self {
        DatabaseOptions { server, pool_size: POOL_SIZE, timeouts: Timeouts::default() }
    }

    /// The server that the environment names, as libpq and psql read it: `DATABASE_URL`, else `PGHOST`, `PGSERVICE` and
    /// the other `PG*` variables; the embedded server when nothing names one.
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

    /// Connections that the pool may hold, from 1 to [`LARGEST_POOL`].
    #[must_use]
    pub fn pool_size(mut self, connections: usize) -> Self {
        self.pool_size = connections;
        self
    }

    /// How long to wait for the pool.
    #[must_use]
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }
}

/// Which server to use.
#[derive(Debug)]
pub enum ServerChoice {
    /// A server that somebody else runs.
    Named(Box<Conninfo>),
    /// The embedded server, started when it is needed.
    Embedded(embedded::Options),
}

/// How the connections of a pool are set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionOptions {
    /// Executes that share a Sync, at most; 1 leaves the driver as it is.
    pub sync_every: NonZero<usize>,
    /// Have the server refuse to write, whatever a statement calls, unless a transaction says otherwise.
    pub read_only: bool,
}

impl Default for SessionOptions {
    fn default() -> Self {
        SessionOptions { sync_every: NonZero::<usize>::MIN, read_only: false }
    }
}

impl SessionOptions {
    pub(crate) fn batches(self) -> bool {
        self.sync_every.get() > 1
    }
}

/// Check that `connections` fit a pool of `pool_size`.
///
/// # Errors
/// [`ErrorKind::Usage`](crate::ErrorKind::Usage) when they do not.
pub fn check_pool(connections: usize, pool_size: usize) -> Result<()> {
    if connections > pool_size {
        return Err(Error::usage(format!(
            "--connections {connections} is more than the pool holds, {pool_size}"
        ))
        .with_help("ask for fewer, or raise [database] pool_size in config.toml"));
    }
    Ok(())
}

/// Check that `pipeline_depth` is from 1 to [`DEEPEST_PIPELINE`].
pub(crate) fn check_depth(pipeline_depth: usize) -> Result<()> {
    match pipeline_depth {
        0 => Err(Error::usage("the pipeline depth is 0").with_help("give a number from 1 up")),
        1..=DEEPEST_PIPELINE => Ok(()),
        _ => Err(Error::usage(format!("a pipeline depth of {pipeline_depth} is too deep"))
            .with_help(format!("give a number from 1 to {DEEPEST_PIPELINE}"))),
    }
}

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
    pub(crate) fn create(&self, config: &Config) -> Option<Duration> {
        let hosts = config.get_hosts().len() as u32;
        self.connect.or_else(|| Some(*config.get_connect_timeout()? * (hosts + 1)))
    }
}
