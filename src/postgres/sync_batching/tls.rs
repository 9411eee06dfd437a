//! Sync batching under TLS.

use std::num::NonZero;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

use super::SyncBatching;

/// A TLS handshake whose stream batches Syncs.
///
/// The driver negotiates encryption itself, over the stream it is given: give it a [`SyncBatching`] in case the
/// server declines, and this in case it accepts.
///
/// ```ignore
/// let tls = BatchingTls::new(make_tls.make_tls_connect("db.example")?, every);
/// let (client, connection) = config.connect_raw(SyncBatching::new(socket, every), tls).await?;
/// ```
#[derive(Debug, Clone)]
pub struct BatchingTls<T> {
    tls: T,
    sync_every: NonZero<usize>,
}

impl<T> BatchingTls<T> {
    /// The handshake `tls`, with at most `sync_every` executes to a Sync after it.
    pub fn new(tls: T, sync_every: NonZero<usize>) -> Self {
        BatchingTls { tls, sync_every }
    }
}

impl<S, T> TlsConnect<SyncBatching<S>> for BatchingTls<T>
where
    T: TlsConnect<SyncBatching<S>>,
    T::Stream: AsyncRead + AsyncWrite,
    T::Future: Send + 'static,
{
    type Stream = SyncBatching<T::Stream>;
    type Error = T::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Stream, Self::Error>> + Send>>;

    fn connect(self, stream: SyncBatching<S>) -> Self::Future {
        let handshake = self.tls.connect(stream);
        Box::pin(async move { Ok(SyncBatching::new(handshake.await?, self.sync_every)) })
    }
}

/// Channel binding is the business of the stream below.
impl<S: TlsStream + Unpin> TlsStream for SyncBatching<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.stream.channel_binding()
    }
}
