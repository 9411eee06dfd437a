//! The sockets beneath a connection.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_postgres::Config;

/// Where a socket is opened: one of the addresses of a host, or the path of a Unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Address {
    /// Open a socket with the options of `config`.
    pub(crate) async fn open(&self, config: &Config) -> io::Result<Transport> {
        match self {
            Address::Tcp(address) => open_tcp(*address, config).await,
            Address::Unix(path) => UnixStream::connect(path).await.map(Transport::Unix),
        }
    }
}

async fn open_tcp(address: SocketAddr, config: &Config) -> io::Result<Transport> {
    let stream = TcpStream::connect(address).await?;
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

/// A socket, or the reason why there is none.
#[derive(Debug)]
pub(crate) enum Transport {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// Fails with the error once, and with `NotConnected` from then on.
    Unreachable(Option<io::Error>),
}

fn unreachable_error(error: &mut Option<io::Error>) -> io::Error {
    error.take().unwrap_or_else(|| io::ErrorKind::NotConnected.into())
}

impl Transport {
    /// The name of the program that listens at the other end of a Unix socket, as far as the system tells.
    pub(crate) fn peer_program(&self) -> Option<String> {
        let Transport::Unix(stream) = self else { return None };
        let pid = stream.peer_cred().ok()?.pid()?;
        std::fs::read_to_string(format!("/proc/{pid}/comm")).ok().map(|name| name.trim().to_owned())
    }

    /// The port of this end of a TCP connection.
    pub(crate) fn local_port(&self) -> Option<u16> {
        match self {
            Transport::Tcp(stream) => stream.local_addr().ok().map(|address| address.port()),
            Transport::Unix(_) | Transport::Unreachable(_) => None,
        }
    }
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
