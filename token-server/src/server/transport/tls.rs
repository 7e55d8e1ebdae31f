//! TLS that reloads its certificates and client roots without a restart.
//!
//! The whole `ServerConfig` is swapped, so a handshake uses either the old files or the new ones, never a
//! mix. Invalid files leave the old configuration in place: a bad renewal must not take the server down.

mod fault;
mod metrics;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use ring::digest;
use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

use token_interceptor::clock::{Clock as _, SystemClock};

pub(crate) use self::fault::Fault;
use self::metrics::Metrics;
use crate::config::{IssuerUrl, Tls};

/// The error for certificates that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file does not hold the expected PEM.
    #[error("{} holds no usable PEM {what}", path.display())]
    NotPem {
        /// The file.
        path: PathBuf,
        /// The expected content.
        what: &'static str,
    },
    /// The certificate and the key do not match, or there are no valid client roots.
    #[error("the certificates in {} cannot be used", path.display())]
    Unusable {
        /// The certificate file, or the file of client roots.
        path: PathBuf,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The current TLS configuration and its files.
#[derive(Debug)]
pub(crate) struct ReloadingTls {
    files: Tls,
    /// The issuer, if clients connect to this port by its host.
    issuer: Option<IssuerUrl>,
    metrics: Metrics,
    current: ArcSwap<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    config: Arc<ServerConfig>,
    /// Digests to detect changed files. Modification times would miss swapped symbolic links.
    digests: Digests,
}

/// The digests of the certificate with its key, and of the client roots.
#[derive(Debug)]
struct Digests {
    certificate: digest::Digest,
    client_ca: digest::Digest,
}

impl ReloadingTls {
    /// Reads the files. `port` is the label in metrics; `issuer` names the host that clients connect to.
    pub(crate) fn load(files: &Tls, port: &'static str, issuer: Option<IssuerUrl>) -> Result<Self, TlsError> {
        let pem = Pem::read(files)?;
        let loaded = Loaded { config: build(files, &pem)?, digests: pem.digests() };
        let metrics = Metrics::new(port);
        metrics.in_use(&pem);
        let loaded = Self { files: files.clone(), issuer, metrics, current: ArcSwap::from_pointee(loaded) };
        loaded.check(&pem);
        Ok(loaded)
    }

    /// Returns the configuration for the next handshake.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.load().config)
    }

    /// Reloads the files. Returns true if they have changed and are now in effect.
    pub(crate) fn reload(&self) -> Result<bool, TlsError> {
        let pem = Pem::read(&self.files)?;
        let (before, digests) = (self.current.load(), pem.digests());
        let certificate = before.digests.certificate.as_ref() != digests.certificate.as_ref();
        let client_ca = before.digests.client_ca.as_ref() != digests.client_ca.as_ref();
        if !certificate && !client_ca {
            return Ok(false);
        }
        self.current.store(Arc::new(Loaded { config: build(&self.files, &pem)?, digests }));
        self.metrics.in_use(&pem);
        self.metrics.changed(certificate, client_ca);
        if certificate {
            self.check(&pem);
        }
        Ok(true)
    }

    /// Logs the faults of the certificate. It is served anyway, because there is no better one.
    fn check(&self, pem: &Pem) {
        // The other ports use the certificate of the issuer's port.
        if self.issuer.is_none() {
            return;
        }
        let now = SystemClock.now();
        for fault in fault::faults(&pem.certificate, &self.files.certificate, self.issuer.as_ref(), now) {
            let certificate = self.files.certificate.display();
            match &fault {
                Fault::OtherHost { host, .. } => tracing::warn!(%certificate, %host, "{fault}"),
                Fault::EndsSoon { .. } => tracing::warn!(%certificate, "{fault}"),
                Fault::Expired { .. } | Fault::NotYetValid { .. } => tracing::error!(%certificate, "{fault}"),
            }
        }
    }

    /// Reloads the files at every interval, until dropped.
    pub(crate) async fn watch(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(self.files.reload_interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        // The first tick is immediate, and the files have just been read.
        ticks.tick().await;
        loop {
            ticks.tick().await;
            self.reload_and_report();
        }
    }

    /// Reloads the files and logs the outcome.
    pub(crate) fn reload_and_report(&self) {
        let reloaded = self.reload();
        self.metrics.usable(reloaded.is_ok());
        match reloaded {
            Ok(true) => tracing::info!(certificate = %self.files.certificate.display(), "TLS certificates reloaded"),
            Ok(false) => {}
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "cannot use the new TLS files; keeping the old ones"
                );
            }
        }
    }
}

/// Reads the files as a server does at startup, and returns the faults of the certificate.
pub(crate) fn check(
    files: &Tls,
    issuer: Option<&IssuerUrl>,
    now: std::time::SystemTime,
) -> Result<Vec<Fault>, TlsError> {
    let pem = Pem::read(files)?;
    build(files, &pem)?;
    Ok(fault::faults(&pem.certificate, &files.certificate, issuer, now))
}

/// The content of the files.
struct Pem {
    certificate: Vec<u8>,
    private_key: zeroize::Zeroizing<Vec<u8>>,
    client_ca: Option<Vec<u8>>,
}

impl Pem {
    fn read(files: &Tls) -> Result<Self, TlsError> {
        let read =
            |path: &PathBuf| std::fs::read(path).map_err(|source| TlsError::Unreadable { path: path.clone(), source });
        Ok(Self {
            certificate: read(&files.certificate)?,
            private_key: zeroize::Zeroizing::new(read(&files.private_key)?),
            client_ca: files.client_ca.as_ref().map(read).transpose()?,
        })
    }

    fn digests(&self) -> Digests {
        let mut context = digest::Context::new(&digest::SHA256);
        for part in [&self.certificate, &*self.private_key] {
            context.update(&part.len().to_be_bytes());
            context.update(part);
        }
        let client_ca = self.client_ca.as_deref().unwrap_or_default();
        Digests { certificate: context.finish(), client_ca: digest::digest(&digest::SHA256, client_ca) }
    }
}

fn build(files: &Tls, pem: &Pem) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let unusable = |path: &PathBuf, source| TlsError::Unusable { path: path.clone(), source };
    let chain = certificates(&files.certificate, &pem.certificate)?;
    let private_key = PrivateKeyDer::from_pem_slice(&pem.private_key)
        .map_err(|_| TlsError::NotPem { path: files.private_key.clone(), what: "private key" })?;

    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&files.certificate, error.into()))?;
    let builder = match (&files.client_ca, &pem.client_ca) {
        (Some(path), Some(pem)) => {
            let mut roots = RootCertStore::empty();
            for root in certificates(path, pem)? {
                roots.add(root).map_err(|error| unusable(path, error.into()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = if files.client_certificate_required { verifier } else { verifier.allow_unauthenticated() };
            builder.with_client_cert_verifier(verifier.build().map_err(|error| unusable(path, error.into()))?)
        }
        _ => builder.with_no_client_auth(),
    };
    let mut config =
        builder.with_single_cert(chain, private_key).map_err(|error| unusable(&files.certificate, error.into()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer =
        rustls::crypto::ring::Ticketer::new().map_err(|error| unusable(&files.certificate, error.into()))?;
    Ok(Arc::new(config))
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let not_pem = || TlsError::NotPem { path: path.to_owned(), what: "certificate" };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|_| not_pem())?;
    if chain.is_empty() { Err(not_pem()) } else { Ok(chain) }
}
