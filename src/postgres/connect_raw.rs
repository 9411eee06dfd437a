//! Connections with Sync batching, which need a stream that the driver's own `connect` cannot open.
//!
//! [`Config::connect_raw`] logs in over a single open stream. What `connect` does around that is done here in the same
//! way: it tries hosts and addresses in order, sets socket options, and checks `target_session_attrs`.

use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::SocketAddr;
use std::num::NonZero;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio_postgres::config::{Host, LoadBalanceHosts, SslMode, TargetSessionAttrs};
use tokio_postgres::{CancelToken, Client, Config, Connection, Error as PgError, NoTls, SimpleQueryMessage};
use tokio_postgres_sync_batching::{BatchingTls, StreamControl, SyncBatching};

use crate::postgres::tls;

/// A connection with Sync batching, encrypted or not.
pub(super) type BatchingConnection =
    Connection<SyncBatching<Transport>, SyncBatching<tls::EncryptedStream<SyncBatching<Transport>>>>;

/// A client, its connection, which the caller has to drive, and the control of its stream.
pub(super) struct Opened {
    pub(super) client: Client,
    pub(super) connection: BatchingConnection,
    pub(super) control: StreamControl,
}

/// Log in to the first host that accepts the login, with at most `sync_every` executes per Sync.
pub(super) async fn connect(
    config: &Config,
    connector: &tls::Connector,
    sync_every: NonZero<usize>,
) -> Result<Opened, PgError> {
    let mut last = None;
    for endpoint in endpoints(config) {
        for address in endpoint.resolve().await {
            let transport = address.open(config).await;
            match log_in(transport, &endpoint.name, config, connector, sync_every).await {
                Ok(opened) => return Ok(opened),
                Err(error) => last = Some(error),
            }
        }
    }
    match last {
        Some(error) => Err(error),
        None => Err(driver_error(config, io::Error::other("no host to connect to")).await),
    }
}

/// Ask the server to cancel the statement that the connection of `token` is running.
///
/// The token of a connection opened with `connect_raw` does not know its server, so the request goes to every host of
/// `config`. Servers ignore a request whose key they do not know.
pub(super) async fn cancel(config: &Config, connector: &tls::Connector, token: &CancelToken) {
    for endpoint in endpoints(config) {
        for address in endpoint.resolve().await {
            let transport = address.open(config).await;
            // One request per host: a second one could cancel the next statement.
            if token.cancel_query_raw(transport, connector.handshake(&endpoint.name)).await.is_ok() {
                break;
            }
        }
    }
}

async fn log_in(
    transport: Transport,
    name: &str,
    config: &Config,
    connector: &tls::Connector,
    sync_every: NonZero<usize>,
) -> Result<Opened, PgError> {
    let handshake = BatchingTls::new(connector.handshake(name), sync_every);
    let stream = SyncBatching::new(transport, sync_every);
    let control = stream.control();
    let (client, mut connection) = config.connect_raw(stream, handshake).await?;
    let (unwanted, refusal) = match config.get_target_session_attrs() {
        TargetSessionAttrs::ReadWrite => ("on", "database does not allow writes"),
        TargetSessionAttrs::ReadOnly => ("off", "database is not read only"),
        _ => return Ok(Opened { client, connection, control }),
    };
    let answer = {
        let mut show = std::pin::pin!(client.simple_query("SHOW transaction_read_only"));
        tokio::select! {
            answer = &mut show => answer?,
            ended = &mut connection => { ended?; show.await? }
        }
    };
    let is_unwanted = answer
        .iter()
        .any(|message| matches!(message, SimpleQueryMessage::Row(row) if row.get(0) == Some(unwanted)));
    if is_unwanted {
        let refusal = io::Error::new(io::ErrorKind::PermissionDenied, refusal);
        return Err(driver_error(config, refusal).await);
    }
    Ok(Opened { client, connection, control })
}

/// `error` as an error of the driver, which only the driver can create: it hits `error` on its first write.
async fn driver_error(config: &Config, error: io::Error) -> PgError {
    let mut config = config.clone();
    config.ssl_mode(SslMode::Disable);
    let outcome = config.connect_raw(Transport::Unreachable(Some(error)), NoTls).await;
    outcome.err().expect("login needs a server")
}

/// One of the hosts of a configuration.
struct Endpoint {
    /// The name that its TLS certificate should contain; empty if the host has none.
    name: String,
    address: Address,
}

/// Where the host listens: a name or IP address with a port, or the path of a Unix socket.
enum Address {
    Tcp(String, u16),
    Unix(PathBuf),
}

/// The hosts of `config`, in the order in which to try them.
fn endpoints(config: &Config) -> Vec<Endpoint> {
    let (hosts, addresses, ports) = (config.get_hosts(), config.get_hostaddrs(), config.get_ports());
    let mut order: Vec<usize> = (0..hosts.len().max(addresses.len())).collect();
    if config.get_load_balance_hosts() == LoadBalanceHosts::Random {
        let random = RandomState::new();
        order.sort_by_cached_key(|index| random.hash_one(index));
    }
    let endpoint_at = |index: usize| {
        let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
        let (name, address) = match (hosts.get(index), addresses.get(index)) {
            (Some(Host::Tcp(name)), None) => (name.clone(), Address::Tcp(name.clone(), port)),
            (Some(Host::Tcp(name)), Some(address)) => (name.clone(), Address::Tcp(address.to_string(), port)),
            (_, Some(address)) => (String::new(), Address::Tcp(address.to_string(), port)),
            (Some(Host::Unix(directory)), None) => {
                (String::new(), Address::Unix(directory.join(format!(".s.PGSQL.{port}"))))
            }
            (None, None) => unreachable!("the index is valid in one of the lists"),
        };
        Endpoint { name, address }
    };
    order.into_iter().map(endpoint_at).collect()
}

/// One address of a host, or the reason why its name could not be resolved.
enum ResolvedAddress {
    Tcp(SocketAddr),
    Unix(PathBuf),
    Unresolved(io::Error),
}

impl Endpoint {
    async fn resolve(&self) -> Vec<ResolvedAddress> {
        match &self.address {
            Address::Unix(path) => vec![ResolvedAddress::Unix(path.clone())],
            Address::Tcp(host, port) => match lookup_host((host.as_str(), *port)).await {
                Ok(found) => found.map(ResolvedAddress::Tcp).collect(),
                Err(error) => vec![ResolvedAddress::Unresolved(error)],
            },
        }
    }
}

impl ResolvedAddress {
    /// Open a socket with the options of `config`. The transport reports a failure on the first read or write.
    async fn open(self, config: &Config) -> Transport {
        let opened = match self {
            ResolvedAddress::Tcp(address) => open_tcp(address, config).await,
            ResolvedAddress::Unix(path) => {
                within(UnixStream::connect(path), config.get_connect_timeout()).await.map(Transport::Unix)
            }
            ResolvedAddress::Unresolved(error) => Err(error),
        };
        opened.unwrap_or_else(|error| Transport::Unreachable(Some(error)))
    }
}

async fn open_tcp(address: SocketAddr, config: &Config) -> io::Result<Transport> {
    let stream = within(TcpStream::connect(address), config.get_connect_timeout()).await?;
    stream.set_nodelay(true)?;
    let socket = SockRef::from(&stream);
    #[cfg(target_os = "linux")]
    if let Some(&timeout) = config.get_tcp_user_timeout() {
        socket.set_tcp_user_timeout(Some(timeout))?;
    }
    if config.get_keepalives() {
        let mut keepalive = TcpKeepalive::new().with_time(config.get_keepalives_idle());
        if let Some(interval) = config.get_keepalives_interval() {
            keepalive = keepalive.with_interval(interval);
        }
        if let Some(retries) = config.get_keepalives_retries() {
            keepalive = keepalive.with_retries(retries);
        }
        socket.set_tcp_keepalive(&keepalive)?;
    }
    Ok(Transport::Tcp(stream))
}

/// Wait for `opening`, for at most `limit` if there is one.
async fn within<T>(opening: impl Future<Output = io::Result<T>>, limit: Option<&Duration>) -> io::Result<T> {
    match limit {
        None => opening.await,
        Some(&limit) => tokio::time::timeout(limit, opening)
            .await
            .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "connection timed out"))),
    }
}

/// A socket, or the reason why there is none.
#[derive(Debug)]
pub(super) enum Transport {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// Fails with the error once, and with `NotConnected` from then on.
    Unreachable(Option<io::Error>),
}

fn unreachable_error(error: &mut Option<io::Error>) -> io::Error {
    error.take().unwrap_or_else(|| io::ErrorKind::NotConnected.into())
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Transport::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Transport::Unreachable(error) => Poll::Ready(Err(unreachable_error(error))),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Transport::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Transport::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Transport::Unreachable(error) => Poll::Ready(Err(unreachable_error(error))),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Transport::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Transport::Unreachable(error) => Poll::Ready(Err(unreachable_error(error))),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Transport::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Transport::Unreachable(error) => Poll::Ready(Err(unreachable_error(error))),
        }
    }
}
