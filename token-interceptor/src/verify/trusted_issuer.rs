//! The trusted issuers: for which audiences and algorithms, and from where the keys come.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use rustls::ClientConfig;
use tonic::transport::Channel;

use super::{
    BuildError,
    issuer::Issuer,
    issuer_channel::IssuerChannel,
    profile::{NamedBy, TokenProfile, spiffe::trust_domain},
};
use crate::{
    clock::Clock,
    danger,
    http_client::Tls,
    key_set::{
        KeySet, LiveKeySet,
        fetch::{FetchKeys, FromTrustService},
        pushed::{Push, PushedTrust},
        remote::{Freshness, RemoteKeySet},
        source::KeySource,
    },
    revocation::{RevocationSets, Revocations},
    signature::Algorithm,
};
#[cfg(feature = "http")]
use crate::{
    http_client::{Documents, HttpClient, HttpError},
    http_url::HttpUrl,
    key_set::{
        Format,
        fetch::{FromDiscovery, FromJwks},
    },
};

/// The default age at which a key set is fetched again.
const MAX_AGE: Duration = Duration::from_secs(300);
/// The default minimum interval between two fetches for unknown keys.
const COOLDOWN: Duration = Duration::from_secs(5);

/// The minimum of `max_age` and `cooldown`: a shorter one would ask the issuer without a pause.
const FRESHNESS_MIN: Duration = Duration::from_secs(1);

/// The default time for which pushed trust is used after its stream was lost.
const STALE_AFTER: Duration = Duration::from_secs(3600);

/// The default limit for a token in the form of RFC 7519, in bytes. Entra ID writes up to 200 groups into
/// one, 14 KiB.
const FOREIGN_TOKEN_BYTES_MAX: usize = 32 * 1024;

/// An issuer whose tokens are accepted, by its exact identifier.
///
/// By default it is accepted for any audience that a policy names, and its tokens have the form of RFC 9068.
/// Another form is a [`TokenProfile`]. The order of the settings does not matter.
#[derive(Clone, Debug)]
pub struct TrustedIssuer {
    issuer: Arc<str>,
    keys: KeysFrom,
    max_age: Duration,
    cooldown: Duration,
    stale_after: Option<Duration>,
    #[cfg(feature = "http")]
    http: Option<HttpClient>,
    tls: Tls,
    plaintext: Option<danger::AllowPlaintext>,
    audiences: Option<BTreeSet<String>>,
    audience_names: BTreeMap<String, BTreeSet<String>>,
    /// In place of the profile's.
    algorithms: Option<Vec<Algorithm>>,
    profile: TokenProfile,
    token_bytes_max: Option<usize>,
    clients: Option<Vec<String>>,
    scopes: Option<Vec<String>>,
    revocations: Revocations,
}

#[derive(Clone, Debug)]
enum KeysFrom {
    #[cfg(feature = "http")]
    Discovery,
    #[cfg(feature = "http")]
    Jwks(HttpUrl),
    TrustService(IssuerChannel),
    TrustStream(IssuerChannel),
    Live(LiveKeySet),
}

impl TrustedIssuer {
    /// Finds an issuer by its metadata: OpenID Connect Discovery, or RFC 8414.
    ///
    /// `issuer` is its identifier, an `https` URL without query and fragment. It is compared byte for byte
    /// with the `issuer` of the metadata and with the `iss` of every token.
    ///
    /// # Errors
    ///
    /// Returns an error if `issuer` is not such a URL.
    #[cfg(feature = "http")]
    pub fn discover(issuer: &str) -> Result<Self, BuildError> {
        Self::new(issuer, KeysFrom::Discovery)
    }

    /// Trusts an issuer whose JWK Set is at `url`.
    ///
    /// # Errors
    ///
    /// Returns an error if `issuer` is empty or `url` is not a URL.
    #[cfg(feature = "http")]
    pub fn jwks(issuer: &str, url: &str) -> Result<Self, BuildError> {
        let unusable = |error| BuildError::new(issuer, format!("the key set's URL is not a URL: {error}"));
        let url = HttpUrl::parse(url).map_err(unusable)?;
        Self::new(issuer, KeysFrom::Jwks(url))
    }

    /// Trusts a token server, and polls its `m2m.token.v1.TrustService`.
    ///
    /// # Errors
    ///
    /// Returns an error if `issuer` is empty.
    pub fn grpc(issuer: &str, server: impl Into<IssuerChannel>) -> Result<Self, BuildError> {
        Self::new(issuer, KeysFrom::TrustService(server.into()))
    }

    /// Trusts a token server that pushes its keys and revocations: `m2m.token.v1.TrustService.WatchTrust`. A
    /// new key arrives before its first use, and a revocation is enforced within a second. Give a channel of
    /// your own a keepalive, or a dead connection is not noticed.
    ///
    /// # Errors
    ///
    /// Returns an error if `issuer` is empty.
    pub fn watch(issuer: &str, server: impl Into<IssuerChannel>) -> Result<Self, BuildError> {
        Self::new(issuer, KeysFrom::TrustStream(server.into()))
    }

    /// Trusts an issuer with keys that do not change.
    ///
    /// # Errors
    ///
    /// Returns an error if `issuer` is empty.
    pub fn fixed(issuer: &str, keys: KeySet) -> Result<Self, BuildError> {
        Self::live(issuer, LiveKeySet::new(keys))
    }

    /// Trusts an issuer in this process, whose keys the program replaces itself.
    ///
    /// # Errors
    ///
    /// When `issuer` is empty.
    pub fn live(issuer: &str, keys: LiveKeySet) -> Result<Self, BuildError> {
        Self::new(issuer, KeysFrom::Live(keys))
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
            #[cfg(feature = "http")]
            http: None,
            tls: Tls::default(),
            plaintext: None,
            audiences: None,
            audience_names: BTreeMap::new(),
            algorithms: None,
            profile: TokenProfile::rfc9068(),
            token_bytes_max: None,
            clients: None,
            scopes: None,
            revocations: Revocations::new(),
        })
    }

    /// Accepts its tokens for these audiences only, even if a method's policy names others.
    #[must_use]
    pub fn audiences<T: Into<String>>(mut self, audiences: impl IntoIterator<Item = T>) -> Self {
        self.audiences = Some(audiences.into_iter().map(Into::into).collect());
        self
    }

    /// Reads its tokens by this profile. Default: [`TokenProfile::rfc9068`].
    #[must_use]
    pub fn profile(mut self, profile: TokenProfile) -> Self {
        self.profile = profile;
        self
    }

    /// Accepts its tokens for `audience` if they name one of `names`, and no longer if they name `audience`
    /// itself. An issuer may know an audience of the policy by another name, such as the ID of an app in
    /// Entra ID.
    #[must_use]
    pub fn audience_names<T: Into<String>>(
        mut self,
        audience: impl Into<String>,
        names: impl IntoIterator<Item = T>,
    ) -> Self {
        self.audience_names.entry(audience.into()).or_default().extend(names.into_iter().map(Into::into));
        self
    }

    /// Accepts its tokens for these clients only: client IDs, or prefixes up to a separator and a final `*`,
    /// such as `repo:acme/orders:*`. `*` alone is any client. A separator is any character but a letter or a
    /// digit, so that `repo:acme/*` does not include the owner `acme-evil`.
    ///
    /// A client ID is unique only within its issuer (RFC 9068 section 4). Where several trusted issuers share
    /// an audience, a policy that names `callers` admits clients of an issuer with this setting, and those
    /// whose ID no other issuer may use. `["*"]` accepts this issuer's client IDs as they are.
    #[must_use]
    pub fn clients<T: Into<String>>(mut self, clients: impl IntoIterator<Item = T>) -> Self {
        self.clients = Some(clients.into_iter().map(Into::into).collect());
        self
    }

    /// Lets this issuer grant these scopes only: names, or prefixes up to a separator and a final `*`, as in
    /// [`TrustedIssuer::clients`]. Other scopes in its tokens are ignored, and
    /// [`Caller::scopes`](crate::caller::Caller::scopes) does not show them.
    #[must_use]
    pub fn scopes<T: Into<String>>(mut self, scopes: impl IntoIterator<Item = T>) -> Self {
        self.scopes = Some(scopes.into_iter().map(Into::into).collect());
        self
    }

    /// Accepts these algorithms only, in place of the profile's. An RSA key without `alg` in the issuer's key
    /// set verifies RS256 alone.
    #[must_use]
    pub fn algorithms(mut self, algorithms: &[Algorithm]) -> Self {
        self.algorithms = Some(algorithms.to_vec());
        self
    }

    /// Sets the longest token of this issuer that is read, in bytes. Default: the verifier's, and 32 KiB for
    /// tokens in the form of RFC 7519, which all profiles but RFC 9068 have.
    #[must_use]
    pub fn token_bytes_max(mut self, token_bytes_max: usize) -> Self {
        self.token_bytes_max = Some(token_bytes_max);
        self
    }

    /// Sets the age at which the key set is fetched again: a second at least. Default: 5 minutes.
    #[must_use]
    pub fn max_age(mut self, max_age: Duration) -> Self {
        self.max_age = max_age;
        self
    }

    /// Sets the minimum interval between fetches that unknown keys cause: a second at least. Default: 5
    /// seconds.
    #[must_use]
    pub fn cooldown(mut self, cooldown: Duration) -> Self {
        self.cooldown = cooldown;
        self
    }

    /// Rejects every token once the issuer was unreachable for this long. For [`TrustedIssuer::watch`] the
    /// default is one hour, as revocations may have been missed. A fetched key set has no limit by default
    /// and is used through an outage of any length. So an attacker who cuts a verifier off from its issuer
    /// keeps a withdrawn key alive.
    #[must_use]
    pub fn stale_after(mut self, stale_after: Duration) -> Self {
        self.stale_after = Some(stale_after);
        self
    }

    /// Fetches over this client, which may have its own roots or limits.
    #[cfg(feature = "http")]
    #[must_use]
    pub fn http_client(mut self, http: HttpClient) -> Self {
        self.http = Some(http);
        self
    }

    /// Uses these TLS settings towards the issuer, for the program's own roots, client certificate or
    /// cryptography. Not for an [`Endpoint`](tonic::transport::Endpoint), a channel or an HTTP client of the
    /// program's own.
    #[must_use]
    pub fn tls_config(mut self, config: Arc<ClientConfig>) -> Self {
        self.tls = Tls::Own(config);
        self
    }

    /// Allows an `http` issuer on any host; see [`danger::AllowPlaintext`].
    #[must_use]
    pub fn plaintext(mut self, allow: danger::AllowPlaintext) -> Self {
        self.plaintext = Some(allow);
        self
    }

    /// Rejects the tokens in `revocations`, in addition to those that the issuer pushes. Entries expire by
    /// the verifier's clock.
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
        self.check()?;
        let keys = match &self.keys {
            KeysFrom::TrustStream(channel) => {
                let push = Push {
                    channel: self.connect(channel)?,
                    stale_after: self.stale_after.unwrap_or(STALE_AFTER),
                    clock: Arc::clone(clock),
                };
                KeySource::Pushed(PushedTrust::new(Arc::clone(&self.issuer), push))
            }
            KeysFrom::Live(keys) => KeySource::Live(keys.clone()),
            KeysFrom::TrustService(channel) => self
                .remote(clock, FromTrustService { issuer: Arc::clone(&self.issuer), channel: self.connect(channel)? }),
            #[cfg(feature = "http")]
            KeysFrom::Jwks(url) => {
                let http = self.checked_client(url)?;
                let format = match self.profile.issuer {
                    NamedBy::Issuer => Format::JwkSet,
                    NamedBy::TrustDomain => Format::SpiffeBundle,
                };
                self.remote(clock, FromJwks { http, url: url.clone(), format })
            }
            #[cfg(feature = "http")]
            KeysFrom::Discovery => {
                let fault = |fault: &str| BuildError::new(&self.issuer, fault);
                let unusable = |error| fault(&format!("the issuer is not a URL: {error}"));
                let url = HttpUrl::parse(&self.issuer).map_err(unusable)?;
                if url.query().is_some() {
                    return Err(fault("the issuer has a query (RFC 8414 section 2)"));
                }
                let (http, documents) = (self.checked_client(&url)?, Documents::of(&url).map_err(unusable)?);
                self.remote(clock, FromDiscovery { http, issuer: Arc::clone(&self.issuer), documents })
            }
        };
        let default_max = match self.profile.is_foreign() {
            true => token_bytes_max.max(FOREIGN_TOKEN_BYTES_MAX),
            false => token_bytes_max,
        };
        self.revocations.expire_by(clock);
        let revocations = RevocationSets { own: self.revocations, pushed: keys.revocations().cloned() };
        Ok(Issuer {
            id: self.issuer,
            keys,
            audiences: self.audiences,
            audience_names: self.audience_names,
            algorithms: self.algorithms.unwrap_or_else(|| self.profile.algorithms.clone()),
            profile: self.profile,
            token_bytes_max: self.token_bytes_max.unwrap_or(default_max),
            clients: self.clients,
            scopes: self.scopes,
            revocations,
        })
    }

    /// Checks the settings against each other.
    fn check(&self) -> Result<(), BuildError> {
        let fault = |fault: &str| Err(BuildError::new(&self.issuer, fault));
        let patterns = self.clients.iter().chain(&self.scopes).flatten();
        if let Some(bad) = patterns.into_iter().find(|pattern| !is_pattern(pattern)) {
            let bad = format!("{bad:?} must be a name, or a prefix up to a separator and one final \"*\"");
            return fault(&bad);
        }
        if let Some(bad) = self.profile.fault() {
            return fault(bad);
        }
        if self.profile.shared && self.clients.is_none() {
            return fault("strangers have accounts at this issuer; name the accepted ones with clients");
        }
        if self.profile.issuer == NamedBy::TrustDomain {
            if trust_domain(&self.issuer).is_none() {
                return fault("the issuer of JWT-SVIDs is named spiffe://, and the name of the trust domain");
            }
            #[cfg(feature = "http")]
            let discovered = matches!(self.keys, KeysFrom::Discovery);
            #[cfg(not(feature = "http"))]
            let discovered = false;
            if discovered || matches!(self.keys, KeysFrom::TrustService(_) | KeysFrom::TrustStream(_)) {
                return fault("the keys of a trust domain are its bundle; use jwks, fixed or live");
            }
        }
        Ok(())
    }

    fn connect(&self, server: &IssuerChannel) -> Result<Channel, BuildError> {
        server.connect(self.plaintext, &self.tls).map_err(|fault| BuildError::new(&self.issuer, fault))
    }

    fn remote(&self, clock: &Arc<dyn Clock>, fetcher: impl FetchKeys) -> KeySource {
        let freshness = Freshness { max_age: self.max_age, cooldown: self.cooldown, stale_after: self.stale_after };
        let (issuer, clock) = (Arc::clone(&self.issuer), Arc::clone(clock));
        KeySource::Remote(RemoteKeySet::new(issuer, Box::new(fetcher), freshness, clock))
    }

    #[cfg(feature = "http")]
    fn checked_client(&self, url: &HttpUrl) -> Result<HttpClient, BuildError> {
        let fault = |error: HttpError| BuildError::new(&self.issuer, error.to_string());
        let builder = HttpClient::builder().tls(self.tls.clone());
        let http = match (&self.http, self.plaintext) {
            (Some(http), _) => http.clone(),
            (None, Some(allow)) => builder.plaintext(allow).build().map_err(fault)?,
            (None, None) => builder.build().map_err(fault)?,
        };
        http.check(url).map_err(fault)?;
        Ok(http)
    }
}

/// Returns true for a name, a prefix that ends with a separator and one final `*`, or `*`.
fn is_pattern(pattern: &str) -> bool {
    let (name, ends_well) = match pattern.strip_suffix('*') {
        Some(prefix) => (prefix, !prefix.ends_with(char::is_alphanumeric)),
        None => (pattern, !pattern.is_empty()),
    };
    ends_well && !name.contains(['*', ' '])
}
