//! TLS on rustls, with the meaning that libpq gives to `sslmode`.
//!
//! | mode | encrypts | verifies the certificate's issuer | verifies its name |
//! | --- | --- | --- | --- |
//! | `disable` | never | | |
//! | `allow` | if the server requires it | if a root certificate exists | no |
//! | `prefer` | if the server supports it | if a root certificate exists | no |
//! | `require` | always | if a root certificate exists | no |
//! | `verify-ca` | always | yes | no |
//! | `verify-full` | always | yes | yes |
//!
//! Where the issuer is verified, so is that no certificate is revoked, if there is a list of revoked ones. Unix sockets
//! are never encrypted.

mod certificate;
mod files;
mod settings;
mod verifier;

use std::fmt;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsConnect};
use tokio_rustls::TlsConnector;

use crate::postgres::tls::files::{certificates, private_key};
use crate::postgres::tls::verifier::CertificateVerifier;
use crate::{Error, Result};

pub(crate) use crate::postgres::tls::settings::{
    ClientIdentity, Revocation, RootCertificates, TlsMode, TlsSettings, TlsVersion,
};

/// Performs TLS handshakes over any transport; cheap to clone.
#[derive(Clone)]
pub(crate) struct Connector {
    config: Arc<ClientConfig>,
    checks_name: bool,
}

impl Connector {
    /// Read the certificates and the key named in `settings`.
    ///
    /// # Errors
    /// When a file is missing or not PEM, the key is readable by other users, or the mode verifies certificates and no
    /// root certificate is given.
    pub(crate) fn new(settings: &TlsSettings) -> Result<Connector> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = CertificateVerifier::new(settings, &provider)?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&settings.supported_versions())
            .map_err(|error| Error::connect(format!("failed to set up TLS: {error}")))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match &settings.identity {
            Some(identity) if settings.mode != TlsMode::Disable => builder
                .with_client_auth_cert(
                    certificates(&identity.certificate, "sslcert")?,
                    private_key(identity)?,
                )
                .map_err(|error| {
                    let files = format!("{} and {}", identity.certificate.display(), identity.key.display());
                    Error::usage(format!("failed to use the client certificate in {files}: {error}"))
                        .with_help("sslkey must be the private key of the first certificate in sslcert")
                })?,
            _ => builder.with_no_client_auth(),
        };
        // Servers from version 17 on require ALPN for sslnegotiation=direct; older ones ignore it.
        config.alpn_protocols = vec![b"postgresql".to_vec()];
        Ok(Connector { config: Arc::new(config), checks_name: settings.mode == TlsMode::VerifyFull })
    }

    /// Prepare a handshake with `host`, the name that the certificate is verified against. If that is empty, it is with
    /// the server at `address`, whose name cannot be verified.
    pub(crate) fn handshake(&self, host: &str, address: Option<IpAddr>) -> Handshake {
        Handshake {
            config: Arc::clone(&self.config),
            host: host.to_owned(),
            address,
            checks_name: self.checks_name,
        }
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

/// A TLS handshake with one host, yet to be performed.
#[derive(Debug)]
pub(crate) struct Handshake {
    config: Arc<ClientConfig>,
    host: String,
    address: Option<IpAddr>,
    checks_name: bool,
}

impl<S> TlsConnect<S> for Handshake
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = EncryptedStream<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<EncryptedStream<S>>> + Send>>;

    fn connect(self, transport: S) -> Self::Future {
        Box::pin(async move {
            // Parse the host only now: for a Unix socket, the driver prepares a handshake but never performs it.
            let host = match self.address {
                Some(_) if self.host.is_empty() && self.checks_name => {
                    let problem = "sslmode=verify-full needs a host name, and only hostaddr is set";
                    return Err(io::Error::other(problem));
                }
                Some(address) if self.host.is_empty() => ServerName::from(address),
                _ => ServerName::try_from(self.host).map_err(io::Error::other)?,
            };
            TlsConnector::from(self.config).connect(host, transport).await.map(EncryptedStream)
        })
    }
}

/// A TLS stream over the transport `S`, which supports channel binding.
#[derive(Debug)]
pub(crate) struct EncryptedStream<S>(tokio_rustls::client::TlsStream<S>);

impl<S> tokio_postgres::tls::TlsStream for EncryptedStream<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    fn channel_binding(&self) -> ChannelBinding {
        let (_, session) = self.0.get_ref();
        let certificate = session.peer_certificates().and_then(<[_]>::first);
        match certificate.and_then(|certificate| certificate::end_point_hash(certificate)) {
            Some(hash) => ChannelBinding::tls_server_end_point(hash),
            None => ChannelBinding::none(),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for EncryptedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for EncryptedStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
