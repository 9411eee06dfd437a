//! Certificates for the test servers and their clients.

use std::fs;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevocationReason, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};

use super::server::write_private;

/// The serial number of the server's certificate.
const SERIAL: u64 = 4711;

/// Write `ca.crt`, a server certificate issued by it for `localhost` only, a client certificate for the user `cert`,
/// and `other-ca.crt`, which has issued none; and lists of what the two have revoked: `ca.crl` with the server's
/// certificate, `clean.crl` without any, and `other-ca.crl`.
pub(super) fn authority_and_certificates(dir: &Path) {
    let authority = |name: &str, file: &str| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        fs::write(dir.join(file), params.self_signed(&key).unwrap().pem()).unwrap();
        Issuer::new(params, key)
    };
    let ours = authority("ours", "ca.crt");
    let another = authority("another", "other-ca.crt");
    for (issuer, revoked, file) in
        [(&ours, Some(SERIAL), "ca.crl"), (&ours, None, "clean.crl"), (&another, None, "other-ca.crl")]
    {
        fs::write(dir.join(file), revocation_list(issuer, revoked)).unwrap();
    }
    for (names, common_name, file) in
        [(vec!["localhost".to_owned()], "ignored", "server"), (vec![], "cert", "client")]
    {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.serial_number = Some(SerialNumber::from(if file == "server" { SERIAL } else { SERIAL + 1 }));
        fs::write(dir.join(format!("{file}.crt")), params.signed_by(&key, &ours).unwrap().pem()).unwrap();
        write_private(&dir.join(format!("{file}.key")), key.serialize_pem());
    }
}

/// A list of the certificate that `issuer` has revoked, if any.
fn revocation_list(issuer: &Issuer<'_, KeyPair>, revoked: Option<u64>) -> String {
    let revoked = revoked.map(|serial| RevokedCertParams {
        serial_number: SerialNumber::from(serial),
        revocation_time: date_time_ymd(2024, 1, 1),
        reason_code: Some(RevocationReason::KeyCompromise),
        invalidity_date: None,
    });
    let params = CertificateRevocationListParams {
        this_update: date_time_ymd(2024, 1, 1),
        next_update: date_time_ymd(2999, 1, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: revoked.into_iter().collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(issuer).unwrap().pem().unwrap()
}

/// Replace the server's certificate in `dir` by a self-signed one for `localhost` and, as a DNS name, 127.0.0.1.
pub(super) fn self_signed(dir: &Path) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.subject_alt_names =
        ["localhost", "127.0.0.1"].map(|name| SanType::DnsName(name.try_into().unwrap())).to_vec();
    fs::write(dir.join("server.crt"), params.self_signed(&key).unwrap().pem()).unwrap();
    write_private(&dir.join("server.key"), key.serialize_pem());
}

/// A certificate without version and extensions, which `openssl x509 -req` issued for years and rcgen cannot.
pub(super) fn version_1_certificate(key: &KeyPair) -> String {
    use rcgen::SigningKey as _;
    let element = |tag: u8, content: &[u8]| {
        let length = match u8::try_from(content.len()) {
            Ok(length @ ..0x80) => vec![length],
            Ok(length) => vec![0x81, length],
            Err(_) => [&[0x82][..], &u16::try_from(content.len()).unwrap().to_be_bytes()].concat(),
        };
        [&[tag], &length[..], content].concat()
    };
    // The elements of a sequence without its own header, each with the length of its header.
    let elements = |mut rest: &[u8]| {
        let mut elements = Vec::new();
        while !rest.is_empty() {
            let (header, length) = match rest[1] {
                0x82 => (4, usize::from(u16::from_be_bytes([rest[2], rest[3]]))),
                0x81 => (3, usize::from(rest[2])),
                short => (2, usize::from(short)),
            };
            elements.push((header, rest[..header + length].to_vec()));
            rest = &rest[header + length..];
        }
        elements
    };
    let inside = |(header, bytes): &(usize, Vec<u8>)| elements(&bytes[*header..]);
    let certificate = CertificateParams::new([]).unwrap().self_signed(key).unwrap();
    let parts = inside(&elements(certificate.der())[0]);
    let kept = inside(&parts[0]).into_iter().filter(|(_, bytes)| ![0xa0, 0xa3].contains(&bytes[0]));
    let body = element(0x30, &kept.flat_map(|(_, bytes)| bytes).collect::<Vec<u8>>());
    let signature = [vec![0], key.sign(&body).unwrap()].concat();
    let whole = element(0x30, &[body, parts[1].1.clone(), element(0x03, &signature)].concat());
    pem::encode(&pem::Pem::new("CERTIFICATE", whole))
}
