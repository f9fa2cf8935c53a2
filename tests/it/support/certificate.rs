//! A certificate authority for one test, and the server certificate that it signed.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

/// The name under which container engines speak TLS: to `localhost` some of them speak plain HTTP.
pub(crate) const HOST_NAME: &str = "registry.test";

/// PEM files in a directory of the test.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    pub authority: PathBuf,
    /// For `localhost`, 127.0.0.1 and [`HOST_NAME`], if it was not made for others.
    pub chain: PathBuf,
    pub key: PathBuf,
    /// Holds `ca.crt` alone, as clients in the manner of Docker want it.
    pub directory: PathBuf,
}

impl Certificate {
    pub(crate) fn create(directory: &Path) -> Self {
        Self::create_for(directory, &["localhost", "127.0.0.1", HOST_NAME])
    }

    /// For names of the test's own.
    pub(crate) fn create_for(directory: &Path, names: &[&str]) -> Self {
        let authority_key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        authority.distinguished_name.push(DnType::CommonName, "Test authority");
        let authority_pem = authority.self_signed(&authority_key).unwrap().pem();
        let issuer = Issuer::new(authority, authority_key);

        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();

        let trusted = directory.join("trusted");
        fs::create_dir_all(&trusted).unwrap();
        let files = Self {
            authority: trusted.join("ca.crt"),
            chain: directory.join("server.crt"),
            key: directory.join("server.key"),
            directory: trusted,
        };
        fs::write(&files.authority, authority_pem).unwrap();
        fs::write(&files.chain, certificate.pem()).unwrap();
        write_private(&files.key, &key.serialize_pem());
        files
    }

    /// For a server inside the test.
    pub(crate) fn server_config(&self) -> ServerConfig {
        let chain = CertificateDer::pem_file_iter(&self.chain).unwrap().map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_file(&self.key).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let versions = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        versions.with_no_client_auth().with_single_cert(chain, key).unwrap()
    }
}

/// A client that trusts what the authorities in these files sign, and nothing else.
pub(crate) fn trusting(authorities: &[&Path]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for path in authorities {
        for certificate in CertificateDer::pem_file_iter(path).unwrap() {
            roots.add(certificate.unwrap()).unwrap();
        }
    }
    client_config(roots)
}

/// The same of authorities that stand in no file.
pub(crate) fn client_config(roots: RootCertStore) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    versions.with_root_certificates(roots).with_no_client_auth()
}

/// Writes a file that only its owner can read.
pub(crate) fn write_private(path: &Path, text: &str) {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    let mut file = fs::File::options().write(true).create_new(true).mode(0o600).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}
