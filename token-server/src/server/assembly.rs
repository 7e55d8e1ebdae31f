//! Configuration → the serving parts: the store, the keys, the issuer, the admin services.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use axum::Router;
use token_interceptor::{clock::Clock, danger::AllowPlaintext, layer::AuthorizationLayer, verify::LEEWAY_MAX};
use token_issuer::{
    admin::{AdminRules, AuditAdmin, ClientAdmin, KeyAdmin, RevocationAdmin},
    client::secret::{Pepper, Peppers},
    client_authentication::assertion::Reach,
    client_registry::{ClientRegistry, peppers_in_use},
    feed::{Feed, FeedSettings},
    identity_provider::IdentityProviders,
    issuer::{Dependencies, Issuer, Settings},
    key::{KeyRotation, KeySettings, Schedule, SealingKeys, SigningKeyError, TokenLifetimes},
    limit::{LimitSettings, Rate},
    own_tokens,
    registration::Registrar,
    revocation::RevocationRegistry,
    store::{KeyStore, Store, StoreError},
};
use token_store::{DeclaredStore, StoreLocation, open_state};
use tokio::task::JoinSet;

use super::{
    ServeError, admin,
    client_file_watch::{ClientFile, Source},
    ext_authz,
    health::Health,
    middleware::standing::Standing,
    names,
};
use crate::{
    client_file::{self, DeclaredError},
    config::{Config, IssuerUrl, Limits, Secrets},
};

/// The parts that serve, and the state behind them.
pub(super) struct Assembly {
    pub(super) issuer: Arc<Issuer>,
    /// The admin services behind their guard, if they are enabled.
    pub(super) admin: Option<Router>,
    /// Decisions for proxies, if they are enabled.
    pub(super) ext_authz: Option<Router>,
    /// Dynamic client registration, if it is enabled.
    pub(super) registrar: Option<Arc<Registrar>>,
    pub(super) state: State,
}

/// The state that outlives requests. It must be closed in order.
#[derive(Debug)]
pub(super) struct State {
    store: Arc<dyn Store>,
    /// The file that declares the clients, if there is one.
    declared: Option<Arc<ClientFile>>,
    registry: ClientRegistry,
    /// The followers of the store. Each ends with its last handle.
    following: (Feed, KeyRotation, RevocationRegistry),
}

impl State {
    /// Starts the tasks that watch the store and the file of clients.
    pub(super) fn watch(&self, health: &Health, background: &mut JoinSet<()>) {
        background.spawn(health.clone().watch_store(Arc::clone(&self.store) as _));
        if let Some(declared) = &self.declared {
            background.spawn(health.clone().watch_clients(declared.usable()));
            background.spawn(Arc::clone(declared).watch());
        }
    }

    /// The file that declares the clients, if there is one.
    pub(super) fn declared(&self) -> Option<&Arc<ClientFile>> {
        self.declared.as_ref()
    }

    /// Saves the data that is only in memory, and closes the store.
    pub(super) async fn close(self) {
        if let Err(error) = self.registry.write_uses().await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "could not save the last use of some credentials; it is lost"
            );
        }
        // Stop the followers first, so that none asks a closed store and logs an error.
        drop(self.following);
        self.store.close().await;
    }
}

/// Opens the store and the keys, and assembles the issuer.
pub(super) async fn assemble(
    config: &Config,
    issuer_url: &IssuerUrl,
    clock: Arc<dyn Clock>,
) -> Result<Assembly, ServeError> {
    let (store, declared) = stored_clients(config, &clock).await?;
    let settings = FeedSettings { staleness_max: config.store.staleness_max, ..FeedSettings::default() };
    let feed = Feed::start(store.clone(), settings).await?;
    let registry = ClientRegistry::with_capacity(store.clone(), config.store.cached_clients);
    registry.follow(&feed);
    let revocations = RevocationRegistry::start(store.clone(), Arc::clone(&clock)).await?;
    revocations.follow(&feed);
    let lifetimes = Lifetimes { revocations: revocations.clone(), configured: config.tokens.maximum_lifetime };
    // Stored before the first token is signed, because other replicas keep keys and revocations for that
    // long.
    lifetimes.longest().await?;
    let rotation = keys(config, store.clone(), lifetimes, Arc::clone(&clock)).await?;
    rotation.follow(&feed);
    let (keys, peppers) = (rotation.ring().clone(), peppers(&config.secrets));
    peppers_in_use::expect_to_fit(&*store, &peppers, clock.now()).await??;
    peppers_in_use::follow(store.clone(), peppers.clone(), Arc::clone(&clock), &feed);
    let peppers =
        if config.secrets.accept_imported { peppers.accept_imported().map_err(ServeError::internal)? } else { peppers };
    let rules = rules(config);
    names::check(&*store, &rules.foreign_names).await?;
    let revoking = RevocationAdmin::new(revocations.clone(), Arc::clone(&clock), rules.clone());
    let clients = ClientAdmin::new(store.clone(), registry.clone(), peppers.clone(), Arc::clone(&clock), rules);
    let clients = clients.revoking(revoking.clone());
    let issuer_settings = self::settings(config, issuer_url)?;
    let parts = admin::Dependencies {
        standing: Standing::new(registry.clone(), issuer_settings.federation.clone()),
        clients: clients.clone(),
        keys: KeyAdmin::new(rotation.clone()),
        revocations: revoking.clone(),
        audit: AuditAdmin::new(store.clone()),
    };
    let verifier = own_tokens::verifier(issuer_url.as_str(), &keys, revocations.verifying(), Arc::clone(&clock));
    let verifier = verifier.map_err(ServeError::internal)?;
    let admin = config.admin.enabled.then(|| admin::routes(parts, verifier.clone()));
    let ext_authz = config.ext_authz.as_ref().map(|ext_authz| {
        let guard = AuthorizationLayer::new(verifier.clone(), ext_authz.policy.clone());
        ext_authz::routes(&guard, ext_authz.audit)
    });
    let assertions = Arc::clone(&store) as _;
    let state = State { store, declared, registry: registry.clone(), following: (feed, rotation, revocations.clone()) };
    let parts = Dependencies { registry, assertions, peppers, keys, revocations, verifier };
    let issuer = Arc::new(Issuer::new(issuer_settings, parts, Arc::clone(&clock)));
    let registrar = config
        .registration
        .clone()
        .map(|settings| Arc::new(Registrar::new(settings, Arc::clone(&issuer), clients, clock)));
    Ok(Assembly { issuer, admin: admin.transpose()?, ext_authz, registrar, state })
}

/// Returns the rules that operators' changes must keep.
pub fn rules(config: &Config) -> AdminRules {
    AdminRules::trusting(config.tokens.maximum_lifetime, &config.trusted_issuers)
}

/// Opens the store, and reads the file that declares the clients into it, if there is one.
async fn stored_clients(
    config: &Config,
    clock: &Arc<dyn Clock>,
) -> Result<(Arc<dyn Store>, Option<Arc<ClientFile>>), ServeError> {
    let StoreLocation::Declared { clients, state } = &config.store.location else {
        return Ok((open_store(config).await?, None));
    };
    if state.is_none() {
        tracing::warn!("signing keys and revocations are in memory only; a restart loses them");
    }
    let store = Arc::new(DeclaredStore::new(open_state(state.as_deref()).await?));
    let source = Source {
        file: clients.clone(),
        interval: config.store.reload_interval,
        peppers: peppers(&config.secrets),
        rules: rules(config),
        keep_tokens: config.store.keep_tokens,
    };
    let declared = ClientFile::start(source, Arc::clone(&store), Arc::clone(clock)).await?;
    Ok((store, Some(declared)))
}

/// Checks the file that declares the clients, if the configuration names one.
pub fn check(config: &Config) -> Result<(), DeclaredError> {
    match &config.store.location {
        StoreLocation::Declared { clients, .. } => {
            client_file::load(clients, &peppers(&config.secrets), &rules(config)).map(drop)
        }
        StoreLocation::Sqlite(_) | StoreLocation::Postgres(_) => Ok(()),
    }
}

/// Opens the configured store.
pub async fn open_store(config: &Config) -> Result<Arc<dyn Store>, ServeError> {
    Ok(config.store.location.open_within(config.store.start_wait).await?)
}

/// Returns the configured peppers.
pub fn peppers(secrets: &Secrets) -> Peppers {
    let previous = secrets.previous_peppers.iter().map(Pepper::new).collect();
    Peppers::new(Pepper::new(&secrets.pepper), previous).importing(secrets.accept_imported)
}

/// The lifetimes of tokens of all replicas that share the store.
#[derive(Debug)]
struct Lifetimes {
    revocations: RevocationRegistry,
    configured: Duration,
}

#[async_trait]
impl TokenLifetimes for Lifetimes {
    async fn longest(&self) -> Result<Duration, StoreError> {
        self.revocations.longest_lifetime(self.configured).await
    }
}

async fn keys(
    config: &Config,
    store: Arc<dyn KeyStore>,
    lifetimes: Lifetimes,
    clock: Arc<dyn Clock>,
) -> Result<KeyRotation, SigningKeyError> {
    let sealing = SealingKeys::new(config.keys.sealing_key.clone(), config.keys.previous_sealing_keys.clone());
    let schedule = Schedule {
        algorithms: config.keys.algorithms.clone(),
        period: config.keys.rotation_period,
        visibility: config.keys.visibility_period,
        retention: lifetimes.configured + LEEWAY_MAX,
    };
    let imported = config.keys.import.clone();
    let settings = KeySettings { schedule, imported, lifetimes: Some(Arc::new(lifetimes)) };
    KeyRotation::start(store, sealing, settings, clock).await
}

fn settings(config: &Config, issuer_url: &IssuerUrl) -> Result<Settings, ServeError> {
    let mut settings = Settings::new(issuer_url.as_str());
    settings.terms.lifetime_default = config.tokens.default_lifetime;
    settings.terms.lifetime_max = config.tokens.maximum_lifetime;
    settings.terms.token_bytes_max = config.tokens.header_bytes;
    for audience in &config.tokens.audiences {
        settings.terms.token_bytes_max_by_audience.insert(audience.name.clone(), audience.header_bytes);
        if let Some(algorithm) = audience.algorithm {
            settings.terms.algorithm_by_audience.insert(audience.name.clone(), algorithm);
        }
        if let Some(key) = &audience.encryption_key {
            settings.terms.encryption_by_audience.insert(audience.name.clone(), key.clone());
        }
    }
    settings.client_assertions = config.client_assertions.clone();
    if config.tokens.danger_jwks_uri_anywhere {
        settings.client_assertions.reach = Reach::Anywhere(AllowPlaintext);
    }
    // A verifier that fetches at this interval holds every key before its first use.
    settings.key_set_max_age = settings.key_set_max_age.min(config.keys.visibility_period / 2);
    settings.federation = IdentityProviders::new(config.trusted_issuers.clone()).map_err(ServeError::internal)?;
    settings.limits = limits(&config.limits);
    settings.quota = config.quota.clone();
    settings.trust_streams = config.trust;
    settings.registration = config.registration.is_some();
    Ok(settings)
}

fn limits(limits: &Limits) -> LimitSettings {
    let rate = |per_second, burst| (per_second > 0).then(|| Rate::per_second(per_second, burst));
    let (peer, client) = (limits.requests_per_second_per_peer, limits.requests_per_second_per_client);
    LimitSettings {
        peer: rate(peer, peer),
        client: rate(client, client),
        failure: rate(limits.failures_per_second, limits.failures_per_second.saturating_mul(10)),
        ..LimitSettings::default()
    }
}
