//! Certificates for the test servers and their clients.

use std::fs;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::server::write_private;

/// Write `ca.crt`, a server certificate issued by it for `localhost` only, a client certificate for the user `cert`,
/// and `other-ca.crt`, which has issued none.
pub(super) fn authority_and_certificates(dir: &Path) {
    let authority = |name: &str, file: &str| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        fs::write(dir.join(file), params.self_signed(&key).unwrap().pem()).unwrap();
        Issuer::new(params, key)
    };
    let ours = authority("ours", "ca.crt");
    authority("another", "other-ca.crt");
    for (names, common_name, file) in
        [(vec!["localhost".to_owned()], "ignored", "server"), (vec![], "cert", "client")]
    {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, common_name);
        fs::write(dir.join(format!("{file}.crt")), params.signed_by(&key, &ours).unwrap().pem()).unwrap();
        write_private(&dir.join(format!("{file}.key")), &key.serialize_pem());
    }
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
