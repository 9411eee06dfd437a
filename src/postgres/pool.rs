//! Opens connections, singly or for a pool.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use deadpool_postgres::{Connect, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, Error as PgError};
use tokio_postgres_sync_batching::{Lane, StreamControl};

use crate::postgres::connect_failure::{ConnectFailure, FailureReason};
use crate::postgres::connect_raw::{Opened, Opener, SharedRoute};
use crate::postgres::conninfo::Conninfo;
use crate::postgres::options::{SessionOptions, Timeouts};
use crate::postgres::pooler::PoolerSeen;
use crate::postgres::server_messages::ServerMessages;
use crate::postgres::{connect_error, pooler, tls, writable};
use crate::{Error, Result};

/// What is found out about the server when connections to it are opened, shared by all its pools.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reached {
    /// The address that all connections go to.
    pub(crate) route: SharedRoute,
    /// Whether connections go through a pooler.
    pub(crate) pooler: PoolerSeen,
    /// What the server said unasked.
    pub(crate) messages: ServerMessages,
    pub(crate) controls: Controls,
}

impl Reached {
    /// Why the server of `client`, one of its connections, accepts no changes; `None` if it accepts them.
    ///
    /// # Errors
    /// When the server does not tell.
    pub(crate) async fn refusal_to_write(&self, client: &Client) -> Result<Option<Error>> {
        let server = self.route.endpoint().map_or_else(String::new, |endpoint| endpoint.to_string());
        writable::refusal(client, &server).await
    }
}

/// The controls of the connections that are open, by the process ID that the server sent at login.
#[derive(Debug, Clone, Default)]
pub(crate) struct Controls(Arc<Mutex<HashMap<i32, StreamControl>>>);

impl Controls {
    /// That of the connection to the backend `pid`; `None` if there is none, as behind a pooler.
    pub(crate) fn get(&self, pid: i32) -> Option<StreamControl> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&pid).cloned()
    }

    fn add(&self, control: &StreamControl) {
        let mut controls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        controls.retain(|_, control| Lane::of(control).is_open());
        controls.extend(control.login_pid().map(|pid| (pid, control.clone())));
    }
}

/// Create a pool of at most `size` connections to the server of `conninfo`, configured as in `session`.
///
/// No connection is opened yet: [`Pool::get`] opens one when none is free. Pass its error to
/// [`connect_error::from_pool`], which explains it. All connections go to the address that the first one reaches. With [`SessionOptions::sync_every`] above 1, statements in flight
/// together share Sync messages.
///
/// # Errors
/// When a certificate or key named in `conninfo` cannot be used, or `size` is 0.
pub fn pool(conninfo: &Conninfo, size: usize, timeouts: Timeouts, session: SessionOptions) -> Result<Pool> {
    pool_sharing(conninfo, size, timeouts, session, &Reached::default())
}

/// As [`pool()`], sharing what is found out about the server in `reached`.
pub(crate) fn pool_sharing(
    conninfo: &Conninfo,
    size: usize,
    timeouts: Timeouts,
    session: SessionOptions,
    reached: &Reached,
) -> Result<Pool> {
    let connector = SessionConnector::new(conninfo, session, reached)?;
    let manager = Manager::from_connect(
        conninfo.config().clone(),
        connector,
        ManagerConfig { recycling_method: RecyclingMethod::Fast },
    );
    if size == 0 {
        return Err(Error::usage("the pool size is 0").with_help("allow at least one connection"));
    }
    Pool::builder(manager)
        .max_size(size)
        .wait_timeout(Some(timeouts.wait))
        .create_timeout(timeouts.connect)
        .recycle_timeout(Some(timeouts.recycle))
        .runtime(Runtime::Tokio1)
        .build()
        .map_err(|error| Error::connect(format!("failed to build the connection pool: {error}")))
}

/// Open a connection configured as in `session`, and close it: what is found out about the server is in `reached`.
///
/// # Errors
/// When a certificate or key named in `conninfo` cannot be used. The inner error says why there is no connection.
pub(crate) async fn probe(
    conninfo: &Conninfo,
    session: SessionOptions,
    reached: &Reached,
) -> Result<Result<(), ConnectFailure>> {
    Ok(SessionConnector::new(conninfo, session, reached)?.open().await.map(drop))
}

/// Open a connection as a pool for `session` does, but without sharing Syncs and without read-only transactions.
///
/// # Errors
/// When a certificate or key named in `conninfo` cannot be used, the server cannot be reached in time, or it refuses the
/// login.
pub(crate) async fn connect_extra(
    conninfo: &Conninfo,
    timeouts: Timeouts,
    session: SessionOptions,
    reached: &Reached,
) -> Result<Client> {
    let SessionOptions { prepare, host_choice, .. } = session;
    let session = SessionOptions { prepare, host_choice, ..SessionOptions::default() };
    let connector = SessionConnector::new(conninfo, session, reached)?;
    let opened = match timeouts.connect {
        None => connector.open().await,
        Some(limit) => match tokio::time::timeout(limit, connector.open()).await {
            Ok(opened) => opened,
            Err(_) => return Err(connect_error::from_timeout(conninfo, limit)),
        },
    };
    let (client, _) = opened.map_err(|failure| connect_error::from_failure(conninfo, &failure))?;
    Ok(client)
}

/// Opens the connections of a pool, and configures their sessions.
#[derive(Debug, Clone)]
struct SessionConnector {
    opener: Opener,
    session: SessionOptions,
    pooler: PoolerSeen,
    messages: ServerMessages,
    controls: Controls,
}

impl SessionConnector {
    fn new(conninfo: &Conninfo, session: SessionOptions, reached: &Reached) -> Result<SessionConnector> {
        let opener = Opener {
            conninfo: conninfo.clone(),
            connector: tls::Connector::new(conninfo.tls())?,
            sync_every: session.sync_every,
            host_choice: session.host_choice,
            route: reached.route.clone(),
        };
        let Reached { pooler, messages, controls, .. } = reached.clone();
        Ok(SessionConnector { opener, session, pooler, messages, controls })
    }

    async fn open(&self) -> Result<(Client, JoinHandle<()>), ConnectFailure> {
        let Opened { client, connection, control, local_port, peer_program } = self.opener.open().await?;
        let task = tokio::spawn(self.messages.clone().drive(connection, control.clone()));
        self.controls.add(&control);
        if peer_program.is_some_and(|program| program.starts_with("pgpool")) {
            self.pooler.note_pgpool();
        }
        match pooler::configure(&client, &control, local_port, self.session, &self.pooler).await {
            Ok(()) => Ok((client, task)),
            Err(error) => Err(self.opener.failure(FailureReason::Login(error))),
        }
    }
}

impl Connect for SessionConnector {
    fn connect(&self, _: &Config) -> Connecting<'_> {
        Box::pin(async move {
            match self.open().await {
                Ok(opened) => Ok(opened),
                Err(failure) => Err(failure.into_driver_error().await),
            }
        })
    }
}

type Connecting<'a> = Pin<Box<dyn Future<Output = Result<(Client, JoinHandle<()>), PgError>> + Send + 'a>>;
