//! Verifies a server's certificate as OpenSSL does for libpq.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, verify_tls12_signature, verify_tls13_signature, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::postgres::tls::certificate;
use crate::postgres::tls::files::{certificates, revocation_lists};
use crate::postgres::tls::settings::{RootCertificates, TlsMode, TlsSettings};
use crate::{Error, Result};

/// Verifies as much of a server's certificate as the mode requires.
#[derive(Debug)]
pub(super) struct CertificateVerifier {
    provider: Arc<CryptoProvider>,
    /// Verifies the issuer; `None` to accept any certificate.
    issuers: Option<Arc<WebPkiServerVerifier>>,
    /// The root certificates, for a server certificate that is itself one of them.
    trusted: Vec<CertificateDer<'static>>,
    check_name: bool,
}

impl CertificateVerifier {
    pub(super) fn new(settings: &TlsSettings, provider: &Arc<CryptoProvider>) -> Result<CertificateVerifier> {
        let mut verifier = CertificateVerifier {
            provider: Arc::clone(provider),
            issuers: None,
            trusted: Vec::new(),
            check_name: settings.mode == TlsMode::VerifyFull,
        };
        if settings.mode == TlsMode::Disable {
            return Ok(verifier);
        }
        let Some(trusted) = root_certificates(settings)? else { return Ok(verifier) };
        verifier.trusted = trusted;
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(verifier.trusted.iter().cloned());
        let mut builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        if let Some(lists) = revocation_lists(&settings.revocation)? {
            // As OpenSSL does it, every certificate of the chain needs a list that has not expired.
            builder = builder.with_crls(lists).enforce_revocation_expiration();
        }
        verifier.issuers = Some(builder.build().map_err(|error| {
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
        if !self.check_name || certificate::names_host(certificate, &name.to_str()) {
            return Ok(ServerCertVerified::assertion());
        }
        let parsed = rustls::server::ParsedCertificate::try_from(certificate)?;
        rustls::client::verify_server_name(&parsed, name)?;
        Ok(ServerCertVerified::assertion())
    }
}

/// The certificates of the authorities to trust; `None` to accept any certificate, because none is given and the mode
/// does not demand one.
fn root_certificates(settings: &TlsSettings) -> Result<Option<Vec<CertificateDer<'static>>>> {
    match &settings.roots {
        None if settings.mode < TlsMode::VerifyCa => Ok(None),
        None => Err(Error::usage("sslmode verify-ca and verify-full need a root certificate")
            .with_help("set sslrootcert=FILE or sslrootcert=system, or save it as ~/.postgresql/root.crt")),
        // As in libpq: a file that is not there demands nothing.
        Some(RootCertificates::File(file)) if settings.mode < TlsMode::VerifyCa && !file.exists() => {
            tracing::warn!(
                "sslrootcert {} does not exist, so the server's certificate is not verified",
                file.display()
            );
            Ok(None)
        }
        Some(RootCertificates::File(file)) => certificates(file, "sslrootcert").map(Some),
        Some(RootCertificates::System) => Ok(Some(rustls_native_certs::load_native_certs().certs)),
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
