//! A server to load into or to measure, named by the user or embedded, and its connections.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZero;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use deadpool_postgres::{Object, Pool};
use serde::{Deserialize, Serialize};
use tokio_postgres::{CancelToken, Client, GenericClient};
use tokio_postgres_sync_batching::{Lane, StreamControl};

use crate::blocking::blocking;
use crate::postgres::connect_raw::{Opener, SharedRoute};
use crate::postgres::conninfo::Conninfo;
use crate::postgres::endpoint::Endpoint;
use crate::postgres::nodes::{find_nodes, problem_of};
use crate::postgres::options::{
    DatabaseOptions, LARGEST_POOL, Prepare, ServerChoice, SessionOptions, Timeouts,
};
use crate::postgres::pool::{self, Reached};
use crate::postgres::server_messages::ServerMessages;
use crate::postgres::spread::{self, ReadFrom, UnusableHost};
use crate::postgres::target_session::{HostChoice, TargetSession};
use crate::postgres::{connect_error, embedded, pooler_console, tls};
use crate::{Error, Result};

/// How a server was reached, its version, and those of its settings that affect performance most.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(missing_docs, reason = "the other fields are the server settings of the same name")]
pub struct ServerFacts {
    /// The host as the connection settings name it: a name, an IP address, or the directory of the Unix socket.
    pub host: String,
    /// The IP address that was connected to; `None` for a Unix socket.
    pub address: Option<IpAddr>,
    /// The TCP port, or the number in the name of the Unix socket.
    pub port: u16,
    /// Whether the server is a standby, which replays the changes of another server and accepts none itself.
    pub standby: bool,
    /// The database.
    pub database: String,
    /// The role whose privileges apply, which is that of the login unless a setting or a pooler changes it.
    pub role: String,
    /// Whether connections go through a pooler, such as PgBouncer.
    pub pooler: bool,
    /// The name and version of the pooler, such as `PgBouncer 1.18.0`; `None` without one, and where its console does not
    /// admit the role.
    pub pooler_version: Option<String>,
    /// For how long the pooler gives a server session to a connection: `session`, `transaction` or `statement`; `None`
    /// where `pooler_version` is.
    pub pool_mode: Option<String>,
    /// Whether statements are prepared under names; otherwise the server parses them again in each transaction.
    pub named_statements: bool,
    pub version: String,
    pub fsync: String,
    pub synchronous_commit: String,
    pub full_page_writes: String,
    pub wal_level: String,
    pub shared_buffers: String,
    pub max_wal_size: String,
    pub synchronous_standby_names: String,
}

/// A server to load into or to measure, and its connections.
///
/// Connections are opened only when a load or a measurement needs them, each session configuration in a pool of its own.
/// Call [`close`](Self::close) when done: it stops the embedded server if [`embedded::Options::keep`] is false.
pub struct Database {
    conninfo: Conninfo,
    pool_size: usize,
    timeouts: Timeouts,
    prepare: Prepare,
    connector: tls::Connector,
    opened: Arc<OpenedConnections>,
    embedded: Option<embedded::Server>,
}

/// Everything opened so far that may have to be cancelled or closed.
#[derive(Default)]
struct OpenedConnections {
    /// For each connection, the number of its pool, where it goes, and what cancels its statement.
    cancel_tokens: Mutex<Vec<(usize, SharedRoute, CancelToken)>>,
    pools: Mutex<Vec<Pool>>,
    /// What is known about the server.
    facts: Arc<OnceLock<ServerFacts>>,
    reached: Reached,
}

impl OpenedConnections {
    fn cancel_tokens(&self) -> MutexGuard<'_, Vec<(usize, SharedRoute, CancelToken)>> {
        self.cancel_tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How the server of `client`, one of the connections to that of `conninfo`, was `reached`, its version and its
    /// settings.
    async fn server_facts(
        &self,
        client: &Client,
        (conninfo, reached): (&Conninfo, &Reached),
        prepare: Prepare,
    ) -> Result<ServerFacts> {
        let endpoint = reached.route.endpoint();
        let endpoint =
            endpoint.ok_or_else(|| Error::connect("no connection to the server has been opened"))?;
        let mut facts = ServerFacts::from_client(client, endpoint, reached.pooler.get(), prepare).await?;
        let opener = Opener {
            conninfo: conninfo.clone(),
            connector: tls::Connector::new(conninfo.tls())?,
            sync_every: NonZero::<usize>::MIN,
            host_choice: HostChoice::default(),
            route: reached.route.clone(),
        };
        let pooler = reached.pooler.facts(pooler_console::ask(&opener)).await;
        (facts.pooler_version, facts.pool_mode) = (pooler.version, pooler.mode);
        self.facts.get_or_init(|| facts.clone());
        Ok(facts)
    }

    fn pools(&self) -> MutexGuard<'_, Vec<Pool>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A pool of connections whose sessions are configured alike.
#[derive(Clone)]
pub(crate) struct SessionPool {
    pool: Pool,
    /// Which of the database's pools it is.
    number: usize,
    session: SessionOptions,
    conninfo: Conninfo,
    reached: Reached,
    opened: Arc<OpenedConnections>,
}

/// The pools of the hosts that queries are sent to, at least one.
pub(crate) struct ReadPools {
    pub(crate) pools: Vec<SessionPool>,
    /// Whether connections are spread over all hosts of a kind, of which there may be one.
    pub(crate) is_spread: bool,
    /// The hosts that cannot be used.
    pub(crate) unusable: Vec<UnusableHost>,
}

/// Cancels the statements that are running on the connections of a [`Database`].
pub struct Canceller {
    opener: Opener,
    opened: Arc<OpenedConnections>,
}

impl Canceller {
    /// Ask the server to cancel the statement that each connection is running.
    pub async fn cancel(&self) {
        let tokens = self.opened.cancel_tokens().clone();
        for (_, route, token) in tokens {
            self.opener.cancel(&route, &token).await;
        }
    }
}

impl fmt::Debug for Canceller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Canceller").field("conninfo", &self.opener.conninfo).finish_non_exhaustive()
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("conninfo", &self.conninfo).finish_non_exhaustive()
    }
}

impl fmt::Debug for SessionPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionPool").field("conninfo", &self.conninfo).finish_non_exhaustive()
    }
}

impl SessionPool {
    /// Take a connection from the pool, to which it returns when dropped.
    ///
    /// # Errors
    /// When none becomes free in time, or a new one cannot be opened.
    pub(crate) async fn get(&self) -> Result<Object> {
        let connection =
            self.pool.get().await.map_err(|error| connect_error::from_pool(&self.conninfo, &error))?;
        let route = self.reached.route.clone();
        self.opened.cancel_tokens().push((self.number, route, connection.cancel_token()));
        Ok(connection)
    }

    /// Forget the connections that were taken so far and are closed, so that nobody tries to cancel what they ran.
    pub(crate) fn forget_connections(&self) {
        self.opened.cancel_tokens().retain(|(pool, ..)| *pool != self.number);
    }

    /// Open a connection that does not count towards the limit of the pool.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses the login.
    pub(crate) async fn open_extra(&self) -> Result<Client> {
        pool::connect_extra(&self.conninfo, Timeouts::default(), self.session, &self.reached).await
    }

    /// The control of the connection to the backend `pid`; `None` if there is none, as behind a pooler.
    pub(crate) fn control_of(&self, pid: i32) -> Option<StreamControl> {
        self.reached.controls.get(pid)
    }

    /// The lane of the connection of `client`; `None` behind a pooler.
    pub(crate) async fn lane_of(&self, client: &Client) -> Option<Lane> {
        let row = client.query_one("SELECT pg_catalog.pg_backend_pid()", &[]).await.ok()?;
        self.control_of(row.get(0)).map(|control| Lane::of(&control))
    }

    /// What the server said unasked over the connections of the database.
    pub(crate) fn messages(&self) -> &ServerMessages {
        &self.reached.messages
    }

    /// What a report says about the server of `client`, a connection of this pool.
    ///
    /// # Errors
    /// When the server does not tell its settings.
    pub(crate) async fn server_facts(&self, client: &Client) -> Result<ServerFacts> {
        self.opened.server_facts(client, (&self.conninfo, &self.reached), self.session.prepare).await
    }

    /// Whether a connection pooler was found to stand between when a connection was opened.
    pub(crate) fn is_pooled(&self) -> bool {
        self.reached.pooler.get()
    }

    /// Check that the server of `client`, a connection of this pool, accepts changes.
    ///
    /// # Errors
    /// When it is a standby, or its transactions are read-only.
    pub(crate) async fn check_writable(&self, client: &Client) -> Result<()> {
        self.reached.refusal_to_write(client).await?.map_or(Ok(()), Err)
    }

    /// As [`Database::check_mode`].
    pub(crate) fn check_mode(&self, copies: bool) -> Result<()> {
        check_copy(copies && self.reached.pooler.is_pgpool())
    }

    /// Where its connections go; `None` before one has been opened.
    pub(crate) fn endpoint(&self) -> Option<Endpoint> {
        self.reached.route.endpoint()
    }

    /// Whether the server runs on this machine, judging by its address: a Unix socket or a loopback address.
    pub(crate) fn is_local(&self) -> bool {
        self.endpoint().is_some_and(|endpoint| endpoint.is_local())
    }
}

impl Database {
    /// Prepare to use the server of `options`, starting the embedded server if that is chosen.
    ///
    /// `note` is called with a line of text before each step of starting the embedded server. No connection is opened.
    ///
    /// # Errors
    /// When the embedded server does not start, the pool size is out of range, or a certificate cannot be used.
    pub async fn open(options: DatabaseOptions, note: impl FnMut(&str) + Send + 'static) -> Result<Database> {
        let DatabaseOptions { server, pool_size, timeouts, prepare } = options;
        if !(1..=LARGEST_POOL).contains(&pool_size) {
            return Err(Error::usage(format!("pool size {pool_size} is out of range"))
                .with_help(format!("use a number from 1 to {LARGEST_POOL}")));
        }
        let (conninfo, embedded) = match server {
            ServerChoice::Named(conninfo) => (*conninfo, None),
            ServerChoice::Embedded(options) => {
                let server = start_embedded(options, note).await?;
                (conninfo_of(&server), Some(server))
            }
        };
        let connector = tls::Connector::new(conninfo.tls())?;
        Ok(Database { conninfo, pool_size, timeouts, prepare, connector, opened: Arc::default(), embedded })
    }

    /// Create a pool of connections configured as in `session`.
    ///
    /// # Errors
    /// When the pool cannot be built.
    pub(crate) fn session_pool(&self, session: SessionOptions) -> Result<SessionPool> {
        self.pool_of(self.conninfo.clone(), session, self.opened.reached.clone())
    }

    /// Create a pool of connections to the hosts of `conninfo`, of which is known what is `reached`.
    fn pool_of(&self, conninfo: Conninfo, session: SessionOptions, reached: Reached) -> Result<SessionPool> {
        let session = SessionOptions { prepare: self.prepare, ..session };
        let pool = pool::pool_sharing(&conninfo, self.pool_size, self.timeouts, session, &reached)?;
        let mut pools = self.opened.pools();
        let number = pools.len();
        pools.push(pool.clone());
        Ok(SessionPool { pool, number, session, conninfo, reached, opened: Arc::clone(&self.opened) })
    }

    /// Create a pool for each of the hosts that queries are sent to, configured as in `session`: for the hosts that
    /// `read_from` selects, or, without it, for those over which the connection settings spread connections, which is
    /// otherwise a single one.
    ///
    /// # Errors
    /// When there is no such host that can be reached, or one refuses the login.
    pub(crate) async fn read_pools(
        &self,
        session: SessionOptions,
        read_from: Option<ReadFrom>,
    ) -> Result<ReadPools> {
        if read_from == Some(ReadFrom::Nodes) {
            return self.node_pools(session).await;
        }
        let Some(wanted) = spread::wanted(&self.conninfo, read_from) else {
            let primary = read_from == Some(ReadFrom::Primary);
            let host_choice = if primary { HostChoice::Primary } else { session.host_choice };
            let pool = self.session_pool(SessionOptions { host_choice, ..session })?;
            return Ok(ReadPools { pools: vec![pool], is_spread: false, unusable: Vec::new() });
        };
        self.spread_pools(&self.conninfo, wanted, session).await
    }

    /// Create a pool for each host of `conninfo` that is of kind `wanted`, configured as in `session`.
    ///
    /// # Errors
    /// When there is no such host that can be reached, or one refuses the login.
    async fn spread_pools(
        &self,
        conninfo: &Conninfo,
        wanted: TargetSession,
        session: SessionOptions,
    ) -> Result<ReadPools> {
        let probe = SessionOptions { prepare: self.prepare, ..session };
        let found = spread::find_hosts(conninfo, wanted, probe).await?;
        let pool = |(conninfo, reached)| self.pool_of(conninfo, session, reached);
        let pools = found.usable.into_iter().map(pool).collect::<Result<_>>()?;
        Ok(ReadPools { pools, is_spread: true, unusable: found.unusable })
    }

    /// Create a pool for each node of the Citus cluster that holds shards, configured as in `session`.
    ///
    /// # Errors
    /// When there is no such node that can be reached, or one refuses the login.
    async fn node_pools(&self, session: SessionOptions) -> Result<ReadPools> {
        let named = self.session_pool(session)?;
        let client = named.open_extra().await?;
        let endpoint = named.endpoint().expect("it has been reached");
        let (nodes, mut unusable) = find_nodes(&client, &self.conninfo, &endpoint).await?;
        let spread = self.spread_pools(&nodes, TargetSession::Any, session).await?;
        unusable.extend(spread.unusable);
        let mut pools = Vec::new();
        for pool in spread.pools {
            let endpoint = pool.endpoint().expect("it has been reached");
            match problem_of(&pool.open_extra().await?, &endpoint).await {
                Some(problem) => unusable.push(UnusableHost { endpoint, problem }),
                None => pools.push(pool),
            }
        }
        match unusable.first() {
            Some(UnusableHost { endpoint, problem }) if pools.is_empty() => Err(Error::connect(format!(
                "no node of Citus can be used; {endpoint}: {problem}"
            ))
            .with_help("leave --nodes out, or run this on a machine that reaches the nodes by these names")),
            _ => Ok(ReadPools { pools, is_spread: true, unusable }),
        }
    }

    /// Take a connection with the default [`SessionOptions`] from a new pool, to which it returns when dropped.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses the login.
    pub async fn connection(&self) -> Result<Object> {
        self.connection_to(HostChoice::default()).await
    }

    /// As [`Database::connection`], to one of several hosts by `host_choice`.
    ///
    /// # Errors
    /// As [`Database::connection`].
    pub async fn connection_to(&self, host_choice: HostChoice) -> Result<Object> {
        self.session_pool(SessionOptions { host_choice, ..SessionOptions::default() })?.get().await
    }

    /// Why the server of `client`, a connection to this database, accepts no changes, and what to do about it; `None` if
    /// it accepts them.
    ///
    /// # Errors
    /// When the server does not tell.
    pub async fn refusal_to_write(&self, client: &Client) -> Result<Option<Error>> {
        self.opened.reached.refusal_to_write(client).await
    }

    /// How the server of `client`, a connection to this database, was reached, its version and its settings.
    ///
    /// # Errors
    /// When the server does not tell its settings.
    pub async fn server_facts(&self, client: &Client) -> Result<ServerFacts> {
        self.opened.server_facts(client, (&self.conninfo, &self.opened.reached), self.prepare).await
    }

    /// What [`Database::server_facts`] has found out first; empty until then.
    pub fn known_facts(&self) -> Arc<OnceLock<ServerFacts>> {
        Arc::clone(&self.opened.facts)
    }

    /// Begin a transaction on `client`, a connection to this database, and roll it back.
    ///
    /// # Errors
    /// When that is not possible, as through a pooler of statements, which closes the connection.
    pub async fn check_transactions(&self, client: &Client) -> Result<()> {
        let begun = async {
            client.batch_execute("BEGIN").await?;
            client.batch_execute("ROLLBACK").await
        };
        let begun = begun.await.map_err(|error| Error::database("begin a transaction", error));
        begun.map_err(|error| self.opened.reached.messages.explain(error))
    }

    /// Check that what the connections opened so far go through lets rows be loaded, by COPY if `copies`.
    ///
    /// # Errors
    /// When it does not.
    pub fn check_mode(&self, copies: bool) -> Result<()> {
        check_copy(copies && self.opened.reached.pooler.is_pgpool())
    }

    /// The maximum number of connections in each pool.
    pub fn pool_size(&self) -> usize {
        self.pool_size
    }

    /// A handle that cancels the statements running on all connections, including those opened later.
    pub fn canceller(&self) -> Canceller {
        let opener = Opener {
            conninfo: self.conninfo.clone(),
            connector: self.connector.clone(),
            sync_every: NonZero::<usize>::MIN,
            host_choice: HostChoice::default(),
            route: self.opened.reached.route.clone(),
        };
        Canceller { opener, opened: Arc::clone(&self.opened) }
    }

    /// The server's address as a URL, without the password.
    pub fn describe(&self) -> String {
        self.conninfo.describe()
    }

    /// Close all connections, and release the embedded server as [`embedded::Server::release`] does.
    ///
    /// # Errors
    /// When the embedded server has to be stopped and does not stop.
    pub async fn close(self) -> Result<()> {
        self.opened.pools().drain(..).for_each(|pool| pool.close());
        let Some(server) = self.embedded else { return Ok(()) };
        blocking(move || server.release()).await
    }
}

/// Refuse a COPY through Pgpool-II.
fn check_copy(is_through_pgpool: bool) -> Result<()> {
    if !is_through_pgpool {
        return Ok(());
    }
    Err(Error::usage("connections go through Pgpool-II, which does not answer a COPY of this program")
        .with_help("use --mode batch, or connect to the server itself"))
}

/// The connection settings of the embedded server.
fn conninfo_of(server: &embedded::Server) -> Conninfo {
    let mut config = tokio_postgres::Config::new();
    config.user(&server.user).dbname(&server.database).application_name("postgres-etl");
    Conninfo::from_socket(config, &server.socket_dir, server.port, "the embedded server")
}

async fn start_embedded(
    options: embedded::Options,
    mut note: impl FnMut(&str) + Send + 'static,
) -> Result<embedded::Server> {
    blocking(move || embedded::start(&options, &mut note)).await
}

impl ServerFacts {
    /// The server's address, the role and the database as a URL, without a password.
    pub fn url(&self) -> String {
        let endpoint = Endpoint { host: self.host.clone(), address: self.address, port: self.port };
        format!("postgresql://{}@{endpoint}/{}", self.role, self.database)
    }

    /// Query the settings from the server of `client`.
    ///
    /// # Errors
    /// When the query fails.
    async fn from_client(
        client: &impl GenericClient,
        endpoint: Endpoint,
        pooler: bool,
        prepare: Prepare,
    ) -> Result<ServerFacts> {
        let names = [
            "server_version",
            "fsync",
            "synchronous_commit",
            "full_page_writes",
            "wal_level",
            "shared_buffers",
            "max_wal_size",
            "synchronous_standby_names",
        ];
        let row = client
            .query_one(
                "SELECT array_agg(pg_catalog.current_setting(name) ORDER BY n),
                        pg_catalog.current_database()::text, current_user::text,
                        pg_catalog.pg_is_in_recovery()
                 FROM unnest($1::text[]) WITH ORDINALITY s(name, n)",
                &[&&names[..]],
            )
            .await
            .map_err(|error| Error::database("query the server's settings", error))?;
        let mut values = row.get::<_, Vec<String>>(0).into_iter();
        let mut next = || values.next().unwrap_or_default();
        // Debian appends its package version: "15.18 (Debian 15.18-0+deb12u1)".
        let version = next().split(' ').next().unwrap_or_default().to_owned();
        Ok(ServerFacts {
            host: endpoint.host,
            address: endpoint.address,
            port: endpoint.port,
            standby: row.get(3),
            database: row.get(1),
            role: row.get(2),
            pooler,
            pooler_version: None,
            pool_mode: None,
            named_statements: prepare == Prepare::Always || prepare == Prepare::Auto && !pooler,
            version,
            fsync: next(),
            synchronous_commit: next(),
            full_page_writes: next(),
            wal_level: next(),
            shared_buffers: next(),
            max_wal_size: next(),
            synchronous_standby_names: next(),
        })
    }
}
