//! A private certificate authority and a server certificate, as PEM files.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};

/// Files of one server and its authority.
#[derive(Clone, Debug)]
pub(crate) struct Certificates {
    /// The authority that signed the server's certificate.
    pub(crate) ca: PathBuf,
    /// An authority that has signed nothing here.
    pub(crate) other_ca: PathBuf,
    /// The server's certificate.
    pub(crate) certificate: PathBuf,
    /// One for the same key and names, signed by the other authority.
    pub(crate) other_certificate: PathBuf,
    /// The server's private key.
    pub(crate) key: PathBuf,
}

impl Certificates {
    /// Writes new files into `folder` for a server with these DNS names or addresses; with a certificate whose time is
    /// over if it `has_expired`.
    pub(crate) fn create(folder: &Path, names: &[&str], has_expired: bool) -> Self {
        let write = |name: &str, pem: &str| {
            let path = folder.join(name);
            std::fs::write(&path, pem).expect("a temporary folder can be written");
            path
        };
        let (ca, ca_pem) = authority("test authority");
        let (other, other_pem) = authority("another authority");
        let key = KeyPair::generate().expect("a key");
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut server = CertificateParams::new(names).expect("names of a server");
        server.distinguished_name.push(DnType::CommonName, "redis");
        if has_expired {
            server.not_after = date_time_ymd(2020, 1, 1);
        }
        let signed_by = |authority| server.signed_by(&key, authority).expect("a certificate");
        Self {
            ca: write("ca.pem", &ca_pem),
            other_ca: write("other-ca.pem", &other_pem),
            certificate: write("server.pem", &signed_by(&ca).pem()),
            other_certificate: write("other-server.pem", &signed_by(&other).pem()),
            key: write("server.key", &key.serialize_pem()),
        }
    }
}

fn authority(name: &str) -> (Issuer<'static, KeyPair>, String) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let pem = params.self_signed(&key).expect("a certificate").pem();
    (Issuer::new(params, key), pem)
}
