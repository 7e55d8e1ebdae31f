//! Whom a verifier trusts, for which audiences and algorithms, and where the keys come from.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tonic::transport::Channel;
use url::Url;

use super::{BuildError, claims::Profile, issuer::Issuer, issuer_channel::IssuerChannel};
use crate::{
    clock::Clock,
    danger,
    http_client::HttpClient,
    key_set::{
        KeySet,
        fetch::{Documents, FetchKeys, FromDiscovery, FromJwks, FromTrustService},
        pushed::{Push, PushedTrust},
        remote::{Freshness, RemoteKeySet},
        source::KeySource,
    },
    revocation::Revocations,
    signature::Algorithm,
};

/// A key set is fetched again when it is this old, unless told otherwise.
const MAX_AGE: Duration = Duration::from_secs(300);
/// Between two fetches for unknown keys, unless told otherwise.
const COOLDOWN: Duration = Duration::from_secs(5);

/// A shorter `max_age` or `cooldown` would ask the issuer without a pause.
const FRESHNESS_MIN: Duration = Duration::from_secs(1);

/// Pushed trust serves this long after its stream was lost, unless told otherwise.
const STALE_AFTER: Duration = Duration::from_secs(3600);

/// Longest token of another maker, unless told otherwise: Entra ID writes up to 200 groups into one, 14 KiB.
const FOREIGN_TOKEN_BYTES_MAX: usize = 32 * 1024;

/// An issuer whose tokens are accepted, by its exact identifier.
///
/// Without further choices: for whatever audience the called method names, signed by any algorithm of
/// [`Algorithm::ALL`], of type `at+jwt`.
#[derive(Clone, Debug)]
pub struct TrustedIssuer {
    issuer: Arc<str>,
    keys: KeysFrom,
    max_age: Duration,
    cooldown: Duration,
    stale_after: Option<Duration>,
    http: Option<HttpClient>,
    plaintext: Option<danger::AllowPlaintext>,
    audiences: Option<BTreeSet<String>>,
    algorithms: Vec<Algorithm>,
    token_types: Vec<String>,
    untyped: bool,
    profile: Profile,
    token_bytes_max: Option<usize>,
    clients: Option<Vec<String>>,
    scopes: Option<Vec<String>>,
    revocations: Revocations,
}

#[derive(Clone, Debug)]
enum KeysFrom {
    Discovery,
    Jwks(Url),
    TrustService(IssuerChannel),
    TrustStream(IssuerChannel),
    Fixed(Arc<KeySet>),
}

impl TrustedIssuer {
    /// An issuer that is found by its metadata: OpenID Connect Discovery, or RFC 8414.
    ///
    /// `issuer` is its identifier, an `https` URL without query and fragment, and is compared byte for byte:
    /// with the `issuer` of the metadata and with the `iss` of every token.
    ///
    /// # Errors
    ///
    /// When `issuer` is not such a URL.
    pub fn discover(issuer: &str) -> Result<Self, BuildError> {
        Self::new(issuer, KeysFrom::Discovery)
    }

    /// An issuer whose JWK Set is at `url`.
    ///
    /// # Errors
    ///
    /// When `issuer` is empty or `url` is not a URL.
    pub fn jwks(issuer: &str, url: &str) -> Result<Self, BuildError> {
        let url = Url::parse(url).map_err(|_| BuildError::new(issuer, "the key set's URL is not a URL"))?;
        Self::new(issuer, KeysFrom::Jwks(url))
    }

    /// A token server, by its `m2m.token.v1.TrustService`, asked again and again.
    ///
    /// # Errors
    ///
    /// When `issuer` is empty.
    pub fn grpc(issuer: &str, server: impl Into<IssuerChannel>) -> Result<Self, BuildError> {
        Self::new(issuer, KeysFrom::TrustService(server.into()))
    }

    /// A token server that pushes its keys and revocations: `m2m.token.v1.TrustService.WatchTrust`. A new key is
    /// held before its first use, a revocation enforced within a second. A channel of one's own needs a
    /// keepalive, or a connection that is gone is not noticed.
    ///
    /// # Errors
    ///
    /// When `issuer` is empty.
    pub fn watch(issuer: &str, server: impl Into<IssuerChannel>) -> Result<Self, BuildError> {
        Self::new(issuer, KeysFrom::TrustStream(server.into()))
    }

    /// An issuer with keys that do not change.
    ///
    /// # Errors
    ///
    /// When `issuer` is empty.
    pub fn fixed(issuer: &str, keys: KeySet) -> Result<Self, BuildError> {
        Self::new(issuer, KeysFrom::Fixed(Arc::new(keys)))
    }

    fn new(issuer: &str, keys: KeysFrom) -> Result<Self, BuildError> {
        if issuer.is_empty() {
            return Err(BuildError::new(issuer, "the issuer identifier is empty"));
        }
        Ok(Self {
            issuer: issuer.into(),
            keys,
            stale_after: None,
            max_age: MAX_AGE,
            cooldown: COOLDOWN,
            http: None,
            plaintext: None,
            audiences: None,
            algorithms: Algorithm::ALL.to_vec(),
            token_types: vec!["at+jwt".to_owned()],
            untyped: false,
            profile: Profile::default(),
            token_bytes_max: None,
            clients: None,
            scopes: None,
            revocations: Revocations::new(),
        })
    }

    /// Accepts its tokens for these audiences only, whatever a method's policy names.
    #[must_use]
    pub fn audiences<T: Into<String>>(mut self, audiences: impl IntoIterator<Item = T>) -> Self {
        self.audiences = Some(audiences.into_iter().map(Into::into).collect());
        self
    }

    /// Accepts its tokens for these clients only: client IDs, or prefixes and a final `*`.
    ///
    /// A client ID is unique within its issuer alone (RFC 9068 section 4). Where several trusted issuers may speak for one
    /// audience, a policy that names `callers` admits only clients of issuers that have this setting. `["*"]` says that
    /// the IDs of this issuer's clients count as they are.
    #[must_use]
    pub fn clients<T: Into<String>>(mut self, clients: impl IntoIterator<Item = T>) -> Self {
        self.clients = Some(clients.into_iter().map(Into::into).collect());
        self
    }

    /// Lets this issuer grant these scopes only: names, or prefixes and a final `*`. Others in its tokens do not count,
    /// and [`Caller::scopes`](crate::caller::Caller::scopes) does not show them.
    #[must_use]
    pub fn scopes<T: Into<String>>(mut self, scopes: impl IntoIterator<Item = T>) -> Self {
        self.scopes = Some(scopes.into_iter().map(Into::into).collect());
        self
    }

    /// Accepts these algorithms only.
    #[must_use]
    pub fn algorithms(mut self, algorithms: &[Algorithm]) -> Self {
        self.algorithms = algorithms.to_vec();
        self
    }

    /// Accepts this `typ` beside `at+jwt`, for an issuer that does not follow RFC 9068 section 2.1. Make sure
    /// that nothing else which the issuer signs, such as an ID token, could be taken for an access token.
    #[must_use]
    pub fn also_accept_type(mut self, token_type: impl Into<String>) -> Self {
        self.token_types.push(token_type.into());
        self
    }

    /// Takes what the issuer says about a subject, such as its ID tokens (OpenID Connect Core section 2), in place
    /// of access tokens: of these `typ` and no other, and `client_id` and `jti` may be missing. For whoever
    /// exchanges them (RFC 8693); a resource server has no use for them. Implies [`TrustedIssuer::foreign`].
    #[must_use]
    pub fn identity_tokens<T: Into<String>>(mut self, types: impl IntoIterator<Item = T>) -> Self {
        self.token_types = types.into_iter().map(Into::into).collect();
        self.profile.identity = true;
        self.foreign()
    }

    /// Reads its tokens as RFC 7515 and RFC 7519 have them, for an issuer of another maker. A token may have 32 KiB.
    /// A key or the address of one in its header is ignored. Times may have a fraction, `iat` may be missing, and
    /// `scope` may be a list. Everything that decides about access is checked as it is for every other token.
    #[must_use]
    pub fn foreign(mut self) -> Self {
        self.profile.foreign = true;
        self
    }

    /// The longest token of this issuer that is read, in bytes. Default: that of the verifier, and 32 KiB for a
    /// [`TrustedIssuer::foreign`] one.
    #[must_use]
    pub fn token_bytes_max(mut self, token_bytes_max: usize) -> Self {
        self.token_bytes_max = Some(token_bytes_max);
        self
    }

    /// Accepts tokens without `typ` too, for an issuer that writes none: nothing then tells its kinds of token
    /// apart but their audience and claims.
    #[must_use]
    pub fn untyped(mut self) -> Self {
        self.untyped = true;
        self
    }

    /// Fetches the key set again once it is this old: a second at least. Default: 5 minutes.
    #[must_use]
    pub fn max_age(mut self, max_age: Duration) -> Self {
        self.max_age = max_age;
        self
    }

    /// Lets at least this pass between fetches that unknown keys cause: a second at least. Default: 5 seconds.
    #[must_use]
    pub fn cooldown(mut self, cooldown: Duration) -> Self {
        self.cooldown = cooldown;
        self
    }

    /// Accepts nothing once the issuer was unreachable for so long. For [`TrustedIssuer::watch`] the default is one
    /// hour, as revocations may have been missed. A fetched key set has no such limit by default and serves through an
    /// outage of any length, so that who cuts a verifier off from its issuer keeps a withdrawn key alive.
    #[must_use]
    pub fn stale_after(mut self, stale_after: Duration) -> Self {
        self.stale_after = Some(stale_after);
        self
    }

    /// Fetches over this client: with roots of one's own, or other limits.
    #[must_use]
    pub fn http_client(mut self, http: HttpClient) -> Self {
        self.http = Some(http);
        self
    }

    /// Allows an `http` issuer on any host; see [`danger::AllowPlaintext`].
    #[must_use]
    pub fn plaintext(mut self, allow: danger::AllowPlaintext) -> Self {
        self.plaintext = Some(allow);
        self
    }

    /// Refuses the tokens that `revocations` names.
    #[must_use]
    pub fn revocations(mut self, revocations: Revocations) -> Self {
        self.revocations = revocations;
        self
    }

    /// `token_bytes_max` is the verifier's.
    pub(super) fn build(self, clock: &Arc<dyn Clock>, token_bytes_max: usize) -> Result<Issuer, BuildError> {
        if self.max_age < FRESHNESS_MIN || self.cooldown < FRESHNESS_MIN {
            return Err(BuildError::new(&self.issuer, "max_age and cooldown must be a second at least"));
        }
        let patterns = self.clients.iter().chain(&self.scopes).flatten();
        if let Some(bad) = patterns.into_iter().find(|pattern| !is_pattern(pattern)) {
            let fault = format!("{bad:?} must be a name, or a prefix and one final \"*\"");
            return Err(BuildError::new(&self.issuer, fault));
        }
        let keys = match &self.keys {
            KeysFrom::TrustStream(channel) => {
                let push = Push {
                    channel: self.connect(channel)?,
                    revocations: self.revocations.clone(),
                    stale_after: self.stale_after.unwrap_or(STALE_AFTER),
                    clock: Arc::clone(clock),
                };
                KeySource::Pushed(PushedTrust::new(Arc::clone(&self.issuer), push))
            }
            KeysFrom::Fixed(keys) => KeySource::Fixed(Arc::clone(keys)),
            KeysFrom::TrustService(channel) => self
                .remote(clock, FromTrustService { issuer: Arc::clone(&self.issuer), channel: self.connect(channel)? }),
            KeysFrom::Jwks(url) => {
                let http = self.checked_client(url)?;
                self.remote(clock, FromJwks { http, url: url.clone() })
            }
            KeysFrom::Discovery => {
                let fault = |fault| BuildError::new(&self.issuer, fault);
                let url = Url::parse(&self.issuer).map_err(|_| fault("the issuer is not a URL"))?;
                if url.query().is_some() || url.fragment().is_some() {
                    return Err(fault("the issuer has a query or a fragment (RFC 8414 section 2)"));
                }
                let (http, documents) = (self.checked_client(&url)?, Documents::of(&url));
                self.remote(clock, FromDiscovery { http, issuer: Arc::clone(&self.issuer), documents })
            }
        };
        let default_max = match self.profile.foreign {
            true => token_bytes_max.max(FOREIGN_TOKEN_BYTES_MAX),
            false => token_bytes_max,
        };
        Ok(Issuer {
            id: self.issuer,
            keys,
            audiences: self.audiences,
            algorithms: self.algorithms,
            token_types: self.token_types,
            untyped: self.untyped,
            profile: self.profile,
            token_bytes_max: self.token_bytes_max.unwrap_or(default_max),
            clients: self.clients,
            scopes: self.scopes,
            // Until the other issuers are known.
            client_ids_are_unique: false,
            revocations: self.revocations,
        })
    }

    fn connect(&self, server: &IssuerChannel) -> Result<Channel, BuildError> {
        server.connect(self.plaintext).map_err(|fault| BuildError::new(&self.issuer, fault))
    }

    fn remote(&self, clock: &Arc<dyn Clock>, fetcher: impl FetchKeys) -> KeySource {
        let freshness = Freshness { max_age: self.max_age, cooldown: self.cooldown, stale_after: self.stale_after };
        let (issuer, clock) = (Arc::clone(&self.issuer), Arc::clone(clock));
        KeySource::Remote(RemoteKeySet::new(issuer, Box::new(fetcher), freshness, clock))
    }

    fn checked_client(&self, url: &Url) -> Result<HttpClient, BuildError> {
        let fault = |error: crate::http_client::HttpError| BuildError::new(&self.issuer, error.to_string());
        let http = match (&self.http, self.plaintext) {
            (Some(http), _) => http.clone(),
            (None, Some(allow)) => HttpClient::builder().plaintext(allow).build().map_err(fault)?,
            (None, None) => HttpClient::builder().build().map_err(fault)?,
        };
        http.check(url).map_err(fault)?;
        Ok(http)
    }
}

/// A name, or a prefix and one final `*`.
fn is_pattern(pattern: &str) -> bool {
    let name = pattern.strip_suffix('*').unwrap_or(pattern);
    !pattern.is_empty() && !name.contains(['*', ' '])
}
