//! Configuration → what serves: the store, the keys, the issuer, the admin services.

use std::sync::Arc;

use axum::Router;
use secrecy::{ExposeSecret as _, SecretString};
use token_interceptor::{clock::Clock, signature::SigningKey};
use tokio::task::JoinSet;

use super::ServeError;
use crate::{
    client::{
        registry::ClientRegistry,
        secret::{Pepper, Peppers},
    },
    config::{Config, IssuerUrl, Secrets},
    feed::{Feed, FeedSettings},
    issuer::{Issuer, Settings},
    key::{KeyError, KeyRing},
    key_material::KeyMaterial,
    store::{Store, sqlite::SqliteStore},
};

/// What serves, and what keeps it going.
pub(super) struct Assembly {
    pub(super) issuer: Arc<Issuer>,
    /// The admin services behind their guard, where they are on.
    pub(super) admin: Option<Router>,
    pub(super) background: JoinSet<()>,
    pub(super) state: State,
}

/// What outlives requests, and must be closed in order.
#[derive(Debug)]
pub(super) struct State {
    store: Arc<dyn Store>,
    registry: ClientRegistry,
    /// Ends with its last handle.
    _feed: Feed,
}

impl State {
    /// Writes down what is only in memory, and closes the store.
    pub(super) async fn close(self) {
        if let Err(error) = self.registry.write_uses().await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the last use of some credentials is not on record"
            );
        }
        self.store.close().await;
    }
}

/// Opens the store and the keys, and puts the issuer together.
pub(super) async fn assemble(
    config: &Config,
    issuer_url: &IssuerUrl,
    clock: Arc<dyn Clock>,
) -> Result<Assembly, ServeError> {
    let store = open_store(config).await?;
    let settings = FeedSettings { staleness_max: config.store.staleness_max, ..FeedSettings::default() };
    let feed = Feed::start(store.clone(), settings).await?;
    let registry = ClientRegistry::with_capacity(store.clone(), config.store.cached_clients);
    registry.follow(&feed);
    let peppers = peppers(&config.secrets)?;
    let keys = keys(config)?;
    let issuer = Issuer::new(self::settings(config, issuer_url), registry.clone(), peppers, keys, clock);
    Ok(Assembly {
        issuer: Arc::new(issuer),
        admin: None,
        background: JoinSet::new(),
        state: State { store, registry, _feed: feed },
    })
}

/// The store of the configuration.
pub(crate) async fn open_store(config: &Config) -> Result<Arc<dyn Store>, ServeError> {
    Ok(Arc::new(SqliteStore::open(&config.store.sqlite).await?))
}

/// The peppers of the configuration.
pub(crate) fn peppers(secrets: &Secrets) -> Result<Peppers, ServeError> {
    let pepper = |text: &SecretString| {
        let material = KeyMaterial::parse(text.expose_secret()).map_err(ServeError::material("the pepper"))?;
        Ok::<_, ServeError>(Pepper::new(&material))
    };
    let previous = secrets.previous_peppers.iter().map(pepper).collect::<Result<_, _>>()?;
    Ok(Peppers::new(pepper(&secrets.pepper)?, previous))
}

fn keys(config: &Config) -> Result<KeyRing, ServeError> {
    let generate = |algorithm| {
        let document = SigningKey::generate_pkcs8(algorithm).map_err(KeyError::from)?;
        Ok::<_, ServeError>(SigningKey::from_der(algorithm, &document).map_err(KeyError::from)?)
    };
    let mut keys = config.keys.algorithms.iter().map(|algorithm| generate(*algorithm));
    let default = keys.next().ok_or_else(|| ServeError::internal("no algorithm is configured"))??;
    Ok(KeyRing::fixed(default, keys.collect::<Result<_, _>>()?))
}

fn settings(config: &Config, issuer_url: &IssuerUrl) -> Settings {
    let mut settings = Settings::new(issuer_url.as_str());
    settings.terms.lifetime_default = config.tokens.default_lifetime;
    settings.terms.lifetime_max = config.tokens.maximum_lifetime;
    settings.terms.token_bytes_max = config.tokens.header_bytes;
    // A verifier that fetches at this interval holds every key before its first use.
    settings.key_set_max_age = settings.key_set_max_age.min(config.keys.visibility_period / 2);
    settings
}
