//! `[store]`, `[keys]` and `[secrets]`: the stored data, and the keys that protect it.

use std::{path::PathBuf, time::Duration};

use secrecy::{ExposeSecret as _, SecretString};

use token_interceptor::signature::{Algorithm, SigningKey};
use token_issuer::{client_registry::CLIENTS_MAX, key::ImportedKey, key_material::KeyMaterial};
use token_store::{StoreLocation, StoreLocationError};

use super::reader::Section;

const DAY: Duration = Duration::from_secs(86_400);
/// The default staleness limit: half a working day without the store.
const STALENESS_MAX: Duration = Duration::from_secs(4 * 3600);
/// The default start wait. After a power cut, a database and its network start together with the server. A
/// mistake in the URL shows within a minute.
const START_WAIT: Duration = Duration::from_secs(60);
const RELOAD_INTERVAL: Duration = Duration::from_secs(10);

/// `[store]`: the storage of clients, keys and revocations.
#[derive(Clone, Debug)]
pub struct Store {
    /// SQLite on this machine, or PostgreSQL for several replicas.
    pub location: StoreLocation,
    /// The number of cached clients.
    pub cached_clients: usize,
    /// The time for which cached clients still get tokens while the store is unreachable.
    pub staleness_max: Duration,
    /// The time for which the start waits for an unreachable database.
    pub start_wait: Duration,
    /// The interval at which a file that declares the clients is checked for changes.
    pub reload_interval: Duration,
    /// Tokens of clients that such a file removes or disables stay valid until they expire.
    pub keep_tokens: bool,
}

impl Store {
    pub(super) fn read(mut section: Section<'_>) -> Option<Self> {
        let location = location(&mut section).and_then(|location| with_state(&mut section, location));
        let cached_clients = section.within("cached_clients", CLIENTS_MAX, 1..=10_000_000);
        let staleness_max = section.within("staleness_max", STALENESS_MAX, Duration::ZERO..=30 * DAY);
        let start_wait = section.within("start_wait", START_WAIT, Duration::ZERO..=DAY);
        let reload_interval = section.within("reload_interval", RELOAD_INTERVAL, RELOAD_INTERVAL / 10..=DAY);
        let keep_tokens = section.or("keep_tokens", false);
        section.known("state");
        section.known("danger_state_in_memory");
        section.finish();
        Some(Self { location: location?, cached_clients, staleness_max, start_wait, reload_interval, keep_tokens })
    }

    /// A location, with defaults for the rest.
    #[must_use]
    pub fn at(location: StoreLocation) -> Self {
        Self {
            location,
            cached_clients: CLIENTS_MAX,
            staleness_max: STALENESS_MAX,
            start_wait: START_WAIT,
            reload_interval: RELOAD_INTERVAL,
            keep_tokens: false,
        }
    }
}

/// Reads `url`, or `url_file` for a URL with a password.
fn location(section: &mut Section<'_>) -> Option<StoreLocation> {
    const ALLOWED: &str = "sqlite:///path/to/file, postgres://user@host/database, or file:///path/to/clients.toml";
    let from_file = section.has("url_file");
    let url = if from_file {
        section.secret_in("url_file")
    } else {
        section.required::<String>("url").map(SecretString::from)
    };
    section.known("url");
    section.known("url_file");
    let (key, url) = (if from_file { "url_file" } else { "url" }, url?);
    if !from_file && section.is_in_file("url") && StoreLocation::has_password(url.expose_secret()) {
        let instead = "url_file = \"/path/to/file\", or the variable TOKEN_SERVER__STORE__URL";
        section.reject(key, "a password does not belong in this file".to_owned(), instead);
        return None;
    }
    let parsed = StoreLocation::parse(url.expose_secret());
    // The error does not repeat the text, which may hold a password.
    parsed.map_err(|error| section.reject(key, problem(error), ALLOWED)).ok()
}

/// Adds the location of keys and revocations, which a file of clients cannot hold: `state`, unless they may
/// be lost.
fn with_state(section: &mut Section<'_>, location: StoreLocation) -> Option<StoreLocation> {
    let (state, forget) = (section.optional::<PathBuf>("state"), section.or("danger_state_in_memory", false));
    match location {
        StoreLocation::Declared { clients, .. } if state.is_some() != forget => {
            Some(StoreLocation::Declared { clients, state })
        }
        StoreLocation::Declared { .. } => {
            let problem = "a file of clients cannot store signing keys and revocations".to_owned();
            let allowed = "state, the path of a file that this server creates; or danger_state_in_memory = true, \
                           where every restart may make every token invalid and forget revocations";
            section.reject("state", problem, allowed);
            None
        }
        StoreLocation::Sqlite(_) | StoreLocation::Postgres(_) if state.is_some() || forget => {
            let key = if forget { "danger_state_in_memory" } else { "state" };
            section.reject(
                key,
                "it applies to file://… only".to_owned(),
                "nothing, because this store keeps everything itself",
            );
            None
        }
        StoreLocation::Sqlite(_) | StoreLocation::Postgres(_) => Some(location),
    }
}

fn problem(error: StoreLocationError) -> String {
    match error {
        StoreLocationError::Unknown => "it is not the URL of a supported store".to_owned(),
        StoreLocationError::Database(error) => error.to_string(),
    }
}

/// `[keys]`: signing keys.
#[derive(Clone, Debug)]
pub struct Keys {
    /// The algorithms with a key each. Tokens are signed with the first one. The other keys are published
    /// too, so that verifiers have them before another algorithm becomes the first.
    pub algorithms: Vec<Algorithm>,
    /// The time for which a key signs before the next one takes over.
    pub rotation_period: Duration,
    /// The time for which a key is published before it signs. Every verifier must have fetched it by then.
    pub visibility_period: Duration,
    /// Seals private keys at rest.
    pub sealing_key: KeyMaterial,
    /// Former sealing keys. They open stored keys and seal no new ones.
    pub previous_sealing_keys: Vec<KeyMaterial>,
    /// Private keys to import. This is the only way to have RSA keys.
    pub import: Vec<ImportedKey>,
}

impl Keys {
    pub(super) fn read(mut section: Section<'_>) -> Option<Self> {
        let import = section.sections("import").into_iter().filter_map(imported).collect::<Vec<_>>();
        let algorithms = section.or("algorithms", vec![Algorithm::Es256]);
        check_algorithms(&section, &algorithms, &import);
        let rotation_period = section.within("rotation_period", 30 * DAY, DAY / 24..=3650 * DAY);
        let visibility_period = section.within("visibility_period", DAY, Duration::ZERO..=90 * DAY);
        if visibility_period >= rotation_period {
            let problem = "it is not shorter than rotation_period".to_owned();
            section.reject("visibility_period", problem, "less than rotation_period");
        }
        let sealing_key = section.required_key("sealing_key", "sealing_key_file");
        let previous_sealing_keys = section.key_files("previous_sealing_key_files");
        section.finish();
        let sealing_key = sealing_key?;
        Some(Self { algorithms, rotation_period, visibility_period, sealing_key, previous_sealing_keys, import })
    }
}

/// Reads `[[keys.import]]`: a private key generated elsewhere.
fn imported(mut section: Section<'_>) -> Option<ImportedKey> {
    let algorithm: Option<Algorithm> = section.required("algorithm");
    let file = section.required_file("file");
    if let Some(file) = &file {
        section.holds_secret("file", file);
    }
    let pem = file.and_then(|file| std::fs::read(file).ok());
    let key = algorithm.zip(pem).and_then(|(algorithm, pem)| {
        let key = ImportedKey::from_pem(algorithm, &zeroize::Zeroizing::new(pem));
        let allowed = format!("a private key for {algorithm} in PEM (PKCS#8)");
        key.map_err(|error| section.reject("file", error.to_string(), &allowed)).ok()
    });
    section.finish();
    key
}

fn check_algorithms(section: &Section<'_>, algorithms: &[Algorithm], import: &[ImportedKey]) {
    if algorithms.is_empty() {
        section.reject("algorithms", "at least one is required".to_owned(), "ES256, EdDSA, ES384, RS256, PS256");
    }
    for algorithm in algorithms {
        if !Algorithm::ISSUED.contains(algorithm) {
            let problem = format!("this server does not sign with {algorithm}");
            section.reject("algorithms", problem, "ES256, EdDSA, ES384, RS256, PS256");
            continue;
        }
        if !SigningKey::generates(*algorithm) && !import.iter().any(|key| key.algorithm() == *algorithm) {
            section.reject(
                "algorithms",
                format!("{algorithm} needs an RSA key, which this build does not generate"),
                &format!(
                    "import one: openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072 -out rsa.pem, then \
                     [[keys.import]] algorithm = \"{algorithm}\", file = \"rsa.pem\""
                ),
            );
        }
    }
}

/// `[secrets]`: how client secrets are stored.
#[derive(Clone, Debug)]
pub struct Secrets {
    /// The key of the HMACs under which client secrets are stored.
    pub pepper: KeyMaterial,
    /// Former peppers. Secrets stored under them remain valid.
    pub previous_peppers: Vec<KeyMaterial>,
    /// Accept secrets that were generated elsewhere and are stored as Argon2id.
    pub accept_imported: bool,
}

impl Secrets {
    pub(super) fn read(mut section: Section<'_>) -> Option<Self> {
        let pepper = section.required_key("pepper", "pepper_file");
        let previous_peppers = section.key_files("previous_pepper_files");
        let accept_imported = section.or("accept_imported", false);
        section.finish();
        Some(Self { pepper: pepper?, previous_peppers, accept_imported })
    }
}
