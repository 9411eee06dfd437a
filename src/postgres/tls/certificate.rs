//! Properties of a server certificate that rustls does not expose: the hash for channel binding, its names, which libpq
//! compares in its own way, and the public key of a certificate that webpki rejects.

use sha2::{Digest, Sha256, Sha384, Sha512};

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OID: u8 = 0x06;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const OCTET_STRING: u8 = 0x04;
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;

const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
/// 1.2.840.113549.1.1, the prefix of the PKCS #1 (RSA) signature algorithms; the last byte determines the hash.
const PKCS1: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
/// 1.2.840.10045.4, the prefix of the ECDSA signature algorithms; the last byte determines the hash.
const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04];

/// An iterator over consecutive DER elements, as tag and content. It ends at malformed bytes, and every caller then
/// returns `None`.
struct Der<'a>(&'a [u8]);

impl<'a> Iterator for Der<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let mut length = usize::from(first);
        if first & 0x80 != 0 {
            // No certificate needs more than four bytes for a length.
            let (bytes, after) =
                rest.split_at_checked(usize::from(first & 0x7f)).filter(|(b, _)| b.len() <= 4)?;
            length = bytes.iter().fold(0, |length, &byte| length << 8 | usize::from(byte));
            rest = after;
        }
        let (content, after) = rest.split_at_checked(length)?;
        self.0 = after;
        Some((tag, content))
    }
}

impl<'a> Der<'a> {
    /// The content of the next element if its tag is `tag`.
    fn element(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|&(found, _)| found == tag).map(|(_, content)| content)
    }
}

/// The `tls-server-end-point` channel binding of RFC 5929: the hash of the certificate, by the hash function of its
/// signature, with SHA-256 in place of MD5 and SHA-1. `None` for signatures without a separate hash, such as Ed25519.
pub(super) fn end_point_hash(certificate: &[u8]) -> Option<Vec<u8>> {
    let mut fields = Der(Der(certificate).element(SEQUENCE)?);
    fields.element(SEQUENCE)?;
    let algorithm = Der(fields.element(SEQUENCE)?).element(OID)?;
    let sha256 = || Some(Sha256::digest(certificate).to_vec());
    let sha384 = || Some(Sha384::digest(certificate).to_vec());
    let sha512 = || Some(Sha512::digest(certificate).to_vec());
    if let Some(hash) = algorithm.strip_prefix(PKCS1) {
        return match hash {
            [4 | 5 | 11] => sha256(),
            [12] => sha384(),
            [13] => sha512(),
            _ => None,
        };
    }
    match algorithm.strip_prefix(ECDSA)? {
        [1] | [3, 2] => sha256(),
        [3, 3] => sha384(),
        [3, 4] => sha512(),
        _ => None,
    }
}

/// The public key, as the complete `SubjectPublicKeyInfo` element.
pub(super) fn public_key(certificate: &[u8]) -> Option<&[u8]> {
    let mut fields = fields(certificate)?;
    // serial number, signature algorithm, issuer, validity, subject
    fields.nth(4)?;
    let from_key = fields.0;
    fields.element(SEQUENCE)?;
    Some(&from_key[..from_key.len() - fields.0.len()])
}

/// The fields of the signed part, from the serial number on.
fn fields(certificate: &[u8]) -> Option<Der<'_>> {
    let mut fields = Der(Der(Der(certificate).element(SEQUENCE)?).element(SEQUENCE)?);
    if fields.0.first() == Some(&VERSION) {
        fields.next();
    }
    Some(fields)
}

/// The names in a certificate that may be those of a host.
#[derive(Debug, Default, PartialEq, Eq)]
struct Names {
    /// The common name of the subject.
    common: Option<String>,
    /// The subject's alternative names of type dNSName.
    dns: Vec<String>,
    /// Whether there are alternative names of type iPAddress.
    has_addresses: bool,
}

/// The names in the certificate; `None` if it is malformed.
fn names(certificate: &[u8]) -> Option<Names> {
    let mut fields = fields(certificate)?;
    // serial number, signature algorithm, issuer, validity; then the subject, then the public key
    let subject = Der(fields.nth(4).filter(|&(tag, _)| tag == SEQUENCE)?.1);
    let mut names = Names { common: common_name(subject), ..Names::default() };
    if let Some((_, extensions)) = fields.find(|&(tag, _)| tag == EXTENSIONS) {
        for (_, extension) in Der(Der(extensions).element(SEQUENCE)?) {
            let mut parts = Der(extension);
            if parts.element(OID) != Some(SUBJECT_ALT_NAME) {
                continue;
            }
            // The flag "critical" may come first.
            let value = parts.find(|&(tag, _)| tag == OCTET_STRING)?.1;
            for (tag, name) in Der(Der(value).element(SEQUENCE)?) {
                match tag {
                    DNS_NAME => names.dns.extend(String::from_utf8(name.to_vec())),
                    IP_ADDRESS => names.has_addresses = true,
                    _ => {}
                }
            }
        }
    }
    Some(names)
}

fn common_name(subject: Der<'_>) -> Option<String> {
    subject.filter(|&(tag, _)| tag == SET).flat_map(|(_, set)| Der(set)).find_map(|(_, attribute)| {
        let mut attribute = Der(attribute);
        attribute.element(OID).filter(|&oid| oid == COMMON_NAME)?;
        let (_, name) = attribute.next()?;
        String::from_utf8(name.to_vec()).ok()
    })
}

/// Whether a name in the certificate is that of `host`, apart from alternative names of type iPAddress.
///
/// As in libpq, the names of type dNSName are compared even with an IP address. The common name counts only if there are
/// no alternative names of the host's type, as in the certificates of `openssl req -x509 -subj /CN=…`.
pub(super) fn names_host(certificate: &[u8], host: &str) -> bool {
    let Some(names) = names(certificate) else { return false };
    let is_address = host.parse::<std::net::IpAddr>().is_ok();
    let has_own_type = if is_address { names.has_addresses } else { !names.dns.is_empty() };
    let common = names.common.iter().filter(|_| !has_own_type);
    names.dns.iter().chain(common).any(|name| name_matches(name, host))
}

/// Whether the name `pattern` matches `host`: case-insensitively, a leading `*` for exactly one label.
pub(super) fn name_matches(pattern: &str, host: &str) -> bool {
    let tail = |name: &str| name.split_once('.').map(|(_, tail)| tail.to_owned());
    match pattern.strip_prefix("*.") {
        Some(domain) => {
            domain.contains('.') && tail(host).is_some_and(|tail| tail.eq_ignore_ascii_case(domain))
        }
        None => !pattern.is_empty() && pattern.eq_ignore_ascii_case(host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair};

    fn certificate(common_name: Option<&str>, alternative: &[&str], key: &KeyPair) -> Vec<u8> {
        let names: Vec<String> = alternative.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "ACME");
        if let Some(name) = common_name {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        params.self_signed(key).unwrap().der().to_vec()
    }

    #[test]
    fn the_common_name_is_used_only_without_alternative_names_of_the_hosts_type() {
        let key = KeyPair::generate().unwrap();
        let common = |alternative: &[&str], host| {
            names_host(&certificate(Some("db.example"), alternative, &key), host)
        };
        assert!(common(&[], "db.example"));
        assert!(!common(&["other.example"], "db.example"));
        assert!(common(&["127.0.0.1"], "db.example"));
        assert!(!names_host(&certificate(None, &[], &key), "db.example"));
        let address =
            |alternative: &[&str]| names_host(&certificate(Some("10.0.0.1"), alternative, &key), "10.0.0.1");
        assert!(address(&["other.example"]));
        assert!(!address(&["127.0.0.1"]));
    }

    #[test]
    fn the_end_point_hash_depends_on_the_signature_algorithm() {
        let hash = |algorithm| {
            let key = KeyPair::generate_for(algorithm).unwrap();
            end_point_hash(&certificate(Some("db"), &[], &key)).map(|hash| hash.len())
        };
        assert_eq!(hash(&rcgen::PKCS_ECDSA_P256_SHA256), Some(32));
        assert_eq!(hash(&rcgen::PKCS_ECDSA_P384_SHA384), Some(48));
        assert_eq!(hash(&rcgen::PKCS_ED25519), None);
    }

    #[test]
    fn the_public_key_is_the_one_that_signed() {
        use rcgen::PublicKeyData as _;
        let key = KeyPair::generate().unwrap();
        let expected = key.subject_public_key_info();
        assert_eq!(public_key(&certificate(None, &["db.example"], &key)), Some(&expected[..]));
    }

    #[test]
    fn malformed_certificates_yield_none() {
        let whole = certificate(Some("db.example"), &[], &KeyPair::generate().unwrap());
        for length in 0..whole.len() {
            assert_eq!(end_point_hash(&whole[..length]), None);
            assert_eq!(names(&whole[..length]), None);
            assert_eq!(public_key(&whole[..length]), None);
        }
        assert_eq!(names(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
    }

    #[test]
    fn a_wildcard_matches_one_label() {
        assert!(name_matches("DB.example.com", "db.example.com"));
        assert!(name_matches("*.example.com", "db.example.com"));
        assert!(!name_matches("*.example.com", "a.db.example.com"));
        assert!(!name_matches("*.example.com", "example.com"));
        assert!(!name_matches("*.com", "example.com"));
        assert!(!name_matches("", ""));
    }
}
