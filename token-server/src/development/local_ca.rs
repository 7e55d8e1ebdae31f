//! A certificate authority for this machine, so that development uses TLS from the first command on.

use std::{
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use token_store::private_file;

const DAY: Duration = Duration::from_secs(86_400);
/// The lifetime of a leaf. Each start generates a new one.
const LEAF_LIFETIME: Duration = Duration::from_secs(90 * 86_400);
const CA_LIFETIME: Duration = Duration::from_secs(10 * 365 * 86_400);
/// The CA has a name of its own. If CA and leaf had the same name, clients would take the leaf for
/// self-signed.
const CA_NAME: &str = "token-server development CA (this machine only)";
/// The hosts for which the leaf is valid.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// The reason why there is no development certificate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocalCaError {
    /// A file cannot be read or written.
    #[error("cannot use {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A certificate cannot be generated.
    #[error("cannot generate a development certificate; remove the state directory to start afresh")]
    Certificate(#[from] rcgen::Error),
}

/// The paths of the files.
#[derive(Clone, Debug)]
pub(crate) struct LocalCa {
    /// The root for clients to trust: `--cacert`.
    pub(crate) ca: PathBuf,
    /// The leaf.
    pub(crate) certificate: PathBuf,
    /// The leaf's private key.
    pub(crate) private_key: PathBuf,
}

impl LocalCa {
    /// Opens the CA of a folder, or generates it on first use. The leaf is generated each time.
    pub(crate) fn open(folder: &Path, now: SystemTime) -> Result<Self, LocalCaError> {
        let paths = Self {
            ca: folder.join("ca.pem"),
            certificate: folder.join("tls.pem"),
            private_key: folder.join("tls.key"),
        };
        let key_path = folder.join("ca.key");
        let (key, new) = if key_path.exists() && paths.ca.exists() {
            (KeyPair::from_pem(&read(&key_path)?)?, false)
        } else {
            (KeyPair::generate()?, true)
        };
        let params = ca_params(now)?;
        if new {
            write(&key_path, &key.serialize_pem())?;
            write(&paths.ca, &params.self_signed(&key)?.pem())?;
        }
        let issuer = Issuer::new(params, key);
        let leaf_key = KeyPair::generate()?;
        let leaf = leaf_params(now)?.signed_by(&leaf_key, &issuer)?;
        write(&paths.private_key, &leaf_key.serialize_pem())?;
        write(&paths.certificate, &leaf.pem())?;
        Ok(paths)
    }
}

/// The parameters of the CA that signs a leaf. Name and key identifier are the same at each start.
fn ca_params(now: SystemTime) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = named(CA_NAME);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = (now - DAY).into();
    params.not_after = (now + CA_LIFETIME).into();
    Ok(params)
}

fn leaf_params(now: SystemTime) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(NAMES.map(str::to_owned))?;
    params.distinguished_name = named("localhost");
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.not_before = (now - DAY).into();
    params.not_after = (now + LEAF_LIFETIME).into();
    Ok(params)
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn read(path: &Path) -> Result<String, LocalCaError> {
    std::fs::read_to_string(path).map_err(|source| LocalCaError::File { path: path.to_owned(), source })
}

fn write(path: &Path, text: &str) -> Result<(), LocalCaError> {
    private_file::write(path, text.as_bytes()).map_err(|source| LocalCaError::File { path: path.to_owned(), source })
}
