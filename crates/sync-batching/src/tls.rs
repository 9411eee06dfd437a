//! Sync batching over TLS.

use std::num::NonZero;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

use crate::stream::SyncBatching;

/// A TLS connector whose encrypted streams batch Syncs.
///
/// The driver negotiates encryption over the stream passed to `connect_raw`, and then either uses that stream or
/// has the connector encrypt it. Wrap both: the [`SyncBatching`] stream batches when the connection stays
/// unencrypted, the connector when it does not.
///
/// ```no_run
/// # use std::num::NonZero;
/// # use tokio::net::TcpStream;
/// # use tokio_postgres::tls::MakeTlsConnect;
/// # use tokio_postgres::{Client, Config};
/// # use tokio_postgres_sync_batching::{BatchingTls, SyncBatching};
/// # async fn connect<M>(config: Config, mut make_tls: M) -> Result<Client, Box<dyn std::error::Error>>
/// # where
/// #     M: MakeTlsConnect<SyncBatching<TcpStream>, Error: std::error::Error + 'static>,
/// #     M: MakeTlsConnect<SyncBatching<TcpStream>, Stream: Send + 'static>,
/// #     M::TlsConnect: tokio_postgres::tls::TlsConnect<SyncBatching<TcpStream>, Future: Send + 'static>,
/// # {
/// // `make_tls` is any connector that works with tokio-postgres, such as one built on native-tls or rustls.
/// let every = NonZero::new(256).unwrap();
/// let socket = TcpStream::connect("db.example:5432").await?;
/// let tls = BatchingTls::new(make_tls.make_tls_connect("db.example")?, every);
/// let (client, connection) = config.connect_raw(SyncBatching::new(socket, every), tls).await?;
/// # tokio::spawn(connection);
/// # Ok(client) }
/// ```
///
/// # Errors
///
/// Connecting returns the errors of the inner connector, unchanged.
#[derive(Debug, Clone)]
pub struct BatchingTls<T> {
    tls: T,
    sync_every: NonZero<usize>,
}

impl<T> BatchingTls<T> {
    /// Wraps the connector `tls`, sending a Sync at least once every `sync_every` executes on its streams.
    pub fn new(tls: T, sync_every: NonZero<usize>) -> Self {
        BatchingTls { tls, sync_every }
    }
}

impl<S, T> TlsConnect<SyncBatching<S>> for BatchingTls<T>
where
    T: TlsConnect<SyncBatching<S>>,
    T::Stream: AsyncRead + AsyncWrite + Send + 'static,
    T::Future: Send + 'static,
{
    type Stream = SyncBatching<T::Stream>;
    type Error = T::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Stream, Self::Error>> + Send>>;

    fn connect(self, stream: SyncBatching<S>) -> Self::Future {
        let control = stream.control();
        let handshake = self.tls.connect(stream);
        Box::pin(async move { Ok(SyncBatching::with_control(handshake.await?, self.sync_every, control)) })
    }
}

/// Channel binding is that of the stream below.
impl<S: TlsStream + Unpin> TlsStream for SyncBatching<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.inspect(S::channel_binding).unwrap_or_else(ChannelBinding::none)
    }
}
