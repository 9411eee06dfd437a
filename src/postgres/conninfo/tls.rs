//! The TLS settings of a connection.

use std::path::PathBuf;

use tokio_postgres::Config;
use tokio_postgres::config::SslNegotiation;

use crate::Result;
use crate::postgres::conninfo::Parameters;
use crate::postgres::endpoint::{HostEntry, Secret};
use crate::postgres::tls::{ClientIdentity, Revocation, RootCertificates, TlsMode, TlsSettings, TlsVersion};

impl Parameters {
    /// How to encrypt, and what to verify.
    pub(super) fn tls(&self, config: &mut Config, hosts: &[HostEntry]) -> Result<TlsSettings> {
        let versions = self.tls_versions()?;
        if hosts.iter().all(HostEntry::is_unix) {
            return Ok(TlsSettings { mode: TlsMode::Disable, ..TlsSettings::default() });
        }
        let takes = "disable, allow, prefer, require, verify-ca or verify-full";
        let mode = self.number("sslmode", takes)?;
        let (mode, roots) = match self.get("sslrootcert") {
            // Anyone can obtain a certificate from a public authority, so the name must be verified.
            Some("system") => match mode.unwrap_or(TlsMode::VerifyFull) {
                mode @ TlsMode::VerifyFull => (mode, Some(RootCertificates::System)),
                _ => return Err(self.invalid("sslmode", "only verify-full with sslrootcert=system")),
            },
            Some(file) => (mode.unwrap_or_default(), Some(RootCertificates::File(file.into()))),
            None => (mode.unwrap_or_default(), self.existing("root.crt").map(RootCertificates::File)),
        };
        let certificate = self.get("sslcert").map(PathBuf::from).or_else(|| self.existing("postgresql.crt"));
        let identity = certificate.and_then(|certificate| {
            let key = self.get("sslkey").map(PathBuf::from).or_else(|| self.in_home("postgresql.key"))?;
            let passphrase = self.get("sslpassword").map(|text| Secret(text.into()));
            Some(ClientIdentity { certificate, key, passphrase })
        });
        let negotiation = self.parse("sslnegotiation", "postgres or direct", |text| match text {
            "postgres" => Some(SslNegotiation::Postgres),
            "direct" => Some(SslNegotiation::Direct),
            _ => None,
        })?;
        if negotiation == Some(SslNegotiation::Direct) && mode < TlsMode::Require {
            return Err(self.invalid("sslnegotiation", "direct only with sslmode require or stronger"));
        }
        config.ssl_negotiation(negotiation.unwrap_or_default());
        Ok(TlsSettings { mode, roots, revocation: self.revocation(), identity, versions })
    }

    /// The lists of revoked certificates: those that are set, or else the one in the home directory.
    fn revocation(&self) -> Revocation {
        let (file, directory) = (self.get("sslcrl"), self.get("sslcrldir"));
        let default = || self.existing("root.crl").filter(|_| directory.is_none());
        Revocation { file: file.map(PathBuf::from).or_else(default), directory: directory.map(PathBuf::from) }
    }

    /// The lowest and the highest TLS version to use.
    fn tls_versions(&self) -> Result<(TlsVersion, TlsVersion)> {
        let takes = "TLSv1, TLSv1.1, TLSv1.2 or TLSv1.3";
        let lowest = self.number("ssl_min_protocol_version", takes)?.unwrap_or(TlsVersion::V1_2);
        let highest = self.number("ssl_max_protocol_version", takes)?.unwrap_or(TlsVersion::V1_3);
        if highest < lowest {
            let takes = format!("no version below ssl_min_protocol_version ({lowest})");
            return Err(self.invalid("ssl_max_protocol_version", &takes));
        }
        if highest < TlsVersion::V1_2 {
            return Err(self.invalid("ssl_max_protocol_version", "TLSv1.2 or TLSv1.3"));
        }
        Ok((lowest, highest))
    }

    /// The path of a file in the directory where libpq looks for certificates.
    fn in_home(&self, name: &str) -> Option<PathBuf> {
        Some(self.home.as_ref()?.join(".postgresql").join(name))
    }

    /// The same if the file exists.
    fn existing(&self, name: &str) -> Option<PathBuf> {
        self.in_home(name).filter(|path| path.exists())
    }
}
