//! A complete issuer for development and tests: a folder with a store, keys, a CA and two clients.
//!
//! A folder that is opened again has the same keys, CA, clients and secrets.

mod clients;
mod env_file;
mod local_ca;
mod registration;

use std::{
    fs::{File, TryLockError},
    io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use token_interceptor::{
    clock::{Clock, SystemClock},
    signature::Algorithm,
};
use token_issuer::{client_authentication::assertion::AssertionRules, key_material::KeyMaterial};
use token_store::{StoreLocation, private_file};

pub use clients::DevelopmentClient;
pub use env_file::parse as parse_env_file;
pub use local_ca::LocalCaError;

use crate::{
    config::{Admin, AuditTarget, Config, IssuerUrl, Keys, Limits, Listen, Secrets, Store, Telemetry, Tls, Tokens},
    connection::Forwarding,
    server::{Running, ServeError},
};
use local_ca::LocalCa;

/// The interval at which the certificate is checked for changes.
const RELOAD_INTERVAL: Duration = Duration::from_secs(10);
const DAY: Duration = Duration::from_secs(86_400);

/// The reason why the folder cannot be used.
///
/// Exhaustive: `dev` must explain a new reason before it compiles.
#[derive(Debug, thiserror::Error)]
pub enum DevelopmentError {
    /// A file, or the folder itself, cannot be used.
    #[error("cannot use {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file holds other content than `token-server dev` wrote.
    #[error("{} has other content than `token-server dev` wrote", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Another development issuer uses the folder.
    #[error("another `token-server dev` uses the folder {}", folder.display())]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// The certificate authority failed.
    #[error(transparent)]
    LocalCa(#[from] LocalCaError),
    /// The system has no randomness.
    #[error("the system has no randomness")]
    NoRandomness,
    /// The server failed.
    #[error(transparent)]
    Serve(#[from] ServeError),
}

impl DevelopmentError {
    fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        |source| Self::File { path: path.to_owned(), source }
    }
}

/// The folder of a development issuer, ready to start.
#[derive(Debug)]
pub struct Development {
    folder: PathBuf,
    ca: LocalCa,
    config: Config,
}

/// A running development issuer.
#[derive(Debug)]
pub struct RunningDevelopment {
    /// The server.
    pub server: Running,
    /// The root certificate that clients must trust.
    pub ca_file: PathBuf,
    /// A client that may request tokens with `inventory.read` at the audience `inventory`, and nothing else.
    pub example: DevelopmentClient,
    /// A client that may change clients and keys.
    pub admin: DevelopmentClient,
}

impl Development {
    /// Opens the folder and creates missing files. Port 0 takes a free port.
    ///
    /// # Errors
    ///
    /// When the folder cannot be written, or has foreign content.
    pub fn open(folder: &Path, port: u16) -> Result<Self, DevelopmentError> {
        private_file::make_directory(folder).map_err(DevelopmentError::file(folder))?;
        let folder = folder.canonicalize().map_err(DevelopmentError::file(folder))?;
        let ca = LocalCa::open(&folder, SystemClock.now())?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let issuer = IssuerUrl::parse(&format!("https://localhost:{port}"))
            .map_err(|error| ServeError::internal(error.as_str()))?;
        let config = Config {
            issuer,
            listen: Listen {
                address,
                operations_address: None,
                proxy_protocol_from: Vec::new(),
                forwarding: Forwarding::default(),
                threads: 1,
                danger_plaintext: false,
            },
            tls: Some(Tls {
                certificate: ca.certificate.clone(),
                private_key: ca.private_key.clone(),
                client_ca: None,
                client_certificate_required: false,
                reload_interval: RELOAD_INTERVAL,
            }),
            store: Store::at(StoreLocation::Sqlite(folder.join("token-server.db"))),
            keys: Keys {
                algorithms: vec![Algorithm::Es256],
                rotation_period: 30 * DAY,
                visibility_period: DAY,
                sealing_key: key_file(&folder.join("sealing.key"))?,
                previous_sealing_keys: Vec::new(),
                import: Vec::new(),
            },
            secrets: Secrets {
                pepper: key_file(&folder.join("pepper.key"))?,
                previous_peppers: Vec::new(),
                accept_imported: false,
            },
            client_assertions: AssertionRules::default(),
            trusted_issuers: Vec::new(),
            tokens: Tokens::default(),
            limits: Limits { drain_deadline: Duration::from_secs(5), ..Limits::default() },
            quota: token_issuer::limit::QuotaSettings::default(),
            trust: token_issuer::issuer::TrustStreams::default(),
            admin: Admin { enabled: true, reflection: true },
            ext_authz: None,
            registration: Some(registration::settings(&folder)?),
            telemetry: Telemetry { audit: AuditTarget::File(folder.join("audit.jsonl")), ..Telemetry::default() },
            // Written by `private_file`.
            secret_files: Vec::new(),
        };
        Ok(Self { folder, ca, config })
    }

    /// The server's configuration, which may be changed before [`Development::start`].
    pub fn config_mut(&mut self) -> &mut Config {
        &mut self.config
    }

    /// The server's configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Starts the server and creates missing clients.
    ///
    /// # Errors
    ///
    /// When the port is taken, or the folder cannot be used.
    pub async fn start(self) -> Result<RunningDevelopment, DevelopmentError> {
        self.start_at(SystemClock::shared()).await
    }

    /// The same, with another clock.
    ///
    /// # Errors
    ///
    /// As [`Development::start`].
    pub async fn start_at(self, clock: Arc<dyn Clock>) -> Result<RunningDevelopment, DevelopmentError> {
        let Self { folder, ca, config } = self;
        let [example, admin] = clients::register(&folder, &config, clock.now()).await?;
        let server = Running::start_at(config, clock).await?;
        let example = example.tell(server.issuer(), &ca.ca)?;
        let admin = admin.tell(server.issuer(), &ca.ca)?;
        Ok(RunningDevelopment { server, ca_file: ca.ca, example, admin })
    }
}

/// Locks a folder for one `token-server dev`. A second one would replace the certificate of the first, and
/// the port that its clients use. The system releases the lock when the process ends.
pub fn lock(folder: &Path) -> Result<File, DevelopmentError> {
    private_file::make_directory(folder).map_err(DevelopmentError::file(folder))?;
    let path = folder.join("dev.lock");
    let lock = private_file::open_or_create(&path).map_err(DevelopmentError::file(&path))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(DevelopmentError::InUse { folder: folder.to_owned() }),
        Err(TryLockError::Error(error)) => Err(DevelopmentError::file(&path)(error)),
    }
}

/// Reads the key in a file. Generates it on first use.
fn key_file(path: &Path) -> Result<KeyMaterial, DevelopmentError> {
    match std::fs::read_to_string(path) {
        Ok(text) => KeyMaterial::parse(&text).map_err(|_| DevelopmentError::Foreign { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let material = KeyMaterial::generate().map_err(|_| DevelopmentError::NoRandomness)?;
            private_file::write(path, material.to_text().as_bytes()).map_err(DevelopmentError::file(path))?;
            Ok(material)
        }
        Err(error) => Err(DevelopmentError::file(path)(error)),
    }
}
