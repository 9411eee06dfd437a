//! TLS on rustls, with the meaning that libpq gives to `sslmode`.
//!
//! | mode | encrypts | verifies the certificate's issuer | verifies its name |
//! | --- | --- | --- | --- |
//! | `disable` | never | | |
//! | `allow` | if the server requires it | no | no |
//! | `prefer` | if the server supports it | no | no |
//! | `require` | always | if a root certificate exists | no |
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
pub(crate) enum TlsMode {
    /// Never encrypt.
    Disable,
    /// Encrypt only if the server refuses an unencrypted login.
    Allow,
    /// Encrypt if the server supports it.
    #[default]
    Prefer,
    /// Always encrypt, and verify the issuer of the certificate if there is a root certificate.
    Require,
    /// Always encrypt, and verify the issuer of the certificate.
    VerifyCa,
    /// Always encrypt, and verify the issuer of the certificate and that it names the host.
    VerifyFull,
}

impl FromStr for TlsMode {
    /// The text is not one of the six modes. The caller knows where it came from.
    type Err = ();

    fn from_str(text: &str) -> Result<TlsMode, ()> {
        Ok(match text {
            "disable" => TlsMode::Disable,
            "allow" => TlsMode::Allow,
            "prefer" => TlsMode::Prefer,
            "require" => TlsMode::Require,
            "verify-ca" => TlsMode::VerifyCa,
            "verify-full" => TlsMode::VerifyFull,
            _ => return Err(()),
        })
    }
}

impl TlsMode {
    /// The modes to set in the driver, in order. The second one applies if the server refuses the first for using or for
    /// not using TLS.
    pub(crate) fn attempts(self) -> &'static [SslMode] {
        match self {
            TlsMode::Disable => &[SslMode::Disable],
            TlsMode::Allow => &[SslMode::Disable, SslMode::Require],
            TlsMode::Prefer => &[SslMode::Prefer, SslMode::Disable],
            TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull => &[SslMode::Require],
        }
    }
}

/// The certificate authorities to trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RootCertificates {
    /// The root certificates of the operating system: `sslrootcert=system`.
    System,
    /// The PEM certificates in this file.
    File(PathBuf),
}

/// The connection settings for TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TlsSettings {
    /// `sslmode`.
    pub(crate) mode: TlsMode,
    /// `sslrootcert`; `None` if it is not set and `~/.postgresql/root.crt` does not exist.
    pub(crate) roots: Option<RootCertificates>,
    /// `sslcert` and `sslkey`: PEM files with the client's certificate and its private key.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
}

/// Performs TLS handshakes over any transport; cheap to clone.
#[derive(Clone)]
pub(crate) struct Connector(Arc<ClientConfig>);

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
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::connect(format!("failed to set up TLS: {error}")))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match &settings.identity {
            Some((certificate, key)) if settings.mode != TlsMode::Disable => builder
                .with_client_auth_cert(certificates(certificate, "sslcert")?, private_key(key)?)
                .map_err(|error| {
                    let files = format!("{} and {}", certificate.display(), key.display());
                    Error::usage(format!("failed to use the client certificate in {files}: {error}"))
                        .with_help("sslkey must be the private key of the first certificate in sslcert")
                })?,
            _ => builder.with_no_client_auth(),
        };
        // Servers from version 17 on require ALPN for sslnegotiation=direct; older ones ignore it.
        config.alpn_protocols = vec![b"postgresql".to_vec()];
        Ok(Connector(Arc::new(config)))
    }

    /// Prepare a handshake with `host`, the name that the certificate is verified against.
    pub(crate) fn handshake(&self, host: &str) -> Handshake {
        Handshake { config: Arc::clone(&self.0), host: host.to_owned() }
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

/// Read the certificates in a PEM file; `parameter` is the name of the setting for errors.
fn certificates(path: &Path, parameter: &str) -> Result<Vec<CertificateDer<'static>>> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let problem = match read {
        Ok(certificates) if !certificates.is_empty() => return Ok(certificates),
        Ok(_) => "it contains no certificate".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(Error::usage(format!("failed to read {parameter} {}: {problem}", path.display()))
        .with_help(format!("{parameter} must name a file of PEM certificates (-----BEGIN CERTIFICATE-----)")))
}

/// Read the private key in a PEM file. As in libpq, other users must not have access to it, except that a group may
/// read a file of root's.
fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>> {
    let failed = |problem: &dyn fmt::Display| format!("failed to read sslkey {}: {problem}", path.display());
    let file = std::fs::metadata(path).map_err(|error| Error::usage(failed(&error)))?;
    let forbidden = if file.uid() == 0 { 0o037 } else { 0o077 };
    if file.mode() & forbidden != 0 {
        return Err(Error::usage(failed(&"other users have access to it"))
            .with_help(format!("run `chmod 600 {}`", path.display())));
    }
    PrivateKeyDer::from_pem_file(path).map_err(|error| {
        Error::usage(failed(&error)).with_help("sslkey must name a PEM private key without a passphrase")
    })
}

/// Verifies as much of a server's certificate as the mode requires.
#[derive(Debug)]
struct CertificateVerifier {
    provider: Arc<CryptoProvider>,
    /// Verifies the issuer; `None` to accept any certificate.
    issuers: Option<Arc<WebPkiServerVerifier>>,
    /// The root certificates, for a server certificate that is itself one of them.
    trusted: Vec<CertificateDer<'static>>,
    check_name: bool,
}

impl CertificateVerifier {
    fn new(settings: &TlsSettings, provider: &Arc<CryptoProvider>) -> Result<CertificateVerifier> {
        let mut verifier = CertificateVerifier {
            provider: Arc::clone(provider),
            issuers: None,
            trusted: Vec::new(),
            check_name: settings.mode == TlsMode::VerifyFull,
        };
        if settings.mode < TlsMode::Require {
            return Ok(verifier);
        }
        verifier.trusted = match &settings.roots {
            None if settings.mode == TlsMode::Require => return Ok(verifier),
            None => {
                return Err(Error::usage("sslmode verify-ca and verify-full need a root certificate")
                    .with_help(
                        "set sslrootcert=FILE or sslrootcert=system, or save it as ~/.postgresql/root.crt",
                    ));
            }
            Some(RootCertificates::File(path)) => certificates(path, "sslrootcert")?,
            Some(RootCertificates::System) => rustls_native_certs::load_native_certs().certs,
        };
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(verifier.trusted.iter().cloned());
        let built =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build();
        verifier.issuers = Some(built.map_err(|error| {
            Error::usage(format!("failed to use the root certificates: {error}"))
                .with_help("set sslrootcert=FILE to the certificate of the authority that issued the server's certificate")
        })?);
        Ok(verifier)
    }

    /// Whether `error` arose only because the certificate is itself one of the root certificates. webpki has checked its
    /// validity period by then.
    fn is_trusted_itself(&self, certificate: &CertificateDer<'_>, error: &CertificateError) -> bool {
        // `openssl req -x509` marks self-signed certificates as authorities, which webpki rejects as server certificates.
        webpki_error(error) == Some(&webpki::Error::CaUsedAsEndEntity)
            && self.trusted.iter().any(|trusted| trusted == certificate)
    }

    /// Verify that the certificate names the host, if the mode requires it.
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

/// The webpki error in a rustls error that has no variant for it.
fn webpki_error(error: &CertificateError) -> Option<&webpki::Error> {
    match error {
        CertificateError::Other(other) => other.0.downcast_ref(),
        _ => None,
    }
}

/// Whether `error` arose because the certificate is X.509 version 1.
fn is_version_1(error: &rustls::Error) -> bool {
    match error {
        rustls::Error::InvalidCertificate(error) => {
            webpki_error(error) == Some(&webpki::Error::UnsupportedCertVersion)
        }
        _ => false,
    }
}

impl ServerCertVerifier for CertificateVerifier {
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
            // webpki verifies the issuer before the name.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => self.verify_name(certificate, name),
            Err(rustls::Error::InvalidCertificate(error)) if self.is_trusted_itself(certificate, &error) => {
                self.verify_name(certificate, name)
            }
            other => other,
        }
    }

    // Signatures are verified in every mode. Otherwise a man in the middle could present the server's certificate and
    // defeat channel binding.
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
            // webpki rejects version 1 certificates, which `openssl x509 -req` used to issue. If nothing else in the
            // certificate is verified, its public key is enough; otherwise `prefer` would fall back to plain text.
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
    type Stream = EncryptedStream<S>;
    type TlsConnect = Handshake;
    type Error = io::Error;

    fn make_tls_connect(&mut self, host: &str) -> io::Result<Handshake> {
        Ok(self.handshake(host))
    }
}

/// A TLS handshake with one host, yet to be performed.
#[derive(Debug)]
pub(crate) struct Handshake {
    config: Arc<ClientConfig>,
    host: String,
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
            let host = ServerName::try_from(self.host).map_err(io::Error::other)?;
            TlsConnector::from(self.config).connect(host, transport).await.map(EncryptedStream)
        })
    }
}

/// A TLS stream over the transport `S`, which supports channel binding.
#[derive(Debug)]
pub struct EncryptedStream<S>(tokio_rustls::client::TlsStream<S>);

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
