//! The pipeline of every request to the issuer, over either protocol.
//!
//! [`Issuer::admit`] (limit of the peer) → the protocol decodes the request →
//! [`crate::client_authentication`] → limit(client) → [`crate::grant`] → [`crate::mint`] → [`crate::audit`].
//! Each stage takes the previous stage's value. No stage writes to the store.

mod admission;
mod exchange;
mod introspect;
mod revoke;
mod user_info;

use std::{sync::Arc, time::Duration};

use metrics::{Counter, counter};
use ring::rand::{SecureRandom as _, SystemRandom};
use token_interceptor::{clock::Clock, verify::Verifier};
use token_proto::token::v1::ErrorReason;
use tokio::sync::watch;
use tracing::Instrument as _;

use crate::{
    audit::Decision,
    client::secret::Peppers,
    client_authentication::{
        AuthenticatedClient, ClientAuthenticator,
        assertion::{AssertionRules, Assertions},
        presented::PresentedClient,
    },
    client_registry::ClientRegistry,
    error::IssueError,
    grant::{self, GrantedAccess, client_credentials, token_exchange},
    identity_provider::IdentityProviders,
    key::KeyRing,
    limit::{LimitSettings, Limits, QuotaSettings, Quotas},
    metadata::{self, Metadata},
    mint::{self, Entropy, MintedToken, Terms},
    origin::Origin,
    own_tokens::OwnTokens,
    revocation::RevocationRegistry,
    store::AssertionStore,
    trace,
};

pub use admission::{Admitted, Operation};
pub use introspect::introspected;
pub use user_info::UserInfoError;

/// The counter of decisions, by operation, outcome and reason.
const REQUESTS: &str = "token_server_token_requests_total";

/// The settings that an operator chooses.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The terms of every token.
    pub terms: Terms,
    /// The rate limits.
    pub limits: LimitSettings,
    /// The number of tokens that a client may get in each window.
    pub quota: QuotaSettings,
    /// The time for which verifiers may cache a key set. It is shorter than the time for which a key is
    /// published before it signs.
    pub key_set_max_age: Duration,
    /// The rules for client assertions.
    pub client_assertions: AssertionRules,
    /// Announces in the metadata that clients may register themselves.
    pub registration: bool,
    /// The other issuers whose tokens may be exchanged, or authenticate clients.
    pub federation: IdentityProviders,
    /// Streams of keys and revocations to verifiers.
    pub trust_streams: TrustStreams,
    /// The number of unexpired tokens that one client may have revoked one by one. Every verifier keeps each
    /// of them.
    pub revoked_tokens_per_client: usize,
}

/// Streams of keys and revocations to verifiers (`WatchTrust`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrustStreams {
    /// The most concurrent streams. A stream that is not read takes some 50 KiB until it is ended.
    pub streams: usize,
    /// The most concurrent streams of one peer. 0 means no limit.
    pub streams_per_peer: usize,
    /// Accepts only peers that have presented a client certificate.
    pub client_certificate_required: bool,
}

impl Default for TrustStreams {
    /// Open to all peers, as a key set is.
    fn default() -> Self {
        Self { streams: 10_000, streams_per_peer: 1_000, client_certificate_required: false }
    }
}

/// The default limit. At ten revocations a second, the default rate, tokens of five minutes stay below it.
const REVOKED_TOKENS_PER_CLIENT: usize = 10_000;

impl Settings {
    /// Returns the default settings of an issuer with that identifier.
    #[must_use]
    pub fn new(issuer: &str) -> Self {
        Self {
            terms: Terms::new(issuer),
            limits: LimitSettings::default(),
            quota: QuotaSettings::default(),
            key_set_max_age: Duration::from_secs(300),
            client_assertions: AssertionRules::default(),
            registration: false,
            federation: IdentityProviders::default(),
            trust_streams: TrustStreams::default(),
            revoked_tokens_per_client: REVOKED_TOKENS_PER_CLIENT,
        }
    }
}

/// The dependencies of an issuer.
#[derive(Clone, Debug)]
pub struct Dependencies {
    /// Clients.
    pub registry: ClientRegistry,
    /// The client assertions that were used.
    pub assertions: Arc<dyn AssertionStore>,
    /// The peppers with which client secrets are hashed.
    pub peppers: Peppers,
    /// Signing keys.
    pub keys: KeyRing,
    /// The revocations.
    pub revocations: RevocationRegistry,
    /// Verifies this issuer's own tokens: [`own_tokens::verifier`](crate::own_tokens::verifier).
    pub verifier: Verifier,
}

/// The issuer: decides about every request for a token.
///
/// A client proves who it is, and asks for access to an audience with some scopes. The issuer compares that
/// with the client's grants, and mints a signed token. It also answers what a token says (introspection), and
/// takes tokens back (revocation).
///
/// An issuer has no socket and no database driver. It takes what it needs as [`Dependencies`], over the
/// traits of [`store`](crate::store). So a program can serve it over its own transport, and a test can run it
/// in memory:
///
/// ```
/// use std::sync::Arc;
/// use token_interceptor::{clock::SystemClock, signature::SigningKey};
/// use token_issuer::{
///     client::secret::Peppers,
///     client_registry::ClientRegistry,
///     issuer::{Dependencies, Issuer, Settings},
///     key::KeyRing,
///     own_tokens,
///     revocation::RevocationRegistry,
///     store::Store,
/// };
///
/// # type Error = Box<dyn std::error::Error>;
/// async fn assemble(store: Arc<dyn Store>, key: SigningKey, peppers: Peppers) -> Result<Issuer, Error> {
///     const ISSUER: &str = "https://issuer.example";
///     let clock = SystemClock::shared();
///     // One key that never changes. `KeyRotation` generates and rotates keys by itself.
///     let keys = KeyRing::fixed(key, vec![]);
///     let revocations = RevocationRegistry::start(store.clone(), clock.clone()).await?;
///     let verifier = own_tokens::verifier(ISSUER, &keys, revocations.verifying(), clock.clone())?;
///     let registry = ClientRegistry::new(store.clone());
///     let parts = Dependencies { registry, assertions: store, peppers, keys, revocations, verifier };
///     Ok(Issuer::new(Settings::new(ISSUER), parts, clock))
/// }
/// ```
///
/// A request passes these stages, each of which takes the value of the one before: the limit of the peer, the
/// authentication of the client, the limit of the client, the grant, the token, the audit record.
#[derive(Debug)]
pub struct Issuer {
    settings: Settings,
    clients: ClientAuthenticator,
    keys: KeyRing,
    revocations: RevocationRegistry,
    own_tokens: OwnTokens,
    limits: Limits,
    quotas: Quotas,
    clock: Arc<dyn Clock>,
    random: SystemRandom,
    issued: Counter,
    closing: watch::Sender<bool>,
}

impl Issuer {
    /// Creates the issuer.
    #[must_use]
    pub fn new(settings: Settings, parts: Dependencies, clock: Arc<dyn Clock>) -> Self {
        let Dependencies { registry, assertions, peppers, keys, revocations, verifier } = parts;
        let own_tokens = OwnTokens::new(verifier, settings.terms.token_bytes_longest());
        Self {
            limits: Limits::new(settings.limits),
            quotas: Quotas::new(settings.quota.clone()),
            clients: ClientAuthenticator {
                registry,
                peppers,
                assertions: Assertions::new(
                    Arc::clone(&settings.terms.issuer),
                    metadata::endpoint(&settings.terms.issuer, metadata::path::TOKEN),
                    settings.client_assertions.clone(),
                    assertions,
                ),
                federation: settings.federation.clone(),
            },
            settings,
            keys,
            revocations,
            own_tokens,
            clock,
            random: SystemRandom::new(),
            issued: counter!(REQUESTS, "operation" => "issue_token", "outcome" => "granted", "reason" => ""),
            closing: watch::Sender::new(false),
        }
    }

    /// Returns the current metadata of this issuer.
    #[must_use]
    pub fn metadata(&self) -> Metadata {
        let mut algorithms = Vec::new();
        for key in &self.keys.published().keys {
            if !algorithms.contains(&key.algorithm) {
                algorithms.push(key.algorithm);
            }
        }
        let metadata = Metadata::new(&self.settings.terms.issuer, self.settings.terms.lifetime_max, algorithms);
        if self.settings.registration { metadata.with_registration() } else { metadata }
    }

    /// The limits of trust streams.
    #[must_use]
    pub fn trust_streams(&self) -> TrustStreams {
        self.settings.trust_streams
    }

    /// The signing keys.
    #[must_use]
    pub fn keys(&self) -> &KeyRing {
        &self.keys
    }

    /// Returns the current time by the issuer's clock.
    #[must_use]
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// Returns the time for which a key set may be cached. It is up to a fifth shorter than configured, so
    /// that verifiers that started together do not fetch together.
    #[must_use]
    pub fn key_set_max_age(&self) -> Duration {
        let mut drawn = [0; 1];
        // Without randomness there is no jitter, and still an answer.
        let _ = self.random.fill(&mut drawn);
        let part = f64::from(drawn.first().copied().unwrap_or_default()) / 255.0;
        self.settings.key_set_max_age.mul_f64(1.0 - 0.2 * part)
    }

    /// Ends the trust streams, so that the server can drain.
    pub fn close(&self) {
        self.closing.send_replace(true);
    }

    /// Turns true when the server drains.
    pub fn closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }

    /// The verifier of this issuer's own tokens.
    #[must_use]
    pub fn own_tokens(&self) -> &OwnTokens {
        &self.own_tokens
    }

    /// The revocations.
    #[must_use]
    pub fn revocations(&self) -> &RevocationRegistry {
        &self.revocations
    }

    /// Authenticates the client, within that client's limits.
    async fn authenticate(
        &self,
        origin: &Origin,
        presented: &PresentedClient,
    ) -> Result<AuthenticatedClient, IssueError> {
        // Only guessable secrets count towards a lockout. An attacker cannot guess a key, or a secret that
        // this server generated.
        let guess = presented.secret().filter(|secret| self.clients.peppers.is_guessable(secret));
        if let Some(secret) = guess {
            self.limits.attempt(origin.peer(), presented.claimed_id(), secret)?;
        }
        let span = tracing::info_span!(target: trace::TARGET, "authenticate client");
        let client = self.clients.authenticate(origin.peer(), presented, self.clock.now()).instrument(span).await;
        match (&client, guess) {
            (Ok(_), Some(secret)) => self.limits.succeeded(presented.claimed_id(), secret),
            (Err(IssueError::ClientAuthenticationFailed(_)), Some(_)) => {
                self.limits.failed(origin.peer(), presented.claimed_id());
            }
            (Ok(_) | Err(_), _) => {}
        }
        let client = client?;
        self.limits.client(client.id())?;
        Ok(client)
    }

    /// Returns the access that the client gets.
    async fn authorize(
        &self,
        client: AuthenticatedClient,
        grant: &grant::Request,
        decision: &mut Decision<'_>,
    ) -> Result<GrantedAccess, IssueError> {
        if self.settings.federation.names(client.id().as_str()) {
            return Err(IssueError::ClientNotAuthorized(
                "The client's ID is a name of an identity provider's subjects. Register the client by another ID.",
            ));
        }
        match grant {
            grant::Request::ClientCredentials(request) => client_credentials::authorize(client, request),
            grant::Request::TokenExchange(request) => {
                // Checked before a token is verified or a provider's key is fetched.
                token_exchange::check_permitted(client.client())?;
                let parties = Box::pin(self.parties(client.client(), request, decision)).await?;
                token_exchange::authorize(client, request, parties)
            }
        }
    }

    fn mint(&self, authorization: GrantedAccess) -> Result<MintedToken, IssueError> {
        let terms = &self.settings.terms;
        let signer = match terms.algorithm(authorization.audiences())? {
            None => self.keys.default_signer(),
            Some(algorithm) => self.keys.signer(algorithm).ok_or_else(|| {
                IssueError::Internal(format!("an audience takes {algorithm}, for which there is no key").into())
            })?,
        };
        let entropy = Entropy::draw(&self.random)?;
        let _span = tracing::info_span!(target: trace::TARGET, "mint token").entered();
        mint::mint(authorization, terms, &signer, entropy, self.clock.now())
    }
}

pub(crate) fn answered(decision: &Decision<'_>, outcome: &'static str, token_id: Option<&str>) {
    counter!(REQUESTS, "operation" => decision.operation(), "outcome" => outcome, "reason" => "").increment(1);
    decision.answered(outcome, token_id);
}

pub(crate) fn denied(decision: &Decision<'_>, reason: ErrorReason) {
    let (operation, reason) = (decision.operation(), reason.as_reason());
    counter!(REQUESTS, "operation" => operation, "outcome" => "refused", "reason" => reason).increment(1);
    decision.denied(reason);
}

pub(crate) fn refused(decision: &Decision<'_>, error: &IssueError) {
    let (operation, reason) = (decision.operation(), error.reason().as_reason());
    counter!(REQUESTS, "operation" => operation, "outcome" => "refused", "reason" => reason).increment(1);
    decision.refused(error);
}
