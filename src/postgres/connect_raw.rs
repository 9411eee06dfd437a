//! Opens connections: the only place in the program that does.
//!
//! The driver logs in over an open stream. What libpq does around that is done here: hosts and their addresses are tried
//! in order, each for at most `connect_timeout`, with TLS or without it as `sslmode` allows. The next host is tried if
//! one cannot be reached, stays silent, is starting up or is not of the kind that `target_session_attrs` demands. Any
//! other refusal is final: a wrong password must not be offered to the next host, nor may rows end up there.

use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::num::NonZero;
use std::sync::Arc;

use tokio::net::lookup_host;
use tokio::sync::OnceCell;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::{CancelToken, Client, Connection, Error as PgError};
use tokio_postgres_sync_batching::{BatchingTls, StreamControl, SyncBatching};

use crate::postgres::connect_failure::{ConnectFailure, FailedAttempt, FailureReason};
use crate::postgres::conninfo::Conninfo;
use crate::postgres::endpoint::{Endpoint, HostEntry, HostName};
use crate::postgres::target_session::{HostChoice, TargetSession};
use crate::postgres::transport::{Address, Transport};
use crate::postgres::{connect_failure, embedded, tls};

/// A connection with Sync batching, encrypted or not.
pub(super) type BatchingConnection =
    Connection<SyncBatching<Transport>, SyncBatching<tls::EncryptedStream<SyncBatching<Transport>>>>;

/// A client, its connection, which the caller has to drive, and the control of its stream.
pub(super) struct Opened {
    pub(super) client: Client,
    pub(super) connection: BatchingConnection,
    pub(super) control: StreamControl,
    /// The port of this end of a TCP connection.
    pub(super) local_port: Option<u16>,
    /// The program at the other end of a Unix socket.
    pub(super) peer_program: Option<String>,
}

/// The address that the first connection reached, to which all later ones go as well.
///
/// A report describes one server, and the rows of a load must not be spread over several.
#[derive(Debug, Clone, Default)]
pub(crate) struct SharedRoute(Arc<OnceCell<Route>>);

/// A host and the address that was reached.
#[derive(Debug)]
struct Route {
    host: HostEntry,
    address: Address,
}

impl SharedRoute {
    /// Where the connections go; `None` before the first one is open.
    pub(crate) fn endpoint(&self) -> Option<Endpoint> {
        self.0.get().map(Route::endpoint)
    }
}

impl Route {
    fn endpoint(&self) -> Endpoint {
        self.host.endpoint(match self.address {
            Address::Tcp(address) => Some(address.ip()),
            Address::Unix(_) => None,
        })
    }
}

/// Opens connections with the settings of one login.
#[derive(Debug, Clone)]
pub(crate) struct Opener {
    pub(crate) conninfo: Conninfo,
    pub(crate) connector: tls::Connector,
    /// The maximum number of executes per Sync.
    pub(crate) sync_every: NonZero<usize>,
    pub(crate) host_choice: HostChoice,
    pub(crate) route: SharedRoute,
}

impl Opener {
    /// Log in to the first host that accepts the login or, from the second connection on, to the same address again.
    pub(super) async fn open(&self) -> Result<Opened, ConnectFailure> {
        let mut first = None;
        let reached = self.route.0.get_or_try_init(|| async {
            let (opened, route) = self.open_first().await?;
            first = Some(opened);
            Ok(route)
        });
        let route = reached.await?;
        if let Some(opened) = first {
            return Ok(opened);
        }
        let wanted = self.conninfo.target_session(self.host_choice).once_chosen();
        self.try_address(&route.host, &route.address, wanted).await.map_err(|reason| self.failure(reason))
    }

    /// Log in to `database` at the address that all connections go to, whatever answers there; `None` if that fails.
    pub(super) async fn open_database(&self, database: &str) -> Option<Opened> {
        let route = self.route.0.get()?;
        let opener = Opener { conninfo: self.conninfo.clone().with_dbname(database), ..self.clone() };
        opener.try_address(&route.host, &route.address, TargetSession::Any).await.ok()
    }

    /// A failure at the address that all connections go to.
    pub(super) fn failure(&self, reason: FailureReason) -> ConnectFailure {
        let attempts = self.route.0.get().map(|route| FailedAttempt {
            host: route.host.clone(),
            endpoint: route.endpoint(),
            reason,
        });
        ConnectFailure { attempts: attempts.into_iter().collect() }
    }

    /// Log in to the first host that accepts the login.
    async fn open_first(&self) -> Result<(Opened, Route), ConnectFailure> {
        let mut failure = ConnectFailure { attempts: Vec::new() };
        for &wanted in self.conninfo.target_session(self.host_choice).passes() {
            // What an earlier pass has found is found again.
            failure.attempts.clear();
            for host in self.hosts() {
                let addresses = match resolve(host).await {
                    Ok(addresses) => addresses,
                    Err(error) => {
                        failure.add(host, None, FailureReason::Unresolved(error));
                        continue;
                    }
                };
                for address in addresses {
                    let reason = match self.try_address(host, &address, wanted).await {
                        Ok(opened) => return Ok((opened, Route { host: host.clone(), address })),
                        Err(reason) => reason,
                    };
                    let (is_final, is_about_host) = (reason.is_final(), reason.is_about_host());
                    failure.add(host, Some(&address), reason);
                    if is_final {
                        return Err(failure);
                    }
                    if is_about_host {
                        break;
                    }
                }
            }
        }
        Err(failure)
    }

    /// The hosts in the order in which to try them.
    fn hosts(&self) -> Vec<&HostEntry> {
        let mut hosts: Vec<&HostEntry> = self.conninfo.hosts().iter().collect();
        if self.conninfo.balances_load() {
            let random = RandomState::new();
            let mut order: Vec<usize> = (0..hosts.len()).collect();
            order.sort_by_cached_key(|index| random.hash_one(index));
            hosts = order.into_iter().map(|index| hosts[index]).collect();
        }
        hosts
    }

    /// Log in to `host` at `address`, within `connect_timeout`.
    async fn try_address(
        &self,
        host: &HostEntry,
        address: &Address,
        wanted: TargetSession,
    ) -> Result<Opened, FailureReason> {
        let attempt = self.try_each_ssl_mode(host, address, wanted);
        match self.conninfo.config().get_connect_timeout() {
            None => attempt.await,
            Some(&limit) => match tokio::time::timeout(limit, attempt).await {
                Ok(outcome) => outcome,
                Err(_) => Err(FailureReason::Silent(limit)),
            },
        }
    }

    /// Log in with each `sslmode` of the driver that the settings allow, until one succeeds.
    async fn try_each_ssl_mode(
        &self,
        host: &HostEntry,
        address: &Address,
        wanted: TargetSession,
    ) -> Result<Opened, FailureReason> {
        let attempts = match address {
            Address::Unix(_) => &[SslMode::Disable],
            Address::Tcp(_) => self.conninfo.tls().mode.attempts(),
        };
        let mut earlier = None;
        for &ssl_mode in attempts {
            match self.log_in(host, address, ssl_mode, wanted).await {
                Err(FailureReason::Login(error)) if is_about_tls(&error) => earlier = earlier.or(Some(error)),
                outcome => return outcome,
            }
        }
        // Of two errors, the first is about the preferred mode.
        Err(FailureReason::Login(earlier.expect("every mode allows at least one attempt")))
    }

    async fn log_in(
        &self,
        host: &HostEntry,
        address: &Address,
        ssl_mode: SslMode,
        wanted: TargetSession,
    ) -> Result<Opened, FailureReason> {
        let mut config = self.conninfo.config().clone();
        config.ssl_mode(ssl_mode);
        if let Some(password) = &host.password {
            config.password(&password.0);
        }
        let transport = address.open(&config).await.map_err(FailureReason::Unreachable)?;
        if let Some(wanted) = self.conninfo.require_peer() {
            check_peer(&transport, wanted)?;
        }
        let (local_port, peer_program) = (transport.local_port(), transport.peer_program());
        let handshake = BatchingTls::new(self.handshake(host, address), self.sync_every);
        let stream = SyncBatching::new(transport, self.sync_every);
        let control = stream.control();
        if let Some(methods) = self.conninfo.require_auth() {
            control.require_auth(methods);
        }
        let (client, mut connection) =
            config.connect_raw(stream, handshake).await.map_err(FailureReason::Login)?;
        let is_met = {
            let mut is_met = std::pin::pin!(wanted.is_met(&client));
            tokio::select! {
                is_met = &mut is_met => is_met,
                ended = &mut connection => match ended {
                    Ok(()) => is_met.await,
                    Err(error) => Err(error),
                },
            }
        };
        if is_met.map_err(FailureReason::Login)? {
            Ok(Opened { client, connection, control, local_port, peer_program })
        } else {
            Err(FailureReason::Unwanted(wanted))
        }
    }

    fn handshake(&self, host: &HostEntry, address: &Address) -> tls::Handshake {
        let ip = match address {
            Address::Tcp(address) => Some(address.ip()),
            Address::Unix(_) => None,
        };
        self.connector.handshake(host.certificate_name(), ip)
    }

    /// Ask the server to cancel the statement that the connection of `token`, which goes to `route`, is running.
    pub(super) async fn cancel(&self, route: &SharedRoute, token: &CancelToken) {
        let Some(route) = route.0.get() else { return };
        let Ok(transport) = route.address.open(self.conninfo.config()).await else { return };
        // The token of a connection opened with `connect_raw` does not know its server.
        let sent = token.cancel_query_raw(transport, self.handshake(&route.host, &route.address)).await;
        if let Err(error) = sent {
            tracing::debug!("failed to send a cancel request to {}: {error}", route.endpoint());
        }
    }
}

/// Check that the process at the other end of a Unix socket runs as the user `wanted`.
fn check_peer(transport: &Transport, wanted: &str) -> Result<(), FailureReason> {
    let Transport::Unix(stream) = transport else { return Ok(()) };
    let peer = stream.peer_cred().map_err(FailureReason::Unreachable)?;
    let name = embedded::user_name(peer.uid()).unwrap_or_else(|| peer.uid().to_string());
    if name == wanted { Ok(()) } else { Err(FailureReason::WrongPeer(name)) }
}

/// The addresses of `host`.
async fn resolve(host: &HostEntry) -> io::Result<Vec<Address>> {
    match (&host.host, host.address) {
        (_, Some(address)) => Ok(vec![Address::Tcp((address, host.port).into())]),
        (HostName::Unix(directory), None) => {
            Ok(vec![Address::Unix(directory.join(format!(".s.PGSQL.{}", host.port)))])
        }
        (HostName::Tcp(name), None) => {
            Ok(lookup_host((name.as_str(), host.port)).await?.map(Address::Tcp).collect())
        }
        (HostName::AddressOnly, None) => unreachable!("a host without a name has an address"),
    }
}

/// Whether the login may succeed with TLS where it failed without, or vice versa: `pg_hba.conf` may have lines for
/// only one of the two.
fn is_about_tls(error: &PgError) -> bool {
    error.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION) || connect_failure::is_tls(error)
}
