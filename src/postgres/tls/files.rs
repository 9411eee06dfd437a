//! Reads certificates, private keys and lists of revoked certificates.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use pkcs8::EncryptedPrivateKeyInfo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::postgres::endpoint::Secret;
use crate::postgres::tls::settings::{ClientIdentity, Revocation};
use crate::{Error, ErrorKind, Result};

const ENCRYPTED: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";

/// Read the certificates in a PEM file; `parameter` is the name of the setting for errors.
pub(super) fn certificates(path: &Path, parameter: &str) -> Result<Vec<CertificateDer<'static>>> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let problem = match read {
        Ok(certificates) if !certificates.is_empty() => return Ok(certificates),
        Ok(_) => "it contains no certificate".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(Error::usage(format!("failed to read {parameter} {}: {problem}", path.display()))
        .with_help(format!("{parameter} must name a file of PEM certificates (-----BEGIN CERTIFICATE-----)")))
}

/// Read the private key in a PEM or DER file. As in libpq, other users must not have access to it, except that a group
/// may read a file of root's.
pub(super) fn private_key(identity: &ClientIdentity) -> Result<PrivateKeyDer<'static>> {
    let path = &identity.key;
    let failed = |problem: &dyn fmt::Display| format!("failed to read sslkey {}: {problem}", path.display());
    let file = fs::metadata(path).map_err(|error| Error::usage(failed(&error)))?;
    let forbidden = if file.uid() == 0 { 0o037 } else { 0o077 };
    if file.mode() & forbidden != 0 {
        return Err(Error::usage(failed(&"other users have access to it"))
            .with_help(format!("run `chmod 600 {}`", path.display())));
    }
    let content = fs::read(path).map_err(|error| Error::usage(failed(&error)))?;
    let passphrase = identity.passphrase.as_ref().map(|Secret(passphrase)| passphrase.as_slice());
    parse_key(&content, passphrase).map_err(|problem| {
        Error::usage(failed(&problem)).with_help(
            "sslkey must name a private key in PEM or DER; \
            an encrypted key needs sslpassword, and must be in PKCS #8 format (`openssl pkcs8 -topk8 -v2 aes256`)",
        )
    })
}

/// The private key in `content`, PEM or DER, decrypted with `passphrase` if it is encrypted; otherwise the problem.
fn parse_key(content: &[u8], passphrase: Option<&[u8]>) -> Result<PrivateKeyDer<'static>, String> {
    if let Some(encrypted) = std::str::from_utf8(content).ok().filter(|text| text.contains(ENCRYPTED)) {
        let (_, document) = pkcs8::Document::from_pem(&encrypted[encrypted.find(ENCRYPTED).unwrap_or(0)..])
            .map_err(|error| error.to_string())?;
        return decrypt(document.as_bytes(), passphrase);
    }
    let Ok(key) = PrivateKeyDer::from_pem_slice(content) else {
        return match PrivateKeyDer::try_from(content) {
            Ok(key) => Ok(key.clone_key()),
            Err(_) => decrypt(content, passphrase),
        };
    };
    Ok(key)
}

fn decrypt(der: &[u8], passphrase: Option<&[u8]>) -> Result<PrivateKeyDer<'static>, String> {
    let encrypted =
        EncryptedPrivateKeyInfo::try_from(der).map_err(|_| "it is not a private key".to_owned())?;
    let Some(passphrase) = passphrase else { return Err("it is encrypted".to_owned()) };
    let key = encrypted.decrypt(passphrase).map_err(|_| "sslpassword does not decrypt it".to_owned())?;
    Ok(PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec())))
}

/// The lists of revoked certificates; `None` to check none.
pub(super) fn revocation_lists(
    settings: &Revocation,
) -> Result<Option<Vec<CertificateRevocationListDer<'static>>>> {
    let mut lists = Vec::new();
    if let Some(file) = settings.file.as_deref().filter(|file| file.exists()) {
        lists.extend(revocation_list(file, "sslcrl")?);
    }
    if let Some(directory) = &settings.directory {
        let failed = |error: io::Error| Error::io(ErrorKind::Usage, "read sslcrldir", directory, error);
        for entry in fs::read_dir(directory).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            // The names that `openssl rehash` gives: HASH.r0.
            let is_list =
                path.extension().is_some_and(|extension| extension.to_string_lossy().starts_with('r'));
            if is_list {
                lists.extend(revocation_list(&path, "sslcrldir")?);
            }
        }
        return Ok(Some(lists));
    }
    Ok(Some(lists).filter(|lists| !lists.is_empty()))
}

fn revocation_list(path: &Path, parameter: &str) -> Result<Vec<CertificateRevocationListDer<'static>>> {
    let read: Result<Vec<_>, _> =
        CertificateRevocationListDer::pem_file_iter(path).and_then(Iterator::collect);
    let problem = match read {
        Ok(lists) if !lists.is_empty() => return Ok(lists),
        Ok(_) => "it contains no list of revoked certificates".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(Error::usage(format!("failed to read {parameter} {}: {problem}", path.display()))
        .with_help("it must contain PEM lists of revoked certificates (-----BEGIN X509 CRL-----)"))
}
