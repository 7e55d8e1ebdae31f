//! The client certificate that a command presents for mutual TLS (RFC 8446 section 4.4.2).

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::Args;
use rustls::{crypto::ring, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use secrecy::{ExposeSecret as _, SecretString};
use token_interceptor::http_client::HttpClientBuilder;
use tonic::transport::{ClientTlsConfig, Identity};

use crate::command::failure::Failure;

/// The hint for a connection that TLS rejected, or that the server closed before it responded.
pub(in crate::command) const HINT: &str = "the port may demand a client certificate: --client-certificate-file FILE \
                                           --client-certificate-key-file FILE";

/// The files of the certificate and of its key.
#[derive(Clone, Debug, Args)]
pub(in crate::command) struct ClientCertificateFiles {
    /// Show this certificate to a port that demands one: a chain in PEM, the leaf first.
    #[arg(long, global = true, env = "TOKEN_CLIENT_CERTIFICATE_FILE", value_name = "FILE")]
    client_certificate_file: Option<PathBuf>,
    /// The private key of that certificate, in PEM.
    #[arg(long, global = true, env = "TOKEN_CLIENT_CERTIFICATE_KEY_FILE", value_name = "FILE")]
    client_certificate_key_file: Option<PathBuf>,
}

/// A certificate and its matching key.
#[derive(Clone, Debug)]
pub(in crate::command) struct ClientCertificate {
    chain_pem: Vec<u8>,
    private_key_pem: SecretString,
}

impl ClientCertificateFiles {
    /// Reads the certificate to present. `None` if no file is named.
    pub(in crate::command) fn read(&self) -> Result<Option<ClientCertificate>, Failure> {
        match (&self.client_certificate_file, &self.client_certificate_key_file) {
            (None, None) => Ok(None),
            (Some(chain), Some(key)) => ClientCertificate::read(chain, key).map(Some),
            (Some(_), None) => Err(Failure::usage("the client certificate's key is missing")
                .next("name it: --client-certificate-key-file FILE (or TOKEN_CLIENT_CERTIFICATE_KEY_FILE)")),
            (None, Some(_)) => Err(Failure::usage("the client certificate is missing, and only its key is named")
                .next("name it: --client-certificate-file FILE (or TOKEN_CLIENT_CERTIFICATE_FILE)")),
        }
    }
}

impl ClientCertificate {
    fn read(chain_file: &Path, key_file: &Path) -> Result<Self, Failure> {
        let unreadable = |what: &str, file: &Path, error: io::Error| {
            Failure::usage(format!("cannot read the client certificate{what} {}", file.display())).because(error)
        };
        let chain_pem = fs::read(chain_file).map_err(|error| unreadable("", chain_file, error))?;
        let key_pem = fs::read_to_string(key_file).map_err(|error| unreadable("'s key", key_file, error))?;
        let shown = Self { chain_pem, private_key_pem: SecretString::from(key_pem) };
        shown.expect_to_belong_together(chain_file, key_file)?;
        Ok(shown)
    }

    /// Checks that the files match, before any connection. A TLS library does not say which file was the
    /// wrong one.
    fn expect_to_belong_together(&self, chain_file: &Path, key_file: &Path) -> Result<(), Failure> {
        let not_pem = |file: &Path, what: &str| Failure::usage(format!("{} holds no PEM {what}", file.display()));
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.chain_pem).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or_else(|| not_pem(chain_file, "certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(self.private_key_pem.expose_secret().as_bytes())
            .map_err(|_| not_pem(key_file, "private key (an encrypted one cannot be read)"))?;
        CertifiedKey::from_der(chain, key, &ring::default_provider()).map(drop).map_err(|error| {
            let (chain, key) = (chain_file.display(), key_file.display());
            Failure::usage(format!("the key in {key} and the certificate in {chain} do not belong together"))
                .because(error)
        })
    }

    /// The chain, for the cache key: tokens obtained with different certificates are different.
    pub(in crate::command) fn chain_pem(&self) -> &[u8] {
        &self.chain_pem
    }

    pub(in crate::command) fn show_by_http(&self, client: HttpClientBuilder) -> HttpClientBuilder {
        client.client_certificate(self.chain_pem.clone(), self.private_key_pem.clone())
    }

    pub(super) fn show_by_grpc(&self, tls: ClientTlsConfig) -> ClientTlsConfig {
        tls.identity(Identity::from_pem(&self.chain_pem, self.private_key_pem.expose_secret()))
    }
}
