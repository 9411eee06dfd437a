//! Connections over streams of our own making, for which the driver's own `connect` has no place.
//!
//! [`Config::connect_raw`] logs in on one stream. What the driver does around it with its own streams is done
//! here in the same way: hosts and addresses in order, the socket's options, `target_session_attrs`.

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

use crate::postgres::tls;
use tokio_postgres_sync_batching::{BatchingTls, SyncBatching};

/// A connection that batches Syncs, encrypted or not.
pub(super) type Batching =
    Connection<SyncBatching<Transport>, SyncBatching<tls::Stream<SyncBatching<Transport>>>>;

/// Logs in to the first of the hosts that will have us, with at most `sync_every` executes to a Sync.
pub(super) async fn connect(
    config: &Config,
    connector: &tls::Connector,
    sync_every: NonZero<usize>,
) -> Result<(Client, Batching), PgError> {
    let mut last = None;
    for place in places(config) {
        for target in place.targets().await {
            let transport = target.open(config).await;
            match log_in(transport, &place.name, config, connector, sync_every).await {
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

/// Asks the server that `token` is of to stop what it is doing. A connection that was not opened by the driver
/// does not know its server, so all of `config` are asked; the others know no such key, and ignore it.
pub(super) async fn cancel(config: &Config, connector: &tls::Connector, token: &CancelToken) {
    for place in places(config) {
        for target in place.targets().await {
            let transport = target.open(config).await;
            // Not the same server twice: the second time could hit the next statement.
            if token.cancel_query_raw(transport, connector.handshake(&place.name)).await.is_ok() {
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
) -> Result<(Client, Batching), PgError> {
    let handshake = BatchingTls::new(connector.handshake(name), sync_every);
    let stream = SyncBatching::new(transport, sync_every);
    let (client, mut connection) = config.connect_raw(stream, handshake).await?;
    let (unwanted, refusal) = match config.get_target_session_attrs() {
        TargetSessionAttrs::ReadWrite => ("on", "database does not allow writes"),
        TargetSessionAttrs::ReadOnly => ("off", "database is not read only"),
        _ => return Ok((client, connection)),
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
    Ok((client, connection))
}

/// `error` as the driver's own, which nobody else can make: it meets it when it first writes.
async fn driver_error(config: &Config, error: io::Error) -> PgError {
    let mut config = config.clone();
    config.ssl_mode(SslMode::Disable);
    let met = config.connect_raw(Transport::Unreachable(Some(error)), NoTls).await;
    met.err().expect("nobody logs in without a server")
}

/// One of the hosts.
struct Place {
    /// What its certificate should name.
    name: String,
    address: Address,
}

enum Address {
    Tcp(String, u16),
    Unix(PathBuf),
}

/// The hosts in the order to try them.
fn places(config: &Config) -> Vec<Place> {
    let (hosts, addresses, ports) = (config.get_hosts(), config.get_hostaddrs(), config.get_ports());
    let mut order: Vec<usize> = (0..hosts.len().max(addresses.len())).collect();
    if config.get_load_balance_hosts() == LoadBalanceHosts::Random {
        let random = RandomState::new();
        order.sort_by_cached_key(|index| random.hash_one(index));
    }
    let place = |index: usize| {
        let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
        let (name, address) = match (hosts.get(index), addresses.get(index)) {
            (Some(Host::Tcp(name)), None) => (name.clone(), Address::Tcp(name.clone(), port)),
            (Some(Host::Tcp(name)), Some(address)) => (name.clone(), Address::Tcp(address.to_string(), port)),
            (_, Some(address)) => (String::new(), Address::Tcp(address.to_string(), port)),
            (Some(Host::Unix(directory)), None) => {
                (String::new(), Address::Unix(directory.join(format!(".s.PGSQL.{port}"))))
            }
            (None, None) => unreachable!("an index is of one of the lists"),
        };
        Place { name, address }
    };
    order.into_iter().map(place).collect()
}

/// One address of a host, or why it has none.
enum Target {
    Tcp(SocketAddr),
    Unix(PathBuf),
    Unknown(io::Error),
}

impl Place {
    async fn targets(&self) -> Vec<Target> {
        match &self.address {
            Address::Unix(path) => vec![Target::Unix(path.clone())],
            Address::Tcp(host, port) => match lookup_host((host.as_str(), *port)).await {
                Ok(found) => found.map(Target::Tcp).collect(),
                Err(error) => vec![Target::Unknown(error)],
            },
        }
    }
}

impl Target {
    /// Opens a socket with the options of `config`; a failure is met when the driver writes.
    async fn open(self, config: &Config) -> Transport {
        let opened = match self {
            Target::Tcp(address) => open_tcp(address, config).await,
            Target::Unix(path) => {
                in_time(UnixStream::connect(path), config.get_connect_timeout()).await.map(Transport::Unix)
            }
            Target::Unknown(error) => Err(error),
        };
        opened.unwrap_or_else(|error| Transport::Unreachable(Some(error)))
    }
}

async fn open_tcp(address: SocketAddr, config: &Config) -> io::Result<Transport> {
    let stream = in_time(TcpStream::connect(address), config.get_connect_timeout()).await?;
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

async fn in_time<T>(opening: impl Future<Output = io::Result<T>>, limit: Option<&Duration>) -> io::Result<T> {
    match limit {
        None => opening.await,
        Some(&limit) => tokio::time::timeout(limit, opening)
            .await
            .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "connection timed out"))),
    }
}

/// A socket, or why there is none.
#[derive(Debug)]
pub(super) enum Transport {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// Fails once with the error, and then as a closed one does.
    Unreachable(Option<io::Error>),
}

fn unreachable(error: &mut Option<io::Error>) -> io::Error {
    error.take().unwrap_or_else(|| io::ErrorKind::NotConnected.into())
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Transport::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Transport::Unreachable(error) => Poll::Ready(Err(unreachable(error))),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Transport::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Transport::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Transport::Unreachable(error) => Poll::Ready(Err(unreachable(error))),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Transport::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Transport::Unreachable(error) => Poll::Ready(Err(unreachable(error))),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Transport::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Transport::Unreachable(error) => Poll::Ready(Err(unreachable(error))),
        }
    }
}
