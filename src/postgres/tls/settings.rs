//! What the connection settings say about TLS.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use rustls::SupportedProtocolVersion;
use tokio_postgres::config::SslMode;

use crate::postgres::endpoint::Secret;

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

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TlsVersion {
    V1_0,
    V1_1,
    V1_2,
    V1_3,
}

/// The versions by their names in libpq.
const VERSIONS: [(&str, TlsVersion); 4] = [
    ("TLSv1", TlsVersion::V1_0),
    ("TLSv1.1", TlsVersion::V1_1),
    ("TLSv1.2", TlsVersion::V1_2),
    ("TLSv1.3", TlsVersion::V1_3),
];

impl FromStr for TlsVersion {
    /// The text is not one of the four versions. The caller knows where it came from.
    type Err = ();

    fn from_str(text: &str) -> Result<TlsVersion, ()> {
        let found = VERSIONS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
        found.map(|&(_, version)| version).ok_or(())
    }
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = VERSIONS.iter().find(|(_, version)| version == self).map_or("", |&(name, _)| name);
        f.write_str(name)
    }
}

/// The lists of revoked certificates to check.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Revocation {
    /// `sslcrl`: a PEM file. One that does not exist is ignored, as in libpq.
    pub(crate) file: Option<PathBuf>,
    /// `sslcrldir`: a directory of PEM files.
    pub(crate) directory: Option<PathBuf>,
}

/// The client's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClientIdentity {
    /// `sslcert`: a PEM file.
    pub(crate) certificate: PathBuf,
    /// `sslkey`: a PEM or DER file.
    pub(crate) key: PathBuf,
    /// `sslpassword`, which decrypts the key.
    pub(crate) passphrase: Option<Secret>,
}

/// The connection settings for TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TlsSettings {
    /// `sslmode`.
    pub(crate) mode: TlsMode,
    /// `sslrootcert`; `None` if it is not set and `~/.postgresql/root.crt` does not exist.
    pub(crate) roots: Option<RootCertificates>,
    /// `sslcrl` and `sslcrldir`.
    pub(crate) revocation: Revocation,
    /// `sslcert`, `sslkey` and `sslpassword`.
    pub(crate) identity: Option<ClientIdentity>,
    /// `ssl_min_protocol_version` and `ssl_max_protocol_version`.
    pub(crate) versions: (TlsVersion, TlsVersion),
}

impl Default for TlsSettings {
    fn default() -> Self {
        TlsSettings {
            mode: TlsMode::default(),
            roots: None,
            revocation: Revocation::default(),
            identity: None,
            versions: (TlsVersion::V1_2, TlsVersion::V1_3),
        }
    }
}

impl TlsSettings {
    /// The versions that rustls may use.
    pub(super) fn supported_versions(&self) -> Vec<&'static SupportedProtocolVersion> {
        let (lowest, highest) = self.versions;
        [(TlsVersion::V1_2, &rustls::version::TLS12), (TlsVersion::V1_3, &rustls::version::TLS13)]
            .into_iter()
            .filter(|(version, _)| (lowest..=highest).contains(version))
            .map(|(_, supported)| supported)
            .collect()
    }
}
