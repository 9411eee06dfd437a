//! TLS with the meaning that libpq gives to `sslmode`, on rustls.
//!
//! | mode | encrypts | checks the certificate's issuer | checks its name |
//! | --- | --- | --- | --- |
//! | `disable` | never | | |
//! | `allow` | when the server insists | no | no |
//! | `prefer` | when the server can | no | no |
//! | `require` | always | when there is a root certificate | no |
//! | `verify-ca` | always | yes | no |
//! | `verify-full` | always | yes | yes |
//!
//! Unix sockets are never encrypted.

mod certificate;

use std::fmt;
use std::future::Future;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, verify_tls12_signature, verify_tls13_signature, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect};
use tokio_rustls::TlsConnector;

use crate::{Error, Result};

/// libpq's `sslmode`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// Never encrypt.
    Disable,
    /// Encrypt only when the server refuses the login without.
    Allow,
    /// Encrypt when the server can.
    #[default]
    Prefer,
    /// Always encrypt; check the issuer when there is a root certificate.
    Require,
    /// Always encrypt and check who issued the certificate.
    VerifyCa,
    /// As `VerifyCa`, and the certificate must name the host.
    VerifyFull,
}

impl FromStr for Mode {
    /// Not one of the six words; the caller knows where it stood.
    type Err = ();

    fn from_str(text: &str) -> Result<Mode, ()> {
        Ok(match text {
            "disable" => Mode::Disable,
            "allow" => Mode::Allow,
            "prefer" => Mode::Prefer,
            "require" => Mode::Require,
            "verify-ca" => Mode::VerifyCa,
            "verify-full" => Mode::VerifyFull,
            _ => return Err(()),
        })
    }
}

impl Mode {
    /// What to ask of the driver, in order: the second is tried when the first is refused for its lack, or its
    /// use, of TLS.
    pub fn attempts(self) -> &'static [SslMode] {
        match self {
            Mode::Disable => &[SslMode::Disable],
            Mode::Allow => &[SslMode::Disable, SslMode::Require],
            Mode::Prefer => &[SslMode::Prefer, SslMode::Disable],
            Mode::Require | Mode::VerifyCa | Mode::VerifyFull => &[SslMode::Require],
        }
    }
}

/// The certificates whose issue we trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Roots {
    /// Those of the operating system: `sslrootcert=system`.
    System,
    /// The PEM certificates in a file.
    File(PathBuf),
}

/// Everything that the connection settings say about TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// `sslmode`.
    pub mode: Mode,
    /// `sslrootcert`.
    pub roots: Option<Roots>,
    /// `sslcert` and `sslkey`, both PEM.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Makes TLS streams over any transport; cheap to clone.
#[derive(Clone)]
pub(crate) struct Connector(Arc<ClientConfig>);

impl Connector {
    /// Reads the certificates that `settings` name.
    ///
    /// # Errors
    ///
    /// A file that is missing, not PEM, or (for the key) readable by others; a mode that checks certificates
    /// without any to check against.
    pub(crate) fn new(settings: &Settings) -> Result<Connector> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = Verifier::new(settings, &provider)?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::connect(format!("failed to set up TLS: {error}")))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match &settings.identity {
            Some((certificate, key)) if settings.mode != Mode::Disable => builder
                .with_client_auth_cert(certificates(certificate, "sslcert")?, private_key(key)?)
                .map_err(|error| {
                    let files = format!("{} and {}", certificate.display(), key.display());
                    Error::usage(format!("failed to use the client certificate in {files}: {error}"))
                        .with_help("sslkey must be the private key of the first certificate in sslcert")
                })?,
            _ => builder.with_no_client_auth(),
        };
        // Servers since 17 insist on it for sslnegotiation=direct; older ones do not look.
        config.alpn_protocols = vec![b"postgresql".to_vec()];
        Ok(Connector(Arc::new(config)))
    }

    /// The handshake with `host`, over any transport.
    pub(crate) fn handshake(&self, host: &str) -> Handshake {
        Handshake { config: Arc::clone(&self.0), host: host.to_owned() }
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

/// The certificates in a PEM file; `parameter` names the setting in errors.
fn certificates(path: &Path, parameter: &str) -> Result<Vec<CertificateDer<'static>>> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let what = match read {
        Ok(certificates) if !certificates.is_empty() => return Ok(certificates),
        Ok(_) => "no certificate in it".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(Error::usage(format!("failed to read {parameter} {}: {what}", path.display()))
        .with_help(format!("{parameter} takes a file of PEM certificates (-----BEGIN CERTIFICATE-----)")))
}

/// The private key in a PEM file. As libpq, refuses a key that others can read, unless root keeps it for a group.
fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>> {
    let failed = |what: &dyn fmt::Display| format!("failed to read sslkey {}: {what}", path.display());
    let file = std::fs::metadata(path).map_err(|error| Error::usage(failed(&error)))?;
    let others = if file.uid() == 0 { 0o037 } else { 0o077 };
    if file.mode() & others != 0 {
        return Err(
            Error::usage(failed(&"others can read it")).with_help(format!("chmod 600 {}", path.display()))
        );
    }
    PrivateKeyDer::from_pem_file(path).map_err(|error| {
        Error::usage(failed(&error)).with_help("sslkey takes a PEM private key that is not encrypted")
    })
}

/// Checks as much of a server certificate as the mode wants.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    /// `None`: any certificate will do.
    issuers: Option<Arc<WebPkiServerVerifier>>,
    /// The trusted certificates themselves.
    trusted: Vec<CertificateDer<'static>>,
    check_name: bool,
}

impl Verifier {
    fn new(settings: &Settings, provider: &Arc<CryptoProvider>) -> Result<Verifier> {
        let mut verifier = Verifier {
            provider: Arc::clone(provider),
            issuers: None,
            trusted: Vec::new(),
            check_name: settings.mode == Mode::VerifyFull,
        };
        if settings.mode < Mode::Require {
            return Ok(verifier);
        }
        verifier.trusted = match &settings.roots {
            None if settings.mode == Mode::Require => return Ok(verifier),
            None => {
                return Err(Error::usage("sslmode verify-ca and verify-full need a root certificate")
                    .with_help(
                        "give sslrootcert=FILE, sslrootcert=system, or put it in ~/.postgresql/root.crt",
                    ));
            }
            Some(Roots::File(path)) => certificates(path, "sslrootcert")?,
            Some(Roots::System) => rustls_native_certs::load_native_certs().certs,
        };
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(verifier.trusted.iter().cloned());
        let built =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build();
        verifier.issuers = Some(built.map_err(|error| {
            Error::usage(format!("failed to use the root certificates: {error}"))
                .with_help("give sslrootcert=FILE with the certificate authority that signed the server's")
        })?);
        Ok(verifier)
    }

    /// Whether the certificate itself, and not only its issuer, is one of the trusted. In date is known by now.
    fn is_trusted_itself(&self, certificate: &CertificateDer<'_>, error: &CertificateError) -> bool {
        // `openssl req -x509` marks what it signs as an authority, which webpki never accepts from a server.
        webpki_error(error) == Some(&webpki::Error::CaUsedAsEndEntity)
            && self.trusted.iter().any(|trusted| trusted == certificate)
    }

    fn verify_name(
        &self,
        certificate: &CertificateDer<'_>,
        name: &ServerName<'_>,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if !self.check_name {
            return Ok(ServerCertVerified::assertion());
        }
        if let Some(common_name) = certificate::sole_common_name(certificate)
            && certificate::name_matches(&common_name, &name.to_str())
        {
            return Ok(ServerCertVerified::assertion());
        }
        let parsed = rustls::server::ParsedCertificate::try_from(certificate)?;
        rustls::client::verify_server_name(&parsed, name)?;
        Ok(ServerCertVerified::assertion())
    }
}

/// webpki's own error, where rustls has none for it.
fn webpki_error(error: &CertificateError) -> Option<&webpki::Error> {
    match error {
        CertificateError::Other(other) => other.0.downcast_ref(),
        _ => None,
    }
}

fn is_version_1(error: &rustls::Error) -> bool {
    match error {
        rustls::Error::InvalidCertificate(error) => {
            webpki_error(error) == Some(&webpki::Error::UnsupportedCertVersion)
        }
        _ => false,
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(issuers) = &self.issuers else { return Ok(ServerCertVerified::assertion()) };
        match issuers.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            // The issuer is checked before the name.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => self.verify_name(certificate, name),
            Err(rustls::Error::InvalidCertificate(error)) if self.is_trusted_itself(certificate, &error) => {
                self.verify_name(certificate, name)
            }
            other => other,
        }
    }

    // The signatures are checked in every mode: without them a stranger could show the server's own certificate,
    // and channel binding would take the stranger for the server.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        match verify_tls13_signature(message, certificate, signature, algorithms) {
            // webpki parses no version 1 certificate, which `openssl x509 -req` made for years. Where nothing else
            // of it is checked, its key is enough; prefer would otherwise fall back to plain text.
            Err(error) if self.issuers.is_none() && is_version_1(&error) => {
                let key = certificate::public_key(certificate).ok_or(error)?;
                verify_tls13_signature_with_raw_key(message, &key.into(), signature, algorithms)
            }
            other => other,
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl<S> MakeTlsConnect<S> for Connector
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Stream<S>;
    type TlsConnect = Handshake;
    type Error = io::Error;

    fn make_tls_connect(&mut self, host: &str) -> io::Result<Handshake> {
        Ok(self.handshake(host))
    }
}

/// The TLS handshake with one host.
#[derive(Debug)]
pub(crate) struct Handshake {
    config: Arc<ClientConfig>,
    host: String,
}

impl<S> TlsConnect<S> for Handshake
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Stream<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Stream<S>>> + Send>>;

    fn connect(self, transport: S) -> Self::Future {
        Box::pin(async move {
            // The host is looked at only now: the driver makes a handshake for Unix sockets too, and drops it.
            let host = ServerName::try_from(self.host).map_err(io::Error::other)?;
            TlsConnector::from(self.config).connect(host, transport).await.map(Stream)
        })
    }
}

/// An encrypted transport.
#[derive(Debug)]
pub struct Stream<S>(tokio_rustls::client::TlsStream<S>);

impl<S> tokio_postgres::tls::TlsStream for Stream<S>
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

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
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
